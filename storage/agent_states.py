"""The axes on which an agent's status is stored, and the history of every move on them."""

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, DeviceId
from storage.schema import agent_state_history, agent_states, agents


class AgentMove(msgspec.Struct, frozen=True):
    """One move of an agent on one axis."""

    seq: int
    axis: str
    old_value: str | None
    new_value: str
    reason: str | None
    actor: str
    at: int


AXES = (
    agent_states.c.lifecycle,
    agent_states.c.availability,
    agent_states.c.connectivity,
    agent_states.c.health,
)
STATE = sa.select(*AXES, agent_states.c.version).where(agent_states.c.agent_id == sa.bindparam("agent"))
MOVES = {
    axis.name: sa.update(agent_states)
    .where(agent_states.c.agent_id == sa.bindparam("agent"))
    .values(
        {
            axis.name: sa.bindparam("to"),
            "version": agent_states.c.version + 1,
            "last_activity_at": sa.bindparam("now"),
            "updated_at": sa.bindparam("now"),
        }
    )
    for axis in AXES
}
AGENTS_OF_DEVICE = (
    sa.select(agents.c.id)
    .join_from(agents, agent_states)
    .where(agents.c.device_id == sa.bindparam("device"), agent_states.c.connectivity != sa.bindparam("to"))
    .order_by(agents.c.id)
)
HISTORY = (
    sa.select(
        agent_state_history.c.seq,
        agent_state_history.c.axis,
        agent_state_history.c.old_value,
        agent_state_history.c.new_value,
        agent_state_history.c.reason,
        agent_state_history.c.actor,
        agent_state_history.c.at,
    )
    .where(agent_state_history.c.agent_id == sa.bindparam("agent"))
    .order_by(agent_state_history.c.seq)
)


def create_state(
    c: sa.Connection, agent_id: AgentId, *, lifecycle: str, online: bool, at: int, actor: str
) -> None:
    """A new agent's axes, and the first row of its history."""
    axes = {"lifecycle": lifecycle, "connectivity": "online" if online else "offline"}
    c.execute(
        sa.insert(agent_states), {"agent_id": agent_id, "last_activity_at": at, "updated_at": at} | axes
    )
    _remember(c, agent_id, seq=1, axis="lifecycle", old=None, new=lifecycle, reason=None, actor=actor, at=at)


def move(
    c: sa.Connection, agent_id: AgentId, axis: str, to: str, *, at: int, actor: str, reason: str | None = None
) -> bool:
    """Move an agent on *axis* (one of ``AXES``); False if it stood there already."""
    state = c.execute(STATE, {"agent": agent_id}).mappings().one()
    old = state[axis]
    if old == to:
        return False
    c.execute(MOVES[axis], {"agent": agent_id, "to": to, "now": at})
    seq = int(state["version"]) + 1
    _remember(c, agent_id, seq=seq, axis=axis, old=old, new=to, reason=reason, actor=actor, at=at)
    return True


def connect_agents(c: sa.Connection, device_id: DeviceId, *, online: bool, at: int, actor: str) -> None:
    """The agents of a device come and go with its connection, or with its heartbeats."""
    to = "online" if online else "offline"
    for agent_id in c.execute(AGENTS_OF_DEVICE, {"device": device_id, "to": to}).scalars().all():
        move(c, AgentId(agent_id), "connectivity", to, at=at, actor=actor)


def agent_history(c: sa.Connection, agent_id: AgentId) -> list[AgentMove]:
    """Every move of the agent, oldest first."""
    return [AgentMove(*row) for row in c.execute(HISTORY, {"agent": agent_id})]


def _remember(
    c: sa.Connection,
    agent_id: AgentId,
    *,
    seq: int,
    axis: str,
    old: str | None,
    new: str,
    reason: str | None,
    actor: str,
    at: int,
) -> None:
    moved = {"agent_id": agent_id, "seq": seq, "axis": axis, "old_value": old, "new_value": new}
    axes = c.execute(STATE, {"agent": agent_id}).mappings().one()
    snapshot = {column.name: axes[column.name] for column in AXES}
    c.execute(
        sa.insert(agent_state_history),
        moved | {"snapshot": snapshot, "reason": reason, "actor": actor, "at": at},
    )
