"""Parsing of a model endpoint's response: token counts, and detection of endless answers. Pure.

``runs_away`` recognizes endless blanks and repetitions.
"""

import re
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from hub.base.log import foreign_words
from hub.base.outbound.client import MAX_ANSWER_BYTES
from hub.base.outbound.rules import bounded
from hub.extraction.model import REFUSED, Finish
from protocol.frame import NO_JSON, read_json

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


class TokenCounts(msgspec.Struct, frozen=True):
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


class _CompletionUsage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Counted(msgspec.Struct):
    usage: _CompletionUsage | None = None


AnswerText = Annotated[str, Meta(max_length=MAX_ANSWER_BYTES)]
AnswerWord = Annotated[str, Meta(max_length=1_000)]


class _Message(msgspec.Struct):
    content: AnswerText | None = None
    refusal: AnswerText | None = None


class _CompletionChoice(msgspec.Struct):
    message: _Message = msgspec.field(default_factory=_Message)
    finish_reason: AnswerWord | None = None
    error: Any = None


class _CompletionBody(msgspec.Struct):
    choices: Annotated[list[_CompletionChoice], Meta(max_length=100)] = []


_MAX_TOKENS: Final = 10**8  # of one question; no model takes as many


def tokens_of(body: bytes) -> TokenCounts | None:
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
    return TokenCounts(prompt, completion)


def completion_of(body: bytes) -> Completion:
    """Parse the answer in *body*.

    Raises:
        Unusable: no chat completion, no choice, or no finish reason.
    """
    try:
        choices = msgspec.json.decode(body, type=_CompletionBody).choices
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
