"""Reading of one document by rules, as executed in the rules process. Pure functions.

A request has all that its answer depends on, and both can be sent to another process.
"""

import struct
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable
from functools import partial
from itertools import filterfalse
from typing import Any, Final, Generic, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from hub.base.clock import from_epoch_ms
from hub.document import Document
from hub.extraction import chunk, duplicates, injection_warnings, judge
from hub.extraction.authorship import ranks_in
from hub.extraction.chunk import Chunk
from hub.extraction.dating import PassageDates
from hub.extraction.due_days import with_due_days, with_planned_days
from hub.extraction.items import (
    Dropped,
    Extraction,
    ExtractionOptions,
    Item,
    Notes,
    RulesForm,
    by_place,
    lines_of,
)
from hub.extraction.reading_cost import parts_to_read, steps_until
from hub.extraction.when.resolve import local_day
from hub.text.files import CALENDAR, CALENDARS
from hub.text.places import Place
from protocol.secret_rules import redact_typed
from protocol.tables import TableName

RulesAnswer = TypeVar("RulesAnswer")
_Placed = TypeVar("_Placed", Item, Dropped)


class RulesResult(msgspec.Struct, frozen=True):
    """Result of the rules, before its items are sorted out.

    Attributes:
        parts: the part of the text that was read, from which all places count, and that of which no
            sentences were.
        pieces: of the prose, for a model.
    """

    parts: tuple[Place, Place]
    form: RulesForm
    dates: PassageDates
    items: list[Item]
    pieces: list[Chunk] = []


class RulesRequest(msgspec.Struct, Generic[RulesAnswer], frozen=True, kw_only=True):
    """Request about a document to the rules, by the type of its answer.

    Attributes:
        reads_prose: apply the rules for prose too.
    """

    document: Document
    options: ExtractionOptions
    reads_prose: bool = False

    @abstractmethod
    def answer(self) -> RulesAnswer:
        """Return the answer."""

    def steps_to(self, limit: float) -> float:
        """Return the estimated steps of the answer, counted up to a limit."""
        return steps_until(self.document, limit, reads_prose=self.reads_prose)

    @property
    def needs(self) -> frozenset[str]:
        """Names of what its process loads in advance: a time zone, and CALENDAR for events of all zones."""
        document, zone = self.document, self.options.timezone
        declared = f"{document.unit_key} {document.media_type}".lower()
        is_calendar = any(mark in declared for mark in (".ics", ".ical", CALENDAR))
        has_events = is_calendar or any(kind in document.text for kind in CALENDARS)
        return frozenset({zone, CALENDAR} if has_events else {zone})


class ToRead(RulesRequest[RulesResult], frozen=True, kw_only=True, tag="read"):
    """Request to read a document by rules.

    Attributes:
        chunk_tokens: size of the pieces for a model; None without one.
        by_sentence: each sentence is a piece.
    """

    chunk_tokens: int | None = None
    by_sentence: bool = False

    def answer(self) -> RulesResult:
        """Read the parts of the document that its author's steps cover."""
        from hub.extraction import (
            day_rows,
            structured,
        )  # imported here: a hub leaves the reading to another process

        document, options = self.document, self.options
        parts = parts_to_read(document, reads_prose=self.reads_prose)
        document = part_of(document, *parts[0])
        form = structured.read(document, options)
        dates = PassageDates.of(document, date=form.date, timezone=options.timezone)
        items = [*with_due_days(form, dates, options.timezone)]
        by_rules = _without(msgspec.structs.replace(form.by_rules or form, tables=form.tables), parts)
        form = _without(form, parts)
        found = list[Item]()
        if self.reads_prose:
            found = structured.read_prose(document, options, by_rules, dates)
            found = day_rows.with_day_rows(found, document, by_rules, dates, options)
        ahead = filterfalse(partial(_is_over, document=document, timezone=options.timezone), items)
        found = by_place([*ahead, *filter(by_rules.admits, found)])
        found = [*with_planned_days(found, dates, options.timezone)]
        items = judge.judged(found, document, list(lines_of(document.text)))
        if self.chunk_tokens is None:
            return RulesResult(parts, form, dates, items)
        text = form.view or document.text
        pieces = chunk.split(text, form.prose, self.chunk_tokens, by_sentence=self.by_sentence)
        return RulesResult(parts, form, dates, items, pieces)


