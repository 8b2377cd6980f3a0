"""Renamed keys of hub.toml: the old name works for one minor version, with a warning.

A line in ``RENAMED`` renames a key; the next minor version removes the line.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from hub.settings.locate import KeyPath

RENAMED: Final[Mapping[KeyPath, KeyPath]] = {}


class Rename(NamedTuple):
    """Old key in a document; *is_doubled*: the new key exists too, and is unchanged."""

    old: KeyPath
    new: KeyPath
    is_doubled: bool


def follow_renames(doc: dict[str, Any]) -> Iterator[Rename]:
    """Move values of old keys to their new keys, in *doc* itself."""
    for old, new in RENAMED.items():
        table = _table(doc, old[:-1])
        if table is None or old[-1] not in table:
            continue
        value = table.pop(old[-1])
        if not table and len(old) > 1:
            _remove(doc, old[:-1])
        target = _table(doc, new[:-1], make=True)
        is_doubled = target is None or new[-1] in target
        if target is not None and not is_doubled:
            target[str(new[-1])] = value
        yield Rename(old, new, is_doubled)


def _table(doc: dict[str, Any], path: KeyPath, *, make: bool = False) -> dict[Any, Any] | None:
    here: Any = doc
    for part in path:
        if make:
            here.setdefault(part, {})
        here = here.get(part)
        if not isinstance(here, dict):
            return None
    found: dict[Any, Any] = here
    return found


def _remove(doc: dict[str, Any], path: KeyPath) -> None:
    table = _table(doc, path[:-1])
    assert table is not None
    del table[path[-1]]
