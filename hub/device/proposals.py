"""Changes and deletions of rows by a hub: applied to open rows, proposed to the owner otherwise.

A hub changes only rows that it wrote and that are still open. A row that its owner approved or changed
belongs to the owner: its change or deletion becomes a proposal, but for the tick of its line in a file of the
owner. Other rows are hidden from the hub, except
the titles of approved projects and tasks, to which new items may belong. Plain functions over a connection,
inside the caller's transaction.
"""

import sqlite3
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import msgspec

from hub.device import declared_tables, rows, verdicts
from hub.device.rows import CallRefusal
from hub.device.schema import quoted
from hub.device.sources import Sources
from hub.device.verdicts import RowVerdict
from hub.text.folding import words_of
from hub.text.rows.same_things import author_of
from protocol.errors import ErrorCode
from protocol.frame import Record
from protocol.tables import SUGGESTED, DeviceTable, TableName
from protocol.tool_calls import ToolCall

# tables whose approved rows a hub sees by title
_NAMED: Final = frozenset({TableName.PROJECTS, TableName.TASKS})


class Proposal(msgspec.Struct, frozen=True):
    """Change of a row that waits for its owner. *data* is None for a deletion."""

    call_id: str
    data: Record | None


row_decoder: Final = msgspec.json.Decoder(Record | None)


_TICK: Final[Record] = {"status": "done"}
_SOURCE: Final = """
SELECT source_path, quote, quote_start, remarks, EXISTS (
    SELECT 1 FROM sink_rows WHERE sink = '' AND row_id = ?2 AND json_extract(base, '$.status') = 'done'
) FROM reviews JOIN calls USING (call_id)
WHERE reviews.tbl = ?1 AND reviews.row_id = ?2
"""


def change(
    db: sqlite3.Connection, table: DeviceTable, call: ToolCall, at_ms: int, *, hub: str
) -> dict[str, int]:
    """Apply an update of *hub* to an open row, or propose it to the owner of the row.

    A tick that the owner typed into the line of a row is applied, and approves a row without marks.

    Raises:
        Refusal: the record is invalid, approves a row, or matches no row that this hub wrote.
    """
    rows.check_changes(table, call.data)
    if any(call.data.get(flag, value) != value for flag, value in SUGGESTED.items()):
        message = (
            f"{table.name}.isApproved, isAiSuggested: a hub writes suggestions, their owner approves them"
        )
        raise CallRefusal(ErrorCode.BAD_RECORD, message)
    row_id, is_open = _named(db, table, call.where, hub)
    row = rows.find(db, table, row_id) or {}
    requested = {name: value for name, value in call.data.items() if name not in SUGGESTED}
    changes: Record = {name: value for name, value in requested.items() if row.get(name) != value}
    if changes == _TICK and _is_ticked(db, table, row):
        accept(db, table, row_id, Proposal(call.id, changes), at_ms)
        return {"updated": 1}
    if not is_open:
        if not changes:  # the row has these values already: nothing to decide
            propose(db, table, row_id, call.id, {}, at_ms)
            reject(db, table, row_id)
            return {"updated": 0}
        propose(db, table, row_id, call.id, changes, at_ms)
        verdicts.count_change(db, table, row_id)
        return {"updated": 0, "proposed": 1}
    rows.update(db, table, row_id, call.data, at_ms)
    verdicts.note_written(db, table, row_id, rows.find(db, table, row_id), call.id)
    verdicts.count_change(db, table, row_id)
    return {"updated": 1}


def remove(
    db: sqlite3.Connection, table: DeviceTable, call: ToolCall, at_ms: int, *, hub: str
) -> dict[str, int]:
    """Apply or propose a deletion by *hub*, as ``change`` does for an update. Raises Refusal likewise."""
    row_id, is_open = _named(db, table, call.where, hub)
    if not is_open:
        propose(db, table, row_id, call.id, None, at_ms)
        verdicts.count_change(db, table, row_id)
        return {"deleted": 0, "proposed": 1}
    rows.delete(db, table, row_id)
    verdicts.forget(db, table, [row_id])
    return {"deleted": 1}


