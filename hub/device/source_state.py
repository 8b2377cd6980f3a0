"""Comparison of suggestions with their source files: do the file and the quote still exist?

The device checks this, not the hub: the files are on this machine. All functions block.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Final

from hub.text.files import HTML, MAIL, OFFICE, NotConvertible, media_type_of
from hub.text.mime import decode

MAX_BYTES: Final = 4 << 20  # of a file that is searched for a quote; the state of larger files is unknown
MOST_CACHED: Final = 16  # files whose text is cached
_CONVERTED: Final = OFFICE | {HTML, MAIL}  # media types whose bytes are not their text


class SourceState(StrEnum):
    """Difference between an item's source and the file that the hub read."""

    FILE_MISSING = "file_gone"
    WORDS_MISSING = "words_gone"


class Sources:
    """Files in shared folders, by their names on the wire.

    Args:
        roots: folders by their names on the wire.
    """

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self._roots = roots
        self._text = lru_cache(maxsize=MOST_CACHED)(_text)

    def state(self, path: str | None, quote: str | None) -> SourceState | None:
        """Return what is missing: the file *path* or *quote* in it. None: nothing, or unknown."""
        name, _, below = (path or "").partition("/")
        root = self._roots.get(name)
        if root is None or not below or below.startswith("/") or ".." in below.split("/"):
            return None  # a mail, for example, or a hub's attempt to probe other paths
        file = root / below
        try:
            if not root.is_dir():  # for example on an unmounted disk
                return None
            if not file.exists():
                return SourceState.FILE_MISSING
        except OSError:  # invalid name, or a folder that cannot be read
            return None
        if not quote or media_type_of(below) in _CONVERTED:
            return None
        text = self._text(file)
        return None if text is None or quote in text else SourceState.WORDS_MISSING


def _text(file: Path) -> str | None:
    """Return the text of a plain-text file as the hub decodes it; None if it is too large or not text."""
    try:
        if not file.is_file() or file.stat().st_size > MAX_BYTES:
            return None
        return decode(file.read_bytes())
    except (OSError, NotConvertible):
        return None
