"""Ring buffer of the last log entries, numbered, for the log views of a running hub.

Entries are added from any thread, and read and awaited on the event loop. The oldest entries are discarded; a
reader notices missing entries by their numbers.
"""

import asyncio
import threading
from collections import deque
from contextlib import suppress
from typing import Final

import msgspec

ENTRIES: Final = 2_000  # some minutes of a busy hub; about 1 MiB


class LogEntry(msgspec.Struct, frozen=True):
    """Logged event, redacted.

    Attributes:
        seq: sequence number without gaps; the first entry of a process follows the last one of its file.
        at: epoch milliseconds.
        level: debug, info, warning or error.
        event: the event's stable name.
        channel: the module that logged it.
        fields: plain values: texts, numbers, lists and mappings of them.
    """

    seq: int
    at: int
    level: str
    event: str
    channel: str
    fields: dict[str, object]


class Ring:
    """Ring buffer of the newest *most* entries, numbered after *last*."""

    def __init__(self, most: int = ENTRIES, last: int = 0) -> None:
        self._entries: deque[LogEntry] = deque(maxlen=most)
        self._lock = threading.Lock()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = set()
        self._last = last

    @property
    def last(self) -> int:
        """Sequence number of the newest entry; 0 if the ring is empty."""
        return self._last

    @property
    def first(self) -> int:
        """Sequence number of the oldest kept entry; ``last + 1`` if the ring is empty."""
        return self._last - len(self._entries) + 1

    def append(self, *, at: int, level: str, event: str, channel: str, fields: dict[str, object]) -> LogEntry:
        """Append an entry with the next sequence number. Never blocks on readers."""
        with self._lock:
            self._last += 1
            entry = LogEntry(self._last, at, level, event, channel, fields)
            self._entries.append(entry)
            waiting, self._waiting = self._waiting, set()
        for loop, waiter in waiting:
            with suppress(RuntimeError):  # its loop is closed
                loop.call_soon_threadsafe(_wake, waiter)
        return entry

    def since(self, seq: int) -> list[LogEntry]:
        """Return the kept entries after number *seq*, the oldest first; discarded entries are missing."""
        with self._lock:
            if self._last - seq >= len(self._entries):
                return list(self._entries)
            return [self._entries[index] for index in range(seq - self._last, 0)]

    async def wait(self, seq: int) -> None:
        """Wait until an entry after number *seq* exists."""
        while True:
            loop = asyncio.get_running_loop()
            waiter = loop.create_future()
            with self._lock:
                if self._last > seq:
                    return
                self._waiting.add((loop, waiter))
            try:
                await waiter
            finally:
                with self._lock:
                    self._waiting.discard((loop, waiter))


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
