"""Backfills: runs for fires of long ago that had none, in one transaction.

What was decided about a fire is told by one row, so a row that tells of several fires,
of which some now get a run, is written anew in parts. Which parts these are only the
schedule's trigger knows; a ``BackfillPlan`` says it, from rows as ``look`` saw them.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.ids import RunId
from storage.kernel.database import Conflict
from storage.runs.run_moves import remember_moves
from storage.schedules.fire_rows import FireRow, fires_within
from storage.schedules.schedule_rows import DueSchedule
from storage.schedules.scheduled_runs import (
    INSERT_FIRES,
    INSERT_RUNS,
    FreshRun,
    first_move,
    run_row,
    runs_of_fires,
)
from storage.schema import schedule_fires


class BackfillSight(msgspec.Struct, frozen=True):
    """What is known about fires of long ago: the rows that tell of them, and the runs some of them had."""

    rows: tuple[FireRow, ...]
    runs: dict[int, RunId]


class BackfillPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Runs to be made, ascending, and what their fires' rows become.

    Attributes:
        due: the schedule, with what these runs are made with.
        dropped: rows as they were seen, which tell of these fires and perhaps of others.
        kept: what is to be told of those others.
    """

    due: DueSchedule
    runs: tuple[FreshRun, ...]
    dropped: tuple[FireRow, ...]
    kept: tuple[FireRow, ...]
    config_fingerprint: str
    parameters: dict[str, Any]


DROP_FIRE = sa.delete(schedule_fires).where(
    schedule_fires.c.schedule_id == sa.bindparam("schedule"),
    schedule_fires.c.fire_at == sa.bindparam("fire"),
    schedule_fires.c.first_at == sa.bindparam("first"),
    schedule_fires.c.decided_at == sa.bindparam("decided"),
)


def look(c: sa.Connection, due: DueSchedule, fires: Sequence[int]) -> BackfillSight:
    """What is known about these fires of a schedule, ascending and at least one."""
    rows = fires_within(c, due.schedule.id, fires[0], fires[-1])
    return BackfillSight(tuple(rows), runs_of_fires(c, due.schedule, fires))


def backfill(c: sa.Connection, plan: BackfillPlan, at: int, *, actor: str) -> list[RunId]:
    """Queue the runs of the plan; one is ready after the other, in the order of their fires.

    Raises:
        Conflict: other fires of these were backfilled meanwhile; nothing was written.
    """
    schedule = plan.due.schedule
    for row in plan.dropped:
        seen = {
            "schedule": schedule.id,
            "fire": row.fire_at,
            "first": row.first_at,
            "decided": row.decided_at,
        }
        if c.execute(DROP_FIRE, seen).rowcount == 0:
            raise Conflict("what was decided about these fires has changed; ask again")
    made = [FireRow(schedule.id, run.fire_at, run.fire_at, 0, "run", None, run.id, at) for run in plan.runs]
    rows = [msgspec.structs.asdict(row) for row in (*plan.kept, *made)]
    if rows:
        c.execute(INSERT_FIRES, rows)
    if plan.runs:
        c.execute(
            INSERT_RUNS,
            [
                run_row(
                    plan.due,
                    run,
                    trigger_kind="backfill",
                    at=at,
                    eligible_at=at + place,
                    config_fingerprint=plan.config_fingerprint,
                    parameters=plan.parameters,
                )
                for place, run in enumerate(plan.runs)
            ],
        )
        remember_moves(c, (first_move(run, schedule.agent_id, at, actor) for run in plan.runs))
    return [run.id for run in plan.runs]
