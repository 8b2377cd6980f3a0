"""Conversion of a model's field values to the types of their columns, without guessing. Pure functions.

Only columns that a document can fill are filled. A date whose words do not determine a day is kept as words
for a person to resolve.
"""

import re
from collections.abc import Mapping
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from hub.extraction.folding import shown, stands_in
from hub.extraction.items import Dropped, DropReason
from hub.extraction.when import Anchor, dates_in, days_in, local_day, read_date, resolve
from protocol.frame import Field, Record
from protocol.tables import Column, DeviceTable, Filler, Kind, problem_of

_NOT_SAID: Final = frozenset({"", "null", "none", "n/a", "unknown", "not specified"})
_MOST_WORDS_CHARS: Final = 120  # of a date in words


class Values(msgspec.Struct, frozen=True):
    """Converted fields of one record.

    Attributes:
        data: values by column, in order.
        unresolved: by column, words of the text that could not be converted to a value.
        dropped: rejected fields.
    """

    data: Record
    unresolved: dict[str, str]
    dropped: list[Dropped]


class Reading:
    """Converter of one document's records.

    Args:
        known: folded text in which names and words must occur.
        timezone: time zone of dates in words.
    """

    def __init__(self, *, known: str, timezone: str) -> None:
        self._known = known
        self._timezone = timezone

    def values(self, table: DeviceTable, said: Mapping[str, object], anchor: Anchor | None) -> Values:
        """Convert the values *said* for *table*; required fields are not checked here.

        Args:
            anchor: time of writing, the reference for relative dates.
        """
        read = Values({}, {}, [])
        for name, raw in said.items():
            column = table.column(name)
            if column is None or column.filler is not Filler.MODEL:
                _drop(read, table, "forbidden_field", name if column is not None else "(unknown)")
                continue
            if raw is None or (isinstance(raw, str) and raw.strip().lower() in _NOT_SAID):
                continue
            value = self._value(column, raw, anchor)
            if value is not None and not problem_of(column, value):
                read.data[name] = value
            elif words := self._words_of_a_date(column, raw):
                read.unresolved[name] = words
            else:
                _drop(read, table, "bad_field", name)
        return read

    def by_words(
        self,
        table: DeviceTable,
        values: Values,
        said: Mapping[str, object],
        quote: str,
        anchor: Anchor | None,
    ) -> Values:
        """Correct dates that contradict the words of the *quote*.

        If the quote has several days, nothing changes, because one of them may be meant. If it has a relative
        day without a known *anchor*, the model's date is rejected.
        """
        data, read = values.data, Values(dict(values.data), dict(values.unresolved), list(values.dropped))
        for column in table.columns:
            raw = said.get(column.name)
            if column.kind is not Kind.EPOCH_MS or column.name not in data or not isinstance(raw, str):
                continue
            worked_out = read_date(shown(raw).strip(), self._timezone)
            if worked_out is None:
                continue
            is_due = column.name == "dueDate"
            told = days_in(shown(quote), anchor=anchor, timezone=self._timezone, is_due=is_due)
            zone = ZoneInfo(self._timezone)
            if (
                len(told) == 1
                and local_day(told[0].at, zone) != local_day(worked_out, zone)
                and not problem_of(column, told[0].at_ms)
            ):
                read.data[column.name] = told[0].at_ms
                _drop(read, table, "wrong_date", column.name)
            elif not told and anchor is None and (words := _relative_words(quote)):
                del read.data[column.name]
                read.unresolved[column.name] = words
                _drop(read, table, "wrong_date", column.name)
        return read

    def _value(self, column: Column, raw: object, anchor: Anchor | None) -> Field:
        """Convert *raw* to the column's type; ``None`` if that would be guessing."""
        match column.kind:
            case Kind.TEXT if isinstance(raw, str):
                value = shown(raw).strip()
                if column.choices:
                    value = re.sub(r"[\s-]+", "_", value.lower())
                return value
            case Kind.NAMES:
                return self._names(raw)
            case Kind.EPOCH_MS if isinstance(raw, str):
                is_due = column.name == "dueDate"
                words = shown(raw).strip()
                moment = resolve(words, anchor=anchor, timezone=self._timezone, is_due=is_due)
                return moment.at_ms if moment else None
            case Kind.INTEGER | Kind.FLAG if isinstance(raw, int):
                return raw
            case _:
                return None

    def _names(self, raw: object) -> Field:
        """Return the names that occur in the document or its owner's prompt; others are invented."""
        names = [raw] if isinstance(raw, str) else raw if isinstance(raw, list) else []
        told = [shown(name).strip() for name in names if isinstance(name, str)]
        known = [name for name in dict.fromkeys(told) if stands_in(name, self._known)]
        return list(known) or None

    def _words_of_a_date(self, column: Column, raw: object) -> str | None:
        """Return *raw* if it was copied from the text, so that a person can interpret it."""
        if column.kind is not Kind.EPOCH_MS or not isinstance(raw, str):
            return None
        words = shown(raw).strip()
        is_copied = len(words) <= _MOST_WORDS_CHARS and stands_in(words, self._known)
        return words if is_copied and any(map(str.isalpha, words)) else None


def _relative_words(quote: str) -> str | None:
    """Return the first words of *quote* for a day without its year, or None."""
    return next((one.words for one in dates_in(shown(quote)) if not one.is_full), None)


def _drop(read: Values, table: DeviceTable, reason: DropReason, field: str) -> None:
    read.dropped.append(Dropped(table=table.name, reason=reason, detail=f"{table.name}.{field}"))
