"""Runs at a device's first connection (``on_first_connect``).

A schedule with the setting ``on_first_connect`` has a state: ``awaited`` until its device connects, ``due``
from the transaction of that connection on, and ``done`` once the scheduler has decided. The state is kept, so
neither a crash nor a second connection nor another hub starts a second run.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.ids import DeviceId
from storage.agents.due_schedules import DueSchedule
from storage.effects.fire_runs import ACTOR, INSERT_RUNS, FreshRun, first_move, run_row
from storage.kernel.columns import listed
from storage.leases import Term, check_term
from storage.runs.run_moves import remember_moves
from storage.schedules.schedule_rows import AWAITED, DONE, DUE_NOW
from storage.schema import agent_states, agents, runs, schedules

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
    listed = [first.due.schedule.id for first in planned]
    has_run = {row.id: row.has_run for row in c.execute(STILL_DUE, {"listed": listed})}
    queued = [first for first in planned if has_run.get(first.due.schedule.id) is False]
    rows = [
        run_row(
            first.due,
            first.run,
            trigger_kind="catchup",
            at=at,
            fire_key=FIRE_KEY,
            config_fingerprint=first.config_fingerprint,
            settings=first.settings,
        )
        for first in queued
    ]
    if rows:
        c.execute(INSERT_RUNS, rows)
        moves = (first_move(first.run, first.due.schedule.agent_id, at, ACTOR, REASON) for first in queued)
        remember_moves(c, moves)
    if has_run:
        c.execute(DECIDED, [{"schedule": id, "now": at} for id in has_run])
    return queued
