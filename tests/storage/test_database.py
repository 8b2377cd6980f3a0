"""The contract of ``storage.kernel.database``, on each kind."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from storage.kernel.columns import now_ms
from storage.kernel.database import Conflict, Database, DatabaseUnavailable
from storage.kernel.postgres import open_postgres
from storage.kernel.sqlite import empty_database, open_sqlite
from storage.schema import devices, nodes
from tests.storage.jobs import add, names, outcome_of


@pytest.fixture(params=["file", "memory", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    if request.param == "postgresql":
        with request.getfixturevalue("postgres").database() as url:
            async with open_postgres(url) as opened:
                yield opened
        return
    path, content = tmp_path / "hub.db", empty_database()
    path.write_bytes(content)
    async with open_sqlite(path if request.param == "file" else content) as opened_file:
        yield opened_file


async def test_only_the_failing_job_of_many_concurrent_writes_fails(database: Database) -> None:
    outcomes: dict[str, object] = {}
    async with anyio.create_task_group() as callers:
        for n in range(128):
            callers.start_soon(partial(outcome_of, database, outcomes, f"u{n:03}", guilty=n == 77))
    assert isinstance(outcomes.pop("u077"), ValueError)
    assert set(outcomes.values()) == set(await database.read(names)) == set(outcomes)
    assert len(outcomes) == 127


async def test_loser_of_two_concurrent_writes_of_the_same_key_gets_a_conflict(database: Database) -> None:
    ours: dict[str, object] = {}
    theirs: dict[str, object] = {}
    async with anyio.create_task_group() as callers:
        for outcomes in (ours, theirs):
            callers.start_soon(outcome_of, database, outcomes, "anna")
        callers.start_soon(outcome_of, database, ours, "bruno")
    assert ours["bruno"] == "bruno"
    refused = [outcome for outcome in (ours["anna"], theirs["anna"]) if outcome != "anna"]
    assert [type(error) for error in refused] == [Conflict]
    assert "users" in str(refused[0])
    assert await database.read(names) == ["anna", "bruno"]


async def test_random_cancellations_harm_no_other_write(database: Database) -> None:
    async with anyio.create_task_group() as callers:
        for n in range(100):
            with anyio.CancelScope() as scope:
                callers.start_soon(database.write, add, f"stays-{n:03}")
                async with anyio.create_task_group() as leavers:
                    leavers.start_soon(database.write, add, f"leaves-{n:03}")
                    for _ in range(n % 5):
                        await anyio.lowlevel.checkpoint()
                    scope.cancel()
    assert sum(name.startswith("stays") for name in await database.read(names)) == 100


async def test_a_job_is_written_wholly_or_not_at_all(database: Database) -> None:
    def both(c: sa.Connection) -> None:
        add(c, "anna")
        add(c, "anna")

    with pytest.raises(Conflict):
        await database.write(both)
    assert await database.read(names) == []


async def test_writing_read_fails_and_writes_nothing(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"read-?only"):
        await database.read(add, "anna")
    assert (await database.read(names), await database.write(add, "anna")) == ([], "anna")


async def test_write_with_a_broken_foreign_key_is_a_conflict(database: Database) -> None:
    def orphan(c: sa.Connection) -> None:
        c.execute(sa.insert(devices), {"id": "d", "user_id": "nobody", "name": "n", "created_at": 0})

    with pytest.raises(Conflict, match=r"(?i)foreign key"):
        await database.write(orphan)


async def test_faulty_sql_statement_raises_a_database_api_error(database: Database) -> None:
    def mistaken(c: sa.Connection) -> None:
        c.exec_driver_sql("SELECT * FROM nowhere")

    for run in (database.read, database.write):
        with pytest.raises(sa.exc.DBAPIError, match="nowhere") as raised:
            await run(mistaken)
        assert raised.value.__cause__ is not raised.value


async def test_database_error_does_not_contain_written_values(database: Database) -> None:
    def mistaken(c: sa.Connection) -> None:
        c.execute(sa.text("UPDATE nowhere SET title = :title"), {"title": "a private document"})

    with pytest.raises(sa.exc.DBAPIError) as raised:
        await database.write(mistaken)
    assert "private" not in str(raised.value)
    await database.write(add, "anna")
    with pytest.raises(Conflict) as refused:
        await database.write(add, "anna")
    assert "anna" not in str(refused.value)


async def test_a_database_has_a_clock(database: Database) -> None:
    def boot(c: sa.Connection) -> int:
        c.execute(
            sa.insert(nodes).values(id="node", boot_id="boot", started_at=now_ms(), seen_at=now_ms() + 5)
        )
        return int(c.execute(sa.select(nodes.c.seen_at - now_ms())).scalar_one())

    assert await database.write(boot) <= 5
    assert await database.read(lambda c: c.execute(sa.select(nodes.c.started_at)).scalar_one()) > 0


async def test_exception_in_the_database_block_is_raised_unchanged(database_opened_by: Any) -> None:
    with pytest.raises(KeyError):
        async with database_opened_by():
            raise KeyError("mine")


async def test_a_closed_database_refuses_jobs_with_a_message(database_opened_by: Any) -> None:
    opening: AbstractAsyncContextManager[Database] = database_opened_by()
    async with opening as database:
        pass
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await database.write(add, "late")
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await database.read(names)


@pytest.fixture(params=["file", "postgresql"])
def database_opened_by(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """What opens a database, and closes it."""
    if request.param == "file":
        yield partial(open_sqlite, tmp_path / "hub.db")
    else:
        with request.getfixturevalue("postgres").database() as url:
            yield partial(open_postgres, url)
