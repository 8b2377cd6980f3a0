import pytest
import sqlalchemy as sa

from protocol.ids import BootId, NodeId
from protocol.lifecycles import CallEvent, RunEvent, RunState
from storage.agents import agents
from storage.devices import nodes
from storage.runs import run_moves, run_pauses, runs
from storage.runs.run_moves import CRASH_LIMIT, Recovered
from storage.runs.runs import HeldRun, RunRow, StaleRun
from storage.runs.units import fail_unit, settle_unit
from storage.schema import runs as run_table
from tests.storage.rows import (
    AT,
    BOOT,
    NEXT_BOOT,
    answer,
    calls,
    claim,
    make_agent,
    make_run,
    plan,
    running,
    some,
)


@pytest.fixture
def run(c: sa.Connection) -> RunRow:
    """A run that executes."""
    return make_run(c, state=RunState.RUNNING)


@pytest.mark.parametrize("state", [RunState.PREPARING, RunState.RUNNING])
def test_a_run_that_a_dead_hub_held_is_queued_again(c: sa.Connection, state: RunState) -> None:
    run = make_run(c, state=state)
    assert run_moves.recover(c, boot_id=NEXT_BOOT, at=AT + 1) == Recovered(requeued=(run.id,))
    row = runs.get_run(c, run.id)
    assert (row.state, row.reason, row.crash_count) == (RunState.QUEUED, "hub_restart", 1)
    agent = agents.get_agent(c, run.agent_id)
    assert (agent.runs_waiting, agent.runs_executing) == (1, 0)


def test_what_this_hub_holds_and_what_does_not_execute_is_left_alone(c: sa.Connection) -> None:
    mine = running(c)
    make_run(c, "run-2", agent=make_agent(c, "second", device="desktop"))
    assert (run_moves.recover(c, boot_id=BOOT, at=AT), runs.get_run(c, mine.id).held) == (Recovered(), mine)


def test_a_run_that_was_to_be_cancelled_is_cancelled_on_recovery(c: sa.Connection, run: RunRow) -> None:
    run_pauses.request_cancel(c, run.id, "not needed", AT)
    assert run_moves.recover(c, boot_id=NEXT_BOOT, at=AT) == Recovered(cancelled=(run.id,))
    assert runs.get_run(c, run.id).reason == "not needed"


def test_the_time_that_the_hub_was_away_does_not_count_against_a_run(c: sa.Connection, run: RunRow) -> None:
    assert run.deadline_at is not None
    assert run_moves.recover(c, boot_id=NEXT_BOOT, at=run.deadline_at + 1) == Recovered(requeued=(run.id,))
    assert runs.get_run(c, run.id).deadline_at is None


def lease(c: sa.Connection, run_id: str, expires_at: int) -> None:
    c.execute(sa.update(run_table).where(run_table.c.id == run_id).values(lease_expires_at=expires_at))


def test_on_a_shared_database_a_run_is_taken_over_when_its_lease_has_ended(c: sa.Connection) -> None:
    held = make_run(c, state=RunState.RUNNING)
    lease(c, held.id, 2**52)
    assert run_moves.recover(c, boot_id=NEXT_BOOT, at=AT, is_alone=False) == Recovered()
    lease(c, held.id, 1)
    assert run_moves.recover(c, boot_id=NEXT_BOOT, at=AT, is_alone=False) == Recovered(requeued=(held.id,))


def test_on_a_shared_database_an_earlier_boot_of_this_node_holds_nothing(c: sa.Connection) -> None:
    held = make_run(c, state=RunState.RUNNING)
    lease(c, held.id, 2**52)
    taken = run_moves.recover(c, boot_id=NEXT_BOOT, at=AT, is_alone=False, dead=[BOOT])
    assert taken == Recovered(requeued=(held.id,))


def test_the_runs_of_a_node_are_its_own_while_its_lease_is_renewed(c: sa.Connection) -> None:
    held = make_run(c, state=RunState.RUNNING)
    lease(c, held.id, 1)
    nodes.beat(c, NodeId("node-1"), BOOT, ttl_ms=30_000)
    assert run_moves.recover(c, boot_id=NEXT_BOOT, at=AT, is_alone=False) == Recovered()
    nodes.beat(c, NodeId("node-1"), BootId("the node's next boot"), ttl_ms=30_000)
    assert run_moves.recover(c, boot_id=NEXT_BOOT, at=AT, is_alone=False) == Recovered(requeued=(held.id,))


