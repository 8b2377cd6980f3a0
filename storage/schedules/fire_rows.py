"""Rows of fires, the runs that they create, and backfills of missed ones.

Runs of agents that have never run, when their device connects for the first time.

A schedule with the setting ``on_first_connect`` has a state: ``awaited`` until its device connects, ``due``
from the transaction of that connection on, and ``done`` once the scheduler has decided. The state is kept, so
neither a crash nor a second connection nor another hub starts a second run.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, DeviceId, RunId
from protocol.lifecycles import RunState
from storage.devices.nodes import Term, check_term
from storage.kernel.columns import in_parts, listed
from storage.kernel.database import Conflict
from storage.kernel.rows import Key, columns_of, fill_each, fill_page, paged
from storage.runs.run_moves import remember_moves
from storage.runs.runs import RunMove
from storage.schedules.schedule_rows import AWAITED, DONE, DUE_NOW, DueSchedule, ScheduleRow
from storage.schema import Decision, agent_states, agents, runs, schedule_fires, schedules


class FireRow(msgspec.Struct, frozen=True):
    """Decision about at least *fires* consecutive fires, from *first_at* to *fire_at*.

    *reason*: stable code that says why they got no run of their own. *run_id*: the run that covers them, or
    that blocked them.
    """

    schedule_id: str
    fire_at: int
    first_at: int
    missed_count: int
    decision: Decision
    reason: str | None
    run_id: RunId | None
    decided_at: int

    @property
    def fires(self) -> int:
        """Number of fires."""
        return self.missed_count + 1


class Missed(msgspec.Struct, frozen=True):
    """Number of fires besides its own that a run covers or blocked, with the reason."""

    decision: Decision
    reason: str | None
    fires: int


ROWS = sa.select(*columns_of(FireRow, schedule_fires))
ROWS_OF_AGENT = ROWS.join_from(schedule_fires, schedules).where(schedules.c.agent_id == sa.bindparam("agent"))
ROWS_WITHIN = ROWS.where(
    schedule_fires.c.schedule_id == sa.bindparam("schedule"),
    schedule_fires.c.fire_at >= sa.bindparam("first"),
    schedule_fires.c.first_at <= sa.bindparam("last"),
).order_by(schedule_fires.c.fire_at)
MISSED = (
    sa.select(
        schedule_fires.c.run_id,
        schedule_fires.c.decision,
        schedule_fires.c.reason,
        sa.func.sum(schedule_fires.c.missed_count + 1).label("fires"),
    )
    .where(
        schedule_fires.c.run_id.in_(sa.bindparam("runs", expanding=True)),
        schedule_fires.c.decision != "run",
    )
    .group_by(schedule_fires.c.run_id, schedule_fires.c.decision, schedule_fires.c.reason)
    .order_by(schedule_fires.c.run_id, schedule_fires.c.decision, schedule_fires.c.reason)
)


def list_fires(
    c: sa.Connection, agent_id: AgentId, limit: int | None = None, *, after: Key | None = None
) -> list[FireRow]:
    """Return decisions about an agent's fires, newest first.

    Args:
        after: ``(fire_at, schedule id)`` of the last decision of the previous page.
    """
    fires = schedule_fires.c
    query = paged(ROWS_OF_AGENT, fires.fire_at, fires.schedule_id, limit=limit, after=after, descending=True)
    return fill_page(c, FireRow, query, limit, {"agent": agent_id})


def fires_within(c: sa.Connection, schedule_id: str, first_at: int, last_at: int) -> list[FireRow]:
    """Return decisions about a schedule's fires from *first_at* to *last_at*, oldest first.

    The first and last row may extend beyond the range.
    """
    within = {"schedule": schedule_id, "first": first_at, "last": last_at}
    return fill_each(FireRow, c.execute(ROWS_WITHIN, within))


def newest_within(c: sa.Connection, schedule_id: str, since: int, until: int, most: int) -> list[FireRow]:
    """Return up to *most* decisions about a schedule's fires in [*since*, *until*), newest first."""
    at = schedule_fires.c.fire_at
    query = ROWS.where(schedule_fires.c.schedule_id == schedule_id, at >= since, at < until)
    return fill_each(FireRow, c.execute(query.order_by(at.desc()).limit(most)))


