"""States of agents: reading, history, their device's connection; and waits of exhaustion, each doubled.

Agents without quota are exhausted until a time or a probe. After a rate limit these waits go from a minute
to an hour, without credit from ten minutes to six hours, doubled each time.

Axes of agents and status words of the vocabularies as SQL expressions, which filter agents and moves.

The expressions follow the rules of ``protocol.agent_status``: a test compares both for all values.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
import sqlalchemy as sa

from protocol.agent_status import (
    DETAILED_AXES,
    STORED_AXES,
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
from protocol.status_vocabularies import (
    READINGS,
    RUNNING,
    OrchestratorStatus,
    StateDetail,
    StatusProjection,
    Vocabulary,
)
from storage.agents.agents import (
    activity_in,
    agent_called,
    axes_in,
    called,
    locked_state,
    move,
    next_move,
    remember,
)
from storage.kernel.columns import (
    Int,
    Key,
    columns_of,
    fill,
    fill_each,
    fill_page,
    listed,
    paged,
    readable,
    sparing,
    unindexed,
)
from storage.schema import MAY_CHANGE_WORDS, agent_state_history, agent_states, agents

Columns: TypeAlias = Mapping[str, sa.ColumnElement[str]]

STATE_DETAIL: Final = "state_detail"  # a key of columns beside the axes
_live = agent_states.c.runs_waiting + agent_states.c.runs_executing
_activity = sa.case(
    (agent_states.c.runs_running >= agents.c.max_concurrent_runs, str(Activity.SATURATED)),
    (agent_states.c.runs_running > 0, str(Activity.PROCESSING)),
    (_live > 0, str(Activity.WAITING)),
    else_=str(Activity.IDLE),
)
AXES_OF_AGENTS: Final[Columns] = {
    **{str(axis): agent_states.c[axis] for axis in STORED_AXES},
    str(Axis.ACTIVITY): _activity,
    STATE_DETAIL: agent_states.c.state_detail,
}


def words_in_sql(vocabulary: Vocabulary, axes: Columns, slots: sa.ColumnElement[int]) -> Columns:
    """Return the status columns of a vocabulary, as ``protocol.status_vocabularies.status_words`` reads them.

    Args:
        axes: the values of an agent on the axes, and its ``state_detail``.
        slots: its maximum number of runs at once.
    """
    if vocabulary is Vocabulary.ORCHESTRATOR:
        return pair_in_sql(axes)
    activity = axes[Axis.ACTIVITY]
    is_alone = sa.and_(slots == 1, activity == str(Activity.SATURATED))
    one_slot = {str(Axis.ACTIVITY): sa.case((is_alone, str(Activity.PROCESSING)), else_=activity)}
    return {
        reading.column: _read(reading, {**axes, **one_slot})
        for reading in READINGS
        if reading.vocabulary is vocabulary
    }


def _read(reading: StatusProjection, axes: Columns) -> sa.ColumnElement[str]:
    *rules, last = reading.rules
    return sa.case(
        *(
            (sa.and_(*(axes[axis].in_(sorted(values)) for axis, values in rule.when.items())), str(rule.word))
            for rule in rules
        ),
        else_=str(last.word),
    )


def pair_in_sql(axes: Columns) -> dict[str, sa.ColumnElement[str]]:
    """Return both words of the orchestrator, as ``protocol.status_vocabularies.pair_of`` reads them."""
    lifecycle, detail = axes[Axis.LIFECYCLE], axes[STATE_DETAIL]
    is_active = lifecycle == str(Lifecycle.ACTIVE)
    is_error = sa.and_(axes[Axis.HEALTH] == str(Health.ERROR), lifecycle != str(Lifecycle.TERMINATED))
    is_busy = sa.and_(is_active, axes[Axis.ACTIVITY].in_(sorted(RUNNING)))
    is_maintained = lifecycle == str(Lifecycle.MAINTENANCE)
    status, state = OrchestratorStatus, StateDetail
    return {
        "status": sa.case(
            (is_error, str(status.ERROR)),
            (is_busy, str(status.BUSY)),
            (is_active, str(status.ACTIVE)),
            (is_maintained, str(status.MAINTENANCE)),
            else_=str(status.INACTIVE),
        ),
        STATE_DETAIL: sa.case(
            (is_error, str(state.ERROR)),
            (is_busy, str(state.ACTIVE)),
            (is_active, sa.func.coalesce(detail, str(state.ACTIVE))),
            (is_maintained, sa.func.coalesce(detail, str(state.PAUSED))),
            else_=sa.func.upper(lifecycle),
        ),
    }


def _after(name: str) -> sa.ColumnElement[str]:
    """Return a value of the snapshot, which is taken after the move."""
    return sa.literal_column(f"(agent_state_history.snapshot ->> '{name}')", sa.Text)


def _before(axis: Axis) -> sa.ColumnElement[str]:
    is_moved = agent_state_history.c.axis == str(axis)
    return sa.case((is_moved, agent_state_history.c.old_value), else_=_after(axis))


_has_new_detail = agent_state_history.c.axis.in_(list(map(str, DETAILED_AXES)))
_axes_after: Columns = {name: _after(name) for name in (*Axis, STATE_DETAIL)}
_axes_before: Columns = {
    **{str(axis): _before(axis) for axis in Axis},
    STATE_DETAIL: sa.case((_has_new_detail, agent_state_history.c.old_detail), else_=_after(STATE_DETAIL)),
}
_words_before, _words_after = pair_in_sql(_axes_before), pair_in_sql(_axes_after)
# Conditions of moves that changed a word of the orchestrator; the first one is that of an index.
CHANGED_WORDS: Final = (
    sa.text(f"({MAY_CHANGE_WORDS})"),
    sa.or_(
        agent_state_history.c.old_value.is_(None),
        *(_words_before[column] != _words_after[column] for column in _words_after),
    ),
)


WAIT_MS, WAIT_CAP_MS = 60_000, 3_600_000  # rate limit: first and longest wait
# billing: first and longest wait before a probe
BILLING_PROBE_MS, BILLING_PROBE_CAP_MS = 600_000, 6 * 3_600_000

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
_back_at = sa.func.coalesce(agent_states.c.recovery_at, agent_states.c.probe_at)
_is_exhausted = sa.text("agent_states.availability = 'exhausted'")
BACK = (
    sa.select(agent_states.c.agent_id, agent_states.c.exhaust_reason, agent_states.c.recovery_at)
    .where(_is_exhausted, _back_at <= sa.bindparam("now"))
    .order_by(unindexed(agent_states.c.agent_id))
    .with_for_update()
)
NEXT_BACK = sa.select(sa.func.min(_back_at)).where(_is_exhausted)
FORGIVE = (
    sa.update(agent_states)
    .where(agent_states.c.agent_id == sa.bindparam("agent"), agent_states.c.exhaust_count > 0)
    .values(exhaust_count=0, updated_at=sa.bindparam("now"))
)


def exhaust(
    c: sa.Connection,
    agent_id: AgentId,
    *,
    cause: str | None,
    retry_after_ms: int | None = None,
    recovery_at: int | None = None,
    at: int,
    actor: str,
    reason: str | None = None,
    is_last_word: bool = False,
) -> int:
    """Mark the agent as exhausted. Return when it recovers or probes, in epoch milliseconds.

    ``rate_limit``: the provider's delay, but no less than 1 min, 2 min, ... 1 h, doubling with each
    consecutive exhaustion. ``billing``: the recovery is unknown, so ``recovery_at`` is NULL and a probe is
    due after 10 min, 20 min, ... 6 h. ``budget``: when the budget is renewed. An agent that is already
    exhausted keeps the later of the two instants, with its cause.

    Args:
        cause: an ``ExhaustReason``; None: unknown, with the instants of ``billing``.
        retry_after_ms: delay that the provider named; for a budget, the time until its renewal.
        recovery_at: known time of recovery; disables the doubling.
        reason: text for the history.
        is_last_word: a person set it: overwrite a later instant too.

    Raises:
        CodedError (UNKNOWN_AGENT): no agent has the id; nothing was written.
    """
    why = None if cause is None else ExhaustReason(cause)
    row = locked_state(c, agent_id)
    axes = axes_in(row)
    was_exhausted = axes.availability is Availability.EXHAUSTED
    is_known = recovery_at is not None or why is ExhaustReason.BUDGET
    times = row.exhaust_count if was_exhausted or is_known else row.exhaust_count + 1
    if recovery_at is not None:
        back = max(recovery_at, at)
    elif why is ExhaustReason.BUDGET:
        back = at + (WAIT_MS if retry_after_ms is None else retry_after_ms)
    else:
        is_billing = why is not ExhaustReason.RATE_LIMIT
        least, most = (BILLING_PROBE_MS, BILLING_PROBE_CAP_MS) if is_billing else (WAIT_MS, WAIT_CAP_MS)
        back = at + max(retry_after_ms or 0, min(most, least * 2 ** min(max(times - 1, 0), 30)))
    if was_exhausted and not is_last_word:
        known_already = int(row.recovery_at or row.probe_at)
        if known_already >= back:
            return known_already
    is_probe = why is not ExhaustReason.RATE_LIMIT and not is_known
    until = {"back": None, "probe": back} if is_probe else {"back": back, "probe": None}
    c.execute(EXHAUST, {"agent": agent_id, "cause": why, "times": times, "now": at} | until)
    if not was_exhausted:
        to, causes = Availability.EXHAUSTED, ": ".join(filter(None, (why, reason))) or None
        made = next_move(row, Axis.AVAILABILITY, axes.availability, to, reason=causes, actor=actor, at=at)
        remember(c, [(made, axes.after(Axis.AVAILABILITY, Availability.EXHAUSTED))])
    return back


def recover_due(c: sa.Connection, at: int, *, actor: str) -> list[AgentId]:
    """Make every exhausted agent available whose recovery or probe is due. Return their ids."""
    back = c.execute(BACK, {"now": at}).all()
    for row in back:
        reason = "probe" if row.recovery_at is None else "recovered"
        _recover(c, row.agent_id, reason, actor, at)
    return [AgentId(row.agent_id) for row in back]


def recover_agent(c: sa.Connection, agent_id: AgentId, *, at: int, actor: str) -> bool:
    """Make an exhausted agent available at once. Return False if it was not exhausted."""
    if locked_state(c, agent_id).availability != Availability.EXHAUSTED:
        return False
    _recover(c, agent_id, "said to be back", actor, at)
    return True


def _recover(c: sa.Connection, agent_id: AgentId, reason: str, actor: str, at: int) -> None:
    move(c, agent_id, Axis.AVAILABILITY, Availability.AVAILABLE, at=at, actor=actor, reason=reason)


def next_recovery(c: sa.Connection) -> int | None:
    """Return the earliest recovery or probe of all exhausted agents, if any."""
    return c.execute(NEXT_BACK).scalar_one_or_none()


def forgive(c: sa.Connection, agent_id: AgentId, at: int) -> None:
    """Reset the count of consecutive exhaustions, after the model answered."""
    c.execute(FORGIVE, {"agent": agent_id, "now": at})


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
        return fill(Axes, self)


class AgentMove(msgspec.Struct, frozen=True):
    """Row of an agent's history: a change on one axis.

    *snapshot*: the axes after the change. *old_detail*: ``state_detail`` before the change.
    """

    seq: int
    axis: str
    old_value: str | None
    new_value: str
    reason: str | None
    actor: str
    at: int
    snapshot: Axes = Axes()
    old_detail: str | None = None

    @property
    def axes_before(self) -> Axes | None:
        """Axes before the change; None: it created the agent."""
        if self.old_value is None:
            return None
        axes = self.snapshot.after(Axis(self.axis), self.old_value)
        if self.axis in DETAILED_AXES:
            axes = msgspec.structs.replace(axes, state_detail=self.old_detail)
        return axes


class Since(msgspec.Struct, frozen=True):
    """Value of an axis, with the time and reason of the change that led to it.

    *since*: ``None`` if the history no longer has that change.
    """

    value: str
    since: int | None = None
    reason: str | None = None
    actor: str | None = None


class AgentStatus(AgentState, frozen=True, kw_only=True):
    """State of an agent, and of each axis its value with the change that led to it."""

    name: str
    device_id: DeviceId | None
    since: dict[Axis, Since]


HISTORY = sa.select(*columns_of(AgentMove, agent_state_history)).where(
    agent_state_history.c.agent_id == sa.bindparam("agent")
)
MAX_SEQ: Final = 2**63 - 1
WORD_CHANGES = HISTORY.where(*CHANGED_WORDS)
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
    return fill(AgentState, row, activity=activity_in(row))


def status_called(c: sa.Connection, name: str, user_id: UserId | None) -> AgentStatus:
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
    changes = {(one.axis, one.new_value): one for one in rows}
    since = {}
    for axis in Axis:
        value = str(activity if axis is Axis.ACTIVITY else row._mapping[axis])
        one = changes.get((axis, value))
        since[axis] = Since(value) if one is None else Since(value, one.at, one.reason, one.actor)
    return fill(AgentStatus, row, activity=activity, since=since)


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
        with sparing(c):
            move(c, AgentId(agent_id), Axis.CONNECTIVITY, to, at=at, actor=by, reason=reason)


def write_metadata(c: sa.Connection, agent_id: AgentId, metadata: dict[str, Any], *, at: int) -> None:
    """Replace the agent's metadata, which the hub stores but does not interpret."""
    c.execute(
        sa.update(agent_states)
        .where(agent_states.c.agent_id == agent_id)
        .values(metadata=metadata, version=agent_states.c.version + 1, updated_at=at)
    )


def history_page(
    c: sa.Connection,
    agent_id: AgentId,
    *,
    axis: Axis | None = None,
    limit: int | None = None,
    after: Key | None = None,
) -> list[AgentMove]:
    """Return state changes of the agent, or those on one axis, newest first."""
    query = paged(HISTORY, agent_state_history.c.seq, limit=limit, after=after, descending=True)
    if axis is not None:
        query = query.where(agent_state_history.c.axis == sa.bindparam("on_axis", str(axis)))
    return fill_page(c, AgentMove, query, limit, {"agent": agent_id})


def word_changes(
    c: sa.Connection, agent_id: AgentId, *, limit: int | None = None, after: Key | None = None
) -> list[AgentMove]:
    """Return the changes of the agent that changed a status word of the orchestrator, newest first."""
    newest = after or (MAX_SEQ,)  # without a bound SQLite would not use the index of these moves
    query = paged(WORD_CHANGES, agent_state_history.c.seq, limit=limit, after=newest, descending=True)
    return fill_each(AgentMove, c.execute(query, {"agent": agent_id}))
