"""Sinks of a running device: when each is synchronized, and ticking of boxes in source notes.

The boxes of tasks in the notes that they were found in are ticked once the task is done, where its owner
agrees. Only the mark in the box changes, only once, and only while the line is the one that was quoted.
"""

import os
import re
import sqlite3
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Final

import anyio.to_thread

from hub.base.clock import Clock, epoch_ms
from hub.device.device_file import DeviceFileError, connect_shared
from hub.device.items import sources_of
from hub.device.moved_files import note_replaced
from hub.device.sinks import answers
from hub.device.sinks.remarks import remarks_on
from hub.device.sinks.sink import Sink
from hub.device.sinks.states import forget_others
from hub.device.sinks.sync import Synced, synchronize
from hub.device.sinks.text_file import content_of, replace_content, require_writable
from hub.text.rows.calendar import CalendarFormat
from hub.text.rows.lines import Markdown, TodoTxt
from hub.text.rows.records import Csv, JsonLines
from hub.text.rows.row import TargetFailed
from hub.text.rows.row_format import Format
from hub.text.rows.row_keys import key_of

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
_BOX: Final = re.compile(r"[ \t>]*(?:[-*+]|\d{1,9}[.)])[ \t]+\[(?P<mark> )\][ \t]")
_DONE: Final = """
SELECT tasks.id, calls.source_path, calls.quote, calls.quote_start FROM tasks
JOIN reviews ON reviews.tbl = 'tasks' AND reviews.row_id = tasks.id
JOIN calls ON calls.call_id = reviews.call_id
WHERE tasks."isApproved" AND tasks.status = 'done' AND calls.quote IS NOT NULL
AND NOT EXISTS (SELECT 1 FROM sink_rows WHERE sink = '' AND sink_rows.row_id = tasks.id)
"""
_RECORD: Final = """
INSERT OR IGNORE INTO sink_rows (sink, key, tbl, row_id, place, base, at_ms)
VALUES ('', ?, 'tasks', ?, ?, '{"status":"done"}', ?)
"""


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
            if folders:
                self._tick(self._db, folders)
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

    def _tick(self, db: sqlite3.Connection, folders: Collection[Path]) -> None:
        (version,) = db.execute("SELECT total_changes()").fetchone()
        stamp = folders, version, db.execute("PRAGMA data_version").fetchone()[0]
        last = self._last.get(_SOURCES, Synced())
        seen, at = self._seen.get(_SOURCES, (None, float("-inf")))
        now = self._clock.monotonic()
        if stamp == seen and (not last.problem or now - at < _RETRY_S):
            return
        problem = tick_sources(db, folders, self._clock.now(), self._searches)
        if problem and problem != last.problem:
            self._on_status(problem)
        self._last[_SOURCES], self._seen[_SOURCES] = Synced(problem=problem), (stamp, now)

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
) -> str:
    """Mark the boxes of done tasks in files below *folders*; return a problem, or an empty text.

    Args:
        searches: when each missing file was searched, in epoch ms, and what was found, by its path; a search
            is repeated after ``_SEARCH_MS``, and once a found file is missing.
    """
    problem, at_ms = "", epoch_ms(now)
    allowed = [folder.resolve() for folder in folders]
    sources, agreed = sources_of(db), answers.confirmed(db, _SOURCES)
    searches = {} if searches is None else searches

    def is_allowed(file: Path | None) -> bool:
        return file is not None and any(file.resolve().is_relative_to(folder) for folder in allowed)

    for row_id, path, quote, start in db.execute(_DONE).fetchall():
        file = sources.file(path)
        if file is None or not is_allowed(file):
            continue
        searched_ms, moved = searches.get(path, (-_SEARCH_MS, ()))
        is_found_still = all(os.path.lexists(sources.file(other) or "") for other in moved)
        if os.path.lexists(file):
            moved = ()
        elif not is_found_still or not 0 <= at_ms - searched_ms < _SEARCH_MS:
            moved = sources.moved(path)
            searches[path] = at_ms, moved
        file = sources.file(moved[0]) if len(moved) == 1 else file
        if file is None or not is_allowed(file):
            continue
        if len(moved) > 1:
            problem = (
                f"{path} is missing, no box is ticked: it may be {' or '.join(moved)}; remove all but one"
            )
            continue
        try:
            if _tick_box(file, quote, start, agreed):
                note_replaced(db, str(file), path)
            elif not file.exists():
                problem = f"{path} is missing, no box is ticked there"
        except TargetFailed as error:  # the next look tries again
            problem = f"{error}{answers.request_consent(db, _SOURCES, error)}"
            continue
        db.execute(_RECORD, (key_of("tasks", row_id), row_id, str(file), at_ms))
    return problem


def _tick_box(file: Path, quote: str, start: int | None, agreed: Collection[tuple[str, str]]) -> bool:
    """Mark the box of the line that has the quote; leave a line without an open box alone, and return False.

    Raises:
        TargetFailed: the file cannot be read or written now.
    """
    content, _ = content_of(file)
    try:
        text = (content or b"").decode()
    except UnicodeDecodeError:
        return False
    if start is None or not text.startswith(quote, start):
        start = text.find(quote)
        if start < 0 or text.find(quote, start + 1) >= 0:
            return False  # the line was changed, or could be another one
    found = _BOX.match(text, text.rfind("\n", 0, start) + 1)
    if found is None:
        return False
    require_writable(file, agreed)
    after = text[: found.start("mark")] + "x" + text[found.end("mark") :]
    replace_content(file, content, after.encode(), agreed)
    return True
