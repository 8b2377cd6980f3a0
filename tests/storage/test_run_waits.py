import msgspec
import pytest
import sqlalchemy as sa

from protocol.ids import AgentId, DeviceId, RunId
from protocol.lifecycles import RunState
from storage.agents import agent_moves, agent_states, agents
from storage.agents.agents import AgentRow
from storage.agents.configs import Mailbox
from storage.agents.declared_agents import DeclaredAgent
from storage.connectors import connectors
from storage.connectors.connectors import NOT_YET, DeclaredConnector
from storage.devices import devices, sessions
from storage.runs import run_claims, runs
from storage.schedules import schedules
from storage.schedules.schedule_rows import DeclaredSchedule
from storage.schema import runs as run_table
from tests.storage.rows import AT, LAPTOP, claim, declare, make_agent, make_run, some
from tests.support.presence import BOOT, live, open_session


def _wait(c: sa.Connection, run_id: str) -> run_claims.RunWait:
    return run_claims.waits_of(c, [RunId(run_id)])[RunId(run_id)]


@pytest.fixture
def waiting(c: sa.Connection) -> None:
    """A run that waits."""
    make_run(c)


@pytest.mark.usefixtures("waiting")
def test_a_run_that_could_start_finds_every_gate_open(c: sa.Connection) -> None:
    assert _wait(c, "run-1") == run_claims.RunWait(
        run_id=RunId("run-1"),
        lifecycle="active",
        availability="available",
        exhaust_reason=None,
        recovery_at=None,
        health="ok",
        device_name=LAPTOP,
        is_online=False,
        is_revoked=False,
        last_seen_at=None,
        per_agent=1,
        follows=False,
        of_agent=0,
        on_device=0,
        on_hub=0,
    )


def test_runs_that_execute_are_counted_where_they_take_a_slot(c: sa.Connection) -> None:
    mine, other, elsewhere = make_agent(c), make_agent(c, "other"), make_agent(c, "away", device="desk")
    make_run(c, "executes", agent=mine, state=RunState.RUNNING)
    make_run(c, "beside", agent=other)
    make_run(c, "behind", agent=mine)
    make_run(c, "away", agent=elsewhere)
    counted = [
        (wait.of_agent, wait.on_device, wait.on_hub)
        for wait in (_wait(c, name) for name in ("behind", "beside", "away"))
    ]
    assert counted == [(1, 1, 1), (0, 1, 1), (0, 0, 1)]


@pytest.mark.usefixtures("waiting")
def test_an_agents_axes_and_its_devices_last_heartbeat_are_listed(c: sa.Connection, agent: AgentRow) -> None:
    agent_moves.move(c, agent.id, "lifecycle", "paused", at=AT, actor="me")
    agent_states.exhaust(c, agent.id, cause="billing", retry_after_ms=None, at=AT, actor="hub")
    device_id = DeviceId(f"device-{LAPTOP}")
    live(c)
    epoch = open_session(c, device_id, boot_id=BOOT, platform=None, at=AT + 5)
    assert _wait(c, "run-1").is_online
    sessions.close_session(c, device_id, epoch, at=AT + 9)
    told = _wait(c, "run-1")
    assert (told.lifecycle, told.availability, told.exhaust_reason) == ("paused", "exhausted", "billing")
    assert told.recovery_at is not None and told.recovery_at > AT
    assert (told.is_online, told.is_revoked, told.last_seen_at) == (False, False, AT + 9)
    devices.revoke_device(c, device_id, at=AT + 10, actor="me")
    assert _wait(c, "run-1").is_revoked


@pytest.mark.parametrize(("overlap", "follows"), [("skip", True), ("queue_all", True), ("allow", False)])
def test_a_run_follows_the_one_of_its_schedule_that_is_under_way(
    c: sa.Connection, agent: AgentRow, overlap: str, follows: bool
) -> None:
    declared = msgspec.convert({"kind": "every", "every_ms": 5_000, "overlap": overlap}, DeclaredSchedule)
    schedules.declare(c, AgentId(agent.id), declared, fresh_id="s", at=AT)
    make_run(c, "first", agent=agent, state=RunState.RUNNING)
    make_run(c, "second", agent=agent)
    c.execute(sa.update(run_table).values(schedule_id="s"))
    assert _wait(c, "second").follows is follows and _wait(c, "first").follows is False


