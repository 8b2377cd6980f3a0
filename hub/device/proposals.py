"""Calls of a hub that change rows of the device's file: done to open rows, proposed to the owner of others.

A hub changes rows that it wrote itself and that are still open. A row that its owner approved or changed is
the owner's: a change of it, or its deletion, waits beside it for the owner's word. Rows that it did not
write are not there for it, but for the names of approved projects and tasks, to which what is found may
belong. Plain functions over a connection, inside the caller's transaction.
"""

import sqlite3
from collections.abc import Callable, Collection
from typing import Final

import msgspec

from hub.device import rows, verdicts
from hub.device.rows import Refusal
from hub.device.verdicts import Verdict
from protocol.errors import ErrorCode
from protocol.frame import Record
from protocol.tables import SUGGESTED, TABLES, DeviceTable, TableName
from protocol.work import ToolCall

_NAMED: Final = frozenset({TableName.PROJECTS, TableName.TASKS})  # whose approved rows a hub knows by name


class Proposal(msgspec.Struct, frozen=True):
    """A change of a row that waits for its owner. *data* is None for a deletion."""

    call_id: str
    data: Record | None


_decoder: Final = msgspec.json.Decoder(Record | None)


def change(
    db: sqlite3.Connection, table: DeviceTable, call: ToolCall, at_ms: int, *, hub: str
) -> dict[str, int]:
    """Do *call* of *hub*, an update, to the row that it names, or propose it where the row is its owner's.

    Raises:
        Refusal: the record is wrong, approves a row, or names no row that this hub wrote.
    """
    rows.check_changes(table, call.data)
    if any(call.data.get(flag, value) != value for flag, value in SUGGESTED.items()):
        told = f"{table.name}.isApproved, isAiSuggested: a hub writes suggestions, their owner approves them"
        raise Refusal(ErrorCode.BAD_RECORD, told)
    row_id, is_open = _named(db, table, call.where, hub)
    if not is_open:
        row = rows.find(db, table, row_id) or {}
        said = {name: value for name, value in call.data.items() if name not in SUGGESTED}
        changes: Record = {name: value for name, value in said.items() if row.get(name) != value}
        if not changes:  # the row says so already: there is nothing to decide
            _propose(db, table, row_id, call.id, {}, at_ms)
            reject(db, table, row_id)
            return {"updated": 0}
        _propose(db, table, row_id, call.id, changes, at_ms)
        verdicts.count_change(db, table, row_id)
        return {"updated": 0, "proposed": 1}
    rows.update(db, table, row_id, call.data, at_ms)
    verdicts.note_written(db, table, [row_id], call.id)
    verdicts.count_change(db, table, row_id)
    return {"updated": 1}


def remove(
    db: sqlite3.Connection, table: DeviceTable, call: ToolCall, at_ms: int, *, hub: str
) -> dict[str, int]:
    """Do *call* of *hub*, a deletion, as ``change`` does an update. Raises Refusal as it does."""
    row_id, is_open = _named(db, table, call.where, hub)
    if not is_open:
        _propose(db, table, row_id, call.id, None, at_ms)
        verdicts.count_change(db, table, row_id)
        return {"deleted": 0, "proposed": 1}
    rows.delete(db, table, row_id)
    verdicts.forget(db, table, [row_id])
    return {"deleted": 1}


def seen_by(db: sqlite3.Connection, table: DeviceTable, hub: str) -> Callable[[Record], Collection[str]]:
    """Return what tells the fields of a row of *table* that *hub* may know."""
    written, owned = verdicts.written_rows(db, table, hub), _owned(db, table)

    def sees(row: Record) -> Collection[str]:
        is_open = row["id"] not in owned and verdicts.is_open(table, row, written.get(str(row["id"])))
        return seen_fields(table, row, is_open=is_open)

    return sees


def seen_fields(table: DeviceTable, row: Record, *, is_open: bool) -> Collection[str]:
    """Return the fields of *row* that a hub may know. *is_open*: a hub wrote all that it says."""
    if is_open:
        return frozenset(column.name for column in table.columns)
    return frozenset({"id", "isApproved", table.title}) if row["isApproved"] and table.name in _NAMED else ()


def is_owned(db: sqlite3.Connection, table: DeviceTable, row_id: object) -> bool:
    """Return whether the owner of a row accepted a change beside words of their own."""
    found = db.execute("SELECT 1 FROM owned WHERE tbl = ? AND row_id = ?", (table.name, row_id))
    return found.fetchone() is not None


def approved(row: Record) -> Collection[str]:
    """Return the fields of *row* that a hub may know to which its owner shows approved rows."""
    return row.keys() if row["isApproved"] else ()


def of_row(db: sqlite3.Connection, table: str, row_id: str) -> Proposal | None:
    """Return what waits for the owner of a row."""
    found = db.execute(
        "SELECT call_id, data FROM proposals WHERE tbl = ? AND row_id = ? AND NOT is_rejected",
        (table, row_id),
    ).fetchone()
    return None if found is None else Proposal(found[0], _decoder.decode(found[1]))


