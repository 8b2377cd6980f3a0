"""Merge of a row's changes at the device and at the target: which side wins for each field.

The base of a row is the fields that both sides had last: a side whose field differs from it was changed.
Where both sides were changed, the later change counts.
"""

import sqlite3

import msgspec

from hub.device import declared_tables, rows
from hub.device.owner import read_fields
from hub.device.sinks.approved_rows import ApprovedRow
from hub.device.sinks.moved_rows import last_place
from hub.device.sinks.recorded_rows import RecordedRow, note_change, record
from hub.device.sinks.sink import Sink
from hub.device.sinks.target import Found, is_archived
from hub.text.rows.row import Fields


class Merge(msgspec.Struct):
    """Decision about a row: fields to change here, and those to write to the target, if any.

    *expressed*: the fields that the target has after it wrote *written*. *unsettled*: fields of which
    both sides keep what they have: refused ones, and those that the target has for the first time, with other
    words than here.
    """

    base: dict[str, str]
    back: dict[str, str]
    written: dict[str, str] | None = None
    expressed: Fields = {}
    conflict: bool = False
    unsettled: frozenset[str] = frozenset()


def merge_row(sink: Sink, recorded: RecordedRow, approved: ApprovedRow, found: Found | None) -> Merge:
    """Decide about a row that is not as it was recorded, or that its target does not have yet.

    Raises:
        TargetFailed: the target cannot express the row.
    """
    if found is None:
        expressed = sink.target.expressed(approved.table, approved.fields)
        return Merge({}, {}, approved.fields, expressed)
    base = recorded.base
    # Such as a column that became that of a field.
    new = set() if recorded.base_text is None else found.fields.keys() - base.keys()
    is_unchanged = recorded.is_unchanged(approved) and not new
    own = base if is_unchanged else sink.target.expressed(approved.table, approved.fields)
    unsettled = {name for name in new if "" != found.fields[name] != own.get(name, "") != ""}
    merge = Merge({}, {}, unsettled=frozenset(unsettled))
    remote_edits: dict[str, str] = {}
    is_written = False
    for name, theirs in found.fields.items():
        if name in unsettled:
            remote_edits[name] = theirs
            continue
        ours, before = own.get(name, ""), base.get(name, "" if name in new else None)
        if before is not None and found.former.get(name) == before:
            theirs = before  # unchanged since a former release wrote it
        merge.base[name] = theirs
        if ours == theirs:
            continue
        is_local_edit, is_remote_edit = ours != before, theirs != before
        merge.conflict |= is_local_edit and is_remote_edit and before is not None
        if is_remote_edit and (not is_local_edit or found.at_ms > approved.at_ms):
            merge.back |= {name: theirs} if sink.back else {}
            remote_edits[name] = theirs
        else:
            is_written = True
            merge.base[name] = before or ""
    if is_written and not is_archived(sink.target, found.place, found.fields):
        merge.written = {**approved.fields, **remote_edits}
        merge.expressed = sink.target.expressed(approved.table, merge.written)
    return merge


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
        f" {approved.fields.get(name, '')[:40]!r}: empty one of the two; until then both stay"
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
    approved.fields = approved.fields | changed
    digest = approved.digest if merge.written is None and not refusals else ""
    if digest and found.source and not changed:
        digest += approved.digest_with(found.source)
    recorded.home = last_place(sink, recorded)
    before = msgspec.structs.replace(recorded)
    recorded.place, recorded.digest, recorded.is_deleted = found.place, digest, False
    if recorded.base_text is None or merge.base != recorded.base:
        recorded.base_text = declared_tables.json_text(merge.base)
    if recorded != before:
        record(db, sink, recorded, at_ms)
    return refusals
