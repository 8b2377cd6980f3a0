"""Selection of the past fires that a backfill runs, and the resulting fire rows. Pure functions."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final

import msgspec

from hub.clock import IdFactory
from hub.runs.firing import trigger_for
from hub.runs.order import RunParameters
from hub.schedules.missed import MOST_WALKED, walk
from hub.schedules.trigger import Trigger
from protocol.errors import ErrorCode, HubError
from protocol.ids import RunId
from storage.runs.backfills import BackfillPlan, BackfillSight
from storage.schedules.fires import FireRow, FreshRun
from storage.schedules.schedules import DueSchedule, ScheduleRow

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
    wanted: tuple[int, ...]
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


def wanted_of(fires: Sequence[int], sight: BackfillSight) -> tuple[int, ...]:
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
    wanted = wanted_of(fires, sight)
    dropped = tuple(row for row in sight.rows if row.decision not in _HAD_A_RUN and _within(wanted, row))
    return BackfillPlan(
        due=due,
        runs=tuple(FreshRun(RunId(ids.fresh()), fire_at) for fire_at in wanted),
        dropped=dropped,
        kept=tuple(part for row in dropped for part in _parts(trigger, row, fires, sight)),
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
