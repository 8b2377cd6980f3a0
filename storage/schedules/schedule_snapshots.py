"""Schedules as a decision about their fires finds them, and the runs that are in the way; both locked."""

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
        runs.c.trigger_kind != "backfill",  # it makes up for an old fire, and is in no new one's way
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
    """A run that has begun and is not over."""

    id: RunId
    state: RunState


class Standing(msgspec.Struct):
    """A schedule as the transaction finds it, and as its decisions change it."""

    axes: Any
    under_way: list[Live]
    waits: list[RunId]  # runs that were never started, the newest last
    without_model: list[RunId] = []  # runs that wait for a model: they stand in no other's way
    open_wakes: list[str] = []  # of a slot: those that are not over

    @property
    def waiting(self) -> RunId | None:
        """The newest of those."""
        return self.waits[-1] if self.waits else None

    @property
    def why_waiting(self) -> str:
        """What holds the run back that waits."""
        if self.axes.lifecycle != "active":
            return "agent_paused"
        if self.axes.connectivity == "offline":
            return "device_offline"
        return "exhausted" if self.axes.availability == "exhausted" else "still_waiting"


def standings_of(c: sa.Connection, batch: Sequence[FireDecision]) -> dict[str, Standing]:
    """The schedules that are still as their decisions saw them; they stay so in this transaction."""
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
        # One that a person paused before it started waits, too: it is the newest fire's when it goes on.
        if row.fence > 0 or row.state not in (RunState.QUEUED, RunState.PAUSED):
            standing.under_way.append(Live(row.id, row.state))
        else:
            standing.waits.append(row.id)
    slots = [d.due.schedule.id for d in batch if d.due.schedule.action == "wake"]
    for id, found in open_of(c, [id for id in slots if id in standings]).items() if slots else ():
        standings[id].open_wakes = found
    return standings


def waiting_for_devices(c: sa.Connection, batch: Iterable[FireDecision]) -> Counter[str | None]:
    """How many fired runs wait for each device of the batch."""
    devices = sorted({d.due.schedule.device_id for d in batch if d.due.schedule.device_id is not None})
    found = c.execute(WAITING_FOR_DEVICES, {"listed": devices}) if devices else ()
    return Counter({row.device_id: row.runs for row in found})
