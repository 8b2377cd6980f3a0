"""A run holds its locks while it executes, and waits for them beside everybody else."""

import pytest
import sqlalchemy as sa

from protocol.ids import DeviceId, RunId
from protocol.lifecycles import RunEvent, RunOutcome, RunState
from storage.agents import declared_agents, locks, status_writes
from storage.agents.agents import AgentRow
from storage.agents.locks import Grant, Holder, LockLimits, LockRequest
from storage.devices import devices
from storage.runs import run_claims, run_moves, run_pauses
from storage.runs.run_claims import Gates
from storage.runs.runs import RunRow
from storage.schema import agent_locks
from tests.storage.rows import AT, BOOT, LAPTOP, ME, NEXT_BOOT, claim, make_agent, some
from tests.support.presence import appear

DEVICE = Holder("device", f"device-{LAPTOP}")
OTHER = Holder("device", "device-other")
TTL = 60_000


@pytest.fixture(autouse=True)
def _owner(c: sa.Connection) -> None:
    devices.ensure_user(c, ME, "me", AT)


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
) -> Grant | None:
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
def grant(c: sa.Connection) -> Grant:
    """The lock ``a`` of the device."""
    return some(ask(c, "a"))


def test_a_run_that_is_claimed_holds_all_its_locks_until_it_ends(c: sa.Connection) -> None:
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
def test_a_run_whose_lock_is_held_waits_and_the_next_of_its_device_starts(c: sa.Connection) -> None:
    make_locking_run(c, "run-1", "a", "b")
    make_locking_run(c, "run-2", agent=make_agent(c, "another"))
    assert (some(claim(c)).id, holders(c), waiting(c)) == ("run-2", {"a": DEVICE.id}, ["run-1", "run-1"])


def test_a_run_gets_its_locks_in_its_turn_and_is_claimed_with_new_fences(
    c: sa.Connection, grant: Grant
) -> None:
    make_locking_run(c, "run-1", "a")
    assert claim(c) is None
    (handed,) = locks.release(c, ME, grant.fences, DEVICE)
    assert (handed.holder.id, handed.fences) == ("run-1", {"a": 2})
    assert claim(c) is not None
    assert locks.run_fences(c, "run-1") == {"a": 3}


def test_a_run_that_is_not_claimed_in_its_turn_loses_it_to_the_next(c: sa.Connection, grant: Grant) -> None:
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


def test_a_run_that_stops_executing_hands_its_locks_over(c: sa.Connection) -> None:
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
def test_a_run_that_is_cancelled_or_paused_while_it_waits_leaves_the_queue(c: sa.Connection) -> None:
    for run_id in ("run-1", "run-2"):
        make_locking_run(c, run_id, "a", agent=make_agent(c, run_id))
        assert claim(c) is None
    run_pauses.request_cancel(c, RunId("run-1"), "not needed", AT)
    run_pauses.pause_run(c, RunId("run-2"), AT, actor="operator")
    assert waiting(c) == []


def test_the_locks_of_runs_that_a_dead_hub_left_are_free_after_the_next_start(c: sa.Connection) -> None:
    make_locking_run(c, "run-1", "a")
    assert claim(c) is not None
    run_moves.recover(c, boot_id=NEXT_BOOT, at=AT)
    assert holders(c) == {}
    assert claim(c, boot=NEXT_BOOT) is not None
    assert locks.run_fences(c, "run-1") == {"a": 2}


def test_two_runs_that_want_the_same_lock_execute_one_after_the_other(c: sa.Connection) -> None:
    for name, device in (("one", "desk-1"), ("two", "desk-2")):
        make_locking_run(c, f"run-{name}", "a", agent=make_agent(c, name, device=device))
    first = some(claim(c, "desk-1", "desk-2"))
    assert claim(c, "desk-1", "desk-2") is None
    run_moves.move(c, first.held, RunEvent.FAILED, at=AT, actor="hub", reason="broken")
    assert {first.id, some(claim(c, "desk-1", "desk-2")).id} == {"run-one", "run-two"}


@pytest.mark.usefixtures("grant")
def test_a_run_without_room_in_a_queue_waits_outside_and_delays_no_other_run(c: sa.Connection) -> None:
    for n in range(3):
        make_locking_run(c, f"run-{n}", "a", agent=make_agent(c, f"agent-{n}"))
    make_locking_run(c, "run-free", agent=make_agent(c, "free"))
    there = frozenset({DeviceId(DEVICE.id)})
    appear(c, there)
    gates = Gates(online=there, locks=LockLimits(lock_waits=1))
    claimed = run_claims.claim_runs(c, boot_id=BOOT, gates=gates, lease_ms=30_000, at=AT)
    assert ([run.id for run in claimed], waiting(c)) == (["run-free"], ["run-0"])


def test_why_a_run_waits_names_the_lock_and_who_is_before_it(c: sa.Connection) -> None:
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


def test_the_holder_of_a_lock_is_named_as_a_run_of_an_agent(c: sa.Connection) -> None:
    make_locking_run(c, "run-1", "a")
    assert claim(c) is not None
    assert [lock.holder_text for lock in locks.list_locks(c)] == ["run run-1 of agent inbox"]
    assert locks.instant_text(AT) == "1970-01-01T00:16:40Z"


@pytest.mark.parametrize("end", ["terminated", "archived"])
def test_an_agent_that_ends_holds_no_lock_and_waits_for_none(c: sa.Connection, end: str) -> None:
    agent = make_agent(c)
    its_own = Holder("device", f"device-{LAPTOP}", agent.id)
    held = some(ask(c, "mailbox", holder=its_own, request_id="held"))
    ask(c, "calendar", holder=OTHER, request_id="others")
    ask(c, "calendar", holder=its_own, wait_ms=TTL, request_id="waits")
    ask(c, "mailbox", holder=OTHER, wait_ms=TTL, request_id="next")
    if end == "terminated":
        status_writes.terminate(c, agent.id, at=AT, actor="anna")
    else:
        declared_agents.archive_agent(c, agent, at=AT, actor="anna", reason="removed")
    assert (holders(c), waiting(c)) == ({"calendar": OTHER.id, "mailbox": OTHER.id}, [])
    with pytest.raises(locks.LockLost):
        locks.check_fence(c, ME, "mailbox", held.fences["mailbox"])
