"""Rows of the device's tables, built-in and declared: validated, converted between file and wire.

Plain functions over a connection, inside the caller's transaction. Every problem of a record is raised as a
``Refusal`` with a code of the protocol, never as an exception of SQLite.

Tables that hubs declare in the device's file, beside the built-in ones.

A field that a hub adds becomes a column; a field that it leaves out keeps its column and values. Plain
functions over a connection, inside the caller's transaction.

Verdicts of a device's owner on rows that a hub wrote, derived from the rows themselves.

Any program of the owner gives a verdict by setting ``isApproved``, changing a field or deleting a row in the
device's file. Plain functions over a connection, inside the caller's transaction.

Rows that people name by their titles: the projects and tasks that other rows belong to.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Final, Literal

import msgspec

from hub.base.clock import IdFactory, SystemChance, SystemClock
from hub.device import schema
from hub.device.schema import quoted
from hub.text.item_text import with_clean_title
from protocol.errors import ErrorCode, HubError
from protocol.frame import MAX_RESULT_BYTES, Field, Record
from protocol.items import Changed, CountedDay, FoundBy, ItemSource, Provenance, Unresolved
from protocol.similar_names import nearest
from protocol.tables import (
    SUGGESTED,
    TABLES,
    Column,
    DeviceTable,
    Filler,
    Kind,
    TableName,
    Tables,
    problem_of,
    problems_in,
    problems_of,
    tables_with,
)
from protocol.tool_calls import ToolCall

# Fields that a hub may write: extracted values, flags, and decisions that a person made elsewhere.
_FILLERS: Final = frozenset({Filler.MODEL, Filler.HUB, Filler.PERSON})
_MAX_PROBLEMS: Final = 20  # in one message
_ROOM: Final = 1024  # for the parts of an answer around its rows


class Refusal(HubError):
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
            raise Refusal(
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
            raise Refusal(ErrorCode.BAD_RECORD, f"{table.name}.{name}: there is no such field")
        yield name, _in_the_file(column, value)


def _in_the_file(column: Column, value: Field) -> str | int | float | None:
    if value is None:
        return None
    if column.kind is Kind.NAMES:
        return msgspec.json.encode(_names(value)).decode()
    if isinstance(value, list):
        raise Refusal(ErrorCode.BAD_RECORD, f"{column.name}: expected one value, got a list")
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
        raise Refusal(ErrorCode.BAD_RECORD, "; ".join(listed[:_MAX_PROBLEMS]))


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorname == "SQLITE_CONSTRAINT_FOREIGNKEY":
            message = "it refers to a row that is not there, or another row refers to it"
            raise Refusal(ErrorCode.DATABASE_CONFLICT, message) from error
        message = str(error).partition("constraint failed: ")[2] or str(error)
        raise Refusal(ErrorCode.BAD_RECORD, message) from error


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
        raise Refusal(ErrorCode.UNKNOWN_TABLE, f"there is no table {name!r}")
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


def bad_record(why: str) -> Refusal:
    """Return the refusal of a record."""
    return Refusal(ErrorCode.BAD_RECORD, why)


def json_text(value: object) -> str:
    """Return a value as text of a column of the device's file."""
    return msgspec.json.encode(value).decode()


Word = Literal["approved", "edited", "rejected"]
ReviewState = Literal["open", "approved", "edited", "rejected"]

# columns that are no content: stamps of the device, and flags
_NO_CONTENT: Final = frozenset({"id", "createdAt", "updatedAt", *SUGGESTED})


class Verdict(msgspec.Struct, frozen=True):
    """Owner's verdict on the row that call *call_id* wrote."""

    call_id: str
    verdict: Word


class Remarks(msgspec.Struct, frozen=True, omit_defaults=True):
    """Notes for the reviewer of an item, from the ``source`` of its call.

    Attributes:
        timezone: time zone of dates without a time, which are stored as midnight there.
        provenance: who wrote the text of the item; ``None``: the hub is of an older release.
        found_by: a rule or a model; ``None`` likewise.
        counted: why fields have their days.
        unsure: why a rule may be wrong.
    """

    warnings: list[str] = []
    unresolved: list[Unresolved] = []
    changed: list[Changed] = []
    replaces: str | None = None
    timezone: str | None = None
    provenance: Provenance | None = None
    found_by: FoundBy | None = None
    counted: list[CountedDay] = []
    unsure: str | None = None


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """Row that a hub wrote. *row* is ``None`` once its owner deleted it; *number* is permanent.

    *revision* starts with 1 and grows with each change that a hub made or proposed.
    """

    number: int
    revision: int
    table: DeviceTable
    row_id: str
    call_id: str
    row: Record | None
    state: ReviewState
    reported: Word | None

    @property
    def label(self) -> str:
        """Label of this revision: ``7`` as inserted, later ``7.2``."""
        return label_of(self.number, self.revision)