def seen_by(db: sqlite3.Connection, table: DeviceTable, hub: str) -> Callable[[Record], Collection[str]]:
    """Return a function that returns the fields of a row of *table* that *hub* may see."""
    written, owned = verdicts.written_rows(db, table, hub), _owned(db, table)

    def sees(row: Record) -> Collection[str]:
        is_open = row["id"] not in owned and verdicts.is_open(table, row, written.get(str(row["id"])))
        return seen_fields(table, row, is_open=is_open)

    return sees


def seen_fields(table: DeviceTable, row: Record, *, is_open: bool) -> Collection[str]:
    """Return the fields of *row* that a hub may see. *is_open*: the owner has not changed the row."""
    if is_open:
        return frozenset(column.name for column in table.columns)
    return frozenset({"id", "isApproved", table.title}) if row["isApproved"] and table.name in _NAMED else ()


def is_owned(db: sqlite3.Connection, table: DeviceTable, row_id: object) -> bool:
    """Return True if the owner combined an accepted change with own changes of the row."""
    found = db.execute("SELECT 1 FROM owned WHERE tbl = ? AND row_id = ?", (table.name, row_id))
    return found.fetchone() is not None


def approved(row: Record) -> Collection[str]:
    """Return the fields of *row* visible to a hub that may read approved rows."""
    return row.keys() if row["isApproved"] else ()


def of_row(db: sqlite3.Connection, table: str, row_id: str) -> Proposal | None:
    """Return the pending proposal of a row, or None."""
    found = db.execute(
        "SELECT call_id, data FROM proposals WHERE tbl = ? AND row_id = ? AND NOT is_rejected",
        (table, row_id),
    ).fetchone()
    return None if found is None else Proposal(found[0], row_decoder.decode(found[1]))


def accept(db: sqlite3.Connection, table: DeviceTable, row_id: str, proposal: Proposal, at_ms: int) -> None:
    """Apply a proposal that the owner accepts.

    Raises:
        Refusal: the row's current state does not allow the change; nothing was changed.
    """
    if proposal.data is None:
        rows.delete(db, table, row_id)
        verdicts.forget(db, table, [row_id])
    else:
        rows.update(db, table, row_id, {**proposal.data, "isApproved": 1}, at_ms)
        verdicts.note_written(db, table, row_id, rows.find(db, table, row_id), proposal.call_id)
        db.execute("INSERT OR IGNORE INTO owned VALUES (?, ?)", (table.name, row_id))
    db.execute("DELETE FROM proposals WHERE tbl = ? AND row_id = ?", (table.name, row_id))


def reject(db: sqlite3.Connection, table: DeviceTable, row_id: str) -> None:
    """Reject the proposal of a row; the row stays unchanged, and the hub is notified."""
    db.execute("UPDATE proposals SET is_rejected = 1 WHERE tbl = ? AND row_id = ?", (table.name, row_id))


def drop_done(db: sqlite3.Connection, table: DeviceTable, row_id: str) -> None:
    """Reject the proposed change of a row that its owner has given all values of it."""
    proposal, row = of_row(db, table.name, row_id), rows.find(db, table, row_id)
    changes = None if proposal is None else proposal.data
    if changes is not None and row is not None and {**row, **changes} == row:
        reject(db, table, row_id)


def unreported(db: sqlite3.Connection, hub: str) -> list[RowVerdict]:
    """Return the owner's verdicts on proposals of *hub* that were rejected, or whose row was deleted.

    After a rejected change, the row keeps its verdict: approved or edited.
    """
    found = db.execute(
        "SELECT proposals.call_id, tbl, row_id, is_rejected, written"
        " FROM proposals JOIN reviews USING (tbl, row_id) WHERE hub = ? ORDER BY at, proposals.call_id",
        (hub,),
    )
    report = []
    for call_id, name, row_id, is_rejected, written in found.fetchall():
        table = declared_tables.table_of(db, name)
        row = rows.find(db, table, row_id)
        if row is None or is_rejected:
            state = verdicts.state_of(table, row, written)
            report.append(RowVerdict(call_id, "edited" if state == "open" else state))
    return report


