"""Pure: a model's answer into items that can be trusted, and notes on the rest.

Nothing passes on the model's word alone: every record bears a quote that stands in
the text, only wanted tables and fields a document can fill are taken, and values
are brought into shape only where that cannot change their meaning.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from hub.clock import from_epoch_ms
from hub.extraction.chunk import Chunk, is_readable, sentence_at
from hub.extraction.dates import date_ms
from hub.extraction.folding import Folded, fold, shown, stands_in, words_of
from hub.extraction.items import Dropped, DropReason, Item, Wanted
from protocol.frame import Field, Record
from protocol.tables import TABLES, Column, DeviceTable, Filler, Kind, TableName, problem_of, problems_of

_BY_MODEL: Final = frozenset({Filler.MODEL})
_LEAST_QUOTE_CHARS: Final = 12  # less says too little by itself: the whole sentence is shown
_NOT_SAID: Final = frozenset({"", "null", "none", "n/a", "unknown", "not specified"})
_ASIDE: Final = "\"'\u201c\u201d\u2018\u2019\u201e\u00ab\u00bb.\u2026 \t\r\n"  # put around quotes
_MOST_WORDS_OF_A_NAME: Final = 4
_POINTING: Final = frozenset(
    ("i", "we", "you", "he", "she", "it", "they", "this", "that", "there", "the", "a", "an", "nobody")
)
# Some models think aloud first, and some templates swallow the opening mark. An answer that begins at
# once has no thoughts before it: there the mark stands in a quote.
_THOUGHTS: Final = re.compile(r"\A\s*+(?![\[{`]).*?</think>", re.DOTALL)
_FENCE: Final = re.compile(r"\A```\w*\s++|```\Z")
_MAX_BROKEN: Final = 50  # brackets of chatter looked behind; each may cost a look at the whole rest
_DECODER: Final = json.JSONDecoder()


class Unreadable(Exception):
    """The answer holds no list of records. The text of it is not told: it may quote the document."""


class Checked(msgspec.Struct, frozen=True):
    """What one answer came to."""

    items: list[Item]
    dropped: list[Dropped]


def records_of(answer: str) -> list[object]:
    """The records in an answer, out of fences and chatter if need be.

    Raises:
        Unreadable: there are none to be found, not even an empty list.
    """
    answer = _THOUGHTS.sub("", answer)
    if _FENCE.sub("", answer.strip()).strip() == "[]":  # anywhere else it is chatter, or a part of something
        return []
    bare: list[object] = []
    is_empty = False
    at, broken = 0, 0
    while broken < _MAX_BROKEN and (at := _next_bracket(answer, at)) >= 0:
        try:
            value, end = _DECODER.raw_decode(answer, at)
        except (ValueError, RecursionError):  # ValueError: also a number too long to be one
            at, broken = at + 1, broken + 1
            continue
        if isinstance(value, dict) and isinstance(value.get("items"), list):
            if value["items"]:
                return list(value["items"])
            is_empty = True  # or the shape being talked of: the answer may still come
        elif isinstance(value, list) and all(isinstance(one, dict) for one in value):
            bare += value
        elif isinstance(value, dict) and "table" in value:
            bare.append(value)
        at = end
    # With something broken among them these may be parts of it, and the rest would be lost in silence.
    if not broken and (bare or is_empty):
        return bare
    raise Unreadable("no JSON list of records in it")


class Checking:
    """Takes the records of one answer about *piece*.

    Args:
        known: what names may be taken from: the whole document and its owner's words, folded.
        is_literal: the model can only be trusted to copy, so its words must stand in the quote.
    """

    def __init__(self, text: str, piece: Chunk, wanted: Wanted, *, known: str, is_literal: bool) -> None:
        self._text = text
        self._piece = piece
        self._wanted = wanted
        self._known_names = known
        self._is_literal = is_literal
        self._said = text[piece.start : piece.end]
        self._mentions: Counter[tuple[str, str, str]] = Counter()
        self._items: list[Item] = []
        self._dropped: list[Dropped] = []

    @cached_property
    def _folded(self) -> Folded:
        # Costs a hundred times the rest, and most chunks have no record, or one that quotes to the letter.
        return Folded(self._said)

    def take_all(self, records: Iterable[object]) -> Checked:
        """Items and notes, in the order of the answer."""
        for record in records:
            self._take(record)
        return Checked(self._items, self._dropped)

    def _take(self, record: object) -> None:
        """Make an item of one record, or a note why not."""
        if not isinstance(record, dict):
            self._drop("", "not_an_object")
            return
        name = record.get("table")
        if not isinstance(name, str) or name not in self._wanted.data_types:
            self._drop(name if isinstance(name, str) and name in set(TableName) else "", "foreign_table")
            return
        table = TABLES[TableName(name)]
        said = {**record["data"], **record} if isinstance(record.get("data"), dict) else record
        data = self._data(table, {key: said[key] for key in said if key not in ("table", "quote", "data")})
        if wrong := problems_of(table, data, _BY_MODEL):
            self._drop(table.name, "bad_record", "; ".join(problem.split(":")[0] for problem in wrong))
            return
        place = self._place(table, data, record.get("quote"))
        if place is None:
            self._drop(table.name, "ungrounded", f"{table.name}.quote")
            return
        start, end = place
        if self._is_literal:
            data = self._literal(table, data, self._text[start:end])
            # What the sentence does not say is gone by now, and may have been required.
            if problems_of(table, data, _BY_MODEL):
                self._drop(table.name, "ungrounded", f"{table.name}.{table.title}")
                return
            start, end = self._piece.start, self._piece.end  # it was asked about this one sentence
        self._items.append(
            Item(
                table=table.name,
                data=data,
                quote=self._text[start:end],
                start=start,
                end=end,
                origin="model",
            )
        )

    def _data(self, table: DeviceTable, said: dict[str, object]) -> Record:
        data: Record = {}
        for name, raw in said.items():
            column = table.column(name)
            if column is None or column.filler is not Filler.MODEL:
                known = name if column is not None else "(unknown)"
                self._drop(table.name, "forbidden_field", f"{table.name}.{known}")
                continue
            if raw is None or (isinstance(raw, str) and raw.strip().lower() in _NOT_SAID):
                continue
            value = self._value(column, raw)
            if value is None or problem_of(column, value):
                self._drop(table.name, "bad_field", f"{table.name}.{name}")
                continue
            data[name] = value
        return data

    def _value(self, column: Column, raw: object) -> Field:
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
                return date_ms(raw, self._wanted.timezone)
            case Kind.INTEGER | Kind.FLAG if isinstance(raw, int):
                return raw
            case _:
                return None

    def _names(self, raw: object) -> Field:
        """The names that stand in the document, or in the owner's words; others are inventions."""
        names = [raw] if isinstance(raw, str) else raw if isinstance(raw, list) else []
        told = [shown(name).strip() for name in names if isinstance(name, str)]
        known = [name for name in dict.fromkeys(told) if stands_in(name, self._known_names)]
        return list(known) or None

    def _place(self, table: DeviceTable, data: Record, quote: object) -> tuple[int, int] | None:
        """Where the quote stands in the document; the n-th mention of the same stands at the n-th place."""
        if not isinstance(quote, str):
            return None
        mention = (table.name, str(data.get(table.title)), fold(quote))
        places = self._places(quote)
        if not places:
            return None
        nth = self._mentions[mention]
        self._mentions[mention] += 1
        start, end = places[min(nth, len(places) - 1)]
        start, end = self._piece.start + start, self._piece.start + end
        if end - start < _LEAST_QUOTE_CHARS:
            return sentence_at(self._text, start, end, self._piece)
        return start, end

    def _places(self, quote: str) -> list[tuple[int, int]]:
        bare = quote.strip(_ASIDE)
        if not is_readable(bare):
            return []
        for words in (quote.strip(), bare):
            if len(words) >= _LEAST_QUOTE_CHARS and words in self._said:
                return [(m.start(), m.end()) for m in re.finditer(re.escape(words), self._said)]
            if places := list(self._folded.find(words)):
                return places
        return []

    def _literal(self, table: DeviceTable, data: Record, quote: str) -> Record:
        """*data* as far as *quote* says it in the same words; empty when it does not say what names it."""
        words = set(words_of(quote))
        title = words_of(str(data[table.title]))
        if not title or not words.issuperset(title) or len(title) == len(words_of(quote)):
            return {}
        kept = dict(data)
        for column in table.columns:
            value = data.get(column.name)
            if column.kind is Kind.NAMES and isinstance(value, list):
                kept[column.name] = [name for name in value if _is_name(str(name), words)]
            elif column.kind is Kind.EPOCH_MS and isinstance(value, int) and not words & self._days(value):
                del kept[column.name]
        return {name: value for name, value in kept.items() if value != []}

    def _days(self, at_ms: int) -> set[str]:
        """How the day of the month is spelled where the owner is; nothing when there is no such day there."""
        try:
            day = from_epoch_ms(at_ms).astimezone(ZoneInfo(self._wanted.timezone)).day
        except OverflowError:  # the last hours of the year 9999
            return set()
        return {str(day), f"{day:02}"}

    def _drop(self, table: str, reason: DropReason, detail: str = "") -> None:
        self._dropped.append(Dropped(table=table, reason=reason, detail=detail))


def _is_name(said: str, words: set[str]) -> bool:
    """Whether somebody is named in these *words*, and not only pointed at."""
    name = words_of(said)
    return 0 < len(name) <= _MOST_WORDS_OF_A_NAME and words.issuperset(name) and name[0] not in _POINTING


def _next_bracket(text: str, at: int) -> int:
    found = [place for place in (text.find("{", at), text.find("[", at)) if place >= 0]
    return min(found, default=-1)
