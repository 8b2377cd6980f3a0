"""Backfills: runs for past fires that had none, in one transaction.

A row may describe the decision about several fires. If some of them now get a run, the row is replaced by
parts. Only the schedule's trigger knows these parts: a ``BackfillPlan`` contains them, based on the rows that
``look`` returned.
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
    """Rows that describe past fires, and the runs that some fires had."""

    rows: tuple[FireRow, ...]
    runs: dict[int, RunId]


class BackfillPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Runs to create, ascending, and the changes of their fires' rows.

    Attributes:
        due: the schedule, with the properties of the new runs.
        dropped: rows that describe these fires and perhaps others, as they were read.
        kept: new rows for these other fires.
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
    """Return the rows and runs of these fires of a schedule, ascending and at least one."""
    rows = fires_within(c, due.schedule.id, fires[0], fires[-1])
    return BackfillSight(tuple(rows), runs_of_fires(c, due.schedule, fires))


def backfill(c: sa.Connection, plan: BackfillPlan, at: int, *, actor: str) -> list[RunId]:
    """Queue the runs of the plan, with increasing start times in the order of their fires.

    Raises:
        Conflict: other fires of these rows were backfilled meanwhile; nothing was written.
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
