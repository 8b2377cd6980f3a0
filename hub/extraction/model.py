"""The model as extraction sees it: a question, an answer, and the ways to get none.

Guarantees of every ``LanguageModel``:

- ``answer`` tries again by itself where that may help, and never before the endpoint allows it;
- it may be called from many tasks at once; the limit of questions in flight is its own;
- what it spent is told, in the answer or on the error, failed tries included.
"""

from enum import StrEnum
from typing import Literal, Protocol

import msgspec

from protocol.errors import ErrorCode, HubError

JsonSchema = dict[str, object]


class Usage(msgspec.Struct, frozen=True):
    """What was spent on a model: questions sent, and tokens as the endpoint counted them."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


class Message(msgspec.Struct, frozen=True):
    """One turn of the conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A question. The answer is to be JSON that fits *schema*, in at most *max_tokens* tokens."""

    messages: tuple[Message, ...]
    schema: JsonSchema
    max_tokens: int


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


class LanguageModel(Protocol):
    """Something that answers questions about a text.

    Attributes:
        name: which model, for the fingerprint of a run's configuration.
        chunk_tokens: how much text it copes with in one question, in estimated tokens.
        in_flight: how many questions it takes at once.
        is_literal: too small to be trusted with more than copying: it is asked about one
            sentence and one table at a time, and its words must stand in that sentence.
    """

    @property
    def name(self) -> str: ...
    @property
    def chunk_tokens(self) -> int: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def is_literal(self) -> bool: ...

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        """Ask, and wait for the answer.

        Raises:
            ModelUnavailable: no answer after all tries; asking again later may help.
            ModelExhausted: the quota is used up; do not ask before it is back.
            ModelRefused: the endpoint will not serve us as we are set up.
        """
        ...


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
    (``billing`` never does).
    """

    code = ErrorCode.MODEL_EXHAUSTED

    def __init__(
        self,
        message: str,
        *,
        reason: Literal["rate_limit", "billing"],
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
