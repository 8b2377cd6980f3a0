"""Rows of schedules and of what became of their fires, as the views that operators get. Pure."""

from collections.abc import Sequence

from hub.api.views.view import BackfillView, DecisionView, FireView, ScheduleView
from hub.clock import from_epoch_ms
from hub.runs.backfill import Backfilled
from hub.runs.decisions import told_decision, told_pause
from storage.schedules import schedules
from storage.schedules.fires import FireRow
from storage.schedules.schedules import ScheduleRow


def schedule_view(row: ScheduleRow, *, offset_ms: int, next_fires: Sequence[FireView]) -> ScheduleView:
    """A schedule with the fires that are to come, each decided *offset_ms* after its time."""
    reason = row.paused_reason
    at = None if row.at_ms is None else from_epoch_ms(row.at_ms)
    return ScheduleView(
        id=row.id,
        kind=row.kind,
        expr=row.expr,
        every_s=_seconds(row.every_ms),
        at=at,
        said=schedules.told(row.expr, row.every_ms, row.at_ms),
        timezone=row.tz,
        overlap=row.overlap,
        catch_up="none" if row.catchup_window_ms == 0 else row.coalesce,
        catch_up_window_s=_seconds(row.catchup_window_ms or None),
        max_catch_up=row.max_catchup,
        jitter_s=row.jitter_ms / 1_000,
        offset_s=offset_ms / 1_000,
        start_deadline_s=_seconds(row.start_deadline_ms),
        run_timeout_s=row.run_timeout_ms / 1_000,
        max_attempts=row.max_attempts,
        pause_after_failures=row.pause_after_failures,
        consecutive_failures=row.consecutive_failures,
        enabled=row.enabled,
        paused_reason=reason,
        paused_because=None if reason is None else told_pause(reason, row.consecutive_failures, at=at),
        next_fires=tuple(next_fires),
    )


def decision_view(row: FireRow, device: str) -> DecisionView:
    """What became of one fire, or of several in a row that were decided alike."""
    return DecisionView(
        first_at=from_epoch_ms(row.first_at),
        fire_at=from_epoch_ms(row.fire_at),
        fires=row.fires,
        schedule=row.schedule_id,
        decision=row.decision,
        reason=row.reason,
        said=told_decision(row.decision, row.reason, fires=row.fires, device=device),
        run=row.run_id,
        decided_at=from_epoch_ms(row.decided_at),
    )


def backfill_view(agent: str, done: Backfilled, *, dry_run: bool) -> BackfillView:
    """What a backfill did, or would do."""
    return BackfillView(
        agent=agent,
        dry_run=dry_run,
        first_at=from_epoch_ms(done.fires[0]) if done.fires else None,
        last_at=from_epoch_ms(done.fires[-1]) if done.fires else None,
        fires=len(done.fires),
        wanted=len(done.wanted),
        runs=tuple(done.runs),
    )


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1_000