class ToSort(RulesRequest[Extraction], frozen=True, kw_only=True, tag="sort"):
    """Request to remove duplicates from the items of a document, and to mark them.

    Attributes:
        parts: the part of the text that was read, and that of which no sentences were.
    """

    parts: tuple[Place, Place]
    form: RulesForm
    dates: PassageDates
    found: list[Item]
    dropped: list[Dropped] = []

    def answer(self) -> Extraction:
        """Sort the items out."""
        (begin, end), unread = self.parts
        document, options, form = part_of(self.document, begin, end), self.options, self.form
        rest = self.document.text[slice(*unread)]
        suspicions = injection_warnings.spans(form.authored or document.text, form.apart)
        marked = injection_warnings.marked(self.found, document.text, suspicions, options.tables)
        single, doubles = duplicates.deduplicate(marked, options.tables, ranks_in(document))
        found = "\n".join(text for item in single for text in item.data.values() if isinstance(text, str))
        finish = self._finished if redact_typed(found) != found else self._counted
        items, outside = injection_warnings.by_authorship(map(finish, single), document, options.outside)
        dropped = (*self.dropped, *doubles, *outside)
        # Only characters beyond ASCII depend on the encoding that was guessed.
        beyond_ascii = sum(char > "\x7f" for char in document.text) if document.guessed else 0
        notes = Notes(
            dropped=dict(Counter(note.reason for note in dropped)),
            hidden_chars=injection_warnings.hidden_count(document.text),
            hidden_parts=document.hidden_parts,
            undecoded=document.text.count("\ufffd"),
            guessed_encoding={document.guessed: beyond_ascii} if document.guessed else {},
            parts=dict(Counter(document.parts) + Counter(form.parts)),
            unresolved=sum(len(item.unresolved) for item in items),
            is_cut_off=form.is_cut_off and end == len(self.document.text),  # else its end is not known
            unread_chars=len(rest),
            unread_lines=len(rest.splitlines()),
        )
        return Extraction(items=_moved(items, begin), dropped=_moved(dropped, begin), notes=notes)

    def _finished(self, item: Item) -> Item:
        """Return an item with the reasons of its days, and without keys and passwords in its texts.

        Its owner sees these in the quote.
        """
        texts = {name: redact_typed(value) for name, value in item.data.items() if isinstance(value, str)}
        return self._counted(msgspec.structs.replace(item, data=item.data | texts))

    def _counted(self, item: Item) -> Item:
        counted = self.dates.counted(item, self.options.timezone) if item.words else ()
        return msgspec.structs.replace(item, counted=counted) if counted or item.counted else item


class ToExtract(RulesRequest[Extraction], frozen=True, kw_only=True, tag="extract"):
    """Request to read a document without a model, and to sort out its items."""

    def answer(self) -> Extraction:
        """Read the document and sort its items out."""
        document, options = self.document, self.options
        found = ToRead(document=document, options=options, reads_prose=self.reads_prose).answer()
        unread = found.dates.languages.unread_name if self.reads_prose and found.form.prose else ""
        sorted_out = ToSort(
            document=document,
            options=options,
            parts=found.parts,
            form=found.form,
            dates=found.dates,
            found=found.items,
            dropped=found.form.dropped,
        ).answer()
        if not unread:
            return sorted_out
        notes = msgspec.structs.replace(sorted_out.notes, unread_languages={unread: 1})
        return msgspec.structs.replace(sorted_out, notes=notes)


Request = ToRead | ToExtract | ToSort
MEMORY_BYTES: Final = 1 << 30  # of the process that answers; a text needs ten times its size


def part_of(document: Document, begin: int, end: int) -> Document:
    """Return a document with a part of its text."""
    if end - begin == len(document.text):  # the usual case
        return document
    authors = tuple((place - begin, author) for place, author in document.authors)
    return msgspec.structs.replace(document, text=document.text[begin:end], authors=authors)


def _moved(found: Iterable[_Placed], chars: int) -> tuple[_Placed, ...]:
    """Return items or notes of a part of a text with their places in the whole text."""
    if chars:
        found = (
            msgspec.structs.replace(item, start=item.start + chars, end=item.end + chars) for item in found
        )
    return tuple(found)


def _without(form: RulesForm, parts: tuple[Place, Place]) -> RulesForm:
    """Return a form without the passages of which no sentences are read."""
    (begin, _), (stop, resume) = parts
    if stop == resume:
        return form
    prose = [
        msgspec.structs.replace(passage, start=start, end=end)
        for passage in form.prose
        for start, end in (
            (passage.start, min(passage.end, stop - begin)),
            (max(passage.start, resume - begin), passage.end),
        )
        if start < end
    ]
    return msgspec.structs.replace(form, prose=prose)


def _is_over(item: Item, document: Document, timezone: str) -> bool:
    """Return True for an event of a day before its document was written; those of calendars may be series."""
    at, written_at = item.data.get("date"), document.modified_at
    if item.table != TableName.TIMELINES or not isinstance(at, int) or written_at is None:
        return False
    zone, is_of_calendar = ZoneInfo(timezone), item.evidence and item.evidence.rule.startswith("calendar.")
    return not is_of_calendar and local_day(from_epoch_ms(at), zone) < local_day(written_at, zone)


def _left_out(value: Any) -> None:
    """Encode the recording of a document as None: rules do not read it."""


_ENCODER: Final = msgspec.msgpack.Encoder(enc_hook=_left_out)


def frame_of(message: object) -> bytearray:
    """Serialize a request or an answer, behind its length."""
    frame = bytearray(8)
    _ENCODER.encode_into(message, frame, 8)
    struct.pack_into("=Q", frame, 0, len(frame) - 8)
    return frame
