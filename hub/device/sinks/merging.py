"""Merge of a row's changes at the device and at the target: which side wins for each field.

The base of a row is the fields that both sides had last: a side whose field differs from it was changed.
Where both sides were changed, the later change counts. If the process died behind the write to a file, what
was written is the base. At a server that holds for a field that is as it was written. Without a base a tick
of either side counts, unless the history has a later opening. Different words of other fields stay at both.
A line that was moved changes the state of its row: of another title or day, both sides keep theirs until they
are the same.
"""

import sqlite3
from typing import Final

import msgspec

from hub.device import declared_tables, rows
from hub.device.owner import read_fields
from hub.device.sinks.approved_rows import ApprovedRow
from hub.device.sinks.moved_rows import last_place
from hub.device.sinks.recorded_rows import (
    MOVED,
    RecordedRow,
    forget_writes,
    mark_of,
    note_change,
    record,
    reopened_ms,
)
from hub.device.sinks.sink import Sink
from hub.device.sinks.target import Found, is_archived
from hub.text.item_text import clean_fields
from hub.text.rows.row import Fields

_STATUS: Final = "status"
_DONE: Final = "done"


class Merge(msgspec.Struct):
    """Decision about a row: fields to change here, and those to write to the target, if any.

    *expressed*: the fields that the target has after it wrote *written*. *unsettled*: fields of which
    both sides keep what they have: refused ones, those without a base that have other words than here, and
    titles and days of lines that were moved. *mark*: recorded instead of a digest.
    """

    base: dict[str, str]
    back: dict[str, str]
    written: dict[str, str] | None = None
    expressed: Fields = {}
    conflict: bool = False
    unsettled: frozenset[str] = frozenset()
    mark: str = ""


def merge_row(
    db: sqlite3.Connection, sink: Sink, recorded: RecordedRow, approved: ApprovedRow, found: Found | None
) -> Merge:
    """Decide about a row that is not as it was recorded, or that its target does not have yet.

    Raises:
        TargetFailed: the target cannot express the row.
    """
    if found is None:  # a server knows a request again that may have been carried out
        fields = recorded.sent or approved.fields
        return Merge({}, {}, fields, sink.target.expressed(approved.table, fields))
    found = found._replace(fields=clean_fields(approved.table, found.fields))
    base = _base(sink, recorded, approved, found)
    # All of a row without a base, or such as a column that became that of a field.
    new = found.fields.keys() - base.keys()
    is_unchanged = recorded.is_unchanged(approved) and not new and recorded.sent_text is None
    own = base if is_unchanged else sink.target.expressed(approved.table, approved.fields)
    if _STATUS in new:
        base[_STATUS] = _status_before(db, recorded, own.get(_STATUS, ""), found)
        new.remove(_STATUS)
    unsettled = {name for name in new if "" != found.fields[name] != own.get(name, "") != ""}
    merge = Merge({}, {}, unsettled=frozenset(unsettled))
    remote_edits: dict[str, str] = {}
    is_written = False
    was_moved, named = recorded.digest == MOVED, {approved.table.title, *approved.table.days}
    merge.mark = MOVED if was_moved and unsettled else ""
    is_moved = recorded.base_text is not None and found.place != recorded.place
    for name, theirs in found.fields.items():
        if name in unsettled:
            remote_edits[name] = theirs
            continue
        ours, before = own.get(name, ""), base.get(name, "")
        if name in base and found.former.get(name) == before:
            theirs = before  # unchanged since a former release wrote it
        merge.base[name] = theirs
        if ours == theirs:
            continue
        if name in named and ((was_moved and name in new) or (is_moved and theirs != before)):
            del merge.base[name]
            remote_edits[name], merge.mark = theirs, MOVED
            merge.unsettled |= {name}
            continue
        is_local_edit, is_remote_edit = ours != before, theirs != before
        merge.conflict |= is_local_edit and is_remote_edit
        if is_remote_edit and (not is_local_edit or found.at_ms > approved.at_ms):
            merge.back |= {name: theirs} if sink.back else {}
            remote_edits[name] = theirs
        else:
            is_written = True
            merge.base[name] = before
    if is_written and not is_archived(sink.target, found.place, found.fields):
        merge.written = {**approved.fields, **remote_edits}
        merge.expressed = sink.target.expressed(approved.table, merge.written)
    return merge


