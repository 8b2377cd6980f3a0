"""What heartbeats write: what is news, of the device's own agents, over its newest connection."""

import pytest
import sqlalchemy as sa

from protocol.agent_status import Availability, ExhaustReason
from protocol.ids import AgentId, DeviceId
from storage.agents import agent_moves, agent_states, status_writes
from storage.agents.agents import AgentRow
from storage.agents.status_writes import AgentReport, Reports, Silence
from storage.devices import devices, sessions
from tests.storage.rows import AT, declare, make_agent
from tests.support.presence import BOOT, open_session

MINUTE = 60_000
SAYS = AgentReport


@pytest.fixture
def agent(c: sa.Connection) -> AgentRow:
    return make_agent(c)


@pytest.fixture
def epoch(c: sa.Connection, agent: AgentRow) -> int:
    """Of the connection of its device."""
    return open_session(c, device_of(agent), boot_id=BOOT, platform=None, at=AT)


def device_of(agent: AgentRow) -> DeviceId:
    assert agent.device_id is not None
    return agent.device_id


def hear(c: sa.Connection, agent: AgentRow, epoch: int, *says: AgentReport, at: int = AT + 1) -> None:
    status_writes.record(c, received=[Reports(device_of(agent), epoch, at, says)])


def silence(c: sa.Connection, agent: AgentRow, epoch: int, at: int = AT + 5) -> None:
    status_writes.record(c, silent=[Silence(device_of(agent), epoch, at, "no heartbeat for 45 s")])


def moves(c: sa.Connection, agent: AgentRow) -> list[tuple[str, str | None, str, str | None]]:
    """Its moves since its device connected: axis, from, to, reason; the newest last."""
    return [
        (move.axis, move.old_value, move.new_value, move.reason)
        for move in agent_states.agent_history(c, agent.id)
        if move.axis != "lifecycle"
    ][1:]


def test_an_agent_is_on_call_while_its_device_reports_it(
    c: sa.Connection, agent: AgentRow, epoch: int
) -> None:
    hear(c, agent, epoch, SAYS(agent_id=agent.id, availability=Availability.ON_CALL))
    hear(c, agent, epoch, SAYS(agent_id=agent.id, availability=Availability.ON_CALL), at=AT + 2)
    hear(c, agent, epoch, SAYS(agent_id=agent.id, availability=Availability.AVAILABLE), at=AT + 3)
    assert moves(c, agent) == [
        ("availability", "available", "on_call", status_writes.BY_REPORT),
        ("availability", "on_call", "available", status_writes.BY_REPORT),
    ]


def test_what_a_person_decided_is_not_taken_back_by_a_heartbeat(
    c: sa.Connection, agent: AgentRow, epoch: int
) -> None:
    agent_moves.move(c, agent.id, "availability", "on_call", at=AT, actor="user:anna")
    agent_moves.move(c, agent.id, "health", "error", at=AT, actor="user:anna", reason="looks wrong")
    hear(c, agent, epoch, SAYS(agent_id=agent.id, availability=Availability.AVAILABLE))
    stands = agent_states.find_state(c, agent.id)
    assert (stands.availability, stands.health) == ("on_call", "error")


def test_an_error_that_the_device_reports_comes_with_its_reason_and_goes_with_it(
    c: sa.Connection, agent: AgentRow, epoch: int
) -> None:
    hear(c, agent, epoch, SAYS(agent_id=agent.id, error="the disk is full"))
    assert agent_states.find_state(c, agent.id).health_reason == "the disk is full"
    hear(c, agent, epoch, SAYS(agent_id=agent.id))
    stands = agent_states.find_state(c, agent.id)
    assert (stands.health, stands.health_reason) == ("ok", None)


def test_an_error_that_has_another_reason_by_now_is_not_the_device_s_to_take_back(
    c: sa.Connection, agent: AgentRow, epoch: int
) -> None:
    hear(c, agent, epoch, SAYS(agent_id=agent.id, error="the disk is full"))
    agent_moves.move(c, agent.id, "health", "error", at=AT + 2, actor="hub", reason="not set up right")
    hear(c, agent, epoch, SAYS(agent_id=agent.id))
    stands = agent_states.find_state(c, agent.id)
    assert (stands.health, stands.health_reason) == ("error", "not set up right")


