"""Status changes of agents: validation, history, activity by running work, agents kept offline.

The table of the axis validates a change. Every change of a stored axis passes through ``move`` or
``exhaustion.exhaust``. The derived axis follows from the counters of the runs, see ``count_runs``.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.agent_status import (
    STORED_AXES,
    Activity,
    AgentMoved,
    Availability,
    Axes,
    Axis,
    Connectivity,
    Health,
    IllegalMove,
    activity_of,
    axis_value,
    check_move,
)
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId
from protocol.lifecycles import EXECUTING_RUN_STATES, LIVE_RUN_STATES, RunState
from storage.kernel.columns import (
    in_parts,
    is_readable,
    isolating_broken_row,
    reader,
    struct_from,
    write_each,
)
from storage.schema import EXECUTING, LIVE, agent_state_history, agent_states, agents, runs

_RECORDED: Final = "agent_moves"  # key in a connection's info while its moves are recorded

LOCKED_STATES = (
    sa.select(
        *(agent_states.c[axis] for axis in STORED_AXES),
        agent_states.c.agent_id,
        agent_states.c.reported_connectivity,
        agent_states.c.state_detail,
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
    Axis.LIFECYCLE: {"state_detail": None},
    Axis.AVAILABILITY: dict.fromkeys(("exhaust_reason", "exhausted_at", "recovery_at", "probe_at")),
    Axis.HEALTH: {"health_reason": sa.bindparam("why"), "state_detail": None},
}
MOVES = {
    axis: sa.update(agent_states)
    .where(agent_states.c.agent_id == sa.bindparam("agent"))
    .values({str(axis): sa.bindparam("to")} | _details.get(axis, {}) | _moved)
    for axis in STORED_AXES
}
REPORTED = (
    sa.update(agent_states)
    .where(agent_states.c.agent_id == sa.bindparam("agent"))
    .values(reported_connectivity=sa.bindparam("reported"))
)
REFINE = (
    sa.update(agent_states)
    .where(agent_states.c.agent_id == sa.bindparam("agent"))
    .values({"state_detail": sa.bindparam("detail")} | _moved)
)
NEW_HEALTH_REASON = (
    sa.update(agent_states)
    .where(agent_states.c.agent_id == sa.bindparam("agent"))
    .values(
        health_reason=sa.bindparam("why"),
        version=agent_states.c.version + 1,
        updated_at=sa.bindparam("now"),
    )
)


def locked_states(c: sa.Connection, agent_ids: Sequence[AgentId]) -> Sequence[Any]:
    """Lock the states of these agents for update and return them by id; at most one IN list.

    Unreadable states are left out: they stay as they are until they are corrected.
    """
    rows = c.execute(LOCKED_STATES, {"listed": list(agent_ids)}).all()
    return [row for row in rows if is_readable(axes_in, row)]


def locked_state(c: sa.Connection, agent_id: AgentId) -> Any:
    """Lock the state of an agent for update and return it.

    Raises:
        CodedError (UNKNOWN_AGENT): no agent has the id.
        UnreadableRow: its state cannot be read.
    """
    row = c.execute(LOCKED_STATES, {"listed": [agent_id]}).one_or_none()
    if row is None:
        raise CodedError(ErrorCode.UNKNOWN_AGENT, f"there is no agent {agent_id}")
    axes_in(row)
    return row


@reader
def activity_in(row: Any) -> Activity:
    """Return the activity that follows from the counters of a state row."""
    return activity_of(
        live=row.runs_waiting + row.runs_executing, running=row.runs_running, limit=row.max_concurrent_runs
    )


@reader
def axes_in(row: Any) -> Axes:
    """Return the axes of a row that has their columns, the counters and the limit."""
    return struct_from(Axes, row, activity=activity_in(row))


@reader
def next_move(
    row: Any, axis: Axis, before: str, after: str, *, reason: str | None, actor: str, at: int
) -> AgentMoved:
    """Return the move that follows the state *row* of an agent."""
    return AgentMoved(
        agent_id=row.agent_id,
        axis=axis,
        before=before,
        after=after,
        reason=reason,
        actor=actor,
        at=at,
        seq=row.version + 1,
        detail_before=row.state_detail,
    )


def move(
    c: sa.Connection, agent_id: AgentId, axis: str, to: str, *, at: int, actor: str, reason: str | None = None
) -> bool:
    """Move an agent on *axis*. Return False if it has that value already.

    Leaving ``exhausted`` clears the details of the exhaustion. The *reason* of ``health`` is kept with the
    state; a new reason for an existing error replaces it. The connectivity of an agent that a person keeps
    offline is only noted.

    Raises:
        CodedError (BAD_PARAMS): the axis or value does not exist.
        IllegalMove: the axis' table does not allow the move, or the axis is derived.
        CodedError (UNKNOWN_AGENT): no agent has the id.
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
    if known is Axis.CONNECTIVITY and row.reported_connectivity is not None:
        c.execute(REPORTED, {"agent": agent_id, "reported": value})
        return False
    check_move(known, before, value)
    if before == value:
        if value == Health.ERROR and reason is not None and reason != row.health_reason:
            c.execute(NEW_HEALTH_REASON, {"agent": agent_id, "why": reason, "now": at})
        return False
    details = {"why": reason if value == Health.ERROR else None} if known is Axis.HEALTH else {}
    c.execute(MOVES[known], {"agent": agent_id, "to": value, "now": at} | details)
    made = next_move(row, known, before, value, reason=reason, actor=actor, at=at)
    remember(c, [(made, axes.after(known, value))])
    return True


