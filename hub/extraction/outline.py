"""Headings, list items and people above a line that explain it.

Three kinds of lines enclose a line: list items above it that are less indented; a line with a colon at its
end, directly above its list or quotation ("Anna:", "On 3 May Anna wrote:"); and the name at the start of its
paragraph ("[14:22] Anna: ..."). Only the layout counts. Pure functions.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from hub.extraction.wording.names import is_person, names_in

Place = tuple[int, int]

_MOST: Final = 8  # enclosing lines of a place, the nearest
_LINE: Final = re.compile(r"([^\r\n]*)(?:\r\n|\r|\n|$)")
_BLANKS: Final = " \t\f\u00a0\u2060\ufeff"  # the text of captions has invisible characters for its cues
_LINE_CHARS: Final = 240  # examined in a line
_QUOTED: Final = re.compile(r"[ \t]*(?:>[ \t]?)*")
_ITEM: Final = re.compile(r"(?:[-*+\u2022\u2023\u25e6]|\d{1,3}[.)])[ \t]+(?:\[.\][ \t]+)?")
_HEADING: Final = re.compile(r"#{1,6}[ \t]")
_ONE_WORD: Final = re.compile(r"[*_]*+(?P<word>[^\W\d_][\w'\u2019-]*+)[*_]*+:?[*_]*")
_INTRODUCED: Final = re.compile(r"[:\uff1a]\W{0,3}$")
# A name at the start of a paragraph, with or without the time of a chat or the voice of a caption.
_SPEAKER: Final = re.compile(
    r"(?:[\[(<]?\d[\d\s:./,T+\u202fAPMZapmz-]{2,30}[\])>]?(?:[ \t]*[-\u2013])?[ \t]*)?"
    r"(?:\*\*)?[^\W\d_](?:[^\W_]|[ .'\u2019-]){0,40}(?:[ \t]?\([^()\r\n]{1,40}\))?[:\uff1a](?:\*\*)?(?=\s)"
)
_DEEPER: Final = 1_000.0  # columns: a quotation is deeper than any indented line around it
_BEFORE: Final = 0.5  # of a column: a line above a list encloses items of the same indentation


class _Enclosing(NamedTuple):
    """Line that encloses deeper ones. *quotes*: its depth of quotation."""

    column: float
    quotes: int
    start: int
    end: int


class People(NamedTuple):
    """People that lines above others name. *labels*: the places of the names in these lines.

    Attributes:
        topics: places of other rows of one word above rows, which tell what those are about.
    """

    by_place: dict[int, list[str]]
    labels: frozenset[int]
    topics: frozenset[int]


def people_above(text: str, start: int, places: Iterable[int], headings: Sequence[str] = ()) -> People:
    """Return the people of each place: of the nearest line above it that is a name, or of its heading.

    A line may be a name that is not known, if most such lines are known names.

    Args:
        places: places in ascending order, in or below the line at *start*.
    """
    outline = Outline(text, start=start)
    above = {
        # The name at the start of a paragraph, whose line goes on, is no heading.
        place: [
            line for line in outline.above(place) if not text[line[1] : line[1] + 1].strip(f"{_BLANKS}\r\n")
        ]
        for place in places
    }
    lines = {line for found in above.values() for line in found}
    names = {line: found for line in lines if (found := names_in(text[slice(*line)]))}
    known = {line for line, found in names.items() if all(map(is_person, found))}
    if len(known) < 2 or 3 * len(known) < 2 * len(names):  # names beside which an unknown one is a name, too
        names = {line: names[line] for line in known}
    others = known_people(headings[-1]) if headings else []
    by_place = {
        place: next((names[line] for line in reversed(found) if line in names), others)
        for place, found in above.items()
    }
    labels = frozenset(text.find(found[0], line[0]) for line, found in names.items())
    topics = {at for line in lines if (at := _topic_at(text, line)) is not None}
    return People(by_place, labels, frozenset(topics - labels))


@lru_cache(maxsize=1_024)  # the heading of each row
def known_people(label: str) -> list[str]:
    """Return the people of whose names a label consists, if all are known."""
    names = names_in(label)
    return names if all(map(is_person, names)) else []


def _topic_at(text: str, line: Place) -> int | None:
    """Return the place of the word of a row without a check box, if it is the only one."""
    since = max(line[0] - _LINE_CHARS, 0)
    begin = max(text.rfind("\n", since, line[0]), text.rfind("\r", since, line[0]), since - 1) + 1
    item = _ITEM.search(text, begin, line[0])
    word = _ONE_WORD.fullmatch(text[slice(*line)].rstrip(_BLANKS))
    return line[0] + word.start("word") if word and item and "[" not in item.group() else None


class Outline:
    """Enclosing lines of the places of a text, which are requested in ascending order.

    Args:
        start: place at which a line begins; the text before it is not read.
        above: enclosing lines of that place.
    """

    def __init__(self, text: str, *, start: int = 0, above: Iterable[Place] = ()) -> None:
        self._text = text
        self._lines: list[_Enclosing] = []
        self._speaker: _Enclosing | None = None
        for begin, _ in above:
            self._open(text.rfind("\n", 0, begin) + 1)
            self._pass()
        self._open(start)

    def above(self, place: int) -> tuple[Place, ...]:
        """Return the lines that enclose *place*, outermost first."""
        while self._after <= place and self._after < len(self._text):
            self._pass()
            self._open(self._after)
        column, quotes, content, end = self._line
        is_item = _ITEM.match(self._text, content, end) is not None
        found = [line for line in self._lines if line.column < column - (0 if is_item else _BEFORE)]
        speaker = self._speaker
        if (label := _SPEAKER.match(self._text, content, end)) is not None:
            speaker = _Enclosing(column, quotes, content, label.end()) if place >= label.end() else None
        elif content == end or is_item or (speaker is not None and quotes != speaker.quotes):
            speaker = None
        found += [speaker] if speaker is not None else []
        # The writer of a quotation is named by the nearest line above it.
        return tuple((line.start, line.end) for line in found[-_MOST:] if line.quotes >= quotes - 1)

    def _pass(self) -> None:
        """Take the current line into account for the lines below it."""
        column, quotes, content, end = self._line
        if content == end:
            self._speaker = None
            return
        text = self._text
        if _HEADING.match(text, content, end):
            self._lines, self._speaker = [], None
            return
        item = _ITEM.match(text, content, end)
        self._lines = [line for line in self._lines if line.column < column - (0 if item else _BEFORE)]
        label = _SPEAKER.match(text, content, end)
        if item:
            self._lines.append(_Enclosing(column, quotes, item.end(), end))
            self._speaker = None
        elif _INTRODUCED.search(text, max(content, end - 4), end):
            self._lines.append(_Enclosing(column - _BEFORE, quotes, content, end))
            self._speaker = None
        elif label:
            self._speaker = _Enclosing(column, quotes, content, label.end())

    def _open(self, at: int) -> None:
        """Make the line at *at* the current one: column, depth of quotation, and place of its content."""
        line = _LINE.match(self._text, at)
        self._after = line.end() if line else len(self._text)
        end = min(line.end(1) if line else at, at + _LINE_CHARS)
        marks = _QUOTED.match(self._text, at, end)
        content = marks.end() if marks else at
        while content < end and self._text[content] in _BLANKS:
            content += 1
        while end > content and self._text[end - 1] in _BLANKS:
            end -= 1
        prefix = self._text[at:content]
        quotes, indent = prefix.count(">"), prefix.rpartition(">")[2]
        self._line = (
            _DEEPER * quotes + len(indent.replace("\u2060", "").expandtabs(4)),
            quotes,
            content,
            end,
        )
