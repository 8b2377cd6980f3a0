"""What is SQLite's own: group commit, one writer, a file on a disk."""

import importlib.metadata
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from protocol.ids import CallId
from protocol.lifecycles import CallEvent, RunEvent, RunOutcome, RunState, UnitState
from storage import audit
from storage.effects import retention
from storage.executing_runs import FencedRun
from storage.kernel import sqlite
from storage.kernel.database import Busy, Database, DatabaseUnavailable, written_for
from storage.kernel.sqlite import BATCH, QUEUE, open_sqlite
from storage.runs import run_moves, run_pauses, runs
from storage.runs.calls import mark_sent, open_calls
from storage.runs.items import PlannedCall
from storage.runs.units import settle_unit, units_of
from storage.schema import metadata
from tests.storage.jobs import add, count_up, names
from tests.storage.rows import AT, calls, make_run, plan, settle_call
from tests.support.database import new_database


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    async with open_sqlite(tmp_path / "hub.db") as opened:
        await opened.write(metadata.create_all)
    return tmp_path / "hub.db"


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


async def test_queued_writes_are_committed_before_the_file_is_closed(path: Path) -> None:
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


async def test_reading_before_writing_never_loses_an_update(path: Path) -> None:
    """Against a second process, in effect: another writer that commits in between."""
    async with open_sqlite(path) as ours, open_sqlite(path) as theirs:
        await ours.write(add, "counter")
        async with anyio.create_task_group() as callers:
            for _ in range(50):
                callers.start_soon(ours.write, count_up)
                callers.start_soon(theirs.write, count_up)
        assert await ours.write(count_up) == 101