def keep_offline(
    c: sa.Connection, agent_id: AgentId, *, at: int, actor: str, reason: str | None = None
) -> None:
    """Keep an agent offline, whatever its device reports, until ``end_keeping_offline``."""
    row = locked_state(c, agent_id)
    if row.reported_connectivity is None:
        move(c, agent_id, Axis.CONNECTIVITY, Connectivity.OFFLINE, at=at, actor=actor, reason=reason)
        c.execute(REPORTED, {"agent": agent_id, "reported": row.connectivity})


def end_keeping_offline(
    c: sa.Connection, agent_id: AgentId, *, at: int, actor: str, reason: str | None = None
) -> None:
    """Make an agent's connectivity follow its device again."""
    reported = locked_state(c, agent_id).reported_connectivity
    if reported is not None:
        c.execute(REPORTED, {"agent": agent_id, "reported": None})
        move(c, agent_id, Axis.CONNECTIVITY, reported, at=at, actor=actor, reason=reason)


def refine(
    c: sa.Connection, agent_id: AgentId, detail: str | None, *, at: int, actor: str, reason: str | None = None
) -> None:
    """Write a state detail that is finer than the axes, as a move of the lifecycle to where it is."""
    row = locked_state(c, agent_id)
    axes = axes_in(row)
    c.execute(REFINE, {"agent": agent_id, "detail": detail, "now": at})
    made = next_move(row, Axis.LIFECYCLE, axes.lifecycle, axes.lifecycle, reason=reason, actor=actor, at=at)
    remember(c, [(made, msgspec.structs.replace(axes, state_detail=detail))])


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
            "old_detail": made.detail_before,
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
    recorded: list[AgentMoved] | None = c.info.get(_RECORDED)
    if recorded is not None:
        recorded.extend(made for made, _ in moves)


