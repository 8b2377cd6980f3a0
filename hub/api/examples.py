"""An example for every shape of the interface, made from its schema and the names of its fields."""

from collections.abc import Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

MOMENT: Final = "2026-01-05T09:14:00Z"
_ID: Final = "019b8d5c-1f6e-7c3a-9d2e-5b1c7f0a4e21"
# Example values by field name, consistent with one small hub; a test validates them by the schemas.
VALUES: Final[Mapping[str, Any]] = {
    "activity": "idle",
    "actor": "operator:1000",
    "agent": "notes",
    "availability": "available",
    "axis": "lifecycle",
    "because": "its device is away",
    "code": "K7QF-2M9X",
    "capabilities": "tool_call",
    "connectivity": "online",
    "created_by": "operator:1000",
    "cursor": "WyJub3RlcyJd",
    "data_types": "tasks",
    "database": "sqlite:///hub.db",
    "detail": "there is no agent 'nots'",
    "device": "desk",
    "device_id": _ID,
    "event": "run.moved",
    "expr": "0 7 * * 1-5",
    "file_extensions": ".md",
    "first": MOMENT,
    "from": MOMENT,
    "health": "ok",
    "hub_id": _ID,
    "id": _ID,
    "invitation_id": _ID,
    "last": MOMENT,
    "topic": "schedules",
    "to": MOMENT,
    "last4": "x9Qa",
    "lifecycle": "active",
    "message": "the file is no text",
    "model": "gpt-5-mini (openai)",
    "name": "notes",
    "network": "192.0.2.7",
    "of": "its own agents",
    "overlap": "skip",
    "pairing_id": _ID,
    "path": "notes/monday.md",
    "paths": "notes",
    "platform": "linux",
    "prompt": "Find what somebody has to do.",
    "reason": "asked by its owner",
    "run": _ID,
    "run_id": _ID,
    "said": "0 7 * * 1-5",
    "schedule": "0 7 * * 1-5",
    "scope": "read",
    "timezone": "Europe/Berlin",
    "token_id": _ID,
    "token": "hub_op_4fT2mB0qZ7xKpW9sLrN1vYcE3hJd5gUa0kR8wQmPzx",
    "trigger": "schedule",
    "user": "owner",
    "vocabulary": "calendar",
    "version": "0.1.0",
}
_DEEPEST: Final = 8


def example_of(schema: Schema, components: Schema, name: str = "", depth: int = 0) -> Any:
    """Return an example value that *schema* allows.

    Args:
        components: schemas below ``#/components/schemas/``.
        name: name of the field that holds the value.
    """
    if "$ref" in schema:
        return example_of(components[schema["$ref"].rpartition("/")[2]], components, name, depth + 1)
    match schema:
        case {"const": value} | {"enum": [value, *_]} | {"examples": [value, *_]}:
            return value
        case {"anyOf": choices} | {"oneOf": choices}:
            told = [choice for choice in choices if choice.get("type") != "null"]
            return example_of(told[0], components, name, depth)
        case {"allOf": [only]}:
            return example_of(only, components, name, depth)
        case {"type": "object"}:
            return _object(schema, components, depth)
        case {"type": "array"}:
            return _array(schema, components, name, depth)
    return _scalar(schema, name)


def _object(schema: Schema, components: Schema, depth: int) -> dict[str, Any]:
    needed = schema.get("required", ())
    return {
        field: example_of(inner, components, field, depth + 1)
        for field, inner in schema.get("properties", {}).items()
        if field in needed or depth < _DEEPEST
    }


def _array(schema: Schema, components: Schema, name: str, depth: int) -> list[Any]:
    if depth >= _DEEPEST and not schema.get("minItems"):
        return []
    if "prefixItems" in schema:
        return [example_of(inner, components, name, depth + 1) for inner in schema["prefixItems"]]
    return [example_of(schema.get("items", {}), components, name, depth + 1)]


def _scalar(schema: Schema, name: str) -> Any:
    match schema.get("type"):
        case "boolean":
            return schema.get("default", True)
        case "integer" | "number":
            return schema.get("default", schema.get("minimum", 1))
        case "null":
            return None
    if schema.get("format") == "date-time":
        return MOMENT
    return VALUES.get(name, schema.get("default", name or "text"))
