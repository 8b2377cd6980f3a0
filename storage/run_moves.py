"""Runs made and moved: each move one compare-and-set, one row of history, one change of counters."""

from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.errors import HubError, IllegalTransition
from protocol.ids import AgentId, DeviceId, RunId
from protocol.lifecycles import (
    EXECUTING_RUN_STATES,
    FINAL_RUN_STATES,
    LIVE_RUN_STATES,
    PAUSE_REASONS,
    RUN,
    CallState,
    PauseReason,
    RunEvent,
    RunOutcome,
    RunState,
    UnitState,
)
from storage import agents, schema
from storage.columns import Int, spelled
from storage.run_rows import HeldRun, RunMove, RunRow, StaleRun, UnknownRun, find_run, get_run
from storage.schema import run_calls, run_state_history, run_units, runs


class AttemptsSpent(IllegalTransition):
    """The run was tried as often as it may be; nothing was written."""


class OpenWork(IllegalTransition):
    """A run cannot be finished yet; nothing was written.

    Attributes:
        units: how many are not settled.
        calls: how many are not answered.
    """

    def __init__(self, run_id: RunId, units: int, calls: int) -> None:
        super().__init__(f"run {run_id} has {units} units and {calls} calls that are not settled")
        self.units = units
        self.calls = calls


RUN_BY_FIRE = sa.select(runs.c.id).where(
    runs.c.agent_id == sa.bindparam("agent"), runs.c.fire_key == sa.bindparam("fire")
)
COUNT_RUNS = (
    sa.update(schema.agent_states)
    .where(schema.agent_states.c.agent_id == sa.bindparam("agent"))
    .values(
        runs_waiting=schema.agent_states.c.runs_waiting + sa.bindparam("waiting"),
        runs_executing=schema.agent_states.c.runs_executing + sa.bindparam("executing"),
        last_activity_at=sa.bindparam("now"),
        updated_at=sa.bindparam("now"),
    )
)


def create_run(
    c: sa.Connection,
    *,
    id: RunId,
    agent: agents.AgentRow,
    fire_key: str,
    at: int,
    config_fingerprint: str,
    parameters: dict[str, Any] | None = None,
    trigger_kind: str = "manual",
    actor: str = "hub",
    eligible_at: int | None = None,
    deadline_at: int | None = None,
    max_attempts: int = 5,
) -> RunRow:
    """A run that waits to be claimed; the one there is, if this agent fired by this key before.

    Args:
        fire_key: what set it off; the same key never sets off two runs of an agent.
        eligible_at: not to be claimed before; *at* by default.

    Raises:
        UnknownAgent: there is no such agent, or it was archived; nothing was written.
    """
    known = c.execute(RUN_BY_FIRE, {"agent": agent.id, "fire": fire_key}).scalar_one_or_none()
    if known is not None:
        return get_run(c, RunId(known))
    if agents.get_agent(c, agent.id).archived_at is not None:
        raise agents.UnknownAgent(f"the agent {agent.name!r} was removed; declare it again")
    row = {
        "id": id,
        "agent_id": agent.id,
        "device_id": agent.device_id,
        "trigger_kind": trigger_kind,
        "fire_key": fire_key,
        "fire_at": at,
        "eligible_at": at if eligible_at is None else eligible_at,
        "deadline_at": deadline_at,
        "max_attempts": max_attempts,
        "config_rev": agent.config_rev,
        "config_fingerprint": config_fingerprint,
        "parameters": parameters or {},
        "created_at": at,
        "updated_at": at,
    }
    c.execute(sa.insert(runs), row)
    remember_move(c, id, agent.id, RunMove(1, None, RunState.QUEUED, 1, 0, None, actor, at))
    return get_run(c, id)


def remember_move(c: sa.Connection, run_id: RunId, agent_id: AgentId, made: RunMove) -> None:
    """The history row of a move, and the agent's counters with it."""
    c.execute(sa.insert(run_state_history), msgspec.structs.asdict(made) | {"run_id": run_id})
    waited, executed = _counted(made.old_state)
    waiting, executing = _counted(made.new_state)
    deltas = {"waiting": waiting - waited, "executing": executing - executed}
    if any(deltas.values()):
        c.execute(COUNT_RUNS, {"agent": agent_id, "now": made.at} | deltas)


def _counted(state: RunState | None) -> tuple[int, int]:
    """What a run in this state adds to its agent's runs_waiting and runs_executing."""
    executing = state in EXECUTING_RUN_STATES
    return int(state in LIVE_RUN_STATES and not executing), int(executing)


