import pytest
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode, IllegalTransition
from protocol.ids import BootId, DeviceId, NodeId, RunId
from protocol.lifecycles import (
    EXECUTING_RUN_STATES,
    FINAL_RUN_STATES,
    LIVE_RUN_STATES,
    PAUSE_REASONS,
    RESUMED_BY,
    RUN,
    CallEvent,
    RunEvent,
    RunOutcome,
    RunState,
)
from storage import leases
from storage.agents import agents
from storage.executing_runs import FencedRun, StaleRun
from storage.runs import run_moves, run_pauses, runs, units
from storage.runs.run_moves import CRASH_LIMIT, FollowUp, Recovered
from storage.runs.runs import RunReport, RunRow
from storage.runs.units import fail_unit, settle_unit
from storage.schema import agents as agent_table
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
    undone,
)
from tests.support.coded import coded
from tests.support.families import each

LEGAL = [move for move in RUN.moves() if move[1] is not RunEvent.DISPATCHED]
ILLEGAL = {
    state: [event for event in RunEvent if not RUN.allows(state, event) and event is not RunEvent.DISPATCHED]
    for state in RunState
}


def outcome_for(event: RunEvent) -> RunOutcome | None:
    return RunOutcome.SUCCESS if event is RunEvent.FINISHED else None


def counters(c: sa.Connection) -> tuple[int, int]:
    agent = agents.list_agents(c)[0]
    return agent.runs_waiting, agent.runs_executing


def test_executed_time_is_that_of_all_ended_executions_but_for_those_that_ended_with_their_hub(
    c: sa.Connection,
) -> None:
    held, at = make_run(c).held, AT
    for event, took_ms in (
        (RunEvent.MODEL_AWAY, 20),
        (RunEvent.DEVICE_LOST, 300),
        (RunEvent.HUB_LOST, 4_000),
        (RunEvent.RETRIED, 50_000),
    ):
        run = claim(c, at=at)
        assert run is not None
        held = run_moves.move(c, run.held, RunEvent.ACKNOWLEDGED, at=at + took_ms // 2, actor="hub")
        reason = run_moves.REQUEUED_FOR if event is RunEvent.HUB_LOST else None
        held = run_moves.move(c, held, event, at=at + took_ms, actor="hub", reason=reason)
        if held.state is RunState.PAUSED:
            back = RESUMED_BY[PAUSE_REASONS[event]]
            held = run_moves.move(c, held, back, at=at + 700_000, actor="hub")
        at += 700_000
    assert claim(c, at=at) is not None
    assert run_moves.executed_ms(c, held.id) == 50_320


@pytest.mark.slow
@each(("before", "event", "after"), LEGAL)
def test_each_legal_run_move_is_stored_recorded_and_counted(
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


@each("state", RunState)
def test_illegal_run_move_is_refused_and_changes_nothing(c: sa.Connection, state: RunState) -> None:
    with undone(c):
        run = make_run(c, state=state)
        for event in ILLEGAL[state]:
            with pytest.raises(IllegalTransition):
                run_moves.move(c, run.held, event, at=AT + 1, actor="somebody")
        assert runs.get_run(c, run.id) == run


def test_run_can_be_dispatched_only_by_a_claim(c: sa.Connection) -> None:
    with pytest.raises(ValueError, match="claim_run"):
        run_moves.move(c, make_run(c).held, RunEvent.DISPATCHED, at=AT, actor="somebody")


@pytest.mark.parametrize("seen", [FencedRun(RunId("run-1"), RunState.RUNNING, 0), None])
def test_run_move_with_an_outdated_state_or_fence_is_refused(
    c: sa.Connection, seen: FencedRun | None
) -> None:
    run = make_run(c, state=RunState.RUNNING)
    stale = seen or FencedRun(run.id, RunState.PREPARING, run.fence)
    with pytest.raises(StaleRun, match="RUNNING under fence 1"):
        run_moves.move(c, stale, RunEvent.FAILED, at=AT + 1, actor="a late one")
    assert runs.get_run(c, run.id) == run


def test_an_unknown_run_is_reported(c: sa.Connection) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_RUN)):
        run_moves.move(c, FencedRun(RunId("run-9"), RunState.QUEUED, 0), RunEvent.CANCELLED, at=AT, actor="x")
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_RUN)):
        runs.get_run(c, RunId("run-9"))
    assert runs.find_run(c, RunId("run-9")) is None