def note_reported(db: sqlite3.Connection, report: Collection[RowVerdict]) -> None:
    """Delete proposals whose verdicts the hub has confirmed."""
    db.executemany("DELETE FROM proposals WHERE call_id = ?", [(verdict.call_id,) for verdict in report])


def _named(db: sqlite3.Connection, table: DeviceTable, where: Record, hub: str) -> tuple[str, bool]:
    """Return the id of the row of *hub* that *where* matches, and whether the row is open.

    An owner's row is matched by its id only, so that a hub cannot probe its fields.

    Raises:
        Refusal: *where* is empty, has an unknown field, or does not match exactly one row.
    """
    written, mixed = verdicts.written_rows(db, table, hub), _owned(db, table) | _named_by_approved(db, table)
    named: list[tuple[str, bool]] = []
    for row_id in rows.ids_of(db, table, where):
        row = rows.find(db, table, row_id) if row_id in written else None
        if row is not None:
            is_open = row_id not in mixed and verdicts.is_open(table, row, written[row_id])
            named += [(row_id, is_open)] if is_open or where.keys() == {"id"} else []
    if len(named) > 1:  # a verdict is reported per call, so a call changes one row
        raise CallRefusal(
            ErrorCode.BAD_RECORD, f"{table.name}: 'where' names several rows; name one by its id"
        )
    if not named:
        raise CallRefusal(ErrorCode.DATABASE_CONFLICT, f"{table.name}: there is no such row")
    return named[0]


def _owned(db: sqlite3.Connection, table: DeviceTable) -> frozenset[str]:
    """Return the ids of the rows of *table* whose owner combined an accepted change with own changes."""
    found = db.execute("SELECT row_id FROM owned WHERE tbl = ?", (table.name,))
    return frozenset(row_id for (row_id,) in found)


def _is_ticked(db: sqlite3.Connection, table: DeviceTable, row: Record) -> bool:
    """Return True if the owner ticked a row in its line, in an own file that the device knows.

    The line is the one in which the row was found. A suggestion with a mark, or with a title in other words
    than those of the line, is for its owner to look at. A tick that this device wrote, or has taken back
    already, is none.
    """
    path, quote, start, remarks, is_known = db.execute(_SOURCE, (table.name, row["id"])).fetchone()
    if is_known:
        return False
    roots = db.execute("SELECT name, path FROM roots").fetchall()
    sources = Sources({name: Path(root) for name, root in roots}, db)
    moved = sources.moved(path)
    noted = verdicts.read_remarks(remarks)
    if author_of(noted.provenance) != "" or (noted.warnings and not row["isApproved"]):
        return False
    line = sources.ticked(moved[0] if len(moved) == 1 else path, quote, start)
    title = words_of(str(row[table.title]))
    return line is not None and bool(row["isApproved"] or {*title} <= {*words_of(line.replace("\n ", ""))})


def _named_by_approved(db: sqlite3.Connection, table: DeviceTable) -> frozenset[str]:
    """Return the ids of the rows of *table* to which approved rows refer, whose owner saw their titles."""
    return frozenset(
        id
        for other in declared_tables.tables_of(db).values()
        for column in other.columns
        if column.refers_to == table.name
        for (id,) in db.execute(
            f"SELECT {quoted(column.name)} FROM {quoted(other.name)} WHERE isApproved = 1"
        )
    )


def propose(
    db: sqlite3.Connection, table: DeviceTable, row_id: str, call_id: str, data: Record | None, at_ms: int
) -> None:
    """Store a proposal in place of the row's previous one."""
    changes = msgspec.json.encode(data).decode()
    db.execute(
        "INSERT INTO proposals (tbl, row_id, call_id, data, at) VALUES (?1, ?2, ?3, ?4, ?5)"
        " ON CONFLICT (tbl, row_id) DO UPDATE SET call_id = ?3, data = ?4, at = ?5, is_rejected = 0",
        (table.name, row_id, call_id, changes, at_ms),
    )
