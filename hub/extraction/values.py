"""Pure: what a model said of a field, in the shape that its column has, where that needs no guessing.

Only columns that a document can fill are filled. A date that the text has in words which
no day can be told from is kept as these words, for a person to resolve.
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
    """The fields of one record.

    Attributes:
        data: by column, all of them in order.
        unresolved: by column, the words of the text that no value could be made of.
        dropped: what was not taken, field by field.
    """

    data: Record
    unresolved: dict[str, str]
    dropped: list[Dropped]


class Reading:
    """Reads the records of one document.

    Args:
        known: what names and words may be taken from, folded.
        timezone: what dates in words are local to.
    """

    def __init__(self, *, known: str, timezone: str) -> None:
        self._known = known
        self._timezone = timezone

    def values(self, table: DeviceTable, said: Mapping[str, object], anchor: Anchor | None) -> Values:
        """What *said* comes to in *table*; whether it is a whole row is not asked here.

        Args:
            anchor: when it was written, which dates in words are counted from.
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
        """*values*, with the dates that the words of its *quote* tell where the model worked out other days.

        Where they tell several days, one of them may be meant, and nothing is changed. Where they tell a day
        that no *anchor* is known for, what the model made of them is not taken.
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
        """*raw* in the column's shape, or ``None`` when that would be guessing."""
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
        """The names that stand in the document, or in the owner's words; others are inventions."""
        names = [raw] if isinstance(raw, str) else raw if isinstance(raw, list) else []
        told = [shown(name).strip() for name in names if isinstance(name, str)]
        known = [name for name in dict.fromkeys(told) if stands_in(name, self._known)]
        return list(known) or None

    def _words_of_a_date(self, column: Column, raw: object) -> str | None:
        """*raw* when it is copied from the text, so that a person can make sense of it."""
        if column.kind is not Kind.EPOCH_MS or not isinstance(raw, str):
            return None
        words = shown(raw).strip()
        is_copied = len(words) <= _MOST_WORDS_CHARS and stands_in(words, self._known)
        return words if is_copied and any(map(str.isalpha, words)) else None


def _relative_words(quote: str) -> str | None:
    """The first words of *quote* that tell a day, but not its year."""
    return next((one.words for one in dates_in(shown(quote)) if not one.is_full), None)


def _drop(read: Values, table: DeviceTable, reason: DropReason, field: str) -> None:
    read.dropped.append(Dropped(table=table.name, reason=reason, detail=f"{table.name}.{field}"))
