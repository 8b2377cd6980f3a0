"""What an endpoint sends back: a chat completion, read no further than we need it. Pure."""

from typing import Final

import msgspec

from hub.extraction.model import Finish
from protocol.json_bounds import read_json

# What endpoints call an answer that was ended for the model. One that a filter ended is no whole one either.
_CUT_OFF: Final = frozenset({"length", "max_tokens", "model_length", "content_filter"})
_ENDLESS: Final = 400  # characters at the end that are blank, or the same again and again
_ROUNDS: Final = 6  # the same item five times more is no list any longer
_LONGEST_ROUND: Final = 400  # characters: an item
MOST_CHARS: Final = 65_536  # sixteen for each of the 4,096 tokens that we ask for at most


class Unusable(Exception):
    """It is no answer, though it came as one; another try may bring one."""


class Tokens(msgspec.Struct, frozen=True):
    """What the endpoint counted."""

    prompt: int = 0
    completion: int = 0


class Completion(msgspec.Struct, frozen=True):
    """The first choice.

    Attributes:
        is_runaway: it would never have ended: blanks without end, or the same over and over.
    """

    text: str
    finish: Finish
    is_runaway: bool = False


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Counted(msgspec.Struct):
    usage: _Usage | None = None


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Body(msgspec.Struct):
    choices: list[_Choice] = []


def tokens_of(body: bytes) -> Tokens | None:
    """What *body* says it cost, whatever else is wrong with it; ``None`` where it says nothing."""
    try:
        usage = msgspec.json.decode(body, type=_Counted).usage
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if usage is None:
        return None
    return Tokens(max(0, usage.prompt_tokens or 0), max(0, usage.completion_tokens or 0))


def completion_of(body: bytes) -> Completion:
    """The answer in *body*.

    Raises:
        Unusable: it is no chat completion, or one without a choice, or one that does not say how it ended.
    """
    try:
        choices = msgspec.json.decode(body, type=_Body).choices
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unusable("what it sent is no chat completion") from None
    if not choices:
        raise Unusable("what it sent has no choice in it")
    reason = choices[0].finish_reason
    if not reason:
        raise Unusable("what it sent does not say how the answer ended")
    text = choices[0].message.content or ""
    is_runaway = runs_away(text)
    is_cut = is_runaway or reason in _CUT_OFF or len(text) > MOST_CHARS
    return Completion(text[:MOST_CHARS], Finish.CUT_OFF if is_cut else Finish.WHOLE, is_runaway)


def runs_away(text: str) -> bool:
    """Whether *text* would never have ended: blanks, or one round over and over, and no whole JSON."""
    blanks = len(text) - len(text.rstrip())
    if blanks < _ENDLESS and not _repeats(text[-_ROUNDS * _LONGEST_ROUND :]):
        return False
    try:
        read_json(text)
    except (msgspec.DecodeError, RecursionError):  # the latter: brackets without an end
        return True
    return False


def _repeats(tail: str) -> bool:
    """Whether *tail* ends in rounds that are all the same."""
    for length in range(1, _LONGEST_ROUND + 1):
        span = max(_ENDLESS, _ROUNDS * length)
        if span > len(tail):
            return False
        if tail[-span:-length] == tail[length - span :]:
            return True
    return False
