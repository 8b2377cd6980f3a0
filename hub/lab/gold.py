"""Gold files (documents with expected items), and scoring: when an item counts as found.

A gold file has one JSON object per line. A gold folder has files of any form, and beside them an
``expected.json``: an object with an entry for each file. All problems are reported at once with their
places, because scores from faulty gold would be wrong without notice.

An item is *right* if the same document has a label that

- has the same table,
- has a quote whose place in the text overlaps the item's place,
- and has similar main words. Main words come from the identifying fields: a task's title, a project's name, a
  comment's content, a note's title and content. They are similar if at least half of the shorter one's words
  occur in the other one, and at least two, or all of them. Case, punctuation and order are ignored; in
  scripts without blanks, each character is a word.

An optional label, and the item that has it, do not count. Each label and each item is used once, and the most
similar pairs are matched first: of two tasks in one sentence, each gets its own. Precision is the share of
right items among all items, recall the share of labels that were matched, F1 their harmonic mean.

The other fields of a right item (who, when) are counted separately. A list of names must have the same names.
A date must have the same local day, or the same minute if the label has a time. Any other field must have the
same words. Fields missing in the label are not compared.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from hub.base.clock import from_epoch_ms
from hub.document import Document
from hub.extraction.items import Item
from hub.text.convert import convert
from hub.text.files import Converted, NotConvertible
from hub.text.folding import fold, words_of
from protocol.errors import ErrorCode, HubError
from protocol.frame import Field
from protocol.tables import TABLES, Column, DeviceTable, Filler, Kind, TableName, problem_of

EXPECTED: Final = "expected.json"  # in a gold folder
_FILE_KEYS: Final = frozenset({"items", "date", "timezone", "day", "language", "kind"})
_DOCUMENT_KEYS: Final = _FILE_KEYS | {"id", "text", "name"}
_LABEL_KEYS: Final = frozenset({"table", "quote", "words", "optional"})
_DAY_FORMS: Final = ("%Y-%m-%d", "%Y-%m-%dT%H:%M")

LabelValue = str | float | list[str]
Place = tuple[int, int]
Declared = Mapping[str, DeviceTable]  # by name

_MIN_ALIKE: Final = 0.5  # of the shorter one's words; a sentence of ten words names its task in five
_MIN_SHARED: Final = 2  # "the report" and "the weather" share a word, too
_DAY_CHARS: Final = len("2026-03-06")


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """Expected item of a document, from a person.

    Attributes:
        data: main words, and the other fields to compare. A date is local ISO, ``2026-03-06`` or
            ``2026-03-06T15:00``.
        places: one or more places of its quote in the text; without a quote the whole text.
        is_optional: neither missed nor counted if it is found.
    """

    table: str
    data: dict[str, LabelValue]
    places: tuple[Place, ...]
    is_optional: bool = False


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """Labels and items of one document that were compared.

    Attributes:
        matched: pairs of a label and its item, by their indices in the lists that were compared.
        missed: indices of labels without an item.
        false: indices of items without a label.
    """

    matched: tuple[tuple[int, int], ...]
    missed: tuple[int, ...]
    false: tuple[int, ...]


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Tally of labels and items over documents. Tallies can be added."""

    right: int = 0
    found: int = 0
    labelled: int = 0
    right_fields: int = 0
    fields: int = 0  # of the matched labels

    def __add__(self, other: "Tally") -> "Tally":
        names = self.__struct_fields__
        return Tally(**{name: getattr(self, name) + getattr(other, name) for name in names})

    @property
    def precision(self) -> float | None:
        """Share of right items; ``None`` without any items."""
        return self.right / self.found if self.found else None

    @property
    def recall(self) -> float | None:
        """Share of matched labels; ``None`` without any labels."""
        return self.right / self.labelled if self.labelled else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; ``None`` without items and labels."""
        both = self.found + self.labelled
        return 2 * self.right / both if both else None

    @property
    def field_share(self) -> float | None:
        """Share of the other fields that is right; ``None`` if no matched label has any."""
        return self.right_fields / self.fields if self.fields else None


def score(
    labels: Sequence[Label], found: Sequence[Item], *, timezone: str, tables: Declared = TABLES
) -> dict[str, Tally]:
    """Score one document by table; tables without labels and items are omitted.

    Args:
        timezone: IANA name, for the labels' dates.
        tables: declarations of all tables of labels and items.
    """
    return scored(labels, found, judge(labels, found, tables), timezone=timezone, tables=tables)


def scored(
    labels: Sequence[Label],
    found: Sequence[Item],
    judged: Judged,
    *,
    timezone: str,
    tables: Declared = TABLES,
) -> dict[str, Tally]:
    """Score a document whose labels and items were compared; see ``score``."""
    expected = Counter(label.table for label in labels if not label.is_optional)
    got = Counter(item.table for item in found)
    got -= Counter(labels[number].table for number, _ in judged.matched if labels[number].is_optional)
    tallies = {table: Tally(found=got[table], labelled=expected[table]) for table in tables}
    for number, index in judged.matched:
        label, item = labels[number], found[index]
        if label.is_optional:
            continue
        fields = _other_fields(label, tables)
        wrong = wrong_fields(label, item, timezone=timezone, tables=tables)
        right_fields = len(fields) - len(wrong)
        tallies[label.table] += Tally(right=1, right_fields=right_fields, fields=len(fields))
    return {table: tally for table, tally in tallies.items() if tally != Tally()}


def wrong_fields(
    label: Label, item: Item, *, timezone: str, tables: Declared = TABLES
) -> list[tuple[str, str, str]]:
    """Return the fields of a right item that differ from its label's: name, expected and found value."""
    zone, table = ZoneInfo(timezone), tables[label.table]
    return [
        (name, _spelt(label.data[name]), _found(label, item, table.column(name), zone))
        for name in _other_fields(label, tables)
        if not _fits(label, item, table.column(name), zone)
    ]


