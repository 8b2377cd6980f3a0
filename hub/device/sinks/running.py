"""Sinks of a running device: when each is synchronized, and ticks of lines in the files of tasks.

The line that a task was found in is ticked once the task is done, where its owner agrees. Only the tick
changes, and only while the line is the one that was quoted; a line of several tasks is done with the last. In
a sink's own file, its owner's tick counts here, too.
"""

import os
import sqlite3
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from itertools import groupby, product
from operator import attrgetter
from pathlib import Path
from typing import Final, NamedTuple

import anyio.to_thread

from hub.base.clock import Clock, epoch_ms
from hub.base.system.files import stamp_of_file
from hub.device import proposals, rows
from hub.device.device_file import DeviceFileError, connect_shared
from hub.device.exclusion import why_private
from hub.device.items import sources_of
from hub.device.moved_files import note_replaced
from hub.device.sinks import answers
from hub.device.sinks.remarks import remarks_on
from hub.device.sinks.reports import OWN_LINE
from hub.device.sinks.sink import Sink
from hub.device.sinks.states import forget_others
from hub.device.sinks.sync import Synced, synchronize
from hub.device.sinks.text_file import (
    TextFile,
    bytes_of,
    content_of,
    replace_content,
    require_writable,
    text_in,
)
from hub.text.folding import words_of
from hub.text.rows.calendar import CalendarFormat
from hub.text.rows.lines import Markdown, TodoTxt
from hub.text.rows.records import Csv, JsonLines
from hub.text.rows.row import TargetFailed
from hub.text.rows.row_format import Format
from hub.text.rows.row_keys import key_of
from hub.text.rows.ticks import Tick, tick_of
from protocol.tables import TABLES, TableName

FORMATS: Final[Mapping[str, Callable[[], Format]]] = {
    "markdown": Markdown,
    "todo.txt": TodoTxt,
    "csv": Csv,
    "jsonl": JsonLines,
    "ics": CalendarFormat,
}
INTERVAL_S: Final = 2.0  # between two looks at both sides
_RETRY_S: Final = 30.0  # after a problem
_SEARCH_MS: Final = 600_000  # between two searches for the same missing file
_SOURCES: Final = ""  # no sink of the settings has this name
_TASKS: Final = """
SELECT tasks.id, tasks.status = 'done', tasks."isApproved", calls.source_path, calls.quote, calls.quote_start,
    sink_rows.base, sink_rows.digest
FROM tasks JOIN reviews ON reviews.tbl = 'tasks' AND reviews.row_id = tasks.id
JOIN calls ON calls.call_id = reviews.call_id
LEFT JOIN sink_rows ON sink_rows.sink = '' AND sink_rows.row_id = tasks.id
WHERE calls.quote IS NOT NULL ORDER BY calls.source_path
"""
_RECORD: Final = """
INSERT OR REPLACE INTO sink_rows (sink, key, tbl, row_id, place, base, digest, at_ms)
VALUES ('', ?, 'tasks', ?, ?, ?, ?, ?)
"""
_TABLE: Final = TABLES[TableName.TASKS]
_STATES: Final = {False: '{"status":"todo"}', True: '{"status":"done"}'}  # also of 0 and 1


