"""The model as extraction sees it: a question, an answer, and the ways to get none.

Guarantees of every ``LanguageModel``:

- ``answer`` tries again by itself where that may help, and never before the endpoint allows it;
- it may be called from many tasks at once; the limit of questions in flight is its own;
- what it spent is told, in the answer or on the error, failed tries included.
"""

import hashlib
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final, Literal, Protocol

import msgspec

from protocol.errors import ErrorCode, HubError

JsonSchema = dict[str, object]

BATCH_REQUESTS: Final = 1_000  # in one batch: its answers are read whole, and are some MiB then


class Usage(msgspec.Struct, frozen=True):
    """What was spent on a model: questions sent, tokens as the endpoint counted them, and money.

    *cost_nanos* is in billionths of a US dollar; 0 where no price is known.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_nanos: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cost_nanos + other.cost_nanos,
        )


class Message(msgspec.Struct, frozen=True):
    """One turn of the conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Price(msgspec.Struct, frozen=True):
    """What a token costs, in billionths of a US dollar: so many US dollars a million, times a thousand."""

    prompt_nanos: int = 0
    completion_nanos: int = 0

    def of(self, prompt_tokens: int, completion_tokens: int) -> int:
        """The cost of so many tokens, in billionths of a US dollar."""
        return prompt_tokens * self.prompt_nanos + completion_tokens * self.completion_nanos


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A question. The answer is to be JSON that fits *schema*, in at most *max_tokens* tokens.

    *user* is whose work it is for: an endpoint's time is shared out fairly among users.
    """

    messages: tuple[Message, ...]
    schema: JsonSchema
    max_tokens: int
    user: str = ""

    @property
    def digest(self) -> str:
        """The same for the same question, whoever asks it: hex, 64 characters."""
        said = (self.messages, self.schema, self.max_tokens)
        return hashlib.sha256(msgspec.json.encode(said)).hexdigest()


class Finish(StrEnum):
    """Why an answer ended."""

    WHOLE = "whole"  # the model was done
    CUT_OFF = "cut_off"  # at max_tokens, or at our own cap: never the same as "nothing found"
    TOO_LONG = "too_long"  # the question did not fit the model's context; there is no text


class ModelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back: text that should be JSON, and what it cost, failed tries included."""

    text: str
    finish: Finish
    usage: Usage
    model: str = ""  # which one of a chain answered


class LanguageModel(Protocol):
    """Something that answers questions about a text.

    Attributes:
        name: which model, for the fingerprint of a run's configuration.
        chunk_tokens: how much text suits it in one question, in estimated tokens; some questions have
            half as much again.
        in_flight: how many questions it takes at once.
        is_literal: too small to be trusted with more than copying: it is asked about one
            sentence and one table at a time, and its words must stand in that sentence.
        price: of its tokens; of several endpoints, the highest.
    """

    @property
    def name(self) -> str: ...
    @property
    def chunk_tokens(self) -> int: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def is_literal(self) -> bool: ...
    @property
    def price(self) -> Price: ...

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        """Ask, and wait for the answer.

        Raises:
            ModelUnavailable: no answer after all tries; asking again later may help.
            ModelExhausted: the quota is used up; do not ask before it is back.
            ModelRefused: the endpoint will not serve us as we are set up.
        """
        ...

    async def reach(self) -> str | None:
        """Ask, at no cost, whether questions would get an answer or a refusal; why not, or ``None``."""
        ...


class BatchResult(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of a batch, by the keys it was submitted with.

    Attributes:
        is_done: nothing more will come. What is then in neither of the other two was not asked at all.
        answers: also of a batch that expired or was cancelled before its end.
        failed: questions without a usable answer, and why; they may be asked one by one.
    """

    is_done: bool
    answers: dict[str, ModelAnswer] = {}
    failed: dict[str, str] = {}


class Batches(Protocol):
    """Many questions at once, at half the price, answered within a day."""

    async def submit(self, requests: Mapping[str, ModelRequest], *, key: str) -> str:
        """Hand in *requests*; what the endpoint calls the batch. At most ``BATCH_REQUESTS`` go into one.

        Args:
            key: a name of ours, by which ``find`` finds the batch when nobody noted what it is called.

        Raises:
            ModelUnavailable, ModelExhausted, ModelRefused: as when one question is asked; an endpoint
                without batches refuses. Whether anything was handed in, ``find`` tells later.
        """
        ...

    async def find(self, key: str) -> str | None:
        """The batch that was submitted under *key*; ``None``: there is none. Raises as ``submit`` does."""
        ...

    async def check(self, batch_id: str) -> BatchResult:
        """How far a batch has come. Raises as ``submit`` does."""
        ...

    async def discard(self, batch_id: str) -> None:
        """Delete its questions and answers there, as far as that can be done: they are people's documents."""
        ...


Through = Callable[[LanguageModel], LanguageModel]  # what a run puts before a model: journal and budget


class Models(msgspec.Struct, frozen=True):
    """Who may be asked: *anywhere* for agents that may use the cloud, *local* for those that may not."""

    anywhere: LanguageModel | None = None
    local: LanguageModel | None = None
    batches_anywhere: Batches | None = None
    batches_local: Batches | None = None

    def choose(self, *, allow_cloud: bool) -> LanguageModel | None:
        """The model of an agent; ``None``: rules alone find items."""
        return self.anywhere if allow_cloud else self.local

    def choose_batches(self, *, allow_cloud: bool) -> Batches | None:
        """Where the same model takes many questions at once; ``None``: nowhere."""
        return self.batches_anywhere if allow_cloud else self.batches_local


class ModelError(HubError):
    """The model gave nothing that can be used. *spent* is what it cost all the same."""

    def __init__(self, message: str, *, spent: Usage | None = None) -> None:
        super().__init__(message)
        self.spent = spent or Usage()


class ModelUnavailable(ModelError):
    """The endpoint could not be reached or kept failing, after all tries; later it may answer."""

    code = ErrorCode.MODEL_UNAVAILABLE


class ModelExhausted(ModelError):
    """The quota is used up: a run pauses and keeps its work.

    *retry_after_s* is the wait the endpoint asked for; ``None`` when it told none
    (``billing`` never does). Of a ``budget``, ours and not the endpoint's, the time until its day is over.
    """

    code = ErrorCode.MODEL_EXHAUSTED

    def __init__(
        self,
        message: str,
        *,
        reason: Literal["rate_limit", "billing", "budget"],
        retry_after_s: float | None = None,
        spent: Usage | None = None,
    ) -> None:
        super().__init__(message, spent=spent)
        self.reason = reason
        self.retry_after_s = retry_after_s


class ExtractionError(ModelError):
    """This document cannot be extracted as things are; the unit fails and says why."""

    code = ErrorCode.MODEL_ANSWER_INVALID


class AnswerCutOff(ExtractionError):
    """The answer did not fit, however small the piece of text was made."""

    code = ErrorCode.MODEL_ANSWER_CUT_OFF


class ModelRefused(ExtractionError):
    """The endpoint refuses what we ask: a wrong key, a wrong model name, a request it cannot read."""

    code = ErrorCode.MODEL_REFUSED
