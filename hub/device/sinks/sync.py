"""Synchronization of a device's approved rows with one target, tried again if the target changes meanwhile.

The key of a row is derived from its table and id, and its place is recorded before it is written. So a row is
found again that was written, but not recorded, when the process died. The base of a row is the fields that
both sides had last: a side whose field differs from it was changed. If another program changes the target
meanwhile, ``_TRIES`` attempts are made.
"""

import hashlib
import re
import sqlite3
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Final

import msgspec

from hub.clock import epoch_ms
from hub.device import rows
from hub.device.inbox import sources_of
from hub.device.owner import read_fields, typed
from hub.device.schema import quoted, transaction
from hub.device.sinks import answers
from hub.device.sinks.target import (
    Fields,
    Found,
    Put,
    SearchingTarget,
    Snapshot,
    Target,
    TargetChanged,
    TargetFailed,
    is_archived,
)
from hub.device.sinks.waits import (
    Wait,
    WaitReason,
    due_keys,
    end_wait,
    end_waits,
    missed_until,
    note_refusals,
    waits_of,
)
from hub.item_text import plain_lines, with_clean_title
from hub.log import Channel
from hub.outbound.scopes import Scope
from hub.text.row_keys import key_of
from protocol.calls import PlaceProblem
from protocol.frame import Field, Record
from protocol.tables import DeviceTable, Tables

log = Channel(__name__)
MOST_HISTORY: Final = 20_000  # changes that are remembered, of all sinks
_ROWS: Final = """
SELECT key, tbl, row_id, place, base, digest, is_deleted, coalesce(home, '') AS home
FROM sink_rows LEFT JOIN sink_moves USING (sink, key) WHERE sink = ? ORDER BY key
"""
# Done rows in an archive stay there.
_AGAIN: Final = """
UPDATE sink_rows SET base = NULL, is_deleted = 0 WHERE sink = ?1
AND NOT (coalesce(json_extract(base, '$.status'), '') = 'done'
    AND key IN (SELECT key FROM sink_moves WHERE sink = ?1))
"""
_TRIES: Final = 5  # of a target that another program changes at the same time
_DIGEST: Final = 32  # characters
_LISTED: Final = re.compile(r"[ \t>]*(?:[-*+]|\d{1,9}[.)])[ \t]")
_SOURCES: Final = """
SELECT reviews.tbl, reviews.row_id, source_path, quote, quote_start FROM reviews JOIN calls USING (call_id)
WHERE source_path IS NOT NULL
"""


class Sink(msgspec.Struct, frozen=True):
    """Target with the names of its tables; *back*: what is changed at the target is changed here."""

    name: str
    target: Target
    tables: tuple[str, ...]
    back: bool = True
    kind: str = ""


