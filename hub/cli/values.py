"""Option types for JSON objects, tables in files, and dotted keys of settings."""

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import click

from hub.cli.failure import Exit, Failure


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


def table_in(file: Path) -> dict[str, Any]:
    """Return the table in a TOML or JSON file.

    Raises:
        Failure: the file cannot be read, or has no table.
    """
    try:
        text = file.read_text("utf-8")
        table = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise Failure(f"cannot read {file}: {error}", Exit.USAGE) from error
    if not isinstance(table, dict):
        raise Failure(f"{file}: expected a TOML table or a JSON object", Exit.USAGE)
    return {key: _plain(value) for key, value in table.items()}


def _plain(value: Any) -> Any:
    """Return *value* with dates and times as text, for JSON."""
    match value:
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case list():
            return [_plain(inner) for inner in value]
        case date():
            return value.isoformat()
    return value
