"""A run holds its locks while it executes, and waits for them beside everybody else."""

from collections.abc import Mapping, Sequence

import msgspec
import pytest
import sqlalchemy as sa

from protocol.errors import CodedError
from protocol.ids import AgentId, DeviceId, RunId
from protocol.lifecycles import PauseReason, RunEvent, RunOutcome, RunState
from protocol.requirements import Unmet, parse_version
from storage.agents import agents, capabilities, declared_agents, exhaustion, locks, state_moves
from storage.agents.agents import AgentRow
from storage.agents.capabilities import AgentCapability
from storage.agents.configs import Mailbox
from storage.agents.declared_agents import DeclaredAgent
from storage.agents.locks import Holder, LockGrant, LockLimits, LockRequest
from storage.connectors import connectors
from storage.connectors.connectors import NOT_YET, DeclaredConnector
from storage.devices import devices, users
from storage.effects import fire_decisions, sessions, termination
from storage.runs import run_claims, run_devices, run_moves, run_needs, run_pauses, run_resumes, runs, units
from storage.runs.run_claims import READY, Gates
from storage.runs.run_devices import NoDevice
from storage.runs.runs import RunRow
from storage.schedules import schedules
from storage.schedules.schedule_rows import DeclaredSchedule
from storage.schema import agent_locks
from storage.schema import devices as device_table
from storage.schema import runs as run_table
from tests.storage.rows import (
    AT,
    BOOT,
    LAPTOP,
    ME,
    NEXT_BOOT,
    calls,
    claim,
    declare,
    make_agent,
    make_run,
    plan,
    some,
)
from tests.storage.scheduled import HOUR, decision, make_schedule
from tests.support.presence import appear, live, open_session

DEVICE = Holder("device", f"device-{LAPTOP}")
OTHER = Holder("device", "device-other")
TTL = 60_000


@pytest.fixture(autouse=True)
def _owner(c: sa.Connection) -> None:
    users.ensure_user(c, ME, "me", AT)


def make_locking_run(c: sa.Connection, run_id: str, *names: str, agent: AgentRow | None = None) -> RunRow:
    return run_moves.create_run(
        c,
        id=RunId(run_id),
        agent=agent or make_agent(c),
        fire_key=run_id,
        at=AT,
        config_fingerprint="f",
        locks=names,
    )


def ask(
    c: sa.Connection, *names: str, holder: Holder = DEVICE, wait_ms: int = 0, request_id: str = "r"
) -> LockGrant | None:
    """A device wants locks of these names."""
    wanted = LockRequest(
        request_id=request_id, user_id=ME, names=names, holder=holder, ttl_ms=TTL, wait_ms=wait_ms
    )
    return locks.acquire(c, wanted).grant


def holders(c: sa.Connection) -> dict[str, str]:
    """Who has which lock."""
    return {lock.resource: lock.holder.id for lock in locks.list_locks(c) if lock.is_held(0) and lock.holder}


def waiting(c: sa.Connection) -> list[str]:
    return [wait.holder.id for wait in locks.list_lock_waits(c)]


@pytest.fixture
def grant(c: sa.Connection) -> LockGrant:
    """The lock ``a`` of the device."""
    return some(ask(c, "a"))


def test_claimed_run_holds_all_locks_until_the_end(c: sa.Connection) -> None:
    make_locking_run(c, "run-1", "a", "b")
    claimed = some(claim(c))
    assert (holders(c), locks.run_fences(c, "run-1")) == ({"a": "run-1", "b": "run-1"}, {"a": 1, "b": 1})
    (lock, _) = locks.list_locks(c)
    assert lock.acquired_at is not None
    assert lock.expires_at - lock.acquired_at > claimed.timeout_ms
    held = run_moves.move(c, claimed.held, RunEvent.ACKNOWLEDGED, at=AT, actor="device")
    assert holders(c) == {"a": "run-1", "b": "run-1"}
    run_moves.move(c, held, RunEvent.FINISHED, at=AT, actor="hub", outcome=RunOutcome.SUCCESS)
    assert holders(c) == {}


