"""Run counters of agents, and the activity that follows from them.

Only the transaction that moves a run changes the counters. A new activity adds a row to the agent's history,
like any other state change, but only if the value differs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId
from protocol.lifecycles import EXECUTING_RUN_STATES, LIVE_RUN_STATES, RunState
from protocol.standing import Activity, AgentMoved, Axes, Axis, activity_of
from storage import schema
from storage.agents.agent_moves import activity_in, axes_in, locked_states, remember
from storage.kernel.columns import in_parts
from storage.schema import agent_states, runs

COUNT_RUNS = (
    sa.update(agent_states)
    .where(agent_states.c.agent_id == sa.bindparam("agent"))
    .values(
        runs_waiting=agent_states.c.runs_waiting + sa.bindparam("waiting"),
        runs_executing=agent_states.c.runs_executing + sa.bindparam("executing"),
        runs_running=agent_states.c.runs_running + sa.bindparam("running"),
        version=agent_states.c.version + sa.bindparam("versions"),
        last_activity_at=sa.bindparam("now"),
        updated_at=sa.bindparam("now"),
    )
)
_own = runs.c.agent_id == agent_states.c.agent_id
_counted = {
    "runs_waiting": "runs.state IN ('QUEUED', 'PAUSED')",
    "runs_executing": "runs." + schema.EXECUTING,
    # EXECUTING first, so that its index is used
    "runs_running": f"runs.{schema.EXECUTING} AND runs.state = 'RUNNING'",
}
_recounts = {
    name: sa.select(sa.func.count()).where(_own, sa.text(which)).scalar_subquery()
    for name, which in _counted.items()
}
# Agents at a gateway count the turns that the gateway reports, and have no runs to recount.
_at_gateway = sa.exists().where(
    schema.agents.c.id == agent_states.c.agent_id, sa.text("agents.executor = 'gateway'")
)
MISCOUNTED = sa.select(agent_states.c.agent_id).where(
    ~_at_gateway, sa.or_(*(agent_states.c[name] != recount for name, recount in _recounts.items()))
)
RECOUNT = sa.update(agent_states).where(agent_states.c.agent_id == sa.bindparam("agent")).values(_recounts)
NEXT_VERSION = (
    sa.update(agent_states)
    .where(agent_states.c.agent_id == sa.bindparam("agent"))
    .values(version=agent_states.c.version + 1, updated_at=sa.bindparam("now"))
)


class Counts(msgspec.Struct):
    """Changes of an agent's run counters, and their cause."""

    waiting: int = 0
    executing: int = 0
    running: int = 0
    because: str = ""

    def move(self, before: RunState | None, after: RunState) -> None:
        """Count a run's move between two states; *before* is ``None`` for a new run."""
        for state, by in ((before, -1), (after, 1)):
            if state is None or state not in LIVE_RUN_STATES:
                continue
            if state in EXECUTING_RUN_STATES:
                self.executing += by
            else:
                self.waiting += by
            self.running += by if state is RunState.RUNNING else 0

    @property
    def is_even(self) -> bool:
        """True if no counter changes."""
        return not (self.waiting or self.executing or self.running)


def count_runs(c: sa.Connection, counts: Mapping[AgentId, Counts], *, at: int, actor: str) -> None:
    """Change the counters of these agents, and their activity if it follows."""
    changed = sorted(agent_id for agent_id, by in counts.items() if not by.is_even)
    for part in in_parts(changed):
        _count(c, {agent_id: counts[agent_id] for agent_id in part}, at, actor)


def _count(c: sa.Connection, counts: Mapping[AgentId, Counts], at: int, actor: str) -> None:
    changes: list[dict[str, Any]] = []
    moves: list[tuple[AgentMoved, Axes]] = []
    for row in locked_states(c, list(counts)):
        by = counts[row.agent_id]
        after = activity_of(
            live=row.runs_waiting + row.runs_executing + by.waiting + by.executing,
            running=row.runs_running + by.running,
            limit=row.max_concurrent_runs,
        )
        made = _moved(row, after, reason=by.because or None, actor=actor, at=at)
        moves.extend(made)
        deltas = {"waiting": by.waiting, "executing": by.executing, "running": by.running}
        changes.append(deltas | {"agent": row.agent_id, "versions": len(made), "now": at})
    if changes:
        c.execute(COUNT_RUNS, changes)
    remember(c, moves)


def _moved(
    row: Any, after: Activity, *, reason: str | None, actor: str, at: int
) -> list[tuple[AgentMoved, Axes]]:
    """Return the move to another activity, if it changes; *row* is the state before the move."""
    axes = axes_in(row)
    if axes.activity is after:
        return []
    made = AgentMoved(
        agent_id=row.agent_id,
        axis=Axis.ACTIVITY,
        before=axes.activity,
        after=after,
        reason=reason,
        actor=actor,
        at=at,
        seq=row.version + 1,
    )
    return [(made, axes.after(Axis.ACTIVITY, after))]


def recount(c: sa.Connection, *, at: int, actor: str) -> list[AgentId]:
    """Correct every counter that differs from the runs. Return the agents that were wrong."""
    wrong = [AgentId(agent_id) for agent_id in c.execute(MISCOUNTED).scalars()]
    for part in in_parts(wrong):
        before = {row.agent_id: row for row in locked_states(c, part)}
        c.execute(RECOUNT, [{"agent": agent_id} for agent_id in part])
        _settle(c, before, part, reason="counted anew", at=at, actor=actor)
    return wrong


def count_turns(
    c: sa.Connection, agent_id: AgentId, turns: int, *, because: str, at: int, actor: str
) -> bool:
    """Set the number of running turns of an agent at a gateway. Return False if it was known already.

    The number is absolute, so a missed update does not accumulate.
    """
    (row,) = locked_states(c, [agent_id])
    if (by := turns - row.runs_running) or row.runs_executing != turns:
        counts = Counts(executing=turns - row.runs_executing, running=by, because=because)
        _count(c, {agent_id: counts}, at, actor)
        return True
    return False


def follow_limit(c: sa.Connection, agent_id: AgentId, was: int, *, at: int, actor: str) -> None:
    """Update the agent's activity after its run limit changed from *was*."""
    for row in locked_states(c, [agent_id]):
        before = activity_of(live=row.runs_waiting + row.runs_executing, running=row.runs_running, limit=was)
        _change(c, row, before, reason="max_concurrent_runs was changed", at=at, actor=actor)


def _settle(
    c: sa.Connection, before: Mapping[str, Any], ids: Sequence[AgentId], *, reason: str, at: int, actor: str
) -> None:
    for row in locked_states(c, ids):
        _change(c, row, activity_in(before[row.agent_id]), reason=reason, at=at, actor=actor)


def _change(c: sa.Connection, row: Any, before: Activity, *, reason: str, at: int, actor: str) -> None:
    """Record the change of activity from *before* to that in *row*, if it differs."""
    axes = axes_in(row)
    if axes.activity is before:
        return
    c.execute(NEXT_VERSION, {"agent": row.agent_id, "now": at})
    made = AgentMoved(
        agent_id=row.agent_id,
        axis=Axis.ACTIVITY,
        before=before,
        after=axes.activity,
        reason=reason,
        actor=actor,
        at=at,
        seq=row.version + 1,
    )
    remember(c, [(made, axes)])
