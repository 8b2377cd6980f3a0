"""Moving an agent on an axis: by its table, with a row of history, and told after the commit.

Every change of a stored axis goes through ``move`` or ``storage.agents.exhaustion``; what the runs
make of the derived one comes from ``storage.agents.agent_activity``.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId
from protocol.standing import (
    FINAL,
    STORED_AXES,
    Activity,
    AgentMoved,
    Availability,
    Axes,
    Axis,
    Connectivity,
    Health,
    IllegalMove,
    Lifecycle,
    activity_of,
    axis_value,
    check_move,
)
from storage.agents.agent_rows import UnknownAgent
from storage.schema import agent_state_history, agent_states, agents

_TOLD: Final = "agent_moves"  # the key in a connection's info, while somebody listens

STANDING = (
    sa.select(
        *(agent_states.c[axis] for axis in STORED_AXES),
        agent_states.c.agent_id,
        agent_states.c.health_reason,
        agent_states.c.exhaust_reason,
        agent_states.c.exhausted_at,
        agent_states.c.recovery_at,
        agent_states.c.probe_at,
        agent_states.c.exhaust_count,
        agent_states.c.runs_waiting,
        agent_states.c.runs_executing,
        agent_states.c.runs_running,
        agent_states.c.version,
        agents.c.max_concurrent_runs,
    )
    .join_from(agent_states, agents, agents.c.id == agent_states.c.agent_id)
    .where(agent_states.c.agent_id.in_(sa.bindparam("listed", expanding=True)))
    .order_by(agent_states.c.agent_id)  # in one order, so that two writers cannot wait for each other
    .with_for_update(of=agent_states)
)
_moved: dict[str, Any] = {
    "version": agent_states.c.version + 1,
    "last_activity_at": sa.bindparam("now"),
    "updated_at": sa.bindparam("now"),
}
# Where an axis has details, they go with the value that they belong to.
_details: dict[Axis, dict[str, Any]] = {
    Axis.AVAILABILITY: dict.fromkeys(("exhaust_reason", "exhausted_at", "recovery_at", "probe_at")),
    Axis.HEALTH: {"health_reason": sa.bindparam("why")},
}
MOVES = {
    axis: sa.update(agent_states)
    .where(agent_states.c.agent_id == sa.bindparam("agent"))
    .values({str(axis): sa.bindparam("to")} | _details.get(axis, {}) | _moved)
    for axis in STORED_AXES
}
NEW_HEALTH_REASON = (
    sa.update(agent_states)
    .where(agent_states.c.agent_id == sa.bindparam("agent"))
    .values(
        health_reason=sa.bindparam("why"),
        version=agent_states.c.version + 1,
        updated_at=sa.bindparam("now"),
    )
)


class AgentTerminated(HubError):
    """The agent starts nothing any more."""

    code = ErrorCode.BAD_STATUS
    hint = FINAL


def locked_states(c: sa.Connection, agent_ids: Sequence[AgentId]) -> Sequence[Any]:
    """The states of these agents, no more than an IN list takes, by id; they stay so in this transaction."""
    return c.execute(STANDING, {"listed": list(agent_ids)}).all()


def locked_state(c: sa.Connection, agent_id: AgentId) -> Any:
    """The state of one agent; it stays so in this transaction.

    Raises:
        UnknownAgent: there is none.
    """
    rows = locked_states(c, [agent_id])
    if not rows:
        raise UnknownAgent(f"there is no agent {agent_id}")
    return rows[0]


def activity_in(row: Any) -> Activity:
    """What the counters of a row make of the agent."""
    return activity_of(
        live=row.runs_waiting + row.runs_executing, running=row.runs_running, limit=row.max_concurrent_runs
    )


def axes_in(row: Any) -> Axes:
    """The axes of a row that has their columns, the counters and the limit."""
    return Axes(
        lifecycle=Lifecycle(row.lifecycle),
        availability=Availability(row.availability),
        connectivity=Connectivity(row.connectivity),
        health=Health(row.health),
        activity=activity_in(row),
    )


def move(
    c: sa.Connection, agent_id: AgentId, axis: str, to: str, *, at: int, actor: str, reason: str | None = None
) -> bool:
    """Move an agent on *axis*; False if it stood there already.

    An agent that leaves ``exhausted`` loses what belongs to that. The *reason* of
    ``health`` is kept with the state, and a new one for an old error replaces it.

    Raises:
        UnknownValue: there is no such axis or value.
        IllegalMove: the axis' table has no such move, or the axis is derived.
        UnknownAgent: there is none.
        In each case nothing was written.
    """
    known, value = axis_value(axis, to)
    if value == Availability.EXHAUSTED:
        raise ValueError("an agent is exhausted for a reason: storage.agents.exhaustion.exhaust")
    row = locked_state(c, agent_id)
    axes = axes_in(row)
    before = axes.on(known)
    if known is Axis.ACTIVITY:
        raise IllegalMove(known, before, value)
    check_move(known, before, value)
    if before == value:
        if value == Health.ERROR and reason is not None and reason != row.health_reason:
            c.execute(NEW_HEALTH_REASON, {"agent": agent_id, "why": reason, "now": at})
        return False
    details = {"why": reason if value == Health.ERROR else None} if known is Axis.HEALTH else {}
    c.execute(MOVES[known], {"agent": agent_id, "to": value, "now": at} | details)
    made = AgentMoved(
        agent_id=agent_id,
        axis=known,
        before=before,
        after=value,
        reason=reason,
        actor=actor,
        at=at,
        seq=row.version + 1,
    )
    remember(c, [(made, axes.after(known, value))])
    return True


def move_if_legal(
    c: sa.Connection, agent_id: AgentId, axis: str, to: str, *, at: int, actor: str, reason: str | None = None
) -> bool:
    """As ``move``, but an agent that may not go there stays where it is: False."""
    try:
        return move(c, agent_id, axis, to, at=at, actor=actor, reason=reason)
    except IllegalMove:
        return False


def remember(c: sa.Connection, moves: Sequence[tuple[AgentMoved, Axes]]) -> None:
    """The history row of each move, with the axes as it left them; told to who listens on *c*.

    ``seq`` is the version that the move gave to the agent's state.
    """
    rows: list[dict[str, Any]] = [
        {
            "agent_id": made.agent_id,
            "seq": made.seq,
            "axis": str(made.axis),
            "old_value": made.before,
            "new_value": made.after,
            "snapshot": msgspec.to_builtins(axes),
            "reason": made.reason,
            "actor": made.actor,
            "at": made.at,
        }
        for made, axes in moves
    ]
    if not rows:
        return
    c.execute(sa.insert(agent_state_history), rows)
    told: list[AgentMoved] | None = c.info.get(_TOLD)
    if told is not None:
        told.extend(made for made, _ in moves)


@contextmanager
def told_moves(c: sa.Connection) -> Iterator[list[AgentMoved]]:
    """The moves that are made on *c* within the block. They hold once its transaction is committed."""
    moves: list[AgentMoved] = []
    info = c.info  # a connection that was lost meanwhile cannot be asked for it any more
    info[_TOLD] = moves
    try:
        yield moves
    finally:
        info.pop(_TOLD, None)
