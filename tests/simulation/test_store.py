"""Tests of the simulated database: the committed writes of a killed hub, and the acknowledged ones."""

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import anyio.lowlevel
import pytest
import sqlalchemy as sa

from storage.runs import waiting_runs
from tests.simulation import answers
from tests.simulation.dice import Dice
from tests.simulation.loop import Process, run
from tests.simulation.store import Commit, Disk, Door, Weather, fresh_disk


def add_user(c: sa.Connection, name: str) -> str:
    c.execute(sa.text("INSERT INTO users VALUES (:name, :name, 1)"), {"name": name})
    return name


def count_users(c: sa.Connection) -> int:
    return int(c.execute(sa.text("SELECT count(*) FROM users")).scalar_one())


class Stage:
    """Disk, and a process with a door to it."""

    def __init__(self) -> None:
        self.disk = fresh_disk()
        self.process = Process("hub")
        self.weather = Weather()
        self.weather.is_calm = True
        self.told: list[str] = []
        self.door = Door(
            self.disk,
            self.process,
            Dice("door"),
            self.weather,
            is_shared=False,
            on_death=self.process.kill,
        )

    async def add(self, name: str) -> None:
        """Insert a user within the process, and record the acknowledgement."""
        self.process.enter()
        self.told.append(await self.door.write(add_user, name))

    @property
    def users(self) -> int:
        return self.disk.read(count_users, (), {})


def played(play: Callable[[Stage], Awaitable[None]]) -> Stage:
    """Run *play* on a new stage and return the stage."""

    async def main() -> Stage:
        stage = Stage()
        await play(stage)
        if stage.process.is_killed:
            await stage.process.unwind()
        return stage

    return run(main, Dice("store"))


async def writes(stage: Stage) -> None:
    async with anyio.create_task_group() as tasks:
        for name in ("anna", "bert", "carl"):
            tasks.start_soon(stage.add, name)
        await anyio.sleep(5)
        if stage.process.is_killed:
            await stage.process.unwind()


@pytest.mark.parametrize(("is_before", "users"), [(True, 1), (False, 2)])
def test_hub_killed_around_a_commit_gets_no_result(is_before: bool, users: int) -> None:
    async def play(stage: Stage) -> None:
        stage.weather.dies_in, stage.weather.dies_before = 2, is_before
        await writes(stage)

    stage = played(play)
    assert stage.users == users
    assert len(stage.told) <= 1


def test_cancelled_store_write_may_or_may_not_be_committed() -> None:
    async def cancelled_after(steps: int) -> int:
        stage = Stage()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stage.door.write, add_user, "anna")
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        return stage.users

    outcomes = {run(partial(cancelled_after, steps), Dice(str(steps))) for steps in range(8)}
    assert outcomes == {0, 1}


def test_writing_read_of_the_simulated_store_raises_an_error() -> None:
    with pytest.raises(AssertionError, match="wrote"):
        fresh_disk().read(add_user, ("anna",), {})


def test_impure_read_of_the_simulated_store_raises_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "CHECKED_ANSWERS", 1)
    calls: list[int] = []

    def impure(c: sa.Connection) -> int:
        calls.append(1)
        return len(calls)

    disk = fresh_disk()
    disk.read(impure, (), {})
    with pytest.raises(AssertionError, match="pure"):
        disk.read(impure, (), {})


def test_commit_lists_the_changed_rows() -> None:
    told: list[Commit] = []
    disk = fresh_disk()
    disk.on_commit = told.append

    def lease(c: sa.Connection, name: str) -> None:
        c.execute(sa.text("INSERT INTO leases (name) VALUES (:name)"), {"name": name})

    disk.write(add_user, "anna")
    disk.write(lease, "scheduler")
    disk.write(lambda c: None)
    assert [(commit.name, commit.touched.ids) for commit in told] == [
        ("add_user", {}),
        ("lease", {"leases": ["scheduler"]}),
    ]


def test_polled_query_is_executed_again_only_when_a_stored_instant_passed() -> None:
    disk = a_disk_with_a_run(start_by=5_000)
    asked: list[int] = []
    disk.raw.set_trace_callback(lambda sql: asked.append(1) if "start_deadline_at <=" in sql else None)
    told = [
        disk.read(waiting_runs.read_gates, (), {"boot_id": "b", "at": at, "paused_ms": 10**9}).is_overdue
        for at in (1_000, 2_000, 4_999, 5_001)
    ]
    disk.raw.set_trace_callback(None)
    assert told == [False, False, False, True]
    assert len(asked) == 2


def a_disk_with_a_run(*, start_by: int) -> Disk:
    """Return a disk with a queued run that must start by *start_by*."""
    disk = fresh_disk()
    disk.set_clock(lambda: 0)
    for statement in (
        "INSERT INTO users VALUES ('u', 'u', 1)",
        "INSERT INTO agents (id, user_id, name, executor, created_at, updated_at)"
        " VALUES ('a', 'u', 'a', 'device', 1, 1)",
        "INSERT INTO runs (id, agent_id, trigger_kind, fire_key, fire_at, eligible_at, config_rev,"
        " config_fingerprint, created_at, updated_at, start_deadline_at)"
        f" VALUES ('r', 'a', 'manual', 'k', 1, 1, 1, '', 1, 1, {start_by})",
    ):
        disk.write(_execute, statement)
    return disk


def _execute(c: sa.Connection, statement: str) -> None:
    c.execute(sa.text(statement))
