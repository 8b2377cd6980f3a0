import logging
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from hub.runs.disk import CHECK_EVERY_S, DiskGuard
from tests.support.clock import FakeClock

MB = 1_000_000


@dataclass
class Disk:
    """A file system of so many bytes."""

    free: int
    size: int = 1_000_000 * MB
    is_there: bool = True

    def look(self, folder: Path) -> "Disk":
        assert folder == Path("state")
        if not self.is_there:
            raise OSError(5, "input/output error")
        return self

    @property
    def f_bavail(self) -> int:
        return self.free // self.f_frsize

    @property
    def f_blocks(self) -> int:
        return self.size // self.f_frsize

    @property
    def f_frsize(self) -> int:
        return 1_000


def guard_of(disk: Disk, clock: FakeClock | None = None) -> DiskGuard:
    guard = DiskGuard(Path("state"), clock=clock or FakeClock(), look=disk.look)
    guard.look()
    return guard


@pytest.mark.parametrize(
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
        guard.look()
        seen.append(guard.is_full)
    assert seen == [True, True, False, False, True]


async def test_the_disk_is_looked_at_every_ten_seconds() -> None:
    disk, clock = Disk(500_000 * MB), FakeClock()
    guard = DiskGuard(Path("state"), clock=clock, look=disk.look)
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


def test_a_disk_that_does_not_answer_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk(0)
    guard = guard_of(disk)
    disk.is_there = False
    guard.look()
    assert guard.is_full
    assert [record.getMessage() for record in caplog.records] == ["disk.full", "disk.unknown"]


def test_filling_up_and_being_freed_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    disk = Disk(0)
    guard = guard_of(disk)
    guard.look()
    disk.free = disk.size
    guard.look()
    guard.look()
    assert [record.getMessage() for record in caplog.records] == ["disk.full", "disk.freed"]


def test_a_real_folder_can_be_asked(tmp_path: Path) -> None:
    guard = DiskGuard(tmp_path, clock=FakeClock())
    guard.look()
    assert guard.free_bytes is not None
    assert guard.free_bytes > 0
