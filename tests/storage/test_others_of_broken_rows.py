"""A broken row keeps no other agent from its device, its heartbeats, its fires and its runs."""

import pytest
import sqlalchemy as sa

from protocol.agent_status import Connectivity
from protocol.ids import AgentId, DeviceId, RunId
from protocol.lifecycles import RunState
from storage.agents import agent_states, heartbeat_states
from storage.agents.agents import AgentRow
from storage.agents.heartbeat_states import AgentReport, Reports, Silence
from storage.effects import sessions
from storage.runs import run_claims, run_moves
from storage.runs.run_claims import Gates
from tests.storage.rows import AT, NEXT_BOOT, claim, make_agent, make_run, some
from tests.storage.scheduled import HOUR, fire, make_schedule
from tests.support.presence import BOOT, appear, open_session

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
LAPTOP = DeviceId("device-laptop")


def damage(c: sa.Connection, statement: str) -> None:
    """Execute a statement as a program that switches the constraints of a file off."""
    c.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
    c.exec_driver_sql(statement)
    c.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")


@pytest.fixture
def sound(c: sa.Connection) -> AgentRow:
    """An agent beside one whose state is no word of its axis."""
    make_agent(c, "broken")
    sound = make_agent(c, "sound")
    damage(c, "UPDATE agent_states SET health = 'ill' WHERE agent_id = 'agent-broken'")
    return sound


def connectivity(c: sa.Connection, agent: AgentRow) -> Connectivity:
    return agent_states.find_state(c, agent.id).connectivity


def test_device_of_a_broken_agent_row_connects_and_leaves(c: sa.Connection, sound: AgentRow) -> None:
    epoch = open_session(c, LAPTOP, boot_id=BOOT, platform=None, at=AT)
    assert connectivity(c, sound) is Connectivity.ONLINE and sessions.close_session(c, LAPTOP, epoch, AT)
    assert connectivity(c, sound) is Connectivity.OFFLINE
    open_session(c, LAPTOP, boot_id=BOOT, platform=None, at=AT)
    assert sessions.close_left_sessions(c, AT, boot_id=NEXT_BOOT, is_alone=True) == 1
    assert connectivity(c, sound) is Connectivity.OFFLINE


def test_heartbeats_and_silence_are_recorded_beside_a_broken_agent_row(
    c: sa.Connection, sound: AgentRow
) -> None:
    epoch = open_session(c, LAPTOP, boot_id=BOOT, platform=None, at=AT)
    damage(c, "UPDATE agent_states SET health = 'ok', lifecycle = 'odd' WHERE agent_id = 'agent-broken'")
    says = tuple(AgentReport(agent_id=id, error="no disk") for id in (AgentId("agent-broken"), sound.id))
    heartbeat_states.record(c, received=[Reports(LAPTOP, epoch, AT + 1, says)])
    assert agent_states.find_state(c, sound.id).health_reason == "no disk"
    heartbeat_states.record(c, silent=[Silence(LAPTOP, epoch, AT + 5, "no heartbeat")])
    assert connectivity(c, sound) is Connectivity.OFFLINE


@pytest.mark.parametrize(
    "broken", ["settings = 'no'", "locks = '5'", "needs = '5'", "outcome = 'great'", "context = '[]'"]
)
def test_broken_queued_run_does_not_block_the_next_run_of_the_device(c: sa.Connection, broken: str) -> None:
    make_run(c, "first", agent=make_agent(c, "broken"))
    make_run(c, "second", agent=make_agent(c, "sound"))
    damage(c, f"UPDATE runs SET {broken} WHERE id = 'first'")
    assert some(claim(c)).id == "second"
    assert c.exec_driver_sql("SELECT state FROM runs WHERE id = 'first'").scalar_one() == "QUEUED"


def test_many_broken_queued_runs_do_not_block_runs_of_other_agents(
    c: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_claims, "HELD_UP_AT_ONCE", 4)
    lost = make_agent(c, "broken")
    for number in range(6):
        make_run(c, f"broken-{number}", agent=lost)
    make_run(c, "sound", agent=make_agent(c, "sound"), at=AT + 1)
    damage(c, "UPDATE runs SET settings = 'no' WHERE id <> 'sound'")
    online, broken = frozenset([LAPTOP]), set[RunId]()
    appear(c, online)
    claimed: list[RunId] = []
    for _ in range(2):
        found = run_claims.claim_runs(
            c, boot_id=BOOT, gates=Gates(online=online), lease_ms=1, at=AT + 1, broken=broken
        )
        claimed += [run.id for run in found]
    assert (claimed, len(broken)) == (["sound"], 6)


@pytest.mark.parametrize("broken", ["lease_boot_id = NULL, lease_expires_at = NULL", "completed_at = 1"])
def test_broken_running_row_without_a_lease_takes_no_execution_slot(c: sa.Connection, broken: str) -> None:
    make_run(c, "first", agent=make_agent(c, "broken"), state=RunState.RUNNING)
    damage(c, f"UPDATE runs SET {broken} WHERE id = 'first'")
    make_run(c, "second", agent=make_agent(c, "sound"))
    assert claim(c) is not None


def test_broken_run_without_a_holder_is_queued_again_at_hub_start(c: sa.Connection) -> None:
    make_run(c, "first", state=RunState.RUNNING)
    damage(c, "UPDATE runs SET lease_boot_id = NULL, lease_expires_at = NULL")
    assert run_moves.recover(c, boot_id=NEXT_BOOT, at=AT).requeued == ("first",)


@pytest.mark.parametrize("state", ["QUEUED", "RUNNING"])
def test_schedule_fires_beside_a_run_of_a_missing_agent(c: sa.Connection, state: str) -> None:
    made = make_schedule(c)
    fire(c, AT + HOUR)
    lost = f"schedule-inbox-{AT + HOUR}"
    c.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
    damage(c, f"UPDATE runs SET agent_id = 'gone', state = '{state}' WHERE id = '{lost}'")
    (decided,) = fire(c, AT + 2 * HOUR)
    assert (decided.decision, decided.run_id) == ("run", f"schedule-inbox-{AT + 2 * HOUR}")
    assert some(claim(c, at=AT + 3 * HOUR)).agent_id == made.agent_id
