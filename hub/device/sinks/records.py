"""Rows as CSV, whose cells are no formulas, and as JSON lines. Both have all columns of a table."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from hub.device.sinks.target import Put, TargetFailed, shape_of
from hub.device.sinks.text_file import Piece, with_line
from hub.printable import printable_json
from hub.text.csv_lines import as_read, as_text, csv_line
from protocol.calls import PlaceProblem
from protocol.tables import DeviceTable

_KEY: Final = "id"
_TABLE: Final = "table"
_DELIMITERS: Final = ",;\t"
# A cell that begins with a quote may contain line feeds and doubled quotes; in others a quote is a letter.
_CELL: Final = r'(?>(?:"(?>(?:[^"]|"")*)(?:"|\Z)[^{0}\n]*+|[^"{0}\n][^{0}\n]*+)?)'
_RECORD: Final = {
    one: re.compile(f"{_CELL}(?>(?:{{0}}{_CELL})*)(?:\\n|\\Z)".format(one)) for one in _DELIMITERS
}


class Csv:
    """Table with a header line, which may have more columns, in any order."""

    kind = "csv"

    def pieces(self, text: str, tables: Mapping[str, DeviceTable]) -> Iterator[Piece]:
        header, at = _header(text)
        delimiter = _delimiter(text)
        for start, end in _records(text, at):
            cells = dict(zip(header, _cells(text[start:end], delimiter), strict=False))
            if (table := tables.get(cells.get(_KEY, ""))) is not None:
                fields = {name: as_read(cells[name]) for name in shape_of(table).names if name in cells}
                yield Piece(cells[_KEY], start, end, fields, context=text[:at])

    def rendered(self, put: Put, text: str, piece: Piece | None) -> str:
        header, _ = _header(text)
        delimiter = _delimiter(text)
        cells = (
            {}
            if piece is None
            else dict(zip(header, _cells(text[piece.start : piece.end], delimiter), strict=False))
        )
        cells |= {_KEY: put.key, **{name: as_text(value) for name, value in put.fields.items()}}
        names = header or [_KEY, *shape_of(put.table).names]
        return csv_line((cells.get(name, "") for name in names), delimiter)

    def insert(self, text: str, put: Put) -> str:
        text = text if text.strip("\ufeff \n") else csv_line([_KEY, *shape_of(put.table).names])
        if _KEY not in _header(text)[0]:  # without its key, an item would count as deleted there
            why = f"its first line has no column {_KEY!r}: add one, at any place"
            raise TargetFailed(why, PlaceProblem.UNREADABLE)
        return with_line(text, self.rendered(put, text, None))


def _header(text: str) -> tuple[list[str], int]:
    """Return the names of the columns, and where the records begin."""
    start = _start(text)
    end = next((end for _, end in _records(text, start)), 0)
    return _cells(text[start:end], _delimiter(text)) if end else [], end


def _start(text: str) -> int:
    return len(text) - len(text.lstrip("\ufeff \n"))


def _delimiter(text: str) -> str:
    start = _start(text)
    end = text.find("\n", start)
    return max(_DELIMITERS, key=text[start : len(text) if end < 0 else end].count)


def _records(text: str, at: int) -> Iterator[tuple[int, int]]:
    record = _RECORD[_delimiter(text)]
    while at < len(text):
        found = record.match(text, at)
        assert found is not None
        yield at, found.end()
        at = found.end()


def _cells(record: str, delimiter: str) -> list[str]:
    reader = csv.reader(io.StringIO(record.removesuffix("\n"), newline=""), delimiter=delimiter)
    try:
        return next(reader, [])
    except csv.Error:  # a cell that is larger than any of an item
        return []


class JsonLines:
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

    def insert(self, text: str, put: Put) -> str:
        return with_line(text, self.rendered(put, text, None))


def _object(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _shown(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
