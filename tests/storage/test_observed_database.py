"""Who is told of the moves of agents, and when."""

from collections.abc import Sequence

import pytest
import sqlalchemy as sa

from protocol.agent_status import AgentMoved
from protocol.ids import AgentId
from storage.agents import agent_moves, agent_states
from storage.store import ObservedDatabase, open_store
from tests.storage.rows import AT, make_agent
from tests.support.postgres import Postgres

AGENT = AgentId("agent-inbox")


def move(c: sa.Connection, axis: str, to: str) -> None:
    agent_moves.move(c, AGENT, axis, to, at=AT, actor="device:d")


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