_remarks: Final = msgspec.json.Decoder(Remarks)


def remarks_of(source: ItemSource | None) -> str | None:
    """Return the remarks of a source as JSON, or None if it has none."""
    if source is None:
        return None
    remarks = Remarks(*(getattr(source, name) for name in Remarks.__struct_fields__))
    return None if remarks == Remarks() else msgspec.json.encode(remarks).decode()


def read_remarks(stored: str | None) -> Remarks:
    """Decode remarks that ``remarks_of`` encoded."""
    return Remarks() if stored is None else _remarks.decode(stored)


def timezone_of(db: sqlite3.Connection, call_id: str) -> str | None:
    """Return the zone in which the days begin that a call wrote, or None if it named none."""
    found = db.execute("SELECT remarks FROM calls WHERE call_id = ?", (call_id,)).fetchone()
    return read_remarks(found["remarks"]).timezone if found else None


def note_written(
    db: sqlite3.Connection,
    table: DeviceTable,
    row_id: str,
    row: Record | None,
    call_id: str,
    *,
    hub: str = "",
) -> None:
    """Record that a hub wrote *row*; an earlier verdict concerns its previous content.

    Args:
        hub: key of the hub that inserted the row; an existing review keeps its hub.
    """
    db.execute(
        "INSERT INTO reviews (tbl, row_id, call_id, written, hub) VALUES (?1, ?2, ?3, ?4, ?5)"
        " ON CONFLICT (tbl, row_id) DO UPDATE SET call_id = ?3, written = ?4, reported = NULL",
        (table.name, row_id, call_id, _content(row), hub),
    )


def count_change(db: sqlite3.Connection, table: DeviceTable, row_id: str) -> None:
    """Increment a row's revision after a hub changed it or proposed a change; its label changes."""
    db.execute(
        "UPDATE reviews SET revision = revision + 1 WHERE tbl = ? AND row_id = ?", (table.name, row_id)
    )


def label_of(number: int, revision: int) -> str:
    """Return the label of an item's revision."""
    return str(number) if revision == 1 else f"{number}.{revision}"


def row_of(db: sqlite3.Connection, table: DeviceTable, label: str) -> str | None:
    """Return the id of the row of *table* with this label, or None."""
    labelled = "CASE revision WHEN 1 THEN CAST(number AS TEXT) ELSE number || '.' || revision END"
    found = db.execute(
        f"SELECT row_id FROM reviews WHERE tbl = ? AND {labelled} = ?", (table.name, label)
    ).fetchone()
    return None if found is None else str(found[0])


def forget(db: sqlite3.Connection, table: DeviceTable, ids: Iterable[str]) -> None:
    """Delete the reviews of rows that a hub deleted, so that they do not count as rejected."""
    db.executemany(
        "DELETE FROM reviews WHERE tbl = ? AND row_id = ?", [(table.name, row_id) for row_id in ids]
    )


def written_rows(db: sqlite3.Connection, table: DeviceTable, hub: str) -> dict[str, str]:
    """Return the content that *hub* last wrote to each of its rows of *table*, by row id."""
    query = "SELECT row_id, written FROM reviews WHERE tbl = ? AND hub = ?"
    return dict(db.execute(query, (table.name, hub)).fetchall())


def is_open(table: DeviceTable, row: Record, written: str | None) -> bool:
    """Return True if a hub wrote *row*, and its owner neither approved nor changed it since."""
    return written is not None and state_of(table, row, written) == "open"


