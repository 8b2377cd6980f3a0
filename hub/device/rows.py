"""Rows of the device's tables: validation, insertion, change, deletion and queries by a hub.

Plain functions over a connection, inside the caller's transaction. Every problem of a record is raised as a
``CallRefusal`` with a code of the protocol, never as an exception of SQLite.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Final

import msgspec

from hub.device.schema import quoted
from hub.text.item_text import with_clean_title
from protocol.errors import ErrorCode, HubError
from protocol.frame import MAX_RESULT_BYTES, Field, Record
from protocol.tables import (
    SUGGESTED,
    Column,
    DeviceTable,
    Filler,
    Kind,
    problem_of,
    problems_of,
)

# Fields that a hub may write: extracted values, flags, and decisions that a person made elsewhere.
_FILLERS: Final = frozenset({Filler.MODEL, Filler.HUB, Filler.PERSON})
_MAX_PROBLEMS: Final = 20  # in one message
_ROOM: Final = 1024  # for the parts of an answer around its rows


class CallRefusal(HubError):
    """Call that can never be executed; nothing was changed."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def insert(
    db: sqlite3.Connection,
    table: DeviceTable,
    row_id: str,
    data: Record,
    at_ms: int,
    *,
    flags: Record = SUGGESTED,
) -> Record:
    """Insert a row with *flags*, which override those in *data*; missing fields get their defaults.

    Return the row in its wire format.

    Raises:
        Refusal: the record is invalid, or refers to a missing row.
    """
    data = with_clean_title(table, data)
    _refuse(problems_of(table, data, _FILLERS))
    statement, row = _inserted(table)
    row = row | {name: stored for name, stored in _stored(table, {**data, **flags}) if stored is not None}
    row |= {"id": row_id, "createdAt": at_ms, "updatedAt": at_ms}
    with _refusals():
        db.execute(statement, tuple(row.values()))
    return on_the_wire(table, row)


@lru_cache(maxsize=64)
def _inserted(table: DeviceTable) -> tuple[str, dict[str, str | int | float | None]]:
    """Return the statement that inserts a row of all columns, and the row of their defaults."""
    row: dict[str, str | int | float | None] = {column.name: column.default for column in table.columns}
    names = ", ".join(quoted(name) for name in row)
    marks = ", ".join("?" * len(row))
    return f"INSERT INTO {quoted(table.name)} ({names}) VALUES ({marks})", row


def check_changes(table: DeviceTable, data: Record) -> None:
    """Check that *data* is a valid update of *table*. Raises Refusal if it is invalid or empty."""
    _refuse(problems_of(table, data, _FILLERS, is_partial=True))
    _refuse([] if data else [f"{table.name}: no field to change"])


def update(db: sqlite3.Connection, table: DeviceTable, row_id: str, data: Record, at_ms: int) -> None:
    """Update the fields of *data* in a row.

    Raises:
        Refusal: the record is invalid, or refers to a missing row.
    """
    data = with_clean_title(table, data)
    check_changes(table, data)
    row = dict(_stored(table, data)) | {"updatedAt": at_ms}
    changes = ", ".join(f"{quoted(name)} = ?" for name in row)
    with _refusals():
        db.execute(f"UPDATE {quoted(table.name)} SET {changes} WHERE id = ?", (*row.values(), row_id))


def restore(db: sqlite3.Connection, table: DeviceTable, row: Record) -> None:
    """Write all fields of *row*, in its wire format, whether it still exists or not.

    Raises:
        Refusal: it refers to a missing row.
    """
    stored = dict(_stored(table, row))
    names = [quoted(name) for name in stored]
    changes = ", ".join(f"{name} = excluded.{name}" for name in names)
    with _refusals():
        db.execute(
            f"INSERT INTO {quoted(table.name)} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
            f" ON CONFLICT (id) DO UPDATE SET {changes}",
            tuple(stored.values()),
        )


def delete(db: sqlite3.Connection, table: DeviceTable, row_id: str) -> None:
    """Delete a row. Raises Refusal if another row refers to it."""
    with _refusals():
        db.execute(f"DELETE FROM {quoted(table.name)} WHERE id = ?", (row_id,))


