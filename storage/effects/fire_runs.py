"""Creation of runs for fires, and backfills of missed fires."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, RunId
from protocol.lifecycles import RunState
from storage.agents.due_schedules import DueSchedule
from storage.kernel.database import Conflict
from storage.runs.run_moves import remember_moves
from storage.runs.runs import RunMove
from storage.schedules.fires import FireRow, fires_within
from storage.schedules.schedule_rows import ScheduleRow
from storage.schema import runs, schedule_fires

ACTOR = "scheduler"
INSERT_RUNS = sa.insert(runs)
INSERT_FIRES = sa.insert(schedule_fires)


class FreshRun(msgspec.Struct, frozen=True):
    """Run to be created for a fire."""

    id: RunId
    fire_at: int


def fire_key(schedule_id: str, fire_at: int) -> str:
    """Return the key that identifies the run of a fire, independent of its creator and cause."""
    return f"s:{schedule_id}:{fire_at}"


FIRED = sa.select(runs.c.fire_key, runs.c.id).where(
    runs.c.agent_id == sa.bindparam("agent"), runs.c.fire_key.in_(sa.bindparam("keys", expanding=True))
)


def runs_of_fires(c: sa.Connection, schedule: ScheduleRow, fires: Sequence[int]) -> dict[int, RunId]:
    """Return the runs of these fires of a schedule, by fire."""
    keys = {fire_key(schedule.id, fire_at): fire_at for fire_at in fires}
    had = c.execute(FIRED, {"agent": schedule.agent_id, "keys": list(keys)})
    return {keys[row.fire_key]: RunId(row.id) for row in had}


def run_row(due: DueSchedule, run: FreshRun, *, trigger_kind: str, at: int, **given: Any) -> dict[str, Any]:
    """Return the row of a run of the schedule; *given*: columns that differ from the defaults."""
    schedule = due.schedule
    row = {
        "id": run.id,
        "agent_id": schedule.agent_id,
        "schedule_id": schedule.id,
        "device_id": schedule.device_id,
        "trigger_kind": trigger_kind,
        "fire_key": fire_key(schedule.id, run.fire_at),
        "fire_at": run.fire_at,
        "eligible_at": at,
        "queue_slot": None,
        "timeout_ms": schedule.run_timeout_ms,
        "start_deadline_at": None,
        "max_attempts": schedule.max_attempts,
        "priority": due.priority,
        "config_rev": due.config_rev,
        "needs": list(due.needs),
        "locks": sorted(set(due.locks)),
        "coalesced_count": 0,
        "created_at": at,
        "updated_at": at,
    }
    return row | given


def first_move(
    run: FreshRun, agent_id: AgentId, at: int, actor: str, reason: str | None = None
) -> tuple[RunId, AgentId, RunMove]:
    """Return the first move of the run, for ``run_moves.remember_moves``."""
    return run.id, agent_id, RunMove(1, None, RunState.QUEUED, 1, 0, reason, actor, at)


class BackfillSight(msgspec.Struct, frozen=True):
    """Rows that describe past fires, and the runs that some fires had."""

    rows: tuple[FireRow, ...]
    runs: dict[int, RunId]


class BackfillPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Runs to create, ascending, and the changes of their fires' rows.

    Attributes:
        due: the schedule, with the properties of the new runs.
        dropped: rows that describe these fires and perhaps others, as they were read.
        remaining: new rows for these other fires.
    """

    due: DueSchedule
    runs: tuple[FreshRun, ...]
    dropped: tuple[FireRow, ...]
    remaining: tuple[FireRow, ...]
    config_fingerprint: str
    settings: dict[str, Any]


DROP_FIRE = sa.delete(schedule_fires).where(
    schedule_fires.c.schedule_id == sa.bindparam("schedule"),
    schedule_fires.c.fire_at == sa.bindparam("fire"),
    schedule_fires.c.first_at == sa.bindparam("first"),
    schedule_fires.c.decided_at == sa.bindparam("decided"),
)


def backfill_sight(c: sa.Connection, due: DueSchedule, fires: Sequence[int]) -> BackfillSight:
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
    rows = [msgspec.structs.asdict(row) for row in (*plan.remaining, *made)]
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
                    settings=plan.settings,
                )
                for place, run in enumerate(plan.runs)
            ],
        )
        remember_moves(c, (first_move(run, schedule.agent_id, at, actor) for run in plan.runs))
    return [run.id for run in plan.runs]
