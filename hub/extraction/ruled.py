"""Reading of a document by rules: the work that ``rules_process`` does outside of the hub. Pure functions.

A request has all that its answer depends on, and both can be sent to another process.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from itertools import islice
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from hub.clock import epoch_ms
from hub.document import Document
from hub.extraction import chunk, prose, structured, suspicion, validate
from hub.extraction.blocks import COVER, STRUCK, STRUCK_WORDS, blanked, is_code
from hub.extraction.chunk import Chunk, Passage
from hub.extraction.dating import PassageDates
from hub.extraction.items import Dropped, ExtractionOptions, Form, Item, Notes
from hub.extraction.prose_layout import DIGIT, About, lines_in
from hub.extraction.reference import is_invoice, is_reference
from hub.extraction.when.resolve import Anchor, date_ms, local_day, resolve
from hub.extraction.wording.languages import languages, languages_in, script_of
from hub.text.files import OFFICE
from protocol.secret_rules import redact_typed
from protocol.tables import TABLES, TableName


class Sorted(msgspec.Struct, frozen=True):
    """Items of a document without duplicates and with their marks, what was dropped, and statistics."""

    items: tuple[Item, ...]
    dropped: tuple[Dropped, ...]
    notes: Notes
    unread_chars: int  # of the prose


class Reading(msgspec.Struct, frozen=True):
    """Result of the rules. *pieces*: of the prose, for a model."""

    form: Form
    dates: PassageDates
    items: list[Item]
    pieces: list[Chunk] = []
    sorted: Sorted | None = None


class ToRead(msgspec.Struct, frozen=True, kw_only=True, tag="read"):
    """Request to read a document by rules.

    Attributes:
        reads_prose: apply the rules for prose too.
        chunk_tokens: size of the pieces for a model; without one, the items are sorted out at once.
        by_sentence: each sentence is a piece.
    """

    document: Document
    options: ExtractionOptions
    reads_prose: bool
    chunk_tokens: int | None = None
    by_sentence: bool = False

    def answer(self) -> Reading:
        """Read the document."""
        document, options = self.document, self.options
        form = structured.read(document, options)
        dates = PassageDates.of(document, date=form.date, timezone=options.timezone)
        items = [*_with_due_days(form, dates, options.timezone)]
        by_rules = msgspec.structs.replace(form.by_rules or form, tables=form.tables)
        found = _of_prose(document, options, by_rules, dates) if self.reads_prose else ()
        items = by_place([*items, *filter(by_rules.admits, found)])
        if self.chunk_tokens is None:
            to_sort = ToSort(
                document=document,
                options=options,
                form=form,
                dates=dates,
                found=items,
                dropped=form.dropped,
            )
            return Reading(form, dates, items, sorted=to_sort.answer())
        text = form.view or document.text
        pieces = chunk.split(text, form.prose, self.chunk_tokens, by_sentence=self.by_sentence)
        return Reading(form, dates, items, pieces)


class ToSort(msgspec.Struct, frozen=True, kw_only=True, tag="sort"):
    """Request to remove duplicates from the items of a document, and to mark them."""

    document: Document
    options: ExtractionOptions
    form: Form
    dates: PassageDates
    found: list[Item]
    dropped: list[Dropped] = []

    def answer(self) -> Sorted:
        """Sort the items out."""
        document, options, form = self.document, self.options, self.form
        suspicions = suspicion.spans(form.authored or document.text, form.apart)
        marked = suspicion.marked(self.found, document.text, suspicions, options.tables)
        single, doubles = validate.once(marked, options.tables)
        items, outside = suspicion.by_authorship(map(self._finished, single), document, options.outside)
        dropped = (*self.dropped, *doubles, *outside)
        notes = Notes(
            dropped=dict(Counter(note.reason for note in dropped)),
            hidden_chars=suspicion.hidden_count(document.text),
            hidden_parts=document.hidden_parts,
            undecoded=document.text.count("\ufffd"),
            guessed_encoding={document.guessed: sum(char > "\x7f" for char in document.text)}
            if document.guessed
            else {},
            parts=document.parts,
            unresolved=sum(len(item.unresolved) for item in items),
            is_cut_off=form.is_cut_off,
        )
        return Sorted(tuple(items), dropped, notes, chunk.readable_chars(document.text, form.prose))

    def _finished(self, item: Item) -> Item:
        """Return an item with the reasons of its days, and without keys and passwords in its texts.

        Its owner sees these in the quote.
        """
        texts = {name: redact_typed(value) for name, value in item.data.items() if isinstance(value, str)}
        counted = self.dates.counted(item, self.options.timezone)
        return msgspec.structs.replace(item, data=item.data | texts, counted=counted)


Request = ToRead | ToSort
_ADDRESS: Final = re.compile(r"\w{2,10}://\S+")
_DUE: Final = "dueDate"
MEMORY_BYTES: Final = 1 << 30  # of the process that answers; a text needs ten times its size


def _with_due_days(form: Form, dates: PassageDates, timezone: str) -> Iterator[Item]:
    """Yield items of lists; a task without a day gets the first one that its words denote, else the form's.

    Words for a day that is unknown stay for a person.
    """
    for item in form.items:
        is_open = item.table == TableName.TASKS and item.data.get("status") != "done"
        if is_open and not item.is_exact and _DUE not in item.data:
            for at, has_time, words in islice(_days_of(item, dates.at(item.start), timezone), 1):
                data = item.data | ({} if at is None else {_DUE: epoch_ms(at)})
                unresolved, known = ({_DUE: words}, {}) if at is None else ({}, {_DUE: words})
                item = msgspec.structs.replace(
                    item, data=data, unresolved=unresolved, words=known, has_time=has_time
                )
            if form.due and _DUE not in item.data and not item.unresolved:
                item = msgspec.structs.replace(item, data=item.data | {_DUE: date_ms(form.due, timezone)})
        yield item


def _days_of(item: Item, anchor: Anchor | None, timezone: str) -> Iterator[tuple[datetime | None, bool, str]]:
    """Yield the days of a field or a title that are not past, and words for days that are unknown."""
    if (words := item.unresolved.get(_DUE)) is not None:
        moment = resolve(words, anchor=anchor, timezone=timezone, is_due=True)
        yield (moment.at, moment.has_time, words) if moment else (None, False, words)
        return
    title = _ADDRESS.sub(lambda address: " " * len(address[0]), str(item.data["title"]))
    has_day = any(one.has("dated", title) for one in languages_in(script_of(title))) or DIGIT.search(title)
    lines = list(lines_in(title, Passage(0, len(title)))) if has_day else []
    lexicon = About(lines).lexicon if lines else None
    zone = ZoneInfo(timezone)
    today = local_day(anchor, zone) if isinstance(anchor, datetime) else anchor or date.min
    for day in prose.days_in(title, lexicon, anchor, timezone) if lexicon else ():
        if day.at is None or local_day(day.at, zone) >= today:
            yield day.at, day.has_time, day.words


def _of_prose(document: Document, options: ExtractionOptions, form: Form, dates: PassageDates) -> list[Item]:
    if not form.prose or is_code(document):
        return []
    text = form.view or document.text
    is_struck = STRUCK_WORDS if document.media_type in OFFICE else STRUCK
    struck = (match.span() for match in is_struck.finditer(text))
    text = blanked(text, [*dates.stamps, *form.tables, *struck])
    # Words are read without the signs between them, at places that are found again in the text.
    is_covered = COVER in text
    places = [at for at, char in enumerate(text) if char != COVER] if is_covered else range(len(text))
    shown = text.replace(COVER, "")
    passages = [
        msgspec.structs.replace(one, start=bisect_left(places, one.start), end=bisect_left(places, one.end))
        for one in form.prose
    ]
    found = prose.read(
        shown,
        passages,
        options,
        day_at=lambda place: dates.at(places[place]),
        quoted=shown if is_covered else document.text,
        is_reference=is_reference(document.unit_key, document.text, passages, has_day=dates.has_day),
        is_invoice=is_invoice(document.text),
        written_at=document.modified_at,
    )
    return [_at(item, places, document.text) for item in found] if is_covered else found


def _at(item: Item, places: Sequence[int], text: str) -> Item:
    """Return an item at its place in the whole text, with the covered edges of links."""
    start, end = places[item.start], places[item.end - 1] + 1
    before = places[item.start - 1] + 1 if item.start else 0
    after = places[item.end] if item.end < len(places) else len(text)
    start = before if text[before] == "[" else start
    end = after if text[end : end + 1] == "]" else end
    return msgspec.structs.replace(item, start=start, end=end, quote=text[start:end])


def by_place(items: Iterable[Item]) -> list[Item]:
    """Return the items in the order of the text."""
    return sorted(items, key=lambda item: (item.start, item.end))


def warm_up() -> None:
    """Read an English sentence, which imports modules and unpacks weights.

    Patterns of each language are compiled with its first text: those of all take half a second.
    """
    options = ExtractionOptions(data_types=tuple(TABLES), prompt="", timezone="UTC")
    document = Document(unit_key="", text=languages()[0].example, content_hash="")
    ToRead(document=document, options=options, reads_prose=True).answer()


def encode(value: object) -> bytes:
    """Serialize a request or an answer."""
    return msgspec.msgpack.encode(value, enc_hook=_left_out)


def _left_out(value: Any) -> None:
    """Encode the recording of a document as None: rules do not read it."""
