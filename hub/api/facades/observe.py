"""The log and the hub's insides, as an operator asks for them."""

from collections.abc import AsyncGenerator
from typing import Protocol

from hub.api.views.observe import DumpView, LogLevel, LogView


class LogFacade(Protocol):
    """The last entries of the log.

    Each method takes the entries of at least *level*; of one run, named by its id or by the
    last six or more characters of it; of one device, named by its name or id. Each raises
    UnknownDevice, before the first entry.
    """

    async def newest(
        self, *, run: str | None, device: str | None, level: LogLevel, below: int | None, limit: int
    ) -> list[LogView]:
        """The newest first, at most *limit*, of those numbered *below*."""
        ...

    async def follow(
        self, *, run: str | None, device: str | None, level: LogLevel, limit: int
    ) -> AsyncGenerator[LogView]:
        """The last *limit*, the oldest first, then each that comes.

        A reader that is slower than the log misses entries; their numbers show it.
        Whoever reads it closes it (``contextlib.aclosing``).
        """
        ...


class DebugFacade(Protocol):
    """What only somebody asks for who looks for a fault."""

    def dump(self) -> DumpView:
        """Tasks, threads, connections and queues, now. Without I/O."""
        ...
