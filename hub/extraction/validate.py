"""Validation of a model's records: required quote, allowed fields, no invented names. Pure.

Nothing is accepted on the model's word alone. Every record must have a quote from the text. Only requested
tables and fields that a document can fill are accepted. Values are converted to the types of their columns
only if that cannot change their meaning. A date whose words do not determine a day is kept as words
for a person to resolve. Names that occur neither in the document nor in its owner's prompt are dropped.

A quote is found by three methods, the strictest first: equal characters; equal when folded, ignoring markup
of emphasis, replies or captions; and, for quotes that are long enough, at most one different character in
ten. The result is always a place of the text, and only the text's own words are shown. The last method
compares only a few places, found by the rarest words of the quote: its work grows with the quote, not with
the text. A different number or negation is never a typo.

A model that can only copy is asked about one sentence, so its words must occur in that sentence; all others
are invented.
"""

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from hub.base.clock import from_epoch_ms
from hub.document import Document
from hub.extraction.chunk import Chunk, is_readable, sentence_at, sentences
from hub.extraction.dating import PassageDates
from hub.extraction.items import Dropped, DropReason, ExtractionOptions, Item, Reference
from hub.extraction.when.resolve import DateContext, NearDay, dates_in, days_in, local_day, read_date, resolve
from hub.text.folding import Folded, fold, folded_alone, occurs_in, shown, splits, words_of
from hub.text.redaction import Redaction
from protocol.frame import Field, Record
from protocol.tables import (
    TABLES,
    Column,
    DeviceTable,
    Filler,
    Kind,
    TableName,
    plain_choice,
    problem_of,
    problems_of,
)

MIN_QUOTE_CHARS: Final = 12  # shorter quotes are ambiguous: the whole sentence is shown

# Characters that models put around quotes.
_ASIDE: Final = "\"'\u201c\u201d\u2018\u2019\u201e\u00ab\u00bb.\u2026 \t\r\n"
_MAX_QUOTE_CHARS: Final = 400  # twice the limit of a quote; a longer one is no typo
_MAX_SEEDS: Final = 64  # positions of its words that are examined
# Part of a word: a typo in a long word leaves its other parts unchanged.
_PART: Final = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff]|[^\W\u0e00-\u9fff]{1,5}|\w"
)


_LEFT_OUT: Final = re.compile(r"(?:(?<!\s)\s++)?[\[(]?(?:\.{3,}|\u2026)[\])]?\s*+")

_NUMBER: Final = re.compile(r"\d+")
_NOT: Final = re.compile(
    r"\b(?:not|no|never|nor|without|cannot|nicht|kein\w*|nie|niemals|ohne|pas|jamais|aucune?|sans|nunca|jam\u00e1s"
    r"|ning[u\u00fa]n\w*|sin|\u043d\u0435|\u043d\u0435\u0442|\u043d\u0438|\u043d\u0438\u043a\u043e\u0433\u0434\u0430|\u0431\u0435\u0437)\b"
    r"|n't\b|[\u4e0d\u6ca1\u6c92\u522b\u52ff\u672a\u65e0]"
)


class QuoteSpan(NamedTuple):
    """Range ``text[start:end]``; *is_near*: the quote differs from it."""

    start: int
    end: int
    is_near: bool = False


_NOWHERE: Final = QuoteSpan(0, 0)


