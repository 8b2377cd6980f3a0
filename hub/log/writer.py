"""Queue of log entries that never blocks its callers, and the thread that writes them.

If the stream is not read, the queue fills up; further entries are dropped and counted.
"""

import queue
import threading
from collections.abc import Callable
from typing import Final, TextIO

from hub.log.ring import LogEntry

QUEUE: Final = 8_192  # a few MiB; some seconds of the heaviest load
AT_ONCE: Final = 256  # lines in one write
IDLE_S: Final = 5.0
CLOSE_S: Final = 2.0  # seconds that a blocked stream may delay the end of the process


class Writer:
    """Writer of entries to *stream*, in order.

    Args:
        line: formats an entry as a line without its newline.
        on_idle: called by the thread if no entry came for some seconds.
    """

    def __init__(
        self,
        stream: TextIO,
        line: Callable[[LogEntry], str],
        *,
        most: int = QUEUE,
        on_idle: Callable[[], None] = lambda: None,
    ) -> None:
        self._stream = stream
        self._line = line
        self._most = most
        self._on_idle = on_idle
        self._queue: queue.SimpleQueue[LogEntry | None] = queue.SimpleQueue()
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

    def put(self, entry: LogEntry) -> None:
        """Queue *entry* for writing, or drop it if the queue is full."""
        if self._queue.qsize() >= self._most:
            self.dropped += 1
        else:
            self._queue.put(entry)

    def close(self) -> None:
        """Write the waiting entries, for at most CLOSE_S seconds. Further calls have no effect."""
        self._queue.put(None)
        self._thread.join(CLOSE_S)

    def _write_all(self) -> None:
        while True:
            try:
                entry = self._queue.get(timeout=IDLE_S)
            except queue.Empty:
                self._on_idle()
                continue
            entries: list[LogEntry] = []
            while entry is not None:
                entries.append(entry)
                if len(entries) == AT_ONCE or self._queue.empty():
                    break
                entry = self._queue.get()
            self._write(entries)
            if entry is None:
                return

    def _write(self, entries: list[LogEntry]) -> None:
        try:
            self._stream.write("".join(f"{self._line(entry)}\n" for entry in entries))
            self._stream.flush()
        except (OSError, ValueError):  # the disk is full, or the stream is closed at either end
            self.dropped += len(entries)