@pytest.mark.usefixtures("grant")
def test_run_waiting_for_a_lock_lets_the_next_run_start(c: sa.Connection) -> None:
    make_locking_run(c, "run-1", "a", "b")
    make_locking_run(c, "run-2", agent=make_agent(c, "another"))
    assert (some(claim(c)).id, holders(c), waiting(c)) == ("run-2", {"a": DEVICE.id}, ["run-1", "run-1"])


def test_run_gets_locks_in_queue_order_and_is_claimed_with_new_fences(
    c: sa.Connection, grant: LockGrant
) -> None:
    make_locking_run(c, "run-1", "a")
    assert claim(c) is None
    (handed,) = locks.release(c, ME, grant.fences, DEVICE)
    assert (handed.holder.id, handed.fences) == ("run-1", {"a": 2})
    assert claim(c) is not None
    assert locks.run_fences(c, "run-1") == {"a": 3}


def test_run_missing_the_turn_loses_the_lock_to_the_next_request(c: sa.Connection, grant: LockGrant) -> None:
    make_locking_run(c, "run-1", "a")
    assert (claim(c), ask(c, "a", holder=OTHER, wait_ms=TTL, request_id="later")) == (None, None)
    locks.release(c, ME, grant.fences, DEVICE)
    c.execute(sa.update(agent_locks).values(expires_at=1))
    assert ([handed.request_id for handed in locks.sweep(c, ME)], claim(c)) == (["later"], None)
    assert waiting(c) == ["run-1"]


def test_runs_and_devices_take_turns_in_the_order_of_arrival(c: sa.Connection) -> None:
    assert ask(c, "a") is not None
    make_locking_run(c, "run-1", "a")
    assert claim(c) is None
    ask(c, "a", holder=OTHER, wait_ms=TTL, request_id="second")
    make_locking_run(c, "run-2", "a", agent=make_agent(c, "another"))
    assert (claim(c), waiting(c)) == (None, ["run-1", OTHER.id, "run-2"])


def test_run_no_longer_executing_hands_the_locks_over(c: sa.Connection) -> None:
    for n, event in enumerate(
        (RunEvent.SENT_BACK, RunEvent.DEVICE_LOST, RunEvent.FAILED, RunEvent.CANCELLED)
    ):
        make_locking_run(c, f"run-{n}", "a", agent=make_agent(c, f"agent-{n}"))
        claimed = some(claim(c))
        assert ask(c, "a", wait_ms=TTL, request_id=f"after {n}") is None
        moved = run_moves.move(c, claimed.held, event, at=AT, actor="hub", reason="test")
        grant = locks.granted(c, [f"after {n}"])[f"after {n}"]
        if moved.state in (RunState.QUEUED, RunState.PAUSED):
            run_pauses.request_cancel(c, moved.id, "not needed", AT)
        locks.release(c, ME, grant.fences, DEVICE)


@pytest.mark.usefixtures("grant")
def test_cancelled_or_paused_run_leaves_the_lock_queue(c: sa.Connection) -> None:
    for run_id in ("run-1", "run-2"):
        make_locking_run(c, run_id, "a", agent=make_agent(c, run_id))
        assert claim(c) is None
    run_pauses.request_cancel(c, RunId("run-1"), "not needed", AT)
    run_pauses.pause_run(c, RunId("run-2"), AT, actor="operator")
    assert waiting(c) == []


def test_locks_of_runs_left_by_a_dead_hub_are_free_after_the_next_start(c: sa.Connection) -> None:
    make_locking_run(c, "run-1", "a")
    assert claim(c) is not None
    run_moves.recover(c, boot_id=NEXT_BOOT, at=AT)
    assert holders(c) == {}
    assert claim(c, boot=NEXT_BOOT) is not None
    assert locks.run_fences(c, "run-1") == {"a": 2}