class Grounding:
    """Search for quotes in ``text[start:end]``; all places are places of *text*."""

    def __init__(self, text: str, start: int, end: int) -> None:
        self._piece = text[start:end]
        self._offset = start

    def places(self, quote: str, *, is_folded: bool = False) -> list[QuoteSpan]:
        """Return every place of *quote*, in order, by the strictest method with a result.

        With *is_folded*, the exact method is skipped, because repeated text may be spelled differently.
        """
        bare = quote.strip(_ASIDE)
        if not is_readable(bare):
            return []
        for words in (quote.strip(), bare):
            found = [] if is_folded or len(words) < MIN_QUOTE_CHARS else self._to_the_letter(words)
            if found := found or list(self._folded.find(words)):
                return self._placed(found, is_near=False)
        return self._placed(self._with_gaps(bare) or self._with_slips(folded_alone(bare)), is_near=True)

    @cached_property
    def _folded(self) -> Folded:
        # Costs a hundred times the rest, and most pieces have no record, or only exact quotes.
        return Folded(self._piece)

    @cached_property
    def _parts(self) -> dict[str, list[int]]:
        """Positions of each part of a word in the folded letters."""
        found: dict[str, list[int]] = {}
        for match in _PART.finditer(self._folded.letters):
            found.setdefault(match.group(), []).append(match.start())
        return found

    def _placed(self, found: list[tuple[int, int]], *, is_near: bool) -> list[QuoteSpan]:
        return [QuoteSpan(self._offset + start, self._offset + end, is_near) for start, end in found]

    def _to_the_letter(self, quote: str) -> list[tuple[int, int]]:
        found = [match.span() for match in re.finditer(re.escape(quote), self._piece)]
        return [place for place in found if not any(splits(self._piece, edge) for edge in place)]

    def _with_gaps(self, quote: str) -> list[tuple[int, int]]:
        """Find a quote with marked omissions: its parts in close succession."""
        parts = _LEFT_OUT.split(quote)
        if not 1 < len(parts) <= 4 or any(len(part) < 8 for part in parts):
            return []
        found: list[tuple[int, int]] = []
        places = [list(self._folded.find(part)) for part in parts]
        for start, end in places[0]:
            for following in places[1:]:
                nth = bisect_left(following, (end, 0))
                if nth == len(following) or following[nth][0] - end > 200:  # length of an omission in a quote
                    break
                end = following[nth][1]
            else:
                if not found or start >= found[-1][1]:
                    found.append((start, end))
        return found

    def _with_slips(self, quote: str) -> list[tuple[int, int]]:
        most = len(quote) // 10  # a similarity of 0.9 at least
        if not most or len(quote) > _MAX_QUOTE_CHARS:
            return []
        letters = self._folded.letters
        checked: list[tuple[int, int]] = []
        found: list[tuple[int, int]] = []
        for begin, stop in self._windows(quote, most):
            for start, end in _alike(quote, letters[begin:stop], most):
                if any(first <= begin + start and begin + end <= last for first, last in checked):
                    continue
                place = self._folded.whole_words(begin + start, begin + end)
                checked.append(place)
                is_new = all(place[1] <= first or last <= place[0] for first, last in found)
                if is_new and _has_same_facts(quote, letters[slice(*place)]):
                    found.append(place)
        return [self._folded.place(*place) for place in sorted(found)]

    def _windows(self, quote: str, slips: int) -> list[tuple[int, int]]:
        """Return the windows that may contain *quote*, ordered by the weight of its rare parts in them."""
        parts = [
            (places, match.start())
            for match in _PART.finditer(quote)
            if (places := self._parts.get(match.group()))
        ]
        begins: list[tuple[int, float]] = []  # start of the quote, and the weight of the part
        for places, at in sorted(parts, key=lambda part: len(part[0])):
            begins += [(place - at, 1 / len(places)) for place in places[: _MAX_SEEDS - len(begins)]]
        windows: list[tuple[float, int, int]] = []  # with the first and the last start
        for begin, weight in sorted(begins):
            if windows and begin - windows[-1][1] <= slips:
                windows[-1] = windows[-1][0] + weight, windows[-1][1], begin
            else:
                windows.append((weight, begin, begin))
        best = sorted(windows, key=lambda window: -window[0])[:8]  # windows compared character by character
        return [(max(first - slips, 0), last + len(quote) + slips + 1) for _, first, last in best]


def _has_same_facts(quote: str, found: str) -> bool:
    """Return True if numbers and negations are equal in both, whatever else differs."""
    return all(Counter(p.findall(quote)) == Counter(p.findall(found)) for p in (_NUMBER, _NOT))


def _alike(quote: str, letters: str, slips: int) -> list[tuple[int, int]]:
    """Return the places in *letters* within an edit distance of *slips*, the nearest of each, in order."""
    found: list[tuple[int, int]] = []
    best: tuple[int, int] | None = None  # distance and end of the nearest so far, among those that overlap
    for end, distance in enumerate(_distances(quote, letters), 1):
        if best is not None and end - best[1] > len(quote) // 2:
            found.append((_start_of(quote, letters, best[1], slips), best[1]))
            best = None
        if distance <= slips and (best is None or distance < best[0]):
            best = distance, end
    if best is not None:
        found.append((_start_of(quote, letters, best[1], slips), best[1]))
    return found


def _start_of(quote: str, letters: str, end: int, slips: int) -> int:
    """Return the start of the place that ends at *end*, by the same search backwards."""
    before = letters[max(end - len(quote) - slips, 0) : end][::-1]
    lengths = enumerate(_distances(quote[::-1], before, is_anchored=True), 1)
    _, _, length = min((distance, abs(length - len(quote)), length) for length, distance in lengths)
    return end - length


