"""Change counter of a device's file, and the rows and calls that a hub may compare with its ledger.

Each call that changed a row gets the next counter value, and another one when the hub has confirmed the
owner's verdict on the row. So a hub that knows the file up to a counter asks for the changes after it. Plain
functions over a connection, inside the caller's transaction.
"""

import sqlite3
from collections.abc import Mapping
from typing import Final

import msgspec

from hub.device import (
    declared_tables,
    proposals,
    rows,
    verdicts,
)
from hub.device.rows import CallRefusal
from hub.device.sinks import reports
from hub.device.sinks.reports import destinations
from protocol.calls import (
    MAX_ASKED,
    MAX_PAGE_BYTES,
    KnownToDevice,
    ListedRow,
    RowPlace,
    RowsPage,
)
from protocol.errors import ErrorCode
from protocol.frame import Record
from protocol.handshake import StoreMark, Welcome
from protocol.tables import DeviceTable, Filler
from protocol.tool_calls import ToolCall

_MAX_DATA_BYTES: Final = 8_192  # of one row; a longer row is listed without its fields


_LISTED: Final = """
SELECT calls.*, reviews.tbl AS written_tbl, reviews.row_id AS written_row, reviews.written,
    (SELECT made.call_id FROM calls AS made WHERE made.row_id = reviews.row_id) AS made_by
FROM calls JOIN reviews ON reviews.call_id = calls.call_id
WHERE calls.counter > ? AND calls.hub = ? ORDER BY calls.counter LIMIT ?
"""


_DONE: Final = "SELECT 1 FROM calls WHERE call_id = ? AND hub = ?"


_WRITTEN: Final = "SELECT 1 FROM reviews WHERE tbl = ? AND row_id = ? AND hub = ?"


def read_mark(db: sqlite3.Connection) -> StoreMark:
    """Return the mark of the file, which each served file has."""
    id, counter = db.execute("SELECT id, counter FROM store").fetchone()
    return StoreMark(id=id, counter=counter)


def note_confirmed(db: sqlite3.Connection, call_ids: list[str]) -> None:
    """Assign new counter values to confirmed verdicts, so that a restored hub receives them again."""
    for call_id in call_ids:
        known = db.execute(
            "SELECT 1 FROM calls WHERE call_id = ? AND counter IS NOT NULL", (call_id,)
        ).fetchone()
        if known is not None:
            db.execute("UPDATE store SET counter = counter + 1")
            db.execute("UPDATE calls SET counter = (SELECT counter FROM store) WHERE call_id = ?", (call_id,))


def note_welcome(db: sqlite3.Connection, welcome: Welcome, fresh_id: str) -> str | None:
    """Store the counter up to which the hub knows this file. Return a message for the owner, or None.

    There is a message if hub and device compare their rows. If the hub's counter is ahead of the file's, the
    file is an older copy; if the hub does not know the file, it may be one. The file gets *fresh_id* then, so
    that reused counter values are not taken for the lost ones, not by a restored hub either.
    """
    mark, known = read_mark(db), welcome.store
    hub_knows = 0 if known is None or known.id != mark.id else known.counter
    if hub_knows > mark.counter or hub_knows == 0 < mark.counter:
        db.execute("UPDATE store SET id = ?", (fresh_id,))
    if known is None:
        return None
    hub_id, hub_counter = db.execute("SELECT hub_id, hub_counter FROM store").fetchone()
    message = None
    if hub_knows > mark.counter:
        message = "this device's file is older than the hub knows it: the hub sends the missing rows again"
    elif known.id == mark.id and hub_id == welcome.hub_id and known.counter < (hub_counter or 0):
        # A hub that compares from the start sends 0, on an operator's request or after a loss. Any other
        # lower counter means that the hub was restored.
        message = (
            "the hub knows fewer of this device's rows than before: they are reported again"
            if known.counter
            else "the hub compares all of this device's rows with its own: they are reported again"
        )
    if (hub_id, hub_counter) != (welcome.hub_id, known.counter):
        db.execute("UPDATE store SET hub_id = ?, hub_counter = ?", (welcome.hub_id, known.counter))
    return message


def list_rows(
    db: sqlite3.Connection, call: ToolCall, hub: str, roots: Mapping[str, str]
) -> dict[str, object]:
    """Execute ``rows.list``: return one page of the rows that *hub* wrote.

    Raises:
        Refusal: ``since`` is not a counter.
    """
    since = call.data.get("since", 0)
    if not isinstance(since, int) or isinstance(since, bool) or since < 0:
        raise CallRefusal(ErrorCode.BAD_RECORD, "since: expected the counter that the last page ended with")
    listed: list[ListedRow] = []
    size, more = 0, False
    written = db.execute(_LISTED, (since, hub, call.limit + 1)).fetchall()
    places = destinations(db, [found["written_row"] for found in written])
    for found in written:
        at = places.get((found["written_tbl"], found["written_row"]), ())
        row = _listed(db, found, reports.places_of(at, roots))
        size += len(msgspec.json.encode(row)) + 1
        if listed and (size > MAX_PAGE_BYTES or len(listed) == call.limit):
            more = True
            break
        listed.append(row)
    page: dict[str, object] = msgspec.to_builtins(RowsPage(store=read_mark(db), rows=listed, more=more))
    return page


def list_known(db: sqlite3.Connection, call: ToolCall, hub: str) -> dict[str, object]:
    """Execute ``rows.known``: return those of the requested calls and rows of *hub* that exist in this file.

    Raises:
        Refusal: too many ids, or values that are not ids.
    """
    calls, asked = _ids(call.data, "calls"), _ids(call.data, "rows")
    tables = declared_tables.tables_of(db).values()
    done = [id for id in calls if db.execute(_DONE, (id, hub)).fetchone()]
    known = [
        id
        for id in asked
        for table in tables
        if db.execute(_WRITTEN, (table.name, id, hub)).fetchone() and rows.find(db, table, id) is not None
    ]
    answer: dict[str, object] = msgspec.to_builtins(KnownToDevice(calls=done, rows=known))
    return answer


def _ids(data: Record, name: str) -> list[str]:
    asked = data.get(name, [])
    if not isinstance(asked, list) or len(asked) > MAX_ASKED:
        raise CallRefusal(ErrorCode.BAD_RECORD, f"{name}: expected a list of at most {MAX_ASKED} ids")
    return asked


def _listed(db: sqlite3.Connection, found: sqlite3.Row, places: list[RowPlace]) -> ListedRow:
    table = declared_tables.table_of(db, found["written_tbl"])
    row = rows.find(db, table, found["written_row"])
    state = verdicts.state_of(table, row, found["written"])
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
        timezone=verdicts.read_remarks(found["remarks"]).timezone,
        data={} if row is None else _shown(db, table, row, is_open=state == "open"),
        places=places,
    )


def _shown(db: sqlite3.Connection, table: DeviceTable, row: Record, *, is_open: bool) -> Record:
    """Return the fields of *row* that a hub may see, without those that the device or flags provide."""
    is_open = is_open and not proposals.is_owned(db, table, row["id"])
    content = {column.name for column in table.columns if column.filler in (Filler.MODEL, Filler.PERSON)}
    visible = content & {*proposals.seen_fields(table, row, is_open=is_open)}
    shown: Record = {name: value for name, value in row.items() if value is not None and name in visible}
    return shown if len(msgspec.json.encode(shown)) <= _MAX_DATA_BYTES else {}