def query(
    db: sqlite3.Connection,
    table: DeviceTable,
    where: Record,
    limit: int,
    options: Record,
    *,
    sees: Callable[[Record], Collection[str]],
) -> list[Record]:
    """Return at most *limit* rows whose fields equal all of *where*.

    By default, rows are complete and the oldest comes first. The options may contain ``newest_first``, or a
    list ``fields`` of the fields to return.

    Args:
        sees: returns the fields of a row that the caller may filter by and read; a row without any is hidden.

    Raises:
        Refusal: an unknown field, or a result larger than an answer.
    """
    condition, values = _condition(table, where) if where else ("1", ())
    fields = options.get("fields")
    _refuse(
        [
            f"{table.name}.{name}: there is no such field"
            for name in (fields if isinstance(fields, list) else ())
            if table.column(str(name)) is None
        ]
    )
    order = "createdAt DESC, id DESC" if options.get("newest_first") else "createdAt, id"
    found: list[Record] = []
    size = _ROOM
    for row in db.execute(f"SELECT * FROM {quoted(table.name)} WHERE {condition} ORDER BY {order}", values):
        if len(found) == limit:
            break
        whole = on_the_wire(table, row)
        seen = sees(whole)
        asked = fields if isinstance(fields, list) else [name for name in whole if name in seen]
        if not seen or not {*where, *asked} <= {*seen}:
            continue
        found.append({name: whole[name] for name in asked})
        size += len(msgspec.json.encode(found[-1])) + 1
        if size > MAX_RESULT_BYTES:
            raise CallRefusal(
                ErrorCode.RESULT_TOO_LARGE, f"{len(found)} rows are more than {MAX_RESULT_BYTES} bytes"
            )
    return found


def find(db: sqlite3.Connection, table: DeviceTable, row_id: str) -> Record | None:
    """Return the row with this id in its wire format, or None."""
    row = db.execute(f"SELECT * FROM {quoted(table.name)} WHERE id = ?", (row_id,)).fetchone()
    return None if row is None else on_the_wire(table, row)


def ids_of(db: sqlite3.Connection, table: DeviceTable, where: Record) -> list[str]:
    """Return the ids of the rows that match *where*.

    Raises:
        Refusal: *where* is empty, or names an unknown field.
    """
    condition, values = _condition(table, where)
    return [id for (id,) in db.execute(f"SELECT id FROM {quoted(table.name)} WHERE {condition}", values)]


def _stored(table: DeviceTable, data: Mapping[str, Field]) -> Iterator[tuple[str, str | int | float | None]]:
    for name, value in data.items():
        column = table.column(name)
        if column is None:
            raise CallRefusal(ErrorCode.BAD_RECORD, f"{table.name}.{name}: there is no such field")
        yield name, _in_the_file(column, value)


def _in_the_file(column: Column, value: Field) -> str | int | float | None:
    if value is None:
        return None
    if column.kind is Kind.NAMES:
        return msgspec.json.encode(_names(value)).decode()
    if isinstance(value, list):
        raise CallRefusal(ErrorCode.BAD_RECORD, f"{column.name}: expected one value, got a list")
    if column.kind is Kind.NUMBER:
        return float(value)
    return int(value) if column.kind is Kind.FLAG else value


def _names(value: Field) -> list[str]:
    """Return a list of names from a list, its JSON text, or a single name."""
    if isinstance(value, list):
        return value
    try:
        return msgspec.json.decode(str(value), type=list[str])
    except (msgspec.DecodeError, UnicodeError):
        return [str(value)]


def on_the_wire(table: DeviceTable, row: sqlite3.Row | Mapping[str, Field]) -> Record:
    """Convert a row of the file to its wire format."""
    found: Record = dict(row)
    for name in table.lists:
        if (value := found.get(name)) is not None:
            found[name] = msgspec.json.decode(str(value))
    return found


def _condition(table: DeviceTable, where: Record) -> tuple[str, tuple[str | int | float | None, ...]]:
    _refuse([] if where else [f"{table.name}: 'where' must say which rows"])
    _refuse(
        f"{table.name}.{name}: {wrong}"
        for name, value in where.items()
        if value is not None and (column := table.column(name)) and (wrong := problem_of(column, value))
    )
    stored = list(_stored(table, where))
    return " AND ".join(f"{quoted(name)} IS ?" for name, _ in stored), tuple(value for _, value in stored)


def _refuse(problems: Iterable[str]) -> None:
    listed = list(problems)
    if listed:
        raise CallRefusal(ErrorCode.BAD_RECORD, "; ".join(listed[:_MAX_PROBLEMS]))


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorname == "SQLITE_CONSTRAINT_FOREIGNKEY":
            message = "it refers to a row that is not there, or another row refers to it"
            raise CallRefusal(ErrorCode.DATABASE_CONFLICT, message) from error
        message = str(error).partition("constraint failed: ")[2] or str(error)
        raise CallRefusal(ErrorCode.BAD_RECORD, message) from error


def bad_record(why: str) -> CallRefusal:
    """Return the refusal of a record."""
    return CallRefusal(ErrorCode.BAD_RECORD, why)
