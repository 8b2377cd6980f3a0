"""A database behind PgBouncer in transaction mode: its connections are used by many, one transaction each."""

from collections.abc import Iterator

import anyio
import pytest
import sqlalchemy as sa

from storage.kernel import postgres as module
from storage.kernel.database import Busy, Unavailable
from storage.store import open_store
from tests.storage.jobs import add, names
from tests.support.pgbouncer import running_pgbouncer, why_no_pgbouncer
from tests.support.postgres import Postgres

JOBS = 60


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    """The address of an empty database by way of PgBouncer, which has two connections to the server."""
    if (reason := why_no_pgbouncer()) is not None:
        pytest.skip(reason)
    with postgres.database() as direct, running_pgbouncer(postgres, connections=2) as address:
        yield f"{address}/{direct.rpartition('/')[2]}"


async def test_two_hubs_share_the_few_connections_of_pgbouncer(url: str) -> None:
    titles = [f"{number:03}" for number in range(JOBS)]
    pooled = f"{url}?pgbouncer=true"
    async with open_store(pooled) as ours, open_store(pooled) as theirs, anyio.create_task_group() as tasks:
        for number, title in enumerate(titles):
            store = ours if number % 2 else theirs
            tasks.start_soon(store.write, add, title)
            tasks.start_soon(store.read, names)
    async with open_store(pooled) as store:
        assert await store.read(names) == titles


async def test_the_time_limits_of_a_hub_hold_behind_pgbouncer_and_stay_with_its_transactions(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(f"{url}?pgbouncer=true") as patient:
        monkeypatch.setattr(module, "STATEMENT_MS", 50)
        async with open_store(f"{url}?pgbouncer=true") as hasty:
            with pytest.raises(Busy, match="took too long"):
                await hasty.read(_statement_limit, wait_s=60.0)
            assert await hasty.read(_statement_limit) == "50ms"
            assert await patient.read(_statement_limit) == "5s"


def _statement_limit(c: sa.Connection, *, wait_s: float = 0.0) -> str:
    c.execute(sa.select(sa.func.pg_sleep(wait_s)))
    return str(c.execute(sa.text("SHOW statement_timeout")).scalar_one())


async def test_without_the_option_pgbouncer_is_recognised_and_the_option_named(url: str) -> None:
    with pytest.raises(Unavailable, match="add the option pgbouncer=true to the address"):
        async with open_store(url):
            pass
