"""Removal of a sink's own rows from texts that agents read, so that they yield no suggestions."""

import re
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Final

from hub.text.rows.calendar import CalendarFormat
from hub.text.rows.lines import Markdown, TodoTxt
from hub.text.rows.records import Csv, JsonLines
from hub.text.rows.row_format import Format
from hub.text.rows.row_keys import ROW_KEY
from protocol.tables import TABLES, DeviceTable, TableName

_FORMATS: Final[dict[str, Format]] = {
    ".md": Markdown(),
    ".markdown": Markdown(),
    ".txt": TodoTxt(),
    ".csv": Csv(),
    ".jsonl": JsonLines(),
    ".ics": CalendarFormat(),
}
_VISIBLE: Final = re.compile(r"[^\s]")
# Label of an attachment in the text of a mail, as in ``plan.csv, text/csv, 2 KB``.
_ENCLOSED: Final = re.compile(r"^\[attachment: ([^\n]*)\]\n", re.MULTILINE)


class _AnyTable(dict[str, DeviceTable]):
    """Table of a key: one with a long text, so that the lines below a row belong to it.

    *keys*: those of the rows; None: each key is one of a row.
    """

    def __init__(self, keys: Collection[str] | None) -> None:
        super().__init__()
        self._keys = keys

    def get(self, key: str, default: object = None) -> DeviceTable | None:  # type: ignore[override]
        is_own = ROW_KEY.fullmatch(key) is not None if self._keys is None else key in self._keys
        return TABLES[TableName.NOTES] if is_own else None


def without_own_rows(
    text: str, path: str, keys: Collection[str] | None = None, is_entry: bool = False
) -> str:
    """Return a text with the rows of sinks as blanks, so that places of other text stay.

    All that a key covers is its own row: a line, a component, a record. Only the text of one entry of a
    service belongs as a whole to a key that is its second or last line; a list has several keys, or others.

    Args:
        keys: keys of the rows; None: each key is one of a row.
        is_entry: the text is one entry of a service.
    """
    tables = _AnyTable(keys)
    lines = [line for line in map(str.strip, text.splitlines()) if line] if is_entry else []
    named = {*filter(ROW_KEY.fullmatch, lines)}
    if len(named) == 1 and named & {*lines[:2], *lines[-1:]} and any(map(tables.get, named)):
        return _VISIBLE.sub(" ", text)
    own, *enclosed = _ENCLOSED.split(text)
    parts = [_blanked(own, path, tables)]
    for label, part in zip(enclosed[::2], enclosed[1::2], strict=True):
        parts += [f"[attachment: {label}]\n", _blanked(part, label.partition(",")[0], tables)]
    return "".join(parts)


def _blanked(text: str, path: str, tables: _AnyTable) -> str:
    """Return the text of a file without its rows; the form that its ending suggests is tried first."""
    form = _FORMATS.get(PurePosixPath(path).suffix.lower())
    for candidate in _FORMATS.values() if form is None else (form, *_FORMATS.values()):
        if not any(map(tables.get, ROW_KEY.findall(text))):
            break
        parts, at = [], 0
        for piece in candidate.pieces(text.replace("\r\n", " \n"), tables):
            parts += [text[at : piece.start], _VISIBLE.sub(" ", text[piece.start : piece.end])]
            at = piece.end
        text = "".join([*parts, text[at:]])
    return text
