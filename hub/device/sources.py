"""Source file of an item: whether it changed, moved or vanished since the hub read it.

The device compares suggestions with their files, not the hub: the files are on this machine. All functions
block. Files over 4 MiB are not compared.
"""

import os
import sqlite3
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Final

from hub.device.moved_files import MovedFiles, leads_out
from hub.text import archives
from hub.text.decoding import decode
from hub.text.excerpt import Excerpt, Excerpts
from hub.text.files import AUDIO, HTML, MAIL, MBOX, OFFICE, PICTURES, NotConvertible, media_type_of
from hub.text.quotations import others_at
from hub.text.rows.ticks import line_around, lines_of, place_of_quote, tick_of

MAX_BYTES: Final = 4 << 20  # of a file that is searched for a quote; the state of larger files is unknown


MAX_CACHED: Final = 16  # files whose text is cached


_CONVERTED: Final = (
    OFFICE | AUDIO | PICTURES | {HTML, MAIL, MBOX}
)  # media types whose bytes are not their text


class SourceState(StrEnum):
    """Difference between an item's source and the file that the hub read."""

    FILE_MISSING = "file_gone"
    WORDS_MISSING = "words_gone"

    @property
    def sentence(self) -> str:
        """Sentence for a reviewer."""
        if self is SourceState.FILE_MISSING:
            return "the file was deleted, moved or renamed"
        return "the quoted text is no longer in the file"


class Sources:
    """Files in shared folders, by their names on the wire.

    Args:
        roots: folders by their names on the wire.
        db: the device's file, which knows the files that were moved.
    """

    def __init__(self, roots: Mapping[str, Path], db: sqlite3.Connection | None = None) -> None:
        self._roots = roots
        self._text = lru_cache(maxsize=MAX_CACHED)(_text)
        self._moved = None if db is None else MovedFiles(db, roots, self._plain)

    def moved(self, path: str | None) -> tuple[str, ...]:
        """Return the files that a missing file may be, by its source path: one if it is certain."""
        root, file = self._place(path)
        if self._moved is None or path is None or root is None or not root.is_dir():
            return ()  # a folder that is not there may be on a disk that is away
        return () if os.path.lexists(file) else self._moved.find(path)

    def state(self, path: str | None, quote: str | None) -> SourceState | None:
        """Return what is missing: the file *path* or *quote* in it. None: nothing, or unknown."""
        root, file = self._place(path)
        if root is None:
            return None
        try:
            if not root.is_dir():  # for example on an unmounted disk
                return None
            if not file.exists():
                return SourceState.FILE_MISSING
        except OSError:  # invalid name, or a folder that cannot be read
            return None
        text = self._plain(file) if quote else None
        is_found = text is None or not quote or quote in text or place_of_quote(text, quote) is not None
        return None if is_found else SourceState.WORDS_MISSING

    def has_line_of(self, path: str | None, title: str) -> bool:
        """Return True if a line of a file has all words of a title."""
        root, file = self._place(path)
        return root is not None and bool(lines_of(self._plain(file) or "", title))

    def excerpt(self, path: str | None, quote: str | None, start: int | None) -> Excerpt | None:
        """Return the lines around a quote; None where the file no longer has it once or at *start*."""
        found = self._found(path, quote, start)
        return None if found is None else Excerpts(found[0]).around(*found[1:])

    def line(self, path: str | None, quote: str | None, start: int | None) -> str | None:
        """Return the line in which a quote begins, up to its end; None as for ``excerpt``."""
        found = self._found(path, quote, start)
        if found is None:
            return None
        text, begin, end = found
        return text[text.rfind("\n", 0, begin) + 1 : end]

    def ticked(self, path: str | None, quote: str | None, start: int | None) -> str | None:
        """Return the line or to-do of a quote if it is done, and in no words of others."""
        root, file = self._place(path)
        text = self._plain(file) if root is not None and quote else None
        kind = "ics" if file.suffix == ".ics" else "todo.txt"
        tick = None if text is None or not quote else tick_of(text, quote, start, kind, 0, others_at(text))
        if text is None or tick is None or not tick.is_done:
            return None
        begin, end = tick[-2:] if kind == "ics" else line_around(text, tick.start)
        return text[begin:end]

    def line_without_key(self, file: Path, quote: str | None) -> str | None:
        """Return the first line of any file that has the first line of a quote, and no key of an item."""
        words = (quote or "").strip().partition("\n")[0].strip()
        lines = (self._plain(file) or "").splitlines() if words else ()
        return next((line for line in lines if words in line and "hub-" not in line), None)

    def _found(self, path: str | None, quote: str | None, start: int | None) -> tuple[str, int, int] | None:
        """Return the text of a file with the start and the end of a quote in it."""
        root, file = self._place(path)
        text = self._plain(file) if root is not None and quote else None
        found = None if text is None or not quote else place_of_quote(text, quote, start)
        return None if text is None or found is None else (text, *found)

    def file(self, path: str | None) -> Path | None:
        """Return the file of a source path; None if it is of no shared folder."""
        root, file = self._place(path)
        return None if root is None else file

    def _place(self, path: str | None) -> tuple[Path, Path] | tuple[None, Path]:
        """Return the shared folder of a path and the file, or no folder."""
        name, _, below = (path or "").partition("/")
        root = self._roots.get(name)
        if root is None or leads_out(below):
            return None, Path()  # a mail, for example, or a hub's attempt to probe other paths
        return root, root / below

    def _plain(self, file: Path) -> str | None:
        """Return the text of a file whose bytes are its text, as the hub reads it."""
        kind = media_type_of(file.name)
        text = None if kind in _CONVERTED else self._text(file)
        if (
            text is None
            or archives.kind_in(text[: archives.HEAD_BYTES].encode("utf-8", "replace"), kind) != kind
        ):
            return None
        return text


def _text(file: Path) -> str | None:
    """Return the text of a plain-text file as the hub decodes it; None if it is too large or not text."""
    try:
        if not file.is_file() or file.stat().st_size > MAX_BYTES:
            return None
        return decode(file.read_bytes())
    except (OSError, NotConvertible):
        return None
