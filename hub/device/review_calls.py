"""Verdicts from elsewhere that a hub brings (``review.apply``): applied, or refused as conflicts.

A verdict is applied only if the row is as its owner saw it: a change at the device meanwhile is a conflict.
The row from before the newest verdict is stored, so that the verdict can be undone while the row is unchanged
since. Plain functions over a connection, inside the caller's transaction.
"""

import sqlite3
from typing import Final

import msgspec

from hub.device import (
    declared_tables,
    proposals,
    rows,
    verdicts,
)
from hub.device.proposals import Proposal, row_decoder
from hub.device.rows import CallRefusal
from hub.device.titled_rows import row_called, titles_of_referred
from protocol.agenda import is_as_seen
from protocol.calls import Reviewed
from protocol.errors import ErrorCode
from protocol.frame import Record
from protocol.items import ReviewVerdict, RowReview
from protocol.tables import SUGGESTED, TABLES, DeviceTable, TableName
from protocol.tool_calls import ToolCall

# Newest verdict on a row that a hub brought, with the row before and after it; *after* is null where the
# verdict removed the row.
CREATE: Final = """
CREATE TABLE IF NOT EXISTS remote_reviews (
    tbl TEXT NOT NULL,
    row_id TEXT NOT NULL,
    call_id TEXT NOT NULL,
    before TEXT NOT NULL CHECK (json_valid(before)),
    after TEXT NOT NULL CHECK (json_valid(after)),
    at INTEGER NOT NULL,
    PRIMARY KEY (tbl, row_id)
) STRICT, WITHOUT ROWID
"""
# Proposed change that the verdict of ``remote_reviews`` was about, and what the hub had written until then.
# Release 0.2, which may serve the file again, writes rows of the other table by the order of its columns.
CREATE_PROPOSALS: Final = """
CREATE TABLE IF NOT EXISTS remote_proposals (
    tbl TEXT NOT NULL,
    row_id TEXT NOT NULL,
    verdict_id TEXT NOT NULL,
    call_id TEXT NOT NULL,
    data TEXT NOT NULL CHECK (json_valid(data)),
    written TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (tbl, row_id)
) STRICT, WITHOUT ROWID
"""


OPEN_PROJECTS: Final = f"""
SELECT r.call_id, r.hub, p.{TABLES[TableName.PROJECTS].title} AS title FROM projects AS p
JOIN reviews AS r ON r.tbl = 'projects' AND r.row_id = p.id
WHERE p.isApproved = 0
"""


# The call that last wrote a row; or the one whose proposal the verdict is about: not one of an approved row.
_SEEN: Final = """
SELECT coalesce((
    SELECT call_id FROM proposals WHERE tbl = ?1 AND row_id = ?2 AND NOT is_rejected AND ?3
), call_id) FROM reviews WHERE tbl = ?1 AND row_id = ?2
"""


def apply(
    db: sqlite3.Connection, table: DeviceTable, call: ToolCall, at_ms: int, *, hub: str
) -> dict[str, object]:
    """Apply the verdict of *call* to a row of *hub* or to its proposal, and return a ``Reviewed``.

    Raises:
        Refusal: the call is invalid, there is no such row, it is no longer as the owner saw it, or only the
            device may do it.
    """
    review, row_id = call.review, call.where.get("id")
    if review is None or not isinstance(row_id, str) or call.where.keys() != {"id"}:
        message = f"{table.name}: expected 'review', and an 'id' alone in 'where'"
        raise CallRefusal(ErrorCode.BAD_RECORD, message)
    _check_fields(table, review, call.data)
    called = {title.casefold() for title in review.titles.values()}
    if any(row["hub"] != hub and row["title"].casefold() in called for row in db.execute(OPEN_PROJECTS)):
        message = f"{table.name}: the project is a suggestion of another hub; approve it at the device"
        raise CallRefusal(ErrorCode.BAD_RECORD, message)
    known = db.execute(
        "SELECT call_id, written FROM reviews WHERE tbl = ? AND row_id = ? AND hub = ?",
        (table.name, row_id, hub),
    ).fetchone()
    if known is None:
        raise CallRefusal(ErrorCode.DATABASE_CONFLICT, f"{table.name}: there is no such row")
    row = rows.find(db, table, row_id)
    proposal = proposals.of_row(db, table.name, row_id)
    if review.verdict is ReviewVerdict.UNDO:
        _undo(db, table, row_id, row, review, at_ms, has_proposal=proposal is not None)
    elif row is None:
        raise _changed(table, "its owner has deleted the row")
    elif review.row is not None:
        _change_approved(db, table, row, call, at_ms)
        proposals.drop_done(db, table, row_id)
    elif proposal is not None:
        _decide(db, table, row, proposal, call, at_ms)
    else:
        is_open = verdicts.is_open(table, row, known["written"])
        if not is_open or proposals.is_owned(db, table, row_id):
            raise _changed(table, "its owner has decided about the row at the device")
        if known["call_id"] != review.seen:
            raise _changed(table, "the row has been written again since")
        _judge(db, table, row, call, at_ms)
    after = rows.find(db, table, row_id)
    (written,) = db.execute(
        "SELECT written FROM reviews WHERE tbl = ? AND row_id = ?", (table.name, row_id)
    ).fetchone()
    state = verdicts.state_of(table, after, written)
    if state == "open" and proposal is not None:
        state = "edited"  # as the device reports it: the row is its owner's
    db.execute(  # the answer reports it
        "UPDATE reviews SET reported = ? WHERE tbl = ? AND row_id = ?",
        (None if state == "open" else state, table.name, row_id),
    )
    is_proposed = proposals.of_row(db, table.name, row_id) is not None  # the change waits on
    answer: dict[str, object] = msgspec.to_builtins(Reviewed("open" if is_proposed else state))
    return answer