class Sinks:
    """Synchronizes the sinks of a device's file *db*; *on_status* is called once for each new problem."""

    def __init__(self, db: Path, clock: Clock, on_status: Callable[[str], None]) -> None:
        self._path = db
        self._clock = clock
        self._on_status = on_status
        self._opened = ExitStack()
        self._db: sqlite3.Connection | None = None
        self._fault = ""
        self._seen: dict[str, tuple[Hashable, float]] = {}
        self._last: dict[str, Synced] = {}
        self._searches: dict[str, tuple[int, Sequence[str]]] = {}  # for missing files with boxes
        self._known: Sequence[Sink] | None = None  # whose states were kept
        self._remarked: Hashable = None  # what remarks were made of
        self._remarks: set[str] = set()

    async def serve(
        self,
        current: Callable[[], tuple[Sequence[Sink], Collection[Path]]],
        every: Callable[[], Sequence[Sink] | None] = lambda: None,
    ) -> None:
        """Synchronize the current sinks, and tick boxes in the current folders, until cancelled.

        Args:
            every: returns all sinks. What is known of others is forgotten, and each remark on these is
                reported once. None: neither.
        """
        try:
            while True:
                (sinks, folders), known = current(), every()
                if sinks or folders or known != self._known:
                    await anyio.to_thread.run_sync(self._check_all, sinks, folders, known)
                await self._clock.sleep(INTERVAL_S)
        finally:
            self._opened.close()

    def _check_all(
        self, sinks: Sequence[Sink], folders: Collection[Path], known: Sequence[Sink] | None
    ) -> None:
        try:
            if self._db is None:
                self._db = self._opened.enter_context(connect_shared(self._path))
            if known is not None and known != self._known:
                forget_others(self._db, [sink.name for sink in known])
                self._known = known
            for sink in sinks:
                self._synchronize(self._db, sink)
            self._report_remarks(self._db, known or ())
            files = [sink for sink in sinks if isinstance(sink.target, TextFile)]
            if folders or files:
                self._tick(self._db, folders, files)
            self._fault = ""
        except (DeviceFileError, sqlite3.Error) as error:  # the next look tries again
            self._opened.close()
            self._db = None
            if self._path.exists() and str(error) != self._fault:
                self._fault = str(error)
                self._on_status(f"approved items go nowhere: {error}")

    def _synchronize(self, db: sqlite3.Connection, sink: Sink) -> None:
        last = self._last.get(sink.name, Synced())
        seen, at = self._seen.get(sink.name, (None, float("-inf")))
        now = self._clock.monotonic()
        stamp = self._stamp(db, sink, last)
        is_decided = not last.again_ms or epoch_ms(self._clock.now()) < last.again_ms
        if stamp == seen and is_decided and (not last.problem or now - at < _RETRY_S):
            return
        synced = synchronize(db, sink, self._clock.now())
        if synced.taken_back:  # for other sinks of this connection, whose version stays
            self._seen.clear()
        self._last[sink.name], self._seen[sink.name] = synced, (stamp, now)
        if synced.problem and synced.problem != last.problem:
            self._on_status(f"sink {sink.name}, tried again every {_RETRY_S:g} s: {synced.problem}")
        if synced.deleted:
            deleted = "item was" if synced.deleted == 1 else "items were"
            self._on_status(
                f"sink {sink.name}: {synced.deleted} {deleted} deleted there and kept here:"
                " hub places says what to do"
            )

    def _report_remarks(self, db: sqlite3.Connection, sinks: Sequence[Sink]) -> None:
        stamp = tuple(sink.name for sink in sinks), *db.execute("PRAGMA data_version"), *self._seen.values()
        if stamp != self._remarked:
            remarks = remarks_on(db, sinks, self._clock.now())
            for name in remarks.keys() - self._remarks:
                self._on_status(remarks[name])
            self._remarks |= remarks.keys()
            self._remarked = stamp

    def _tick(self, db: sqlite3.Connection, folders: Collection[Path], sinks: Sequence[Sink]) -> None:
        (version,) = db.execute("SELECT total_changes()").fetchone()
        last = self._last.get(_SOURCES, Synced())
        stamps = [stamp_of_file(Path(place)) for place in sorted(last.places)]
        stamp = folders, sinks, stamps, version, db.execute("PRAGMA data_version").fetchone()[0]
        seen, at = self._seen.get(_SOURCES, (None, float("-inf")))
        now = self._clock.monotonic()
        if stamp == seen and (not last.problem or now - at < _RETRY_S):
            return
        synced = tick_sources(db, folders, self._clock.now(), self._searches, sinks)
        if synced.taken_back:  # for the sinks of this connection, whose version stays
            self._seen.clear()
        if synced.problem and synced.problem != last.problem:
            self._on_status(synced.problem)
        self._last[_SOURCES], self._seen[_SOURCES] = synced, (stamp, now)

    def _stamp(self, db: sqlite3.Connection, sink: Sink, last: Synced) -> Hashable:
        """Return what differs once either side has changed."""
        (version,) = db.execute("PRAGMA data_version").fetchone()
        places = sink.places_to_read(last.places, self._clock.now())
        return sink, version, sink.target.stamp(places)


