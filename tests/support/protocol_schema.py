"""Generated documents: JSON Schema, AsyncAPI, and the tables of PROTOCOL.md.

Pure functions from structs and tables to text; the caller writes the files.
"""

from inspect import cleandoc
from typing import Any

import msgspec

from protocol.agenda import AgendaPage, AgendaQuery
from protocol.codec import CODECS, FROM_DEVICE, FROM_HUB, type_of
from protocol.frame import MAX_RESULT_DEPTH, PATH, Frame, Parameters, Scalar
from protocol.places import PlaceOrder, PlacesAnswer
from protocol.tables import TABLES, DeviceTable, ExportedItem, Kind
from tests.support.protocol_page import direction_of, purpose_of

_ALL = tuple(dict.fromkeys(FROM_HUB + FROM_DEVICE))
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REPLIES = {"tool_call": "tool_result", "tool_calls": "tool_results", "request": "response"}


def json_schema() -> str:
    """Return the JSON Schema 2020-12 of every frame; ``FromDevice`` and ``FromHub`` are the two unions."""
    refs, components = _schemas("#/$defs/{name}")
    union = {name: {"oneOf": [refs[frame] for frame in frames]} for name, frames in _UNIONS.items()}
    return _pretty(
        {
            "$schema": _DIALECT,
            "title": "Frames between hub and device",
            "anyOf": [{"$ref": f"#/$defs/{name}"} for name in _UNIONS],
            "$defs": union | components,
        }
    )


def export_schema() -> str:
    """Return the JSON Schema 2020-12 of an exported item, with the fields of the built-in tables."""
    schema = msgspec.json.schema(ExportedItem)
    item = schema["$defs"]["ExportedItem"]
    item["description"] = cleandoc(item["description"])
    tables = [
        {
            "if": {"properties": {"table": {"const": name}}},
            "then": {"properties": {"data": {"$ref": f"#/$defs/{name}"}}},
        }
        for name in TABLES
    ]
    own = {name: _data_schema(table) for name, table in TABLES.items()}
    head = {"$schema": _DIALECT, "title": "Item of an export"}
    return _pretty(head | {"$ref": schema["$ref"], "allOf": tables, "$defs": schema["$defs"] | own})


def _data_schema(table: DeviceTable) -> dict[str, Any]:
    """Return the schema of the fields of a table; required ones may lack in an item without an owner."""
    kinds: dict[Kind, dict[str, Any]] = {
        Kind.NUMBER: {"type": "number"},
        Kind.FLAG: {"enum": [0, 1]},
        Kind.NAMES: {"type": "array", "items": {"type": "string"}},
        Kind.EPOCH_MS: {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d(T[\d:.]+Z)?$"},
    }
    fields = {
        one.name: kinds.get(one.kind, {"type": "string"})
        | ({"enum": [*one.choices]} if one.choices else {})
        | ({"description": one.about} if one.about else {})
        for one in table.fields
    }
    return {"type": "object", "description": table.about, "properties": fields, "additionalProperties": False}


def asyncapi() -> str:
    """Return the same as an AsyncAPI 3.0 document, from the hub's point of view."""
    refs, components = _schemas("#/components/schemas/{name}")
    messages = {
        type_of(frame): {
            "name": type_of(frame),
            "title": frame.__name__,
            "summary": f"{direction_of(frame)}: {purpose_of(frame)}",
            "payload": refs[frame],
        }
        for frame in _ALL
    }
    return _pretty(
        {
            "asyncapi": "3.0.0",
            "info": {
                "title": "Hub and device",
                "version": "1",
                "description": f"WebSocket subprotocols: {', '.join(CODECS)}. PROTOCOL.md has the rules.",
            },
            "defaultContentType": "application/json",
            "channels": {
                "device": {
                    "address": PATH,
                    "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                    "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
                }
            },
            "operations": {
                "hubSays": _operation("send", FROM_HUB),
                "deviceSays": _operation("receive", FROM_DEVICE),
                "hubCalls": _exchange("send", "tool_call"),
                "hubCallsTogether": _exchange("send", "tool_calls"),
                "deviceAsks": _exchange("receive", "request"),
            },
            "components": {"messages": messages, "schemas": components},
        }
    )


_BODIES = (AgendaQuery, AgendaPage, PlaceOrder, PlacesAnswer)  # ``data`` of calls, and their results
_UNIONS = {"FromDevice": FROM_DEVICE, "FromHub": FROM_HUB}
_PARAMETER = msgspec.json.schema(Parameters)["additionalProperties"]


def _schemas(ref_template: str) -> tuple[dict[type[Frame], Any], dict[str, Any]]:
    refs, components = msgspec.json.schema_components((*_ALL, *_BODIES), ref_template=ref_template)
    for schema in components.values():
        if "description" in schema:  # docstrings, which Python keeps indented before 3.13
            schema["description"] = cleandoc(schema["description"])
    value = {"$ref": ref_template.format(name="Value")}
    components = {name: _with_values(schema, value) for name, schema in components.items()}
    components["Value"] = {
        "title": "Value",
        "description": f"Any value of JSON, at most {MAX_RESULT_DEPTH} levels of lists and objects.",
        "anyOf": [
            *msgspec.json.schema(Scalar)["anyOf"],
            {"type": "array", "items": value},
            {"type": "object", "additionalProperties": value},
        ],
    }
    return dict(zip(_ALL, refs[: len(_ALL)], strict=True)), components


def _with_values(schema: Any, value: dict[str, str]) -> Any:
    """Replace the nested levels of open values in *schema* by *value*."""
    match schema:
        case dict() if schema == _PARAMETER:
            return value
        case dict():
            return {name: _with_values(part, value) for name, part in schema.items()}
        case list():
            return [_with_values(part, value) for part in schema]
    return schema


def _operation(action: str, frames: tuple[type[Frame], ...]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/device"},
        "messages": [_message(type_of(frame)) for frame in frames],
    }


def _exchange(action: str, name: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/device"},
        "messages": [_message(name)],
        "reply": {"channel": {"$ref": "#/channels/device"}, "messages": [_message(_REPLIES[name])]},
    }


def _message(name: str) -> dict[str, str]:
    return {"$ref": f"#/channels/device/messages/{name}"}


def _pretty(document: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
