"""A whole database moves from a file to a server and back, and nothing of it changes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from hub.cli.failure import as_failure
from protocol.ids import BootId, NodeId
from storage.devices import nodes
from storage.kernel.backup import TABLES, Copied, NotEmpty, copy_database
from storage.kernel.database import Busy, Unavailable
from storage.schema import hub, leases, metric_series
from storage.store import Store, open_store
from tests.storage.jobs import add
from tests.support.families import each
from tests.support.filling import fill
from tests.support.postgres import Postgres

ROWS = {table.name: 3 for table in TABLES}


@pytest.fixture
def server(postgres: Postgres) -> Iterator[str]:
    with postgres.bare_database() as url:
        yield url


@pytest.fixture
def file(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/hub.db"


async def _copy(source: str, target: str) -> list[Copied]:
    copied: list[Copied] = []
    await copy_database(source, target, on_table=copied.append)
    return copied


def _odd_values(c: sa.Connection) -> None:
    c.execute(sa.insert(hub), {"key": "odd", "value": "a\0b"})
    of_hub = {"id": "h", "agent_id": None, "name": "hub.runs", "tags_key": "", "created_at": 1, "last_at": 1}
    c.execute(sa.insert(metric_series), of_hub)


@pytest.mark.slow
async def test_a_database_of_all_tables_is_the_same_on_a_server_and_back_in_a_file(
    file: str, server: str, tmp_path: Path
) -> None:
    async with open_store(file) as store:
        await store.write(fill, ROWS)
        await store.write(_odd_values)
    there = await _copy(file, server)
    assert there == (await _copy(server, f"sqlite:///{tmp_path}/back.db"))
    assert {one.table: one.rows for one in there} == ROWS | {"hub": 4, "metric_series": 4}


async def test_a_lease_of_a_hub_that_died_does_not_live_on_in_the_copy(file: str, server: str) -> None:
    async with open_store(file) as store:
        await store.write(nodes.beat, NodeId("n"), BootId("died"), ttl_ms=nodes.ALONE_MS)
    await _copy(file, server)
    async with open_store(server) as store:
        assert await store.read(nodes.lives_until, NodeId("n")) is None
        assert await store.read(lambda c: c.execute(sa.select(leases.c.fence)).scalar_one()) > 0


async def test_nothing_is_copied_into_a_database_that_has_rows(file: str, server: str) -> None:
    await _filled(file)
    await _filled(server)
    with pytest.raises(NotEmpty, match="is not empty: its table users has rows") as refused:
        await _copy(file, server)
    assert "name an empty database" in as_failure(refused.value).next_step


async def _filled(url: str) -> None:
    async with open_store(url) as store:
        await store.write(add, "anna")


async def test_a_database_is_not_copied_while_a_hub_runs_on_it(
    file: str, server: str, tmp_path: Path
) -> None:
    async with open_store(file):
        with pytest.raises(Busy, match=r"stop it first$"):  # a folder of its own would be another hub's
            await _copy(file, server)
    async with open_store(server) as store:
        await _live(store)
        with pytest.raises(Busy, match=r"a hub is running on postgresql://.*: stop it first"):
            await _copy(server, f"sqlite:///{tmp_path}/back.db")


async def _live(store: Store) -> None:
    await store.write(nodes.beat, NodeId("n"), BootId("b"), ttl_ms=30_000)


async def test_a_row_that_is_broken_is_named_and_nothing_is_written(file: str, server: str) -> None:
    def break_one(c: sa.Connection) -> None:
        c.exec_driver_sql("PRAGMA ignore_check_constraints=on")
        c.exec_driver_sql("UPDATE agents SET data_types = 'no JSON'")

    async with open_store(file) as store:
        await store.write(fill, ROWS)
        await store.write(break_one)
    with pytest.raises(Unavailable, match="agents has a broken row, which 'hub migrate verify' names"):
        await _copy(file, server)
    async with open_store(server) as store:
        assert await store.read(lambda c: c.execute(sa.select(hub)).all()) == []


@each(
    ("source", "target", "fault"),
    [
        ("sqlite:////a.db", "sqlite:////b.db", "use 'hub backup' for two files"),
        ("postgresql://a/a", "postgresql://b/b", "pg_dump for two servers"),
        ("sqlite:////missing.db", "postgresql://b/b", "there is no database /missing.db"),
        ("sqlite://", "postgresql://b/b", "in memory cannot be copied"),
    ],
)
async def test_a_copy_that_cannot_be_made_is_refused_with_a_reason(
    source: str, target: str, fault: str
) -> None:
    with pytest.raises(Unavailable, match=fault):
        await _copy(source, target)