def _distances(quote: str, letters: str, *, is_anchored: bool = False) -> Iterator[int]:
    """Yield the edit distance of *quote* to the best text before each end in *letters*.

    With *is_anchored*, the text starts at the beginning of *letters*.

    G. Myers, A fast bit-vector algorithm for approximate string matching (JACM 46, 1999): a column of the
    usual table is stored in two numbers, so that each character costs a dozen operations for any length.
    """
    ones, last = (1 << len(quote)) - 1, 1 << (len(quote) - 1)
    masks: dict[str, int] = {}
    for at, char in enumerate(quote):
        masks[char] = masks.get(char, 0) | 1 << at
    more, less, distance = ones, 0, len(quote)
    for char in letters:
        equal = masks.get(char, 0)
        across = (((equal & more) + more) ^ more) | equal
        up = less | (ones & ~(across | more))
        down = more & across
        distance += bool(up & last) - bool(down & last)
        up, down = (up << 1 | is_anchored) & ones, (down << 1) & ones
        below = equal | less
        more, less = down | (ones & ~(below | up)), up & below
        yield distance


_BY_MODEL: Final = frozenset({Filler.MODEL})
_NOTES: Final = TABLES[TableName.NOTES]  # table for an event without a day, if notes are requested
# Fields in which a record refers to a row by its label; they are not columns of a table.
REFERENCE_FIELDS: Final[dict[str, str]] = {TableName.PROJECTS: "project", TableName.TASKS: "task"}
_NO_FIELDS: Final = frozenset({"table", "quote", "data", *REFERENCE_FIELDS.values()})

_POINTING: Final = frozenset(
    ("i", "we", "you", "he", "she", "it", "they", "this", "that", "there", "the", "a", "an", "nobody")
)

_EMPTY_VALUES: Final = frozenset({"", "null", "none", "n/a", "unknown", "not specified"})


class Values(msgspec.Struct, frozen=True):
    """Converted fields of one record.

    Attributes:
        data: values by column, in order.
        unresolved: by column, words of the text that could not be converted to a value.
        dropped: rejected fields.
        words: by column, words from which a date was converted.
    """

    data: Record
    unresolved: dict[str, str]
    dropped: list[Dropped]
    words: dict[str, str]


class RecordReader:
    """Converter of one document's records.

    Args:
        known: folded text in which names and words must occur.
    """

    def __init__(self, *, known: str) -> None:
        self._known = known

    def values(
        self,
        table: DeviceTable,
        fields: Mapping[str, object],
        context: DateContext,
    ) -> Values:
        """Convert *fields* to values for *table*; required fields are not checked here."""
        read = Values({}, {}, [], {})
        for name, raw in fields.items():
            column = table.column(name)
            if column is None or column.filler is not Filler.MODEL:
                _drop(read, table, "forbidden_field", name if column is not None else "(unknown)")
                continue
            if raw is None or (isinstance(raw, str) and raw.strip().lower() in _EMPTY_VALUES):
                continue
            value = self._value(column, raw, context)
            if value is not None and not problem_of(column, value):
                read.data[name] = value
                if column.kind is Kind.EPOCH_MS:
                    read.words[name] = shown(str(raw)).strip()
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
        context: DateContext,
    ) -> Values:
        """Correct dates that contradict the words of the *quote*.

        If the quote has several days, nothing changes, because one of them may be meant. If it has a relative
        day without a known anchor, the model's date is rejected.
        """
        data = values.data
        read = Values(dict(data), dict(values.unresolved), list(values.dropped), dict(values.words))
        for column in table.columns:
            raw = fields.get(column.name)
            if column.kind is not Kind.EPOCH_MS or column.name not in data or not isinstance(raw, str):
                continue
            worked_out = read_date(shown(raw).strip(), context.timezone)
            if worked_out is None:
                continue
            is_due = column.name == "dueDate"
            days = days_in(shown(quote), context, is_due=is_due)
            if len(days) == 1:
                read.words[column.name] = days[0].words
            if (
                len(days) == 1
                and local_day(days[0].at, context.zone) != local_day(worked_out, context.zone)
                and not problem_of(column, days[0].at_ms)
            ):
                read.data[column.name] = days[0].at_ms
                _drop(read, table, "wrong_date", column.name)
            elif not days and (context.anchor is None or isinstance(context.anchor, NearDay)):
                found = dates_in(shown(quote), language=context.language)
                relative = [date.words for date in found if not date.is_full]
                if relative:
                    del read.data[column.name]
                    read.unresolved[column.name] = relative[0]
                    _drop(read, table, "wrong_date", column.name)
        return read

    def _value(self, column: Column, raw: object, context: DateContext) -> Field:
        """Convert *raw* to the column's type; ``None`` if that would be guessing."""
        match column.kind:
            case Kind.TEXT if isinstance(raw, str):
                value = shown(raw).strip()
                same = (choice for choice in column.choices if plain_choice(choice) == plain_choice(value))
                return next(same, value)
            case Kind.NAMES:
                return self._names(raw)
            case Kind.EPOCH_MS if isinstance(raw, str):
                is_due = column.name == "dueDate"
                moment = resolve(shown(raw).strip(), *context, is_due=is_due)
                return moment.at_ms if moment else None
            case Kind.NUMBER if isinstance(raw, int | float) and not isinstance(raw, bool):
                return float(raw)
            case Kind.FLAG if isinstance(raw, bool):
                return int(raw)
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
        is_copied = len(words) <= 120 and occurs_in(words, self._known)  # of a date in words
        return words if is_copied and any(map(str.isalpha, words)) else None