def is_of_marked(db: sqlite3.Connection, call: ToolCall) -> bool:
    """Return whether *call* approves or edits what a call wrote or proposed with a mark, as noted here.

    A project that the verdict names by its title is approved with it, so its call counts too.
    """
    if call.review is None or call.review.verdict not in (ReviewVerdict.APPROVE, ReviewVerdict.EDIT):
        return False
    called = {title.casefold() for title in call.review.titles.values()}
    projects = db.execute(OPEN_PROJECTS).fetchall() if called else []
    key = (call.table, str(call.where.get("id")), call.review.row is None)
    seen = [id for (id,) in db.execute(_SEEN, key)]  # whatever the hub says that its owner saw
    seen += [row["call_id"] for row in projects if row["title"].casefold() in called]
    remarks = [db.execute("SELECT remarks FROM calls WHERE call_id = ?", (id,)).fetchone() for id in seen]
    return any(row is not None and verdicts.read_remarks(row["remarks"]).warnings for row in remarks)


def forget(db: sqlite3.Connection, before_ms: int) -> None:
    """Delete what undoing verdicts from before *before_ms* would need."""
    db.execute("DELETE FROM remote_reviews WHERE at < ?", (before_ms,))
    db.execute("DELETE FROM remote_proposals WHERE at < ?", (before_ms,))


def _check_fields(table: DeviceTable, review: RowReview, data: Record) -> None:
    """Refuse flags, and fields that the verdict does not take."""
    takes = review.verdict in (ReviewVerdict.APPROVE, ReviewVerdict.EDIT)
    written = data.keys() | review.titles.keys()
    if review.row is not None and review.verdict not in (ReviewVerdict.EDIT, ReviewVerdict.UNDO):
        raise CallRefusal(ErrorCode.BAD_RECORD, f"{table.name}: 'row' belongs to an edit or undo alone")
    if (
        data.keys() & (SUGGESTED.keys() | review.titles.keys())
        or (written and not takes)
        or (not written and review.verdict is ReviewVerdict.EDIT)
    ):
        message = (
            f"{table.name}: 'data' has the values of an approval or edit, without flags, and nothing else"
        )
        raise CallRefusal(ErrorCode.BAD_RECORD, message)


def _judge(db: sqlite3.Connection, table: DeviceTable, row: Record, call: ToolCall, at_ms: int) -> None:
    """Apply a verdict to an open row, and keep the row from before it."""
    assert call.review is not None
    row_id = str(row["id"])
    if call.review.verdict is ReviewVerdict.REJECT:
        rows.delete(db, table, row_id)
    else:
        flags: Record = {"isApproved": 1} if call.review.verdict is ReviewVerdict.APPROVE else {}
        rows.update(db, table, row_id, {**call.data, **_called(db, table, call, at_ms), **flags}, at_ms)
    _keep(db, table, row, call, at_ms)


def _keep(db: sqlite3.Connection, table: DeviceTable, row: Record, call: ToolCall, at_ms: int) -> None:
    """Keep *row* from before the verdict of *call*, and as it is now, so that the verdict can be undone."""
    row_id = str(row["id"])
    db.execute(
        "INSERT OR REPLACE INTO remote_reviews VALUES (?, ?, ?, ?, ?, ?)",
        (
            table.name,
            row_id,
            call.id,
            declared_tables.json_text(row),
            declared_tables.json_text(rows.find(db, table, row_id)),
            at_ms,
        ),
    )


