import pytest
import sqlalchemy as sa

from protocol.lifecycles import CallEvent, RunEvent, RunState
from storage import agents, outbox, runs
from storage.run_claims import CRASH_LIMIT
from storage.runs import HeldRun, Recovered
from storage.schema import agent_states
from storage.schema import agents as agent_table
from tests.storage.rows import AT, BOOT, NEXT_BOOT, answer, calls, claim, make_agent, make_run, plan, running


def test_the_run_that_waits_the_longest_is_claimed_with_a_new_fence_and_a_lease(c: sa.Connection) -> None:
    agent = make_agent(c)
    make_run(c, "run-1", agent=agent, at=AT + 5)
    make_run(c, "run-2", agent=agent, at=AT)
    claimed = claim(c, at=AT + 9)
    assert claimed is not None
    assert (claimed.id, claimed.state, claimed.fence) == ("run-2", RunState.PREPARING, 1)
    assert claimed.lease_boot_id == BOOT
    last = runs.run_history(c, claimed.id)[-1]
    assert (last.old_state, last.new_state, last.fence) == (RunState.QUEUED, RunState.PREPARING, 1)


def test_nothing_is_claimed_before_its_time(c: sa.Connection) -> None:
    make_run(c, at=AT + 1)
    assert claim(c, at=AT) is None
    assert claim(c, at=AT + 1) is not None


def test_nothing_is_claimed_for_a_device_that_is_not_connected(c: sa.Connection) -> None:
    make_run(c)
    assert claim(c, "desktop") is None
    assert runs.claim_run(c, boot_id=BOOT, online=[], lease_until=AT, at=AT) is None


def test_a_device_works_on_as_many_runs_as_it_may(c: sa.Connection) -> None:
    for n in range(3):
        make_run(c, f"run-{n}", agent=make_agent(c, f"agent-{n}"))
    assert claim(c, per_device=2) is not None
    assert claim(c, per_device=2) is not None
    assert claim(c, per_device=2) is None


def test_an_agent_works_on_as_many_runs_as_it_may(c: sa.Connection) -> None:
    agent = make_agent(c)
    make_run(c, "run-1", agent=agent)
    make_run(c, "run-2", agent=agent)
    assert claim(c, per_device=9) is not None
    assert claim(c, per_device=9) is None
    c.execute(sa.update(agent_table).values(max_concurrent_runs=2))
    assert claim(c, per_device=9) is not None


def test_the_hub_works_on_as_many_runs_as_it_may(c: sa.Connection) -> None:
    for n in range(3):
        make_run(c, f"run-{n}", agent=make_agent(c, f"agent-{n}", device=f"desk-{n}"))
    online = ("desk-0", "desk-1", "desk-2")
    assert claim(c, *online, total=2) is not None
    assert claim(c, *online, total=2) is not None
    assert claim(c, *online, total=2) is None


def test_a_run_whose_device_is_busy_does_not_hold_up_the_others(c: sa.Connection) -> None:
    first, second = make_agent(c, "first"), make_agent(c, "second", device="desktop")
    make_run(c, "run-1", agent=first, at=AT)
    make_run(c, "run-2", agent=first, at=AT + 1)
    make_run(c, "run-3", agent=second, at=AT + 2)
    taken = [claim(c, "laptop", "desktop", at=AT + 9) for _ in range(3)]
    assert [run.id if run else None for run in taken] == ["run-1", "run-3", None]


@pytest.mark.parametrize(
    "gate",
    [
        {"lifecycle": "paused"},
        {"availability": "exhausted", "exhaust_reason": "rate_limit", "exhausted_at": AT},
    ],
)
def test_a_paused_or_exhausted_agent_starts_nothing(c: sa.Connection, gate: dict[str, str]) -> None:
    make_run(c)
    c.execute(sa.update(agent_states).values(gate))
    assert claim(c) is None


def test_the_oldest_is_found_among_thousands_of_devices(c: sa.Connection) -> None:
    make_run(c, "run-1", agent=make_agent(c, "z", device="zebra"), at=AT)
    make_run(c, "run-2", agent=make_agent(c, "a", device="aardvark"), at=AT + 1)
    online = [f"desk-{n}" for n in range(2_000)]
    claimed = claim(c, *online, "aardvark", "zebra", at=AT + 9)
    assert claimed is not None
    assert claimed.id == "run-1"


def test_a_fence_never_falls(c: sa.Connection) -> None:
    make_run(c)
    fences = []
    for _ in range(4):
        claimed = claim(c)
        assert claimed is not None
        fences.append(claimed.fence)
        runs.move(c, claimed.held, RunEvent.SENT_BACK, at=AT, actor="hub")
    assert fences == [1, 2, 3, 4]


@pytest.mark.parametrize("state", [RunState.PREPARING, RunState.RUNNING])
def test_a_run_that_a_dead_hub_held_is_queued_again(c: sa.Connection, state: RunState) -> None:
    run = make_run(c, state=state)
    assert runs.recover(c, boot_id=NEXT_BOOT, at=AT + 1) == Recovered(requeued=(run.id,))
    row = runs.get_run(c, run.id)
    assert (row.state, row.reason, row.crash_count) == (RunState.QUEUED, "hub_restart", 1)
    agent = agents.get_agent(c, run.agent_id)
    assert (agent.runs_waiting, agent.runs_executing) == (1, 0)


def test_what_this_hub_holds_and_what_does_not_execute_is_left_alone(c: sa.Connection) -> None:
    mine = running(c)
    make_run(c, "run-2", agent=make_agent(c, "second", device="desktop"))
    assert runs.recover(c, boot_id=BOOT, at=AT) == Recovered()
    assert runs.get_run(c, mine.id).held == mine


def test_a_run_that_was_to_be_cancelled_is_cancelled_on_recovery(c: sa.Connection) -> None:
    run = make_run(c, state=RunState.RUNNING)
    runs.request_cancel(c, run.id, "not needed", AT)
    assert runs.recover(c, boot_id=NEXT_BOOT, at=AT) == Recovered(cancelled=(run.id,))
    assert runs.get_run(c, run.id).reason == "not needed"


def test_a_run_that_is_past_its_deadline_fails_on_recovery(c: sa.Connection) -> None:
    run = make_run(c, state=RunState.RUNNING, deadline_at=AT + 5)
    assert runs.recover(c, boot_id=NEXT_BOOT, at=AT + 5) == Recovered(failed=(run.id,))
    row = runs.get_run(c, run.id)
    assert (row.state, row.reason, row.errors[0].code) == (RunState.FAILED, "deadline", "deadline")


def crash(c: sa.Connection, n: int) -> Recovered:
    return runs.recover(c, boot_id=type(BOOT)(f"boot-after-{n}"), at=AT)


def run_on(c: sa.Connection) -> HeldRun:
    claimed = claim(c)
    assert claimed is not None
    return runs.move(c, claimed.held, RunEvent.ACKNOWLEDGED, at=AT, actor="device")


def test_a_run_that_takes_the_hub_down_at_the_same_place_again_and_again_fails(c: sa.Connection) -> None:
    run = make_run(c)
    for n in range(CRASH_LIMIT - 1):
        run_on(c)
        assert crash(c, n).requeued == (run.id,)
    run_on(c)
    assert crash(c, CRASH_LIMIT).failed == (run.id,)
    assert runs.get_run(c, run.id).reason == "crash_loop"


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
                outbox.settle_unit(c, held, unit, AT)
            case "fail":
                outbox.fail_unit(
                    c, held, unit_key=unit, content_hash="", size_bytes=None, error="broken", at=AT
                )
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
