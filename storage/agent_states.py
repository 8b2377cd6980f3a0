"""The axes on which an agent's status is stored, and the history of every move on them."""

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, DeviceId
from storage.columns import Int
from storage.schema import agent_state_history, agent_states, agents

WAIT_MS, WAIT_CAP_MS = 60_000, 3_600_000  # without quota; scheduling 3.9
BILLING_PROBE_MS, BILLING_PROBE_CAP_MS = 600_000, 6 * 3_600_000  # decisions, 25


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
    state = c.execute(STATE.with_for_update(), {"agent": agent_id}).mappings().one()
    old = state[axis]
    if old == to:
        return False
    c.execute(MOVES[axis], {"agent": agent_id, "to": to, "now": at})
    seq = int(state["version"]) + 1
    _remember(c, agent_id, seq=seq, axis=axis, old=old, new=to, reason=reason, actor=actor, at=at)
    return True


EXHAUSTED = sa.select(
    agent_states.c.availability,
    agent_states.c.exhausted_at,
    agent_states.c.recovery_at,
    agent_states.c.probe_at,
    agent_states.c.exhaust_count,
).where(agent_states.c.agent_id == sa.bindparam("agent"))
EXHAUST = (
    sa.update(agent_states)
    .where(agent_states.c.agent_id == sa.bindparam("agent"))
    .values(
        availability="exhausted",
        exhaust_reason=sa.bindparam("cause"),
        exhausted_at=sa.func.coalesce(agent_states.c.exhausted_at, sa.bindparam("now", type_=Int)),
        recovery_at=sa.bindparam("back"),
        probe_at=sa.bindparam("probe"),
        exhaust_count=sa.bindparam("times"),
        version=agent_states.c.version + 1,
        updated_at=sa.bindparam("now"),
    )
)
RECOVER = (
    sa.update(agent_states)
    .where(agent_states.c.agent_id == sa.bindparam("agent"))
    .values(
        availability="available",
        exhaust_reason=None,
        exhausted_at=None,
        recovery_at=None,
        probe_at=None,
        version=agent_states.c.version + 1,
        updated_at=sa.bindparam("now"),
    )
)
_back_at = sa.func.coalesce(agent_states.c.recovery_at, agent_states.c.probe_at)
_is_exhausted = sa.text("agent_states.availability = 'exhausted'")
BACK = (
    sa.select(agent_states.c.agent_id, agent_states.c.exhaust_reason)
    .where(_is_exhausted, _back_at <= sa.bindparam("now"))
    .order_by(agent_states.c.agent_id)
)
NEXT_BACK = sa.select(sa.func.min(_back_at)).where(_is_exhausted)
FORGIVE = (
    sa.update(agent_states)
    .where(agent_states.c.agent_id == sa.bindparam("agent"), agent_states.c.exhaust_count > 0)
    .values(exhaust_count=0, updated_at=sa.bindparam("now"))
)


def exhaust(
    c: sa.Connection, agent_id: AgentId, *, cause: str, retry_after_ms: int | None, at: int, actor: str
) -> int:
    """The agent may not work before its quota is back; returns when it may, or is worth a probe.

    ``rate_limit``: what the provider said, and no sooner than 1 min, 2 min, ... 1 h,
    doubling with each time in a row. ``billing``: nobody knows, so ``recovery_at`` is
    NULL and a probe goes out after 10 min, 20 min, ... 6 h. An agent that is exhausted
    already keeps the later of the two instants.
    """
    state = c.execute(EXHAUSTED.with_for_update(), {"agent": agent_id}).one()
    was_exhausted = state.availability == "exhausted"
    times = state.exhaust_count if was_exhausted else state.exhaust_count + 1
    least, most = (BILLING_PROBE_MS, BILLING_PROBE_CAP_MS) if cause == "billing" else (WAIT_MS, WAIT_CAP_MS)
    wait = max(retry_after_ms or 0, min(most, least * 2 ** min(times - 1, 30)))
    back = at + wait
    if was_exhausted:
        back = max(back, state.recovery_at or state.probe_at or 0)
    known = {"back": None, "probe": back} if cause == "billing" else {"back": back, "probe": None}
    c.execute(EXHAUST, {"agent": agent_id, "cause": cause, "times": times, "now": at} | known)
    if not was_exhausted:
        seq = _version(c, agent_id)
        old, new = state.availability, "exhausted"
        _remember(
            c, agent_id, seq=seq, axis="availability", old=old, new=new, reason=cause, actor=actor, at=at
        )
    return int(back)


def recover_due(c: sa.Connection, at: int, *, actor: str) -> list[AgentId]:
    """Every exhausted agent whose time has come is available: its quota is back, or it probes."""
    back = c.execute(BACK, {"now": at}).all()
    for row in back:
        _recover(c, row.agent_id, "probe" if row.exhaust_reason == "billing" else "recovered", actor, at)
    return [AgentId(row.agent_id) for row in back]


def recover_agent(c: sa.Connection, agent_id: AgentId, *, at: int, actor: str) -> bool:
    """Somebody knows better: the agent is available now; False if it was not exhausted."""
    if c.execute(EXHAUSTED, {"agent": agent_id}).one().availability != "exhausted":
        return False
    _recover(c, agent_id, "said to be back", actor, at)
    return True


def _recover(c: sa.Connection, agent_id: AgentId, reason: str, actor: str, at: int) -> None:
    c.execute(RECOVER, {"agent": agent_id, "now": at})
    seq = _version(c, agent_id)
    old, new = "exhausted", "available"
    _remember(c, agent_id, seq=seq, axis="availability", old=old, new=new, reason=reason, actor=actor, at=at)


def next_recovery(c: sa.Connection) -> int | None:
    """When the first exhausted agent is back or worth a probe."""
    return c.execute(NEXT_BACK).scalar_one_or_none()


def forgive(c: sa.Connection, agent_id: AgentId, at: int) -> None:
    """The model answered: the next time the quota is used up counts as the first again."""
    c.execute(FORGIVE, {"agent": agent_id, "now": at})


def _version(c: sa.Connection, agent_id: AgentId) -> int:
    return int(c.execute(STATE, {"agent": agent_id}).mappings().one()["version"])


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
