"""The contract of ``storage.database``, on SQLite."""

import importlib.metadata
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa

from storage import sqlite
from storage.database import Busy, Conflict, Database, Unavailable
from storage.schema import metadata, users
from storage.sqlite import BATCH, open_sqlite


@pytest.fixture(params=["file", "memory"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with open_sqlite(tmp_path / "hub.db" if request.param == "file" else None) as opened:
        await opened.write(metadata.create_all)
        yield opened


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    async with open_sqlite(tmp_path / "hub.db") as opened:
        await opened.write(metadata.create_all)
    return tmp_path / "hub.db"


def add(c: sa.Connection, name: str, *, guilty: bool = False) -> str:
    c.execute(sa.insert(users), {"id": name, "name": name, "created_at": 0})
    if guilty:
        raise ValueError(name)
    return name


def names(c: sa.Connection) -> list[str]:
    return list(c.execute(sa.select(users.c.name).order_by(users.c.name)).scalars())


def count_up(c: sa.Connection) -> int:
    """Reads, then writes what it read: an update is lost if another comes between."""
    current = c.execute(sa.select(users.c.created_at)).scalar_one()
    c.execute(sa.update(users).values(created_at=current + 1))
    return int(current) + 1


async def outcome_of(database: Database, outcomes: dict[str, object], name: str, **how: bool) -> None:
    try:
        outcomes[name] = await database.write(add, name, **how)
    except Exception as error:
        outcomes[name] = error


async def test_of_a_batch_only_the_guilty_job_fails(database: Database) -> None:
    outcomes: dict[str, object] = {}
    async with anyio.create_task_group() as callers:
        for n in range(BATCH):
            callers.start_soon(partial(outcome_of, database, outcomes, f"u{n:03}", guilty=n == 77))
    assert isinstance(outcomes.pop("u077"), ValueError)
    assert set(outcomes.values()) == set(await database.read(names)) == set(outcomes)
    assert len(outcomes) == BATCH - 1


async def test_of_two_jobs_with_the_same_key_the_second_is_a_conflict(database: Database) -> None:
    first: dict[str, object] = {}
    second: dict[str, object] = {}
    async with anyio.create_task_group() as callers:
        for outcomes in (first, second):
            callers.start_soon(outcome_of, database, outcomes, "anna")
        callers.start_soon(outcome_of, database, first, "bruno")
    assert first == {"anna": "anna", "bruno": "bruno"}
    assert isinstance(second["anna"], Conflict)
    assert "users.name" in str(second["anna"]) or "users.id" in str(second["anna"])


async def test_many_writers_share_a_commit(path: Path) -> None:
    commits: list[str] = []

    def watch(c: sa.Connection) -> None:
        driver = c.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.set_trace_callback(lambda said: commits.append(said) if said == "COMMIT" else None)

    async with open_sqlite(path) as database:
        await database.write(watch)
        commits.clear()
        async with anyio.create_task_group() as callers:
            for n in range(BATCH):
                callers.start_soon(database.write, add, f"u{n}")
        assert len(commits) <= 3
        assert len(await database.read(names)) == BATCH


async def test_a_caller_that_leaves_does_not_take_its_job_along(database: Database) -> None:
    async with anyio.create_task_group() as callers:
        with anyio.CancelScope() as leaving:
            async with anyio.create_task_group() as leavers:
                leavers.start_soon(database.write, add, "leaver")
                await anyio.wait_all_tasks_blocked()
                leaving.cancel()
        callers.start_soon(database.write, add, "stayer")
    assert await database.read(names) in (["leaver", "stayer"], ["stayer"])
    assert await database.write(add, "next") == "next"


async def test_two_hundred_random_departures_harm_nobody(database: Database) -> None:
    async with anyio.create_task_group() as callers:
        for n in range(200):
            with anyio.CancelScope() as scope:
                callers.start_soon(database.write, add, f"stays-{n:03}")
                async with anyio.create_task_group() as leavers:
                    leavers.start_soon(database.write, add, f"leaves-{n:03}")
                    for _ in range(n % 5):
                        await anyio.lowlevel.checkpoint()
                    scope.cancel()
    assert sum(name.startswith("stays") for name in await database.read(names)) == 200


async def test_what_is_queued_is_written_before_the_file_is_closed(path: Path) -> None:
    disk_answers = threading.Event()
    with anyio.CancelScope() as stopping:
        async with open_sqlite(path) as database, anyio.create_task_group() as callers:
            callers.start_soon(database.write, lambda c: disk_answers.wait(5))
            await anyio.wait_all_tasks_blocked()
            for n in range(300):
                callers.start_soon(database.write, add, f"u{n:03}")
            await anyio.wait_all_tasks_blocked()
            stopping.cancel()
            disk_answers.set()
    async with open_sqlite(path) as database:
        assert len(await database.read(names)) == 300


async def test_a_fault_in_the_block_comes_out_as_it_is(path: Path) -> None:
    with pytest.raises(KeyError):
        async with open_sqlite(path):
            raise KeyError("mine")


async def test_a_closed_database_says_so(path: Path) -> None:
    async with open_sqlite(path) as database:
        pass
    with pytest.raises(Unavailable, match="closed"):
        await database.write(add, "late")
    with pytest.raises(Unavailable, match="closed"):
        await database.read(names)


async def test_a_read_that_writes_fails_and_writes_nothing(database: Database) -> None:
    with pytest.raises(Unavailable, match="readonly"):
        await database.read(add, "anna")
    assert await database.read(names) == []
    assert await database.write(add, "anna") == "anna"


async def test_what_a_reference_does_not_lead_to_is_refused(database: Database) -> None:
    with pytest.raises(Conflict, match="FOREIGN KEY"):
        await database.write(
            lambda c: (
                c.execute(
                    sa.insert(metadata.tables["devices"]),
                    {"id": "d", "user_id": "nobody", "name": "n", "created_at": 0},
                )
                and None
            )
        )


async def test_reading_before_writing_never_loses_an_update(path: Path) -> None:
    """Against a second process, in effect: another writer that commits in between."""
    async with open_sqlite(path) as ours, open_sqlite(path) as theirs:
        await ours.write(add, "counter")
        async with anyio.create_task_group() as callers:
            for _ in range(50):
                callers.start_soon(ours.write, count_up)
                callers.start_soon(theirs.write, count_up)
        assert await ours.write(count_up) == 101


async def test_a_database_that_another_process_locks_is_busy(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_PRAGMAS", ("PRAGMA busy_timeout=10",))
    async with open_sqlite(path) as database:
        shell = sqlite3.connect(path, isolation_level=None)
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy) as refused:
            await database.write(add, "anna")
        assert refused.value.retryable
        shell.execute("ROLLBACK")
        shell.close()
        assert await database.write(add, "anna") == "anna"


async def test_a_full_disk_fails_what_does_not_fit_and_nothing_else(path: Path) -> None:
    async with open_sqlite(path) as database:
        await database.write(add, "anna")

        def fill(c: sa.Connection) -> None:
            pages = c.exec_driver_sql("PRAGMA page_count").scalar_one()
            c.exec_driver_sql(f"PRAGMA max_page_count={pages}")

        def swell(c: sa.Connection) -> None:
            add(c, "x" * 1_000_000)

        await database.write(fill)
        outcomes: dict[str, object] = {}

        async def too_much() -> None:
            with pytest.raises(Unavailable, match="full"):
                await database.write(swell)

        async with anyio.create_task_group() as callers:
            callers.start_soon(outcome_of, database, outcomes, "before")
            callers.start_soon(too_much)
            callers.start_soon(outcome_of, database, outcomes, "after")
        acknowledged = [name for name, outcome in outcomes.items() if outcome == name]
        assert acknowledged == ["before", "after"]
        assert sorted([*acknowledged, "anna"]) == await database.read(names)


CHILD = """
import sys, anyio
from pathlib import Path
from storage.sqlite import open_sqlite
from tests.storage.test_sqlite import add

async def main():
    async with open_sqlite(Path(sys.argv[1])) as database, anyio.create_task_group() as writers:
        async def write(writer):
            for n in range(1_000_000):
                name = await database.write(add, f"{writer}-{n}")
                sys.stdout.write(name + "\\n")
                sys.stdout.flush()
        for writer in range(8):
            writers.start_soon(write, writer)

anyio.run(main)
"""


def acknowledged_before_a_kill(path: Path) -> list[str]:
    """What a process that writes as fast as it can was told is written, until it was killed."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    told = [child.stdout.readline().strip() for _ in range(200)]
    child.kill()
    told += [line.strip() for line in child.stdout if line.endswith("\n")]  # the last one may be cut off
    child.stdout.close()
    child.wait()
    return told


async def test_what_was_acknowledged_is_there_after_the_process_was_killed(path: Path) -> None:
    told = acknowledged_before_a_kill(path)
    async with open_sqlite(path) as database:
        assert set(told) <= set(await database.read(names))


def test_the_private_door_of_aiosqlite_was_read_in_this_version() -> None:
    """``Connection._execute`` runs a function in the connection's thread. Read it again, then raise this."""
    assert importlib.metadata.version("aiosqlite").startswith("0.22.")
