"""Current status of agents: reading, and its change when a device connects or disconnects."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.agent_status import (
    Activity,
    AgentMoved,
    Availability,
    Axes,
    Axis,
    Connectivity,
    ExhaustReason,
    Health,
    Lifecycle,
    activity_of,
)
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, DeviceId, UserId
from storage.agents.agents import agent_called, called
from storage.agents.state_moves import activity_in, move, remember
from storage.kernel.columns import isolating_broken_row, listed, readable, struct_from
from storage.schema import agent_state_history, agent_states, agents


class AgentState(msgspec.Struct, frozen=True, kw_only=True):
    """Complete state of an agent. Instants are epoch milliseconds.

    Attributes:
        activity: derived from the counters and the limit.
        reported_connectivity: of its device, while a person keeps the agent offline; else None.
        state_detail: word of the orchestrator that is finer than the axes.
        probe_at: time of the next probe, of an exhausted agent without a known recovery time.
        runs_waiting: number of runs that are QUEUED or PAUSED.
        runs_executing: number of runs that are PREPARING or RUNNING.
        runs_running: number of runs that are RUNNING.
        version: grows with every change; also the newest ``seq`` of the history.
    """

    agent_id: AgentId
    lifecycle: Lifecycle
    availability: Availability
    connectivity: Connectivity
    health: Health
    activity: Activity
    reported_connectivity: Connectivity | None
    health_reason: str | None
    state_detail: str | None
    exhaust_reason: ExhaustReason | None
    exhausted_at: int | None
    recovery_at: int | None
    probe_at: int | None
    exhaust_count: int
    runs_waiting: int
    runs_executing: int
    runs_running: int
    max_concurrent_runs: int
    resource_usage: dict[str, Any]
    metadata: dict[str, Any]
    last_heartbeat_at: int | None
    last_activity_at: int
    version: int
    updated_at: int

    @property
    def axes(self) -> Axes:
        """Values of the axes."""
        return struct_from(Axes, self)


class Since(msgspec.Struct, frozen=True):
    """Value of an axis, with the time and reason of the change that led to it.

    *since*: ``None`` if the history no longer has that change.
    """

    value: str
    since: int | None = None
    reason: str | None = None
    actor: str | None = None


class StatedAgent(AgentState, frozen=True, kw_only=True):
    """State of an agent, and of each axis its value with the change that led to it."""

    name: str
    device_id: DeviceId | None
    since: dict[Axis, Since]


_newest_of_axis = agent_state_history.alias()
STATUS = (  # a row for each axis that has a history
    sa.select(
        agent_states,
        agents.c.name,
        agents.c.device_id,
        agents.c.max_concurrent_runs,
        *(agent_state_history.c[name] for name in ("axis", "new_value", "reason", "actor", "at")),
    )
    .join_from(agents, agent_states, agents.c.id == agent_states.c.agent_id)
    .outerjoin(
        agent_state_history,
        sa.and_(
            agent_state_history.c.agent_id == agents.c.id,
            agent_state_history.c.seq.in_(
                sa.select(sa.func.max(_newest_of_axis.c.seq))
                .where(_newest_of_axis.c.agent_id == agents.c.id)
                .group_by(_newest_of_axis.c.axis)
            ),
        ),
    )
)
_FIRST_STEPS = (Lifecycle.CREATED, Lifecycle.INITIALIZING, Lifecycle.READY, Lifecycle.ACTIVE)


def create_state(
    c: sa.Connection, agent_id: AgentId, *, lifecycle: str, online: bool, at: int, actor: str
) -> None:
    """Insert a new agent's state, with a history row for each step from ``created`` to *lifecycle*."""
    steps = _FIRST_STEPS[: _FIRST_STEPS.index(Lifecycle(lifecycle)) + 1]
    connectivity = Connectivity.ONLINE if online else Connectivity.OFFLINE
    row: dict[str, Any] = {"agent_id": agent_id, "lifecycle": steps[-1], "connectivity": connectivity}
    about = {"version": len(steps), "last_activity_at": at, "updated_at": at}
    c.execute(sa.insert(agent_states), row | about)
    moves = []
    for seq, (before, after) in enumerate(zip((None, *steps), steps, strict=False), 1):
        made = AgentMoved(
            agent_id=agent_id,
            axis=Axis.LIFECYCLE,
            before=before,
            after=after,
            reason=None,
            actor=actor,
            at=at,
            seq=seq,
        )
        moves.append((made, Axes(lifecycle=after, connectivity=connectivity)))
    remember(c, moves)


