import pytest
import sqlalchemy as sa

from protocol.ids import AgentId, DeviceId, RunId
from protocol.lifecycles import PauseReason, RunEvent, RunState
from storage.agents import agents
from storage.agents.agents import AgentRow
from storage.agents.configs import Mailbox
from storage.agents.declared_agents import DeclaredAgent
from storage.connectors import connectors
from storage.connectors.connectors import DeclaredConnector
from storage.devices import devices
from storage.runs import run_claims, run_locks, run_moves, run_pauses, units
from storage.runs.run_locks import NoDevice
from storage.runs.runs import RunRow
from storage.schedules import fires
from storage.schema import devices as device_table
from storage.schema import runs
from tests.storage.rows import AT, BOOT, ME, NEXT_BOOT, calls, claim, declare, make_run, plan
from tests.storage.scheduled import HOUR, decision, make_schedule
from tests.support.presence import appear, live

DEVICES = ("attic", "desk", "tablet")


@pytest.fixture
def mail(c: sa.Connection) -> AgentRow:
    """An agent that reads a mailbox and has no device; three devices of its user have connected before."""
    devices.ensure_user(c, ME, "me", AT)
    declared = DeclaredConnector(name="work", user_name="me", provider="listed", origin="me")
    connectors.reconcile_connectors(c, declared=[declared], at=AT, fresh_ids=["work", "none"])
    mailbox = Mailbox(connector="work", filter={})
    declare(c, DeclaredAgent(name="mail", mailbox=mailbox, data_types=("tasks",), prompt="Find tasks."))
    rows = [{"id": f"device-{name}", "user_id": ME, "name": name, "created_at": 1} for name in DEVICES]
    c.execute(sa.insert(device_table), [row | {"last_seen_at": 1} for row in rows])
    live(c)
    return agents.get_agent(c, AgentId("agent-mail"))


def change(c: sa.Connection, *names: str, **values: object) -> None:
    c.execute(sa.update(device_table).where(device_table.c.name.in_(names)).values(values))


def placed(c: sa.Connection, agent: AgentRow, run_id: str, *online: str, at: int = AT) -> RunRow:
    """A run that was claimed while these devices are connected."""
    change(c, *DEVICES, boot_id=None)
    make_run(c, run_id, agent=agent, at=at)
    appear(c, [DeviceId(f"device-{name}") for name in online])
    claimed = run_claims.claim_runs(
        c, boot_id=BOOT, gates=run_claims.Gates(online=frozenset()), lease_ms=30_000, at=at
    )
    assert [run.id for run in claimed] == [run_id]
    return claimed[0]


def end(c: sa.Connection, run: RunRow, event: RunEvent = RunEvent.CANCELLED) -> None:
    run_moves.move(c, run.held, event, at=AT, actor="hub", reason="over")


@pytest.mark.parametrize(
    ("online", "last", "planned", "revoked", "expected"),
    [
        pytest.param((), None, False, (), "attic", id="the first by name"),
        pytest.param((), None, False, ("attic",), "desk", id="no revoked one"),
        pytest.param((), "desk", False, (), "desk", id="that of the newest run"),
        pytest.param(("tablet",), "desk", False, (), "tablet", id="a connected one"),
        pytest.param(("attic", "tablet"), "desk", True, (), "attic", id="not one that is away"),
        pytest.param(("attic", "tablet"), "tablet", False, (), "attic", id="the first connected one"),
        pytest.param(("attic", "tablet"), "tablet", True, (), "tablet", id="one that items wait for"),
    ],
)
def test_a_run_of_an_agent_without_a_device_gets_one_at_its_claim(
    c: sa.Connection,
    mail: AgentRow,
    online: tuple[str, ...],
    last: str | None,
    planned: bool,
    revoked: tuple[str, ...],
    expected: str,
) -> None:
    if last is not None:
        before = placed(c, mail, "run-0", last, at=AT - 1)
        if planned:
            plan(c, before.held, of=calls("c-1"))
        end(c, before)
    change(c, *revoked, revoked_at=1)
    run = placed(c, mail, "run-1", *online)
    assert run.device_id == f"device-{expected}"
    adopted = run_moves.adopt_left(c, run.held, mail.id, AT)
    assert adopted == int(planned and last == expected)