def _other_fields(label: Label, tables: Declared) -> list[str]:
    return [name for name in label.data if name not in _main_fields(tables[label.table])]


def _found(label: Label, item: Item, column: Column | None, zone: ZoneInfo) -> str:
    """Return the value of an item as its label would spell it; empty without one."""
    got = None if column is None else item.data.get(column.name)
    if column is not None and column.kind is Kind.EPOCH_MS and isinstance(got, int):
        return _local(got, zone, with_time=len(str(label.data[column.name])) > _DAY_CHARS)
    return "" if got is None else _spelt(got)


def _spelt(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def added(first: Mapping[str, Tally], other: Mapping[str, Tally]) -> dict[str, Tally]:
    """Add tallies by table."""
    return {table: first.get(table, Tally()) + other.get(table, Tally()) for table in {**first, **other}}


def in_all(tallies: Mapping[str, Tally]) -> Tally:
    """Sum the tallies of all tables: every item has equal weight."""
    return sum(tallies.values(), Tally())


def judge(labels: Sequence[Label], found: Sequence[Item], tables: Declared = TABLES) -> Judged:
    """Match labels with items, the most similar pairs first."""
    pairs = [
        (likeness, -number, -index)
        for number, label in enumerate(labels)
        for index, item in enumerate(found)
        if (likeness := _likeness(label, item, tables))
    ]
    matched: list[tuple[int, int]] = []
    used_labels, used_items = set[int](), set[int]()
    for _, number, index in sorted(pairs, reverse=True):
        if number not in used_labels and index not in used_items:
            used_labels.add(number)
            used_items.add(index)
            matched.append((-number, -index))
    return Judged(
        matched=tuple(sorted(matched)),
        missed=tuple(
            number
            for number, label in enumerate(labels)
            if -number not in used_labels and not label.is_optional
        ),
        false=tuple(index for index in range(len(found)) if -index not in used_items),
    )


def _likeness(label: Label, item: Item, tables: Declared) -> tuple[float, float] | None:
    """Return the similarity relative to the shorter one, and to both; ``None`` if they do not match."""
    touches = any(start < item.end and item.start < end for start, end in label.places)
    if label.table != item.table or not touches:
        return None
    table = tables[label.table]
    expected, other = _main_words(table, label.data), _main_words(table, item.data)
    shorter = min(expected.total(), other.total())
    shared = (expected & other).total()
    is_alike = shared == shorter or (shared >= _MIN_SHARED and shared >= _MIN_ALIKE * shorter)
    if not (shorter and is_alike):
        return None
    return shared / shorter, 2 * shared / (expected.total() + other.total())


def _main_fields(table: DeviceTable) -> tuple[str, ...]:
    # Title and content of a note are interchangeable.
    return ("title", "content") if table.name == TableName.NOTES else (table.title,)


def _main_words(table: DeviceTable, data: Mapping[str, LabelValue] | Mapping[str, Field]) -> Counter[str]:
    return Counter(word for name in _main_fields(table) for word in words_of(str(data.get(name) or "")))


def _fits(label: Label, item: Item, column: Column | None, zone: ZoneInfo) -> bool:
    """Return True if a field equals that of its label."""
    if column is None or (got := item.data.get(column.name)) is None:
        return False
    expected = label.data[column.name]
    match column.kind:
        case Kind.EPOCH_MS:
            day = str(expected)
            return isinstance(got, int) and day == _local(got, zone, with_time=len(day) > _DAY_CHARS)
        case Kind.NUMBER | Kind.FLAG:
            return expected == got
        case Kind.NAMES:
            return _names(expected) == _names(got)
        case _:
            return fold(str(expected)) == fold(str(got))


def _names(value: object) -> set[str]:
    names = value if isinstance(value, list) else [value]
    return {fold(str(name)) for name in names}


def _local(at_ms: int, zone: ZoneInfo, *, with_time: bool) -> str:
    """Format a time like a label."""
    local: datetime = from_epoch_ms(at_ms).astimezone(zone)
    return f"{local:%Y-%m-%dT%H:%M}" if with_time else f"{local:%Y-%m-%d}"


class GoldDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Line of a gold file, or file of a gold folder.

    Attributes:
        date: date of the document; without an offset, it is local time of the reader.
        name: file name, whose extension determines the format.
        words: by the label's index, the words of the text for its date.
        kind: ending of its name, unless a person has named it.
        timezone: of its reader; None: that of the agent.
    """

    id: str
    text: str
    labels: tuple[Label, ...]
    date: datetime | None
    name: str
    words: dict[int, str]
    kind: str = ""
    timezone: str | None = None
    media_type: str | None = None

    def document(self, timezone: str) -> Document:
        """Return the document as a source would provide it to an agent in *timezone*."""
        date = self.date
        if date is not None and date.tzinfo is None:
            date = date.replace(tzinfo=ZoneInfo(timezone))
        digest = hashlib.sha256(self.text.encode()).hexdigest()
        return Document(
            unit_key=self.name,
            text=self.text,
            content_hash=digest,
            modified_at=date,
            media_type=self.media_type,
        )


class BadGold(HubError):
    """Unusable gold; *problems*: line number, 0 in a folder, and message of each problem."""

    code = ErrorCode.BAD_SETTINGS

    def __init__(self, problems: list[tuple[int, str]]) -> None:
        self.problems = problems
        super().__init__(
            "\n".join(f"line {line}: {message}" if line else message for line, message in problems)
        )


class _Wrong(Exception):
    """Problem of one line."""


def read_gold(text: str, tables: Declared = TABLES) -> list[GoldDocument]:
    """Parse the documents of a gold file in order; blank lines are skipped.

    Args:
        tables: declarations of the tables that labels may have.

    Raises:
        BadGold: all problems; also if the file has no document.
    """
    documents: dict[str, GoldDocument] = {}
    problems: list[tuple[int, str]] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            document = _document(line, tables)
        except _Wrong as wrong:
            problems.append((number, str(wrong)))
            continue
        if document.id in documents:
            problems.append((number, f"id: {document.id!r} is the id of another document too"))
        documents[document.id] = document
    if not (documents or problems):
        problems.append((1, "there is no document; each line is a JSON object with id, text and items"))
    if problems:
        raise BadGold(problems)
    return list(documents.values())


def read_folder(folder: Path, tables: Declared = TABLES) -> list[GoldDocument]:
    """Read the files of a gold folder, and of the folders in it, that an ``expected.json`` beside them names.

    A file that cannot be read has no text, so that its labels are missed.

    Args:
        tables: declarations of the tables that labels may have.

    Raises:
        BadGold: all problems; also if the folder has no such file.
        OSError: a file cannot be opened.
    """
    documents: list[GoldDocument] = []
    problems: list[tuple[int, str]] = []
    for listing in sorted(folder.rglob(EXPECTED)):
        where = listing.relative_to(folder)
        try:
            entries = _json(listing.read_bytes(), "the listing")
        except _Wrong as wrong:
            problems.append((0, f"{where}: {wrong}"))
            continue
        for name, raw in entries.items():
            try:
                documents.append(_file(folder, where.parent, name, raw, tables))
            except _Wrong as wrong:
                problems.append((0, f"{where}: {name}: {wrong}"))
    if not (documents or problems):
        problems.append((0, f"there is no {EXPECTED}; it has an object with the items of each file"))
    if problems:
        raise BadGold(problems)
    return documents


def _document(line: str, tables: Declared) -> GoldDocument:
    fields = _json(line, "a document", _DOCUMENT_KEYS)
    text, id = _text(fields, "text"), _text(fields, "id")
    name = _text(fields, "name") if "name" in fields else f"{id}.txt"
    return _labelled(
        GoldDocument(id=id, text=text, labels=(), date=None, name=name, words={}), fields, tables
    )


def _file(folder: Path, inner: PurePath, name: str, raw: object, tables: Declared) -> GoldDocument:
    fields = dict(_object(raw, "an entry", _FILE_KEYS))
    path = folder / inner / name
    if PurePath(name).name != name:
        raise _Wrong("it is no name of a file beside this one")
    if not path.is_file():
        raise _Wrong("there is no such file")
    try:
        converted = convert(path.read_bytes(), path=path.name)
    except NotConvertible:
        converted = Converted("", media_type="")
    date = _date(fields.pop("date", None)) or datetime.fromtimestamp(path.stat().st_mtime, UTC)
    document = GoldDocument(
        id=(inner / name).as_posix(),
        text=converted.text,
        labels=(),
        date=converted.date or date,
        name=path.name,
        words={},
        media_type=converted.media_type,
    )
    return _labelled(document, fields, tables)


def _labelled(document: GoldDocument, fields: dict[str, Any], tables: Declared) -> GoldDocument:
    """Add to a document what a person says of it."""
    items = fields.get("items")
    if not isinstance(items, list):
        raise _Wrong("items: write a list; [] where there is nothing to be found")
    read = list(_labels(items, document.text, tables))
    ending = PurePath(document.name).suffix.lower() or "no ending"
    return msgspec.structs.replace(
        document,
        labels=tuple(label for label, _ in read),
        date=_date(fields.get("date")) or document.date,
        words={number: words for number, (_, words) in enumerate(read) if words},
        kind=_text(fields, "kind") if "kind" in fields else ending,
        timezone=_zone(fields.get("timezone")),
    )


def _json(text: str | bytes, what: str, keys: frozenset[str] | None = None) -> dict[str, Any]:
    try:
        return _object(json.loads(text), what, keys)
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}"
        raise _Wrong(f"{place}: no JSON: {error.msg}") from error
    except RecursionError as error:
        raise _Wrong("no JSON: too many brackets in each other") from error
    except UnicodeDecodeError as error:
        raise _Wrong("not UTF-8") from error


def _labels(items: list[Any], text: str, tables: Declared) -> Iterator[tuple[Label, str]]:
    for number, raw in enumerate(items):
        try:
            yield _label(raw, text, tables)
        except _Wrong as wrong:
            raise _Wrong(f"items[{number}]: {wrong}") from wrong


def _label(raw: object, text: str, tables: Declared) -> tuple[Label, str]:
    fields = _object(raw, "an item")
    # The fields of the record may stand in "data", or beside its table.
    data = _object(fields.get("data", {name: fields[name] for name in fields.keys() - _LABEL_KEYS}), "data")
    if "data" in fields:
        _object(raw, "an item", _LABEL_KEYS | {"data"})
    name = fields.get("table")
    table = tables.get(name) if isinstance(name, str) else None
    if table is None:
        raise _Wrong(f"table: {name!r} is none; there are {', '.join(tables)}")
    places: tuple[Place, ...] = ((0, len(text) + 1),)
    if "data" in fields or "quote" in fields:
        places = tuple(_places(_text(fields, "quote"), text))
    if not places:
        raise _Wrong("quote: is not in the text; copy it letter by letter")
    words = _text(fields, "words") if "words" in fields else ""
    if words and words not in text:
        raise _Wrong("words: are not in the text")
    for field, value in data.items():
        _check(table, field, value)
    for column in table.columns:
        if column.required and column.filler is Filler.MODEL and column.name not in data:
            raise _Wrong(f"data.{column.name}: is missing")
    is_optional = fields.get("optional", False)
    if not isinstance(is_optional, bool):
        raise _Wrong("optional: write true or false")
    return Label(table=table.name, data=data, places=places, is_optional=is_optional), words


def _check(table: DeviceTable, field: str, value: object) -> None:
    """Check a field as a person writes it: a date is local ISO, names are a list.

    Raises:
        _Wrong: the field is invalid.
    """
    column = table.column(field)
    if column is None or column.filler is not Filler.MODEL:
        allowed = ", ".join(column.name for column in table.columns if column.filler is Filler.MODEL)
        raise _Wrong(f"data.{field}: not a field that a document can have; {table.name} has {allowed}")
    if problem := _problem(column, value):
        raise _Wrong(f"data.{field}: {problem}")


def _problem(column: Column, value: object) -> str | None:
    match column.kind:
        case Kind.EPOCH_MS:
            is_date = isinstance(value, str) and any(_is_of(value, form) for form in _DAY_FORMS)
            return None if is_date else "write a local date, 2026-03-06 or 2026-03-06T15:00"
        case Kind.NAMES:
            is_names = isinstance(value, list) and value and all(_is_text(text) for text in value)
            return None if is_names else 'write a list of names, as in ["Anna"]'
        case Kind.NUMBER:
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return None if is_number else "write a number, as in 12.5"
        case Kind.FLAG:
            return None if isinstance(value, bool) else "write true or false"
        case _ if not isinstance(value, str) or not _is_text(value):
            return "write a text that is not empty"
        case _:
            return problem_of(column, value)


def _is_of(value: str, form: str) -> bool:
    try:
        return datetime.strptime(value, form).strftime(form) == value  # noqa: DTZ007 - local
    except ValueError:
        return False


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _places(quote: str, text: str) -> Iterator[Place]:
    at = text.find(quote)
    while at >= 0:
        yield at, at + len(quote)
        at = text.find(quote, at + 1)


def _date(value: object) -> datetime | None:
    if value is None:
        return None
    try:
        return datetime.fromisoformat(str(value))
    except ValueError as error:
        raise _Wrong("date: write ISO 8601, as in 2026-03-04T09:12") from error


def _zone(value: object) -> str | None:
    try:
        return None if value is None else ZoneInfo(str(value)).key
    except (ValueError, KeyError, OSError) as error:
        raise _Wrong(f"timezone: {value!r} is none; write an IANA name, as in Europe/Berlin") from error


def _object(value: object, what: str, keys: frozenset[str] | None = None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong(f"{what} is a JSON object")
    if keys is not None and (unknown := sorted(value.keys() - keys)):
        raise _Wrong(f"unknown key {unknown[0]!r}; there are {', '.join(sorted(keys))}")
    return value


def _text(fields: dict[str, Any], key: str) -> str:
    value = fields.get(key)
    if not _is_text(value):
        raise _Wrong(f"{key}: is missing, or no text")
    return str(value)


def gold_digest(data: bytes) -> str:
    """Return the digest that identifies a gold file by its content: hex, 64 characters."""
    return hashlib.sha256(data).hexdigest()
