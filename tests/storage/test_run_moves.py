from itertools import product

import pytest
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode, IllegalTransition
from protocol.ids import DeviceId, RunId
from protocol.lifecycles import (
    EXECUTING_RUN_STATES,
    FINAL_RUN_STATES,
    LIVE_RUN_STATES,
    PAUSE_REASONS,
    RUN,
    CallEvent,
    RunEvent,
    RunOutcome,
    RunState,
)
from storage.agents import agents
from storage.runs import run_moves, run_pauses, runs, units
from storage.runs.runs import HeldRun, StaleRun
from storage.schema import runs as run_table
from tests.storage.rows import AT, answer, calls, claim, make_agent, make_run, plan, running, some, undone
from tests.support.coded import coded
from tests.support.families import each

LEGAL = [move for move in RUN.moves() if move[1] is not RunEvent.DISPATCHED]
ILLEGAL = [
    pair
    for pair in product(RunState, RunEvent)
    if not RUN.allows(*pair) and pair[1] is not RunEvent.DISPATCHED
]


def outcome_for(event: RunEvent) -> RunOutcome | None:
    return RunOutcome.SUCCESS if event is RunEvent.FINISHED else None


def counters(c: sa.Connection) -> tuple[int, int]:
    agent = agents.list_agents(c)[0]
    return agent.runs_waiting, agent.runs_executing


@pytest.mark.slow
@each(("before", "event", "after"), LEGAL)
def test_every_legal_move_is_written_remembered_and_counted(
    c: sa.Connection, before: RunState, event: RunEvent, after: RunState
) -> None:
    with undone(c):
        run = make_run(c, state=before)
        moved = run_moves.move(
            c, run.held, event, at=AT + 1, actor="somebody", reason="because", outcome=outcome_for(event)
        )
        row = runs.get_run(c, run.id)
        assert (moved, row.state, row.reason, row.updated_at) == (row.held, after, "because", AT + 1)
        assert row.pause_reason == (PAUSE_REASONS[event] if after is RunState.PAUSED else None)
        assert (row.completed_at == AT + 1) == (after in FINAL_RUN_STATES)
        assert (row.lease_boot_id is not None) == (after in EXECUTING_RUN_STATES)
        history = runs.run_history(c, run.id)
        last = history[-1]
        assert [move.seq for move in history] == list(range(1, len(history) + 1))
        assert (last.old_state, last.new_state, last.actor, last.fence) == (
            before,
            after,
            "somebody",
            row.fence,
        )
        executing = after in EXECUTING_RUN_STATES
        assert counters(c) == (int(after in LIVE_RUN_STATES and not executing), int(executing))


@pytest.mark.slow
@each(("state", "event"), ILLEGAL)
def test_an_illegal_move_changes_nothing(c: sa.Connection, state: RunState, event: RunEvent) -> None:
    with undone(c):
        run = make_run(c, state=state)
        with pytest.raises(IllegalTransition):
            run_moves.move(c, run.held, event, at=AT + 1, actor="somebody")
        assert runs.get_run(c, run.id) == run


def test_a_run_is_dispatched_by_claiming_it_alone(c: sa.Connection) -> None:
    with pytest.raises(ValueError, match="claim_run"):
        run_moves.move(c, make_run(c).held, RunEvent.DISPATCHED, at=AT, actor="somebody")


@pytest.mark.parametrize("seen", [HeldRun(RunId("run-1"), RunState.RUNNING, 0), None])
def test_who_saw_another_state_or_fence_is_refused_and_changes_nothing(
    c: sa.Connection, seen: HeldRun | None
) -> None:
    run = make_run(c, state=RunState.RUNNING)
    stale = seen or HeldRun(run.id, RunState.PREPARING, run.fence)
    with pytest.raises(StaleRun, match="RUNNING under fence 1"):
        run_moves.move(c, stale, RunEvent.FAILED, at=AT + 1, actor="a late one")
    assert runs.get_run(c, run.id) == run


def test_an_unknown_run_is_reported(c: sa.Connection) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_RUN)):
        run_moves.move(c, HeldRun(RunId("run-9"), RunState.QUEUED, 0), RunEvent.CANCELLED, at=AT, actor="x")
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_RUN)):
        runs.get_run(c, RunId("run-9"))
    assert runs.find_run(c, RunId("run-9")) is None


@pytest.mark.parametrize("event", [RunEvent.FAILED, RunEvent.CANCELLED])
def test_a_run_that_is_ended_by_force_gets_a_new_fence(
    c: sa.Connection, held: HeldRun, event: RunEvent
) -> None:
    assert run_moves.move(c, held, event, at=AT, actor="hub").fence == held.fence + 1


