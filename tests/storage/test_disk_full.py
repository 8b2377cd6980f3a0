"""A file that may not grow: what does not fit fails whole, what is small still ends, all goes on later."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from protocol.ids import CallId
from protocol.lifecycles import CallEvent, RunEvent, RunOutcome, RunState, UnitState
from storage import audit, retention
from storage.kernel.database import Database, Unavailable
from storage.kernel.sqlite import open_sqlite
from storage.runs import run_moves, run_pauses, runs
from storage.runs.calls import mark_sent, open_calls
from storage.runs.items import PlannedCall
from storage.runs.runs import HeldRun
from storage.runs.units import settle_unit, units_of
from storage.schema import metadata
from tests.storage.rows import AT, calls, make_run, plan, settle_call
from tests.support.database import new_database

UNLIMITED = 2**30


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    new_database(tmp_path / "hub.db")
    async with open_sqlite(tmp_path / "hub.db") as opened:
        yield opened


@pytest.fixture
async def held(database: Database) -> HeldRun:
    """A run that executes: one call of its first unit is under way."""

    def prepare(c: sa.Connection) -> HeldRun:
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


async def plan_large(database: Database, held: HeldRun) -> None:
    await database.write(plan, held, "b.txt", of=large())


async def end(database: Database, held: HeldRun) -> None:
    """What is left of a run once the call under way is answered."""
    await database.write(settle_call, CallId("call-1"), CallEvent.ACKED, {"result": {"id": "row-1"}}, AT)
    await database.write(settle_unit, held, "a.txt", AT)
    await database.write(
        run_moves.move, held, RunEvent.FINISHED, at=AT, actor="hub", outcome=RunOutcome.SUCCESS
    )


async def test_a_plan_that_does_not_fit_leaves_no_trace_and_its_run_comes_to_its_end(
    database: Database, held: HeldRun
) -> None:
    await allow_pages(database, None)
    before = await database.read(everything)
    with pytest.raises(Unavailable, match="full"):
        await plan_large(database, held)
    assert await database.read(everything) == before
    await end(database, held)
    run = await database.read(runs.get_run, held.id)
    assert (run.state, run.items_created) == (RunState.COMPLETED, 1)


async def test_a_run_can_be_cancelled_on_a_full_disk(database: Database, held: HeldRun) -> None:
    await allow_pages(database, None)
    await database.write(run_pauses.request_cancel, held.id, "not needed", AT)
    await database.write(run_moves.move, held, RunEvent.CANCELLED, at=AT, actor="hub")
    assert (await database.read(runs.get_run, held.id)).state is RunState.CANCELLED


async def test_what_does_not_fit_takes_nobody_along_who_writes_at_the_same_time(
    database: Database, held: HeldRun
) -> None:
    await allow_pages(database, None)

    async def too_much() -> None:
        with pytest.raises(Unavailable):
            await plan_large(database, held)

    async with anyio.create_task_group() as writers:
        writers.start_soon(too_much)
        writers.start_soon(end, database, held)
        writers.start_soon(too_much)
    assert (await database.read(runs.get_run, held.id)).state is RunState.COMPLETED


async def test_the_run_goes_on_when_there_is_space_again(database: Database, held: HeldRun) -> None:
    await allow_pages(database, None)
    with pytest.raises(Unavailable):
        await plan_large(database, held)
    await allow_pages(database, UNLIMITED)
    await plan_large(database, held)
    units = {unit.unit_key: unit.state for unit in await database.read(units_of, held.id)}
    assert units == {"a.txt": UnitState.EXTRACTED, "b.txt": UnitState.EXTRACTED}
    assert len(await database.read(open_calls, held.id)) == 101
    assert (await database.read(lambda c: c.exec_driver_sql("PRAGMA integrity_check").scalar_one())) == "ok"


async def test_pruning_makes_room_in_a_file_that_may_not_grow(database: Database, held: HeldRun) -> None:
    def fill(c: sa.Connection) -> None:
        for n in range(400):
            audit.record(c, id=f"a-{n}", at=n, event_type="run.failed", message="x" * 4_000, actor="hub")

    await database.write(fill)
    await allow_pages(database, None)
    with pytest.raises(Unavailable):
        await plan_large(database, held)
    while await database.write(retention.prune_activity, before=400):
        pass
    await plan_large(database, held)
    assert len(await database.read(open_calls, held.id)) == 101
