import logging
import os
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from hub.runs.disk import (
    BALLAST_BYTES,
    CHECK_EVERY_S,
    PORTION_BYTES,
    SCARCE_BYTES,
    Ballast,
    DiskGuard,
)
from tests.support.clock import FakeClock
from tests.support.families import each
from tests.support.wire import until

MB = 1_000_000


@dataclass
class Disk:
    """A file system of so many bytes."""

    free: int
    size: int = 1_000_000 * MB
    is_there: bool = True

    def check(self, folder: Path) -> os.statvfs_result:
        assert folder == Path("state")
        if not self.is_there:
            raise OSError(5, "input/output error")
        block = 1_000
        sizes = {"blocks": self.size // block, "bavail": self.free // block}
        return os.statvfs_result((0, block, sizes["blocks"], 0, sizes["bavail"], 0, 0, 0, 0, 0))


def guard_of(disk: Disk, clock: FakeClock | None = None) -> DiskGuard:
    guard = DiskGuard(Path("state"), clock=clock or FakeClock(), statistics=disk.check)
    guard.check()
    return guard


@each(
    ("size_mb", "free_mb", "is_full"),
    [
        (1_000_000, 50_001, False),
        (1_000_000, 49_999, True),
        (1_000, 201, False),
        (1_000, 199, True),  # five per cent would be 50 MB: not enough for anybody
    ],
)
def test_a_disk_is_full_below_five_per_cent_or_two_hundred_megabytes(
    size_mb: int, free_mb: int, is_full: bool
) -> None:
    assert guard_of(Disk(free_mb * MB, size_mb * MB)).is_full is is_full


def test_a_full_disk_has_room_again_only_when_a_fifth_more_is_free() -> None:
    disk = Disk(199 * MB, 1_000 * MB)
    guard = guard_of(disk)
    seen = []
    for free_mb in (201, 239, 240, 201, 199):
        disk.free = free_mb * MB
        guard.check()
        seen.append(guard.is_full)
    assert seen == [True, True, False, False, True]


async def test_free_disk_space_is_checked_every_two_seconds() -> None:
    disk, clock = Disk(500_000 * MB), FakeClock()
    guard = DiskGuard(Path("state"), clock=clock, statistics=disk.check)
    async with anyio.create_task_group() as services:
        await services.start(guard.serve)
        assert guard.free_bytes == 500_000 * MB
        disk.free = 0
        await clock.pass_time(CHECK_EVERY_S - 1)
        seen = [guard.is_full]
        await clock.pass_time(1)
        seen.append(guard.is_full)
        assert seen == [False, True]
        services.cancel_scope.cancel()


def test_unanswered_disk_check_retains_the_last_state(caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk(0)
    guard = guard_of(disk)
    disk.is_there = False
    guard.check()
    assert guard.is_full
    assert [record.getMessage() for record in caplog.records] == ["disk.full", "disk.unknown"]


def test_a_full_disk_and_free_space_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    disk = Disk(0)
    guard = guard_of(disk)
    guard.check()
    disk.free = disk.size
    guard.check()
    guard.check()
    assert [record.getMessage() for record in caplog.records] == ["disk.full", "disk.freed"]


def test_disk_guard_reads_the_free_space_of_a_real_folder(tmp_path: Path) -> None:
    guard = DiskGuard(tmp_path, clock=FakeClock())
    guard.check()
    assert guard.free_bytes is not None
    assert guard.free_bytes > 0


async def test_ballast_is_created_with_free_space_and_released_in_portions_when_scarce(
    tmp_path: Path,
) -> None:
    disk, clock, ballast = Disk(500_000 * MB), FakeClock(), Ballast(tmp_path)
    guard = DiskGuard(Path("state"), clock=clock, ballast=ballast, statistics=disk.check)
    async with anyio.create_task_group() as services:
        await services.start(guard.serve)
        await until(lambda: ballast.size_bytes == BALLAST_BYTES and clock.sleeping == 1)
        disk.free = SCARCE_BYTES - 1_000
        sizes = []
        for _ in range(4):
            await clock.pass_time(CHECK_EVERY_S)
            sizes.append(ballast.size_bytes // PORTION_BYTES)
        assert sizes == [3, 2, 1, 1]
        disk.free = 60_030 * MB  # a fifth more than is wanted, and the ballast
        clock.advance(CHECK_EVERY_S)
        await until(lambda: ballast.size_bytes == BALLAST_BYTES)
        services.cancel_scope.cancel()


async def test_ballast_is_not_created_if_the_remaining_space_would_stop_runs(tmp_path: Path) -> None:
    disk, clock, ballast = Disk(60_010 * MB), FakeClock(), Ballast(tmp_path)
    guard = DiskGuard(Path("state"), clock=clock, ballast=ballast, statistics=disk.check)
    async with anyio.create_task_group() as services:
        await services.start(guard.serve)
        await clock.pass_time(CHECK_EVERY_S)
        assert (guard.is_full, ballast.size_bytes) == (False, 0)
        services.cancel_scope.cancel()


def test_uncreatable_ballast_is_logged_once_and_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ballast = Ballast(tmp_path / "nowhere")
    assert ballast.fits_in(BALLAST_BYTES)
    ballast.make()
    assert not ballast.fits_in(BALLAST_BYTES)
    ballast.give_up(keep_bytes=0)
    assert [record.getMessage() for record in caplog.records] == ["disk.no_ballast"]


def test_a_full_disk_is_reported_with_the_free_and_the_required_space() -> None:
    disk = Disk(199 * MB, 1_000 * MB)
    guard = guard_of(disk)
    assert guard.problem == (
        "only 199 MB are free where the database lies: no run is started before 240 MB are"
    )
    disk.free = 240 * MB
    guard.check()
    assert guard.problem is None
