"""Sinks of a running device: when each is synchronized, and when lines of done tasks are ticked."""

import sqlite3
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import anyio.to_thread

from hub.base.clock import Clock, epoch_ms
from hub.base.system.files import stamp_of_file
from hub.device.device_file import DeviceFileError, connect_shared
from hub.device.sinks.file_ticks import SOURCES, tick_sources
from hub.device.sinks.remarks import remarks_on
from hub.device.sinks.sink import Sink
from hub.device.sinks.states import forget_others
from hub.device.sinks.sync import Synced, synchronize
from hub.device.sinks.text_file import (
    TextFile,
)
from hub.text.rows.calendar import CalendarFormat
from hub.text.rows.lines import Markdown, TodoTxt
from hub.text.rows.records import Csv, JsonLines
from hub.text.rows.row_format import Format

FORMATS: Final[Mapping[str, Callable[[], Format]]] = {
    "markdown": Markdown,
    "todo.txt": TodoTxt,
    "csv": Csv,
    "jsonl": JsonLines,
    "ics": CalendarFormat,
}
INTERVAL_S: Final = 2.0  # between two looks at both sides
_RETRY_S: Final = 30.0  # after a problem


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
        last = self._last.get(SOURCES, Synced())
        stamps = [stamp_of_file(Path(place)) for place in sorted(last.places)]
        stamp = folders, sinks, stamps, version, db.execute("PRAGMA data_version").fetchone()[0]
        seen, at = self._seen.get(SOURCES, (None, float("-inf")))
        now = self._clock.monotonic()
        if stamp == seen and (not last.problem or now - at < _RETRY_S):
            return
        synced = tick_sources(db, folders, self._clock.now(), self._searches, sinks)
        if synced.taken_back:  # for the sinks of this connection, whose version stays
            self._seen.clear()
        if synced.problem and synced.problem != last.problem:
            self._on_status(synced.problem)
        self._last[SOURCES], self._seen[SOURCES] = synced, (stamp, now)

    def _stamp(self, db: sqlite3.Connection, sink: Sink, last: Synced) -> Hashable:
        """Return what differs once either side has changed."""
        (version,) = db.execute("PRAGMA data_version").fetchone()
        places = sink.places_to_read(last.places, self._clock.now())
        return sink, version, sink.target.stamp(places)
