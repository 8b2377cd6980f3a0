"""Values of options that are more than a word."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click


class JsonObject(click.ParamType[dict[str, Any]]):
    """A JSON object, as in ``{"folder": "inbox"}``."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        try:
            told = json.loads(value)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            self.fail(f"""{value!r} is no JSON object; write it as in '{{"folder": "inbox"}}'""", param, ctx)
        return told


def object_option(name: str, *, help: str, required: bool = False) -> Callable[[Any], Any]:
    """An option that takes a JSON object."""
    return click.option(name, type=JsonObject(), metavar="JSON", help=help, required=required)


def keys_of(settings: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Return each value of the settings with its dotted key; tables of a list are keyed by their names."""
    for name, value in settings.items():
        key = f"{path}.{name}" if path else name
        match value:
            case dict():
                yield from keys_of(value, key)
            case [dict(), *_]:
                for one in value:
                    yield from keys_of(one, f"{key}.{one['name']}")
            case _:
                yield key, value
