"""Rows of sinks in files that are shared: hubs do not read them, since they are made of what hubs found."""

import re
from pathlib import PurePosixPath
from typing import Final

from hub.device.sinks.calendar import Calendar
from hub.device.sinks.lines import Markdown, TodoTxt
from hub.device.sinks.records import Csv, JsonLines
from hub.device.sinks.text_file import Format
from protocol.tables import TABLES, DeviceTable, TableName

_KEY: Final = re.compile(r"hub-[a-z2-7]{16}")
_FORMATS: Final[dict[str, Format]] = {
    ".md": Markdown(),
    ".markdown": Markdown(),
    ".txt": TodoTxt(),
    ".csv": Csv(),
    ".jsonl": JsonLines(),
    ".ics": Calendar(),
}
_VISIBLE: Final = re.compile(r"[^\s]")


class _EveryKey(dict[str, DeviceTable]):
    """Table of any key: one with a long text, so that the lines below a row belong to it."""

    def get(self, key: str, default: object = None) -> DeviceTable | None:  # type: ignore[override]
        return TABLES[TableName.NOTES] if _KEY.fullmatch(key) else None


def without_own_rows(text: str, path: str) -> str:
    """Return the text of a file with the rows of sinks as blanks, so that places of other text stay.

    A sink may have a file of any name: the form that its ending suggests is tried first.
    """
    if _KEY.search(text) is None:
        return text
    form = _FORMATS.get(PurePosixPath(path).suffix.lower())
    for one in _FORMATS.values() if form is None else (form, *_FORMATS.values()):
        parts, at = [], 0
        for piece in one.pieces(text.replace("\r\n", " \n"), _EveryKey()):
            parts += [text[at : piece.start], _VISIBLE.sub(" ", text[piece.start : piece.end])]
            at = piece.end
        text = "".join([*parts, text[at:]])
        if _KEY.search(text) is None:
            break
    return text