@pytest.mark.parametrize("event", [RunEvent.FAILED, RunEvent.CANCELLED])
def test_forced_end_of_a_run_raises_the_fence(c: sa.Connection, held: FencedRun, event: RunEvent) -> None:
    assert run_moves.move(c, held, event, at=AT, actor="hub").fence == held.fence + 1


def test_paused_run_keeps_the_fence(c: sa.Connection, held: FencedRun) -> None:
    assert run_moves.move(c, held, RunEvent.DEVICE_LOST, at=AT, actor="hub").fence == held.fence


def claimed(c: sa.Connection) -> FencedRun:
    """Claim the run that waits, and begin it."""
    return run_moves.move(c, some(claim(c, at=AT)).held, RunEvent.ACKNOWLEDGED, at=AT, actor="device")


def test_dispatches_attempts_and_crashes_of_a_run_are_counted_separately(c: sa.Connection) -> None:
    run = make_run(c, state=RunState.PREPARING)
    run_moves.move(c, run.held, RunEvent.SENT_BACK, at=AT, actor="hub", eligible_at=AT + 500)
    row = runs.get_run(c, run.id)
    assert (row.dispatch_count, row.attempt, row.crash_count, row.eligible_at) == (1, 1, 0, AT + 500)
    again = some(claim(c, at=AT + 500))
    held = run_moves.move(c, again.held, RunEvent.ACKNOWLEDGED, at=AT + 501, actor="device")
    run_moves.move(c, held, RunEvent.RETRIED, at=AT + 502, actor="hub")
    row = runs.get_run(c, run.id)
    assert (row.dispatch_count, row.attempt, row.started_at) == (1, 2, AT + 501)


def test_the_last_attempt_is_not_retried(c: sa.Connection, held: FencedRun) -> None:
    c.execute(sa.update(run_table).values(attempt=5))
    with pytest.raises(IllegalTransition, match="5 times"):
        run_moves.move(c, held, RunEvent.RETRIED, at=AT, actor="hub")


