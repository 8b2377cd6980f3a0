"""Validation of a model's answer: converts records to items, with notes on rejected parts. Pure functions.

Nothing is accepted on the model's word alone. Every record must have a quote from the text. Only requested
tables and fields that a document can fill are accepted, and values are normalized only if that cannot change
their meaning.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

import msgspec

from hub.extraction import literal
from hub.extraction.chunk import Chunk, sentence_at
from hub.extraction.dating import PassageDates
from hub.extraction.folding import fold, shown, stands_in
from hub.extraction.grounding import LEAST_QUOTE_CHARS, Grounding, Place
from hub.extraction.items import Dropped, DropReason, Item, Reference, Wanted
from hub.extraction.values import Reading, Values
from protocol.frame import Record
from protocol.tables import TABLES, DeviceTable, Filler, TableName, problems_of

_BY_MODEL: Final = frozenset({Filler.MODEL})
_NOTES: Final = TABLES[TableName.NOTES]  # table for an event without a day, if notes are requested
# Fields in which a record refers to a row by its label; they are not columns of a table.
REFERENCE_FIELDS: Final[dict[TableName, str]] = {TableName.PROJECTS: "project", TableName.TASKS: "task"}
_NO_FIELDS: Final = frozenset({"table", "quote", "data", *REFERENCE_FIELDS.values()})


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
        wanted: Wanted,
        *,
        known: str,
        is_literal: bool,
        date: datetime | None = None,
        dates: PassageDates | None = None,
        references: Mapping[str, Reference] | None = None,
    ) -> None:
        self._text = text
        self._piece = piece
        self._wanted = wanted
        self._known = known
        self._is_literal = is_literal
        self._references = references or {}
        self._reading = Reading(known=known, timezone=wanted.timezone)
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
        if not isinstance(name, str) or name not in self._wanted.data_types:
            self._drop(name if isinstance(name, str) and name in set(TableName) else "", "foreign_table")
            return
        table = TABLES[TableName(name)]
        inner = record.get("data")
        said = {**inner, **record} if isinstance(inner, dict) else record
        title = fold(str(said.get(table.title)))
        spot = self._spot(table, title, record.get("quote"))
        place = self._shown(spot) if spot is not None else None
        anchor = self._dates.at(place.start) if place is not None and self._dates is not None else self._date
        values = self._reading.values(
            table, {key: said[key] for key in said if key not in _NO_FIELDS}, anchor
        )
        if place is not None and not self._is_literal:
            values = self._reading.by_words(table, values, said, self._text[place.start : place.end], anchor)
        self._dropped += values.dropped
        taken_as, data, is_dated = table, values.data, not _lacks_its_date(table, values)
        if not is_dated:
            if TableName.NOTES not in self._wanted.data_types:
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
            if not stands_in(str(record.get("quote")), self._known):
                self._failed.append(FailedRecord(record, "its quote is not copied from the text"))
            return
        self._taken_at(taken_as, spot).add(title)
        start, end = place.start, place.end
        if self._is_literal:
            quote = self._text[start:end]
            data = literal.copied(table, data, quote, said=said, timezone=self._wanted.timezone)
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
                data=data | self._referred(table, said),
                quote=self._text[start:end],
                start=start,
                end=end,
                origin="model",
                warnings=("approximate_quote",) if place.is_near else (),
                unresolved=values.unresolved,
            )
        )

    def _referred(self, table: DeviceTable, said: Mapping[str, object]) -> Record:
        """Return the ids of the referenced rows by column; added after the validation, like all ids."""
        ids: Record = {}
        for column in table.columns:
            if column.refers_to is not None:
                label = said.get(REFERENCE_FIELDS[column.refers_to])
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