@contextmanager
def recorded_moves(c: sa.Connection) -> Iterator[list[AgentMoved]]:
    """Collect the moves made on *c* within the block. They take effect when its transaction commits."""
    moves: list[AgentMoved] = []
    info = c.info  # the info of a lost connection can no longer be accessed
    info[_RECORDED] = moves
    try:
        yield moves
    finally:
        info.pop(_RECORDED, None)


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
    "runs_executing": "runs." + EXECUTING,
    # EXECUTING first, so that its index is used
    "runs_running": f"runs.{EXECUTING} AND runs.state = 'RUNNING'",
}
_NO_RUNS: Final = (0,) * len(_counted)
_recounts = {
    name: sa.select(sa.func.count()).where(_own, sa.text(which)).scalar_subquery()
    for name, which in _counted.items()
}
# Agents at a gateway count the turns that the gateway reports, those without a device what their heartbeats
# report; neither has runs to recount.
_is_reported = sa.exists().where(
    agents.c.id == agent_states.c.agent_id,
    sa.or_(
        sa.text("agents.executor = 'gateway'"),
        sa.and_(
            agents.c.device_id.is_(None),
            agents.c.executor == "device",
            ~sa.exists().where(runs.c.agent_id == agents.c.id, sa.text(f"runs.{LIVE}")),
        ),
    ),
)
# Of the agents, only those are counted one by one whose counters differ from their live runs.
AGENTS_WITH_RUNS = sa.select(agent_states.c.agent_id, *(agent_states.c[name] for name in _counted)).where(
    sa.or_(*(agent_states.c[name] > 0 for name in _counted))
)
LIVE_RUNS = (
    sa.select(
        runs.c.agent_id, *(sa.func.sum(sa.case((sa.text(which), 1), else_=0)) for which in _counted.values())
    )
    .where(sa.text(f"runs.{LIVE}"))
    .group_by(runs.c.agent_id)
)
MISCOUNTED = sa.select(agent_states.c.agent_id).where(
    agent_states.c.agent_id.in_(sa.bindparam("agents", expanding=True)),
    ~_is_reported,
    sa.or_(*(agent_states.c[name] != recount for name, recount in _recounts.items())),
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
        made = _activity_moves(row, after, reason=by.because or None, actor=actor, at=at)
        moves.extend(made)
        deltas = {"waiting": by.waiting, "executing": by.executing, "running": by.running}
        changes.append(deltas | {"agent": row.agent_id, "versions": len(made), "now": at})
    if changes:
        c.execute(COUNT_RUNS, changes)
    remember(c, moves)


def _activity_moves(
    row: Any, after: Activity, *, reason: str | None, actor: str, at: int
) -> list[tuple[AgentMoved, Axes]]:
    """Return the move to another activity, if it changes; *row* is the state before the move."""
    axes = axes_in(row)
    if axes.activity is after:
        return []
    made = next_move(row, Axis.ACTIVITY, axes.activity, after, reason=reason, actor=actor, at=at)
    return [(made, axes.after(Axis.ACTIVITY, after))]


def recount(c: sa.Connection, *, at: int, actor: str) -> list[AgentId]:
    """Correct every counter that differs from the runs. Return the agents that were wrong."""
    counted, live = (
        {row[0]: tuple(row[1:]) for row in c.execute(query)} for query in (AGENTS_WITH_RUNS, LIVE_RUNS)
    )
    differing = sorted(id for id in counted | live if counted.get(id, _NO_RUNS) != live.get(id, _NO_RUNS))
    wrong = [
        AgentId(agent_id)
        for part in in_parts(differing)
        for agent_id in c.execute(MISCOUNTED, {"agents": part}).scalars()
    ]
    for part in in_parts(wrong):
        before = {row.agent_id: row for row in locked_states(c, part)}
        write_each(c, RECOUNT, [{"agent": agent_id} for agent_id in before])
        _settle(c, before, list(before), reason="counted anew", at=at, actor=actor)
    return wrong


def count_turns(
    c: sa.Connection, agent_id: AgentId, turns: int, *, because: str, at: int, actor: str
) -> bool:
    """Set the number of running turns of an agent at a gateway. Return False if it was known already.

    The number is absolute, so a missed update does not accumulate.
    """
    row = locked_state(c, agent_id)
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
        with isolating_broken_row(c):
            _change(c, row, activity_in(before[row.agent_id]), reason=reason, at=at, actor=actor)


def _change(c: sa.Connection, row: Any, before: Activity, *, reason: str, at: int, actor: str) -> None:
    """Record the change of activity from *before* to that in *row*, if it differs."""
    axes = axes_in(row)
    if axes.activity is before:
        return
    c.execute(NEXT_VERSION, {"agent": row.agent_id, "now": at})
    made = next_move(row, Axis.ACTIVITY, before, axes.activity, reason=reason, actor=actor, at=at)
    remember(c, [(made, axes)])
