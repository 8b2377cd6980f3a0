"""Rows of runs as the views that operators get. Pure."""

from collections.abc import Sequence
from datetime import datetime

from hub.api.views.view import MoveView, RunDetail, RunErrorView, RunView, UnitView
from hub.clock import from_epoch_ms
from hub.operations.moments import moment
from hub.runs.budget import NANOS
from hub.runs.decisions import MissedFires, told_missed
from hub.runs.reasons import told_errors, told_reason
from hub.runs.wishes import TASK
from protocol.lifecycles import RUN, RunOutcome, UnitState
from protocol.trace import trace_id_of
from storage.runs.outbox import UnitRow
from storage.runs.runs import RunError, RunMove, RunRow

SETTLED = frozenset({UnitState.DONE, UnitState.SKIPPED, UnitState.FAILED})


def run_view(
    row: RunRow,
    *,
    device: str,
    waiting_for: str | None,
    is_pausing: bool,
    missed: Sequence[MissedFires],
) -> RunView:
    """A run in one line."""
    settled = row.units_done + row.units_skipped + row.units_failed
    return RunView(
        id=row.id,
        agent=row.agent_name,
        device=device,
        trigger=row.trigger_kind,
        state=row.state,
        outcome=row.outcome,
        reason=row.pause_reason or row.reason,
        because=told_reason(row.reason, within_s=_within_s(row)) or _told_outcome(row),
        waiting_for=waiting_for,
        is_pausing=is_pausing,
        missed=sum(one.fires for one in missed if one.decision == "coalesced"),
        missed_because=told_missed(missed, device),
        attempt=row.attempt,
        units_total=max(row.units_total, settled),
        units_done=row.units_done,
        units_skipped=row.units_skipped,
        units_failed=row.units_failed,
        units_left=max(0, row.units_total - settled) if RUN.is_final(row.state) else 0,
        items_created=row.items_created,
        error_count=row.error_count,
        model_requests=row.usage.requests,
        prompt_tokens=row.usage.prompt_tokens,
        completion_tokens=row.usage.completion_tokens,
        usd=row.usage.cost_nanos / NANOS,
        items_updated=row.items_updated,
        items_known=row.items_known,
        task_id=_task_id(row),
        progress=row.progress,
        message=row.status_message,
        fire_at=from_epoch_ms(row.fire_at),
        created_at=from_epoch_ms(row.created_at),
        started_at=moment(row.started_at),
        completed_at=moment(row.completed_at),
    )


def run_detail(
    told: RunView,
    row: RunRow,
    *,
    as_of: datetime,
    units: Sequence[UnitView],
    errors: Sequence[RunErrorView],
    history: Sequence[MoveView],
) -> RunDetail:
    """All about a run, *told* being its one line."""
    return RunDetail(
        **dict(told),
        as_of=as_of,
        priority=row.priority,
        max_attempts=row.max_attempts,
        dispatches=row.dispatch_count,
        crashes=row.crash_count,
        rerun_of=row.rerun_of,
        trace_id=trace_id_of(row.id),
        cancel_requested_at=moment(row.cancel_requested_at),
        cancel_reason=row.cancel_reason,
        needs=row.needs,
        locks=row.locks,
        parameters=row.parameters,
        context=row.context,
        result=row.result,
        units=tuple(units),
        errors=tuple(errors),
        history=tuple(history),
    )


def _task_id(row: RunRow) -> str | None:
    told = row.context.get(TASK)
    return told if isinstance(told, str) else None


def _told_outcome(row: RunRow) -> str | None:
    """Say why a run that came to its end is no success."""
    if row.outcome not in (RunOutcome.PARTIAL, RunOutcome.ERROR):
        return None
    return told_errors(row.errors, failed=row.units_failed)


def _within_s(row: RunRow) -> float | None:
    """How long after its time it could have started."""
    return None if row.start_deadline_at is None else (row.start_deadline_at - row.fire_at) / 1_000


def unit_view(row: UnitRow) -> UnitView:
    """One file of a run."""
    return UnitView(
        path=row.unit_key,
        state=row.state,
        size_bytes=row.size_bytes,
        attempts=row.attempts,
        items=row.calls_settled,
        items_planned=row.calls_planned,
        read_at=moment(row.read_at),
        planned_at=moment(row.planned_at),
        settled_at=from_epoch_ms(row.updated_at) if row.state in SETTLED else None,
        error=row.error,
        notes=row.notes or {},
    )


def run_error_view(error: RunError) -> RunErrorView:
    """One line of a run's error log."""
    return RunErrorView(
        path=error.unit_key, code=error.code, message=error.message, at=from_epoch_ms(error.at)
    )


def move_view(move: RunMove, row: RunRow) -> MoveView:
    """One move of the run *row*."""
    return MoveView(
        at=from_epoch_ms(move.at),
        before=move.old_state,
        after=move.new_state,
        actor=move.actor,
        reason=move.reason,
        because=told_reason(move.reason, within_s=_within_s(row)),
    )