def reviews(db: sqlite3.Connection, hub: str | None = None) -> Iterator[Review]:
    """Yield every row that *hub*, or any hub, wrote, by table in the order of insertion."""
    for table in tables_of(db).values():
        found = db.execute(
            "SELECT number, revision, row_id, call_id, written, reported FROM reviews"
            " WHERE tbl = ?1 AND (?2 IS NULL OR hub = ?2) ORDER BY number",
            (table.name, hub),
        )
        rows_by_id = {row["id"]: row for row in db.execute(f"SELECT * FROM {quoted(table.name)}")}
        for number, revision, row_id, call_id, written, reported in found.fetchall():
            stored = rows_by_id.get(row_id)
            row = None if stored is None else on_the_wire(table, stored)
            yield Review(
                number=number,
                revision=revision,
                table=table,
                row_id=row_id,
                call_id=call_id,
                row=row,
                state=state_of(table, row, written),
                reported=reported,
            )


def unreported(db: sqlite3.Connection, hub: str) -> list[Verdict]:
    """Return the owner's verdicts on rows of *hub* that it has not confirmed."""
    return [
        Verdict(review.call_id, review.state)
        for review in reviews(db, hub)
        if review.state != "open" and review.state != review.reported
    ]


def note_reported(db: sqlite3.Connection, report: Sequence[Verdict]) -> None:
    """Record verdicts that a hub has confirmed. A later different verdict is reported again."""
    db.executemany(
        "UPDATE reviews SET reported = ? WHERE call_id = ?", [(one.verdict, one.call_id) for one in report]
    )


def state_of(table: DeviceTable, row: Record | None, written: str) -> ReviewState:
    """Return the verdict on *row*, to which a hub wrote *written*; None for *row*: it was deleted."""
    if row is None:
        return "rejected"
    if _content(row) != written and _is_edited(table, row, written):
        return "edited"
    return "approved" if row["isApproved"] else "open"


def _is_edited(table: DeviceTable, row: Record, written: str) -> bool:
    """Return True if the owner changed the content that the hub wrote.

    A field that only a person fills, such as the project of an approved row, is an addition, not an edit.
    """
    before: Record = msgspec.json.decode(written)
    content: Record = msgspec.json.decode(_content(row))
    added = {
        column.name
        for column in table.columns
        if row["isApproved"] and column.filler is Filler.PERSON and before.get(column.name) is None
    }
    return any(value != before.get(name) for name, value in content.items() if name not in added)


def _content(row: Record | None) -> str:
    """Return a row's content as JSON, without flags and time stamps."""
    content = {name: value for name, value in (row or {}).items() if name not in _NO_CONTENT}
    return msgspec.json.encode(content).decode()


_OWN: Final[Record] = {"isAiSuggested": 0, "isApproved": 1}
_SHOWN: Final = 80  # characters of the text that a message quotes


def row_called(
    db: sqlite3.Connection, table: DeviceTable, text: str, at_ms: int, *, by_title_alone: bool = False
) -> tuple[str, str]:
    """Return the id of the row of *table* that *text* names, and a report of a created project.

    The report may also be about a project that was approved; it is empty otherwise.

    Args:
        by_title_alone: *text* is no review number and no id.

    Raises:
        Refusal: no row, or several, are called so.
    """
    title = quoted(table.title)
    candidates = db.execute(f"SELECT id, {title}, isApproved FROM {quoted(table.name)}").fetchall()
    ids = () if by_title_alone else (text, row_of(db, table, text))
    found = (
        [row for row in candidates if row["id"] in ids]
        or [row for row in candidates if row[1] == text]
        or [row for row in candidates if row[1].casefold() == text.casefold()]
    )
    if len(found) > 1:
        raise bad_record(f"{len(found)} {table.name} are called {cut(text)}: name one by its number or id")
    is_made = table.name is TableName.PROJECTS
    if not found and is_made:
        row_id = IdFactory(SystemClock(), SystemChance()).fresh()
        insert(db, table, row_id, {table.title: text}, at_ms, flags=_OWN)
        return row_id, f"; the project {cut(text)} is new"
    if not found:
        near = nearest(text, [row[1] for row in candidates])
        hint = f"did you mean {cut(near)}?" if near else "'hub review ls --all' lists those there are"
        raise bad_record(f"{table.name}: there is no {cut(text)}; {hint}")
    (row,) = found
    if is_made and not row["isApproved"]:
        update(db, table, row["id"], {"isApproved": 1}, at_ms)
        return row["id"], f"; the project {cut(row[1])} is approved with it"
    return row["id"], ""


def cut(text: str) -> str:
    """Return the beginning of a text in quotation marks."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
