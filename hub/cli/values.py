"""Values of options that are more than a word."""

import json
from collections.abc import Callable
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