def test_two_runs_requesting_the_same_lock_execute_in_sequence(c: sa.Connection) -> None:
    for name, device in (("one", "desk-1"), ("two", "desk-2")):
        make_locking_run(c, f"run-{name}", "a", agent=make_agent(c, name, device=device))
    first = some(claim(c, "desk-1", "desk-2"))
    assert claim(c, "desk-1", "desk-2") is None
    run_moves.move(c, first.held, RunEvent.FAILED, at=AT, actor="hub", reason="broken")
    assert {first.id, some(claim(c, "desk-1", "desk-2")).id} == {"run-one", "run-two"}


@pytest.mark.usefixtures("grant")
def test_run_beyond_the_lock_queue_limit_delays_no_other_run(c: sa.Connection) -> None:
    for n in range(3):
        make_locking_run(c, f"run-{n}", "a", agent=make_agent(c, f"agent-{n}"))
    make_locking_run(c, "run-free", agent=make_agent(c, "free"))
    there = frozenset({DeviceId(DEVICE.id)})
    appear(c, there)
    gates = Gates(online=there, locks=LockLimits(lock_waits=1))
    claimed = run_claims.claim_runs(c, boot_id=BOOT, gates=gates, lease_ms=30_000, at=AT)
    assert ([run.id for run in claimed], waiting(c)) == (["run-free"], ["run-0"])


def test_wait_reason_of_a_run_names_lock_holder_and_number_ahead(c: sa.Connection) -> None:
    ask(c, "b")
    make_locking_run(c, "run-1", "a", "b")
    assert claim(c) is None
    lock = some(run_claims.waits_of(c, [RunId("run-1")])[RunId("run-1")].lock)
    assert (lock.lock.resource, lock.is_held, lock.ahead, lock.lock.holder_text) == (
        "b",
        True,
        0,
        "device laptop",
    )
    make_locking_run(c, "run-2", "a", agent=make_agent(c, "another"))
    assert claim(c) is None
    behind = some(run_claims.waits_of(c, [RunId("run-2")])[RunId("run-2")].lock)
    assert (behind.lock.resource, behind.is_held, behind.ahead) == ("a", False, 1)


def test_lock_holder_text_names_the_run_and_the_agent(c: sa.Connection) -> None:
    make_locking_run(c, "run-1", "a")
    assert claim(c) is not None
    assert [lock.holder_text for lock in locks.list_locks(c)] == ["run run-1 of agent inbox"]
    assert locks.instant_text(AT) == "1970-01-01T00:16:40Z"


@pytest.mark.parametrize("end", ["terminated", "archived"])
def test_ended_agent_holds_no_lock_and_waits_for_none(c: sa.Connection, end: str) -> None:
    agent = make_agent(c)
    its_own = Holder("device", f"device-{LAPTOP}", agent.id)
    held = some(ask(c, "mailbox", holder=its_own, request_id="held"))
    ask(c, "calendar", holder=OTHER, request_id="others")
    ask(c, "calendar", holder=its_own, wait_ms=TTL, request_id="waits")
    ask(c, "mailbox", holder=OTHER, wait_ms=TTL, request_id="next")
    if end == "terminated":
        termination.terminate(c, agent.id, at=AT, actor="anna")
    else:
        declared_agents.archive_agent(c, agent, at=AT, actor="anna", reason="removed")
    assert (holders(c), waiting(c)) == ({"calendar": OTHER.id, "mailbox": OTHER.id}, [])
    with pytest.raises(locks.LockLost):
        locks.check_fence(c, ME, "mailbox", held.fences["mailbox"])


DEVICES = ("attic", "desk", "tablet")


