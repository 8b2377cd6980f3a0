"""Which old fires a backfill makes runs for, and what the rows that tell of them become. Pure."""

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
    """What a backfill did, or would do: *fires* of the range, and those of them that get a run.

    *runs* are in the order of *wanted*; empty where it was only tried.
    """

    fires: tuple[int, ...]
    wanted: tuple[int, ...]
    runs: tuple[RunId, ...] = ()


def fires_between(schedule: ScheduleRow, first_at: int, last_at: int) -> tuple[int, ...]:
    """The fires from *first_at* to *last_at*, as far as they are decided; later ones come by themselves.

    Raises:
        BadSchedule: the row cannot be read.
        TooManyFires: more than a thousand.
    """
    missed = walk(trigger_for(schedule), first_at - 1, min(last_at, schedule.cursor_at))
    if missed is None:
        return ()
    if missed.is_capped:
        raise TooManyFires(f"the range has more than {MOST_WALKED} fires; ask for a shorter one")
    return missed.fires


def wanted_of(fires: Sequence[int], sight: BackfillSight) -> tuple[int, ...]:
    """Those of *fires*, which ascend, that had no run and are not part of another's."""
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
    """A run for each fire that had none; of every other fire is told what was told before."""
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
    """What is left of *row* when it no longer tells of *fires*."""
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
    """Those of *fires* that *row* tells of."""
    return fires[bisect_left(fires, row.first_at) : bisect_right(fires, row.fire_at)]