def test_a_run_that_finishes_or_pauses_keeps_its_fence(c: sa.Connection, held: HeldRun) -> None:
    assert run_moves.move(c, held, RunEvent.DEVICE_LOST, at=AT, actor="hub").fence == held.fence


def claimed(c: sa.Connection) -> HeldRun:
    """Claim the run that waits, and begin it."""
    return run_moves.move(c, some(claim(c, at=AT)).held, RunEvent.ACKNOWLEDGED, at=AT, actor="device")


def test_every_try_and_every_crash_is_counted_where_it_belongs(c: sa.Connection) -> None:
    run = make_run(c, state=RunState.PREPARING)
    run_moves.move(c, run.held, RunEvent.SENT_BACK, at=AT, actor="hub", eligible_at=AT + 500)
    row = runs.get_run(c, run.id)
    assert (row.dispatch_count, row.attempt, row.crash_count, row.eligible_at) == (1, 1, 0, AT + 500)
    again = some(claim(c, at=AT + 500))
    held = run_moves.move(c, again.held, RunEvent.ACKNOWLEDGED, at=AT + 501, actor="device")
    run_moves.move(c, held, RunEvent.RETRIED, at=AT + 502, actor="hub")
    row = runs.get_run(c, run.id)
    assert (row.dispatch_count, row.attempt, row.started_at) == (1, 2, AT + 501)


def test_the_last_attempt_is_not_retried(c: sa.Connection, held: HeldRun) -> None:
    c.execute(sa.update(run_table).values(attempt=5))
    with pytest.raises(IllegalTransition, match="5 times"):
        run_moves.move(c, held, RunEvent.RETRIED, at=AT, actor="hub")


@pytest.mark.parametrize("error_of_file", [False, True], ids=["nothing else", "a file failed too"])
def test_errors_that_a_later_attempt_overcame_stay_stored_and_do_not_count_at_the_end(
    c: sa.Connection, held: HeldRun, error_of_file: bool
) -> None:
    runs.record_held_error(c, held, None, "disk_error", "the device ended the run early", AT)
    if error_of_file:
        runs.record_held_error(c, held, "a.txt", "too_large", "108 MB", AT)
    run_moves.move(c, held, RunEvent.SENT_BACK, at=AT, actor="hub", error="busy")
    run_moves.move(c, claimed(c), RunEvent.RETRIED, at=AT, actor="hub", error="stalled")
    waiting = runs.get_run(c, held.id)
    assert (waiting.attempt, waiting.error_count) == (2, 2 + error_of_file)
    assert [(one.code, one.attempt) for one in waiting.errors if one.unit_key is None] == [
        ("disk_error", 1),
        ("attempt_failed", 1),
    ]
    assert waiting.errors[-1].message == "stalled"
    run_moves.move(c, claimed(c), RunEvent.FINISHED, at=AT, actor="hub", outcome=RunOutcome.SUCCESS)
    ended = runs.get_run(c, held.id)
    assert (ended.error_count, ended.errors) == (int(error_of_file), waiting.errors)
    assert [one.code for one in ended.lasting_errors] == ["too_large"] * error_of_file


def test_a_run_that_fails_counts_the_errors_of_all_its_attempts(c: sa.Connection) -> None:
    run_moves.move(c, running(c), RunEvent.RETRIED, at=AT, actor="hub", error="stalled")
    held = claimed(c)
    run_moves.move(c, held, RunEvent.FAILED, at=AT, actor="hub", error="given up")
    row = runs.get_run(c, held.id)
    assert (row.error_count, row.lasting_errors) == (2, row.errors)
    assert [(one.attempt, one.message) for one in row.errors] == [(1, "stalled"), (2, "given up")]


def test_a_run_with_an_open_call_or_an_open_unit_cannot_finish(c: sa.Connection, held: HeldRun) -> None:
    plan(c, held, of=calls("call-1"))
    with pytest.raises(IllegalTransition, match="1 units and 1 calls"):
        run_moves.move(c, held, RunEvent.FINISHED, at=AT, actor="hub", outcome=RunOutcome.SUCCESS)
    answer(c, held, "call-1")
    with pytest.raises(IllegalTransition, match="1 units and 0 calls"):
        run_moves.move(c, held, RunEvent.FINISHED, at=AT, actor="hub", outcome=RunOutcome.SUCCESS)
    units.settle_unit(c, held, "a.txt", AT)
    run_moves.move(c, held, RunEvent.FINISHED, at=AT, actor="hub", outcome=RunOutcome.SUCCESS)
    assert runs.get_run(c, held.id).outcome is RunOutcome.SUCCESS


