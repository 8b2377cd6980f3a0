"""Ticks of lines and to-dos that their owner wrote: where they are, and what sets or takes away one.

Only the tick changes: the mark in a box of Markdown, ``x`` with its dates in todo.txt, the state of a to-do.
"""

import re
from typing import Final, NamedTuple

from hub.text.rows.calendar import place_of_to_do, with_other_state
from hub.text.rows.lines import with_other_tick

_BOX: Final = re.compile(r"[ \t>]*+(?:[-*+]|\d{1,9}[.)])[ \t]++\[(?P<mark>[ /xX])\][ \t]")
# What changes with a tick: all before the words of a line, and the priority behind them.
_LEAD: Final = re.compile(
    r"[ \t>]*+(?:(?:[-*+]|\d{1,9}[.)])[ \t]++)?(?:\[[^\n]\][ \t]++)?(?:x[ \t]++)?"
    r"(?:(?:\([A-Z]\)|\d{4}-\d\d-\d\d)[ \t]++){0,4}"
)
_LEAD_CHARS: Final = 200
_MAX_FOUND: Final = 1_000  # places of the same words
_PRIORITY: Final = re.compile(r"(?<=\S)[ \t]++pri:[A-Z][ \t]*\Z")


class Tick(NamedTuple):
    """Tick at a place in a text, and *other*, which takes the place of ``text[start:end]`` to change it."""

    is_done: bool
    other: str
    start: int
    end: int


def place_of_quote(text: str, quote: str, start: int | None = None) -> tuple[int, int] | None:
    """Return where a quote is: at *start*, once in the text, or in one line that was ticked since."""
    if start is not None and text.startswith(quote, start):
        return start, start + len(quote)
    at = text.find(quote)
    if at >= 0 and text.find(quote, at + 1) < 0:
        return at, at + len(quote)
    lead = _LEAD.match(quote)
    words = _PRIORITY.sub("", quote[lead.end() if lead else 0 :]).strip()
    places: list[int] = []
    at = -1
    for _ in range(_MAX_FOUND if words else 0):
        if (at := text.find(words, at + 1)) < 0:
            return (places[0], places[0] + len(words)) if len(places) == 1 else None
        begin = text.rfind("\n", max(0, at - _LEAD_CHARS), at) + 1
        places += [at] if _LEAD.fullmatch(text, begin, at) else []
    return None


def tick_at(text: str, at: int, kind: str, at_ms: int = 0) -> Tick | None:
    """Return the tick of the line or to-do at a place; None if it has none.

    Args:
        kind: that of a place with this text: Markdown has boxes, a todo.txt may have boxes besides.
        at_ms: when it is ticked, in epoch milliseconds.
    """
    if kind == "ics":
        place = place_of_to_do(text, at)
        return None if place is None else Tick(*with_other_state(text[slice(*place)], at_ms), *place)
    begin = text.rfind("\n", 0, at) + 1
    if box := _BOX.match(text, begin):
        is_done = box["mark"] in "xX"
        return Tick(is_done, " " if is_done else "x", *box.span("mark"))
    if kind != "todo.txt":
        return None
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    return Tick(*with_other_tick(text[begin:end], at_ms), begin, end)
