"""Log handler of this process: redacts, suppresses duplicates, keeps and writes each record.

It is the only handler: records of all loggers pass through it.
"""

import atexit
import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import Final, TextIO

from hub.log.channel import Channel, fields_of
from hub.log.duplicates import A_MINUTE, WINDOW_S, Duplicates
from hub.log.lines import is_journal, json_line, short_line, with_priority
from hub.log.redaction import redact, redact_fields, shortened
from hub.log.ring import ENTRIES, LogEntry, Ring
from hub.log.writer import QUEUE, Writer
from protocol.ids import RunId
from protocol.trace import trace_id_of

log = Channel(__name__)

LIBRARY_MESSAGE: Final = "library.message"  # event name for records of libraries
MAX_TRACEBACK: Final = 8_000  # characters
OURS: Final = "hub"  # the hub's root logger; debug and info records of libraries may contain documents


class Log(logging.Handler):
    """Log handler that ``open_log`` returns. *ring* keeps the last entries, *dropped* counts lost ones."""

    def __init__(self, writer: Writer, ring: Ring, duplicates: Duplicates) -> None:
        super().__init__()
        self.ring = ring
        self.content = False  # True if documents, prompts and items may be logged
        self.suppressed = 0  # events that were only counted
        self._written_from = logging.INFO
        self._writer = writer
        self._duplicates = duplicates
        self._told_dropped = 0
        self._formatter = logging.Formatter()

    @property
    def dropped(self) -> int:
        """Number of entries that were never written because the stream was not read."""
        return self._writer.dropped

    @property
    def waiting(self) -> int:
        """Number of entries that are not written yet."""
        return self._writer.waiting

    def change(self, *, level: str, content: bool) -> None:
        """Change the log's settings: write entries from *level* on; keep info entries in any case."""
        self._written_from = logging.getLevelNamesMapping()[level.upper()]
        logging.getLogger(OURS).setLevel(min(self._written_from, logging.INFO))
        logging.getLogger().setLevel(max(self._written_from, logging.WARNING))
        self.content = content

    def emit(self, record: logging.LogRecord) -> None:
        """Process a record. Never blocks, never raises."""
        try:
            self._tell_counts(record.created)
            if self._duplicates.is_told(record):
                entry = self._kept(record)
                if record.levelno >= self._written_from:
                    self._writer.put(entry)
            else:
                self.suppressed += 1
        except Exception:
            self.handleError(record)

    def tidy(self) -> None:
        """Log the counts of suppressed and dropped entries, even if no other event is logged now."""
        self.acquire()
        try:
            self._tell_counts(logging.makeLogRecord({}).created)  # the clock that stamps records
        finally:
            self.release()

    def take_unraisable(self) -> None:
        """Log unraisable exceptions as events from now on, until the log is closed.

        Python would write each of them to standard error, outside the log; a stranger's TLS hello can cause
        them. Errors in the event loop are logged by asyncio itself.
        """
        sys.unraisablehook = _tell_unraisable

    def close(self) -> None:
        """Write the waiting entries and stop. Further calls have no effect."""
        if sys.unraisablehook is _tell_unraisable:
            sys.unraisablehook = sys.__unraisablehook__
        self._writer.close()
        super().close()

    def _kept(self, record: logging.LogRecord) -> LogEntry:
        fields = fields_of(record)
        if fields is None:
            event, told = LIBRARY_MESSAGE, redact_fields({"message": record.getMessage()})
        else:
            event, told = record.getMessage(), redact_fields(fields, content=self.content)
            if "run_id" in told and "trace_id" not in told:
                told["trace_id"] = trace_id_of(RunId(str(told["run_id"])))
        if record.exc_info:
            trace = shortened(self._formatter.formatException(record.exc_info), MAX_TRACEBACK)
            told["traceback"] = redact(trace, content=self.content)
        return self.ring.append(
            at=int(record.created * 1000),
            level="error" if record.levelno > logging.ERROR else record.levelname.lower(),
            event=event,
            channel=record.name,
            fields=told,
        )

    def _tell_counts(self, now: float) -> None:
        for held in list(self._duplicates.ended(now)):
            tell = log.warning if held.level >= logging.WARNING else log.info
            fields = {"of": held.event, "logged_by": held.channel, "count": held.times, "seconds": WINDOW_S}
            tell("log.suppressed", **fields, about=held.about)
        if (dropped := self.dropped) > self._told_dropped and self._writer.has_room:
            self._told_dropped, count = dropped, dropped - self._told_dropped
            log.warning("log.dropped", count=count)


def open_log(
    level: str = "info",
    stream: TextIO | None = None,
    *,
    content: bool = False,
    entries: int = ENTRIES,
    queue: int = QUEUE,
    repeats: int = A_MINUTE,
    environ: Mapping[str, str] = os.environ,
) -> Log:
    """Send every event of this process to *stream* (standard error), as JSON unless it is a terminal.

    Args:
        content: True if document content may be logged.
        entries: number of entries that are kept.
        queue: number of entries that may wait for the writer; further ones are dropped.
        repeats: number of equal events that are logged in a minute; further ones are counted.

    Returns:
        the open log; it is closed at the end of the process at the latest. An earlier log is closed now.
    """
    stream = stream or sys.stderr
    writer = Writer(stream, _spelling(stream, environ), most=queue, on_idle=lambda: opened.tidy())
    opened = Log(writer, Ring(entries), Duplicates(repeats))
    root = logging.getLogger()
    for before in root.handlers:
        if isinstance(before, Log):
            before.close()
    root.handlers[:] = [opened]
    opened.change(level=level, content=content)
    atexit.register(opened.close)
    return opened


def _tell_unraisable(broke: "sys.UnraisableHookArgs") -> None:
    """Log an unraisable exception; the hook must not keep *broke* beyond the call, so it is formatted now."""
    what = broke.err_msg or "Exception ignored in"
    log.error("process.unraisable", exc=broke.exc_value, what=f"{what}: {broke.object!r}")


def _spelling(stream: TextIO, environ: Mapping[str, str]) -> Callable[[LogEntry], str]:
    """Return the function that formats entries for *stream*."""
    if stream.isatty():
        has_colour = "NO_COLOR" not in environ
        return lambda entry: short_line(entry, colour=has_colour)
    if is_journal(stream, environ):
        return lambda entry: with_priority(json_line(entry), entry.level)
    return json_line