def _base(sink: Sink, recorded: RecordedRow, approved: ApprovedRow, found: Found) -> dict[str, str]:
    """Return the fields that both sides had last, as far as that is known."""
    base = recorded.base
    if recorded.sent is None or recorded.inode == mark_of(found) < 0:  # it was not written
        return base
    sent = sink.target.expressed(approved.table, recorded.sent)
    if recorded.inode > 0:
        return base | {name: sent.get(name, "") for name in found.fields}
    is_as_sent = found.at_ms <= recorded.sent_ms
    for name, theirs in found.fields.items():
        is_written = theirs == sent.get(name, "")
        if name == _STATUS and not is_as_sent and (not is_written or found.at_ms > approved.at_ms):
            base.pop(name, None)  # it may have been changed there, since it was written or without that
        elif is_written or (is_as_sent and name != _STATUS):
            base[name] = theirs
        elif recorded.base_text is None and name != _STATUS:
            base[name] = sent.get(name, "")
    return base


def _status_before(db: sqlite3.Connection, recorded: RecordedRow, ours: str, found: Found) -> str:
    """Return the status that counts as the former one where none is known, so that a tick counts."""
    theirs = found.fields[_STATUS]
    if _DONE not in (ours, theirs):
        return "todo"
    is_reopened = theirs == _DONE != ours and reopened_ms(db, recorded) > found.at_ms
    return _DONE if is_reopened else ours if theirs == _DONE else theirs


def apply_merge(
    db: sqlite3.Connection,
    sink: Sink,
    recorded: RecordedRow,
    approved: ApprovedRow,
    found: Found,
    merge: Merge,
    at_ms: int,
) -> list[str]:
    """Change the row as it was changed at the target, and record what both have now; return the refusals."""
    changed: dict[str, str] = {}
    refusals = [
        f"{found.place}: {approved.title}: {name}: there is {found.fields[name][:40]!r}, here is"
        f" {approved.fields.get(name, '')[:40]!r}: write the same in both; until then both stay"
        for name in sorted(merge.unsettled)
    ]
    for name, text in merge.back.items():
        db.execute("SAVEPOINT one_field")
        try:
            values, _ = read_fields(db, approved.table, {name: text}, at_ms, approved.timezone)
            rows.update(db, approved.table, approved.row_id, values, at_ms)
            changed[name] = text
        except rows.CallRefusal as refusal:
            db.execute("ROLLBACK TO one_field")
            refusals.append(f"{found.place}: {approved.title}: {refusal}")
            merge.base[name] = recorded.base.get(name, "")
            merge.unsettled |= {name}
        db.execute("RELEASE one_field")
    if changed or merge.conflict:
        what = "conflict" if merge.conflict else "taken back"
        note_change(db, sink.name, recorded, at_ms, what, approved.fields, found.fields)
    if merge.written and merge.written.get(_STATUS) != _DONE == merge.base.get(_STATUS):
        note_change(db, sink.name, recorded, at_ms, "reopened", approved.fields, found.fields)
    approved.fields = approved.fields | changed
    digest = approved.digest if merge.written is None and not refusals else merge.mark
    if digest and digest != MOVED and found.source and not changed:
        digest += approved.digest_with(found.source)
    recorded.home = last_place(sink, recorded)
    before = msgspec.structs.replace(recorded)
    recorded.place, recorded.digest, recorded.is_deleted = found.place, digest, False
    if recorded.sent_text is not None:
        forget_writes(db, sink.name, [recorded.key])
    if recorded.base_text is None or merge.base != recorded.base:
        recorded.base_text = declared_tables.json_text(merge.base)
    if recorded != before:
        record(db, sink, recorded, at_ms)
    return refusals
