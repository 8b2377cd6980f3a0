"""Rows of one user, beside those of others: what is asked of his is his."""

import msgspec
import pytest
import sqlalchemy as sa

from protocol.ids import AgentId, BoardId, RunId, UserId
from protocol.lifecycles import RunState
from storage import schema
from storage.agents import agents, declared_agents
from storage.agents.agents import AgentRow
from storage.agents.declared_agents import DeclaredAgent
from storage.coordination import boards
from storage.devices import devices
from storage.runs import runs
from storage.schedules import fires, schedule_rows, schedules
from tests.storage.rows import AT, ME, declare, make_run, some
from tests.storage.scheduled import HOUR, fire, make_schedule

EVE = UserId("user-eve")
INBOX = AgentId("agent-inbox")


@pytest.fixture
def both(c: sa.Connection) -> tuple[AgentRow, AgentRow]:
    """My agent and eve's, which have the same name, each with a run: ``run-me`` and ``run-eve``."""
    devices.ensure_user(c, EVE, "eve", AT)
    mine = DeclaredAgent(name="notes", device_name="desk", paths=("notes",))
    eves = msgspec.structs.replace(mine, user_name="eve")
    fresh = [f"{kind}-{of}" for of in ("mine", "eves") for kind in ("agent", "device", "schedule", "user")]
    devices.ensure_user(c, ME, "me", AT)
    declared_agents.reconcile_declared(c, user_id=ME, declared=[mine, eves], at=AT, fresh_ids=fresh)
    first, second = (agents.agent_called(c, "notes", user) for user in (ME, EVE))
    for agent, run_id in ((first, "run-me"), (second, "run-eve")):
        make_run(c, run_id, agent=agent)
    return first, second


def test_an_agent_is_found_among_those_of_its_user(c: sa.Connection, both: tuple[AgentRow, AgentRow]) -> None:
    mine, eves = both
    assert (mine.user_id, eves.user_id) == (ME, EVE)
    assert {row.id for row in agents.list_agents(c)} == {mine.id, eves.id}
    assert [row.id for row in agents.list_agents(c, user_id=EVE)] == [eves.id]
    assert len(agents.list_agents(c)) == 2
    assert some(agents.find_agent_by_name(c, "notes", user_id=EVE)).id == eves.id


def test_an_archived_agent_is_not_among_those_that_are_there(
    c: sa.Connection, both: tuple[AgentRow, AgentRow]
) -> None:
    declare(c)
    assert agents.find_agent(c, "notes", user_id=ME) is None
    assert some(agents.find_agent_by_name(c, "notes", user_id=ME)).archived_at is not None


def test_a_run_is_found_among_those_of_its_user(c: sa.Connection, both: tuple[AgentRow, AgentRow]) -> None:
    assert runs.find_run(c, RunId("run-eve"), user_id=ME) is None
    assert runs.find_run(c, RunId("run-eve"), user_id=EVE) is not None
    assert runs.find_run(c, RunId("run-eve")) is not None
    assert [run.id for run in runs.list_runs(c, user_id=ME)] == ["run-me"]
    assert runs.runs_ending_in(c, "eve", user_id=ME) == []
    assert runs.runs_ending_in(c, "eve", user_id=EVE) == runs.runs_ending_in(c, "eve") == ["run-eve"]
    assert runs.count_live(c, user_id=ME) == {RunState.QUEUED: 1}
    assert runs.count_live(c) == {RunState.QUEUED: 2}


def test_the_owner_of_a_thing_is_found_by_its_id(c: sa.Connection, both: tuple[AgentRow, AgentRow]) -> None:
    _, eves = both
    assert eves.device_id is not None
    declared = schedule_rows.DeclaredSchedule(kind="every", every_ms=HOUR, tz="UTC")
    schedules.declare(c, eves.id, declared, fresh_id="schedule-of-eve", at=AT)
    things = {
        "agent_id": eves.id,
        "device_id": eves.device_id,
        "run_id": "run-eve",
        "schedule_id": "schedule-of-eve",
        **_coordination_of_eve(c),
    }
    assert things.keys() == devices.KINDS
    for kind, id in things.items():
        assert (devices.find_owner(c, kind, id), devices.find_owner(c, kind, "nothing")) == (EVE, None)


def _coordination_of_eve(c: sa.Connection) -> dict[str, str]:
    """A board of hers, and one of each thing that is said on it."""
    about = {"user_id": EVE, "created_at": AT}
    said = {"actor": "hub", "content": "x", "trace_id": "0" * 32}
    row = {"id": "gateway", "name": "west", "updated_at": AT} | about
    c.execute(sa.insert(schema.gateways), row)
    boards.create_board(c, id=BoardId("board"), user_id=EVE, name="roses", at=AT, actor="hub")
    row = {"id": "question", "expires_at": AT} | about | said
    c.execute(sa.insert(schema.questions), row)
    row = {"id": "broadcast", "kind": "question", "boards": 1} | about | said
    c.execute(sa.insert(schema.broadcasts), row)
    row = {"id": "message", "kind": "nudge", "not_before": AT, "expires_at": AT, "updated_at": AT} | about
    c.execute(sa.insert(schema.messages), row | said)
    return {f"{kind}_id": kind for kind in ("board", "broadcast", "gateway", "message", "question")}


def test_the_decisions_of_an_agent_come_in_pages(c: sa.Connection) -> None:
    make_schedule(c, overlap="allow")
    times = [AT + count * HOUR for count in (1, 2, 3, 4, 5)]
    fire(c, *times)
    told: list[int] = []
    after: tuple[int, str] | None = None
    while page := fires.list_fires(c, INBOX, 2, after=after):
        told += [row.fire_at for row in page]
        after = (page[-1].fire_at, page[-1].schedule_id)
    assert told == times[::-1]
