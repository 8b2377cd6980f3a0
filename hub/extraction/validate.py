"""Validation of a model's answer: converts records to items, with notes on rejected parts. Pure functions.

Nothing is accepted on the model's word alone. Every record must have a quote from the text. Only requested
tables and fields that a document can fill are accepted. Values are converted to the types of their columns
only if that cannot change their meaning. A date whose words do not determine a day is kept as words
for a person to resolve.

A model that can only copy is asked about one sentence, so its words must occur in that sentence; all others
are invented.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from hub.clock import from_epoch_ms
from hub.extraction.chunk import Chunk, sentence_at
from hub.extraction.dating import PassageDates
from hub.extraction.folding import fold, occurs_in, shown, words_of
from hub.extraction.grounding import LEAST_QUOTE_CHARS, Grounding, Place
from hub.extraction.items import Dropped, DropReason, ExtractionOptions, Item, Reference
from hub.extraction.when import Anchor, dates_in, days_in, local_day, read_date, resolve
from protocol.frame import Field, Record
from protocol.tables import TABLES, Column, DeviceTable, Filler, Kind, TableName, problem_of, problems_of

_BY_MODEL: Final = frozenset({Filler.MODEL})
_NOTES: Final = TABLES[TableName.NOTES]  # table for an event without a day, if notes are requested
# Fields in which a record refers to a row by its label; they are not columns of a table.
REFERENCE_FIELDS: Final[dict[TableName, str]] = {TableName.PROJECTS: "project", TableName.TASKS: "task"}
_NO_FIELDS: Final = frozenset({"table", "quote", "data", *REFERENCE_FIELDS.values()})

_MOST_WORDS_OF_A_NAME: Final = 4
_POINTING: Final = frozenset(
    ("i", "we", "you", "he", "she", "it", "they", "this", "that", "there", "the", "a", "an", "nobody")
)

_EMPTY_VALUES: Final = frozenset({"", "null", "none", "n/a", "unknown", "not specified"})
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

    def values(self, table: DeviceTable, fields: Mapping[str, object], anchor: Anchor | None) -> Values:
        """Convert *fields* to values for *table*; required fields are not checked here.

        Args:
            anchor: time of writing, the reference for relative dates.
        """
        read = Values({}, {}, [])
        for name, raw in fields.items():
            column = table.column(name)
            if column is None or column.filler is not Filler.MODEL:
                _drop(read, table, "forbidden_field", name if column is not None else "(unknown)")
                continue
            if raw is None or (isinstance(raw, str) and raw.strip().lower() in _EMPTY_VALUES):
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
        fields: Mapping[str, object],
        quote: str,
        anchor: Anchor | None,
    ) -> Values:
        """Correct dates that contradict the words of the *quote*.

        If the quote has several days, nothing changes, because one of them may be meant. If it has a relative
        day without a known *anchor*, the model's date is rejected.
        """
        data, read = values.data, Values(dict(values.data), dict(values.unresolved), list(values.dropped))
        for column in table.columns:
            raw = fields.get(column.name)
            if column.kind is not Kind.EPOCH_MS or column.name not in data or not isinstance(raw, str):
                continue
            worked_out = read_date(shown(raw).strip(), self._timezone)
            if worked_out is None:
                continue
            is_due = column.name == "dueDate"
            days = days_in(shown(quote), anchor=anchor, timezone=self._timezone, is_due=is_due)
            zone = ZoneInfo(self._timezone)
            if (
                len(days) == 1
                and local_day(days[0].at, zone) != local_day(worked_out, zone)
                and not problem_of(column, days[0].at_ms)
            ):
                read.data[column.name] = days[0].at_ms
                _drop(read, table, "wrong_date", column.name)
            elif not days and anchor is None and (words := _relative_words(quote)):
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
        visible = [shown(name).strip() for name in names if isinstance(name, str)]
        known = [name for name in dict.fromkeys(visible) if occurs_in(name, self._known)]
        return list(known) or None

    def _words_of_a_date(self, column: Column, raw: object) -> str | None:
        """Return *raw* if it was copied from the text, so that a person can interpret it."""
        if column.kind is not Kind.EPOCH_MS or not isinstance(raw, str):
            return None
        words = shown(raw).strip()
        is_copied = len(words) <= _MOST_WORDS_CHARS and occurs_in(words, self._known)
        return words if is_copied and any(map(str.isalpha, words)) else None


def _relative_words(quote: str) -> str | None:
    """Return the first words of *quote* for a day without its year, or None."""
    return next((one.words for one in dates_in(shown(quote)) if not one.is_full), None)


def _drop(read: Values, table: DeviceTable, reason: DropReason, field: str) -> None:
    read.dropped.append(Dropped(table=table.name, reason=reason, detail=f"{table.name}.{field}"))


class FailedRecord(msgspec.Struct, frozen=True):
    """Record to request again, and why it was rejected, in words for the model."""

    record: dict[str, object]
    why: str


class Checked(msgspec.Struct, frozen=True):
    """Results of some records. *failed* records are also in *dropped*."""

    items: list[Item]
    dropped: list[Dropped]
    failed: list[FailedRecord] = []


class Checking:
    """Validator of the records in the answers about one *piece*.

    Args:
        known: source of names: the whole document and its owner's prompt, folded.
        is_literal: the model can only copy, so its words must occur in the quote.
        date: date of the document, as the reference for relative dates if *dates* is not given.
        dates: dates of its passages.
        references: rows of the device that the model got, by label.
    """

    def __init__(
        self,
        text: str,
        piece: Chunk,
        options: ExtractionOptions,
        *,
        known: str,
        is_literal: bool,
        date: datetime | None = None,
        dates: PassageDates | None = None,
        references: Mapping[str, Reference] | None = None,
    ) -> None:
        self._text = text
        self._piece = piece
        self._options = options
        self._known = known
        self._is_literal = is_literal
        self._references = references or {}
        self._reading = Reading(known=known, timezone=options.timezone)
        self._date = date
        self._dates = dates
        self._grounding = Grounding(text, piece.start, piece.end)
        self._taken: defaultdict[tuple[TableName, int, int], set[str]] = defaultdict(set)
        self._items: list[Item] = []
        self._dropped: list[Dropped] = []
        self._failed: list[FailedRecord] = []

    def take_all(self, records: Iterable[object]) -> Checked:
        """Return items and notes for *records*, in order.

        May be called again with the answer to a second question: used places are remembered.
        """
        self._items, self._dropped, self._failed = [], [], []
        for record in records:
            if isinstance(record, dict):
                self._take(record)
            else:
                self._drop("", "not_an_object")
        return Checked(self._items, self._dropped, self._failed)

    def _take(self, record: dict[str, object]) -> None:
        """Convert one record to an item, or note why it was rejected."""
        name = record.get("table")
        if not isinstance(name, str) or name not in self._options.data_types:
            self._drop(name if isinstance(name, str) and name in set(TableName) else "", "foreign_table")
            return
        table = TABLES[TableName(name)]
        inner = record.get("data")
        fields = {**inner, **record} if isinstance(inner, dict) else record
        title = fold(str(fields.get(table.title)))
        spot = self._spot(table, title, record.get("quote"))
        place = self._shown(spot) if spot is not None else None
        anchor = self._dates.at(place.start) if place is not None and self._dates is not None else self._date
        values = self._reading.values(
            table, {key: fields[key] for key in fields if key not in _NO_FIELDS}, anchor
        )
        if place is not None and not self._is_literal:
            values = self._reading.by_words(
                table, values, fields, self._text[place.start : place.end], anchor
            )
        self._dropped += values.dropped
        taken_as, data, is_dated = table, values.data, not _lacks_its_date(table, values)
        if not is_dated:
            if TableName.NOTES not in self._options.data_types:
                self._drop(
                    table.name, "unresolved_date", "; ".join(f"{table.name}.{n}" for n in values.unresolved)
                )
                return
            table, data = _NOTES, {_NOTES.title: data.get(table.title)}
        if wrong := problems_of(table, data, _BY_MODEL):
            self._drop(table.name, "bad_record", "; ".join(problem.split(":")[0] for problem in wrong))
            self._failed.append(FailedRecord(record, "; ".join(wrong)))
            return
        if spot is None or place is None:
            self._drop(table.name, "ungrounded", f"{table.name}.quote")
            # Records from elsewhere belong to other pieces.
            if not occurs_in(str(record.get("quote")), self._known):
                self._failed.append(FailedRecord(record, "its quote is not copied from the text"))
            return
        self._taken_at(taken_as, spot).add(title)
        start, end = place.start, place.end
        if self._is_literal:
            quote = self._text[start:end]
            data = copied(table, data, quote, fields=fields, timezone=self._options.timezone)
            # Unsupported fields are removed by now, and may have been required.
            if problems_of(table, data, _BY_MODEL):
                self._drop(table.name, "ungrounded", f"{table.name}.{table.title}")
                return
            start, end = self._piece.start, self._piece.end  # the question was about this one sentence
        if not is_dated:
            data = data | {"content": shown(self._text[start:end])}
        self._items.append(
            Item(
                table=table.name,
                data=data | self._referred(table, fields),
                quote=self._text[start:end],
                start=start,
                end=end,
                origin="model",
                warnings=("approximate_quote",) if place.is_near else (),
                unresolved=values.unresolved,
            )
        )

    def _referred(self, table: DeviceTable, fields: Mapping[str, object]) -> Record:
        """Return the ids of the referenced rows by column; added after the validation, like all ids."""
        ids: Record = {}
        for column in table.columns:
            if column.refers_to is not None:
                label = fields.get(REFERENCE_FIELDS[column.refers_to])
                row = self._references.get(label) if isinstance(label, str) else None
                if row is not None and row.table is column.refers_to:
                    ids[column.name] = row.id
        return ids

    def _spot(self, table: DeviceTable, title: str, quote: object) -> Place | None:
        """Return the place of the quote in the document.

        Records are distributed over several places: a record gets the place with the fewest records of its
        table, and never the same place as another one with the same title.
        """
        if not isinstance(quote, str):
            return None
        places = self._grounding.places(quote)
        if all(title in self._taken_at(table, place) for place in places):
            places = self._grounding.places(quote, is_folded=True)
        if not places:
            return None
        free = [place for place in places if title not in self._taken_at(table, place)] or places[-1:]
        return min(free, key=lambda place: len(self._taken_at(table, place)))

    def _shown(self, place: Place) -> Place:
        """Return the place to show for a quote: if it is too short, its sentence."""
        if place.end - place.start < LEAST_QUOTE_CHARS:
            start, end = sentence_at(self._text, place.start, place.end, self._piece)
            return Place(start, end, place.is_near)
        return place

    def _taken_at(self, table: DeviceTable, place: Place) -> set[str]:
        """Return the titles of the records at this place."""
        return self._taken[table.name, place.start, place.end]

    def _drop(self, table: str, reason: DropReason, detail: str = "") -> None:
        self._dropped.append(Dropped(table=table, reason=reason, detail=detail))


def _lacks_its_date(table: DeviceTable, values: Values) -> bool:
    """Return True if a required date is missing because its words are unresolved."""
    return any(column.required and column.name in values.unresolved for column in table.columns)


def copied(
    table: DeviceTable, data: Record, quote: str, *, fields: Mapping[str, object], timezone: str
) -> Record:
    """Return the fields of *data* that occur in *quote*; empty if the title does not.

    A date must have been copied from the quote (*fields*), or its day of the month must occur there.
    """
    words = set(words_of(quote))
    title = words_of(str(data[table.title]))
    if not title or not words.issuperset(title) or len(title) == len(words_of(quote)):
        return {}
    supported = dict(data)
    for column in table.columns:
        value = data.get(column.name)
        if column.kind is Kind.NAMES and isinstance(value, list):
            supported[column.name] = [name for name in value if _is_name(str(name), words)]
        elif column.kind is Kind.EPOCH_MS and isinstance(value, int):
            is_copied = occurs_in(str(fields.get(column.name)), fold(quote))
            if not is_copied and not words & _days(value, timezone):
                del supported[column.name]
    return {name: value for name, value in supported.items() if value != []}


def _days(at_ms: int, timezone: str) -> set[str]:
    """Return the spellings of a date's local day of the month; empty for an invalid date."""
    try:
        day = from_epoch_ms(at_ms).astimezone(ZoneInfo(timezone)).day
    except OverflowError:  # the last hours of the year 9999
        return set()
    return {str(day), f"{day:02}"}


def _is_name(text: str, words: set[str]) -> bool:
    """Return True if these *words* contain the name, and it is not a pronoun."""
    name = words_of(text)
    return 0 < len(name) <= _MOST_WORDS_OF_A_NAME and words.issuperset(name) and name[0] not in _POINTING