@pytest.mark.parametrize("outcome", [None, RunOutcome.ERROR])
def test_a_run_finishes_with_success_or_partial(c: sa.Connection, outcome: RunOutcome | None) -> None:
    with pytest.raises(ValueError, match="success or partial"):
        run_moves.move(c, running(c), RunEvent.FINISHED, at=AT, actor="hub", outcome=outcome)


def test_the_same_fire_makes_one_run(c: sa.Connection) -> None:
    first = make_run(c, "run-1")
    agent = agents.get_agent(c, first.agent_id)
    again = run_moves.create_run(
        c, id=RunId("run-2"), agent=agent, fire_key="run-1", at=AT + 9, config_fingerprint="other"
    )
    assert (again, counters(c)) == (first, (1, 0))


@pytest.mark.parametrize("state", [RunState.QUEUED, RunState.PAUSED])
def test_a_run_that_waits_is_cancelled_at_once(c: sa.Connection, state: RunState) -> None:
    run = make_run(c, state=state)
    cancelled = run_pauses.request_cancel(c, run.id, "not needed", AT + 1)
    assert (cancelled.state, cancelled.cancel_reason) == (RunState.CANCELLED, "not needed")
    assert runs.run_history(c, run.id)[-1].actor == "operator"


@pytest.mark.parametrize("state", sorted(EXECUTING_RUN_STATES))
def test_a_run_that_executes_is_marked_for_its_holder(c: sa.Connection, state: RunState) -> None:
    run = make_run(c, state=state)
    marked = run_pauses.request_cancel(c, run.id, "not needed", AT + 1)
    assert (marked.state, marked.cancel_requested_at) == (state, AT + 1)
    assert run_pauses.request_cancel(c, run.id, "really", AT + 2).cancel_reason == "not needed"


@pytest.mark.parametrize("state", sorted(FINAL_RUN_STATES))
def test_a_run_that_has_ended_cannot_be_cancelled(c: sa.Connection, state: RunState) -> None:
    run = make_run(c, state=state)
    assert run_pauses.request_cancel(c, run.id, "too late", AT + 1) == run


def test_runs_are_listed_newest_first_page_by_page(c: sa.Connection) -> None:
    agent = make_agent(c)
    for n in range(5):
        make_run(c, f"run-{n}", agent=agent)
    run_pauses.request_cancel(c, RunId("run-3"), "x", AT)
    page = runs.list_runs(c, agent_id=agent.id, limit=2)
    assert [run.id for run in page] == ["run-4", "run-3"]
    older = runs.list_runs(c, after=(page[-1].created_at, page[-1].id))
    assert [run.id for run in older] == ["run-2", "run-1", "run-0"]
    assert [run.id for run in runs.list_runs(c, states=[RunState.CANCELLED])] == ["run-3"]
    assert runs.list_runs(c, device_id=DeviceId("device-desktop")) == []
    assert runs.count_live(c) == {RunState.QUEUED: 4}, "not those that ended"


def test_a_run_keeps_the_first_hundred_errors_and_counts_them_all(c: sa.Connection, held: HeldRun) -> None:
    for n in range(130):
        runs.record_error(c, held.id, f"{n}.txt", "not_convertible", "x" * 5_000, AT)
    row = runs.get_run(c, held.id)
    assert (row.error_count, len(row.errors)) == (130, 100)
    assert (row.errors[7].unit_key, len(row.errors[7].message)) == ("7.txt", 1_000)


def test_progress_is_the_share_of_units_that_are_settled(c: sa.Connection, held: HeldRun) -> None:
    runs.note_progress(c, held, 4, AT)
    units.skip_units(c, held, [("b.txt", "sha", 1)], AT)
    plan(c, held, of=calls("call-1"))
    assert runs.get_run(c, held.id).progress == 25.0
    answer(c, held, "call-1", event=CallEvent.REJECTED)
    units.settle_unit(c, held, "a.txt", AT)
    assert runs.get_run(c, held.id).progress == 50.0


def test_progress_of_a_run_that_is_held_by_another_is_refused(c: sa.Connection, held: HeldRun) -> None:
    with pytest.raises(StaleRun):
        runs.note_progress(c, HeldRun(held.id, held.state, held.fence + 1), 4, AT)
