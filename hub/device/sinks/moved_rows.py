"""Rows that people or programs moved within or between files of a target: how they are found.

Of several lines of a row that at its recorded place counts. One in an archive, or in the note
of an earlier day, is a copy that was left behind, if there is another line. One in words of others, as in a
clipped page or a quotation, is no row. While it is there, the row is not deleted: its owner may have quoted
it. A row that was moved has its place and its tick from there, but neither title nor day (``merging``).
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from hub.device.sinks.approved_rows import ApprovedRow
from hub.device.sinks.recorded_rows import RecordedRow
from hub.device.sinks.sink import Sink
from hub.device.sinks.target import Found, SearchingTarget, Snapshot, Target, is_archived


def locate_rows(
    db: sqlite3.Connection, sink: Sink, recorded: Mapping[str, RecordedRow], snapshot: Snapshot
) -> tuple[Snapshot, list[str]]:
    """Return the snapshot with the rows that were moved, and the keys of rows that another look decides.

    An open row in a file that is none of the sink's is not certain: that file may be a copy of a file that is
    being written just now, or was lost.
    """
    target, copies = sink.target, dict[str, Sequence[Found]]()
    found: dict[str, Found] = {}
    strays: dict[str, Found] = {}
    for key, several in snapshot.copies.items():
        copies[key] = _valid_lines(target, [line for line in several if not line.is_by_others])
    for key, row in recorded.items():
        single = snapshot.found.get(key)
        lines = copies.get(key, [single] if single and not single.is_by_others else [])
        if single and not lines:
            strays[key] = single
        line = next((line for line in lines if line.place == row.place), next(iter(lines), None))
        # A row that is being written was not moved to an archive: a line there is older.
        if line and not (row.base_text is None and is_archived(target, line.place, line.fields)):
            found[key] = line
    snapshot = snapshot._replace(found=found, copies=copies, strays={**snapshot.strays, **strays})
    if not isinstance(target, SearchingTarget):
        return snapshot, []
    written = {key for key, row in recorded.items() if row.is_written}
    earlier = {
        key: found.pop(key)
        for key in written & found.keys()
        if found[key].place != recorded[key].place and _is_earlier(sink, recorded[key], found[key])
    }
    absent = {
        key: row for key, row in recorded.items() if key not in found and key not in snapshot.unreadable
    }
    lost = {key: last_place(sink, row) for key, row in absent.items() if row.is_written}
    again = {key: last_place(sink, row) for key, row in absent.items() if row.is_again}
    # A release that searched no archives took archived rows for deleted ones.
    deleted = {key: last_place(sink, row) for key, row in absent.items() if row.is_deleted}
    if lost.keys() <= snapshot.strays.keys() and not again and target.was_searched(deleted | lost):
        return snapshot, []
    query = "SELECT DISTINCT place FROM sink_rows WHERE sink NOT IN (?, '')"
    others = {place for (place,) in db.execute(query, (sink.name,))}
    wider = target.search(snapshot, deleted | again | lost, others)
    found |= {
        key: line
        for key, line in wider.found.items()
        # A row that was being written when the process died may have left an archive before that.
        if key in again
        and not (is_archived(target, line.place, line.fields) and line.at_ms < recorded[key].sent_ms)
    }
    undecided: list[str] = []
    for key in sorted(deleted | lost):
        row, line = recorded[key], wider.found.get(key) or earlier.get(key)
        is_own = line is not None and target.owns(line.place)
        is_archive = line is not None and is_archived(target, line.place, line.fields)
        is_certain = is_archive or (line is not None and is_own and not _is_earlier(sink, row, line))
        if not is_certain and (key in deleted or is_archived(target, row.place, row.base)):
            continue  # what an archive has lost is no copy in an earlier note
        if not is_certain:
            undecided.append(key)
        if line is not None and (is_own or is_archive or row.place not in snapshot.missing):
            found[key] = line
    return wider._replace(found=found, strays={**strays, **wider.strays}), undecided


def _valid_lines(target: Target, lines: Sequence[Found]) -> list[Found]:
    """Return the lines of a row without copies that were left behind; in archives alone, the last line."""
    current = [line for line in lines if not is_archived(target, line.place, line.fields)] or [*lines[-1:]]
    latest = current[0].place if current else ""  # of several days
    return [line for line in current if line.place == latest or not target.owns(line.place)]


def _is_earlier(sink: Sink, row: RecordedRow, line: Found) -> bool:
    """Return True for a line in the note of an earlier day than the last one that had the row."""
    return line.place < last_place(sink, row) and sink.target.owns(line.place)


def last_place(sink: Sink, row: RecordedRow) -> str:
    """Return the last place of the sink that a row had."""
    return row.place if sink.target.owns(row.place) else row.home


def leaves_place(sink: Sink, row: RecordedRow, approved: ApprovedRow) -> bool:
    """Return True if a row leaves its place: it was reopened in an archive, or the settings changed."""
    if sink.target.owns(row.place):
        return False
    was_done, is_done = (fields.get("status") == "done" for fields in (row.base, approved.fields))
    is_reopened = was_done and not is_done and not row.is_unchanged(approved)
    return is_reopened or not sink.target.owns(row.home)


def vanished_places(sink: Sink, recorded: Iterable[RecordedRow], snapshot: Snapshot) -> set[str]:
    """Return the places that are missing though rows were written to them, and are nowhere else."""
    lost = (row for row in recorded if row.is_written and row.key not in snapshot.found)
    return {*snapshot.missing} & {
        row.place for row in lost if not is_archived(sink.target, row.place, row.base)
    }