@pytest.mark.parametrize("error_of_file", [False, True], ids=["nothing else", "a file failed too"])
def test_errors_of_overcome_attempts_do_not_count_at_the_end(
    c: sa.Connection, held: FencedRun, error_of_file: bool
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


def test_failing_run_counts_the_errors_of_all_attempts(c: sa.Connection) -> None:
    run_moves.move(c, running(c), RunEvent.RETRIED, at=AT, actor="hub", error="stalled")
    held = claimed(c)
    run_moves.move(c, held, RunEvent.FAILED, at=AT, actor="hub", error="given up")
    row = runs.get_run(c, held.id)
    assert (row.error_count, row.lasting_errors) == (2, row.errors)
    assert [(one.attempt, one.message) for one in row.errors] == [(1, "stalled"), (2, "given up")]


def test_a_run_with_an_open_call_or_an_open_unit_cannot_finish(c: sa.Connection, held: FencedRun) -> None:
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


def test_create_run_with_a_known_fire_key_returns_the_first_run(c: sa.Connection) -> None:
    first = make_run(c, "run-1")
    agent = agents.get_agent(c, first.agent_id)
    again = run_moves.create_run(
        c, id=RunId("run-2"), agent=agent, fire_key="run-1", at=AT + 9, config_fingerprint="other"
    )
    assert (again, counters(c)) == (first, (1, 0))


@pytest.mark.parametrize("state", [RunState.QUEUED, RunState.PAUSED])
def test_waiting_run_is_cancelled_at_once(c: sa.Connection, state: RunState) -> None:
    run = make_run(c, state=state)
    cancelled = run_pauses.request_cancel(c, run.id, "not needed", AT + 1)
    assert (cancelled.state, cancelled.cancel_reason) == (RunState.CANCELLED, "not needed")
    assert runs.run_history(c, run.id)[-1].actor == "operator"


@pytest.mark.parametrize("state", sorted(EXECUTING_RUN_STATES))
def test_cancellation_of_an_executing_run_is_marked_for_the_holder(c: sa.Connection, state: RunState) -> None:
    run = make_run(c, state=state)
    marked = run_pauses.request_cancel(c, run.id, "not needed", AT + 1)
    assert (marked.state, marked.cancel_requested_at) == (state, AT + 1)
    assert run_pauses.request_cancel(c, run.id, "really", AT + 2).cancel_reason == "not needed"


@pytest.mark.parametrize("state", sorted(FINAL_RUN_STATES))
def test_ended_run_cannot_be_cancelled(c: sa.Connection, state: RunState) -> None:
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


def test_run_keeps_the_first_hundred_errors_and_counts_all(c: sa.Connection, held: FencedRun) -> None:
    for n in range(130):
        runs.record_error(c, held.id, f"{n}.txt", "not_convertible", "x" * 5_000, AT)
    row = runs.get_run(c, held.id)
    assert (row.error_count, len(row.errors)) == (130, 100)
    assert (row.errors[7].unit_key, len(row.errors[7].message)) == ("7.txt", 1_000)


def test_progress_is_the_share_of_settled_units(c: sa.Connection, held: FencedRun) -> None:
    runs.note_progress(c, held, 4, AT)
    units.skip_units(c, held, [("b.txt", "sha", 1)], AT)
    plan(c, held, of=calls("call-1"))
    assert runs.get_run(c, held.id).progress == 25.0
    answer(c, held, "call-1", event=CallEvent.REJECTED)
    units.settle_unit(c, held, "a.txt", AT)
    assert runs.get_run(c, held.id).progress == 50.0


def test_progress_of_a_run_held_by_another_hub_is_refused(c: sa.Connection, held: FencedRun) -> None:
    with pytest.raises(StaleRun):
        runs.note_progress(c, FencedRun(held.id, held.state, held.fence + 1), 4, AT)


# --- what a device reports of a run ---


def report(c: sa.Connection, held: FencedRun, said: RunReport, *, context_bytes: int = 1_000) -> RunRow:
    return runs.report(c, held, said, at=AT + 5, context_bytes=context_bytes)


def test_run_report_changes_only_the_given_fields(c: sa.Connection, held: FencedRun) -> None:
    report(c, held, RunReport(progress=40.0, message="reading", context={"folder": "in", "seen": 3}))
    row = report(c, held, RunReport(context={"seen": None, "page": 2}))
    assert (row.progress, row.status_message, row.context, row.updated_at) == (
        40.0,
        "reading",
        {"folder": "in", "page": 2},
        AT + 5,
    )


def test_hub_computes_progress_itself_when_the_number_of_units_is_known(
    c: sa.Connection, held: FencedRun
) -> None:
    report(c, held, RunReport(progress=90.0))
    runs.note_progress(c, held, 4, AT)
    plan(c, held, "a.txt")
    units.settle_unit(c, held, "a.txt", AT)
    assert report(c, held, RunReport(progress=90.0)).progress == 25.0


def test_too_large_context_is_refused_as_a_whole(c: sa.Connection, held: FencedRun) -> None:
    report(c, held, RunReport(context={"a": "x" * 50}), context_bytes=100)
    with pytest.raises(CodedError, check=coded(ErrorCode.TOO_LARGE), match="run_context_bytes") as caught:
        report(c, held, RunReport(context={"b": "x" * 50}), context_bytes=100)
    assert (caught.value.code, runs.get_run(c, held.id).context) == (ErrorCode.TOO_LARGE, {"a": "x" * 50})


def test_finished_run_has_a_result_summary(c: sa.Connection, held: FencedRun) -> None:
    runs.note_progress(c, held, 2, AT)
    plan(c, held, "a.txt", of=calls("c-1", "c-2"))
    answer(c, held, "c-1")
    answer(c, held, "c-2")
    units.settle_unit(c, held, "a.txt", AT)
    run_moves.move(c, held, RunEvent.FINISHED, at=AT, actor="hub", outcome=RunOutcome.SUCCESS)
    row = runs.get_run(c, held.id)
    assert row.result == {
        "outcome": "success",
        "units": {"total": 2, "done": 1, "skipped": 0, "failed": 0},
        "items": {"created": 2, "updated": 0, "known": 0, "by_table": {"tasks": 2}},
        "errors": 0,
    }
    assert row.progress == 100.0


def test_failed_run_has_an_error_result_and_an_unbegun_run_none(
    c: sa.Connection,
) -> None:
    failed = make_run(c, "run-1", state=RunState.FAILED)
    assert failed.result is not None
    assert (failed.result["outcome"], failed.progress) == ("error", 0.0)
    assert make_run(c, "run-2", state=RunState.CANCELLED).result is None
    assert runs.get_run(c, RunId("run-1")).result == failed.result


# --- recovery ---


@pytest.mark.parametrize("state", [RunState.PREPARING, RunState.RUNNING])
def test_run_held_by_a_dead_hub_is_queued_again(c: sa.Connection, state: RunState) -> None:
    run = make_run(c, state=state)
    assert run_moves.recover(c, boot_id=NEXT_BOOT, at=AT + 1) == Recovered(requeued=(run.id,))
    row = runs.get_run(c, run.id)
    assert (row.state, row.reason, row.crash_count) == (RunState.QUEUED, "hub_restart", 1)
    agent = agents.get_agent(c, run.agent_id)
    assert (agent.runs_waiting, agent.runs_executing) == (1, 0)


def test_recovery_leaves_own_runs_and_waiting_runs_unchanged(c: sa.Connection) -> None:
    mine = running(c)
    make_run(c, "run-2", agent=make_agent(c, "second", device="desktop"))
    assert (run_moves.recover(c, boot_id=BOOT, at=AT), runs.get_run(c, mine.id).held) == (Recovered(), mine)


def test_run_with_a_requested_cancellation_is_cancelled_on_recovery(c: sa.Connection, run: RunRow) -> None:
    run_pauses.request_cancel(c, run.id, "not needed", AT)
    assert run_moves.recover(c, boot_id=NEXT_BOOT, at=AT) == Recovered(cancelled=(run.id,))
    assert runs.get_run(c, run.id).reason == "not needed"


def test_recovery_of_a_run_clears_a_deadline_passed_during_the_downtime(
    c: sa.Connection, run: RunRow
) -> None:
    assert run.deadline_at is not None
    assert run_moves.recover(c, boot_id=NEXT_BOOT, at=run.deadline_at + 1) == Recovered(requeued=(run.id,))
    assert runs.get_run(c, run.id).deadline_at is None


def lease(c: sa.Connection, run_id: str, expires_at: int) -> None:
    c.execute(sa.update(run_table).where(run_table.c.id == run_id).values(lease_expires_at=expires_at))


def test_recovery_on_a_shared_database_takes_over_runs_with_an_expired_lease(c: sa.Connection) -> None:
    held = make_run(c, state=RunState.RUNNING)
    lease(c, held.id, 2**52)
    assert run_moves.recover(c, boot_id=NEXT_BOOT, at=AT, is_alone=False) == Recovered()
    lease(c, held.id, 1)
    assert run_moves.recover(c, boot_id=NEXT_BOOT, at=AT, is_alone=False) == Recovered(requeued=(held.id,))


def test_recovery_on_a_shared_database_requeues_runs_of_a_dead_boot(c: sa.Connection) -> None:
    held = make_run(c, state=RunState.RUNNING)
    lease(c, held.id, 2**52)
    taken = run_moves.recover(c, boot_id=NEXT_BOOT, at=AT, is_alone=False, dead=[BOOT])
    assert taken == Recovered(requeued=(held.id,))


def test_recovery_leaves_runs_of_a_node_whose_lease_is_renewed(c: sa.Connection) -> None:
    held = make_run(c, state=RunState.RUNNING)
    lease(c, held.id, 1)
    leases.beat(c, NodeId("node-1"), BOOT, ttl_ms=30_000)
    assert run_moves.recover(c, boot_id=NEXT_BOOT, at=AT, is_alone=False) == Recovered()
    leases.beat(c, NodeId("node-1"), BootId("the node's next boot"), ttl_ms=30_000)
    assert run_moves.recover(c, boot_id=NEXT_BOOT, at=AT, is_alone=False) == Recovered(requeued=(held.id,))


def test_hand_over_requeues_runs_of_a_moved_device_without_counting_a_crash(
    c: sa.Connection, held: FencedRun
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


def test_hand_over_cancels_a_run_with_a_requested_cancellation(c: sa.Connection, run: RunRow) -> None:
    run_pauses.request_cancel(c, run.id, "not needed", AT)
    assert run.device_id is not None
    assert run_moves.hand_over(c, [run.device_id], boot_id=NEXT_BOOT, at=AT) == Recovered(cancelled=(run.id,))


def crash(c: sa.Connection, n: int) -> Recovered:
    return run_moves.recover(c, boot_id=type(BOOT)(f"boot-after-{n}"), at=AT)


def run_on(c: sa.Connection) -> FencedRun:
    return run_moves.move(c, some(claim(c)).held, RunEvent.ACKNOWLEDGED, at=AT, actor="device")


def test_run_crashing_the_hub_repeatedly_without_progress_fails(c: sa.Connection) -> None:
    run = make_run(c)
    for n in range(CRASH_LIMIT - 1):
        run_on(c)
        assert crash(c, n).requeued == (run.id,)
    run_on(c)
    assert (crash(c, CRASH_LIMIT).failed, runs.get_run(c, run.id).reason) == ((run.id,), "crash_loop")


def test_run_whose_task_breaks_repeatedly_fails_with_a_hub_error(c: sa.Connection) -> None:
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
def test_run_with_progress_between_crashes_never_fails_by_crash_limit(c: sa.Connection, step: str) -> None:
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


def test_repeated_plan_does_not_count_as_progress_after_crashes(c: sa.Connection) -> None:
    make_run(c)
    held = run_on(c)
    plan(c, held, of=calls("call-1"))
    crash(c, 0)
    held = run_on(c)
    plan(c, held, of=calls("call-1"))
    assert runs.get_run(c, held.id).crash_count == 1


FOLLOW_UP = FollowUp(RunId("run-2"), "f", {"prompt": "new"})
# Changes of a running run before its end, its last move, and whether another run follows it.
FOLLOWED: dict[str, tuple[dict[str, int], RunEvent, bool]] = {
    "completed": ({"units_done": 1}, RunEvent.FINISHED, True),
    "failed": ({"units_done": 1}, RunEvent.FAILED, True),
    "settled nothing": ({"units_done": 0, "units_failed": 3}, RunEvent.FINISHED, False),
    "to be cancelled": ({"units_done": 1, "cancel_requested_at": AT}, RunEvent.FINISHED, False),
    "cancelled": ({"units_done": 1}, RunEvent.CANCELLED, False),
    "returned to the queue": ({"units_done": 1}, RunEvent.SENT_BACK, False),
}


@each("case", FOLLOWED)
def test_end_of_a_run_queues_the_following_run(c: sa.Connection, case: str) -> None:
    changes, event, is_followed = FOLLOWED[case]
    with undone(c):
        held = running(c)
        c.execute(sa.update(run_table).values(changes))
        outcome = outcome_for(event)
        run_moves.move(c, held, event, at=AT + 5, actor="hub", outcome=outcome, follow_up=FOLLOW_UP)
        ended, found = runs.get_run(c, held.id), runs.find_run(c, FOLLOW_UP.id)
        assert ((ended.result or {}).get("followed_by") == FOLLOW_UP.id, found is not None) == (
            is_followed,
            is_followed,
        )
        if found is not None:
            assert (found.state, found.fire_key, found.fire_at) == ("QUEUED", "more:run-1", ended.fire_at)
            assert (found.settings, found.schedule_id) == ({"prompt": "new"}, ended.schedule_id)


def test_run_of_a_removed_agent_ends_and_is_not_followed(c: sa.Connection) -> None:
    held = running(c)
    c.execute(sa.update(run_table).values(units_done=1))
    c.execute(sa.update(agent_table).values(deleted_at=AT))
    ended = RunOutcome.SUCCESS
    run_moves.move(c, held, RunEvent.FINISHED, at=AT, actor="hub", outcome=ended, follow_up=FOLLOW_UP)
    assert runs.find_run(c, FOLLOW_UP.id) is None
