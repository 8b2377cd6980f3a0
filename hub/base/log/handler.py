"""Log handler of the process: redaction, limit of equal entries, wait for the terminal's foreground.

It is the only handler: records of all loggers pass through it.

Of equal events ten a minute are logged, and the others are counted. Events are counted by name and subject
(run, schedule, agent or device). So events of many devices are all logged, while one flapping device is
suppressed. Events of strangers have no subject and share one count.

A fault that passes by itself (a database that refuses, a peer that does not answer) is logged by its cause,
without a traceback. The first such event of a minute is logged, whatever its subject, and the others are
counted.

Callers are never blocked: a thread writes the queued entries. If the stream is not read, the queue fills up,
and further entries are dropped and counted.

On a terminal, a question of this process is shown again below later lines. A process in the background writes
nothing into the prompt or progress bar of another command: its lines wait for a while.
"""

import atexit
import linecache
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple, TextIO

from hub.base.log.channel import Channel, fields_of
from hub.base.log.files import LogFile
from hub.base.log.line_formats import is_journal, json_line, short_line, with_priority
from hub.base.log.redaction import redact, redact_fields, shortened
from hub.base.log.ring import ENTRIES, LogEntry, Ring
from hub.base.printable import one_line
from protocol.errors import first_error
from protocol.ids import RunId, trace_id_of

log = Channel(__name__)

OURS: Final = "hub"  # the hub's root logger; debug and info records of libraries may contain documents

A_MINUTE: Final = 10
WINDOW_S: Final = 60.0
KEYS: Final = 8_192  # above this number of counters, the subject is ignored
# Warnings of the event loop about a peer that closed its end, which the writer's code meets as an exception.
OF_CLOSED_TRANSPORTS: Final = (
    "socket.send() raised exception.",
    "socket.sendto() raised exception.",
    "pipe closed by peer or os.write(pipe, data) raised exception.",
    "SSL connection is closed",
)
ALWAYS_LOGGED: Final = ("debug.", "log.")  # requested by a person, and the counts of this module

_Key = tuple[str, str, str]

QUEUE: Final = 8_192  # a few MiB; some seconds of the heaviest load
AT_ONCE: Final = 256  # lines in one write
IDLE_S: Final = 5.0
WAIT_S, CHECK_S = 60.0, 0.1  # for a command in the foreground of the terminal, and between two checks
CLOSE_S: Final = 2.0  # seconds that a blocked stream may delay the end of the process


class Writer:
    """Writer of entries, and of lines for the person at the terminal, to *stream*, in order.

    Attributes:
        question: shown below all lines until it is answered.

    Args:
        line: formats an entry as a line without its newline.
        on_idle: called by the thread if no entry came for some seconds.
        file: keeps the entries too.
    """

    def __init__(
        self,
        stream: TextIO,
        line: Callable[[LogEntry], str],
        *,
        most: int = QUEUE,
        on_idle: Callable[[], None] = lambda: None,
        file: LogFile | None = None,
    ) -> None:
        self._stream = stream
        self._line = line
        self._most = most
        self._on_idle = on_idle
        self._file = file
        self._queue: queue.SimpleQueue[LogEntry | str | None] = queue.SimpleQueue()
        self._is_closing, self.question = threading.Event(), ""
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()
        self.dropped = 0  # entries that were never written

    @property
    def waiting(self) -> int:
        """Number of entries that are not written yet."""
        return self._queue.qsize()

    @property
    def has_room(self) -> bool:
        """True if the queue is at most half full, so that the stream is read again after drops."""
        return self.waiting < self._most // 2

    def enqueue(self, entry: LogEntry | str) -> None:
        """Queue *entry* for writing, or drop it if the queue is full."""
        if self._queue.qsize() >= self._most:
            self.dropped += 1
        else:
            self._queue.put(entry)

    def close(self) -> None:
        """Write the waiting entries, for at most CLOSE_S seconds. Further calls have no effect."""
        self._is_closing.set()
        self._queue.put(None)
        self._thread.join(CLOSE_S)

    def _write_all(self) -> None:
        while True:
            try:
                entry = self._queue.get(timeout=IDLE_S)
            except queue.Empty:
                self._on_idle()
                continue
            entries: list[LogEntry | str] = []
            while entry is not None:
                entries.append(entry)
                if len(entries) == AT_ONCE or self._queue.empty():
                    break
                entry = self._queue.get()
            self._write(entries)
            if entry is None:
                return

    def _write(self, entries: list[LogEntry | str]) -> None:
        if self._file is not None:
            self._file.write([entry for entry in entries if isinstance(entry, LogEntry)])
        for _ in range(int(WAIT_S / CHECK_S)):
            if not is_taken(self._stream) or self._is_closing.wait(CHECK_S):
                break
        try:
            lines = (entry if isinstance(entry, str) else self._line(entry) for entry in entries)
            text = "".join(f"{line}\n" for line in lines if line)
            self._stream.write(f"\r\x1b[K{text}{self.question}" if self.question else text)
            self._stream.flush()
        except (OSError, ValueError):  # the disk is full, or the stream is closed at either end
            self.dropped += len(entries)


