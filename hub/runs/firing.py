"""Decisions on a schedule's due fires, and its next fire. Pure functions.

``storage.schedules.fires`` carries the decision out, and makes the final choice if other runs are in the way.
"""

import msgspec

from hub.clock import IdFactory
from hub.runs.order import RunParameters
from hub.schedules.missed import plan_fires, walk
from hub.schedules.trigger import Trigger, offset_ms, trigger_of
from protocol.ids import RunId
from storage.schedules.fires import Covered, FireDecision, FreshRun
from storage.schedules.schedules import DueSchedule, NextFire, Passed, ScheduleRow


def trigger_for(schedule: ScheduleRow) -> Trigger:
    """Return the schedule's trigger.

    Raises:
        BadSchedule: this release cannot parse the row, or this machine lacks the time zone.
    """
    return trigger_of(
        kind=schedule.kind,
        expr=schedule.expr,
        every_ms=schedule.every_ms,
        at_ms=schedule.at_ms,
        tz=schedule.tz,
        anchor_ms=schedule.created_at,  # unchanged by edits, so that an edit shifts no fire
    )


def offset_of(schedule: ScheduleRow, trigger: Trigger) -> int:
    """Return the delay in ms between a fire and its decision; constant, below half a period."""
    if schedule.jitter_ms == 0:
        return 0
    return offset_ms(schedule.id, min(schedule.jitter_ms, (trigger.period_ms() - 1) // 2))


def next_fire(schedule: ScheduleRow) -> NextFire:
    """Return the first fire that is not decided yet.

    Raises:
        BadSchedule: see ``trigger_for``.
    """
    trigger = trigger_for(schedule)
    fire_at = trigger.next_after(schedule.cursor_at)
    due_at = None if fire_at is None else fire_at + offset_of(schedule, trigger)
    return NextFire(schedule.id, schedule.rev, fire_at, due_at)


def passed_over(schedule: ScheduleRow, at: int) -> Passed | None:
    """Return the undecided fires up to *at*, or None if every fire is decided.

    Raises:
        BadSchedule: see ``trigger_for``.
    """
    missed = walk(trigger_for(schedule), schedule.cursor_at, at)
    if missed is None:
        return None
    return Passed(schedule.cursor_at, missed.oldest, missed.newest, missed.count)


def decide(due: DueSchedule, parameters: RunParameters | None, at: int, ids: IdFactory) -> FireDecision:
    """Decide on every fire that is due at *at*.

    Args:
        parameters: parameters of the runs to create; None for a slot, which creates none.

    Raises:
        BadSchedule: see ``trigger_for``.
    """
    schedule = due.schedule
    trigger = trigger_for(schedule)
    offset = offset_of(schedule, trigger)
    until = at - offset
    missed = walk(trigger, schedule.cursor_at, until)
    fresh: tuple[FreshRun, ...] = ()
    covered: tuple[Covered, ...] = ()
    is_catchup = False
    if missed is None:  # another release planned the fire by other rules; no fire is due
        cursor_at, next_at = schedule.cursor_at, trigger.next_after(schedule.cursor_at)
    else:
        cursor_at, next_at = missed.newest, missed.next_at
        plan = plan_fires(
            missed,
            coalesce=schedule.coalesce,
            window_ms=schedule.catchup_window_ms,
            max_catchup=schedule.max_catchup,
            now_ms=until,
        )
        is_catchup = plan.is_catchup
        fresh = tuple(FreshRun(RunId(ids.fresh()), fire_at) for fire_at in plan.runs)
        covered = tuple(
            Covered(part.first_at, part.fire_at, part.count, part.decision, part.of) for part in plan.covered
        )
    return FireDecision(
        due=due,
        cursor_at=cursor_at,
        next_fire_at=next_at,
        due_at=None if next_at is None else next_at + offset,
        runs=fresh,
        covered=covered,
        trigger_kind="catchup" if is_catchup else "schedule",
        config_fingerprint="" if parameters is None else parameters.config_fingerprint,
        parameters={} if parameters is None else msgspec.to_builtins(parameters),
    )
