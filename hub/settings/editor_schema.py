"""JSON Schema of hub.toml for editors, and which settings are texts."""

import json
from functools import cache
from typing import Any

from hub.base.toml.positions import KeyPath
from hub.base.toml.schema import DIALECT, Generator, tables_at
from hub.settings.settings import Settings


def is_text(path: KeyPath) -> bool:
    """Return True if the field at *path* is a string, so that an override 5 means "5"."""
    fields = [model.model_fields.get(str(path[-1])) for model in tables_at(path[:-1], Settings)]
    return any(field is not None and field.annotation is str for field in fields)


@cache
def settings_schema() -> dict[str, Any]:
    """Return the schema; ``x-effect`` of a field says when its change takes effect."""
    schema = Settings.model_json_schema(schema_generator=Generator)
    return {"$schema": DIALECT, **schema, "title": "hub.toml"}


def schema_text() -> str:
    """Return the schema as the content of a file."""
    return json.dumps(settings_schema(), indent=2, ensure_ascii=False) + "\n"
