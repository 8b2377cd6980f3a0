"""Pure: a model's answer into items that can be trusted, and notes on the rest.

Nothing passes on the model's word alone: every record bears a quote that stands in
the text, only wanted tables and fields a document can fill are taken, and values
are brought into shape only where that cannot change their meaning.
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
_NOTES: Final = TABLES[TableName.NOTES]  # what an event without a day becomes, where notes are wanted
# What a record names a row of the device by, among those it was shown; not a column of any table.
REFERENCE_FIELDS: Final[dict[TableName, str]] = {TableName.PROJECTS: "project", TableName.TASKS: "task"}
_NO_FIELDS: Final = frozenset({"table", "quote", "data", *REFERENCE_FIELDS.values()})


class FailedRecord(msgspec.Struct, frozen=True):
    """A record worth asking for again, and why it was not taken, in words for the model."""

    record: dict[str, object]
    why: str


class Checked(msgspec.Struct, frozen=True):
    """What some records came to. What *failed* is among the *dropped* too."""

    items: list[Item]
    dropped: list[Dropped]
    failed: list[FailedRecord] = []


class Checking:
    """Takes the records of the answers about one *piece*.

    Args:
        known: what names may be taken from: the whole document and its owner's words, folded.
        is_literal: the model can only be trusted to copy, so its words must stand in the quote.
        date: the document's own, which dates in words are counted from where *dates* are not given.
        dates: those of its passages.
        references: the rows of the device that the model was shown, by their label.
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
        """Items and notes of *records* alone, in their order.

        It may be called again with what a second question brought: places are remembered.
        """
        self._items, self._dropped, self._failed = [], [], []
        for record in records:
            if isinstance(record, dict):
                self._take(record)
            else:
                self._drop("", "not_an_object")
        return Checked(self._items, self._dropped, self._failed)

    def _take(self, record: dict[str, object]) -> None:
        """Make an item of one record, or a note why not."""
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
            # What stands elsewhere was read there, or will be.
            if not stands_in(str(record.get("quote")), self._known):
                self._failed.append(FailedRecord(record, "its quote is not copied from the text"))
            return
        self._taken_at(taken_as, spot).add(title)
        start, end = place.start, place.end
        if self._is_literal:
            quote = self._text[start:end]
            data = literal.copied(table, data, quote, said=said, timezone=self._wanted.timezone)
            # What the sentence does not say is gone by now, and may have been required.
            if problems_of(table, data, _BY_MODEL):
                self._drop(table.name, "ungrounded", f"{table.name}.{table.title}")
                return
            start, end = self._piece.start, self._piece.end  # it was asked about this one sentence
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
        """The ids of the rows whose labels were named, by column; set after the check, like all ids."""
        ids: Record = {}
        for column in table.columns:
            if column.refers_to is not None:
                label = said.get(REFERENCE_FIELDS[column.refers_to])
                row = self._references.get(label) if isinstance(label, str) else None
                if row is not None and row.table is column.refers_to:
                    ids[column.name] = row.id
        return ids

    def _spot(self, table: DeviceTable, title: str, quote: object) -> Place | None:
        """Where the quote stands in the document.

        Of several places each gets its share: a record goes where the fewest of its table went, and never
        twice to one place with the same title.
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
        """The place that is shown for a quote: of one too short to say anything, its sentence."""
        if place.end - place.start < LEAST_QUOTE_CHARS:
            start, end = sentence_at(self._text, place.start, place.end, self._piece)
            return Place(start, end, place.is_near)
        return place

    def _taken_at(self, table: DeviceTable, place: Place) -> set[str]:
        """The titles of the records that went there."""
        return self._taken[table.name, place.start, place.end]

    def _drop(self, table: str, reason: DropReason, detail: str = "") -> None:
        self._dropped.append(Dropped(table=table, reason=reason, detail=detail))


def _lacks_its_date(table: DeviceTable, values: Values) -> bool:
    """Whether the one thing in the way of a row is a date that stays words."""
    return any(column.required and column.name in values.unresolved for column in table.columns)
