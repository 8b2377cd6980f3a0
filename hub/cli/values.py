"""Option types for JSON objects, and dotted keys of settings."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click


class JsonObject(click.ParamType[dict[str, Any]]):
    """Option type for JSON objects, as in ``{"folder": "inbox"}``."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            self.fail(
                f"""{value!r} is not a JSON object; write it as in '{{"folder": "inbox"}}'""", param, ctx
            )
        return parsed


def object_option(name: str, *, help: str, required: bool = False) -> Callable[[Any], Any]:
    """Return an option that takes a JSON object."""
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
