"""State changes of agents: validated by the axis' table, recorded in history, reported after commit.

Every change of a stored axis passes through ``move`` or ``agent_states.exhaust``. Changes of the derived axis
by runs come from ``storage.agents.agent_activity``.
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
    Health,
    IllegalMove,
    activity_of,
    axis_value,
    check_move,
)
from storage.agents.agent_rows import UnknownAgent
from storage.kernel.rows import fill
from storage.schema import agent_state_history, agent_states, agents

_TOLD: Final = "agent_moves"  # key in a connection's info while its moves are recorded

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
    .order_by(agent_states.c.agent_id)  # fixed order, so that two writers cannot deadlock
    .with_for_update(of=agent_states)
)
_moved: dict[str, Any] = {
    "version": agent_states.c.version + 1,
    "last_activity_at": sa.bindparam("now"),
    "updated_at": sa.bindparam("now"),
}
# Details of an axis are cleared or set together with its value.
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
    """Error: the agent is terminated."""

    code = ErrorCode.BAD_STATUS
    hint = FINAL


def locked_states(c: sa.Connection, agent_ids: Sequence[AgentId]) -> Sequence[Any]:
    """Lock the states of these agents for update and return them by id; at most one IN list."""
    return c.execute(STANDING, {"listed": list(agent_ids)}).all()


def locked_state(c: sa.Connection, agent_id: AgentId) -> Any:
    """Lock the state of an agent for update and return it.

    Raises:
        UnknownAgent: no agent has the id.
    """
    rows = locked_states(c, [agent_id])
    if not rows:
        raise UnknownAgent(f"there is no agent {agent_id}")
    return rows[0]


def activity_in(row: Any) -> Activity:
    """Return the activity that follows from the counters of a state row."""
    return activity_of(
        live=row.runs_waiting + row.runs_executing, running=row.runs_running, limit=row.max_concurrent_runs
    )


def axes_in(row: Any) -> Axes:
    """Return the axes of a row that has their columns, the counters and the limit."""
    return fill(Axes, row, activity=activity_in(row))


def move(
    c: sa.Connection, agent_id: AgentId, axis: str, to: str, *, at: int, actor: str, reason: str | None = None
) -> bool:
    """Move an agent on *axis*. Return False if it has that value already.

    Leaving ``exhausted`` clears the details of the exhaustion. The *reason* of ``health`` is kept with the
    state; a new reason for an existing error replaces it.

    Raises:
        UnknownValue: the axis or value does not exist.
        IllegalMove: the axis' table does not allow the move, or the axis is derived.
        UnknownAgent: no agent has the id.
        In each case nothing was written.
    """
    known, value = axis_value(axis, to)
    if value == Availability.EXHAUSTED:
        raise ValueError("an agent is exhausted for a reason: storage.agents.agent_states.exhaust")
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
    """Move an agent like ``move``, but return False where the move is illegal."""
    try:
        return move(c, agent_id, axis, to, at=at, actor=actor, reason=reason)
    except IllegalMove:
        return False


def remember(c: sa.Connection, moves: Sequence[tuple[AgentMoved, Axes]]) -> None:
    """Insert a history row for each move, with the axes after it, and report the moves to ``told_moves``.

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
    """Collect the moves made on *c* within the block. They take effect when its transaction commits."""
    moves: list[AgentMoved] = []
    info = c.info  # the info of a lost connection can no longer be accessed
    info[_TOLD] = moves
    try:
        yield moves
    finally:
        info.pop(_TOLD, None)
