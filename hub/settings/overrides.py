"""Overrides of settings by environment and ``--set``: precedence, and the type of a value.

The command line takes precedence over the environment, which takes precedence over the file. Agents cannot be
overridden.
"""

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from hub.base.toml.origins import Override
from hub.base.toml.positions import KeyPath

PREFIX: Final = "HUB__"


class NotAnOverride(ValueError):
    """Malformed override."""


def in_environment(environ: Mapping[str, str]) -> Iterator[Override]:
    """Yield the overrides in the environment, ordered by name."""
    for name, text in sorted(environ.items()):
        path = tuple(name.removeprefix(PREFIX).lower().split("__"))
        if name.startswith(PREFIX) and all(path):
            yield Override(path, text, name)


def on_command_line(words: Iterable[str]) -> Iterator[Override]:
    """Yield the overrides of ``--set TABLE.KEY=VALUE``.

    Raises:
        NotAnOverride: a word has another form.
    """
    for word in words:
        key, equals, text = word.partition("=")
        path = tuple(key.strip().split("."))
        if not equals or not all(path):
            raise NotAnOverride(f"{word!r} is not TABLE.KEY=VALUE, as in limits.runs=9")
        yield Override(path, text.strip(), f"--set {key.strip()}")


def overlaid(
    doc: Mapping[str, Any], overrides: Iterable[Override], *, is_text: Callable[[KeyPath], bool]
) -> dict[str, Any]:
    """Return a copy of *doc* with the overrides applied in order; *doc* is unchanged."""
    whole = dict(doc)
    for path, text, _ in overrides:
        table = whole
        for part in path[:-1]:
            inner = table.get(part)
            table[part] = dict(inner) if isinstance(inner, dict) else {}
            table = table[part]
        table[path[-1]] = value_of(text, is_text=is_text(path))
    return whole


def value_of(text: str, *, is_text: bool = False) -> Any:
    """Parse *text* as a TOML value; what is not TOML, or is for a setting that *is_text*, needs no quotes."""
    if is_text and not text.startswith(("'", '"')):
        return text
    try:
        read = tomllib.loads(f"x = {text}")
    except (ValueError, RecursionError):
        return text
    return read["x"] if len(read) == 1 else text