def tick_sources(
    db: sqlite3.Connection,
    folders: Collection[Path],
    now: datetime,
    searches: dict[str, tuple[int, Sequence[str]]] | None = None,
    sinks: Sequence[Sink] = (),
) -> Synced:
    """Mark the lines of done tasks in files below *folders*, and both ways in the own files of *sinks*.

    A line in a file of a sink is that row there: what its owner ticks or opens again is done or open here.

    Args:
        searches: when each missing file was searched, in epoch ms, and what was found, by its path; a search
            is repeated after ``_SEARCH_MS``, and once a found file is missing.
    """
    synced, at_ms = Synced(), epoch_ms(now)
    allowed = [os.path.realpath(folder) for folder in folders]
    sources = sources_of(db)
    searches = {} if searches is None else searches

    def sink_with(file: Path) -> tuple[Sink | None, Path]:
        takers = [sink for sink in sinks if _TABLE.name in sink.tables]
        names = product(takers, (file, Path(os.path.realpath(file))))
        return next(((sink, path) for sink, path in names if sink.target.owns(str(path))), (None, file))

    def is_allowed(file: Path | None) -> bool:
        real = Path(os.path.realpath(file or ""))  # unlike ``resolve``, also of a link to itself
        below = [real.relative_to(folder) for folder in allowed if real.is_relative_to(folder)]
        is_offered = any(not any(map(why_private, path.parts)) for path in below)
        return file is not None and is_offered

    found = map(_LineTask._make, db.execute(_TASKS).fetchall())
    for path, several in groupby(found, attrgetter("path")):
        file, tasks = sources.file(path), list(several)
        if file is None:
            continue
        sink, file = sink_with(file)
        name, is_both_ways = (sink.name, sink.back) if sink else (_SOURCES, False)
        line = f"{OWN_LINE}{name}" if is_both_ways else ""
        if is_both_ways:
            due = [task for task in tasks if task.is_approved or task.digest == line]
        else:  # a line is ticked once
            due = [task for task in tasks if task.is_approved and task.is_done and task.base is None]
        if not due or not (sink or is_allowed(file)):
            continue
        moved: Sequence[str] = ()
        if is_both_ways:
            synced.places |= {str(file)}
            if not os.path.lexists(file):
                continue  # the sink says so
        elif not os.path.lexists(file):
            searched_ms, moved = searches.get(path, (-_SEARCH_MS, ()))
            is_found_still = all(os.path.lexists(sources.file(other) or "") for other in moved)
            if not is_found_still or not 0 <= at_ms - searched_ms < _SEARCH_MS:
                moved = sources.moved(path)
                searches[path] = at_ms, moved
            file = sources.file(moved[0]) if len(moved) == 1 else file
            if file is None or not is_allowed(file):
                continue
        if len(moved) > 1:
            synced.problem = (
                f"{path} is missing, no box is ticked: it may be {' or '.join(moved)}; remove all but one"
            )
            continue
        try:
            is_named = any(word.startswith("todo") for word in words_of(file.stem.replace("_", " ")))
            is_todo_txt = is_named and file.suffix.lower() == ".txt"
            kind = sink.kind if sink else "todo.txt" if is_todo_txt else "markdown"
            agreed = answers.confirmed(db, name)
            note = _TickedFile(file, tasks, kind, at_ms)
            if not note.lines and not os.path.exists(file):
                synced.problem = f"{path} is missing, no box is ticked there"
            if is_both_ways:
                synced.taken_back += note.take_back(db, line, at_ms)
            if ticks := note.changed({task.id for task in due}, is_opened=is_both_ways):
                require_writable(file, agreed)
                note.replace(ticks, agreed)
                note_replaced(db, str(file), path)
        except TargetFailed as error:  # the next look tries again
            synced.problem = f"{error}{answers.request_consent(db, name, error)}"
            continue
        states = note.states(ticks, line)
        if not is_both_ways:  # what has no box is done with
            states |= {task.id: (_STATES[True], "") for task in due if task.id not in note.found}
        for task in tasks:
            if (state := states.get(task.id, (task.base, task.digest))) != (task.base, task.digest):
                key = key_of(_TABLE.name, task.id)
                db.execute(_RECORD, (key, task.id, str(file), *state, at_ms))
    return synced


