"""The past of a device's file, as its hub asks for it: how far it has come, and which calls it has done.

Each call that changed a row gets the next number, and another one when the hub has confirmed the owner's
word on it. So whoever knows the file up to a number asks for what is behind it. Plain functions over a
connection, inside the caller's transaction.
"""

import sqlite3
from typing import Final

import msgspec

from hub.device import proposals, rows, verdicts
from hub.device.rows import Refusal
from protocol.agreement import MAX_ASKED, MAX_PAGE_BYTES, KnownToDevice, ListedRow, RowsPage
from protocol.errors import ErrorCode
from protocol.frame import Record
from protocol.handshake import StoreMark, Welcome
from protocol.tables import TABLES, DeviceTable, Filler, TableName
from protocol.work import ToolCall

_MOST_DATA_BYTES: Final = 8_192  # of one row; a longer one is listed without its fields

_LISTED: Final = """
SELECT calls.*, reviews.tbl AS written_tbl, reviews.row_id AS written_row, reviews.written,
    (SELECT made.call_id FROM calls AS made WHERE made.row_id = reviews.row_id) AS made_by
FROM calls JOIN reviews ON reviews.call_id = calls.call_id
WHERE calls.counter > ? AND calls.hub = ? ORDER BY calls.counter LIMIT ?
"""
_DONE: Final = "SELECT 1 FROM calls WHERE call_id = ? AND hub = ?"
_WRITTEN: Final = "SELECT 1 FROM reviews WHERE tbl = ? AND row_id = ? AND hub = ?"


def read_mark(db: sqlite3.Connection) -> StoreMark | None:
    """Return the file's own mark; None: it has none yet."""
    found = db.execute("SELECT id, counter FROM store").fetchone()
    return None if found is None else StoreMark(id=found[0], counter=found[1])


def make_mark(db: sqlite3.Connection, store_id: str) -> None:
    """Give a file its first mark."""
    db.execute(
        "INSERT INTO store (only, id, counter) SELECT 1, ?, coalesce(max(counter), 0) FROM calls", (store_id,)
    )


def next_counter(db: sqlite3.Connection) -> int:
    """Count one change, and return its number."""
    (counter,) = db.execute("UPDATE store SET counter = counter + 1 RETURNING counter").fetchone()
    return int(counter)


def note_confirmed(db: sqlite3.Connection, call_ids: list[str]) -> None:
    """Count the owner's words that a hub has confirmed: one that is restored has to hear of them again."""
    for call_id in call_ids:
        known = db.execute(
            "SELECT 1 FROM calls WHERE call_id = ? AND counter IS NOT NULL", (call_id,)
        ).fetchone()
        if known is not None:
            db.execute("UPDATE calls SET counter = ? WHERE call_id = ?", (next_counter(db), call_id))


def note_welcome(db: sqlite3.Connection, welcome: Welcome, fresh_id: str) -> str | None:
    """Remember how far the hub knows this file. Returns a sentence for its owner where both are compared.

    A file that the hub knows further than it has come is an older copy of itself. It gets *fresh_id*, so
    that numbers that are given again are not taken for those that were lost.
    """
    mark, known = read_mark(db), welcome.store
    if mark is None or known is None:
        return None
    hub_id, hub_counter = db.execute("SELECT hub_id, hub_counter FROM store").fetchone()
    told = None
    if known.id == mark.id and known.counter > mark.counter:
        db.execute("UPDATE store SET id = ?", (fresh_id,))
        told = "this device's file is older than the hub knows it: what is missing comes again"
    elif known.id == mark.id and hub_id == welcome.hub_id and known.counter < (hub_counter or 0):
        # A hub that begins to compare from the start says 0, whether an operator asked for that or the hub
        # has seen that something was lost; any other number comes of a hub that was restored.
        told = (
            "the hub knows less of this device's rows than before: it is told of them again"
            if known.counter
            else "the hub compares all of this device's rows with its own: it is told of them again"
        )
    if (hub_id, hub_counter) != (welcome.hub_id, known.counter):
        db.execute("UPDATE store SET hub_id = ?, hub_counter = ?", (welcome.hub_id, known.counter))
    return told


def list_rows(db: sqlite3.Connection, call: ToolCall, hub: str) -> dict[str, object]:
    """Do ``rows.list``: a page of the rows that *hub* wrote, as far as the answer holds them.

    Raises:
        Refusal: ``since`` is no counter.
    """
    since = call.data.get("since", 0)
    if not isinstance(since, int) or isinstance(since, bool) or since < 0:
        raise Refusal(ErrorCode.BAD_RECORD, "since: expected the counter that the last page ended with")
    mark = read_mark(db)
    assert mark is not None  # a file that is served has one
    listed: list[ListedRow] = []
    size, more = 0, False
    for found in db.execute(_LISTED, (since, hub, call.limit + 1)):
        row = _listed(db, found)
        size += len(msgspec.json.encode(row)) + 1
        if listed and (size > MAX_PAGE_BYTES or len(listed) == call.limit):
            more = True
            break
        listed.append(row)
    told: dict[str, object] = msgspec.to_builtins(RowsPage(store=mark, rows=listed, more=more))
    return told


def list_known(db: sqlite3.Connection, call: ToolCall, hub: str) -> dict[str, object]:
    """Do ``rows.known``: of the calls and rows that were asked about, those of *hub* that are here.

    Raises:
        Refusal: it asks about too many, or not about ids.
    """
    calls, asked = _ids(call.data, "calls"), _ids(call.data, "rows")
    done = [id for id in calls if db.execute(_DONE, (id, hub)).fetchone()]
    there = [
        id
        for id in asked
        for table in TABLES.values()
        if db.execute(_WRITTEN, (table.name, id, hub)).fetchone() and rows.find(db, table, id) is not None
    ]
    told: dict[str, object] = msgspec.to_builtins(KnownToDevice(calls=done, rows=there))
    return told


def _ids(data: Record, name: str) -> list[str]:
    asked = data.get(name, [])
    if not isinstance(asked, list) or len(asked) > MAX_ASKED:
        raise Refusal(ErrorCode.BAD_RECORD, f"{name}: expected a list of at most {MAX_ASKED} ids")
    return asked


def _listed(db: sqlite3.Connection, found: sqlite3.Row) -> ListedRow:
    table = TABLES[TableName(found["written_tbl"])]
    row = rows.find(db, table, found["written_row"])
    state = verdicts.standing_of(table, row, found["written"])
    return ListedRow(
        counter=found["counter"],
        call_id=found["call_id"],
        table=table.name,
        row_id=found["written_row"],
        state=state,
        inserted_by=found["made_by"] if found["made_by"] != found["call_id"] else None,
        agent_id=found["agent_id"],
        run_id=found["run_id"],
        path=found["source_path"],
        sha256=found["source_sha256"],
        quote=found["quote"] or "",
        start=found["quote_start"] or 0,
        end=found["quote_end"] or 0,
        data={} if row is None else _shown(db, table, row, is_open=state == "open"),
    )


def _shown(db: sqlite3.Connection, table: DeviceTable, row: Record, *, is_open: bool) -> Record:
    """Return what a hub may see of *row*, without what the device and the flags say."""
    is_open = is_open and not proposals.is_owned(db, table, row["id"])
    said = {column.name for column in table.columns if column.filler in (Filler.MODEL, Filler.PERSON)}
    told = said & {*proposals.seen_fields(table, row, is_open=is_open)}
    shown: Record = {name: value for name, value in row.items() if value is not None and name in told}
    return shown if len(msgspec.json.encode(shown)) <= _MOST_DATA_BYTES else {}
