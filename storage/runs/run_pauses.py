"""Cancel and pause requests for runs by people, agents and devices."""

import sqlalchemy as sa

from protocol.errors import AtAnotherNode, ErrorCode, IllegalTransition
from protocol.ids import AgentId, RunId
from protocol.lifecycles import (
    EXECUTING_RUN_STATES,
    FINAL_RUN_STATES,
    RESUMED_BY,
    PauseReason,
    RunEvent,
    RunState,
)
from storage import schema
from storage.agents import exhaustion
from storage.agents.agents import roams
from storage.executing_runs import FencedRun
from storage.kernel.columns import Int, isolating_broken_row
from storage.runs.run_moves import move
from storage.runs.runs import RunRow, get_run
from storage.schema import LIVE, run_calls, runs

# the first, for the index of live runs
_WAITING = sa.text(f"runs.{LIVE}"), sa.text("runs.state IN ('QUEUED', 'PAUSED')")


def request_cancel(
    c: sa.Connection, run_id: RunId, reason: str, at: int, *, actor: str = "operator"
) -> RunRow:
    """Request the end of a run: a waiting run is CANCELLED at once, an executing one is marked.

    Its holder sees the mark and moves it. An ended run is left unchanged. The first reason counts.

    Raises:
        CodedError (UNKNOWN_RUN): no run has the id.
    """
    run = _locked(c, run_id)
    if run.state in FINAL_RUN_STATES:
        return run
    c.execute(
        sa.update(runs)
        .where(runs.c.id == run_id)
        .values(
            cancel_requested_at=sa.func.coalesce(runs.c.cancel_requested_at, sa.literal(at, Int)),
            cancel_reason=sa.func.coalesce(runs.c.cancel_reason, sa.literal(reason, sa.Text)),
            updated_at=at,
        )
    )
    if run.state not in EXECUTING_RUN_STATES:
        move(c, run.held, RunEvent.CANCELLED, at=at, actor=actor, reason=reason)
    return get_run(c, run_id)


def _locked(c: sa.Connection, run_id: RunId) -> RunRow:
    """Lock the run until the transaction ends, against a concurrent claim, and return it."""
    c.execute(sa.select(runs.c.id).where(runs.c.id == run_id).with_for_update())
    return get_run(c, run_id)


def cancel_orphans(c: sa.Connection, reason: str, at: int, *, actor: str) -> list[RunId]:
    """Cancel waiting runs of archived agents, which would wait for ever. Return their ids."""
    query = (
        sa.select(runs.c.id)
        .join_from(runs, schema.agents)
        .where(schema.agents.c.deleted_at.is_not(None), *_WAITING)
    )
    orphans = [RunId(run_id) for run_id in c.execute(query).scalars()]
    for run_id in orphans:
        request_cancel(c, run_id, reason, at, actor=actor)
    return orphans


def pause_run(c: sa.Connection, run_id: RunId, at: int, *, actor: str) -> RunRow:
    """Pause a waiting run until a person resumes it: PAUSED(user), whatever it waited for.

    Raises:
        CodedError (UNKNOWN_RUN): no run has the id.
        AtAnotherNode: only its holder can pause it; nothing was written.
        IllegalTransition: it has ended; nothing was written.
    """
    run = _locked(c, run_id)
    held = run.held
    if run.pause_reason is PauseReason.USER:
        return run
    if run.state in EXECUTING_RUN_STATES:
        assert run.lease_boot_id is not None, "a run executes in a process"
        message = f"run {run_id} executes at another node; ask there, or cancel it"
        raise AtAnotherNode(ErrorCode.ILLEGAL_TRANSITION, message, run.lease_boot_id)
    if run.pause_reason is not None:  # the earlier pause reason must not resume it
        held = move(c, held, RESUMED_BY[run.pause_reason], at=at, actor=actor, reason="user")
    move(c, held, RunEvent.USER_PAUSED, at=at, actor=actor)
    return get_run(c, run_id)


def pause_early(c: sa.Connection, held: FencedRun, at: int, *, actor: str, reason: str | None) -> FencedRun:
    """Pause a claimed run that has not started yet, by way of the queue; called by its holder.

    A run with a requested cancellation is CANCELLED.

    Raises:
        StaleRun, IllegalTransition: see ``move``; nothing was written.
    """
    waiting = move(c, held, RunEvent.SENT_BACK, at=at, actor=actor, reason=reason)
    if waiting.state is not RunState.QUEUED:
        return waiting
    return move(c, waiting, RunEvent.USER_PAUSED, at=at, actor=actor, reason=reason)


def resume_run(c: sa.Connection, run_id: RunId, at: int, *, actor: str) -> RunRow:
    """Resume a run that a person paused: QUEUED, to be claimed again.

    Raises:
        CodedError (UNKNOWN_RUN): no run has the id.
        IllegalTransition: no person paused it; nothing was written.
    """
    run = _locked(c, run_id)
    if run.pause_reason is not PauseReason.USER:
        state = f"it is {run.state}" + (f" ({run.pause_reason})" if run.pause_reason else "")
        raise IllegalTransition(f"run {run_id} was not paused by anybody: {state}")
    move(c, run.held, RunEvent.USER_RESUMED, at=at, actor=actor)
    return get_run(c, run_id)


def exhaust_run(
    c: sa.Connection,
    held: FencedRun,
    *,
    agent_id: AgentId,
    cause: str,
    retry_after_ms: int | None,
    at: int,
    reason: str | None = None,
    actor: str = "hub",
) -> FencedRun:
    """Pause a run whose model refused for lack of quota, and mark its agent as exhausted.

    Args:
        cause: ``rate_limit`` or ``billing``.
        retry_after_ms: delay that the provider named.

    Raises:
        StaleRun, IllegalTransition: see ``move``; nothing was written.
    """
    after = move(c, held, RunEvent.EXHAUSTED, at=at, actor=actor, reason=reason)
    exhaustion.exhaust(c, agent_id, cause=cause, retry_after_ms=retry_after_ms, at=at, actor=actor)
    return after


_moved = sa.and_(
    *_WAITING,
    runs.c.device_id.is_distinct_from(schema.agents.c.device_id),
    schema.agents.c.deleted_at.is_(None),
    sa.not_(roams(schema.agents)),
)


def follow_agents(c: sa.Connection, at: int, *, actor: str) -> list[RunId]:
    """Move waiting runs to the current device of their agent. Return their ids.

    A run that has sent items is cancelled instead: only its old device could say whether it has them.
    """
    left = c.execute(
        sa.select(
            runs.c.id,
            schema.agents.c.device_id,
            sa.exists()
            .where(run_calls.c.run_id == runs.c.id, sa.text("run_calls.state = 'SENT'"))
            .label("has_sent"),
        )
        .join_from(runs, schema.agents)
        .where(_moved)
    ).all()
    followed: list[RunId] = []
    for row in left:
        with isolating_broken_row(c):
            if row.has_sent:
                request_cancel(c, RunId(row.id), "the agent works on another device now", at, actor=actor)
            else:
                c.execute(
                    sa.update(runs).where(runs.c.id == row.id).values(device_id=row.device_id, updated_at=at)
                )
            followed.append(RunId(row.id))
    return followed
