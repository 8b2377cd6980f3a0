"""Synchronization of approved rows with a target: reading, merging, writing, retry after a conflict.

The key of a row is derived from its table and id, and its place and fields are noted before it is written:
those of a file just before the file is exchanged. So a row is found again, and merged, that was written, but
not recorded, when the process died. If another program changes the target meanwhile, ``_TRIES`` attempts are
made.
"""

import sqlite3
from collections.abc import Collection, Mapping, Sequence, Set
from datetime import datetime
from typing import Final

import msgspec

from hub.base.clock import epoch_ms
from hub.base.log import Channel
from hub.base.name_lists import counted
from hub.base.outbound.refusal_reach import RefusalScope
from hub.device import declared_tables
from hub.device.moved_files import note_replaced
from hub.device.schema import transaction
from hub.device.sinks import answers
from hub.device.sinks.approved_rows import ApprovedRow, approved_rows
from hub.device.sinks.listed_sources import listed_already
from hub.device.sinks.merging import Merge, apply_merge, merge_row
from hub.device.sinks.moved_rows import leaves_place, locate_rows, vanished_places
from hub.device.sinks.recorded_rows import (
    RecordedRow,
    forget,
    forget_writes,
    mark_of,
    note_change,
    note_writes,
    record,
    recorded_rows,
    settle_unfinished,
)
from hub.device.sinks.sink import Sink
from hub.device.sinks.target import Found, Snapshot, TargetChanged, is_archived
from hub.device.sinks.waits import WaitReason, due_keys, end_waits, missed_until, note_refusals, waits_of
from hub.text.rows.marks import KINDS
from hub.text.rows.row import Put, TargetFailed
from protocol.calls import PlaceProblem

log = Channel(__name__)
_TRIES: Final = 5  # of a target that another program changes at the same time
_STATE: Final = """
INSERT INTO sink_states VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (sink) DO UPDATE SET
(at_ms, problem, why, kind, missing) =
(excluded.at_ms, excluded.problem, excluded.why, excluded.kind, excluded.missing)
WHERE (problem, kind, missing) != (excluded.problem, excluded.kind, excluded.missing)
"""


_PLACES: Final = "SELECT DISTINCT place FROM sink_rows WHERE sink = ?"


class Synced(msgspec.Struct):
    """Result of a synchronization: numbers of rows, the places of all rows, and a problem, if any.

    *why*: the problem in a word that hubs may know; *missing*: places that vanished with all their rows.
    *missed*: rows and places that were not found, which another look at *again_ms* (epoch ms) decides.
    """

    written: int = 0
    removed: int = 0
    taken_back: int = 0
    deleted: int = 0
    missed: int = 0
    again_ms: int = 0
    problem: str = ""
    places: frozenset[str] = frozenset()
    why: str = ""
    missing: Sequence[str] = ()

    def fail(self, error: Exception) -> None:
        """Note why a synchronization failed."""
        is_known = isinstance(error, TargetFailed)
        self.problem = str(error) if is_known else f"{type(error).__name__}: {error}"
        self.why = error.why if isinstance(error, TargetFailed) else PlaceProblem.FAILED


def synchronize(db: sqlite3.Connection, sink: Sink, now: datetime) -> Synced:
    """Synchronize the approved rows with the target; a problem of the target is in the result.

    Raises:
        sqlite3.Error: the device's file cannot be written.
    """
    synced = Synced()
    settle_unfinished(db, [place for (place,) in db.execute(_PLACES, (sink.name,))])
    for attempt in range(_TRIES):
        try:
            _Pass(db, sink, now, synced, is_last=attempt == _TRIES - 1).run()
            synced.problem = synced.why = ""
            break
        except TargetFailed as error:
            synced.fail(error)
            synced.problem += answers.request_consent(db, sink.name, error)
            if not isinstance(error, TargetChanged):
                break
        except sqlite3.Error:
            raise
        except Exception as error:  # of a package of others: it ends neither the device nor other sinks
            log.error("device.sink.failed", exc=error, sink=sink.name)
            synced.fail(error)
            break
    # Nothing is written where nothing has changed: other connections would take it for a change of rows.
    state = (epoch_ms(now), synced.problem, synced.why, sink.kind, declared_tables.json_text(synced.missing))
    db.execute(_STATE, (sink.name, *state))
    return synced


