"""Settings from outside the file: ``HUB__LIMITS__RUNS=9`` in the environment, ``--set limits.runs=9``.

The command line goes before the environment, that before the file. Agents are
written in the file alone.
"""

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from hub.settings.locate import KeyPath

PREFIX: Final = "HUB__"


class Override(NamedTuple):
    """A value for *path*, as it was written. *origin*: where, as people know it."""

    path: tuple[str, ...]
    text: str
    origin: str


class NotAnOverride(ValueError):
    """It does not say which setting gets which value."""


def in_environment(environ: Mapping[str, str]) -> Iterator[Override]:
    """What the environment sets, in the order of the names."""
    for name, text in sorted(environ.items()):
        path = tuple(name.removeprefix(PREFIX).lower().split("__"))
        if name.startswith(PREFIX) and all(path):
            yield Override(path, text, name)


def on_command_line(words: Iterable[str]) -> Iterator[Override]:
    """What ``--set TABLE.KEY=VALUE`` sets.

    Raises:
        NotAnOverride: a word is not of that kind.
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
    """*doc* with each override in its place, the later ones on top; *doc* itself is left as it is."""
    whole = dict(doc)
    for path, text, _ in overrides:
        table = whole
        for part in path[:-1]:
            inner = table.get(part)
            table[part] = dict(inner) if isinstance(inner, dict) else {}
            table = table[part]
        table[path[-1]] = text if is_text(path) else value_of(text)
    return whole


def value_of(text: str) -> Any:
    """The value that *text* is in TOML; what is none there is a text without its quotes."""
    try:
        read = tomllib.loads(f"x = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return read["x"] if len(read) == 1 else text