def test_what_waits_to_be_told_of_may_be_nothing(c: sa.Connection) -> None:
    assert (run_claims.waits_of(c, []), run_claims.waits_of(c, [RunId("gone")])) == ({}, {})


def test_runs_are_found_by_the_end_of_their_ids(c: sa.Connection, agent: AgentRow) -> None:
    for run_id in ("0197-aa-1234abcd", "0198-bb-1234abcd", "0199-cc-9999ffff"):
        make_run(c, run_id, agent=agent)
    assert runs.runs_ending_in(c, "9999ffff") == ["0199-cc-9999ffff"]
    assert len(runs.runs_ending_in(c, "1234abcd")) == 2
    assert runs.runs_ending_in(c, "bb-1234abcd") == ["0198-bb-1234abcd"]
    assert runs.runs_ending_in(c, "0197") == []


def test_several_runs_are_read_at_once(c: sa.Connection, agent: AgentRow) -> None:
    for run_id in ("run-1", "run-2", "run-3"):
        make_run(c, run_id, agent=agent)
    claimed = some(claim(c))
    found = runs.find_runs(c, [RunId("run-1"), RunId("run-3"), RunId("gone")])
    assert {run.id: run.state for run in found} == {"run-1": claimed.state, "run-3": RunState.QUEUED}


@pytest.mark.usefixtures("waiting")
def test_an_agent_that_is_offline_on_a_connected_device_has_a_time_and_a_reason(
    c: sa.Connection,
    agent: AgentRow,
) -> None:
    device_id = DeviceId(f"device-{LAPTOP}")
    live(c)
    open_session(c, device_id, boot_id=BOOT, platform=None, at=AT)
    assert not _wait(c, "run-1").is_away
    why = "no heartbeat for 45 s"
    agent_moves.move(c, agent.id, "connectivity", "offline", at=AT + 45, actor="hub", reason=why)
    told = _wait(c, "run-1")
    assert (told.is_online, told.is_away, told.away_since, told.away_reason) == (True, True, AT + 45, why)


def _reader(c: sa.Connection, name: str = "mail") -> AgentRow:
    """An agent that reads the connector work for the laptop, where ``inbox`` reads files."""
    one = DeclaredConnector(name="work", user_name="me", provider="listed", origin="me")
    connectors.reconcile_connectors(c, declared=[one], at=AT, fresh_ids=["work-id", "nobody"])
    reads = Mailbox(connector="work")
    files = DeclaredAgent(name="inbox", device_name=LAPTOP, paths=("notes",))
    declare(c, files, DeclaredAgent(name=name, device_name=LAPTOP, mailbox=reads))
    return agents.get_agent(c, AgentId(f"agent-{name}"))


def test_a_run_that_reads_a_connector_takes_no_place_of_its_device_and_is_counted_among_its_kind(
    c: sa.Connection,
) -> None:
    reader = _reader(c)
    files = agents.get_agent(c, AgentId("agent-inbox"))
    make_run(c, "reads", agent=reader, state=RunState.RUNNING)
    make_run(c, "files", agent=files)
    told = _wait(c, "files")
    assert (told.reads_mailbox, told.on_device, told.of_mailboxes, told.on_hub) == (False, 0, 1, 1)
    assert _wait(c, "reads").reads_mailbox


def test_a_run_that_reads_a_connector_has_its_state(c: sa.Connection) -> None:
    make_run(c, "reads", agent=_reader(c))
    told = _wait(c, "reads")
    assert (told.connector, told.connector_state, told.connector_retry_at) == ("work", "ok", None)
    connectors.note_failure(c, "work-id", reason="x", detail="x", retry_at=AT + 9, at=AT)
    assert _wait(c, "reads").connector_retry_at == AT + 9
    connectors.move_connector(c, "work-id", version=1, state="sign_in", detail="no", at=AT)
    told = _wait(c, "reads")
    assert (told.connector_state, told.connector_detail, told.is_granted) == ("sign_in", "no", False)
    connectors.reconcile_connectors(c, declared=[], at=AT, fresh_ids=[])
    assert _wait(c, "reads").connector is None


def test_a_connector_without_a_sign_in_requires_one(c: sa.Connection) -> None:
    make_run(c, "reads", agent=_reader(c))
    connectors.move_connector(c, "work-id", version=1, state="sign_in", detail=NOT_YET, at=AT)
    assert _wait(c, "reads").is_granted