class _Pass:
    """Comparison of both sides, after which each side has what was changed at the other one."""

    def __init__(
        self, db: sqlite3.Connection, sink: Sink, now: datetime, synced: Synced, *, is_last: bool
    ) -> None:
        self._db, self._sink, self._now, self._synced, self._is_last = db, sink, now, synced, is_last
        self._at_ms, self._version = epoch_ms(now), _version(db)
        self._declared = declared_tables.tables_of(db)
        self._recorded = recorded_rows(db, sink.name)
        keys = {(row.tbl, row.row_id): key for key, row in self._recorded.items()}
        self._approved = approved_rows(db, sink.tables, keys, has_marks=sink.kind in KINDS)
        self._waits = waits_of(db, sink.name, WaitReason.REFUSED)
        self._merges: dict[str, Merge] = {}
        self._removed: dict[str, None] = {}
        self._errors: dict[str, TargetFailed] = {}  # of single rows
        self._problems: list[str] = []

    def run(self) -> None:
        """Synchronize both sides.

        Raises:
            TargetChanged: another attempt is to be made.
            TargetFailed: the target, or one of its rows, has a problem; all others are synchronized.
        """
        self._record_new_rows()
        of_sink = [self._declared[name] for name in self._sink.tables if name in self._declared]
        all_rows = self._recorded.values()
        refusals = answers.refusals_of_places(self._db, self._sink, all_rows, of_sink, self._now)
        snapshot, lost = self._read(refusals)
        vanished = self._vanished(snapshot)
        self._describe(snapshot)
        with transaction(self._db):
            if _version(self._db) != self._version:  # what was read may be older than an edit of the owner
                raise TargetChanged("the device's file is being changed; the next synchronization follows")
            lost = [key for key in lost if self._recorded[key].place not in vanished]
            missed = self._missed([*lost, *vanished])
            self._compare(snapshot, vanished, missed)
            puts, removed = self._due()
            of_servers = (put for put in puts.values() if put.place not in snapshot.contents)
            marks = ((put, mark_of(snapshot.found.get(put.key))) for put in of_servers)
            note_writes(self._db, self._sink.name, marks)
        self._synced.missing = sorted(vanished - missed)
        self._synced.places |= {row.place for row in self._recorded.values()}
        self._handle_errors(has_accepted=self._write(snapshot, puts, removed))
        self._report(refusals)

    def _record_new_rows(self) -> None:
        """Record new rows before they are written: a process that dies in between finds them there."""
        fresh = [
            key
            for key, row in self._approved.items()
            if key not in self._recorded or leaves_place(self._sink, self._recorded[key], row)
        ]
        # Of a row whose place is no longer in the settings, what was written before is the owner's.
        listed = listed_already(self._db, self._sink, fresh, self._sink.target.fresh_place(self._now))
        owns = self._sink.target.owns
        left = {
            key
            for key, row in self._recorded.items()
            if key not in self._approved and not owns(row.place) and not owns(row.home)
        }
        for key in (listed | left) & self._recorded.keys():
            forget(self._db, self._sink.name, key)
            del self._recorded[key]
        new = {key: self._approved[key] for key in fresh if key not in listed}
        if new:
            place = self._sink.target.fresh_place(self._now)
            with transaction(self._db):
                forget_writes(self._db, self._sink.name, new)
                for key, row in new.items():
                    self._recorded[key] = RecordedRow(key, row.table.name, row.row_id, place)
                    record(self._db, self._sink, self._recorded[key], self._at_ms)

    def _read(self, refusals: Mapping[str, TargetFailed]) -> tuple[Snapshot, list[str]]:
        """Return the rows at the target, and the keys of rows that another look decides.

        New rows for places with *refusals* are left out.
        """
        tables = {key: self._declared.of(row.tbl) for key, row in self._recorded.items()}
        places = {row.place for row in self._recorded.values()}
        self._synced.places = self._sink.places_to_read(places, self._now)
        self._recorded = {
            key: row
            for key, row in self._recorded.items()
            if row.base_text is not None or row.place not in refusals
        }
        if refusals and not self._recorded:
            raise min(refusals.items())[1]
        snapshot = self._sink.target.read(self._synced.places, tables)
        snapshot, lost = locate_rows(self._db, self._sink, self._recorded, snapshot)
        return snapshot, [key for key in lost if key in self._approved]

    def _vanished(self, snapshot: Snapshot) -> set[str]:
        """Return the places that vanished with their rows; new rows wait, too, if there is no other place."""
        vanished = vanished_places(self._sink, self._recorded.values(), snapshot)
        if vanished and self._synced.places <= {*snapshot.missing}:
            vanished = {*snapshot.missing}
        return vanished

    def _describe(self, snapshot: Snapshot) -> None:
        """Note the tables that do not exist, and the rows that are on several lines."""
        declared = self._declared
        self._problems += [
            f"there is no table {name}; there are {', '.join(declared)}"
            for name in self._sink.tables
            if name not in declared
        ]
        copied = ((key, lines) for key, lines in snapshot.copies.items() if len(lines) > 1)
        self._problems += [
            f"{first.place}:{first.line} and {other.place}:{other.line} are one item,"
            f" {self._approved[key].title!r}: remove its key from one of the lines;"
            f" until then the first one in {snapshot.found[key].place} counts"
            for key, (first, other, *_) in copied
            if key in self._approved and key in snapshot.found
        ]
        self._problems += [
            f"{line.place}:{line.line} has the key of {self._approved[key].title[:80]!r}, but is by others,"
            " as in a clipped page: nothing is taken from there; remove the key"
            for key, line in snapshot.strays.items()
            if key in self._approved and key not in snapshot.found
        ]

    def _missed(self, lost: Collection[str]) -> Set[str]:
        """Return those of the *lost* rows, by their keys, and places that wait for another look."""
        missed = missed_until(self._db, self._sink.name, lost, self._at_ms)
        self._synced.missed, self._synced.again_ms = len(missed), min(missed.values(), default=0)
        return missed.keys()

    def _compare(self, snapshot: Snapshot, vanished: Collection[str], missed: Collection[str]) -> None:
        """Change the rows here as they were changed at the target, and decide what is written there."""
        held = {row.place for key, row in self._recorded.items() if key in missed}
        agreed: set[str] = set()
        for key, row in self._recorded.items():
            found = snapshot.found.get(key)
            place = row.place if found is None else found.place
            if place in vanished or place in held or key in missed:
                continue
            unreadable = snapshot.unreadable.get(key) or snapshot.unreadable.get(row.place)
            if found is None and unreadable:
                self._problems.append(unreadable)
            elif self._compare_row(row, self._approved.get(key), found, is_quoted=key in snapshot.strays):
                agreed.add(key)
        known = self._recorded.keys() | self._approved.keys()
        end_waits(self._db, self._sink.name, self._waits.keys() & agreed | self._waits.keys() - known)

    def _compare_row(
        self, row: RecordedRow, approved: ApprovedRow | None, found: Found | None, *, is_quoted: bool
    ) -> bool:
        """Compare both sides of a row; return True if there is nothing to write to the target.

        *is_quoted*: a line in words of others has its key, so that it was not deleted.
        """
        place, fields = (row.place, row.base) if found is None else (found.place, found.fields)
        is_history = is_archived(self._sink.target, place, fields)
        if approved is None and (found is None or is_history):
            forget(self._db, self._sink.name, row.key)
        elif approved is None:
            self._removed[row.key] = None
            return False
        elif found is None and row.base_text is not None:
            if not is_history and not row.is_deleted and not is_quoted:
                self._note_deleted(row, approved)
        elif found is None or not row.is_current(approved, found):
            return self._merge(row, approved, found)
        return True

    def _note_deleted(self, row: RecordedRow, approved: ApprovedRow) -> None:
        self._synced.deleted += 1
        row.is_deleted = True
        record(self._db, self._sink, row, self._at_ms)
        what = "deleted at the target"
        note_change(self._db, self._sink.name, row, self._at_ms, what, approved.fields, {})

    def _merge(self, row: RecordedRow, approved: ApprovedRow, found: Found | None) -> bool:
        """Merge both sides of a row; return True if there is nothing to write to the target."""
        if found is not None and not found.fields:
            problem = f"{found.place}: {approved.title[:80]!r} is not readable there: mend or delete it"
            self._problems.append(problem)
            return False
        try:
            merge = merge_row(self._db, self._sink, row, approved, found)
        except Exception as error:  # of a format, or of a package of others: it is of this row
            reason = f"{error}" if isinstance(error, TargetFailed) else f"it fails: {error!r}"
            self._errors[row.key] = TargetFailed(reason, PlaceProblem.REFUSED, RefusalScope.ROW)
            return False
        if found is not None:
            self._problems += apply_merge(self._db, self._sink, row, approved, found, merge, self._at_ms)
        self._synced.taken_back += bool(merge.back)
        if merge.written is None:
            return True
        self._merges[row.key] = merge
        return False

    def _due(self) -> tuple[Mapping[str, Put], Sequence[str]]:
        """Return the rows to write now, by key, and the keys of those to remove."""
        changed_ms = {key: self._approved[key].at_ms for key in self._waits.keys() & self._approved.keys()}
        keys = [*self._merges, *self._removed, *self._errors]
        due = due_keys(self._waits, keys, changed_ms, self._at_ms)
        self._errors = {key: error for key, error in self._errors.items() if key in due}
        puts = {key: self._row_to_write(key, self._merges[key]) for key in due if key in self._merges}
        return puts, [key for key in due if key in self._removed]

    def _write(self, snapshot: Snapshot, puts: Mapping[str, Put], removed: Sequence[str]) -> bool:
        """Write and remove rows; return True if the target has accepted one."""
        if not puts and not removed:
            return False
        agreed = answers.confirmed(self._db, self._sink.name)
        try:
            snapshot = snapshot._replace(agreed=agreed, note=self._note)
            results = self._sink.target.write(snapshot, [*puts.values()], removed)
        except TargetFailed:
            if len({put.place for put in puts.values()}) == 1:  # of several, the first may be written
                forget_writes(self._db, self._sink.name, puts)
            raise
        left = {key: result for key, result in results.items() if not isinstance(result, Found)}
        self._errors |= {key: error for key, error in left.items() if error is not None}
        accepted = [key for key in (*puts, *removed) if key not in left]
        places = {puts[key].place if key in puts else snapshot.found[key].place for key in accepted}
        with transaction(self._db):
            unknown = {key for key, error in left.items() if error is not None and error.is_of_all}
            forget_writes(self._db, self._sink.name, puts.keys() - unknown)
            for place in places:
                note_replaced(self._db, place)
            for key in accepted:
                if key in puts:
                    self._record_written(puts[key], results.get(key))
                else:
                    self._record_removed(self._recorded[key], snapshot.found[key])
            end_waits(self._db, self._sink.name, self._waits.keys() & {*accepted})
        return bool(accepted)

    def _note(self, puts: Sequence[Put], inode: int) -> None:
        """Note the rows of a file that is about to be exchanged for one with this *inode*."""
        with transaction(self._db):
            note_writes(self._db, self._sink.name, ((put, inode) for put in puts))

    def _row_to_write(self, key: str, merge: Merge) -> Put:
        approved, row, fields = self._approved[key], self._recorded[key], merge.written or {}
        return Put(
            key, approved.table, fields, row.place, row.sent_ms if fields == row.sent else approved.at_ms
        )

    def _record_written(self, put: Put, result: object) -> None:
        """Record a row that the target has, with its place and fields there where they differ."""
        row, approved = self._recorded[put.key], self._approved[put.key]
        merge = self._merges[put.key]
        expressed = merge.expressed
        stored = result if isinstance(result, Found) else Found(expressed, row.place, self._at_ms)
        base = {name: text for name, text in stored.fields.items() if name not in merge.unsettled}
        base |= {name: merge.base[name] for name in merge.unsettled & merge.base.keys()}
        row.base_text, row.place = declared_tables.json_text(base), stored.place
        is_agreed = put.fields == approved.fields and (bool(stored.source) or stored.fields == expressed)
        row.digest = approved.digest if is_agreed else merge.mark
        record(self._db, self._sink, row, self._at_ms)
        self._synced.written += 1

    def _record_removed(self, row: RecordedRow, last: Found) -> None:
        if last.fields != row.base:
            note_change(self._db, self._sink.name, row, self._at_ms, "removed", row.base, last.fields)
        forget(self._db, self._sink.name, row.key)
        self._synced.removed += 1

    def _handle_errors(self, *, has_accepted: bool) -> None:
        """Store the refusals of single rows.

        Raises:
            TargetFailed: the target refuses all rows, or another program changed a row meanwhile.
        """
        changed = {
            key: error
            for key, error in self._errors.items()
            if isinstance(error, TargetChanged) and not self._is_last
            if key not in self._waits or not self._waits[key].tries
        }
        refused = {key: error for key, error in self._errors.items() if key not in changed}
        if refused:
            with transaction(self._db):
                of_place = note_refusals(
                    self._db, self._sink.name, self._waits, refused, has_accepted, self._at_ms
                )
            if of_place is not None:
                raise of_place
        for error in changed.values():  # the next attempt reads these rows again, and merges
            raise error

    def _report(self, refusals: Mapping[str, TargetFailed]) -> None:
        """Raise the most important problem that is left, if any."""
        if missing := self._synced.missing:
            remedy = "put it back, or write all again: hub device sync --again"
            raise TargetFailed(f"{missing[0]} is missing or empty: {remedy}", PlaceProblem.MISSING)
        if refusals:
            raise min(refusals.items())[1]
        if self._problems:
            more = f"; and {len(self._problems) - 1} more" if len(self._problems) > 1 else ""
            raise TargetFailed(self._problems[0] + more, PlaceProblem.UNREADABLE)
        if waits := waits_of(self._db, self._sink.name, WaitReason.REFUSED):
            key, wait = next(iter(waits.items()))
            approved = self._approved.get(key)
            row_id = self._recorded[key].row_id if key in self._recorded else key
            title = row_id if approved is None else approved.title[:80]
            more = f"; and {counted(len(waits) - 1, 'more item')}" if len(waits) > 1 else ""
            raise TargetFailed(f"{title!r}: {wait.reason}{more}", PlaceProblem.REFUSED)


def _version(db: sqlite3.Connection) -> int:
    """Return a number that changes with each commit of another connection."""
    (version,) = db.execute("PRAGMA data_version").fetchone()
    return int(version)
