"""Whether the disk below the state folder has room for more work.

A full disk must not surprise a run half-way: no new run is claimed while
``is_full``, and what executes still has the room to end, for answers, cancels and
final states are small.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import anyio
from anyio.abc import TaskStatus

from hub.clock import Clock
from hub.log import Channel
from hub.turns import Turns

log = Channel(__name__)

CHECK_EVERY_S: Final = 10.0
LEAST_SHARE: Final = 0.05
LEAST_BYTES: Final = 200_000_000
HYSTERESIS: Final = 1.2  # times as much must be free before it counts as room again


class FileSystem(Protocol):
    """What is asked of ``os.statvfs_result``."""

    @property
    def f_bavail(self) -> int:
        """Blocks that we may still write."""
        ...

    @property
    def f_blocks(self) -> int: ...

    @property
    def f_frsize(self) -> int:
        """Bytes of a block."""
        ...


class DiskGuard:
    """Looks at the file system of a folder every ``CHECK_EVERY_S``."""

    def __init__(
        self, folder: Path, *, clock: Clock, look: Callable[[Path], FileSystem] = os.statvfs
    ) -> None:
        """*look* answers at once: it is called on the event loop, as the database's disk is local."""
        self.turns = Turns(clock)
        self._folder = folder
        self._clock = clock
        self._look = look
        self._is_full = False
        self._free_bytes: int | None = None

    @property
    def is_full(self) -> bool:
        """Less than 5 % or 200 MB were free, and not a fifth more since; False before the first look."""
        return self._is_full

    @property
    def free_bytes(self) -> int | None:
        """What was free at the last look that was answered; ``None`` before it."""
        return self._free_bytes

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Look until cancelled; started once it has looked."""
        self.look()
        task_status.started()
        while True:
            self.turns.wait(CHECK_EVERY_S)
            await self._clock.sleep(CHECK_EVERY_S)
            self.look()

    def look(self) -> None:
        """Look now. A file system that does not answer changes nothing."""
        try:
            found = self._look(self._folder)
        except OSError as exc:
            log.error("disk.unknown", exc=exc)
            return
        free = found.f_bavail * found.f_frsize
        least = max(LEAST_BYTES, int(LEAST_SHARE * found.f_blocks * found.f_frsize))
        was_full, self._free_bytes = self._is_full, free
        self._is_full = free < (least * HYSTERESIS if was_full else least)
        if self._is_full and not was_full:
            log.error("disk.full", free_bytes=free, least_bytes=least)
        elif was_full and not self._is_full:
            log.info("disk.freed", free_bytes=free, least_bytes=least)
