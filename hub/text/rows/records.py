"""Formats of rows as CSV (without formulas) and as JSON lines."""

import csv
import io
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

from hub.base.printable import printable_json
from hub.text.rows.csv_lines import as_read, as_text, csv_line
from hub.text.rows.row import LateFields, Put, TargetFailed, shape_of
from hub.text.rows.row_format import Format, Piece, with_line
from protocol.calls import PlaceProblem
from protocol.tables import DeviceTable

_KEY: Final = "id"
_TABLE: Final = "table"
# Names of columns in lists of tasks, without blanks and signs, by what a field is.
USUAL_NAMES: Final[Mapping[str, Collection[str]]] = {
    "title": {"task", "taskname", "name", "summary", "subject"},
    "date": {"due", "duedate", "deadline", "date"},
    "text": {"notes", "note", "description", "details", "content"},
    "status": {"state"},
    "assignee": {"owner", "assignees", "assignedto", "responsible"},
}
_DELIMITERS: Final = ",;\t"
# A cell that begins with a quote may contain line feeds and doubled quotes; in others a quote is a letter.
_CELL: Final = r'(?>(?:"(?>(?:[^"]|"")*)(?:"|\Z)[^{0}\n]*+|[^"{0}\n][^{0}\n]*+)?)'
_RECORD: Final = {
    delimiter: re.compile(f"{_CELL}(?>(?:{{0}}{_CELL})*)(?:\\n|\\Z)".format(delimiter))
    for delimiter in _DELIMITERS
}


class Csv(Format):
    """Table with a header line, which may have more columns, in any order and by names of their owner."""

    kind = "csv"

    def pieces(self, text: str, tables: Mapping[str, DeviceTable]) -> Iterator[Piece]:
        header = _header_of(text)
        for start, end in _records(text, header.start, header.delimiter):
            if header.key is None or text.find("hub-", start, end) < 0:
                continue
            cells = _cells(text[start:end], header.delimiter)
            key = cells[header.key] if header.key < len(cells) else ""
            if (table := tables.get(key)) is not None:
                fields = LateFields(partial(_fields, cells, header, table))
                yield Piece(key, start, end, fields, context=text[: header.start])

    def rendered(self, put: Put, text: str, piece: Piece | None) -> str:
        header = _header_of(text)
        cells = [] if piece is None else _cells(text[piece.start : piece.end], header.delimiter)
        cells += [""] * (len(header.names) - len(cells))
        for name, at in columns_of(header.names, put.table).items():
            if name == _KEY or name in put.fields:
                cells[at] = put.key if name == _KEY else as_text(put.fields[name])
        return csv_line(cells, header.delimiter)

    def insert(self, text: str, put: Put) -> str:
        text = text if text.strip("\ufeff \n") else csv_line([_KEY, *shape_of(put.table).names])
        columns = columns_of(_header_of(text).names, put.table)
        for name in (_KEY, put.table.title):  # without its key, an item would count as deleted there
            if name not in columns:
                why = f"its first line has no column {name!r}: add one, anywhere"
                raise TargetFailed(why, PlaceProblem.UNREADABLE)
        return with_line(text, self.rendered(put, text, None))


def column_remark(text: str, table: DeviceTable) -> str:
    """Return a sentence on columns that are no field and fields without a column, or an empty one."""
    names = _header_of(text).names
    columns = columns_of(names, table)
    others = [repr(name) for at, name in enumerate(names) if name and at not in columns.values()]
    missing = [name for name in shape_of(table).names if names and name not in columns]
    remarks = (
        f"columns without a field of {table.name} stay as they are: {', '.join(others)}" if others else "",
        f"fields without a column are not written: {', '.join(missing)}" if missing else "",
    )
    return "; ".join(filter(None, remarks))


class _Header(NamedTuple):
    """First line of a table. *key*: the column of keys, if any; *start*: where its records begin."""

    names: tuple[str, ...]
    delimiter: str
    key: int | None
    start: int


def _header_of(text: str) -> _Header:
    start = len(text) - len(text.lstrip("\ufeff \n"))
    end = text.find("\n", start)
    delimiter = max(_DELIMITERS, key=text[start : len(text) if end < 0 else end].count)
    end = next((end for _, end in _records(text, start, delimiter)), 0)
    names = tuple(_cells(text[start:end], delimiter)) if end else ()
    return _Header(names, delimiter, names.index(_KEY) if _KEY in names else None, end)


def _plain(name: str) -> str:
    """Return the name of a column without case, blanks and signs."""
    return "".join(filter(str.isalnum, name.casefold()))


@lru_cache(maxsize=64)
def columns_of(names: tuple[str, ...], table: DeviceTable) -> dict[str, int]:
    """Return the place of the column of each field of *table*: one of its own name, else of a usual name."""
    shape = shape_of(table)
    kinds = {shape.title: "title", shape.date: "date", shape.text: "text"}
    plain = [*map(_plain, names)]
    found = {name: names.index(name) for name in (_KEY, *shape.names) if name in names}
    own = {name: {_plain(name), _plain(name.removesuffix("Id"))} for name in shape.names}
    usual = {name: USUAL_NAMES.get(kinds.get(name, name), ()) for name in shape.names}
    for accepted in (own, usual):
        for name in shape.names:
            free = (at for at, one in enumerate(plain) if one in accepted[name] and at not in found.values())
            if name not in found and (at := next(free, None)) is not None:
                found[name] = at
    return found


def _fields(cells: Sequence[str], header: _Header, table: DeviceTable) -> dict[str, str]:
    columns = columns_of(header.names, table).items()
    return {name: as_read(cells[at]) for name, at in columns if name != _KEY and at < len(cells)}


def _records(text: str, at: int, delimiter: str) -> Iterator[tuple[int, int]]:
    while at < len(text):
        found = _RECORD[delimiter].match(text, at)
        assert found is not None
        yield at, found.end()
        at = found.end()


def _cells(record: str, delimiter: str) -> list[str]:
    reader = csv.reader(io.StringIO(record.removesuffix("\n"), newline=""), delimiter=delimiter)
    try:
        return next(reader, [])
    except csv.Error:  # a cell that is larger than any of an item
        return []


class JsonLines(Format):
    """An object in each line, with ``id`` and ``table``; keys of others in it stay."""

    kind = "jsonl"

    def pieces(self, text: str, tables: Mapping[str, DeviceTable]) -> Iterator[Piece]:
        at = 0
        while at < len(text):
            end = text.find("\n", at) + 1 or len(text)
            known = _object(text[at:end])
            key = known.get(_KEY)
            if isinstance(key, str) and (table := tables.get(key)) is not None:
                yield Piece(key, at, end, {name: _shown(known.get(name)) for name in shape_of(table).names})
            at = end

    def rendered(self, put: Put, text: str, piece: Piece | None) -> str:
        others = {} if piece is None else _object(text[piece.start : piece.end])
        named = others | {_KEY: put.key, _TABLE: put.table.name, **put.fields}
        return printable_json(json.dumps(named, ensure_ascii=False)) + "\n"


def _object(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _shown(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
