"""Origin of a setting's value: its position in a file, or an override."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from hub.base.toml.positions import KeyPath, Located

NOWHERE: Final[Mapping[str, tuple[str, Located]]] = MappingProxyType({})


class Override(NamedTuple):
    """Override of *path* with its unparsed value. *origin* names its source for people."""

    path: tuple[str, ...]
    text: str
    origin: str


class TomlPosition(NamedTuple):
    """Position in a file; numbers count from 1, columns in code points. Line 0: *file* names an override."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class TomlPositions:
    """Positions of one reading's values; an overridden value has the origin of its override.

    Args:
        doc: all tables, with the overrides applied.
        elsewhere: name and positions of the text that has a table, for each table that is not of *file*.
    """

    def __init__(
        self,
        file: str,
        located: Located,
        doc: Mapping[str, Any],
        overrides: Iterable[Override] = (),
        *,
        elsewhere: Mapping[str, tuple[str, Located]] = NOWHERE,
    ) -> None:
        self.doc = doc
        self._texts: dict[int | str | None, tuple[str, Located]] = {None: (file, located)}
        self._texts.update(elsewhere)
        self._overrides: dict[KeyPath, str] = {each.path: each.origin for each in overrides}

    def has(self, path: KeyPath) -> bool:
        """Return True if *path* has a value in the file or an override."""
        return self._override(path) is not None or self._text(path)[1].has(path)

    def key(self, path: KeyPath) -> TomlPosition:
        """Return the position of the key at *path*."""
        file, located = self._text(path)
        return self._override(path) or TomlPosition(file, *located.key(path))

    def value(self, path: KeyPath) -> TomlPosition:
        """Return the position of the value at *path*, else of its nearest table."""
        file, located = self._text(path)
        return self._override(path) or TomlPosition(file, *located.value(path))

    def origin(self, path: KeyPath) -> TomlPosition | None:
        """Return the origin of the value at *path*, or None if it is the default."""
        return self.value(path) if self.has(path) else None

    def _override(self, path: KeyPath) -> TomlPosition | None:
        for length in range(len(path), 0, -1):
            if path[:length] in self._overrides:
                return TomlPosition(self._overrides[path[:length]])
        if path and not self._text(path)[1].has(path):  # a table that exists only in overrides
            for inner, origin in self._overrides.items():
                if inner[: len(path)] == path:
                    return TomlPosition(origin)
        return None

    def _text(self, path: KeyPath) -> tuple[str, Located]:
        return self._texts.get(path[0] if path else None, self._texts[None])