def missed_of(c: sa.Connection, run_ids: Sequence[RunId]) -> dict[RunId, tuple[Missed, ...]]:
    """Return the other fires that these runs cover or blocked; runs without any are omitted."""
    missed: defaultdict[RunId, list[Missed]] = defaultdict(list)
    for part in in_parts(run_ids):
        for row in c.execute(MISSED, {"runs": part}):
            missed[row.run_id].append(Missed(row.decision, row.reason, int(row.fires)))
    return {run_id: tuple(found) for run_id, found in missed.items()}


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


REASON: Final = "first_connect"  # in the history of the run
FIRE_KEY: Final = "first-connect"  # of the run: an agent has at most one

# A paused agent or schedule goes on waiting for a connection.
_AWAITING = (
    sa.select(schedules.c.id)
    .join_from(schedules, agents)
    .join(agent_states, agent_states.c.agent_id == agents.c.id)
    .where(
        agents.c.device_id.in_(listed(sa.bindparam("ids"))),
        agents.c.deleted_at.is_(None),
        agent_states.c.lifecycle == "active",
        schedules.c.first_connect == AWAITED,
        schedules.c.enabled,
    )
)
NOTE_CONNECT = (
    sa.update(schedules)
    .where(schedules.c.id.in_(_AWAITING.scalar_subquery()))
    .values(first_connect=DUE_NOW, updated_at=sa.bindparam("now"))
)
# A run that could not start in time never ran.
_HAS_RUN = (
    sa.select(runs.c.id)
    .where(
        runs.c.agent_id == schedules.c.agent_id,
        sa.or_(
            runs.c.state != "CANCELLED",
            runs.c.started_at.is_not(None),
            runs.c.reason.is_distinct_from("start_deadline"),
        ),
    )
    .exists()
)
STILL_DUE = (
    sa.select(schedules.c.id, _HAS_RUN.label("has_run"))
    .where(
        schedules.c.id.in_(sa.bindparam("listed", expanding=True)),
        sa.text("schedules.first_connect = 'due' AND schedules.enabled"),
    )
    .with_for_update(of=schedules)
)
DECIDED = (
    sa.update(schedules)
    .where(schedules.c.id == sa.bindparam("schedule"))
    .values(first_connect=DONE, updated_at=sa.bindparam("now"))
)


class FirstRun(msgspec.Struct, frozen=True, kw_only=True):
    """Planned first run of an agent whose device connected, with the properties of the run."""

    due: DueSchedule
    run: FreshRun
    config_fingerprint: str
    settings: dict[str, Any]


def note_connects(c: sa.Connection, device_ids: Sequence[DeviceId], at: int) -> bool:
    """Record that devices connected. Return True if a schedule of their agents waited for it, and is due."""
    return c.execute(NOTE_CONNECT, {"ids": device_ids, "now": at}).rowcount > 0


def queue_first_runs(c: sa.Connection, term: Term, planned: Sequence[FirstRun], at: int) -> list[FirstRun]:
    """Queue the planned runs of the agents that have never run. Return them.

    A schedule that was changed since is left for the next round.

    Raises:
        LostLease: nothing was written.
    """
    check_term(c, term)
    listed = [one.due.schedule.id for one in planned]
    has_run = {row.id: row.has_run for row in c.execute(STILL_DUE, {"listed": listed})}
    queued = [one for one in planned if has_run.get(one.due.schedule.id) is False]
    rows = [
        run_row(
            one.due,
            one.run,
            trigger_kind="catchup",
            at=at,
            fire_key=FIRE_KEY,
            config_fingerprint=one.config_fingerprint,
            settings=one.settings,
        )
        for one in queued
    ]
    if rows:
        c.execute(INSERT_RUNS, rows)
        moves = (first_move(one.run, one.due.schedule.agent_id, at, ACTOR, REASON) for one in queued)
        remember_moves(c, moves)
    if has_run:
        c.execute(DECIDED, [{"schedule": id, "now": at} for id in has_run])
    return queued