def is_taken(stream: TextIO) -> bool:
    """Return True if *stream* is the terminal of this process, and another command is in its foreground.

    The shell that started this process in the background is none: its prompt waits for nothing in particular.
    """
    try:
        return os.tcgetpgrp(stream.fileno()) not in {os.getpgrp(), os.getsid(0), os.getpgid(os.getppid())}
    except (OSError, ValueError, AttributeError):  # no terminal, or another session's; Windows has none
        return False


class Suppressed(NamedTuple):
    """Number of suppressed events within one window. *about*: id of the subject, class of a fault, or ''."""

    event: str
    channel: str
    about: str
    level: int
    times: int


class _Window:
    __slots__ = ("began", "level", "most", "seen")

    def __init__(self, began: float, most: int) -> None:
        self.began = began
        self.most = most
        self.seen = 0
        self.level = 0


class Duplicates:
    """Counters that decide whether a record is logged; not thread-safe.

    Times are those of the records, in epoch seconds.
    """

    def __init__(self, most: int = A_MINUTE) -> None:
        self._most = most
        self._windows: dict[_Key, _Window] = {}  # ordered by start time

    def is_logged(self, record: logging.LogRecord) -> bool:
        """Count *record* and return True if it is among the first equal ones of its window."""
        key = self._key(record)
        if key[1].startswith(ALWAYS_LOGGED):
            return True
        window = self._windows.get(key)
        if window is None or not 0.0 <= record.created - window.began < WINDOW_S:
            self._windows.pop(key, None)
            most = 1 if passing_fault(record) else self._most
            window = self._windows[key] = _Window(record.created, most)
        window.seen += 1
        window.level = max(window.level, record.levelno)
        return window.seen <= window.most

    def ended(self, now: float) -> Iterator[Suppressed]:
        """Yield and forget the counts of windows that ended by *now* with suppressed events."""
        while self._windows:
            key, window = next(iter(self._windows.items()))
            if 0.0 <= now - window.began < WINDOW_S:
                return
            del self._windows[key]
            if window.seen > window.most:
                channel, event, about = key
                yield Suppressed(event, channel, about, window.level, window.seen - window.most)

    def _key(self, record: logging.LogRecord) -> _Key:
        fields = fields_of(record)
        event = str(record.msg).partition("\n")[0]
        cause = passing_fault(record).partition(":")[0]
        about = cause or ("" if fields is None else _about(fields))
        key = (record.name, event, about)
        if len(self._windows) < KEYS or key in self._windows:
            return key
        return (record.name, "" if fields is None else event, "")


def passing_fault(record: logging.LogRecord) -> str:
    """Return class and message of a record's error that passes by itself, or an empty string.

    Such is the error of a server that is away, of a busy database, or of a limit in time.
    """
    error = record.exc_info[1] if record.exc_info else None
    error = first_error(error) if isinstance(error, Exception) else error
    is_passing = isinstance(error, ConnectionError | TimeoutError) or getattr(error, "retryable", False)
    return f"{type(error).__name__}: {error}" if is_passing else ""


def _about(fields: Mapping[str, object]) -> str:
    for name in ("run_id", "schedule_id", "agent_id", "device_id"):
        if (subject := fields.get(name)) is not None:
            return str(subject)
    return ""


