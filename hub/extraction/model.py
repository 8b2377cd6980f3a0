"""Interface of language models: request, answer, price, errors and guarantees.

Guarantees of every ``LanguageModel``:

- ``answer`` retries by itself if that may help, and never before the endpoint permits it;
- it may be called from many tasks concurrently; it limits the concurrency itself;
- its usage is reported in the answer or the error, including failed attempts.
"""

import hashlib
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final, Literal, Protocol

import msgspec

from hub.base.log import foreign_words
from protocol.errors import ErrorCode, HubError
from protocol.work import Usage

JsonSchema = dict[str, object]

REFUSED: Final = "The model refuses this text: "  # begin of an answer that is none, as the journal keeps it
# Tokens before an answer: room that is enough for most models that think, and an end for those that never do.
MAX_THINKING_TOKENS: Final = 8_192
LESS_THINKING: Final = ": switch thinking off at its endpoint, or lower its effort, or name another model"
BATCH_REQUESTS: Final = 1_000  # in one batch: its answers are loaded at once, a few MiB


class PromptMessage(msgspec.Struct, frozen=True):
    """Turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Price(msgspec.Struct, frozen=True):
    """Price of a token in billionths of a US dollar: US dollars per million tokens, times a thousand."""

    prompt_nanos: int = 0
    completion_nanos: int = 0

    def of(self, prompt_tokens: int, completion_tokens: int) -> int:
        """Return the costs of these tokens in billionths of a US dollar."""
        return prompt_tokens * self.prompt_nanos + completion_tokens * self.completion_nanos


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Question, to be answered by JSON that matches *schema*, in at most *max_tokens* tokens.

    Attributes:
        user: owner of the work: an endpoint's capacity is divided fairly among users.
        thinking_tokens: room for thoughts before the answer; the same question may have more or less.
        is_control: it is about no text, and waits for none that may never be answered.
    """

    messages: tuple[PromptMessage, ...]
    schema: JsonSchema
    max_tokens: int
    user: str = ""
    thinking_tokens: int = 0
    is_control: bool = False

    @property
    def limit(self) -> int:
        """The most tokens that thoughts and answer may have together."""
        return self.max_tokens + self.thinking_tokens

    @property
    def digest(self) -> str:
        """Digest that is equal for equal questions of any user: hex, 64 characters."""
        parts = (self.messages, self.schema, self.max_tokens)
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


class Finish(StrEnum):
    """Reason for the end of an answer."""

    WHOLE = "whole"  # the model finished
    CUT_OFF = "cut_off"  # at max_tokens, or at the hub's limit: never equal to "no items"
    TOO_LONG = "too_long"  # the question exceeded the model's context; no text


class ModelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of a model: text that should be JSON, with its usage including failed attempts.

    *thinking_tokens*: estimated tokens of thoughts before the text; no journal keeps them.
    """

    text: str
    finish: Finish
    usage: Usage
    model: str = ""  # the endpoint of a chain that answered
    words: str = ""  # of the endpoint about an answer that is not whole; no journal keeps them
    thinking_tokens: int = 0

    @property
    def is_crowded_out(self) -> bool:
        """True if thoughts used up the limit before the answer."""
        return self.finish is Finish.CUT_OFF and not self.text

    @property
    def refusal(self) -> str:
        """Words with which the model refused the text for its content; empty if it did not."""
        # A model may begin its text so itself.
        return foreign_words(self.text.removeprefix(REFUSED)) if self.text.startswith(REFUSED) else ""


class LanguageModel(Protocol):
    """Language model that answers questions about a text.

    Attributes:
        name: identifies the model in the fingerprint of a run's configuration.
        chunk_tokens: suitable amount of text in one question, in estimated tokens; some questions have 1.5
            times as much.
        in_flight: maximum number of concurrent questions.
        is_literal: too small for anything but copying: it is asked about one sentence and one table at a
            time, and its words must occur in that sentence.
        price: price of its tokens; for several endpoints, the highest.
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
        """Send a request and return the answer.

        Raises:
            ModelUnavailable: no answer after all attempts; a later retry may succeed.
            ModelExhausted: the quota is used up; do not retry before it is available again.
            ModelRefused: the endpoint refuses the configured access.
        """
        ...

    async def reach(self) -> str | None:
        """Check at no cost whether a question would get a response; return the problem, or ``None``."""
        ...