_STATES = (
    sa.select(agent_states, agents.c.max_concurrent_runs)
    .join_from(agent_states, agents, agents.c.id == agent_states.c.agent_id)
    .where(agent_states.c.agent_id.in_(sa.bindparam("listed", expanding=True)))
)


def find_state(c: sa.Connection, agent_id: AgentId) -> AgentState:
    """Return the state of the agent.

    Raises:
        CodedError (UNKNOWN_AGENT): no agent has the id.
        UnreadableRow: its state cannot be read.
    """
    for row in c.execute(_STATES, {"listed": [agent_id]}):
        return _state(row)
    raise CodedError(ErrorCode.UNKNOWN_AGENT, f"there is no agent {agent_id}")


def states_of(c: sa.Connection, agent_ids: Sequence[AgentId]) -> dict[AgentId, AgentState]:
    """Return the states of these agents by id, without unreadable ones; at most one IN list."""
    found = c.execute(_STATES, {"listed": list(agent_ids)})
    return dict(readable(lambda row: (AgentId(row.agent_id), _state(row)), found))


def _state(row: Any) -> AgentState:
    return struct_from(AgentState, row, activity=activity_in(row))


def status_called(c: sa.Connection, name: str, user_id: UserId | None) -> StatedAgent:
    """Return the status of the agent of that name, as ``agents.agent_called`` finds it, in one query.

    Raises:
        CodedError (UNKNOWN_AGENT): no user has an agent of that name.
        CodedError: several users have one.
    """
    rows = c.execute(called(STATUS, name, user_id)).all()
    if len({row.agent_id for row in rows}) != 1:
        agent_id = agent_called(c, name, user_id).id  # raises, unless it is the id of one of them
        rows = [row for row in rows if row.agent_id == agent_id]
    row = rows[0]
    activity = activity_of(
        live=row.runs_waiting + row.runs_executing, running=row.runs_running, limit=row.max_concurrent_runs
    )
    changes = {(row.axis, row.new_value): row for row in rows}
    since = {}
    for axis in Axis:
        value = str(activity if axis is Axis.ACTIVITY else row._mapping[axis])
        one = changes.get((axis, value))
        since[axis] = Since(value) if one is None else Since(value, one.at, one.reason, one.actor)
    return struct_from(StatedAgent, row, activity=activity, since=since)


TO_CONNECT = (
    sa.select(agents.c.id, agents.c.device_id)
    .join_from(agents, agent_states)
    .where(
        agents.c.device_id.in_(listed(sa.bindparam("ids"))),
        sa.func.coalesce(agent_states.c.reported_connectivity, agent_states.c.connectivity)
        != sa.bindparam("after"),
        agent_states.c.lifecycle != "terminated",
    )
    .order_by(agents.c.id)
)


def connect_agents(
    c: sa.Connection,
    device_ids: Sequence[DeviceId],
    *,
    online: bool,
    at: int,
    actor: str | None = None,
    reason: str | None = None,
) -> None:
    """Set the connectivity of the agents of devices that connected, left or missed their heartbeats.

    Args:
        actor: by default the device of the agent.
    """
    to = Connectivity.ONLINE if online else Connectivity.OFFLINE
    for agent_id, device_id in c.execute(TO_CONNECT, {"ids": list(device_ids), "after": to}).all():
        by = actor or f"device:{device_id}"
        with isolating_broken_row(c):
            move(c, AgentId(agent_id), Axis.CONNECTIVITY, to, at=at, actor=by, reason=reason)


def write_metadata(c: sa.Connection, agent_id: AgentId, metadata: dict[str, Any], *, at: int) -> None:
    """Replace the agent's metadata, which the hub stores but does not interpret."""
    c.execute(
        sa.update(agent_states)
        .where(agent_states.c.agent_id == agent_id)
        .values(metadata=metadata, version=agent_states.c.version + 1, updated_at=at)
    )
