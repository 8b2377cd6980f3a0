"""The log of this process: one handler that redacts, counts what repeats, keeps and writes.

Every record passes here, whoever logged it, so no other handler is ever needed.
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

LIBRARY_MESSAGE: Final = "library.message"  # a sentence that is not ours
MAX_TRACEBACK: Final = 8_000  # characters
OURS: Final = "hub"  # our loggers; what libraries say below a warning may have documents in it


class Log(logging.Handler):
    """What ``open_log`` opened. *ring* has the last entries, *dropped* counts what was never written."""

    def __init__(self, writer: Writer, ring: Ring, duplicates: Duplicates) -> None:
        super().__init__()
        self.ring = ring
        self.content = False  # documents, prompts and items may be told
        self.suppressed = 0  # events that were counted instead of told
        self._written_from = logging.INFO
        self._writer = writer
        self._duplicates = duplicates
        self._told_dropped = 0
        self._formatter = logging.Formatter()

    @property
    def dropped(self) -> int:
        """Entries that were never written, because nobody read the stream."""
        return self._writer.dropped

    @property
    def waiting(self) -> int:
        """Entries that were not written yet."""
        return self._writer.waiting

    def change(self, *, level: str, content: bool) -> None:
        """What is logged from now on: *level* and above is written, and info is kept in any case."""
        self._written_from = logging.getLevelNamesMapping()[level.upper()]
        logging.getLogger(OURS).setLevel(min(self._written_from, logging.INFO))
        logging.getLogger().setLevel(max(self._written_from, logging.WARNING))
        self.content = content

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record; never waits, never raises."""
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
        """Tell the counts of what was suppressed and dropped, though nothing is logged just now."""
        self.acquire()
        try:
            self._tell_counts(logging.makeLogRecord({}).created)  # the clock that records are stamped by
        finally:
            self.release()

    def take_unraisable(self) -> None:
        """From now on, until it is closed: what broke where nobody can catch it is an event, too.

        Python would write it to standard error beside the log, as often as it happens; a stranger's TLS
        hello can make it happen. What breaks in the event loop is logged by asyncio itself.
        """
        sys.unraisablehook = _tell_unraisable

    def close(self) -> None:
        """Write what waits. Twice is once."""
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
        content: what documents say may be logged.
        entries: so many are kept.
        queue: so many may wait to be written; further ones are dropped.
        repeats: so many of an event are told in a minute; further ones are counted.

    Returns:
        the log, which is closed at the process's end at the latest; an earlier one is closed now.
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
    """The hook: *broke* must not outlive the call, so all of it is spelled out in it."""
    what = broke.err_msg or "Exception ignored in"
    log.error("process.unraisable", exc=broke.exc_value, what=f"{what}: {broke.object!r}")


def _spelling(stream: TextIO, environ: Mapping[str, str]) -> Callable[[LogEntry], str]:
    """How entries are written to *stream*."""
    if stream.isatty():
        has_colour = "NO_COLOR" not in environ
        return lambda entry: short_line(entry, colour=has_colour)
    if is_journal(stream, environ):
        return lambda entry: with_priority(json_line(entry), entry.level)
    return json_line
