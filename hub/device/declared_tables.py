"""Tables that a hub adds to a device's file: limits, new columns, and what stays of old ones.

A field that a hub adds becomes a column; a field that it leaves out keeps its column and values. Plain
functions over a connection, inside the caller's transaction.
"""

import sqlite3
from functools import lru_cache
from typing import Final

import msgspec

from hub.device import schema
from hub.device.rows import CallRefusal, bad_record
from hub.device.schema import quoted
from protocol.errors import ErrorCode
from protocol.tables import (
    TABLES,
    DeviceTable,
    Tables,
    problems_in,
    tables_with,
)
from protocol.tool_calls import ToolCall

MAX_TABLES: Final = 32  # of all hubs; each is listed in every review


MAX_COLUMNS: Final = 64  # with those that hubs have left out since


CREATE: Final = """
CREATE TABLE IF NOT EXISTS own_tables (
    name TEXT PRIMARY KEY,
    declaration TEXT NOT NULL CHECK (json_valid(declaration))
) STRICT
"""


def tables_of(db: sqlite3.Connection) -> Tables:
    """Return the declarations of all tables of the file."""
    known = db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'own_tables'").fetchone()
    if known is None:  # an older file, which no device of this version has served yet
        return TABLES
    found = db.execute("SELECT declaration FROM own_tables ORDER BY rowid")
    return _tables(tuple(text for (text,) in found))


@lru_cache(maxsize=16)
def _tables(declarations: tuple[str, ...]) -> Tables:
    return tables_with(tuple(msgspec.json.decode(text, type=DeviceTable) for text in declarations))


def table_of(db: sqlite3.Connection, name: str | None) -> DeviceTable:
    """Return the declaration of a table.

    Raises:
        Refusal: there is no such table.
    """
    found = TABLES.get(name or "") or tables_of(db).get(name or "")
    if found is None:
        raise CallRefusal(ErrorCode.UNKNOWN_TABLE, f"there is no table {name!r}")
    return found


def declare(db: sqlite3.Connection, call: ToolCall) -> dict[str, object]:
    """Create the table that a hub declares, or add its new columns.

    Raises:
        Refusal: the declaration is invalid, or the file has a field of this name with another type.
    """
    declared = call.declares
    if declared is None or declared.name != call.table:
        raise bad_record("expected 'declares' with the name of the table")
    if wrong := [f"{declared.name}.{key}: {message}" for key, message in problems_in(declared)]:
        raise bad_record("; ".join(wrong))
    tables = tables_of(db)
    known = tables.get(declared.name)
    if known is None:
        if len(tables.own) >= MAX_TABLES:
            raise bad_record(f"{declared.name}: this device has {MAX_TABLES} tables of hubs already")
        if any(name.lower() == declared.name.lower() for name in tables):
            raise bad_record(f"{declared.name}: this device has a table of this name in other letters")
        db.execute(schema.create_own(declared))
        merged = declared
    else:
        merged = _merged(known, declared)
        for column in merged.fields[len(known.fields) :]:
            db.execute(f"ALTER TABLE {quoted(known.name)} ADD COLUMN {schema.added(column)}")
    if merged != known:
        for statement in schema.guards(merged):
            db.execute(statement)
        db.execute(
            "INSERT INTO own_tables VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET declaration = ?2",
            (merged.name, msgspec.json.encode(merged).decode()),
        )
    return {"columns": [column.name for column in merged.columns]}


def _merged(known: DeviceTable, declared: DeviceTable) -> DeviceTable:
    """Return the new declaration in the order of the known columns, with those that it leaves out."""
    new = {column.name: column for column in declared.fields}
    fields = [
        new.get(column.name) or msgspec.structs.replace(column, required=False, required_to_approve=False)
        for column in known.fields
    ]
    for before, after in zip(known.fields, fields, strict=True):
        if (before.kind, before.refers_to) != (after.kind, after.refers_to):
            what = f"is a {before.kind} at this device, and not a {after.kind}"
            raise bad_record(f"{known.name}.{before.name}: {what}; give the field another name")
    taken = {column.name.lower() for column in known.fields}
    for column in declared.fields:
        if known.column(column.name) is not None:
            continue
        if column.name.lower() in taken:
            raise bad_record(f"{known.name}.{column.name}: this device has the field in other letters")
        fields.append(column)
    if len(fields) > MAX_COLUMNS:
        problem = f"{len(fields)} fields with those that were left out, the most is {MAX_COLUMNS}"
        raise bad_record(f"{known.name}: {problem}")
    return msgspec.structs.replace(declared, fields=tuple(fields))


def json_text(value: object) -> str:
    """Return a value as text of a column of the device's file."""
    return msgspec.json.encode(value).decode()
