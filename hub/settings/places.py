"""Origin of a setting's value: a position in the file, or an override."""

from collections.abc import Iterable
from typing import NamedTuple

from hub.settings.locate import KeyPath, Located, Position
from hub.settings.overrides import Override


class Place(NamedTuple):
    """Position in a file; numbers count from 1, columns in code points. Line 0: *file* names an override."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Places:
    """Positions of one reading's values; an overridden value has the origin of its override."""

    def __init__(self, file: str, located: Located, overrides: Iterable[Override] = ()) -> None:
        self._file = file
        self._located = located
        self._overrides: dict[KeyPath, str] = {each.path: each.origin for each in overrides}
        self._renamed: dict[KeyPath, KeyPath] = {}  # old path of each renamed key

    def rename(self, old: KeyPath, new: KeyPath) -> None:
        """Make lookups of *new* return the position of *old*."""
        self._renamed[new] = old

    def has(self, path: KeyPath) -> bool:
        """Return True if *path* has a value in the file or an override."""
        path = self._renamed.get(path, path)
        return self._override(path) is not None or self._located.has(path)

    def key(self, path: KeyPath) -> Place:
        """Return the position of the key at *path*."""
        return self._override(path) or self._in_file(self._located.key(path))

    def value(self, path: KeyPath) -> Place:
        """Return the position of the value at *path*, else of its nearest table."""
        path = self._renamed.get(path, path)
        return self._override(path) or self._in_file(self._located.value(path))

    def origin(self, path: KeyPath) -> Place | None:
        """Return the origin of the value at *path*, or None if it is the default."""
        return self.value(path) if self.has(path) else None

    def _override(self, path: KeyPath) -> Place | None:
        for length in range(len(path), 0, -1):
            if path[:length] in self._overrides:
                return Place(self._overrides[path[:length]])
        if path and not self._located.has(path):  # a table that exists only in overrides
            for inner, origin in self._overrides.items():
                if inner[: len(path)] == path:
                    return Place(origin)
        return None

    def _in_file(self, at: Position) -> Place:
        return Place(self._file, at.line, at.column)
