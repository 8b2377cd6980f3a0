"""Decided fires of schedules in the database: reading and listing."""

from collections import defaultdict
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, RunId
from storage.kernel.columns import Key, columns_of, execute_among, fetch_page, paged, structs_from
from storage.schema import Decision, schedule_fires, schedules


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


class FireCount(msgspec.Struct, frozen=True):
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
    return fetch_page(c, FireRow, query, limit, {"agent": agent_id})


def fires_within(c: sa.Connection, schedule_id: str, first_at: int, last_at: int) -> list[FireRow]:
    """Return decisions about a schedule's fires from *first_at* to *last_at*, oldest first.

    The first and last row may extend beyond the range.
    """
    within = {"schedule": schedule_id, "first": first_at, "last": last_at}
    return structs_from(FireRow, c.execute(ROWS_WITHIN, within))


def newest_within(c: sa.Connection, schedule_id: str, since: int, until: int, most: int) -> list[FireRow]:
    """Return up to *most* decisions about a schedule's fires in [*since*, *until*), newest first."""
    at = schedule_fires.c.fire_at
    query = ROWS.where(schedule_fires.c.schedule_id == schedule_id, at >= since, at < until)
    return structs_from(FireRow, c.execute(query.order_by(at.desc()).limit(most)))


def missed_of(c: sa.Connection, run_ids: Sequence[RunId]) -> dict[RunId, tuple[FireCount, ...]]:
    """Return the other fires that these runs cover or blocked; runs without any are omitted."""
    missed: defaultdict[RunId, list[FireCount]] = defaultdict(list)
    for row in execute_among(c, MISSED, "runs", run_ids):
        missed[row.run_id].append(FireCount(row.decision, row.reason, int(row.fires)))
    return {run_id: tuple(found) for run_id, found in missed.items()}
