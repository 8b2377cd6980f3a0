"""Free disk space: when the disk counts as full, the reserve file, and its release.

No new run is claimed while ``is_full`` is True. Executing runs still have space to end, because answers,
cancellations and final states are small. If other programs fill the disk completely, the hub frees its
ballast file, so that it can write those and can start.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from anyio.abc import TaskStatus

from hub.base.clock import Clock
from hub.base.log import Channel
from hub.base.periodic_loop import LoopReports

log = Channel(__name__)

CHECK_EVERY_S: Final = 2.0
BALLAST: Final = "ballast"  # file name in the state folder
BALLAST_BYTES: Final = 32 * 1024 * 1024
# freed at once: the database's log (4 MiB), its index, and a start of the hub
PORTION_BYTES: Final = 8 * 1024 * 1024
SCARCE_BYTES: Final = 2 * 1024 * 1024  # with less free space, the hub's next writes may fail
MIN_SHARE: Final = 0.05
MIN_BYTES: Final = 200_000_000
# factor by which free space must exceed the limit before the disk counts as free again
HYSTERESIS: Final = 1.2


class Ballast:
    """A file that reserves ``BALLAST_BYTES`` of disk space, freed in portions.

    The last portion is freed only by a start, so that a hub killed on a full disk can start again. The file
    reserves nothing on a file system that compresses.
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
        """Free one portion of disk space, but keep at least *keep_bytes* of the file."""
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
        """Return True if the file is incomplete and its missing part fits into *bytes*.

        Return False after a failed attempt to create the file.
        """
        return self._can_be_made and 0 < BALLAST_BYTES - self.size_bytes <= bytes

    def make(self) -> None:
        """Allocate the whole file again. Blocks for up to a second where the file system writes zeros."""
        try:
            descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, BALLAST_BYTES)
            finally:
                os.close(descriptor)
        except OSError as exc:  # a quota, for example: the hub works without ballast
            self._can_be_made = False
            log.error("disk.no_ballast", exc=exc)


def make_room_for_a_start(folder: Path) -> None:
    """Free a portion of the ballast in *folder* if a start would run out of disk space."""
    found = os.statvfs(folder)
    if found.f_bavail * found.f_frsize < SCARCE_BYTES:
        Ballast(folder).give_up(keep_bytes=0)


class DiskGuard:
    """Checks the file system of a folder every ``CHECK_EVERY_S``."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock,
        ballast: Ballast | None = None,
        statistics: Callable[[Path], os.statvfs_result] = os.statvfs,
    ) -> None:
        """Set up the guard.

        Args:
            statistics: returns the file system's statistics; called on the event loop, because a local disk
                answers at once.
        """
        self.loop = LoopReports(clock)
        self._folder = folder
        self._clock = clock
        self._ballast = ballast
        self._statistics = statistics
        self._is_full = False
        self._free_bytes: int | None = None
        self._required_bytes = 0

    @property
    def is_full(self) -> bool:
        """True if less than 5 % or 200 MB are free; False again only with a fifth more free space."""
        return self._is_full

    @property
    def free_bytes(self) -> int | None:
        """Free bytes at the last successful check; None before it."""
        return self._free_bytes

    @property
    def problem(self) -> str | None:
        """Message why no run starts and when runs start again; None while there is free space."""
        if not self._is_full:
            return None
        free, required = (self._free_bytes or 0) // 1_000_000, -(-self._required_bytes // 1_000_000)
        return f"only {free} MB are free where the database lies: no run is started before {required} MB are"

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Check until cancelled; reports as started after the first check."""
        self.check()
        task_status.started()
        while True:
            spare_bytes = 0 if self._is_full else (self._free_bytes or 0) - self._required_bytes
            if self._ballast is not None and self._ballast.fits_in(spare_bytes):
                self.loop.work()
                await anyio.to_thread.run_sync(self._ballast.make)
            self.loop.wait(CHECK_EVERY_S)
            await self._clock.sleep(CHECK_EVERY_S)
            self.check()

    def check(self) -> None:
        """Check the free space now. Keeps the previous result if the file system does not answer."""
        try:
            found = self._statistics(self._folder)
        except OSError as exc:
            log.error("disk.unknown", exc=exc)
            return
        free = found.f_bavail * found.f_frsize
        least = max(MIN_BYTES, int(MIN_SHARE * found.f_blocks * found.f_frsize))
        was_full, self._free_bytes, self._required_bytes = self._is_full, free, int(least * HYSTERESIS)
        self._is_full = free < (self._required_bytes if was_full else least)
        if self._ballast is not None and free < SCARCE_BYTES:
            self._ballast.give_up(keep_bytes=PORTION_BYTES)
        if self._is_full and not was_full:
            log.error("disk.full", free_bytes=free, least_bytes=least)
        elif was_full and not self._is_full:
            log.info("disk.freed", free_bytes=free, least_bytes=least)