class Log(logging.Handler):
    """Log handler that ``open_log`` returns. *ring* keeps the last entries, *dropped* counts lost ones."""

    def __init__(self, writer: Writer, ring: Ring, duplicates: Duplicates, file: LogFile | None) -> None:
        super().__init__()
        self.ring = ring
        self.file = file  # of the entries that were written, also by earlier processes
        self.content = False  # True if documents, prompts and items may be logged
        self.suppressed = 0  # events that were only counted
        self._written_from = logging.INFO
        self._writer = writer
        self._duplicates = duplicates
        self._logged_dropped = 0
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

    def keep(self, most_bytes: int) -> None:
        """Change the total length of the files that keep entries."""
        if self.file is not None:
            self.file.most = most_bytes

    def emit(self, record: logging.LogRecord) -> None:
        """Process a record. Never blocks, never raises."""
        if record.name == "asyncio" and record.msg in OF_CLOSED_TRANSPORTS:
            return
        try:
            self._log_counts(record.created)
            if self._duplicates.is_logged(record):
                entry = self._entry_of(record)
                if record.levelno >= self._written_from:
                    self._writer.enqueue(entry)
            else:
                self.suppressed += 1
        except Exception:
            self.handleError(record)

    def show(self, text: str) -> None:
        """Write a line for the person at the terminal, in order with the entries. Never blocks."""
        self._writer.enqueue(one_line(text))

    @contextmanager
    def asking(self, question: str) -> Iterator[None]:
        """Show a question below all lines until the block ends."""
        self._writer.question = one_line(question)
        self._writer.enqueue("")  # shows it
        try:
            yield
        finally:
            self._writer.question = ""

    def tidy(self) -> None:
        """Log the counts of suppressed and dropped entries, even if no other event is logged now."""
        self.acquire()
        try:
            self._log_counts(logging.makeLogRecord({}).created)  # the clock that stamps records
        finally:
            self.release()

    def take_unraisable(self) -> None:
        """Log unraisable exceptions as events from now on, until the log is closed.

        Python would write each of them to standard error, outside the log; a stranger's TLS hello can cause
        them. Errors in the event loop are logged by asyncio itself.
        """
        sys.unraisablehook = _log_unraisable

    def close(self) -> None:
        """Write the waiting entries and stop. Further calls have no effect."""
        if sys.unraisablehook is _log_unraisable:
            sys.unraisablehook = sys.__unraisablehook__
        self._writer.close()
        super().close()

    def _entry_of(self, record: logging.LogRecord) -> LogEntry:
        fields = fields_of(record)
        if fields is None:
            event, redacted = "library.message", redact_fields({"message": record.getMessage()})
        else:
            event, redacted = record.getMessage(), redact_fields(fields, content=self.content)
            if "run_id" in redacted and "trace_id" not in redacted:
                redacted["trace_id"] = trace_id_of(RunId(str(redacted["run_id"])))
        if cause := passing_fault(record):
            redacted["why"] = shortened(redact(cause, content=self.content))
        elif record.exc_info:
            trace = redact(self._formatter.formatException(record.exc_info), content=self.content)
            redacted["traceback"] = shortened(trace, 8_000)
            linecache.clearcache()  # it has read the source of every module in the traceback, for good
        return self.ring.append(
            at=int(record.created * 1000),
            level="error" if record.levelno > logging.ERROR else record.levelname.lower(),
            event=event,
            channel=record.name,
            fields=redacted,
        )

    def _log_counts(self, now: float) -> None:
        for held in list(self._duplicates.ended(now)):
            write = log.warning if held.level >= logging.WARNING else log.info
            fields = {"of": held.event, "logged_by": held.channel, "count": held.times, "seconds": WINDOW_S}
            write("log.suppressed", **fields, about=held.about)
        if (dropped := self.dropped) > self._logged_dropped and self._writer.has_room:
            self._logged_dropped, count = dropped, dropped - self._logged_dropped
            log.warning("log.dropped", count=count)


def open_log(
    level: str = "info",
    stream: TextIO | None = None,
    *,
    content: bool = False,
    entries: int = ENTRIES,
    queue: int = QUEUE,
    repeats: int = A_MINUTE,
    file: LogFile | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Log:
    """Send every event of this process to *stream* (standard error), as JSON unless it is a terminal.

    Args:
        content: True if document content may be logged.
        entries: number of entries that are kept.
        queue: number of entries that may wait for the writer; further ones are dropped.
        repeats: number of equal events that are logged in a minute; further ones are counted.
        file: keeps the entries for after a restart.

    Returns:
        the open log; it is closed at the end of the process at the latest. An earlier log is closed now.
    """
    stream = stream or sys.stderr
    spell = _spelling(stream, environ)
    ring = Ring(entries, 0 if file is None else file.last_seq())
    writer = Writer(stream, spell, most=queue, on_idle=lambda: opened.tidy(), file=file)
    opened = Log(writer, ring, Duplicates(repeats), file)
    root = logging.getLogger()
    for before in root.handlers:
        if isinstance(before, Log):
            before.close()
    root.handlers[:] = [opened]
    opened.change(level=level, content=content)
    atexit.register(opened.close)
    return opened


def _log_unraisable(broke: "sys.UnraisableHookArgs") -> None:
    """Log an unraisable exception; the hook must not keep *broke* beyond the call, so it is formatted now."""
    what = broke.err_msg or "Exception ignored in"
    log.error("process.unraisable", exc=broke.exc_value, what=f"{what}: {broke.object!r}")


def _spelling(stream: TextIO, environ: Mapping[str, str]) -> Callable[[LogEntry], str]:
    """Return the function that formats entries for *stream*."""
    if stream.isatty():
        has_colour = not environ.get("NO_COLOR")
        return lambda entry: short_line(entry, colour=has_colour)
    if is_journal(stream, environ):
        return lambda entry: with_priority(json_line(entry), entry.level)
    return json_line
