"""The last entries of the log, numbered, for whoever looks at a running hub.

Filled from any thread; read and waited for on the event loop. What falls out at the
old end is gone: a reader that was away for longer sees it by the numbers.
"""

import asyncio
import threading
from collections import deque
from contextlib import suppress
from typing import Final

import msgspec

ENTRIES: Final = 2_000  # some minutes of a busy hub; about 1 MiB


class LogEntry(msgspec.Struct, frozen=True):
    """One event that was logged, redacted.

    Attributes:
        seq: 1 for the first of this process; without gaps.
        at: epoch milliseconds.
        level: debug, info, warning or error.
        event: its stable name.
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
    """At most *most* entries, the newest."""

    def __init__(self, most: int = ENTRIES) -> None:
        self._entries: deque[LogEntry] = deque(maxlen=most)
        self._lock = threading.Lock()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = set()
        self._last = 0

    @property
    def last(self) -> int:
        """The number of the newest entry; 0 while there is none."""
        return self._last

    @property
    def first(self) -> int:
        """The number of the oldest entry that is still here; ``last + 1`` while there is none."""
        return self._last - len(self._entries) + 1

    def append(self, *, at: int, level: str, event: str, channel: str, fields: dict[str, object]) -> LogEntry:
        """Add an entry, which gets the next number. Never waits for a reader."""
        with self._lock:
            self._last += 1
            entry = LogEntry(self._last, at, level, event, channel, fields)
            self._entries.append(entry)
            waiting, self._waiting = self._waiting, set()
        for loop, waiter in waiting:
            with suppress(RuntimeError):  # its loop has ended
                loop.call_soon_threadsafe(_wake, waiter)
        return entry

    def since(self, seq: int) -> list[LogEntry]:
        """The entries after number *seq*, the oldest first; what has fallen out is not among them."""
        with self._lock:
            if self._last - seq >= len(self._entries):
                return list(self._entries)
            return [self._entries[index] for index in range(seq - self._last, 0)]

    async def wait(self, seq: int) -> None:
        """Until there is an entry after number *seq*."""
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