def accept(db: sqlite3.Connection, table: DeviceTable, row_id: str, proposal: Proposal, at_ms: int) -> None:
    """Do what was proposed, as its owner wants it.

    Raises:
        Refusal: the row cannot be so any more; nothing was changed.
    """
    if proposal.data is None:
        rows.delete(db, table, row_id)
        verdicts.forget(db, table, [row_id])
    else:
        rows.update(db, table, row_id, {**proposal.data, "isApproved": 1}, at_ms)
        verdicts.note_written(db, table, [row_id], proposal.call_id)
        db.execute("INSERT OR IGNORE INTO owned VALUES (?, ?)", (table.name, row_id))
    db.execute("DELETE FROM proposals WHERE tbl = ? AND row_id = ?", (table.name, row_id))


def reject(db: sqlite3.Connection, table: DeviceTable, row_id: str) -> None:
    """Leave the row as it is; the hub is told that its owner did not want the change."""
    db.execute("UPDATE proposals SET is_rejected = 1 WHERE tbl = ? AND row_id = ?", (table.name, row_id))


def settle(db: sqlite3.Connection, table: DeviceTable, call: ToolCall, at_ms: int, *, hub: str) -> None:
    """Take the verdict of *call* as the owner's, on a row of *hub* or on what is proposed for it.

    Raises:
        Refusal: there is no such row, it cannot be so, or it is a deletion, which is approved at the device.
    """
    row_id, verdict = call.where.get("id"), call.data.get("verdict")
    if verdict not in ("approved", "rejected") or call.where.keys() != {"id"}:
        told = f"{table.name}: expected an 'id' alone in 'where', and as 'verdict' approved or rejected"
        raise Refusal(ErrorCode.BAD_RECORD, told)
    if row_id not in verdicts.written_rows(db, table, hub) or rows.find(db, table, str(row_id)) is None:
        raise Refusal(ErrorCode.DATABASE_CONFLICT, f"{table.name}: there is no such row")
    row_id, proposal = str(row_id), of_row(db, table.name, str(row_id))
    if proposal is None and verdict == "approved":
        rows.update(db, table, row_id, {"isApproved": 1}, at_ms)
    elif proposal is None:
        rows.delete(db, table, row_id)
    elif verdict == "rejected":
        reject(db, table, row_id)
    elif proposal.data is None:
        raise Refusal(ErrorCode.BAD_RECORD, f"{table.name}: a deletion is approved at the device alone")
    else:
        accept(db, table, row_id, proposal, at_ms)


def unreported(db: sqlite3.Connection, hub: str) -> list[Verdict]:
    """Return the owner's words on rows of *hub* of which a proposal was rejected, or the row deleted.

    A row whose owner does not want a change is what it was: approved, or edited.
    """
    found = db.execute(
        "SELECT proposals.call_id, tbl, row_id, is_rejected, written"
        " FROM proposals JOIN reviews USING (tbl, row_id) WHERE hub = ? ORDER BY at, proposals.call_id",
        (hub,),
    )
    told = []
    for call_id, name, row_id, is_rejected, written in found.fetchall():
        table = TABLES[TableName(name)]
        row = rows.find(db, table, row_id)
        if row is None or is_rejected:
            standing = verdicts.standing_of(table, row, written)
            told.append(Verdict(call_id, "edited" if standing == "open" else standing))
    return told


def note_reported(db: sqlite3.Connection, told: Collection[Verdict]) -> None:
    """Forget proposals of which a hub has confirmed the owner's word."""
    db.executemany("DELETE FROM proposals WHERE call_id = ?", [(one.call_id,) for one in told])


def _named(db: sqlite3.Connection, table: DeviceTable, where: Record, hub: str) -> tuple[str, bool]:
    """Return the id of the row of *hub* that *where* names, and whether it is open.

    A row that is its owner's is named by its id alone: no hub finds out its fields by asking.

    Raises:
        Refusal: *where* names none, several, or everything, or a field that is not there.
    """
    written, mixed = verdicts.written_rows(db, table, hub), _owned(db, table)
    named: list[tuple[str, bool]] = []
    for row_id in rows.ids_of(db, table, where):
        row = rows.find(db, table, row_id) if row_id in written else None
        if row is not None:
            is_open = row_id not in mixed and verdicts.is_open(table, row, written[row_id])
            named += [(row_id, is_open)] if is_open or where.keys() == {"id"} else []
    if len(named) > 1:  # the owner's word on each is told by the call that wrote it
        raise Refusal(ErrorCode.BAD_RECORD, f"{table.name}: 'where' names several rows; name one by its id")
    if not named:
        raise Refusal(ErrorCode.DATABASE_CONFLICT, f"{table.name}: there is no such row")
    return named[0]


def _owned(db: sqlite3.Connection, table: DeviceTable) -> frozenset[str]:
    """Return the ids of rows of *table* whose owner accepted a change beside words of their own."""
    found = db.execute("SELECT row_id FROM owned WHERE tbl = ?", (table.name,))
    return frozenset(row_id for (row_id,) in found)


def _propose(
    db: sqlite3.Connection, table: DeviceTable, row_id: str, call_id: str, data: Record | None, at_ms: int
) -> None:
    """Keep a proposal, the newest of its row."""
    told = msgspec.json.encode(data).decode()
    db.execute(
        "INSERT INTO proposals (tbl, row_id, call_id, data, at) VALUES (?1, ?2, ?3, ?4, ?5)"
        " ON CONFLICT (tbl, row_id) DO UPDATE SET call_id = ?3, data = ?4, at = ?5, is_rejected = 0",
        (table.name, row_id, call_id, told, at_ms),
    )