def _change_approved(
    db: sqlite3.Connection, table: DeviceTable, row: Record, call: ToolCall, at_ms: int
) -> None:
    """Apply an edit to an approved row, unless the row has its values already."""
    assert call.review is not None
    if not row["isApproved"]:
        raise _changed(table, "its owner has not approved the row")
    if not call.review.titles and all(row.get(name) == value for name, value in call.data.items()):
        return
    if not _is_as_seen(db, table, row, call.review):
        raise _changed(table, "its owner has changed the row at the device")
    _judge(db, table, row, call, at_ms)


def _called(db: sqlite3.Connection, table: DeviceTable, call: ToolCall, at_ms: int) -> Record:
    """Return the ids of the rows whose titles the verdict has, by field. Raises Refusal if there are none."""
    assert call.review is not None
    found: Record = {}
    for name, title in call.review.titles.items():
        column = table.column(name)
        if column is None or column.refers_to is None:
            raise CallRefusal(ErrorCode.BAD_RECORD, f"{table.name}.{name}: refers to no row")
        referred = TABLES[column.refers_to]
        found[name], _ = row_called(db, referred, title, at_ms, by_title_alone=True)
    return found


def _decide(
    db: sqlite3.Connection, table: DeviceTable, row: Record, proposal: Proposal, call: ToolCall, at_ms: int
) -> None:
    """Accept or reject a proposed change of a row. Raises Refusal if the device alone may do that."""
    assert call.review is not None
    row_id = str(row["id"])
    data = declared_tables.json_text(proposal.data)
    db.execute(
        "INSERT OR REPLACE INTO remote_proposals SELECT tbl, row_id, ?, ?, ?, written, ? FROM reviews"
        " WHERE tbl = ? AND row_id = ?",
        (call.id, proposal.call_id, data, at_ms, table.name, row_id),
    )
    if proposal.call_id != call.review.seen:
        raise _changed(table, "another change of the row has been proposed since")
    if call.review.verdict is ReviewVerdict.REJECT:
        proposals.reject(db, table, row_id)
    elif proposal.data is None or call.review.verdict is ReviewVerdict.EDIT:
        what = "a deletion is approved" if proposal.data is None else "a proposed change is edited"
        raise CallRefusal(ErrorCode.BAD_RECORD, f"{table.name}: {what} at the device alone")
    else:
        changes: Record = {**proposal.data, **call.data, **_called(db, table, call, at_ms)}
        proposals.accept(db, table, row_id, Proposal(proposal.call_id, changes), at_ms)
    _keep(db, table, row, call, at_ms)


def _undo(
    db: sqlite3.Connection,
    table: DeviceTable,
    row_id: str,
    row: Record | None,
    review: RowReview,
    at_ms: int,
    *,
    has_proposal: bool,
) -> None:
    """Restore the row from before the verdict that *review* names, and propose a change again.

    Where its owner saw the row as it is, it is undone although the row has changed since: an approval as a
    whole, and a change of an approved row in the fields that it changed.
    """
    saved = db.execute(
        "SELECT before, after FROM remote_reviews WHERE tbl = ? AND row_id = ? AND call_id = ?",
        (table.name, row_id, review.seen),
    ).fetchone()
    before = None if saved is None else row_decoder.decode(saved["before"])
    after = None if saved is None else row_decoder.decode(saved["after"])
    is_decided = before is not None and has_proposal and not before["isApproved"]
    is_seen = row is not None and _is_as_seen(db, table, row, review)
    if before is None or is_decided or not (is_seen or after == row):
        raise _changed(table, "the row has been decided about or changed since that verdict")
    if before["isApproved"] and row is not None and after is not None and after != row:
        same = {name for name, value in before.items() if after[name] == value} | {"updatedAt"}
        before |= {name: row[name] for name in same & row.keys()}
    rows.restore(db, table, before)
    decided = db.execute(
        "DELETE FROM remote_proposals WHERE tbl = ? AND row_id = ? AND verdict_id = ?"
        " RETURNING call_id, data, written",
        (table.name, row_id, review.seen),
    ).fetchone()
    if decided is not None:
        written = (decided["written"], table.name, row_id)
        db.execute("UPDATE reviews SET written = ? WHERE tbl = ? AND row_id = ?", written)
        if not has_proposal:
            data = row_decoder.decode(decided["data"])
            proposals.propose(db, table, row_id, decided["call_id"], data, at_ms)
    db.execute("DELETE FROM remote_reviews WHERE tbl = ? AND row_id = ?", (table.name, row_id))


def _is_as_seen(db: sqlite3.Connection, table: DeviceTable, row: Record, review: RowReview) -> bool:
    data = {**row, **titles_of_referred(db, table, row)}
    return review.row is not None and is_as_seen(table, data, review.row)


def _changed(table: DeviceTable, why: str) -> CallRefusal:
    return CallRefusal(ErrorCode.CHANGED_MEANWHILE, f"{table.name}: {why}")
