"""Decisions on a schedule's due fires, and its next fire. Pure functions.

``storage.schedules.fires`` carries the decision out, and makes the final choice if other runs are in the way.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final

import msgspec

from hub.clock import IdFactory
from hub.runs.run_order import RunParameters
from hub.schedules.missed import MOST_WALKED, plan_fires, walk
from hub.schedules.trigger import Trigger, offset_ms, trigger_of
from protocol.errors import ErrorCode, HubError
from protocol.ids import RunId
from storage.schedules.fire_rows import BackfillPlan, BackfillSight, FireRow, FreshRun
from storage.schedules.fires import Covered, FireDecision
from storage.schedules.schedule_rows import DueSchedule, ScheduleRow
from storage.schedules.schedules import NextFire, Passed


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


_HAD_A_RUN: Final = frozenset({"run", "coalesced", "deferred", "woken"})


class TooManyFires(HubError):
    """The range has more fires than one backfill may have; nothing was written."""

    code = ErrorCode.BAD_PARAMS


class Backfilled(msgspec.Struct, frozen=True):
    """Result of a backfill or of its preview.

    Holds all fires of the range in epoch milliseconds, and among them the fires that get a run.

    Attributes:
        runs: ids of the created runs, in the order of their fires; empty in a preview.
    """

    fires: tuple[int, ...]
    missing: tuple[int, ...]
    runs: tuple[RunId, ...] = ()


def fires_between(schedule: ScheduleRow, first_at: int, last_at: int) -> tuple[int, ...]:
    """Return the fires from *first_at* to *last_at* that the schedule has already decided on.

    Later fires are left to the schedule itself.

    Raises:
        BadSchedule: the schedule's row cannot be parsed.
        TooManyFires: the range has more than a thousand fires.
    """
    missed = walk(trigger_for(schedule), first_at - 1, min(last_at, schedule.cursor_at))
    if missed is None:
        return ()
    if missed.is_capped:
        raise TooManyFires(f"the range has more than {MOST_WALKED} fires; ask for a shorter one")
    return missed.fires


def missing_fires(fires: Sequence[int], sight: BackfillSight) -> tuple[int, ...]:
    """Return the fires that had no run and were not merged into another run. *fires* are ascending."""
    had = set(sight.runs)
    for row in sight.rows:
        if row.decision in _HAD_A_RUN:
            had.update(_within(fires, row))
    return tuple(fire_at for fire_at in fires if fire_at not in had)


def plan(
    due: DueSchedule,
    fires: Sequence[int],
    sight: BackfillSight,
    parameters: RunParameters,
    ids: IdFactory,
) -> BackfillPlan:
    """Plan a run for each fire without one. Other fires keep their recorded decisions."""
    trigger = trigger_for(due.schedule)
    missing = missing_fires(fires, sight)
    dropped = tuple(row for row in sight.rows if row.decision not in _HAD_A_RUN and _within(missing, row))
    return BackfillPlan(
        due=due,
        runs=tuple(FreshRun(RunId(ids.fresh()), fire_at) for fire_at in missing),
        dropped=dropped,
        remaining=tuple(part for row in dropped for part in _parts(trigger, row, fires, sight)),
        config_fingerprint=parameters.config_fingerprint,
        parameters=msgspec.to_builtins(parameters),
    )


def _parts(trigger: Trigger, row: FireRow, fires: Sequence[int], sight: BackfillSight) -> list[FireRow]:
    """Split *row* into the rows that remain when *fires* no longer belong to it."""
    parts = [
        _part(row, fire_at, fire_at, 1, decision="run", reason=None, run_id=sight.runs[fire_at])
        for fire_at in _within(fires, row)
        if fire_at in sight.runs
    ]
    if row.first_at < fires[0]:
        before = walk(trigger, row.first_at - 1, fires[0] - 1)
        newest, count = (row.first_at, 1) if before is None else (before.newest, before.count)
        parts.append(_part(row, row.first_at, newest, count))
    after = walk(trigger, fires[-1], row.fire_at)
    if after is not None:
        parts.append(_part(row, after.oldest, row.fire_at, after.count))
    return parts


def _part(row: FireRow, first_at: int, fire_at: int, count: int, **other: object) -> FireRow:
    return msgspec.structs.replace(row, first_at=first_at, fire_at=fire_at, missed_count=count - 1, **other)


def _within(fires: Sequence[int], row: FireRow) -> Sequence[int]:
    """Return the fires that *row* covers."""
    return fires[bisect_left(fires, row.first_at) : bisect_right(fires, row.fire_at)]