def test_an_exhaustion_ends_at_its_time_despite_heartbeats(
    c: sa.Connection, agent: AgentRow, epoch: int
) -> None:
    spent = SAYS(
        agent_id=agent.id,
        availability=Availability.EXHAUSTED,
        exhaust_reason=ExhaustReason.BILLING,
        recovery_at=AT + 5 * MINUTE,
    )
    hear(c, agent, epoch, spent)
    for availability in (Availability.AVAILABLE, Availability.ON_CALL, None):
        hear(c, agent, epoch, SAYS(agent_id=agent.id, availability=availability), at=AT + 2)
    stands = agent_states.find_state(c, agent.id)
    assert (stands.availability, stands.exhaust_reason, stands.exhausted_at, stands.recovery_at) == (
        "exhausted",
        "billing",
        AT + 1,
        AT + 5 * MINUTE,
    )
    assert agent_states.recover_due(c, AT + 5 * MINUTE, actor="hub") == [agent.id]


def test_a_device_may_report_a_later_recovery_but_no_earlier_one(
    c: sa.Connection, agent: AgentRow, epoch: int
) -> None:
    spent = Availability.EXHAUSTED
    for back in (10, 20, 5):
        hear(c, agent, epoch, SAYS(agent_id=agent.id, availability=spent, recovery_at=AT + back * MINUTE))
    assert agent_states.find_state(c, agent.id).recovery_at == AT + 20 * MINUTE
    assert [move[:3] for move in moves(c, agent)] == [("availability", "available", "exhausted")]


def test_a_silent_device_takes_its_agents_offline_until_its_next_heartbeat(
    c: sa.Connection, agent: AgentRow, epoch: int
) -> None:
    silence(c, agent, epoch)
    silence(c, agent, epoch, at=AT + 6)
    hear(c, agent, epoch, SAYS(agent_id=agent.id, is_listed=False), at=AT + 7)
    assert moves(c, agent) == [
        ("connectivity", "online", "offline", "no heartbeat for 45 s"),
        ("connectivity", "offline", "online", status_writes.BACK),
    ]


def test_an_agent_that_only_comes_with_its_device_keeps_what_was_said_of_it(
    c: sa.Connection, agent: AgentRow, epoch: int
) -> None:
    hear(c, agent, epoch, SAYS(agent_id=agent.id, error="the disk is full"))
    hear(c, agent, epoch, SAYS(agent_id=agent.id, is_listed=False))
    assert agent_states.find_state(c, agent.id).health == "error"


def test_an_older_connection_of_the_device_changes_nothing_any_more(
    c: sa.Connection, agent: AgentRow, epoch: int
) -> None:
    newer = open_session(c, device_of(agent), boot_id=BOOT, platform=None, at=AT + 1)
    hear(c, agent, epoch, SAYS(agent_id=agent.id, is_online=False))
    silence(c, agent, epoch)
    sessions.close_session(c, device_of(agent), newer, AT + 2)
    hear(c, agent, newer, SAYS(agent_id=agent.id))
    assert moves(c, agent) == [("connectivity", "online", "offline", devices.LEFT)]


def test_a_device_speaks_of_its_own_agents_only(c: sa.Connection, agent: AgentRow, epoch: int) -> None:
    other = make_agent(c, "outbox", device="desk")
    hear(c, agent, epoch, SAYS(agent_id=other.id, error="not yours"))
    assert agent_states.find_state(c, other.id).health == "ok"


@pytest.mark.parametrize("end", ["archived", "terminated"])
def test_heartbeats_of_a_terminated_agent_are_ignored(
    c: sa.Connection, agent: AgentRow, epoch: int, end: str
) -> None:
    if end == "archived":
        declare(c)
    else:
        agent_moves.move(c, agent.id, "lifecycle", "terminated", at=AT, actor="anna")
    before = agent_states.find_state(c, agent.id)
    hear(c, agent, epoch, SAYS(agent_id=agent.id, error="too late"))
    silence(c, agent, epoch)
    assert agent_states.find_state(c, agent.id) == before
    assert status_writes.statuses_of(c, [device_of(agent)]) == {agent.device_id: []}


def test_usage_and_the_hour_of_the_heartbeat_are_kept_without_a_new_version(
    c: sa.Connection, agent: AgentRow, epoch: int
) -> None:
    before = agent_states.find_state(c, agent.id).version
    hear(c, agent, epoch, SAYS(agent_id=agent.id, usage={"cpu": 0.5, "files": 12}), at=AT + 9)
    stands = agent_states.find_state(c, agent.id)
    assert (stands.resource_usage, stands.last_heartbeat_at, stands.version) == (
        {"cpu": 0.5, "files": 12},
        AT + 9,
        before,
    )


def test_the_last_heartbeat_of_a_device_is_stored_for_all_its_agents_and_never_falls(
    c: sa.Connection, agent: AgentRow
) -> None:
    make_agent(c, "outbox")
    status_writes.record(c, last={device_of(agent): AT + 9})
    status_writes.record(c, last={device_of(agent): AT + 3})
    for name in ("inbox", "outbox"):
        assert agent_states.find_state(c, AgentId(f"agent-{name}")).last_heartbeat_at == AT + 9