def _drop(read: Values, table: DeviceTable, reason: DropReason, field: str) -> None:
    read.dropped.append(Dropped(table=table.name, reason=reason, detail=f"{table.name}.{field}"))


class FailedRecord(msgspec.Struct, frozen=True):
    """Record to request again, and why it was rejected, in words for the model."""

    record: dict[str, object]
    why: str


class CheckedRecords(msgspec.Struct, frozen=True):
    """Results of some records. *failed* records are also in *dropped*."""

    items: list[Item]
    dropped: list[Dropped]
    failed: list[FailedRecord] = []


class Material(msgspec.Struct, frozen=True):
    """Document with the data for questions about it, and for the validation of answers.

    Attributes:
        known: source of names: the whole document and its owner's prompt, folded.
        dates: dates of the document's passages.
        redaction: values of the document that are hidden from the model.
        labels: rows of the device to which a record may belong, by the labels that the model gets.
    """

    document: Document
    options: ExtractionOptions
    known: str
    dates: PassageDates
    redaction: Redaction
    labels: Mapping[str, Reference]


class Checking:
    """Validator of the records in the answers about one *piece*.

    Args:
        is_literal: the model can only copy, so its words must occur in the quote.
    """

    def __init__(self, material: Material, piece: Chunk, *, is_literal: bool) -> None:
        self._text = material.document.text
        self._piece = piece
        self._material = material
        self._options = material.options
        self._is_literal = is_literal
        self._reading = RecordReader(known=material.known)
        self._grounding = Grounding(self._text, piece.start, piece.end)
        self._taken: defaultdict[tuple[str, int, int], set[str]] = defaultdict(set)
        self._items: list[Item] = []
        self._dropped: list[Dropped] = []
        self._failed: list[FailedRecord] = []

    def take_all(self, records: Iterable[object]) -> CheckedRecords:
        """Return items and notes for *records*, in order.

        May be called again with the answer to a second question: used places are remembered.
        """
        self._items, self._dropped, self._failed = [], [], []
        for record in records:
            if isinstance(record, dict):
                self._admit(record)
            else:
                self._drop("", "not_an_object")
        return CheckedRecords(self._items, self._dropped, self._failed)

    def take_by_titles(self, failed: Iterable[FailedRecord]) -> list[Item | None]:
        """Return the item of each record whose quote was never found, if the text has its title once.

        The sentence around the title becomes the quote; the item is marked as quoted approximately.
        """
        return [self._admit_by_title(failure) for failure in failed]

    def _admit_by_title(self, failed: FailedRecord) -> Item | None:
        name = failed.record.get("table")
        if not isinstance(name, str) or name not in self._options.data_types:
            return None
        title = str(failed.record.get(self._options.tables[name].title))
        # Shorter titles may occur anywhere.
        places = self._grounding.places(title) if len(words_of(title)) >= 3 else []
        if len(places) != 1 or places[0].is_near:
            return None
        start, end = sentence_at(self._text, places[0].start, places[0].end, self._piece)
        if end - start > _MAX_QUOTE_CHARS:
            start, end = places[0].start, places[0].end
        found = self.take_all([failed.record | {"quote": self._text[start:end]}]).items
        return msgspec.structs.replace(found[0], warnings=("approximate_quote",)) if found else None

    def _admit(self, record: dict[str, object]) -> None:
        """Convert one record to an item, or note why it was rejected."""
        name = record.get("table")
        if not isinstance(name, str) or name not in self._options.data_types:
            is_known = isinstance(name, str) and name in self._options.tables
            self._drop(str(name) if is_known else "", "foreign_table", at=self._nearest(record.get("quote")))
            return
        table = self._options.tables[name]
        inner = record.get("data")
        fields = {**inner, **record} if isinstance(inner, dict) else record
        title = fold(str(fields.get(table.title)))
        spot = self._spot(table, title, record.get("quote"))
        place = self._shown(spot) if spot is not None else None
        dates, start = self._material.dates, place.start if place is not None else 0
        anchor = dates.at(start) if place is not None else None
        context = DateContext(anchor, self._options.timezone, language=dates.languages.at(start))
        given = {key: fields[key] for key in fields if key not in _NO_FIELDS}
        values = self._reading.values(table, given, context)
        if place is not None and not self._is_literal:
            quoted = self._text[place.start : place.end]
            values = self._reading.by_words(table, values, fields, quoted, context)
        self._dropped += values.dropped
        at = place or self._nearest(record.get("quote"))
        taken_as, data = table, values.data
        is_dated = not any(column.required and column.name in values.unresolved for column in table.columns)
        if not is_dated:
            if TableName.NOTES not in self._options.data_types:
                unresolved = "; ".join(f"{table.name}.{n}" for n in values.unresolved)
                self._drop(table.name, "unresolved_date", unresolved, at=at)
                return
            table, data = _NOTES, {_NOTES.title: data.get(table.title)}
        if wrong := problems_of(table, data, _BY_MODEL):
            self._drop(table.name, "bad_record", "; ".join(problem.split(":")[0] for problem in wrong), at=at)
            self._failed.append(FailedRecord(record, "; ".join(wrong)))
            return
        if spot is None or place is None:
            self._drop(table.name, "ungrounded", f"{table.name}.quote", at=at)
            # Records from elsewhere belong to other pieces.
            if not occurs_in(str(record.get("quote")), self._material.known):
                self._failed.append(FailedRecord(record, "its quote is not copied from the text"))
            return
        self._taken_at(taken_as, spot).add(title)
        start, end = place.start, place.end
        if self._is_literal:
            quote = self._text[start:end]
            data = copied(table, data, quote, fields=fields, timezone=self._options.timezone)
            # Unsupported fields are removed by now, and may have been required.
            if problems_of(table, data, _BY_MODEL):
                self._drop(table.name, "ungrounded", f"{table.name}.{table.title}", at=at)
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
                words=values.words,
            )
        )

    def _referred(self, table: DeviceTable, fields: Mapping[str, object]) -> Record:
        """Return the ids of the referenced rows by column; added after the validation, like all ids."""
        ids: Record = {}
        for column in table.columns:
            if column.refers_to is not None:
                label = fields.get(REFERENCE_FIELDS[column.refers_to])
                row = self._material.labels.get(label) if isinstance(label, str) else None
                if row is not None and row.table == column.refers_to:
                    ids[column.name] = row.id
        return ids

    def _spot(self, table: DeviceTable, title: str, quote: object) -> QuoteSpan | None:
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

    def _shown(self, place: QuoteSpan) -> QuoteSpan:
        """Return the place to show for a quote: if it is too short, its sentence."""
        if place.end - place.start < MIN_QUOTE_CHARS:
            start, end = sentence_at(self._text, place.start, place.end, self._piece)
            return QuoteSpan(start, end, place.is_near)
        return place

    def _taken_at(self, table: DeviceTable, place: QuoteSpan) -> set[str]:
        """Return the titles of the records at this place."""
        return self._taken[table.name, place.start, place.end]

    def _nearest(self, quote: object) -> QuoteSpan:
        """Return the sentence with most of the words of a quote; an empty place if none has half of them."""
        words = set(words_of(str(quote)))
        best = max(self._words, key=lambda one: len(words & one[1]), default=(_NOWHERE, set()))
        return best[0] if words and 2 * len(words & best[1]) >= len(words) else _NOWHERE

    @cached_property
    def _words(self) -> list[tuple[QuoteSpan, set[str]]]:
        """Words of each sentence."""
        places = sentences(self._text, self._piece.start, self._piece.end)
        return [(QuoteSpan(*place), set(words_of(self._text[slice(*place)]))) for place in places]

    def _drop(self, table: str, reason: DropReason, detail: str = "", *, at: QuoteSpan | None = None) -> None:
        start, end, _ = at or _NOWHERE
        self._dropped.append(Dropped(table=table, reason=reason, detail=detail, start=start, end=end))


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
    """Return the spellings of a date's local day of the month."""
    day = local_day(from_epoch_ms(at_ms), ZoneInfo(timezone)).day
    return {str(day), f"{day:02}"}


def _is_name(text: str, words: set[str]) -> bool:
    """Return True if these *words* contain the name, and it is not a pronoun."""
    name = words_of(text)
    return 0 < len(name) <= 4 and words.issuperset(name) and name[0] not in _POINTING
