"""Where a value of the settings comes from: a spot in the file, or something that overrides it."""

from collections.abc import Iterable
from typing import NamedTuple

from hub.settings.locate import KeyPath, Located, Position
from hub.settings.overrides import Override


class Place(NamedTuple):
    """A spot in a file; *line* and *column* count from 1, in code points. Line 0: *file* is no file."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Places:
    """The places of one reading: what is overridden stands where its override does."""

    def __init__(self, file: str, located: Located, overrides: Iterable[Override] = ()) -> None:
        self._file = file
        self._located = located
        self._overrides: dict[KeyPath, str] = {each.path: each.origin for each in overrides}
        self._renamed: dict[KeyPath, KeyPath] = {}  # where what has a new name stands under its old one

    def rename(self, old: KeyPath, new: KeyPath) -> None:
        """What is asked for as *new* stands there as *old*."""
        self._renamed[new] = old

    def has(self, path: KeyPath) -> bool:
        """Whether a value was given for *path*."""
        path = self._renamed.get(path, path)
        return self._override(path) is not None or self._located.has(path)

    def key(self, path: KeyPath) -> Place:
        """Where the key of *path* stands."""
        return self._override(path) or self._in_file(self._located.key(path))

    def value(self, path: KeyPath) -> Place:
        """Where the value of *path* begins; else its nearest table."""
        path = self._renamed.get(path, path)
        return self._override(path) or self._in_file(self._located.value(path))

    def origin(self, path: KeyPath) -> Place | None:
        """Where the value of *path* was given; None: nowhere, it is the default."""
        return self.value(path) if self.has(path) else None

    def _override(self, path: KeyPath) -> Place | None:
        for length in range(len(path), 0, -1):
            if path[:length] in self._overrides:
                return Place(self._overrides[path[:length]])
        if path and not self._located.has(path):  # a table that is there for the sake of an override
            for inner, origin in self._overrides.items():
                if inner[: len(path)] == path:
                    return Place(origin)
        return None

    def _in_file(self, at: Position) -> Place:
        return Place(self._file, at.line, at.column)
