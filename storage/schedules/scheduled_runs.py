"""Rows of runs that schedules create, for present and past fires."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, RunId
from protocol.lifecycles import RunState
from storage.runs.run_rows import RunMove
from storage.schedules.schedule_rows import DueSchedule, ScheduleRow
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


def first_move(run: FreshRun, agent_id: AgentId, at: int, actor: str) -> tuple[RunId, AgentId, RunMove]:
    """Return the first move of the run, for ``run_moves.remember_moves``."""
    return run.id, agent_id, RunMove(1, None, RunState.QUEUED, 1, 0, None, actor, at)