_keeps_lease = sa.bindparam("keeps_lease", type_=sa.Integer) == 1
MOVE = (
    sa.update(runs)
    .where(
        runs.c.id == sa.bindparam("run"),
        runs.c.state == sa.bindparam("before"),
        runs.c.fence == sa.bindparam("held"),
        runs.c.attempt + sa.bindparam("attempts") <= runs.c.max_attempts,
    )
    .values(
        state=sa.bindparam("after"),
        reason=sa.bindparam("why"),
        pause_reason=sa.bindparam("pause"),
        outcome=sa.bindparam("ends_as"),
        fence=runs.c.fence + sa.bindparam("fences"),
        attempt=runs.c.attempt + sa.bindparam("attempts"),
        crash_count=runs.c.crash_count + sa.bindparam("crashes"),
        dispatch_count=runs.c.dispatch_count + sa.bindparam("dispatches"),
        eligible_at=sa.func.coalesce(sa.bindparam("not_before", type_=Int), runs.c.eligible_at),
        lease_boot_id=sa.case((_keeps_lease, runs.c.lease_boot_id), else_=None),
        lease_expires_at=sa.case((_keeps_lease, runs.c.lease_expires_at), else_=None),
        cancel_requested_at=sa.func.coalesce(
            runs.c.cancel_requested_at, sa.bindparam("cancelled", type_=Int)
        ),
        started_at=sa.func.coalesce(runs.c.started_at, sa.bindparam("started", type_=Int)),
        completed_at=sa.bindparam("ended"),
        state_seq=runs.c.state_seq + 1,
        updated_at=sa.bindparam("now"),
    )
    .returning(
        runs.c.agent_id,
        runs.c.state_seq,
        runs.c.attempt,
        runs.c.fence,
        runs.c.cancel_requested_at,
        runs.c.cancel_reason,
    )
)
_open_calls = sa.select(sa.func.count()).where(
    run_calls.c.run_id == sa.bindparam("run"),
    sa.text(f"run_calls.state IN ({spelled((CallState.PLANNED, CallState.SENT))})"),
)
_open_units = sa.select(sa.func.count()).where(
    run_units.c.run_id == sa.bindparam("run"),
    sa.text(f"run_units.state IN ({spelled((UnitState.PENDING, UnitState.EXTRACTED))})"),
)
FINISH = MOVE.where(_open_calls.scalar_subquery() + _open_units.scalar_subquery() == 0)
OPEN_WORK = sa.select(_open_units.scalar_subquery(), _open_calls.scalar_subquery())


def move(
    c: sa.Connection,
    held: HeldRun,
    event: RunEvent,
    *,
    at: int,
    actor: str,
    reason: str | None = None,
    outcome: RunOutcome | None = None,
    eligible_at: int | None = None,
) -> HeldRun:
    """Move a run by *event*, remember the move, and count it; returns what to compare with next.

    A run that leaves execution loses its lease. A run that is failed or cancelled
    while it executes also gets a new fence. RETRIED counts an attempt, HUB_LOST a
    crash, being sent back to the queue before it ran a dispatch. A run that somebody
    wants cancelled does not wait: where the move leads to the queue or a pause, it is
    CANCELLED in the same transaction.

    Args:
        held: the run as the caller saw it last.
        outcome: of FINISHED, success or partial; FAILED is always ``error``.
        eligible_at: not to be claimed before; for a run that pauses, not to be resumed before.

    Raises:
        IllegalTransition: the table has no such move.
        OpenWork: FINISHED, while a unit or a call is not settled.
        AttemptsSpent: RETRIED, and it was the last attempt.
        StaleRun: the run has another state or fence by now.
        In each case nothing was written.
    """
    if event is RunEvent.DISPATCHED:
        raise ValueError("a run is dispatched by claim_run alone, which gives it its lease")
    after = RUN.after(held.state, event)
    executes = held.state in EXECUTING_RUN_STATES
    forced = executes and after in (RunState.FAILED, RunState.CANCELLED)
    change = {
        "run": held.id,
        "before": held.state,
        "held": held.fence,
        "after": after,
        "why": reason,
        "pause": PAUSE_REASONS[event] if after is RunState.PAUSED else None,
        "ends_as": _outcome(after, outcome),
        "fences": int(forced),
        "attempts": int(event is RunEvent.RETRIED),
        "crashes": int(event is RunEvent.HUB_LOST),
        "dispatches": int(_was_sent_back(held.state, event)),
        "not_before": eligible_at,
        "keeps_lease": int(after in EXECUTING_RUN_STATES),
        "cancelled": at if after is RunState.CANCELLED else None,
        "started": at if after is RunState.RUNNING else None,
        "ended": at if after in FINAL_RUN_STATES else None,
        "now": at,
    }
    moved = c.execute(FINISH if event is RunEvent.FINISHED else MOVE, change).one_or_none()
    if moved is None:
        raise _why_not(c, held, event)
    made = RunMove(moved.state_seq, held.state, after, moved.attempt, moved.fence, reason, actor, at)
    remember_move(c, held.id, moved.agent_id, made)
    waiting = HeldRun(held.id, after, moved.fence)
    if moved.cancel_requested_at is not None and after in (RunState.QUEUED, RunState.PAUSED):
        # Asked for while the run was on its way out of execution: it may not start again.
        return move(c, waiting, RunEvent.CANCELLED, at=at, actor=actor, reason=moved.cancel_reason)
    return waiting