@pytest.fixture
def mail(c: sa.Connection) -> AgentRow:
    """An agent that reads a mailbox and has no device; three devices of its user have connected before."""
    users.ensure_user(c, ME, "me", AT)
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
def test_run_of_a_deviceless_agent_gets_a_device_at_the_claim(
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


def test_device_connected_to_the_own_process_is_preferred_at_a_claim(
    c: sa.Connection, mail: AgentRow
) -> None:
    live(c, NEXT_BOOT)
    appear(c, [DeviceId("device-attic")], NEXT_BOOT)
    appear(c, [DeviceId("device-tablet")])
    make_run(c, agent=mail)
    given = {"agent": mail.id, "user": ME}
    chosen = [
        c.execute(run_devices.PLACE, given | {"boot": boot}).scalar_one() for boot in (BOOT, NEXT_BOOT, "")
    ]
    assert chosen == ["device-tablet", "device-attic", "device-attic"]


def test_run_with_a_planned_unit_keeps_the_device(c: sa.Connection, mail: AgentRow) -> None:
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
    run_resumes.resume_runs(c, PauseReason.DEVICE_OFFLINE, at=AT)
    last = claim(c, "attic", at=AT + 200_000)
    assert last is not None and last.device_id == "device-tablet"


def test_run_waiting_for_the_device_blocks_the_schedule_only_without_another_device(
    c: sa.Connection, mail: AgentRow
) -> None:
    schedule = make_schedule(c, "mail")
    run = placed(c, mail, "run-1", "desk")
    running = run_moves.move(c, run.held, RunEvent.ACKNOWLEDGED, at=AT, actor="hub")
    run_moves.move(c, running, RunEvent.DEVICE_LOST, at=AT, actor="hub")
    make_run(c, "run-2", agent=mail)
    c.execute(sa.update(run_table).values(schedule_id=schedule.id))

    def holds_up() -> tuple[bool, bool]:
        due = decision(c, schedule.id, runs=[AT + HOUR])
        under_way = fire_decisions.lock_schedules(c, [due])[schedule.id].under_way
        waits = run_claims.waits_of(c, [RunId("run-2")])[RunId("run-2")]
        return [run.id for run in under_way] == ["run-1"], waits.follows

    change(c, *DEVICES, boot_id=None)
    assert holds_up() == (True, True)
    appear(c, [DeviceId("device-tablet")])
    assert holds_up() == (False, False)
    appear(c, [DeviceId("device-desk")])
    assert holds_up() == (True, True)


def test_run_without_an_admitted_device_waits_or_is_refused_if_requested(
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


LAPTOP_ID = DeviceId(f"device-{LAPTOP}")


def make_needy_run(
    c: sa.Connection, run_id: str = "run-1", *needs: str, agent: AgentRow | None = None
) -> RunRow:
    agent = agent or make_agent(c)
    return run_moves.create_run(
        c, id=RunId(run_id), agent=agent, fire_key=run_id, at=AT, config_fingerprint="f", needs=needs
    )


def claimed(c: sa.Connection, offers: Mapping[str, str] | None = None, *, total: int = 9) -> Sequence[str]:
    """The runs that are claimed for the laptop, which can do this."""
    there = frozenset({LAPTOP_ID})
    appear(c, there)
    gates = Gates(online=there, per_device=9, total=total, offered={LAPTOP_ID: offers or {}})
    return [run.id for run in run_claims.claim_runs(c, boot_id=BOOT, gates=gates, lease_ms=1, at=AT)]


def enable(c: sa.Connection, agent: AgentRow, name: str, version: str) -> None:
    given = AgentCapability(name=name, version=parse_version(version), enabled=True)
    capabilities.register(c, agent.id, given, source="api", at=AT, most=9)


@pytest.mark.parametrize(
    ("offers", "is_claimed"),
    [
        ({}, False),
        ({"file.read": "1.1.9"}, False),
        ({"file.read": "1.2.0"}, True),
        ({"file.read": "?"}, False),
    ],
)
def test_run_is_claimed_only_when_the_device_offers_the_needed_capability(
    c: sa.Connection, offers: Mapping[str, str], is_claimed: bool
) -> None:
    make_needy_run(c, "run-1", "file.read >= 1.2")
    assert claimed(c, offers) == (["run-1"] if is_claimed else [])


def test_enabled_capability_of_the_agent_meets_a_need_of_the_run(c: sa.Connection, agent: AgentRow) -> None:
    make_needy_run(c, "run-1", "file.read >= 1.2", agent=agent)
    enable(c, agent, "file.read", "1.1.0")
    assert claimed(c) == []
    enable(c, agent, "file.read", "1.2.0")
    assert claimed(c) == ["run-1"]


def test_disabled_capability_does_not_count(c: sa.Connection, agent: AgentRow) -> None:
    make_needy_run(c, "run-1", "file.read", agent=agent)
    given = AgentCapability(name="file.read", version=parse_version("1.0.0"), enabled=False)
    capabilities.register(c, agent.id, given, source="api", at=AT, most=9)
    assert claimed(c) == []


def test_capability_of_every_device_need_not_be_listed(c: sa.Connection) -> None:
    make_needy_run(c, "run-1", "tool.insert >= 1")
    assert claimed(c) == ["run-1"]


def test_run_waiting_for_a_capability_does_not_block_the_next_run(c: sa.Connection) -> None:
    make_needy_run(c, "run-1", "file.read", agent=make_agent(c, "first"))
    make_needy_run(c, "run-2", agent=make_agent(c, "second"))
    assert claimed(c) == ["run-2"]


def test_forty_thousand_runs_may_wait_for_a_capability(c: sa.Connection, agent: AgentRow) -> None:
    for n in range(3):
        make_needy_run(c, f"needy-{n}", "file.read", agent=agent)
    unmet = [f"run-{n}" for n in range(40_000)]
    appear(c, [LAPTOP_ID])
    gates = {"now": AT, "held": 0, "busy_agents": [], "busy_devices": [], "boot": BOOT, "most": 9}
    assert c.execute(READY, gates | {"unmet": unmet}).one().id == "needy-0"
    assert c.execute(READY, gates | {"unmet": [*unmet, "needy-0", "needy-1", "needy-2"]}).all() == []


def test_run_has_the_needs_and_locks_of_the_agent_and_of_the_request(
    c: sa.Connection,
) -> None:
    declare(
        c,
        DeclaredAgent(name="inbox", device_name=LAPTOP, needs=("file.read >= 1.2",), locks=("b", "a")),
    )
    (agent,) = agents.list_agents(c)
    run = run_moves.create_run(
        c,
        id=RunId("run-1"),
        agent=agent,
        fire_key="run-1",
        at=AT,
        config_fingerprint="f",
        needs=("web", "file.read >= 1.2"),
        locks=("c", "a"),
        context={"task_id": "t-1"},
    )
    assert (run.needs, run.locks, run.context) == (
        ("file.read >= 1.2", "web"),
        ("a", "b", "c"),
        {"task_id": "t-1"},
    )
    assert make_needy_run(c, "run-2", agent=agent).needs == ("file.read >= 1.2",)


def test_unmet_needs_are_listed_with_the_known_versions(c: sa.Connection, agent: AgentRow) -> None:
    run = make_needy_run(c, "run-1", "file.read >= 1.2", "web", agent=agent)
    enable(c, agent, "file.read", "1.0.0")
    found = run_needs.unmet_of(c, [run.id], {LAPTOP_ID: {"file.read": "1.1.0"}})
    assert found == {run.id: [Unmet("file.read >= 1.2", of_device="1.1.0", of_agent="1.0.0"), Unmet("web")]}
    assert run_needs.unmet_of(c, [run.id], {LAPTOP_ID: {"file.read": "1.2.0", "web": "1.0.0"}}) == {}


def _wait(c: sa.Connection, run_id: str) -> run_claims.WaitingConditions:
    return run_claims.waits_of(c, [RunId(run_id)])[RunId(run_id)]


@pytest.fixture
def waiting_run(c: sa.Connection) -> None:
    """A run that waits."""
    make_run(c)


@pytest.mark.usefixtures("waiting_run")
def test_wait_of_a_startable_run_shows_no_obstacle(c: sa.Connection) -> None:
    assert _wait(c, "run-1") == run_claims.WaitingConditions(
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


def test_wait_reason_counts_executing_runs_of_agent_device_and_hub(c: sa.Connection) -> None:
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


@pytest.mark.usefixtures("waiting_run")
def test_wait_reason_lists_agent_axes_and_device_connection(c: sa.Connection, agent: AgentRow) -> None:
    state_moves.move(c, agent.id, "lifecycle", "paused", at=AT, actor="me")
    exhaustion.exhaust(c, agent.id, cause="billing", retry_after_ms=None, at=AT, actor="hub")
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
def test_run_follows_the_live_run_of_the_schedule_unless_overlap_is_allowed(
    c: sa.Connection, agent: AgentRow, overlap: str, follows: bool
) -> None:
    declared = msgspec.convert({"kind": "every", "every_ms": 5_000, "overlap": overlap}, DeclaredSchedule)
    schedules.declare(c, AgentId(agent.id), declared, fresh_id="s", at=AT)
    make_run(c, "first", agent=agent, state=RunState.RUNNING)
    make_run(c, "second", agent=agent)
    c.execute(sa.update(run_table).values(schedule_id="s"))
    assert _wait(c, "second").follows is follows and _wait(c, "first").follows is False


def test_waits_of_no_runs_or_an_unknown_run_is_empty(c: sa.Connection) -> None:
    assert (run_claims.waits_of(c, []), run_claims.waits_of(c, [RunId("gone")])) == ({}, {})


def test_runs_are_found_by_the_end_of_their_ids(c: sa.Connection, agent: AgentRow) -> None:
    for run_id in ("0197-aa-1234abcd", "0198-bb-1234abcd", "0199-cc-9999ffff"):
        make_run(c, run_id, agent=agent)
    assert runs.whole_run_id(c, "9999ffff") == "0199-cc-9999ffff"
    with pytest.raises(CodedError, match="0197-aa-1234abcd, 0198-bb-1234abcd"):
        runs.whole_run_id(c, "1234abcd")
    assert runs.whole_run_id(c, "bb-1234abcd") == "0198-bb-1234abcd"
    assert [runs.whole_run_id(c, end) for end in ("fff", "0000ffff")] == ["fff", "0000ffff"]
    with pytest.raises(CodedError, match="'9ffff' is too short"):
        runs.whole_run_id(c, "9ffff")


def test_find_runs_returns_several_runs_together(c: sa.Connection, agent: AgentRow) -> None:
    for run_id in ("run-1", "run-2", "run-3"):
        make_run(c, run_id, agent=agent)
    claimed = some(claim(c))
    found = runs.find_runs(c, [RunId("run-1"), RunId("run-3"), RunId("gone")])
    assert {run.id: run.state for run in found} == {"run-1": claimed.state, "run-3": RunState.QUEUED}


@pytest.mark.usefixtures("waiting_run")
def test_wait_of_an_offline_agent_on_a_connected_device_has_a_reason(
    c: sa.Connection,
    agent: AgentRow,
) -> None:
    device_id = DeviceId(f"device-{LAPTOP}")
    live(c)
    open_session(c, device_id, boot_id=BOOT, platform=None, at=AT)
    assert not _wait(c, "run-1").is_away
    why = "no heartbeat for 45 s"
    state_moves.move(c, agent.id, "connectivity", "offline", at=AT + 45, actor="hub", reason=why)
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


def test_connector_run_takes_no_device_slot_and_is_counted_among_connector_runs(
    c: sa.Connection,
) -> None:
    reader = _reader(c)
    files = agents.get_agent(c, AgentId("agent-inbox"))
    make_run(c, "reads", agent=reader, state=RunState.RUNNING)
    make_run(c, "files", agent=files)
    told = _wait(c, "files")
    assert (told.reads_mailbox, told.on_device, told.of_mailboxes, told.on_hub) == (False, 0, 1, 1)
    assert _wait(c, "reads").reads_mailbox


def test_wait_reason_of_a_connector_run_has_the_connector_state(c: sa.Connection) -> None:
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


def test_connector_not_yet_signed_in_counts_as_granted_in_the_wait_reason(c: sa.Connection) -> None:
    make_run(c, "reads", agent=_reader(c))
    connectors.move_connector(c, "work-id", version=1, state="sign_in", detail=NOT_YET, at=AT)
    assert _wait(c, "reads").is_granted
