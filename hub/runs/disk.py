"""Whether the disk below the state folder has room for more work, and a reserve for when it has none.

A full disk must not surprise a run half-way: no new run is claimed while
``is_full``, and what executes still has the room to end, for answers, cancels and
final states are small. Where others fill the disk to the last byte, the hub gives up
its reserve, the ballast, so that it can write those, and start.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import anyio
import anyio.to_thread
from anyio.abc import TaskStatus

from hub.clock import Clock
from hub.log import Channel
from hub.turns import Turns

log = Channel(__name__)

CHECK_EVERY_S: Final = 2.0
BALLAST: Final = "ballast"  # a file of the state folder
BALLAST_BYTES: Final = 32 * 1024 * 1024
PORTION_BYTES: Final = 8 * 1024 * 1024  # given up at once: the database's log (4 MiB), its index, a start
SCARCE_BYTES: Final = 2 * 1024 * 1024  # less is free: the hub's next writes may fail
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


class Ballast:
    """A file that takes ``BALLAST_BYTES`` of the operator's disk, and gives them up in portions.

    The last portion is for a start alone, so that a hub that was killed on a full disk
    starts again. It reserves nothing on a file system that compresses.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / BALLAST
        self._can_be_made = True

    @property
    def size_bytes(self) -> int:
        try:
            return self._file.stat().st_size
        except OSError:
            return 0

    def give_up(self, *, keep_bytes: int) -> None:
        """Free a portion of the disk, as far as more than *keep_bytes* are left."""
        size = self.size_bytes
        left = max(keep_bytes, size - PORTION_BYTES)
        if left >= size:
            return
        try:
            os.truncate(self._file, left)
        except OSError as exc:
            log.error("disk.ballast_kept", exc=exc)
        else:
            log.warning("disk.ballast_given_up", freed_bytes=size - left, left_bytes=left)

    def fits_in(self, bytes: int) -> bool:
        """Whether it lacks a part, and that part fits into so many bytes; not after it failed to be made."""
        return self._can_be_made and 0 < BALLAST_BYTES - self.size_bytes <= bytes

    def make(self) -> None:
        """Take the whole of its room again. May take a second where the file system writes zeros."""
        try:
            descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, BALLAST_BYTES)
            finally:
                os.close(descriptor)
        except OSError as exc:  # a quota, for one: the hub does without
            self._can_be_made = False
            log.error("disk.no_ballast", exc=exc)


def make_room_for_a_start(folder: Path) -> None:
    """Give up a portion of the ballast in the state folder *folder* if a start would find no room."""
    found = os.statvfs(folder)
    if found.f_bavail * found.f_frsize < SCARCE_BYTES:
        Ballast(folder).give_up(keep_bytes=0)


class DiskGuard:
    """Looks at the file system of a folder every ``CHECK_EVERY_S``."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock,
        ballast: Ballast | None = None,
        look: Callable[[Path], FileSystem] = os.statvfs,
    ) -> None:
        """*look* answers at once: it is called on the event loop, as the database's disk is local."""
        self.turns = Turns(clock)
        self._folder = folder
        self._clock = clock
        self._ballast = ballast
        self._look = look
        self._is_full = False
        self._free_bytes: int | None = None
        self._wanted_bytes = 0

    @property
    def is_full(self) -> bool:
        """Less than 5 % or 200 MB were free, and not a fifth more since; False before the first look."""
        return self._is_full

    @property
    def free_bytes(self) -> int | None:
        """What was free at the last look that was answered; ``None`` before it."""
        return self._free_bytes

    @property
    def told(self) -> str | None:
        """Why no run starts, and when runs start again, as a sentence; ``None`` while there is room."""
        if not self._is_full:
            return None
        free, wanted = (self._free_bytes or 0) // 1_000_000, -(-self._wanted_bytes // 1_000_000)
        return f"only {free} MB are free where the database lies: no run is started before {wanted} MB are"

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Look until cancelled; started once it has looked."""
        self.look()
        task_status.started()
        while True:
            spare_bytes = 0 if self._is_full else (self._free_bytes or 0) - self._wanted_bytes
            if self._ballast is not None and self._ballast.fits_in(spare_bytes):
                self.turns.work()
                await anyio.to_thread.run_sync(self._ballast.make)
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
        was_full, self._free_bytes, self._wanted_bytes = self._is_full, free, int(least * HYSTERESIS)
        self._is_full = free < (self._wanted_bytes if was_full else least)
        if self._ballast is not None and free < SCARCE_BYTES:
            self._ballast.give_up(keep_bytes=PORTION_BYTES)
        if self._is_full and not was_full:
            log.error("disk.full", free_bytes=free, least_bytes=least)
        elif was_full and not self._is_full:
            log.info("disk.freed", free_bytes=free, least_bytes=least)
