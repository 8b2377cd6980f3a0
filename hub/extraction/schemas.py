"""JSON Schema of an answer, derived from ``protocol.tables``. Pure functions.

In the dialect of strict endpoints: every property is required and may be null instead; no oneOf, no defaults,
no discriminators; the root is an object.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from hub.extraction.items import Reference
from hub.extraction.model import JsonSchema
from hub.extraction.validate import REFERENCE_FIELDS
from protocol.tables import TABLES, Column, Filler, Kind, TableName

_FIELD_CHARS: Final = 120  # of a small model's copied text: without a limit, it would not end
_FIELD_NAMES: Final = 3


def schema_of(
    tables: Sequence[TableName], max_items: int, labels: Mapping[str, Reference] | None = None
) -> JsonSchema:
    """Return the schema for at most *max_items* records of *tables*, with all fields.

    A table whose records may belong to rows in *labels* has a field for a label.
    """
    records = [_record(table, columns_of(table), references_of(table, labels or {})) for table in tables]
    return _items(records[0] if len(records) == 1 else {"anyOf": records}, max_items)


def literal_schema_of(table: TableName, fields: Collection[str], chars: int) -> JsonSchema:
    """Return the schema for at most one record with some *fields*, from a text of *chars* characters.

    All strings are limited. The embedded server enforces that; strict endpoints would refuse such a schema.
    """
    record = _record(table, [column for column in columns_of(table) if column.name in fields])
    return _items(_with_ends(record, chars), 1)


def columns_of(table: TableName) -> list[Column]:
    """Return the columns that a document can fill."""
    return [column for column in TABLES[table].columns if column.filler is Filler.MODEL]


def references_of(table: TableName, labels: Mapping[str, Reference]) -> dict[str, list[str]]:
    """Return the fields in which a record of *table* refers to rows, with their possible labels."""
    found: dict[str, list[str]] = {}
    for column in TABLES[table].columns:
        matching = [label for label, row in labels.items() if row.table is column.refers_to]
        if column.refers_to is not None and matching:
            found[REFERENCE_FIELDS[column.refers_to]] = matching
    return found


def _items(record: JsonSchema, max_items: int) -> JsonSchema:
    items: JsonSchema = {"type": "array", "maxItems": max_items, "items": record}
    return _object({"items": items})


def _record(
    table: TableName, columns: Iterable[Column], references: Mapping[str, Sequence[str]] | None = None
) -> JsonSchema:
    fields = {column.name: _value(column) for column in columns}
    for name, labels in (references or {}).items():
        fields[name] = {"type": ["string", "null"], "enum": [*labels, None]}
    return _object(
        {"quote": {"type": "string"}, "table": {"type": "string", "enum": [table.value]}, **fields}
    )


def _object(properties: dict[str, JsonSchema]) -> JsonSchema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _value(column: Column) -> JsonSchema:
    null = [] if column.required else [None]
    match column.kind:
        case Kind.NAMES:
            return _typed("array", column) | {"items": {"type": "string"}}
        case Kind.INTEGER | Kind.FLAG:
            return _typed("integer", column)
        case Kind.TEXT | Kind.EPOCH_MS:  # a date is local text: models cannot compute epoch times
            return _typed("string", column) | ({"enum": [*column.choices, *null]} if column.choices else {})


def _typed(name: str, column: Column) -> JsonSchema:
    return {"type": name if column.required else [name, "null"]}


def _with_ends(schema: JsonSchema, chars: int) -> JsonSchema:
    """Add ``maxLength`` to every free string of *schema*, and ``maxItems`` to every list."""
    match schema:
        case {"type": "object", "properties": dict(properties)}:
            ends = {name: chars if name == "quote" else _FIELD_CHARS for name in properties}
            return {**schema, "properties": {n: _with_ends(p, ends[n]) for n, p in properties.items()}}
        case {"items": dict(items)}:
            return {**schema, "maxItems": _FIELD_NAMES, "items": _with_ends(items, chars)}
        case {"enum": _}:
            return schema
        case _:
            return {**schema, "maxLength": chars}
