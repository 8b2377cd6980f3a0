"""Scores of extracted items against labels. Pure functions.

An item is *right* if the same document has a label that

- has the same table,
- has a quote whose place in the text overlaps the item's place,
- and has similar main words. Main words come from the identifying fields: a task's title, a project's name, a
  comment's content, a note's title and content. They are similar if at least half of the shorter one's words
  occur in the other one, and at least two, or all of them. Case, punctuation and order are ignored; in
  scripts without blanks, each character is a word.

Each label and each item is used once, and the most similar pairs are matched first: of two tasks in one
sentence, each gets its own. Precision is the share of right items among all items, recall the share of labels
that were matched, F1 their harmonic mean.

The other fields of a right item (who, when) are counted separately. A list of names must have the same names.
A date must have the same local day, or the same minute if the label has a time. Any other field must have the
same words. Fields missing in the label are not compared.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from hub.clock import from_epoch_ms
from hub.extraction.folding import fold, words_of
from hub.extraction.items import Item
from protocol.frame import Field
from protocol.tables import TABLES, Kind, TableName

Said = str | list[str]
Place = tuple[int, int]

_LEAST_ALIKE: Final = 0.5  # of the shorter one's words; a sentence of ten words names its task in five
_LEAST_SHARED: Final = 2  # "the report" and "the weather" share a word, too
_DAY_CHARS: Final = len("2026-03-06")


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """Expected item of a document, from a person.

    Attributes:
        data: main words, and the other fields to compare. A date is local ISO, ``2026-03-06`` or
            ``2026-03-06T15:00``.
        places: one or more places of its quote in the text.
    """

    table: TableName
    data: dict[str, Said]
    places: tuple[Place, ...]


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Tally of labels and items over documents. Tallies can be added."""

    right: int = 0
    found: int = 0
    labelled: int = 0
    right_fields: int = 0
    fields: int = 0  # of the matched labels

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            right=self.right + other.right,
            found=self.found + other.found,
            labelled=self.labelled + other.labelled,
            right_fields=self.right_fields + other.right_fields,
            fields=self.fields + other.fields,
        )

    @property
    def precision(self) -> float | None:
        """Share of right items; ``None`` without any items."""
        return self.right / self.found if self.found else None

    @property
    def recall(self) -> float | None:
        """Share of matched labels; ``None`` without any labels."""
        return self.right / self.labelled if self.labelled else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; ``None`` without items and labels."""
        both = self.found + self.labelled
        return 2 * self.right / both if both else None

    @property
    def field_share(self) -> float | None:
        """Share of the other fields that is right; ``None`` if no matched label has any."""
        return self.right_fields / self.fields if self.fields else None


def score(labels: Sequence[Label], found: Sequence[Item], *, timezone: str) -> dict[TableName, Tally]:
    """Score one document by table; tables without labels and items are omitted.

    Args:
        timezone: IANA name, for the labels' dates.
    """
    matched = _matched(labels, found)
    told = Counter(label.table for label in labels)
    got = Counter(item.table for item in found)
    tallies = {table: Tally(found=got[table], labelled=told[table]) for table in TABLES}
    for label, item in matched:
        others = [name for name in label.data if name not in _main_fields(label.table)]
        fits = sum(_fits(label, item, name, ZoneInfo(timezone)) for name in others)
        tallies[label.table] += Tally(right=1, right_fields=fits, fields=len(others))
    return {table: tally for table, tally in tallies.items() if tally != Tally()}


def added(one: Mapping[TableName, Tally], other: Mapping[TableName, Tally]) -> dict[TableName, Tally]:
    """Add tallies by table, in the order of the tables."""
    return {
        table: one.get(table, Tally()) + other.get(table, Tally())
        for table in TABLES
        if table in one or table in other
    }


def in_all(tallies: Mapping[TableName, Tally]) -> Tally:
    """Sum the tallies of all tables: every item has equal weight."""
    return sum(tallies.values(), Tally())


def _matched(labels: Sequence[Label], found: Sequence[Item]) -> list[tuple[Label, Item]]:
    """Match labels with items, the most similar pairs first."""
    pairs = [
        (likeness, -number, -index)
        for number, label in enumerate(labels)
        for index, item in enumerate(found)
        if (likeness := _likeness(label, item))
    ]
    matched: list[tuple[Label, Item]] = []
    used_labels, used_items = set[int](), set[int]()
    for _, number, index in sorted(pairs, reverse=True):
        if number not in used_labels and index not in used_items:
            used_labels.add(number)
            used_items.add(index)
            matched.append((labels[-number], found[-index]))
    return matched


def _likeness(label: Label, item: Item) -> tuple[float, float] | None:
    """Return the similarity relative to the shorter one, and to both; ``None`` if they do not match."""
    touches = any(start < item.end and item.start < end for start, end in label.places)
    if label.table != item.table or not touches:
        return None
    one, other = _main_words(label.table, label.data), _main_words(label.table, item.data)
    shorter = min(one.total(), other.total())
    shared = (one & other).total()
    is_alike = shared == shorter or (shared >= _LEAST_SHARED and shared >= _LEAST_ALIKE * shorter)
    if not (shorter and is_alike):
        return None
    return shared / shorter, 2 * shared / (one.total() + other.total())


def _main_fields(table: TableName) -> tuple[str, ...]:
    # Title and content of a note are interchangeable.
    return ("title", "content") if table is TableName.NOTES else (TABLES[table].title,)


def _main_words(table: TableName, data: Mapping[str, Said] | Mapping[str, Field]) -> Counter[str]:
    return Counter(word for name in _main_fields(table) for word in words_of(str(data.get(name) or "")))


def _fits(label: Label, item: Item, name: str, zone: ZoneInfo) -> bool:
    """Return True if a field equals that of its label."""
    column, told, got = TABLES[label.table].column(name), label.data[name], item.data.get(name)
    if column is None or got is None:
        return False
    match column.kind:
        case Kind.EPOCH_MS:
            return isinstance(got, int) and str(told) == _local(got, zone, with_time=len(told) > _DAY_CHARS)
        case Kind.NAMES:
            return _names(told) == _names(got)
        case _:
            return fold(str(told)) == fold(str(got))


def _names(said: object) -> set[str]:
    names = said if isinstance(said, list) else [said]
    return {fold(str(name)) for name in names}


def _local(at_ms: int, zone: ZoneInfo, *, with_time: bool) -> str:
    """Format a time like a label."""
    local: datetime = from_epoch_ms(at_ms).astimezone(zone)
    return f"{local:%Y-%m-%dT%H:%M}" if with_time else f"{local:%Y-%m-%d}"
