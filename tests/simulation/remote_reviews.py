"""Verdicts that a hub brings to a simulated device, judged by the code of a real one.

The rows of a simulated device are in no file. So the row of a verdict is written into one, judged there, and
read back.
"""

import sqlite3
from dataclasses import replace
from functools import cache
from typing import Final

from hub.device import inserts, rows, schema, verdicts
from hub.device.rows import Refusal
from protocol.frame import ErrorBody, Record
from protocol.tables import TABLES, TableName
from protocol.work import Answer, ToolCall
from tests.simulation.memory import Memory, Row, Undoable

TASKS: Final = TABLES[TableName.TASKS]
AT_MS: Final = 0  # of every change: a stamp does not count as one


def apply_review(memory: Memory, call: ToolCall) -> Answer:
    """Apply a verdict to its row, and return the answer of the device."""
    row_id = str(call.where.get("id"))
    row = memory.find(row_id)
    written = row or next((gone for gone in memory.removed if gone.row_id == row_id), None)
    db = _file()
    db.execute("BEGIN")
    try:
        if written is not None:
            _write(db, written, is_there=row is not None, saved=memory.undoable.get(row_id))
        try:
            result = inserts.apply(db, TASKS, call, AT_MS, hub="")
        except Refusal as refusal:
            return Answer(error=ErrorBody(code=refusal.code, message=str(refusal)))
        assert written is not None
        after = rows.find(db, TASKS, row_id)
        saved = db.execute("SELECT call_id, before, after FROM remote_reviews").fetchone()
    finally:
        db.execute("ROLLBACK")
    memory.put(None if after is None else _read(after, written), row_id)
    memory.undoable.pop(row_id, None)
    if saved is not None:
        memory.undoable[row_id] = Undoable(*saved)
    memory.count(written.call_id)
    return Answer(result=result, counter=memory.counter)


@cache
def _file() -> sqlite3.Connection:
    """Return an empty file of a device, in memory; it is empty again after each verdict."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.row_factory = sqlite3.Row
    for statement in (*schema.statements(), inserts.CREATE):
        db.execute(statement)
    return db


def _write(db: sqlite3.Connection, row: Row, *, is_there: bool, saved: Undoable | None) -> None:
    """Write a row as the hub wrote it, then as its owner left it."""
    rows.insert(db, TASKS, row.row_id, {"title": row.title}, AT_MS)
    verdicts.note_written(db, TASKS, row.row_id, rows.find(db, TASKS, row.row_id), row.call_id)
    owned: Record = {"description": row.note, "isApproved": int(row.is_approved)}
    if not is_there:
        rows.delete(db, TASKS, row.row_id)
    elif row.state != "open":
        rows.update(db, TASKS, row.row_id, owned, AT_MS)
    if saved is not None:
        db.execute(
            "INSERT INTO remote_reviews VALUES (?, ?, ?, ?, ?, ?)", (TASKS.name, row.row_id, *saved, AT_MS)
        )


def _read(record: Record, written: Row) -> Row:
    note = record["description"]
    assert note is None or isinstance(note, str)
    return replace(written, note=note, is_approved=bool(record["isApproved"]))