async def test_database_locked_by_another_process_is_busy(
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


CHILD = """
import sys, anyio
from pathlib import Path
from storage.kernel.sqlite import open_sqlite
from tests.storage.jobs import add

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


async def test_acknowledged_writes_survive_a_killed_process(path: Path) -> None:
    told = acknowledged_before_a_kill(path)
    async with open_sqlite(path) as database:
        assert set(told) <= set(await database.read(names))


def test_private_execute_of_aiosqlite_was_reviewed_for_the_installed_version() -> None:
    """``Connection._execute`` runs a function in the connection's thread. Read it again, then raise this."""
    assert importlib.metadata.version("aiosqlite").startswith("0.22.")


async def test_single_write_does_not_wait_behind_a_thousand_of_another_caller(path: Path) -> None:
    disk_answers = threading.Event()
    written: list[str] = []

    async with open_sqlite(path) as database, anyio.create_task_group() as callers:

        async def write(cause: str, number: int) -> None:
            with written_for(cause):
                await database.write(lambda c: written.append(f"{cause} {number}"))

        callers.start_soon(database.write, lambda c: disk_answers.wait(5))
        await anyio.wait_all_tasks_blocked()
        for number in range(2 * QUEUE):
            callers.start_soon(write, "busy", number)
        await anyio.wait_all_tasks_blocked()
        for number in range(3):
            callers.start_soon(write, "seldom", number)
        await anyio.wait_all_tasks_blocked()
        disk_answers.set()
    assert len(written) == 2 * QUEUE + 3
    assert max(written.index(f"seldom {number}") for number in range(3)) < BATCH
    for cause in ("busy", "seldom"):
        numbers = [int(one.split()[1]) for one in written if one.startswith(cause)]
        assert numbers == sorted(numbers)


# --- a file that may not grow ---


UNLIMITED = 2**30


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    new_database(tmp_path / "hub.db")
    async with open_sqlite(tmp_path / "hub.db") as opened:
        yield opened


@pytest.fixture
async def held(database: Database) -> FencedRun:
    """A run that executes: one call of its first unit is under way."""

    def prepare(c: sa.Connection) -> FencedRun:
        run = make_run(c, state=RunState.RUNNING).held
        plan(c, run, "a.txt", of=calls("call-1"))
        mark_sent(c, run, [CallId("call-1")], AT)
        return run

    return await database.write(prepare)


async def allow_pages(database: Database, pages: int | None) -> None:
    """Let the file grow to so many pages; to no more than it has, if ``None``."""

    def allow(c: sa.Connection) -> None:
        most = c.exec_driver_sql("PRAGMA page_count").scalar_one() if pages is None else pages
        c.exec_driver_sql(f"PRAGMA max_page_count={most}").close()

    await database.write(allow)


def everything(c: sa.Connection) -> dict[str, list[Any]]:
    """Every row there is."""
    return {
        name: sorted(map(repr, c.execute(sa.select(table)).all())) for name, table in metadata.tables.items()
    }


def large() -> list[PlannedCall]:
    """A plan that takes a megabyte."""
    return [
        PlannedCall(
            call_id=CallId(f"large-{n}"), ordinal=n, table="tasks", payload={"data": {"title": "x" * 10_000}}
        )
        for n in range(100)
    ]


async def plan_large(database: Database, held: FencedRun) -> None:
    await database.write(plan, held, "b.txt", of=large())


async def end(database: Database, held: FencedRun) -> None:
    """What is left of a run once the call under way is answered."""
    await database.write(settle_call, CallId("call-1"), CallEvent.ACKED, {"result": {"id": "row-1"}}, AT)
    await database.write(settle_unit, held, "a.txt", AT)
    await database.write(
        run_moves.move, held, RunEvent.FINISHED, at=AT, actor="hub", outcome=RunOutcome.SUCCESS
    )


async def test_plan_on_a_full_disk_writes_nothing_and_the_run_finishes(
    database: Database, held: FencedRun
) -> None:
    await allow_pages(database, None)
    before = await database.read(everything)
    with pytest.raises(DatabaseUnavailable, match="full"):
        await plan_large(database, held)
    assert await database.read(everything) == before
    await end(database, held)
    run = await database.read(runs.get_run, held.id)
    assert (run.state, run.items_created) == (RunState.COMPLETED, 1)


async def test_a_run_can_be_cancelled_on_a_full_disk(database: Database, held: FencedRun) -> None:
    await allow_pages(database, None)
    await database.write(run_pauses.request_cancel, held.id, "not needed", AT)
    await database.write(run_moves.move, held, RunEvent.CANCELLED, at=AT, actor="hub")
    assert (await database.read(runs.get_run, held.id)).state is RunState.CANCELLED


async def test_write_refused_by_a_full_disk_does_not_affect_concurrent_writes(
    database: Database, held: FencedRun
) -> None:
    await allow_pages(database, None)

    async def too_much() -> None:
        with pytest.raises(DatabaseUnavailable):
            await plan_large(database, held)

    async with anyio.create_task_group() as writers:
        writers.start_soon(too_much)
        writers.start_soon(end, database, held)
        writers.start_soon(too_much)
    assert (await database.read(runs.get_run, held.id)).state is RunState.COMPLETED


async def test_run_continues_after_disk_space_is_available_again(database: Database, held: FencedRun) -> None:
    await allow_pages(database, None)
    with pytest.raises(DatabaseUnavailable):
        await plan_large(database, held)
    await allow_pages(database, UNLIMITED)
    await plan_large(database, held)
    units = {unit.unit_key: unit.state for unit in await database.read(units_of, held.id)}
    assert units == {"a.txt": UnitState.EXTRACTED, "b.txt": UnitState.EXTRACTED}
    assert len(await database.read(open_calls, held.id)) == 101
    assert (await database.read(lambda c: c.exec_driver_sql("PRAGMA integrity_check").scalar_one())) == "ok"


async def test_pruning_frees_space_in_a_full_database_file(database: Database, held: FencedRun) -> None:
    def fill(c: sa.Connection) -> None:
        for n in range(400):
            audit.record(c, id=f"a-{n}", at=n, event_type="run.failed", message="x" * 4_000, actor="hub")

    await database.write(fill)
    await allow_pages(database, None)
    with pytest.raises(DatabaseUnavailable):
        await plan_large(database, held)
    while await database.write(retention.prune_activity, before=400):
        pass
    await plan_large(database, held)
    assert len(await database.read(open_calls, held.id)) == 101
