"""Chat completions: requests in the endpoint's dialect, parsing of answers, and answers that never end. Pure.

Of the forms of a JSON answer, the best that the endpoint supports is used, detected by refusals:
``json_schema`` enforces the schema, ``json_object`` only JSON; ``prompt`` relies on instructions.
``runs_away`` recognizes endless blanks and repetitions.
"""

import re
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from hub.base.log import foreign_words
from hub.base.outbound.client import MAX_ANSWER_BYTES
from hub.base.outbound.rules import bounded
from hub.extraction.model import REFUSED, Finish, Message, ModelRequest
from protocol.frame import NO_JSON, read_json


class Mode(StrEnum):
    """Mechanism that determines the form of the answer."""

    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    PROMPT = "prompt"


_SIMPLER = {Mode.JSON_SCHEMA: Mode.JSON_OBJECT, Mode.JSON_OBJECT: Mode.PROMPT}


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """Known capabilities of an endpoint; the best is assumed until a refusal."""

    mode: Mode = Mode.JSON_SCHEMA
    limit_field: str = "max_tokens"  # newer hosted models require max_completion_tokens
    has_temperature: bool = True  # some of them refuse a temperature
    answer_tokens: int | None = None  # most that the endpoint lets a request ask for; None: not refused yet

    def body(self, model: str, request: ModelRequest) -> dict[str, Any]:
        """Create the body of a request."""
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": turn.role, "content": turn.content} for turn in self._messages(request)],
            self.limit_field: min(request.max_tokens, self.answer_tokens or request.max_tokens),
        }
        if self.has_temperature:
            body["temperature"] = 0
        match self.mode:
            case Mode.JSON_SCHEMA:
                shape = {"name": "items", "strict": True, "schema": request.schema}
                body["response_format"] = {"type": "json_schema", "json_schema": shape}
            case Mode.JSON_OBJECT:
                body["response_format"] = {"type": "json_object"}
            case Mode.PROMPT:
                pass
        return body

    def within_limit(self, message: str, max_tokens: int) -> "Dialect | None":
        """Return the dialect for the limit of an answer that *message* names, or None if it names none.

        Args:
            message: of the endpoint.
            max_tokens: limit that the refused request asked for.
        """
        message = message[:1_000]  # characters of a refusal
        below = min(max_tokens, self.answer_tokens or max_tokens)
        numbers = (int(re.sub(r"[,_]", "", found)) for found in _NUMBER.findall(message))
        # With less than 256, no chunk could be answered.
        limit = max((number for number in numbers if 256 <= number < below), default=None)
        is_limit = limit is not None and _ABOUT_LIMIT.search(message) is not None
        return msgspec.structs.replace(self, answer_tokens=limit) if is_limit else None

    def after_refusal(self, param: str | None) -> "Dialect | None":
        """Return a simpler dialect after a refusal, or None if none exists.

        Args:
            param: refused parameter, if the endpoint names it.
        """
        if param == "temperature" and self.has_temperature:
            return msgspec.structs.replace(self, has_temperature=False)
        if param == "max_tokens" and self.limit_field == "max_tokens":
            return msgspec.structs.replace(self, limit_field="max_completion_tokens")
        if self.mode in _SIMPLER:
            return msgspec.structs.replace(self, mode=_SIMPLER[self.mode])
        return None

    def after_answer(self, text: str) -> "Dialect":
        """Return the dialect to use after the first answer *text*.

        Some servers accept a schema, but do not enforce it: the model has not even seen it then.
        """
        is_held = text.lstrip()[:1] in ("", "{") or text.startswith(REFUSED)
        if is_held or self.mode is not Mode.JSON_SCHEMA:
            return self
        return msgspec.structs.replace(self, mode=Mode.JSON_OBJECT)

    def __str__(self) -> str:
        limit = "" if self.answer_tokens is None else f"/{self.answer_tokens}"
        return f"{self.mode}/{self.limit_field}{limit}"

    def _messages(self, request: ModelRequest) -> tuple[Message, ...]:
        if self.mode is Mode.JSON_SCHEMA:
            return request.messages
        schema = msgspec.json.encode(request.schema).decode()
        instruction = f"Answer with one JSON object and nothing else. It must fit this JSON Schema:\n{schema}"
        system, *turns = request.messages
        return (Message("system", f"{system.content}\n\n{instruction}"), *turns)


_ABOUT_LIMIT: Final = re.compile(r"max_(?:completion_|output_)?tokens|(?:completion|output) tokens", re.I)
_NUMBER: Final = re.compile(
    r"(?<![\w.-])\d{1,3}(?:[,_]?\d{3}){0,3}(?![\w-])"
)  # none of a model's name or a date


