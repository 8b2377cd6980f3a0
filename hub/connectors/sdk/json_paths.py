"""Texts and links at paths in JSON. Pure functions without dependencies, also for a program in the jail.

A path has keys with dots between; a number is a place in a list. ``[*]`` means all values of a list or of a
table; ``[+]`` too, and the values behind it become one text.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

LINK_CHARS: Final = 2_000
_ROW_KEY: Final = re.compile(r"^[ \t]*+(hub-[a-z2-7]{16})[ \t]*+\r?$", re.MULTILINE)
_ALL, _JOINED = "[*]", "[+]"


@cache
def steps_of(path: str) -> tuple[str, ...]:
    """Return the steps of a path. Raises ValueError if it is none."""
    spread = path.replace(_ALL, f".{_ALL}").replace(_JOINED, f".{_JOINED}").removeprefix(".")
    steps = tuple(spread.split("."))
    if not all(step in (_ALL, _JOINED) or (step and not set("[]") & set(step)) for step in steps):
        raise ValueError("no path: keys with dots between, [*] for all values, as in labels[*].name")
    return steps


def values_at(found: Any, steps: Sequence[str]) -> list[Any]:
    """Return the values at a path, in order; null is no value."""
    if not steps:
        return [] if found is None else [found]
    step, rest = steps[0], steps[1:]
    if step in (_ALL, _JOINED):
        inner = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
        values = [value for child in inner for value in values_at(child, rest)]
        return ["".join(map(text_of, values))] if step == _JOINED and values else values
    if isinstance(found, dict):
        return values_at(found.get(step), rest)
    is_place = isinstance(found, list) and step.isdecimal() and len(step) < 6 and int(step) < len(found)
    return values_at(found[int(step)], rest) if is_place else []


def texts_at(found: Any, paths: Sequence[str]) -> list[str]:
    """Return the texts and numbers at the paths, without those that are empty."""
    values = (value for path in paths for value in values_at(found, steps_of(path)))
    return [text for value in values if (text := text_of(value).strip())]


def text_at(found: Any, paths: Sequence[str]) -> str:
    """Return the text at the first path that has one, or an empty text."""
    return next((text for path in paths for text in texts_at(found, (path,))), "")


def text_of(value: Any) -> str:
    """Return a text, or a number as a text; otherwise an empty text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value)


def row_key_in(entry: Any, texts: Sequence[str]) -> str:
    """Return the key that the sink of a device gave an entry, or an empty text.

    It is a value of the entry, one of a list there, or a line of a text; what is nested is of other entries.

    Args:
        texts: other texts of the entry.
    """
    values = [*entry.values()] if isinstance(entry, dict) else []
    lists = [part for value in values if isinstance(value, list) for part in value]
    found = (_ROW_KEY.search(text) for text in (*texts, *values, *lists) if isinstance(text, str))
    return next((key[1] for key in found if key), "")


def with_row_key(text: str, key: str) -> str:
    """Return the text of an entry with a row's key, if any, in its second line, where no limit cuts it."""
    first, end, rest = text.partition("\n")
    return f"{first}\n{key}{end or chr(10)}{rest}" if key else text


def link_of(text: str) -> str | None:
    """Return an address that a browser may open, or None."""
    try:
        is_web = urlsplit(text).scheme in ("http", "https")
    except ValueError:
        return None
    return text if is_web and len(text) <= LINK_CHARS and not any(map(str.isspace, text)) else None