def _outcome(after: RunState, outcome: RunOutcome | None) -> RunOutcome | None:
    if after is RunState.COMPLETED and outcome not in (RunOutcome.SUCCESS, RunOutcome.PARTIAL):
        raise ValueError(f"a run is completed with success or partial, not {outcome}; else it FAILED")
    if after is RunState.FAILED:
        return RunOutcome.ERROR
    return outcome if after is RunState.COMPLETED else None


def _was_sent_back(before: RunState, event: RunEvent) -> bool:
    """T4: it was dispatched and never ran. A hub that died is counted as a crash instead."""
    sent_back = (RunEvent.SENT_BACK, RunEvent.DEVICE_LOST, RunEvent.DRAINED)
    return before is RunState.PREPARING and event in sent_back


def _why_not(c: sa.Connection, held: HeldRun, event: RunEvent) -> HubError:
    """Why a move changed no row."""
    run = find_run(c, held.id)
    if run is None:
        return UnknownRun(f"there is no run {held.id}")
    if run.held != held:
        return StaleRun(
            f"run {held.id} is {run.state} under fence {run.fence}, no longer {held.state} under {held.fence}"
        )
    if event is RunEvent.FINISHED:
        units, calls = c.execute(OPEN_WORK, {"run": held.id}).one()
        return OpenWork(held.id, units, calls)
    return AttemptsSpent(f"run {held.id} was tried {run.attempt} times, as often as it may be")


REQUEST_CANCEL = (
    sa.update(runs)
    .where(runs.c.id == sa.bindparam("run"))
    .values(
        cancel_requested_at=sa.func.coalesce(runs.c.cancel_requested_at, sa.bindparam("now", type_=Int)),
        cancel_reason=sa.func.coalesce(runs.c.cancel_reason, sa.bindparam("why", type_=sa.Text)),
        updated_at=sa.bindparam("now"),
    )
)


def request_cancel(
    c: sa.Connection, run_id: RunId, reason: str, at: int, *, actor: str = "operator"
) -> RunRow:
    """Somebody wants the run to end. One that waits is CANCELLED at once; one that executes is marked.

    Its holder sees the mark and moves it; a run that has ended stays as it is.

    Raises:
        UnknownRun: there is none.
    """
    run = get_run(c, run_id)
    if run.state in FINAL_RUN_STATES:
        return run
    c.execute(REQUEST_CANCEL, {"run": run_id, "now": at, "why": reason})
    if run.state not in EXECUTING_RUN_STATES:
        move(c, run.held, RunEvent.CANCELLED, at=at, actor=actor, reason=reason)
    return get_run(c, run_id)


PAUSED_FOR = (
    sa.select(runs.c.id, runs.c.state, runs.c.fence)
    .where(
        runs.c.state == sa.literal_column("'PAUSED'", runs.c.state.type),
        runs.c.pause_reason == sa.bindparam("pause"),
    )
    .order_by(runs.c.id)
)


AWAITED_DEVICES = (
    sa.select(runs.c.device_id)
    .where(
        runs.c.state == sa.literal_column("'PAUSED'", runs.c.state.type),
        runs.c.pause_reason == PauseReason.DEVICE_OFFLINE,
        runs.c.device_id.is_not(None),
    )
    .distinct()
)


def awaited_devices(c: sa.Connection) -> set[DeviceId]:
    """The devices that paused runs wait for."""
    return set(c.execute(AWAITED_DEVICES).scalars())


def paused_for(
    c: sa.Connection,
    pause_reason: PauseReason,
    device_id: DeviceId | None = None,
    *,
    due_at: int | None = None,
) -> list[HeldRun]:
    """Runs that pause for this reason, oldest id first.

    Args:
        device_id: of this device alone.
        due_at: those alone that were not told to wait longer than that (``eligible_at``).
    """
    query = PAUSED_FOR
    if device_id is not None:
        query = query.where(runs.c.device_id == device_id)
    if due_at is not None:
        query = query.where(runs.c.eligible_at <= due_at)
    return [HeldRun(*row) for row in c.execute(query, {"pause": pause_reason})]
