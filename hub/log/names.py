"""Names of agents and devices for log lines on a terminal; JSON lines keep the ids."""

import re
from collections.abc import Mapping
from typing import Final

MOST: Final = 10_000  # names; the oldest are dropped first
_SHORT: Final = 8  # characters of an id that commands accept
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_names: dict[str, str] = {}


def learn_names(names: Mapping[str, str]) -> None:
    """Keep the names of ids for the lines that follow."""
    for id, name in names.items():
        _names.pop(id, None)
        _names[id] = name
    while len(_names) > MOST:
        del _names[next(iter(_names))]


def readable(field: str, value: str) -> tuple[str, str]:
    """Return a field as a person reads it: ``agent`` and its name, or the end of a long id."""
    if name := _names.get(value):
        return field.removesuffix("_id"), name
    return field, value[-_SHORT:] if _UUID.fullmatch(value) else value
