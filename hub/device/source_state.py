"""Comparison of suggestions with the files that they were found in: are file and words still there?

The device knows this better than its hub: the files are its owner's, and on this machine.
Blocking.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Final

from hub.text.converted import NotConvertible
from hub.text.decoding import decode
from hub.text.kinds import HTML, MAIL, OFFICE, media_type_of

MAX_BYTES: Final = 4 << 20  # of a file that is searched for words; of a larger one nothing is said
MOST_KEPT: Final = 16  # files whose text is in memory
_CONVERTED: Final = OFFICE | {HTML, MAIL}  # their text is not in their bytes


class SourceState(StrEnum):
    """How an item's source differs from the file that the hub read."""

    FILE_GONE = "file_gone"
    WORDS_GONE = "words_gone"


class Sources:
    """Files in shared folders, by their names on the wire.

    Args:
        roots: folders by the names that they have on the wire.
    """

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self._roots = roots
        self._text = lru_cache(maxsize=MOST_KEPT)(_text)

    def state(self, path: str | None, quote: str | None) -> SourceState | None:
        """Return what is gone of the file *path* with *quote* in it; None: nothing, or it cannot be told."""
        name, _, below = (path or "").partition("/")
        root = self._roots.get(name)
        if root is None or not below or below.startswith("/") or ".." in below.split("/"):
            return None  # of a mail, say; or a hub's attempt to look elsewhere
        file = root / below
        try:
            if not root.is_dir():  # on a disk that is not mounted, say
                return None
            if not file.exists():
                return SourceState.FILE_GONE
        except OSError:  # a name that no file can have, or a folder that cannot be read
            return None
        if not quote or media_type_of(below) in _CONVERTED:
            return None
        text = self._text(file)
        return None if text is None or quote in text else SourceState.WORDS_GONE


def _text(file: Path) -> str | None:
    """Return the text of a file of plain text as the hub would have it; None: it has none, or too much."""
    try:
        if not file.is_file() or file.stat().st_size > MAX_BYTES:
            return None
        return decode(file.read_bytes())
    except (OSError, NotConvertible):
        return None