def test_a_connected_device_of_this_process_is_chosen_before_that_of_another(
    c: sa.Connection, mail: AgentRow
) -> None:
    live(c, NEXT_BOOT)
    appear(c, [DeviceId("device-attic")], NEXT_BOOT)
    appear(c, [DeviceId("device-tablet")])
    make_run(c, agent=mail)
    given = {"agent": mail.id, "user": ME}
    chosen = [
        c.execute(run_locks.PLACE, given | {"boot": boot}).scalar_one() for boot in (BOOT, NEXT_BOOT, "")
    ]
    assert chosen == ["device-tablet", "device-attic", "device-attic"]


def test_a_run_keeps_its_device_from_its_first_unit_on(c: sa.Connection, mail: AgentRow) -> None:
    run = placed(c, mail, "run-1", "desk")
    end(c, run, RunEvent.DEVICE_LOST)
    change(c, "desk", boot_id=None)
    appear(c, [DeviceId("device-tablet")])
    again = claim(c, "tablet", at=AT + 100_000)
    assert again is not None and again.device_id == "device-tablet"
    running = run_moves.move(c, again.held, RunEvent.ACKNOWLEDGED, at=AT, actor="hub")
    plan(c, running, of=calls("c-1"))
    run_moves.move(c, running, RunEvent.DEVICE_LOST, at=AT, actor="hub")
    change(c, "tablet", boot_id=None)
    run_pauses.resume_runs(c, PauseReason.DEVICE_OFFLINE, at=AT)
    last = claim(c, "attic", at=AT + 200_000)
    assert last is not None and last.device_id == "device-tablet"


def test_a_run_that_waits_for_its_device_holds_up_its_schedule_only_without_another_device(
    c: sa.Connection, mail: AgentRow
) -> None:
    schedule = make_schedule(c, "mail")
    run = placed(c, mail, "run-1", "desk")
    running = run_moves.move(c, run.held, RunEvent.ACKNOWLEDGED, at=AT, actor="hub")
    run_moves.move(c, running, RunEvent.DEVICE_LOST, at=AT, actor="hub")
    make_run(c, "run-2", agent=mail)
    c.execute(sa.update(runs).values(schedule_id=schedule.id))

    def holds_up() -> tuple[bool, bool]:
        due = decision(c, schedule.id, runs=[AT + HOUR])
        under_way = fires.lock_schedules(c, [due])[schedule.id].under_way
        waits = run_claims.waits_of(c, [RunId("run-2")])[RunId("run-2")]
        return [run.id for run in under_way] == ["run-1"], waits.follows

    change(c, *DEVICES, boot_id=None)
    assert holds_up() == (True, True)
    appear(c, [DeviceId("device-tablet")])
    assert holds_up() == (False, False)
    appear(c, [DeviceId("device-desk")])
    assert holds_up() == (True, True)


def test_without_an_admitted_device_a_run_waits_and_a_requested_one_is_refused(
    c: sa.Connection, mail: AgentRow
) -> None:
    change(c, *DEVICES, last_seen_at=None)
    assert (mail.delivers_to, mail.missing_for_runs) == ("the first connected device of me", ())
    make_run(c, agent=mail)
    assert claim(c, "nothing") is None
    assert not run_claims.waits_of(c, [RunId("run-1")])[RunId("run-1")].has_place
    with pytest.raises(NoDevice), c.begin_nested():
        run_claims.start_run(c, agent=mail, id=RunId("run-2"), fire_key="2", at=AT, config_fingerprint="f")
    change(c, "desk", last_seen_at=1)
    assert run_pauses.follow_agents(c, AT, actor="hub.toml") == []
    claimed = claim(c, "nothing")
    assert claimed is not None and (claimed.state, claimed.device_id) == (RunState.PREPARING, "device-desk")
    assert units.device_of_unit(c, mail.id, ME, "mid:1", DeviceId("device-desk")) is None
