"""Parsing of a model endpoint's response: token counts, text, and detection of endless answers. Pure.

An answer is read in each form that has its text: parts of a text, arguments of a call, a stream that was not
requested, a wrong encoding, or other bytes around it. A member of a wrong type makes no other member
unreadable, and a body without a text is described for a person.

``runs_away`` recognizes endless blanks and repetitions.
"""

import json
import re
from contextlib import suppress
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw

from hub.base.log import foreign_words
from hub.base.outbound.client import MAX_ANSWER_BYTES
from hub.base.outbound.rules import bounded
from hub.extraction.answers import is_whole, without_thoughts
from hub.extraction.error_bodies import member
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
# Of choices decoded at once: MAX_CHARS in escapes of six bytes. Nested lists of this size take 40 ms.
_MAX_BYTES: Final = 6 * MAX_CHARS
_BYTES_PER_TOKEN: Final = 2  # at least, of the text of an answer; the other tokens were thoughts
_DECODER: Final = json.JSONDecoder(strict=False)


AnswerText = Annotated[str, Meta(max_length=MAX_ANSWER_BYTES)]


class TokenCounts(msgspec.Struct, frozen=True):
    """Token counts of the endpoint; *thoughts* of *completion* were thoughts, as far as it tells."""

    prompt: int = 0
    completion: int = 0
    thoughts: int = 0


class Unusable(Exception):
    """Answer without a text, in words that follow "answered with"; a retry may succeed.

    *counted*: its tokens; None if it does not tell them.
    """

    def __init__(self, words: str, counted: TokenCounts | None = None) -> None:
        super().__init__(words)
        self.counted = counted


class Completion(msgspec.Struct, frozen=True):
    """First choice of a completion that has a text.

    Attributes:
        text: without thoughts; empty also if these left too little of the limit to the answer.
        is_runaway: the answer would not have ended: endless blanks, or endless repetition.
        words: finish reason of an answer that a filter ended, or a description of one without a text.
        thinking_tokens: estimated tokens of the thoughts before the text.
        counted: its tokens; None if it does not tell them.
    """

    text: str
    finish: Finish
    is_runaway: bool = False
    words: str = ""
    thinking_tokens: int = 0
    counted: TokenCounts | None = None


class ResponseBody(msgspec.Struct):
    """Body of a response, or a part of a stream. Its members are decoded when their size is known."""

    choices: Raw = Raw()
    usage: Raw = Raw()


def completion_of(
    body: bytes, *, room: int = 0, most_prompt: int = 10**8, most_completion: int = 10**8
) -> Completion:
    """Parse the answer in *body*.

    Args:
        room: tokens for thoughts in the limit of the answer.
        most_prompt: the most tokens that the question can have; a higher count is a mistake.
        most_completion: likewise of the answer.

    Raises:
        Unusable: no choice, or no finish reason of a text that is not complete.
    """
    bodies = _bodies(body)
    counted = _tokens_of(bodies, most_prompt, most_completion)
    lists = [choices for part in bodies if isinstance(choices := _decoded(part.choices), list)]
    choices = [_chosen(found) for found in lists if found]
    if not choices or any(member(choice, "error") for choice in choices):
        what = "no list of choices" if bodies else "no JSON object" if body.strip() else "an empty body"
        if any(len(bytes(part.choices)) > _MAX_BYTES for part in bodies):
            what = "a longer answer than any text has"
        raise Unusable("an error" if choices else "an empty list of choices" if lists else what, counted)
    texts, refusals, thoughts, reasons = zip(*map(_texts, choices), strict=True)
    whole, refusal = "".join(texts), "".join(refusals)
    text = without_thoughts(whole)
    reason = next(filter(None, reversed(reasons)), "stop" if is_whole(text) else "")
    if not reason:
        raise Unusable("a part of an answer: it does not say how it ended", counted)
    filtered = foreign_words(reason) if _FILTERED.search(reason) else ""
    if refusal or (filtered and not text):
        refused = REFUSED + foreign_words(refusal or filtered)
        return Completion(refused, Finish.WHOLE, counted=counted)
    visible = (len(whole) - len(text) + len("".join(thoughts))) // 4
    counts = counted or TokenCounts()
    hidden = counts.completion - len(text.encode()) // _BYTES_PER_TOKEN
    thinking_tokens = max(visible, counts.thoughts, hidden)
    is_runaway = runs_away(text)
    is_cut = is_runaway or filtered or reason in _CUT_OFF or len(text) > MAX_CHARS
    if reason in _CUT_OFF and thinking_tokens > room:
        text = ""
    without = "" if text.strip() or is_cut else "thoughts alone" if visible or counts.thoughts else "no text"
    finish = Finish.CUT_OFF if is_cut else Finish.WHOLE
    return Completion(text[:MAX_CHARS], finish, is_runaway, filtered or without, thinking_tokens, counted)


