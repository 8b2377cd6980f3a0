"""Schedules, and the runs that may block them, as a decision about their fires reads and locks them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.ids import RunId
from protocol.lifecycles import PauseReason, RunState
from storage.schedules.calendar_wakeups import open_of
from storage.schedules.fire_decisions import FireDecision
from storage.schema import LIVE, agent_states, agents, runs, schedules

_listed: sa.BindParameter[Any] = sa.bindparam("listed", expanding=True)
SEEN = (
    sa.select(
        schedules.c.id,
        schedules.c.rev,
        schedules.c.cursor_at,
        agent_states.c.lifecycle,
        agent_states.c.availability,
        agent_states.c.connectivity,
    )
    .join_from(schedules, agents)
    .join(agent_states, agent_states.c.agent_id == agents.c.id)
    .where(schedules.c.id.in_(_listed), schedules.c.enabled, agents.c.deleted_at.is_(None))
    .order_by(schedules.c.id)
    .with_for_update(of=schedules)
)
LIVE_RUNS = (
    sa.select(runs.c.id, runs.c.schedule_id, runs.c.state, runs.c.fence, runs.c.pause_reason)
    .where(
        runs.c.schedule_id.in_(_listed),
        sa.text("runs.schedule_id IS NOT NULL AND runs." + LIVE),
        runs.c.trigger_kind != "backfill",  # covers an old fire, and does not block a new one
    )
    .order_by(runs.c.id)
    .with_for_update()
)
WAITING_FOR_DEVICES = (
    sa.select(runs.c.device_id, sa.func.count().label("runs"))
    .where(
        runs.c.device_id.in_(_listed),
        sa.text("runs.state = 'QUEUED'"),
        runs.c.trigger_kind.in_(("schedule", "catchup")),
    )
    .group_by(runs.c.device_id)
)


class Live(msgspec.Struct, frozen=True):
    """Run that has started and is not over."""

    id: RunId
    state: RunState


class Standing(msgspec.Struct):
    """Schedule as the transaction reads it, and as its decisions change it."""

    axes: Any
    under_way: list[Live]
    waits: list[RunId]  # runs that never started, newest last
    without_model: list[RunId] = []  # runs that wait for a model: they block no other run
    open_wakes: list[str] = []  # open wakes of a slot

    @property
    def waiting(self) -> RunId | None:
        """Newest waiting run, if any."""
        return self.waits[-1] if self.waits else None

    @property
    def why_waiting(self) -> str:
        """Reason why the waiting run does not start."""
        if self.axes.lifecycle != "active":
            return "agent_paused"
        if self.axes.connectivity == "offline":
            return "device_offline"
        return "exhausted" if self.axes.availability == "exhausted" else "still_waiting"


def standings_of(c: sa.Connection, batch: Sequence[FireDecision]) -> dict[str, Standing]:
    """Lock and return the schedules that are unchanged since their decisions were planned."""
    saw = {d.due.schedule.id: (d.due.schedule.rev, d.due.schedule.cursor_at) for d in batch}
    standings = {
        row.id: Standing(row, [], [])
        for row in c.execute(SEEN, {"listed": list(saw)})
        if (row.rev, row.cursor_at) == saw[row.id]
    }
    if not standings:
        return standings
    for row in c.execute(LIVE_RUNS, {"listed": list(standings)}):
        standing = standings[row.schedule_id]
        if row.pause_reason is PauseReason.MODEL_AWAY:
            standing.without_model.append(row.id)
            continue
        # A run that a person paused before its start also waits: when resumed, it runs for the newest
        # fire.
        if row.fence > 0 or row.state not in (RunState.QUEUED, RunState.PAUSED):
            standing.under_way.append(Live(row.id, row.state))
        else:
            standing.waits.append(row.id)
    slots = [d.due.schedule.id for d in batch if d.due.schedule.action == "wake"]
    for id, found in open_of(c, [id for id in slots if id in standings]).items() if slots else ():
        standings[id].open_wakes = found
    return standings


def waiting_for_devices(c: sa.Connection, batch: Iterable[FireDecision]) -> Counter[str | None]:
    """Return the number of scheduled runs that wait for each device of the batch."""
    devices = sorted({d.due.schedule.device_id for d in batch if d.due.schedule.device_id is not None})
    found = c.execute(WAITING_FOR_DEVICES, {"listed": devices}) if devices else ()
    return Counter({row.device_id: row.runs for row in found})
