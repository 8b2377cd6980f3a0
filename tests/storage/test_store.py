import os
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa

from protocol.agent_status import AgentMoved
from protocol.ids import AgentId
from storage.agents import agent_states, state_moves
from storage.devices import nodes
from storage.kernel import database, identity
from storage.kernel.database import Busy, DatabaseUnavailable
from storage.store import ObservedDatabase, open_store
from tests.storage.rows import AT, make_agent
from tests.support.postgres import Postgres


def modes_of(folder: Path) -> dict[str, int]:
    """The files there are, and what others may do with them."""
    return {file.name: file.stat().st_mode & 0o077 for file in folder.iterdir()}


async def test_stored_rows_persist_when_the_store_is_opened_again(tmp_path: Path) -> None:
    async with open_store("sqlite:///hub.db", base=tmp_path) as store:
        first = await store.write(identity.ensure_hub_id, "hub-1")
    async with open_store("sqlite:///hub.db", base=tmp_path) as store:
        assert await store.write(identity.ensure_hub_id, "hub-2") == first == "hub-1"


async def test_absolute_database_path_is_used_unchanged(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/elsewhere.db", base=Path("/nowhere")):
        assert (tmp_path / "elsewhere.db").exists()


async def test_a_database_in_memory_is_ready_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_store("sqlite://") as store:
        assert await store.write(identity.ensure_hub_id, "hub-1") == "hub-1"
    assert modes_of(tmp_path) == {}


async def test_a_second_hub_on_the_same_database_is_refused_by_name(tmp_path: Path) -> None:
    async with open_store("sqlite:///hub.db", base=tmp_path):
        with pytest.raises(Busy, match=rf"another hub \(process {os.getpid()}\).*--state"):
            async with open_store("sqlite:///hub.db", base=tmp_path):
                pass
    async with open_store("sqlite:///hub.db", base=tmp_path):
        pass


async def test_lock_file_of_a_killed_hub_does_not_block_the_next_hub(tmp_path: Path) -> None:
    (tmp_path / "hub.db.lock").write_text("4242\n")  # what a killed process leaves: a file, and no lock
    async with open_store("sqlite:///hub.db", base=tmp_path):
        pass


async def test_database_files_are_not_readable_by_other_users_of_the_machine(tmp_path: Path) -> None:
    async with open_store("sqlite:///hub.db", base=tmp_path) as store:
        await store.write(identity.ensure_hub_id, "hub-1")
        modes = modes_of(tmp_path)
    assert {"hub.db", "hub.db-wal"} <= modes.keys()
    assert set(modes.values()) == {0}


@pytest.mark.parametrize("url", ["mysql://x", "sqlite:hub.db", "sqlite:///", "hub.db"])
async def test_address_without_a_database_is_reported(url: str, tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"write sqlite:///hub\.db"):
        async with open_store(url, base=tmp_path):
            pass


async def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="No such file"):
        async with open_store("sqlite:///missing/hub.db", base=tmp_path):
            pass


async def test_file_without_a_database_is_reported(tmp_path: Path) -> None:
    (tmp_path / "hub.db").write_text("not a database, " * 100)
    with pytest.raises(DatabaseUnavailable, match="not a database"):
        async with open_store("sqlite:///hub.db", base=tmp_path):
            pass


async def test_cancelled_store_block_closes_the_database_files(tmp_path: Path) -> None:
    with anyio.CancelScope() as stopping:
        async with open_store("sqlite:///hub.db", base=tmp_path):
            stopping.cancel()
            await anyio.lowlevel.checkpoint()
    assert modes_of(tmp_path).keys() == {"hub.db", "hub.db.lock"}


# --- how much room the database takes ---


def test_measure_size_returns_the_size_of_each_kind_of_database(c: sa.Connection) -> None:
    found = database.measure_size(c)
    assert found.data > 100_000
    assert 0 < database.measure_used(c) <= found.data
    assert found.log == 0, "in memory, and on a server, there is no log beside it"


async def test_write_increases_the_measured_log_size(tmp_path: Path) -> None:
    async with open_store("sqlite:///hub.db", base=tmp_path) as store:
        before = await store.read(database.measure_size)
        await store.write(identity.ensure_hub_id, "hub-1")
        after = await store.read(database.measure_size)
    assert after.log > before.log


async def test_each_write_is_timed_including_a_failed_write() -> None:
    took: list[float] = []
    ticks = iter(range(100))

    def fails(c: sa.Connection) -> None:
        raise DatabaseUnavailable("on purpose")

    async with open_store("sqlite://") as store:
        measured = ObservedDatabase(
            store, lambda moves: None, on_write=took.append, monotonic=lambda: float(next(ticks))
        )
        await measured.write(nodes.touch)
        with pytest.raises(DatabaseUnavailable):
            await measured.write(fails)
        await measured.read(nodes.touch)
    assert took == [1.0, 1.0]
    assert not measured.is_shared


# --- moves of agents that are reported ---


AGENT = AgentId("agent-inbox")


def move(c: sa.Connection, axis: str, to: str) -> None:
    state_moves.move(c, AGENT, axis, to, at=AT, actor="device:d")


def two_moves(c: sa.Connection) -> str:
    move(c, "health", "error")
    move(c, "lifecycle", "paused")
    return "done"


def a_move_and_a_mistake(c: sa.Connection) -> None:
    move(c, "health", "error")
    raise RuntimeError("a mistake")


async def test_moves_are_reported_after_the_commit_only() -> None:
    told: list[Sequence[AgentMoved]] = []
    async with open_store("sqlite://") as store:
        listened = ObservedDatabase(store, told.append)
        await listened.write(make_agent)
        told.clear()
        assert await listened.write(two_moves) == "done"
        assert [[str(one.axis) for one in moves] for moves in told] == [["health", "lifecycle"]]
        with pytest.raises(RuntimeError):
            await listened.write(a_move_and_a_mistake)
        await listened.write(two_moves)  # it stands there already
        state = await listened.read(agent_states.find_state, AGENT)
        assert (len(told), state.lifecycle, listened.is_shared) == (1, "paused", False)


async def test_a_write_whose_connection_was_lost_is_retried_and_reported_once(postgres: Postgres) -> None:
    told: list[Sequence[AgentMoved]] = []
    tries: list[str] = []

    def cut_off(c: sa.Connection) -> str:
        tries.append(two_moves(c))
        if len(tries) == 1:
            c.execute(sa.select(sa.func.pg_terminate_backend(sa.func.pg_backend_pid())))
        return tries[-1]

    with postgres.database() as url:
        async with open_store(url) as opened:
            listened = ObservedDatabase(opened, told.append)
            await listened.write(make_agent)
            told.clear()
            assert await listened.write(cut_off) == "done"
    assert len(tries) == 2
    assert [[str(one.axis) for one in moves] for moves in told] == [["health", "lifecycle"]]