def test_runs_of_a_device_that_connects_elsewhere_are_queued_there_and_are_no_crash(
    c: sa.Connection, held: HeldRun
) -> None:
    other = running(c, "run-2", agent=make_agent(c, "second", device="desktop"))
    device_id = some(runs.get_run(c, held.id).device_id)
    for boot_id in (BOOT, NEXT_BOOT):
        moved = run_moves.hand_over(c, [device_id], boot_id=boot_id, at=AT)
        assert moved == Recovered(requeued=() if boot_id == BOOT else (held.id,))
    row = runs.get_run(c, held.id)
    assert (row.state, row.reason, row.crash_count) == (RunState.QUEUED, "device_moved", 0)
    assert runs.get_run(c, other.id).held == other
    with pytest.raises(StaleRun):
        settle_unit(c, held, "a.txt", AT)


def test_a_run_that_was_to_be_cancelled_does_not_move_with_its_device(c: sa.Connection, run: RunRow) -> None:
    run_pauses.request_cancel(c, run.id, "not needed", AT)
    assert run.device_id is not None
    assert run_moves.hand_over(c, [run.device_id], boot_id=NEXT_BOOT, at=AT) == Recovered(cancelled=(run.id,))


def crash(c: sa.Connection, n: int) -> Recovered:
    return run_moves.recover(c, boot_id=type(BOOT)(f"boot-after-{n}"), at=AT)


def run_on(c: sa.Connection) -> HeldRun:
    return run_moves.move(c, some(claim(c)).held, RunEvent.ACKNOWLEDGED, at=AT, actor="device")


def test_a_run_that_takes_the_hub_down_at_the_same_place_again_and_again_fails(c: sa.Connection) -> None:
    run = make_run(c)
    for n in range(CRASH_LIMIT - 1):
        run_on(c)
        assert crash(c, n).requeued == (run.id,)
    run_on(c)
    assert (crash(c, CRASH_LIMIT).failed, runs.get_run(c, run.id).reason) == ((run.id,), "crash_loop")


def test_a_run_whose_task_breaks_again_and_again_fails_by_an_error_of_the_hub(c: sa.Connection) -> None:
    run = make_run(c)
    for _ in range(CRASH_LIMIT - 1):
        run_on(c)
        assert run_moves.take_back(c, BOOT, {run.id}, AT).requeued == (run.id,)
        assert runs.get_run(c, run.id).reason == "hub_error"
    run_on(c)
    assert run_moves.take_back(c, BOOT, {run.id}, AT).failed == (run.id,)
    failed = runs.get_run(c, run.id)
    assert (failed.reason, [error.code for error in failed.errors]) == ("hub_error", ["hub_error"])


@pytest.mark.parametrize("step", ["plan", "answer", "settle", "fail"])
def test_a_run_that_gets_further_each_time_survives_any_number_of_crashes(
    c: sa.Connection, step: str
) -> None:
    make_run(c)
    held = run_on(c)
    units = [f"{n}.txt" for n in range(10)]
    if step in ("answer", "settle"):
        for unit in units:
            plan(c, held, unit, of=calls(f"call-{unit}"))
    if step == "settle":
        for unit in units:
            answer(c, held, f"call-{unit}")
    for n, unit in enumerate(units):
        match step:
            case "plan":
                plan(c, held, unit)
            case "answer":
                answer(c, held, f"call-{unit}", event=CallEvent.REJECTED)
            case "settle":
                settle_unit(c, held, unit, AT)
            case "fail":
                fail_unit(c, held, unit_key=unit, content_hash="", size_bytes=None, error="broken", at=AT)
        assert crash(c, n).failed == ()
        held = run_on(c)
    assert runs.get_run(c, held.id).crash_count == 1


def test_planning_the_same_again_is_no_progress(c: sa.Connection) -> None:
    make_run(c)
    held = run_on(c)
    plan(c, held, of=calls("call-1"))
    crash(c, 0)
    held = run_on(c)
    plan(c, held, of=calls("call-1"))
    assert runs.get_run(c, held.id).crash_count == 1
