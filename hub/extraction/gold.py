"""Gold files: documents with the expected items, one JSON object per line. Pure functions.

All problems are reported at once with their lines, because scores from a faulty gold file would be wrong
without notice.
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from hub.document import Document
from hub.extraction.scoring import Label, Place
from protocol.errors import ErrorCode, HubError
from protocol.tables import TABLES, Column, DeviceTable, Filler, Kind, TableName, problem_of

_DOCUMENT_KEYS: Final = frozenset({"id", "text", "items", "date", "name", "language", "kind"})
_ITEM_KEYS: Final = frozenset({"table", "data", "quote", "words"})
_DAY_FORMS: Final = ("%Y-%m-%d", "%Y-%m-%dT%H:%M")


class GoldDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Line of a gold file.

    Attributes:
        date: date of the document; without an offset, it is local time of the reader.
        name: file name, whose extension determines the format.
        words: by the label's index, the words of the text for its date.
    """

    id: str
    text: str
    labels: tuple[Label, ...]
    date: datetime | None
    name: str
    words: dict[int, str]

    def document(self, timezone: str) -> Document:
        """Return the document as a source would provide it to an agent in *timezone*."""
        date = self.date
        if date is not None and date.tzinfo is None:
            date = date.replace(tzinfo=ZoneInfo(timezone))
        digest = hashlib.sha256(self.text.encode()).hexdigest()
        return Document(unit_key=self.name, text=self.text, content_hash=digest, modified_at=date)


class BadGold(HubError):
    """Unusable gold file; *problems*: line number and message of each problem."""

    code = ErrorCode.BAD_SETTINGS

    def __init__(self, problems: list[tuple[int, str]]) -> None:
        self.problems = problems
        super().__init__("\n".join(f"line {line}: {told}" for line, told in problems))


class _Wrong(Exception):
    """Problem of one line."""


def read_gold(text: str) -> list[GoldDocument]:
    """Parse the documents of a gold file in order; blank lines are skipped.

    Raises:
        BadGold: all problems; also if the file has no document.
    """
    documents: dict[str, GoldDocument] = {}
    problems: list[tuple[int, str]] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            document = _document(line)
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


def _document(line: str) -> GoldDocument:
    try:
        raw = json.loads(line)
    except json.JSONDecodeError as error:
        raise _Wrong(f"column {error.colno}: no JSON: {error.msg}") from error
    except RecursionError as error:
        raise _Wrong("no JSON: too many brackets in each other") from error
    said = _object(raw, "a document", _DOCUMENT_KEYS)
    text = _text(said, "text")
    id = _text(said, "id")
    items = said.get("items")
    if not isinstance(items, list):
        raise _Wrong("items: write a list; [] where there is nothing to be found")
    read = list(_labels(items, text))
    return GoldDocument(
        id=id,
        text=text,
        labels=tuple(label for label, _ in read),
        date=_date(said.get("date")),
        name=_text(said, "name") if "name" in said else f"{id}.txt",
        words={number: words for number, (_, words) in enumerate(read) if words},
    )


def _labels(items: list[Any], text: str) -> Iterator[tuple[Label, str]]:
    for number, raw in enumerate(items):
        try:
            yield _label(raw, text)
        except _Wrong as wrong:
            raise _Wrong(f"items[{number}]: {wrong}") from wrong


def _label(raw: object, text: str) -> tuple[Label, str]:
    said = _object(raw, "an item", _ITEM_KEYS)
    name = said.get("table")
    if name not in list(TABLES):
        raise _Wrong(f"table: {name!r} is none; there are {', '.join(TABLES)}")
    table = TABLES[TableName(name)]
    quote, words = _text(said, "quote"), _text(said, "words") if "words" in said else ""
    places = tuple(_places(quote, text))
    if not places:
        raise _Wrong("quote: does not stand in the text; copy it letter by letter")
    if words and words not in text:
        raise _Wrong("words: do not stand in the text")
    data = _object(said.get("data"), "data")
    for field, value in data.items():
        _check(table, field, value)
    for column in table.columns:
        if column.required and column.filler is Filler.MODEL and column.name not in data:
            raise _Wrong(f"data.{column.name}: is missing")
    return Label(table=table.name, data=data, places=places), words


def _check(table: DeviceTable, field: str, value: object) -> None:
    """Check a field as a person writes it: a date is local ISO, names are a list.

    Raises:
        _Wrong: the field is invalid.
    """
    column = table.column(field)
    if column is None or column.filler is not Filler.MODEL:
        allowed = ", ".join(one.name for one in table.columns if one.filler is Filler.MODEL)
        raise _Wrong(f"data.{field}: not a field that a document can tell; {table.name} has {allowed}")
    if told := _problem(column, value):
        raise _Wrong(f"data.{field}: {told}")


def _problem(column: Column, value: object) -> str | None:
    match column.kind:
        case Kind.EPOCH_MS:
            is_date = isinstance(value, str) and any(_is_of(value, form) for form in _DAY_FORMS)
            return None if is_date else "write a local date, 2026-03-06 or 2026-03-06T15:00"
        case Kind.NAMES:
            is_names = isinstance(value, list) and value and all(_is_said(one) for one in value)
            return None if is_names else 'write a list of names, as in ["Anna"]'
        case _ if not isinstance(value, str) or not _is_said(value):
            return "write a text that is not empty"
        case _:
            return problem_of(column, value)


def _is_of(value: str, form: str) -> bool:
    try:
        return datetime.strptime(value, form).strftime(form) == value  # noqa: DTZ007 - local
    except ValueError:
        return False


def _is_said(value: object) -> bool:
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


def _object(value: object, what: str, keys: frozenset[str] | None = None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong(f"{what} is a JSON object")
    if keys is not None and (unknown := sorted(value.keys() - keys)):
        raise _Wrong(f"unknown key {unknown[0]!r}; there are {', '.join(sorted(keys))}")
    return value


def _text(said: dict[str, Any], key: str) -> str:
    value = said.get(key)
    if not _is_said(value):
        raise _Wrong(f"{key}: is missing, or no text")
    return str(value)


def gold_digest(data: bytes) -> str:
    """Return the digest that identifies a gold file by its content: hex, 64 characters."""
    return hashlib.sha256(data).hexdigest()