class Synced(msgspec.Struct):
    """Result of a synchronization: numbers of rows, the places of all rows, and a problem, if any.

    *why*: the problem in a word that hubs may know; *missing*: places that vanished with all their rows.
    *missed*: rows that were not found, which another look at *again_ms* (epoch ms) decides.
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


class Deleted(msgspec.Struct, frozen=True):
    """Row that was deleted at a target, and is still here."""

    table: str
    id: str
    title: str


class RefusedRow(msgspec.Struct, frozen=True):
    """Row that its sink refuses, unlike others, with the reason; it is tried again at *until_ms*."""

    table: str
    id: str
    title: str
    reason: str
    tries: int
    until_ms: int


class State(msgspec.Struct):
    """State of a sink: its problem, and the numbers of rows that are there, and that wait."""

    problem: str
    rows: int
    waiting: int
    deleted: list[Deleted] = msgspec.field(default_factory=list)
    refused: list[RefusedRow] = msgspec.field(default_factory=list)


class _Here:
    """Approved row of the device.

    Args:
        stored: its columns, in the order of *names*.
        titles: titles of rows by column of *table* that refers to them, and by id.
    """

    def __init__(
        self,
        table: DeviceTable,
        names: Sequence[str],
        stored: tuple[str | int | float | None, ...],
        remarks: str | None,
        titles: Mapping[str, Mapping[Field, str]],
    ) -> None:
        self.table, self._names, self._stored = table, names, stored
        self._remarks, self._titles = remarks, titles

    @property
    def row_id(self) -> str:
        return str(self._row["id"])

    @property
    def at_ms(self) -> int:
        return int(str(self._row["updatedAt"]))

    @property
    def timezone(self) -> str | None:
        return rows.read_remarks(self._remarks).timezone

    @property
    def _row(self) -> Record:
        return dict(zip(self._names, self._stored, strict=True))

    @property
    def _referred(self) -> Record:
        row = self._row if self._titles else {}
        return {name: titles.get(row[name]) for name, titles in self._titles.items()}

    @cached_property
    def fields(self) -> dict[str, str]:
        """Fields as texts."""
        row = with_clean_title(self.table, rows.on_the_wire(self.table, self._row)) | self._referred
        timezone = self.timezone
        return {
            column.name: plain_lines(typed(column, row.get(column.name), timezone))
            for column in self.table.fields
        }

    @property
    def digest(self) -> str:
        return _digest(msgspec.json.encode(self.fields))

    def digest_with(self, source: str) -> str:
        """Return a digest of all that decides the fields here, and at a target with this *source*."""
        here = msgspec.json.encode((self._stored, self._remarks, self._referred, time.tzname))
        return _digest(here + source.encode("utf-8", "surrogatepass"))


class _Known(msgspec.Struct):
    """Row as it was recorded; without a *base* it is being written for the first time.

    *digest*: of the fields that both sides have, then of their sources; empty if they differ.
    *home*: place of the sink that the row had before its owner moved it to another file.
    """

    key: str
    tbl: str
    row_id: str
    place: str
    base_text: str | None
    digest: str
    is_deleted: bool
    home: str = ""

    @property
    def base(self) -> dict[str, str] | None:
        return None if self.base_text is None else msgspec.json.decode(self.base_text)

    def is_current(self, row: _Here, remote: Found) -> bool:
        """Return True if both sides are as they were when this was recorded."""
        is_written = self.base_text is not None and not self.is_deleted and self.place == remote.place
        return is_written and self.digest[_DIGEST:] == row.digest_with(remote.source)


class _Merge(msgspec.Struct):
    """Decision about a row: fields to change here, and those to write to the target, if any.

    *expressed*: the fields that the target has after it wrote *put*.
    """

    base: dict[str, str]
    back: dict[str, str]
    put: dict[str, str] | None = None
    expressed: Fields = {}
    conflict: bool = False


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGEST]


def synchronize(db: sqlite3.Connection, sink: Sink, now: datetime) -> Synced:
    """Synchronize the approved rows with the target; a problem of the target is in the result.

    Raises:
        sqlite3.Error: the device's file cannot be written.
    """
    synced = Synced()
    for attempt in range(_TRIES):
        try:
            _pass(db, sink, now, synced, is_last=attempt == _TRIES - 1)
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
    db.execute(
        "INSERT INTO sink_states VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (sink) DO UPDATE SET"
        " (at_ms, problem, why, kind, missing) ="
        " (excluded.at_ms, excluded.problem, excluded.why, excluded.kind, excluded.missing)"
        " WHERE (problem, kind, missing) != (excluded.problem, excluded.kind, excluded.missing)",
        (sink.name, epoch_ms(now), synced.problem, synced.why, sink.kind, rows.json_text(synced.missing)),
    )
    return synced


def current_places(sink: Sink, places: Collection[str], now: datetime) -> frozenset[str]:
    """Return the places to read: those of rows, and the newest one, to which rows may have been moved."""
    newest = {sink.target.fresh_place(now)} if places and isinstance(sink.target, SearchingTarget) else set()
    return frozenset({*places, *newest})


def states(db: sqlite3.Connection) -> dict[str, State]:
    """Return the state of each sink that was synchronized, by name."""
    query = (
        "SELECT sink_states.sink, problem, count(base) - sum(is_deleted), count(key) - count(base)"
        " FROM sink_states LEFT JOIN sink_rows USING (sink) GROUP BY sink_states.sink"
    )
    deleted = "SELECT sink, tbl, row_id FROM sink_rows WHERE is_deleted ORDER BY sink, key"
    found = {sink: State(problem, rows or 0, new or 0) for sink, problem, rows, new in db.execute(query)}
    tables = rows.tables_of(db)
    for sink, name, row_id in db.execute(deleted).fetchall():
        table = tables.of(name)
        if sink in found and (row := rows.find(db, table, row_id)) is not None:
            found[sink].deleted.append(Deleted(name, row_id, str(row[table.title])))
    for sink, state in found.items():
        for wait in waits_of(db, sink, WaitReason.REFUSED).values():
            state.refused += _refused_row(db, tables, sink, wait)
    return found


def _refused_row(db: sqlite3.Connection, tables: Tables, sink: str, wait: Wait) -> Iterable[RefusedRow]:
    """Return the refused row of a wait, if the sink has it; the title of a deleted row is its id."""
    query = "SELECT tbl, row_id FROM sink_rows WHERE sink = ? AND key = ?"
    for name, row_id in db.execute(query, (sink, wait.key)).fetchall() if wait.tries else ():
        table = tables.of(name)
        row = rows.find(db, table, row_id)
        title = row_id if row is None else str(row[table.title])
        yield RefusedRow(name, row_id, title, wait.reason, wait.tries, wait.until_ms)


def forget_others(db: sqlite3.Connection, names: Collection[str]) -> None:
    """Forget that rows are at other sinks than these; what was written there stays."""
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'sink_states'").fetchone() is not None:
        known = {sink for (sink,) in db.execute("SELECT sink FROM sink_states")}
        db.executemany("DELETE FROM sink_states WHERE sink = ?", [(sink,) for sink in known - {*names}])
        end_waits(db, known - {*names})


def write_again(db: sqlite3.Connection, sink: str) -> int:
    """Mark the rows of a sink to be written again where they are missing; return their number."""
    end_waits(db, [sink])
    return db.execute(_AGAIN, (sink,)).rowcount


def _pass(db: sqlite3.Connection, sink: Sink, now: datetime, synced: Synced, *, is_last: bool) -> None:
    at_ms, version = epoch_ms(now), _version(db)
    known = _recorded(db, sink.name)
    here = _rows(db, sink.tables, {(one.tbl, one.row_id): key for key, one in known.items()})
    # Of a row whose place is no longer in the settings, what was written before is the owner's.
    fresh = [key for key, row in here.items() if key not in known or _leaves(sink, known[key], row)]
    listed = _listed_already(db, sink, fresh)
    for key in listed & known.keys():
        _forget(db, sink.name, key)
        del known[key]
    fresh = [key for key in fresh if key not in listed]
    if fresh:  # before they are written: a process that dies in between finds them at their place
        place = sink.target.fresh_place(now)
        with transaction(db):
            for key in fresh:
                new = here[key]
                known[key] = _Known(key, new.table.name, new.row_id, place, None, "", False)
                _record(db, sink, known[key], at_ms)
    declared = rows.tables_of(db)
    tables = {key: declared.of(one.tbl) for key, one in known.items()}
    synced.places = current_places(sink, {one.place for one in known.values()}, now)
    of_sink = [declared[name] for name in sink.tables if name in declared]
    refusals = _refusals(db, sink, known.values(), of_sink, now)
    known = {key: row for key, row in known.items() if row.base_text is not None or row.place not in refusals}
    if refusals and not known:
        raise min(refusals.items())[1]
    snapshot, lost = _searched(db, sink, known, sink.target.read(synced.places, tables))
    vanished = _vanished(sink, known.values(), snapshot)
    if vanished and synced.places <= {*snapshot.missing}:  # then new rows wait, too
        vanished = {*snapshot.missing}
    synced.missing = sorted(vanished)
    merges: dict[str, _Merge] = {}
    removed: list[str] = []
    waits = waits_of(db, sink.name, WaitReason.REFUSED)
    errors: dict[str, TargetFailed] = {}
    settled: set[str] = set()
    problems: list[str] = [
        f"there is no table {name}; there are {', '.join(declared)}"
        for name in sink.tables
        if name not in declared
    ]
    problems += [
        f"{first.place}:{first.line} and {other.place}:{other.line} are one item,"
        f" {here[key].fields[here[key].table.title]!r}: remove its key from one of the lines;"
        f" until then the first one in {snapshot.found[key].place} counts"
        for key, (first, other, *_) in snapshot.copies.items()
        if key in here and key in snapshot.found
    ]
    with transaction(db):
        if _version(db) != version:  # what was read may be older than an edit of the owner
            raise TargetChanged("the device's file is being changed; the next synchronization follows")
        lost = [key for key in lost if key in here and known[key].place not in vanished]
        missed = missed_until(db, sink.name, lost, at_ms)
        synced.missed, synced.again_ms = len(missed), min(missed.values(), default=0)
        held = {known[key].place for key in missed}
        for key, one in known.items():
            row, remote = here.get(key), snapshot.found.get(key)
            place, fields = (one.place, one.base or {}) if remote is None else (remote.place, remote.fields)
            if place in vanished or place in held or key in missed:
                continue
            unreadable = snapshot.unreadable.get(key) or snapshot.unreadable.get(one.place)
            if remote is None and unreadable:
                problems.append(unreadable)
                continue
            settled.add(key)
            is_history = is_archived(sink.target, place, fields)
            if row is None:
                if remote is not None and not is_history:
                    removed.append(key)
                else:
                    _forget(db, sink.name, key)
            elif remote is None and one.base_text is not None:
                if not is_history:
                    synced.deleted += not one.is_deleted
                    _note_deleted(db, sink, one, row, at_ms)
            elif remote is None or not one.is_current(row, remote):
                try:
                    merge = _merged(sink, one, row, remote)
                    merge.put = None if is_history else merge.put
                    if merge.put is not None:
                        merge.expressed = sink.target.expressed(row.table, merge.put)
                except Exception as error:  # of a format, or of a package of others: it is of this row
                    reason = f"{error}" if isinstance(error, TargetFailed) else f"it fails: {error!r}"
                    errors[key] = TargetFailed(reason, PlaceProblem.REFUSED, Scope.ROW)
                    continue
                problems += _take_back(db, sink, one, row, remote, merge, at_ms)
                synced.taken_back += bool(merge.back)
                if merge.put is not None:
                    merges[key] = merge
        for key in waits.keys() & settled - merges.keys() - errors.keys() - {
            *removed
        }:  # the sides agree by now
            end_wait(db, sink.name, key)
    synced.places |= {one.place for one in known.values()}
    changed_ms = {key: here[key].at_ms for key in waits.keys() & here.keys()}
    due = due_keys(waits, [*merges, *removed, *errors], changed_ms, at_ms)
    errors = {key: error for key, error in errors.items() if key in due}
    removed = [key for key in due if key in {*removed}]
    puts = [
        Put(key, here[key].table, merges[key].put or {}, known[key].place, here[key].at_ms)
        for key in due
        if key in merges
    ]
    if puts or removed:
        snapshot = snapshot._replace(agreed=answers.confirmed(db, sink.name))
        other = sink.target.write(snapshot, puts, removed)
        left = {key: result for key, result in other.items() if not isinstance(result, Found)}
        errors |= {key: error for key, error in left.items() if error is not None}
        puts = [put for put in puts if put.key not in left]
        removed = [key for key in removed if key not in left]
        with transaction(db):
            for put in puts:
                one, row = known[put.key], here[put.key]
                expressed = merges[put.key].expressed
                result = other.get(put.key)
                stored = result if isinstance(result, Found) else Found(expressed, one.place, at_ms)
                one.base_text, one.place = rows.json_text(dict(stored.fields)), stored.place
                is_agreed = put.fields == row.fields and stored.fields == expressed
                one.digest = row.digest if is_agreed else ""
                _record(db, sink, one, at_ms)
            for key in removed:
                before, last = known[key], snapshot.found[key].fields
                if last != before.base:
                    _note(db, sink.name, before, at_ms, "removed", before.base or {}, last)
                _forget(db, sink.name, key)
            for key in waits.keys() & {*removed, *(put.key for put in puts)}:
                end_wait(db, sink.name, key)
        synced.written += len(puts)
        synced.removed += len(removed)
    tries = {key: waits[key].tries if key in waits else 0 for key in errors}
    is_again = {key: isinstance(error, TargetChanged) and not tries[key] for key, error in errors.items()}
    changed = [error for key, error in errors.items() if is_again[key] and not is_last]
    refused = {key: error for key, error in errors.items() if error not in changed}
    if refused:
        with transaction(db):
            of_place = note_refusals(db, sink.name, waits, refused, bool(puts or removed), at_ms)
        if of_place is not None:
            raise of_place
    if changed:  # the next attempt reads these rows again, and merges
        raise changed[0]
    if vanished:
        place = min(vanished)
        raise TargetFailed(
            f"{place} is missing or empty: put it back, or write all again: hub device sync --again",
            PlaceProblem.MISSING,
        )
    if refusals:
        raise min(refusals.items())[1]
    if problems:
        more = f"; and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise TargetFailed(problems[0] + more, PlaceProblem.UNREADABLE)
    if waits := waits_of(db, sink.name, WaitReason.REFUSED):
        key, wait = next(iter(waits.items()))
        title = here[key].fields.get(here[key].table.title, "")[:80] if key in here else known[key].row_id
        more = f"; and {len(waits) - 1} more items" if len(waits) > 1 else ""
        raise TargetFailed(f"{title!r}: {wait.reason}{more}", PlaceProblem.REFUSED)


def _listed_already(db: sqlite3.Connection, sink: Sink, keys: Collection[str]) -> set[str]:
    """Return those of *keys* whose rows were found in the target's own files: there they are already.

    What is changed or deleted there later stays so. In Markdown this holds for lists: out of prose, a row
    becomes a line.
    """
    found: set[str] = set()
    sources, own = sources_of(db), dict[str, bool]()
    for table, row_id, path, quote, start in db.execute(_SOURCES) if keys else ():
        if path not in own:
            file = sources.file(path)
            own[path] = file is not None and any(map(sink.target.owns, {str(file), str(file.resolve())}))
        if own[path] and (key := key_of(table, row_id)) in keys:
            line = sources.line(path, quote, start) if sink.kind == "markdown" else None
            if line is None or _LISTED.match(line):
                found.add(key)
    return found


def _refusals(
    db: sqlite3.Connection,
    sink: Sink,
    known: Collection[_Known],
    tables: Collection[DeviceTable],
    now: datetime,
) -> dict[str, TargetFailed]:
    """Ask each place to which a row is written for the first time what it is; return the errors by place."""
    examine = getattr(sink.target, "examine", None)  # targets of packages may have none
    question = f"{sink.kind} with {', '.join(sorted(sink.tables))}"
    confirmed = answers.confirmed(db, sink.name)
    arrived = (row for row in known if row.base_text is not None and not row.is_deleted)
    is_used = any(sink.target.owns(row.place) for row in arrived)
    if is_used and not confirmed:  # a place of a release that did not ask
        confirmed = frozenset({(sink.target.fresh_place(now), question)})
        answers.confirm(db, sink.name, *confirmed)
    refusals: dict[str, TargetFailed] = {}
    for place in {row.place for row in known if row.base_text is None}:
        if examine is not None and (place, question) not in confirmed:
            try:
                examine(place, tables, [matter for at, matter in confirmed if at == place])
                answers.confirm(db, sink.name, (place, question))
            except TargetFailed as error:
                refusals[place] = error
    return refusals


def _version(db: sqlite3.Connection) -> int:
    """Return a number that changes with each commit of another connection."""
    (version,) = db.execute("PRAGMA data_version").fetchone()
    return int(version)


def _leaves(sink: Sink, one: _Known, row: _Here) -> bool:
    """Return True if a row leaves its place: it was reopened in an archive, or the settings changed."""
    if sink.target.owns(one.place):
        return False
    was_done, is_done = (fields.get("status") == "done" for fields in (one.base or {}, row.fields))
    is_reopened = was_done and not is_done and row.digest != one.digest[:_DIGEST]
    return is_reopened or not sink.target.owns(one.home)


def _searched(
    db: sqlite3.Connection, sink: Sink, known: Mapping[str, _Known], snapshot: Snapshot
) -> tuple[Snapshot, list[str]]:
    """Return the snapshot with the rows that were moved, and the keys of rows that another look decides.

    Of several lines of a row that at its recorded place counts. A row that is being written was not moved to
    an archive: a line there is older. A line in the note of an earlier day is a copy that was left behind, if
    the row is anywhere else. An open row in a file that is none of the sink's is not certain: that
    file may be a copy of one that is being written just now, or was lost.
    """
    found: dict[str, Found] = {}
    for key, one in known.items():
        lines = snapshot.copies.get(key, ())
        line = next((line for line in lines if line.place == one.place), snapshot.found.get(key))
        if line and not (one.base_text is None and is_archived(sink.target, line.place, line.fields)):
            found[key] = line
    snapshot = snapshot._replace(found=found)
    if not isinstance(sink.target, SearchingTarget):
        return snapshot, []
    written = {key for key, one in known.items() if one.base_text is not None and not one.is_deleted}
    earlier = {
        key: found.pop(key)
        for key in written & found.keys()
        if found[key].place != known[key].place and _is_earlier(sink, known[key], found[key])
    }
    lost = {key: _home(sink, known[key]) for key in written - found.keys() - snapshot.unreadable.keys()}
    if not lost:
        return snapshot, []
    query = "SELECT DISTINCT place FROM sink_rows WHERE sink NOT IN (?, '')"
    others = {place for (place,) in db.execute(query, (sink.name,))}
    wider = sink.target.search(snapshot, lost, others)
    undecided: list[str] = []
    for key in sorted(lost):
        one, line = known[key], wider.found.get(key) or earlier.get(key)
        is_own = line is not None and sink.target.owns(line.place)
        is_archive = line is not None and is_archived(sink.target, line.place, line.fields)
        is_certain = is_archive or (line is not None and is_own and not _is_earlier(sink, one, line))
        if not is_certain and is_archived(sink.target, one.place, one.base or {}):
            continue  # what an archive has lost is no copy in an earlier note
        if not is_certain:
            undecided.append(key)
        if line is not None and (is_own or is_archive or one.place not in snapshot.missing):
            found[key] = line
    return wider._replace(found=found), undecided


def _is_earlier(sink: Sink, one: _Known, line: Found) -> bool:
    """Return True for a line in the note of an earlier day than the last one that had the row."""
    return line.place < _home(sink, one) and sink.target.owns(line.place)


def _home(sink: Sink, one: _Known) -> str:
    """Return the last place of the sink that a row had."""
    return one.place if sink.target.owns(one.place) else one.home


def _vanished(sink: Sink, known: Iterable[_Known], snapshot: Snapshot) -> set[str]:
    """Return the places that are missing though rows were written to them, and are nowhere else."""
    written = {
        one.place
        for one in known
        if one.base_text is not None
        and not one.is_deleted
        and one.key not in snapshot.found
        and not is_archived(sink.target, one.place, one.base or {})
    }
    return {place for place in snapshot.missing if place in written}


def _merged(sink: Sink, one: _Known, row: _Here, remote: Found | None) -> _Merge:
    if remote is None:
        return _Merge({}, {}, row.fields)
    base = one.base or {}
    is_unchanged = one.base_text is not None and row.digest == one.digest[:_DIGEST]
    own = base if is_unchanged else sink.target.expressed(row.table, row.fields)
    merge = _Merge({}, {})
    remote_edits: dict[str, str] = {}
    is_put = False
    for name, theirs in remote.fields.items():
        ours, before = own.get(name, ""), base.get(name)
        if before is not None and remote.former.get(name) == before:
            theirs = before  # unchanged since a former release wrote it
        merge.base[name] = theirs
        if ours == theirs:
            continue
        is_local_edit, is_remote_edit = ours != before, theirs != before
        merge.conflict |= is_local_edit and is_remote_edit and before is not None
        if is_remote_edit and (not is_local_edit or remote.at_ms > row.at_ms):
            merge.back |= {name: theirs} if sink.back else {}
            remote_edits[name] = theirs
        else:
            is_put = True
            merge.base[name] = before or ""
    if is_put:
        merge.put = {**row.fields, **remote_edits}
    return merge


def _take_back(
    db: sqlite3.Connection,
    sink: Sink,
    one: _Known,
    row: _Here,
    remote: Found | None,
    merge: _Merge,
    at_ms: int,
) -> list[str]:
    """Change the row as it was changed at the target, and record what both have now; return the refusals."""
    if remote is None:
        return []
    taken: dict[str, str] = {}
    refusals: list[str] = []
    for name, text in merge.back.items():
        db.execute("SAVEPOINT one_field")
        try:
            values, _ = read_fields(db, row.table, {name: text}, at_ms, row.timezone)
            rows.update(db, row.table, row.row_id, values, at_ms)
            taken[name] = text
        except rows.Refusal as refusal:
            db.execute("ROLLBACK TO one_field")
            refusals.append(f"{remote.place}: {row.fields.get(row.table.title)}: {refusal}")
            merge.base[name] = (one.base or {}).get(name, "")
        db.execute("RELEASE one_field")
    if taken or merge.conflict:
        what = "conflict" if merge.conflict else "taken back"
        _note(db, sink.name, one, at_ms, what, row.fields, remote.fields)
    row.fields = row.fields | taken
    digest = row.digest if merge.put is None and not refusals else ""
    if digest and remote.source and not taken:
        digest += row.digest_with(remote.source)
    one.home = _home(sink, one)
    is_moved, one.place = one.place != remote.place, remote.place
    if is_moved or merge.base != one.base or digest != one.digest or one.is_deleted:
        one.base_text, one.digest, one.is_deleted = rows.json_text(merge.base), digest, False
        _record(db, sink, one, at_ms)
    return refusals


def _rows(
    db: sqlite3.Connection, names: Sequence[str], keys: Mapping[tuple[str, str], str]
) -> dict[str, _Here]:
    """Return the approved rows of these tables by key. *keys*: those known, by table and id."""
    found: dict[str, _Here] = {}
    declared = rows.tables_of(db)
    for table in (declared[name] for name in names if name in declared):
        zones = dict(
            db.execute(
                "SELECT reviews.row_id, calls.remarks FROM reviews JOIN calls USING (call_id)"
                " WHERE reviews.tbl = ? AND calls.remarks LIKE '%timezone%'",
                (table.name,),
            ).fetchall()
        )
        referring = {one.name: one.refers_to for one in table.fields if one.refers_to is not None}
        titles = {name: _titles(db, declared[other]) for name, other in referring.items()}
        cursor = db.cursor()
        cursor.row_factory = None
        cursor.execute(f"SELECT * FROM {quoted(table.name)} WHERE isApproved = 1")
        names = [name for name, *_ in cursor.description]
        at = names.index("id")
        for stored in cursor:
            row_id = stored[at]
            key = keys.get((table.name, row_id)) or key_of(table.name, row_id)
            found[key] = _Here(table, names, stored, zones.get(row_id), titles)
    return found


def _titles(db: sqlite3.Connection, table: DeviceTable) -> dict[Field, str]:
    return dict(db.execute(f"SELECT id, {quoted(table.title)} FROM {quoted(table.name)}").fetchall())


def _recorded(db: sqlite3.Connection, sink: str) -> dict[str, _Known]:
    return {row["key"]: _Known(*row) for row in db.execute(_ROWS, (sink,))}


def _record(db: sqlite3.Connection, sink: Sink, one: _Known, at_ms: int) -> None:
    link = sink.target.link(one.place, one.key)
    db.execute(
        "INSERT OR REPLACE INTO sink_rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            sink.name,
            one.key,
            one.tbl,
            one.row_id,
            one.place,
            one.base_text,
            one.digest,
            one.is_deleted,
            at_ms,
            link,
        ),
    )
    if one.home and not sink.target.owns(one.place):
        db.execute("INSERT OR REPLACE INTO sink_moves VALUES (?, ?, ?)", (sink.name, one.key, one.home))
    else:
        db.execute("DELETE FROM sink_moves WHERE sink = ? AND key = ?", (sink.name, one.key))


def _forget(db: sqlite3.Connection, sink: str, key: str) -> None:
    for table in ("sink_rows", "sink_moves"):
        db.execute(f"DELETE FROM {table} WHERE sink = ? AND key = ?", (sink, key))


def _note_deleted(db: sqlite3.Connection, sink: Sink, one: _Known, row: _Here, at_ms: int) -> None:
    if not one.is_deleted:
        one.is_deleted = True
        _record(db, sink, one, at_ms)
        _note(db, sink.name, one, at_ms, "deleted at the target", row.fields, {})


def _note(
    db: sqlite3.Connection, sink: str, one: _Known, at_ms: int, what: str, here: Fields, remote: Fields
) -> None:
    sides = (rows.json_text(dict(fields)) for fields in (here, remote))
    db.execute(
        "INSERT INTO sink_history (at_ms, sink, tbl, row_id, what, local, remote)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (at_ms, sink, one.tbl, one.row_id, what, *sides),
    )
    db.execute(
        "DELETE FROM sink_history WHERE number <= (SELECT max(number) FROM sink_history) - ?", (MOST_HISTORY,)
    )