class BatchResult(msgspec.Struct, frozen=True, kw_only=True):
    """State of a batch, by the keys of its questions.

    Attributes:
        is_done: no further results will come. Questions in neither of the other two were not processed.
        answers: also of a batch that expired or was cancelled.
        failed: reasons for questions without a usable answer; they may be asked individually.
    """

    is_done: bool
    answers: dict[str, ModelAnswer] = {}
    failed: dict[str, str] = {}


class Batches(Protocol):
    """Interface for many questions at half the price, answered within a day."""

    async def submit(self, requests: Mapping[str, ModelRequest], *, key: str) -> str:
        """Submit at most ``BATCH_REQUESTS`` requests; return the endpoint's id of the batch.

        Args:
            key: the hub's name for the batch, by which ``find`` finds it if its id was not recorded.

        Raises:
            ModelUnavailable, ModelExhausted, ModelRefused: as for a single question; also if the endpoint has
            no batches. ``find`` then determines whether the batch was submitted.
        """
        ...

    async def find(self, key: str) -> str | None:
        """Return the id of the batch submitted under *key*, or None. Raises as ``submit`` does."""
        ...

    async def check(self, batch_id: str) -> BatchResult:
        """Return the state of a batch. Raises as ``submit`` does."""
        ...

    async def discard(self, batch_id: str) -> None:
        """Delete a batch's questions and answers at the endpoint, if possible: they contain documents."""
        ...


Through = Callable[[LanguageModel], LanguageModel]  # wrappers that a run adds to a model: journal and budget


class Models(msgspec.Struct, frozen=True):
    """Available models: *anywhere* for agents that may use the cloud, *local* for the others.

    Transcribers answer questions about recordings (``transcription``).
    """

    anywhere: LanguageModel | None = None
    local: LanguageModel | None = None
    batches_anywhere: Batches | None = None
    batches_local: Batches | None = None
    transcriber_anywhere: LanguageModel | None = None
    transcriber_local: LanguageModel | None = None

    def choose_transcriber(self, *, allow_cloud: bool) -> LanguageModel | None:
        """Return the transcriber of an agent, or None if it may use none."""
        return self.transcriber_anywhere if allow_cloud else self.transcriber_local

    def choose(self, *, allow_cloud: bool) -> LanguageModel | None:
        """Return the model of an agent, or None if only rules apply."""
        return self.anywhere if allow_cloud else self.local

    def choose_batches(self, *, allow_cloud: bool) -> Batches | None:
        """Return the batch client of the same model, or None if it has no batches."""
        return self.batches_anywhere if allow_cloud else self.batches_local


class ModelError(HubError):
    """Failure of a model. *spent* is the usage nonetheless; *hint* what to do, if it is known.

    *observed*: the message without what is true only if the endpoint treats all texts so.
    """

    def __init__(
        self,
        message: str,
        *,
        observed: str = "",
        spent: Usage | None = None,
        code: ErrorCode | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message)
        self.observed = observed or message
        self.hint = hint
        self.spent = spent or Usage()
        self.code = code or self.code


class ModelUnavailable(ModelError):
    """Unreachable or failing endpoint after all attempts; it may answer later."""

    code = ErrorCode.MODEL_UNAVAILABLE


class ModelExhausted(ModelError):
    """Used-up quota: a run pauses and keeps its work.

    *retry_after_s* is the wait that the endpoint requested; ``None`` if it did not (``billing`` never does).
    For a ``budget``, which is the hub's own, it is the time until the end of the day. *is_known*: that of
    another question, so that this one was not sent.
    """

    code = ErrorCode.MODEL_EXHAUSTED

    def __init__(
        self,
        message: str,
        *,
        reason: Literal["rate_limit", "billing", "budget"],
        retry_after_s: float | None = None,
        is_known: bool = False,
        observed: str = "",
        spent: Usage | None = None,
    ) -> None:
        super().__init__(message, observed=observed, spent=spent)
        self.reason = reason
        self.is_known = is_known
        self.retry_after_s = retry_after_s


class ExtractionError(ModelError):
    """Document that cannot be extracted now; the unit fails with this reason."""

    code = ErrorCode.MODEL_ANSWER_INVALID


class OddAnswer(ExtractionError):
    """Answer about a text in a form that cannot be read, or none in time for thoughts.

    It is a fault of the endpoint only if other texts get none, either.
    """


class ModelRefused(ExtractionError):
    """Request that the endpoint refuses: a wrong key, a wrong model name, or an unsupported request."""

    code = ErrorCode.MODEL_REFUSED
