"""Cleaning of titles and texts of items: removal of control and invisible characters."""

import re
from collections.abc import Mapping
from typing import Final

from hub.base.printable import CONTROLS
from protocol.frame import Record
from protocol.tables import MAX_TITLE_CHARS, DeviceTable

_ENDS: Final = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_SILENT: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f]")
# Selectors of variants stay, in which names of people are written.
_HIDDEN: Final = re.compile(f"(?![\U000e0100-\U000e01ef])(?:{CONTROLS.pattern})")


def plain_lines(text: str) -> str:
    """Return a text whose lines end with line feeds, and which has no other control character but tabs."""
    return text if text.isprintable() else _SILENT.sub("", _ENDS.sub("\n", text))


def title_line(text: str) -> str:
    """Return a title as one line, without invisible characters and those that a terminal obeys.

    Joiners stay where a script or an emoji needs them. Words, as items are compared by them, stay the same.
    """
    if text.isprintable():
        return text
    lines = map(str.strip, text.replace("\t", " ").replace("\x1f", " ").splitlines())
    return _HIDDEN.sub("", " ".join(filter(None, lines))).strip()


def with_clean_title(table: DeviceTable, data: Record) -> Record:
    """Return the fields of an item with its title as one line; a long text in its place keeps its lines."""
    column, title = table.column(table.title), data.get(table.title)
    if column is None or not isinstance(title, str):
        return data
    is_line = column.max_length <= MAX_TITLE_CHARS
    return {**data, table.title: title_line(title) if is_line else plain_lines(title)}


def clean_fields(table: DeviceTable, fields: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of a row of another program as this one writes them: line ends and the title."""
    return {name: plain_lines(str(text)) for name, text in with_clean_title(table, {**fields}).items()}
