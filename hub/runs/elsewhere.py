"""Matching of new items with items from other sources of the same device. Pure functions.

Examples are a forwarded mail, and the same task in two notes.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

from hub.extraction.dedupe import are_alike, telling_words
from hub.extraction.folding import fold, words_of
from hub.runs.found import is_same_place, main_of
from hub.runs.taken import is_taken
from protocol.frame import Field, Record
from protocol.lifecycles import CallState
from protocol.tables import TABLES, Filler, Kind, TableName
from storage.runs.items import FoundItem, ItemRow, KnownItem

MOST_LOOKED_AT: Final = 200  # limit of compared candidates
_DAY_IN_NAME: Final = re.compile(r"(?<!\d)(\d{4})[-_.]?(\d{2})[-_.]?(\d{2})(?!\d)")
TELLING_WORDS: Final = 2  # a title of one word is too unspecific to match across sources


class Elsewhere:
    """Items of other sources, indexed by name, quote and day; without items that the device refused.

    The keys for comparison are computed once per item, because this runs in the database's single writer
    thread.
    """

    def __init__(self, known: Sequence[KnownItem], timezone: str, unit_key: str = "") -> None:
        """Index the known items.

        Args:
            unit_key: source of the items that will be looked up.
        """
        self._timezone = timezone
        self._note_day = day_in_name(unit_key)
        self._alike: dict[str, list[tuple[KnownItem, date | None]]] = {}
        self._quoted: dict[tuple[str, str], list[tuple[KnownItem, date | None]]] = {}
        self._of_day: dict[tuple[str, date], list[tuple[KnownItem, tuple[str, ...]]]] = {}
        for one in known:
            row = one.row
            if row.told_at is None and one.call_state is CallState.REJECTED:
                continue
            day = None if row.date_ms is None else _day(row.date_ms, timezone)
            self._alike.setdefault(row.likeness, []).append((one, day))
            self._quoted.setdefault((row.target_table, row.quote_hash), []).append((one, day))
            if day is not None:
                words = _telling(main_of(TableName(row.target_table), row.data), row.data)
                self._of_day.setdefault((row.target_table, day), []).append((one, words))

    def find(self, item: FoundItem) -> KnownItem | None:
        """Return a known item that contains everything the new item says, or None."""
        alike = islice(self._candidates(item), MOST_LOOKED_AT)
        found = next((one for one in alike if _says_all(item, one.row)), None)
        return found or self._of_same_words(item)

    def _of_same_words(self, item: FoundItem) -> KnownItem | None:
        """Return an item of the same quote, under any name, of the same day or reported by its device."""
        today = None if item.date_ms is None else _day(item.date_ms, self._timezone)
        same = (
            one
            for one, day in self._quoted.get((item.table, item.words_hash), ())
            if (is_taken(one.row) or (day == today and _says_all(item, one.row)))
            and not self._is_of_another_day(one.row)
        )
        return next(same, None)

    def _candidates(self, item: FoundItem) -> Iterator[KnownItem]:
        """Yield items of the same name, then items of the same day with a similar name."""
        is_telling = len(words_of(item.main)) >= TELLING_WORDS
        today = None if item.date_ms is None else _day(item.date_ms, self._timezone)
        for one, day in self._alike.get(item.likeness, ()):
            # An item of another day is different; an item without a day says less.
            is_same_day = today is not None and day == today
            if today is None and self._is_of_another_day(one.row):
                continue
            if (today is None or is_same_day) and (is_telling or is_same_day or is_same_place(item, one.row)):
                yield one
        if today is None:
            return
        mine = _telling(item.main, item.data)
        for one, words in self._of_day.get((item.table, today), ()):
            if one.row.likeness != item.likeness and are_alike(mine, words):
                yield one

    def _is_of_another_day(self, row: ItemRow) -> bool:
        """Return True if a row is from the note of another day, because recurring tasks appear in both."""
        other = day_in_name(row.unit_key)
        return None not in (other, self._note_day) and other != self._note_day


def day_in_name(unit_key: str) -> str | None:
    """Return the day that a file is named after, as ``2026-11-20``, or None."""
    name = unit_key.rpartition("/")[2]
    found = _DAY_IN_NAME.search(name) if "@" not in name else None  # message ids are not file names
    if found is None:
        return None
    try:
        return date(*map(int, found.groups())).isoformat()
    except ValueError:
        return None


def _telling(main: str, data: Record) -> tuple[str, ...]:
    return telling_words(main, data.get("assignee"))


def _says_all(item: FoundItem, row: ItemRow) -> bool:
    """Return True if the row has all people, references and texts of the item."""
    for column in TABLES[TableName(item.table)].columns:
        mine, other = item.data.get(column.name), row.data.get(column.name)
        if mine in (None, "", []):
            continue
        if column.kind is Kind.NAMES and not _folded_names(mine) <= _folded_names(other):
            return False
        if column.filler is Filler.PERSON and mine != other:
            return False
        if column.name == "author" and fold(str(mine)) != fold(str(other or "")):
            return False
        # Compare words: a single different number makes another note.
        if column.name == "content" and not set(words_of(str(mine))) <= set(words_of(str(other or ""))):
            return False
    return True


def _folded_names(value: Field) -> set[str]:
    names = value if isinstance(value, list) else [str(value)] if value else []
    return {fold(name) for name in names}


def _day(at_ms: int, timezone: str) -> date:
    try:
        return datetime.fromtimestamp(at_ms / 1000, ZoneInfo(timezone)).date()
    except (OverflowError, ValueError):  # the last day of the year 9999, in another time zone
        return datetime.fromtimestamp(at_ms / 1000, UTC).date()