def _bodies(content: bytes) -> list[ResponseBody]:
    """Return the JSON objects of a response: the only one, else those of its lines, else the first."""
    bodies: list[ResponseBody] = []
    with suppress(*NO_JSON):
        return [msgspec.json.decode(content.decode(), type=ResponseBody)]
    try:
        text = content.decode(json.detect_encoding(content))
    except UnicodeError:
        text = content.decode("cp1252", "replace")
    for line in text.split("\n"):
        with suppress(*NO_JSON):
            bodies.append(msgspec.json.decode(line.removeprefix("data:"), type=ResponseBody))
    with suppress(ValueError, OverflowError, RecursionError):
        if not bodies:  # as Python reads it: with NaN, and with other bytes around it
            first, _ = _DECODER.raw_decode(text[:_MAX_BYTES].lstrip("[ \t\r\n"))
            bodies.append(msgspec.json.decode(msgspec.json.encode(first), type=ResponseBody))
    return bodies


def _tokens_of(bodies: list[ResponseBody], most_prompt: int, most_completion: int) -> TokenCounts | None:
    usages = [usage for part in bodies if isinstance(usage := _decoded(part.usage), dict)]
    if not usages:
        return None
    prompt, completion, thoughts = (
        int(bounded(member(usages[-1], *names), least=0, most=most, default=0))
        for most, *names in (
            (most_prompt, "prompt_tokens"),
            (most_completion, "completion_tokens"),
            (most_completion, "completion_tokens_details", "reasoning_tokens"),
        )
    )
    return TokenCounts(prompt, completion, thoughts)


def _decoded(value: Raw) -> Any:
    """Decode a member of a body; None if it is missing, or larger than that of any answer."""
    with suppress(*NO_JSON):  # a number beyond any float, or nested too deep
        return msgspec.json.decode(value) if len(bytes(value)) <= _MAX_BYTES else None


def _chosen(choices: list[Any]) -> Any:
    return (
        next((choice for choice in choices if _texts(choice)[0]), choices[0]) if choices[1:] else choices[0]
    )


def _texts(choice: Any) -> tuple[str, str, str, str]:
    """Return the text of a choice, the words of a refusal, the thoughts and the finish reason."""
    turn = member(choice, "message") or member(choice, "delta") or {"content": member(choice, "text")}
    turn = {"content": turn} if isinstance(turn, str) else turn
    calls = member(turn, "tool_calls")
    calls = [*(calls if isinstance(calls, list) else ()), {"function": member(turn, "function_call")}]
    text = _text(member(turn, "content")) or "".join(
        _text(member(call, "function", "arguments")) for call in calls
    )
    thoughts = _text(member(turn, "reasoning_content") or member(turn, "reasoning"))
    reason = member(choice, "finish_reason")
    return text, _text(member(turn, "refusal")), thoughts, reason if isinstance(reason, str) else ""


def _text(value: Any) -> str:
    """Return the text that *value* is, or has in its parts; else its JSON, which may be the answer itself."""
    match value:
        case str():
            return value
        case {"type": "thinking" | "reasoning"} | None | []:
            return ""
        case {"text": str(text)}:
            return text
        case [*parts] if not any(member(part, "table") for part in parts):
            return "".join(_text(part) for part in parts if isinstance(part, str) or member(part, "text"))
        case _:
            return msgspec.json.encode(value).decode()


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