_CUT_OFF: Final = frozenset({"length", "max_tokens", "model_length"})  # finish reasons of truncated answers
_FILTERED: Final = re.compile(  # finish reasons of refused ones, behind which a provider may name its own
    "content.?filter|safety|refus|sensitive|prohibited|blocklist|recitation|guardrail", re.I
)
_ENDLESS: Final = 400  # trailing characters that are blank or periodic
_ROUNDS: Final = 6  # repetitions; six equal items are not a plausible list
_LONGEST_ROUND: Final = 400  # characters: an item
MAX_CHARS: Final = 65_536  # four for each of the 16,384 tokens of the largest request


class Unusable(Exception):
    """Unusable answer; a retry may succeed."""


class Tokens(msgspec.Struct, frozen=True):
    """Token counts of the endpoint."""

    prompt: int = 0
    completion: int = 0


class Completion(msgspec.Struct, frozen=True):
    """First choice of a completion.

    Attributes:
        is_runaway: the answer would not have ended: endless blanks, or endless repetition.
        filtered: finish reason of an answer that a filter ended.
    """

    text: str
    finish: Finish
    is_runaway: bool = False
    filtered: str = ""


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Counted(msgspec.Struct):
    usage: _Usage | None = None


AnswerText = Annotated[str, Meta(max_length=MAX_ANSWER_BYTES)]
AnswerWord = Annotated[str, Meta(max_length=1_000)]


class _Message(msgspec.Struct):
    content: AnswerText | None = None
    refusal: AnswerText | None = None


class _Choice(msgspec.Struct):
    message: _Message = msgspec.field(default_factory=_Message)
    finish_reason: AnswerWord | None = None
    error: Any = None


class _Body(msgspec.Struct):
    choices: Annotated[list[_Choice], Meta(max_length=100)] = []


_MAX_TOKENS: Final = 10**8  # of one question; no model takes as many


def tokens_of(body: bytes) -> Tokens | None:
    """Return the token counts in *body*, even if it is otherwise invalid; ``None`` if missing."""
    try:
        usage = msgspec.json.decode(body, type=_Counted).usage
    except NO_JSON:
        return None
    if usage is None:
        return None
    prompt, completion = (
        int(bounded(count, least=0, most=_MAX_TOKENS, default=0))
        for count in (usage.prompt_tokens, usage.completion_tokens)
    )
    return Tokens(prompt, completion)


def completion_of(body: bytes) -> Completion:
    """Parse the answer in *body*.

    Raises:
        Unusable: no chat completion, no choice, or no finish reason.
    """
    try:
        choices = msgspec.json.decode(body, type=_Body).choices
    except NO_JSON:
        is_stream = body.lstrip()[:5] == b"data:"
        what = "a stream, which was not asked for" if is_stream else "no chat completion"
        raise Unusable(f"what it sent is {what}") from None
    if not choices:
        raise Unusable("what it sent has no choice in it")
    if choices[0].error:
        raise Unusable("what it sent is an error")
    reason = choices[0].finish_reason
    if not reason:
        raise Unusable("what it sent does not say how the answer ended")
    text, refusal = choices[0].message.content or "", choices[0].message.refusal
    filtered = foreign_words(reason) if _FILTERED.search(reason) else ""
    if refusal or (filtered and not text):
        return Completion(REFUSED + foreign_words(refusal or filtered), Finish.WHOLE)
    is_runaway = runs_away(text)
    is_cut = is_runaway or filtered or reason in _CUT_OFF or len(text) > MAX_CHARS
    return Completion(text[:MAX_CHARS], Finish.CUT_OFF if is_cut else Finish.WHOLE, is_runaway, filtered)


def runs_away(text: str) -> bool:
    """Return True if *text* ends in endless blanks or repetition, and is not complete JSON."""
    blanks = len(text) - len(text.rstrip())
    if blanks < _ENDLESS and not _repeats(text[-_ROUNDS * _LONGEST_ROUND :]):
        return False
    try:
        read_json(text)
    except (msgspec.DecodeError, RecursionError):  # a RecursionError for endless brackets
        return True
    return False


def _repeats(tail: str) -> bool:
    """Return True if *tail* ends in repetitions of one string."""
    for length in range(1, _LONGEST_ROUND + 1):
        span = max(_ENDLESS, _ROUNDS * length)
        if span > len(tail):
            return False
        if tail[-span:-length] == tail[length - span :]:
            return True
    return False
