"""Ticks of lines and to-dos that their owner wrote: where they are, and what sets or takes away one.

Only the tick changes: the mark in a box of Markdown, a sign or word for one, ``x`` with its dates in
todo.txt, the state of a to-do.
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from hub.text.folding import splits, words_of
from hub.text.rows.calendar import place_of_to_do, with_other_state
from hub.text.rows.lines import with_other_tick

_BULLET: Final = r"(?:\*{1,9}|[-+]|\d{1,9}[.)])"
_SIGN: Final = r"\[(?P<mark>[ /xX]?)\]|\((?P<round>[ xX])\)|(?P<sign>[\u2610\u2611])|(?P<word>TODO|DONE):?"
_BOX: Final = re.compile(rf"[ \t>]*+(?:{_BULLET}[ \t]*+)?[*_]{{0,2}}+(?:{_SIGN})[ \t]")
_OTHERS: Final = {"x": " ", "X": " ", "\u2611": "\u2610", "DONE": "TODO", "\u2610": "\u2611", "TODO": "DONE"}
_DONE: Final = frozenset({"x", "X", "\u2611", "DONE"})
# What changes with a tick: all before the words of a line, and the priority behind them.
_LEAD: Final = re.compile(
    rf"[ \t>]*+(?:{_BULLET}[ \t]++)?"
    r"(?:(?:\[[^\n]?\]|\([ xX]\)|[\u2610\u2611]|(?:TODO|DONE):?)[ \t]++)?(?:x[ \t]++)?"
    r"(?:(?:\([A-Z]\)|\d{4}-\d\d-\d\d)[ \t]++){0,4}"
)
_LEAD_CHARS: Final = 200
_MAX_CHARS: Final = 200_000  # of a text whose lines are compared
_MAX_FOUND: Final = 1_000  # places of the same words
_LINE_END: Final = re.compile(r"[\r\n]+")
_PRIORITY: Final = re.compile(r"(?<=\S)[ \t]++pri:[A-Z][ \t]*\Z")


class Tick(NamedTuple):
    """Tick at a place in a text, and *other*, which takes the place of ``text[start:end]`` to change it."""

    is_done: bool
    other: str
    start: int
    end: int


class Line(NamedTuple):
    """Line of a text and its place."""

    text: str
    start: int


def lines_of(text: str, title: str) -> list[Line]:
    """Return the lines of a text that have all words of a title."""
    words, start, found = set(words_of(title)), 0, list[Line]()
    for line in text[:_MAX_CHARS].splitlines(keepends=True):
        if words and words.issubset(words_of(line)):
            found.append(Line(line.rstrip(), start))
        start += len(line)
    return found


def place_of_quote(
    text: str, quote: str, start: int | None = None, is_by_others: Callable[[int], bool] | None = None
) -> tuple[int, int] | None:
    """Return where a quote is: at *start*, once in the text, or in one line that was ticked since.

    It begins and ends with whole words: another line may begin with the same letters. *is_by_others* is
    ``others_at`` of the text, if the quote is in no words of others.
    """
    if not quote.strip():
        return None

    def is_at(at: int, words: str) -> bool:
        is_own_place = is_by_others is None or not is_by_others(at)
        return is_own_place and not splits(text, at) and not splits(text, at + len(words))

    if start is not None and text.startswith(quote, start) and is_at(start, quote):
        return start, start + len(quote)
    at = -1
    whole: list[int] = []
    for _ in range(_MAX_FOUND):
        if (at := text.find(quote, at + 1)) < 0 or len(whole) > 1:
            break
        whole += [at] if is_at(at, quote) else []
    if len(whole) == 1 and at < 0:
        return whole[0], whole[0] + len(quote)
    lead = _LEAD.match(quote)
    words = _PRIORITY.sub("", quote[lead.end() if lead else 0 :]).strip()
    places: list[int] = []
    at = -1
    for _ in range(_MAX_FOUND if words else 0):
        if (at := text.find(words, at + 1)) < 0:
            return (places[0], places[0] + len(words)) if len(places) == 1 else None
        begin = _line_begin(text, at, max(0, at - _LEAD_CHARS))
        is_line = is_at(at, words) and _LEAD.fullmatch(text, begin, at)
        places += [at] if is_line else []
    return None


def tick_of(
    text: str,
    quote: str,
    start: int | None,
    kind: str,
    at_ms: int = 0,
    is_by_others: Callable[[int], bool] | None = None,
) -> Tick | None:
    """Return the tick of the only line or to-do of a quote; None if it has none, or further ones.

    Args:
        kind: that of a place with this text: Markdown has boxes, a todo.txt may have boxes besides.
        at_ms: when it is ticked, in epoch milliseconds.
        is_by_others: as for ``place_of_quote``.
    """
    if (found := place_of_quote(text, quote, start, is_by_others)) is None:
        return None
    at, end = found
    if kind == "ics":
        place = place_of_to_do(text, at)
        return None if place is None else Tick(*with_other_state(text[slice(*place)], at_ms), *place)
    begin, line_end = line_around(text, at)
    later = text[at:end].rstrip()
    if box := _BOX.match(text, begin):
        group = box.lastgroup or "mark"
        several = any(_BOX.match(text, at + line.end()) for line in _LINE_END.finditer(later))
        return None if several else Tick(box[group] in _DONE, _OTHERS.get(box[group], "x"), *box.span(group))
    if kind != "todo.txt" or begin == line_end or _LINE_END.search(later):
        return None
    return Tick(*with_other_tick(text[begin:line_end], at_ms), begin, line_end)


def line_around(text: str, at: int) -> tuple[int, int]:
    """Return where the line at a place begins and ends; a carriage return ends a line, too."""
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    at_return = text.find("\r", at, end)
    return _line_begin(text, at), end if at_return < 0 else at_return


def _line_begin(text: str, at: int, first: int = 0) -> int:
    begin = text.rfind("\n", first, at) + 1
    return max(begin, text.rfind("\r", max(begin, first), at) + 1)
