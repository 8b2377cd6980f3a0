"""Lines on their way out: a queue that never blocks, and the thread that empties it.

Whoever logs goes on at once. When nobody reads the stream, the queue fills; what does
not fit any more is dropped and counted.
"""

import queue
import threading
from collections.abc import Callable
from typing import Final, TextIO

from hub.log.ring import LogEntry

QUEUE: Final = 8_192  # entries that wait; a few MiB, and some seconds of the worst flood
AT_ONCE: Final = 256  # lines in one write
IDLE_S: Final = 5.0
CLOSE_S: Final = 2.0  # what a stream that nobody reads may hold up the end of the process


class Writer:
    """Writes entries to *stream*, in order.

    Args:
        line: an entry's line, without its end.
        on_idle: called by the thread when nothing came for some seconds.
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
        """Entries that were not written yet."""
        return self._queue.qsize()

    @property
    def has_room(self) -> bool:
        """Whether the stream is read again, after entries were dropped."""
        return self.waiting < self._most // 2

    def put(self, entry: LogEntry) -> None:
        """Have *entry* written, or drop it."""
        if self._queue.qsize() >= self._most:
            self.dropped += 1
        else:
            self._queue.put(entry)

    def close(self) -> None:
        """Write what waits, as far as that goes within CLOSE_S. Twice is once."""
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
        except (OSError, ValueError):  # the disk is full, the reader has gone, the stream was closed
            self.dropped += len(entries)