class _LineTask(NamedTuple):
    """Task with the line that it was found in, and what is recorded of the line."""

    id: str
    is_done: int
    is_approved: int
    path: str
    quote: str
    start: int | None
    base: str | None
    digest: str | None


class _TickedFile:
    """Text of a file with the ticks of tasks, of which a line may have several.

    Raises TargetFailed: it cannot be read.
    """

    def __init__(self, file: Path, tasks: Sequence[_LineTask], kind: str, at_ms: int) -> None:
        self._file, self._content = file, content_of(file)[0]
        self._text, self._newline = text_in(str(file), self._content, "\n")
        self.lines: dict[Tick, list[_LineTask]] = {}
        self.found: set[str] = set()
        for task in tasks:
            tick = tick_of(self._text, task.quote, task.start, kind, at_ms)
            if tick is not None:
                self.lines.setdefault(tick, []).append(task)
                self.found.add(task.id)

    def take_back(self, db: sqlite3.Connection, line: str, at_ms: int) -> int:
        """Change the approved tasks whose lines their owner ticked or opened; return their number."""
        count = 0
        for tick, tasks in self.lines.items():
            for number, task in enumerate(tasks):
                was_done = task.base == _STATES[True] and task.digest in (line, OWN_LINE)
                if task.is_approved and tick.is_done not in (was_done, task.is_done):
                    tasks[number] = task._replace(is_done=tick.is_done)
                    rows.update(db, _TABLE, task.id, {"status": "done" if tick.is_done else "todo"}, at_ms)
                    proposals.drop_done(db, _TABLE, task.id)
                    count += 1
        return count

    def changed(self, due: Collection[str], *, is_opened: bool) -> Collection[Tick]:
        """Return the ticks that are to change: a line is done once all approved tasks of it are."""
        return {
            tick
            for tick, tasks in self.lines.items()
            if any(task.is_approved and task.id in due for task in tasks) and (is_opened or not tick.is_done)
            if all(task.is_done for task in tasks if task.is_approved) != tick.is_done
        }

    def replace(self, ticks: Collection[Tick], agreed: Collection[tuple[str, str]]) -> None:
        """Write the other state of ticks. Raises TargetFailed: the file cannot be written now."""
        text = self._text
        for tick in sorted(ticks, key=attrgetter("start"), reverse=True):
            text = text[: tick.start] + tick.other + text[tick.end :]
        replace_content(self._file, self._content, bytes_of(text, self._newline, self._content), agreed)

    def states(self, changed: Collection[Tick], line: str) -> dict[str, tuple[str | None, str | None]]:
        """Return what is recorded of each task with a tick, by id.

        Of a suggestion, it is a tick that this device wrote: such a tick is no word of its owner.
        """
        found: dict[str, tuple[str | None, str | None]] = {}
        for tick, tasks in self.lines.items():
            is_done = tick.is_done != (tick in changed)
            for task in tasks:
                if not task.is_approved:
                    base = _STATES[is_done] if tick in changed or not is_done else task.base
                    found |= {task.id: (base, OWN_LINE)} if tick in changed or task.base else {}
                elif line or (is_done and task.is_done):
                    found[task.id] = _STATES[is_done], line
        return found
