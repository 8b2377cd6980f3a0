"""Lines with a mark of work, apart from all others: what is found in boxes says nothing about plain lines.

A mark is a check box, a keyword such as TODO, a field such as ``due:``, or the form of the file: a calendar,
a ``todo.txt``, a project of TaskPaper. Marks are recognized in the text alone, so that one
that the rules miss counts, too.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from hub.extraction.items import Item
from hub.lab.gold import GoldDocument, Label, Tally, added, judge
from tests.evaluation.figures import Figure, only

WITH_MARK: Final = "marked lines"
WITHOUT_MARK: Final = "lines without a mark"

_MARK: Final = re.compile(
    r"[ \t>]*(?:(?:[-*+\u2022]|\d+[.)])[ \t]*)?\[[ xX.~/-]\]"
    r"|[ \t>]*(?:[-*#]+[ \t]+)?(?:TODO|FIXME|NEXT|WAITING|DONE|NOW|LATER|DOING)\b"
    r"|.*(?:@(?:due|done|start|today)\b|\b(?:due|deadline|scheduled|t):\d|[\U0001f4c5\u23f3\U0001f6eb\u2705]"
    r"|\b(?:DEADLINE|SCHEDULED|CLOSED):)"
)
_FORMS: Final = frozenset({".ics", ".ical", ".taskpaper"})
_TODO_TXT: Final = re.compile(r"(?:.*\.)?(?:todo|done)\.txt")


def is_marked(gold: GoldDocument, place: int) -> bool:
    """Return True if the line at a place of a document has a mark, or the form of its file is one."""
    name = PurePosixPath(gold.name.lower())
    if name.suffix in _FORMS or _TODO_TXT.fullmatch(name.name):
        return True
    start = gold.text.rfind("\n", 0, place) + 1
    end = gold.text.find("\n", place)
    return _MARK.match(gold.text[start : len(gold.text) if end < 0 else end]) is not None


def by_mark(gold: GoldDocument, items: Sequence[Item]) -> Mapping[str, Tally]:
    """Score the items of a document on lines with a mark, and those on all others."""
    judged, labels = judge(gold.labels, items), gold.labels
    counts = [
        *(
            (items[i].start, Tally(right=1, found=1, labelled=1))
            for n, i in judged.matched
            if not labels[n].is_optional
        ),
        *((_place_of(labels[number], gold.text), Tally(labelled=1)) for number in judged.missed),
        *((items[index].start, Tally(found=1)) for index in judged.false),
    ]
    tallies: Mapping[str, Tally] = {}
    for place, tally in counts:
        tallies = added(tallies, {WITH_MARK if is_marked(gold, place) else WITHOUT_MARK: tally})
    return tallies


def _place_of(label: Label, text: str) -> int:
    """Return the place of a label, of one without a quote that of its first main words."""
    start, end = label.places[0]
    if start > 0 or end < len(text):
        return start
    words = (text.find(value) for value in label.data.values() if isinstance(value, str))
    return next((place for place in words if place >= 0), start)


def figures_by_mark(of: str, tallies: Mapping[str, Tally]) -> list[Figure]:
    """Return precision and recall of both, each with its counts."""
    return [
        only(
            f"{of}, {name}: {tally.right} right of {tally.found}, {tally.labelled} wanted",
            f"{tally.precision or 0.0:.2f}, {tally.recall or 0.0:.2f}",
        )
        for name in (WITH_MARK, WITHOUT_MARK)
        for tally in (tallies.get(name, Tally()),)
    ]
