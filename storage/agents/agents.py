"""Agents: their rows, finding them by name or id, and the changes of their states.

A state change is validated by the axis' table, recorded in history, and reported after the commit. Every
change of a stored axis passes through ``move`` or ``agent_states.exhaust``. The derived axis follows from the
counters of an agent's runs, see ``count_runs``.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, Concatenate, Final, Literal, ParamSpec, TypeVar

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
from protocol.agent_types import AgentSubtype, AgentType
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, DeviceId, RunId, TemplateId, UserId
from protocol.lifecycles import EXECUTING_RUN_STATES, LIVE_RUN_STATES, RunOutcome, RunState
from storage.agents import configs
from storage.agents.configs import Mailbox, ModelUse
from storage.kernel.columns import (
    Key,
    columns_of,
    fill,
    in_parts,
    is_readable,
    paged,
    readable,
    readable_page,
    reader,
    sparing,
    write_each,
)
from storage.schedules import schedule_rows
from storage.schema import (
    EXECUTING,
    LIVE,
    agent_state_history,
    agent_states,
    agent_templates,
    agents,
    devices,
    gateway_agents,
    gateways,
    runs,
    schedules,
    users,
)

P = ParamSpec("P")
T = TypeVar("T")

EXTERNAL: Final = "external:"  # before an agent's external identifier, in the place of its name


class LastRun(msgspec.Struct, frozen=True):
    """Summary of an agent's newest run."""

    id: RunId
    state: RunState
    outcome: RunOutcome | None
    created_at: int
    completed_at: int | None
    items_created: int


class AgentFields(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of an agent that are stored as they are declared.

    Attributes:
        title: display name; None: the name.
        mailbox: mailbox that it reads instead of files.
        needs: required capabilities, as in ``file.read >= 1.2``.
        locks: names of the locks that its runs take.
    """

    name: str
    title: str | None = None
    description: str | None = None
    external_id: str | None = None
    instance_id: str | None = None
    project_id: str | None = None
    paths: tuple[str, ...] = ()
    file_extensions: tuple[str, ...] = ()
    mailbox: Mailbox | None = None
    data_types: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()
    timezone: str = "UTC"
    priority: int = 0
    max_concurrent_runs: int = 1
    model_use: ModelUse = ModelUse()


# Settings that only runs need, with what each is; in the order of hub.toml.
NEEDED_BY_RUNS: Final[Mapping[str, str]] = {
    "device": "device (the device that the agent works on)",
    "paths": "paths (what it reads there) or connector (the mailbox that it reads)",
    "data_types": "data_types (the kinds of records to find)",
    "prompt": "prompt (what the model is to find) or a template that has one",
}


def missing_for_runs(
    device: str | None, paths: object, mailbox: object, data_types: Sequence[str], prompt: str
) -> tuple[str, ...]:
    """Return the names in ``NEEDED_BY_RUNS`` of the settings that an agent lacks.

    A worker, which has nothing to read and no records to find, only needs a device.

    Args:
        prompt: its own, else its template's.
    """
    if is_worker(paths, mailbox, data_types):
        return () if device else ("device",)
    present = {
        "device": device or mailbox,
        "paths": paths or mailbox,
        "data_types": data_types,
        "prompt": prompt,
    }
    return tuple(name for name in NEEDED_BY_RUNS if not present[name])


def is_worker(paths: object, mailbox: object, data_types: Sequence[str]) -> bool:
    """Return True for an agent that reads nothing: each of its runs is a task for a program on its device."""
    return not (paths or mailbox or data_types)


def spell_missing(names: Iterable[str]) -> str:
    """Return the missing settings of an agent in words."""
    return ", ".join(NEEDED_BY_RUNS[name] for name in names)


class AgentRow(AgentFields, frozen=True, kw_only=True):
    """Agent with its device, configs, axes and schedule.

    Attributes:
        prompt: its own prompt, else its template's.
        own_prompt: its own prompt; empty without one.
        template: name of its template.
        executor: ``device``, also of an agent without one; ``connector``: reads a mailbox on behalf of its
            device, or of the first connected device of its user; ``gateway``: lives there and has no device.
        gateway: name of its gateway.
        gateway_role: its role at the gateway: main, lead or worker.
        archived_at: time of its removal; its history stays.
        schedule: summary of its enabled schedule, for people.
    """

    id: AgentId
    user_id: UserId
    user_name: str
    type: AgentType
    subtype: AgentSubtype | None
    template_id: TemplateId | None
    template: str | None
    executor: str
    gateway: str | None
    gateway_role: str | None
    device_id: DeviceId | None
    device_name: str | None
    connector_id: str | None
    own_prompt: str
    prompt: str
    source: str  # "file" or "api"
    config_rev: int
    archived_at: int | None
    lifecycle: str
    availability: str
    exhaust_reason: str | None
    recovery_at: int | None  # when an exhausted agent recovers or probes
    connectivity: str
    last_heartbeat_at: int | None
    health: str
    runs_waiting: int
    runs_executing: int
    schedule: str | None
    last_run: LastRun | None

    @property
    def delivers_to(self) -> str:
        """Its device, or which one of its user gets its items; empty if none does."""
        if self.device_name is None and self.executor == "connector":
            return f"the first connected device of {self.user_name}"
        return self.device_name or ""

    @property
    def missing_for_runs(self) -> tuple[str, ...]:
        """Names of the settings without which no run of the agent can start."""
        return missing_for_runs(self.device_name, self.paths, self.mailbox, self.data_types, self.prompt)


def roams(rows: Any = agents) -> sa.ColumnElement[bool]:
    """Return the condition of an agent that reads a connector for any device of its user."""
    return sa.and_(rows.c.executor == sa.literal_column("'connector'", sa.Text), rows.c.device_id.is_(None))


_newest = runs.alias()
AGENTS = configs.with_configs(
    sa.select(
        *columns_of(
            AgentRow,
            agents,
            agent_states,
            user_name=users.c.name,
            template=agent_templates.c.name,
            gateway=gateways.c.name,
            gateway_role=gateway_agents.c.role,
            device_name=devices.c.name,
            own_prompt=sa.func.coalesce(agents.c.prompt_template, ""),
            prompt=sa.func.coalesce(agents.c.prompt_template, agent_templates.c.prompt_template, ""),
            archived_at=agents.c.deleted_at,
            recovery_at=sa.func.coalesce(agent_states.c.recovery_at, agent_states.c.probe_at),
            schedule=None,
            last_run=None,
            **configs.COLUMNS,
        ),
        *columns_of(LastRun, runs, prefix="run_"),
        schedules.c.id.label("schedule_id"),
        schedules.c.expr,
        schedules.c.every_ms,
        schedules.c.at_ms,
    )
    .join_from(agents, agent_states, agent_states.c.agent_id == agents.c.id)
    .join(users, users.c.id == agents.c.user_id)
    .outerjoin(devices, devices.c.id == agents.c.device_id)
    .outerjoin(gateway_agents, gateway_agents.c.agent_id == agents.c.id)
    .outerjoin(
        gateways,
        gateways.c.id == gateway_agents.c.gateway_id,
    )
    .outerjoin(agent_templates, agent_templates.c.id == agents.c.template_id)
    .outerjoin(
        schedules,
        sa.and_(
            schedules.c.agent_id == agents.c.id,
            schedules.c.enabled,
            schedules.c.action == "run",
        ),
    )
    .outerjoin(
        runs,
        runs.c.id
        == sa.select(_newest.c.id)
        .where(_newest.c.agent_id == agents.c.id)
        .order_by(_newest.c.created_at.desc(), _newest.c.id.desc())
        .limit(1)
        .scalar_subquery(),
    )
)
AGENT = AGENTS.where(agents.c.id == sa.bindparam("agent"))
PRESENT_AGENTS = AGENTS.where(agents.c.deleted_at.is_(None))
FILE_AGENTS = AGENTS.where(agents.c.source == "file")


def get_agent(c: sa.Connection, id: AgentId) -> AgentRow:
    """Return the agent, archived or not.

    Raises:
        CodedError (UNKNOWN_AGENT): no agent has the id.
    """
    row = c.execute(AGENT, {"agent": id}).one_or_none()
    if row is None:
        raise CodedError(ErrorCode.UNKNOWN_AGENT, f"there is no agent {id}")
    return agent_in(row)


def find_agent_by_name(c: sa.Connection, name: str, *, user_id: UserId | None = None) -> AgentRow | None:
    """Return the agent with that name, of any user or of *user_id*; archived only if no other has it."""
    named = _of_user(AGENTS.where(agents.c.name == name), user_id)
    present = named.where(agents.c.deleted_at.is_(None)).order_by(agents.c.created_at, agents.c.id)
    removed = named.where(agents.c.deleted_at.is_not(None)).order_by(agents.c.created_at, agents.c.id)
    row = c.execute(present).first() or c.execute(removed).first()
    return None if row is None else agent_in(row)


def free_name(c: sa.Connection, user_id: UserId, preferred: str) -> str:
    """Return the name, or the first of name-2, name-3, ... that no agent of the user ever had."""
    numbered = agents.c.name.startswith(f"{preferred}-", autoescape=True)
    query = sa.select(agents.c.name).where(sa.or_(agents.c.name == preferred, numbered))
    taken = set(c.execute(_of_user(query, user_id)).scalars())
    names = (f"{preferred}-{number}" for number in count(2))
    return preferred if preferred not in taken else next(name for name in names if name not in taken)


def find_agent(c: sa.Connection, given: str, *, user_id: UserId) -> AgentRow | None:
    """Return the user's agent by id or, failing that, by name; archived agents do not match."""
    return next(iter(readable(agent_in, c.execute(called(AGENTS, given, user_id)))), None)


def first_agent_on(c: sa.Connection, device_id: DeviceId) -> tuple[AgentId, int] | None:
    """Return the agent that has read from the device for the longest time, and when it was created."""
    query = sa.select(agents.c.id, agents.c.created_at).where(
        agents.c.device_id == device_id, agents.c.deleted_at.is_(None)
    )
    row = c.execute(query.order_by(agents.c.created_at, agents.c.id).limit(1)).one_or_none()
    return None if row is None else (AgentId(row.id), row.created_at)


def find_agent_on(c: sa.Connection, given: str, *, device_id: DeviceId) -> AgentRow | None:
    """Return the device's agent by id or, failing that, by name; archived agents do not match."""
    is_given = sa.or_(agents.c.id == given, agents.c.name == given)
    query = PRESENT_AGENTS.where(agents.c.device_id == device_id, is_given)
    row = c.execute(query.order_by(agents.c.id != given)).first()
    return None if row is None else agent_in(row)


def agent_called(
    c: sa.Connection,
    name: str,
    user_id: UserId | None,
    *,
    or_removed: bool = False,
    devices: Collection[DeviceId] = (),
) -> AgentRow:
    """Return the agent of that id or name among this user's, or among all; also by ``external:ID``.

    Args:
        or_removed: return the last one that was removed where there is no other.
        devices: if not empty, agents of other devices do not exist for the caller.

    Raises:
        CodedError (UNKNOWN_AGENT): no user has an agent of that name.
        CodedError: several users have one, and no agent has that id.
    """
    query = called(AGENTS, name, user_id)
    query = query.where(agents.c.device_id.in_(devices)) if devices else query
    found = readable(agent_in, c.execute(query))
    if len(found) > 1 and found[0].id != name:
        raise CodedError(
            ErrorCode.BAD_PARAMS,
            f"several users have an agent {name!r}; say whose: ?user=NAME, or give its id",
        )
    removed = _removed(c, name, user_id) if or_removed and not found else None
    removed = None if removed is not None and devices and removed.device_id not in devices else removed
    if not found and name.startswith(EXTERNAL):
        external_id = name.removeprefix(EXTERNAL)
        raise CodedError(
            ErrorCode.UNKNOWN_AGENT, f"there is no agent with the external identifier {external_id!r}"
        )
    if not found and removed is None:
        raise CodedError(ErrorCode.UNKNOWN_AGENT, f"there is no agent {name!r}")
    return removed or found[0]


def _removed(c: sa.Connection, given: str, user_id: UserId | None) -> AgentRow | None:
    row = c.execute(_of_user(AGENT, user_id), {"agent": given}).one_or_none()
    return find_agent_by_name(c, given, user_id=user_id) if row is None else agent_in(row)


def called(query: sa.Select[Any], name: str, user_id: UserId | None) -> sa.Select[Any]:
    """Limit a query to the present agents of that id, name or ``external:ID``; of a user, if one is given.

    An agent whose id it is comes first: the name of an agent never hides another agent's id.
    """
    if name.startswith(EXTERNAL):
        is_called = agents.c.external_id == name.removeprefix(EXTERNAL)
    else:
        is_called = sa.or_(agents.c.id == name, agents.c.name == name)
    query = query.where(is_called, agents.c.deleted_at.is_(None)).order_by(agents.c.id != name, agents.c.id)
    return query if user_id is None else query.where(agents.c.user_id == user_id)


def with_agent(
    c: sa.Connection,
    name: str,
    user_id: UserId | None,
    fn: Callable[Concatenate[sa.Connection, AgentId, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> tuple[AgentRow, T]:
    """Return the agent of that name as ``agent_called`` does, and the result of *fn* for its id."""
    agent = agent_called(c, name, user_id)
    return agent, fn(c, agent.id, *args, **kwargs)


def list_agents(
    c: sa.Connection,
    *,
    user_id: UserId | None = None,
    device_id: DeviceId | None = None,
    devices: Collection[DeviceId] = (),
    only: Iterable[sa.ColumnElement[bool]] = (),
    limit: int | None = None,
    after: Key | None = None,
) -> list[AgentRow]:
    """Return the agents that are not archived, by name; optionally of one user, one device, or *devices*.

    Args:
        only: conditions of the agents, see ``hub.api.agent_bodies``.
    """
    query = _of_user(PRESENT_AGENTS, user_id).where(*only)
    query = paged(query, agents.c.name, agents.c.id, limit=limit, after=after)
    if device_id is not None:
        query = query.where(agents.c.device_id == device_id)
    if devices:
        query = query.where(agents.c.device_id.in_(devices))
    return readable_page(c, agent_in, query, limit)


def usual_timezone(c: sa.Connection, user_id: UserId) -> str | None:
    """Return the time zone that most agents of a user have, of the first hundred; None without an agent."""
    zones = Counter(agent.timezone for agent in list_agents(c, user_id=user_id, limit=100))
    return max(zones, key=zones.__getitem__, default=None)


def list_with_connector(c: sa.Connection) -> list[AgentRow]:
    """Return the agents that read a mailbox or a calendar and are not archived, by name."""
    return list_agents(c, only=[agents.c.connector_id.is_not(None)])


def names_of_agents(c: sa.Connection) -> dict[str, str]:
    """Return the names of all agents that are not archived, by id."""
    found = c.execute(sa.select(agents.c.id, agents.c.name).where(agents.c.deleted_at.is_(None)))
    return {row.id: row.name for row in found}


_all = sa.select(sa.func.count()).select_from(agents)
# SQLite counts a whole table without a step for each row.
COUNT = sa.select(
    _all.scalar_subquery() - _all.where(sa.text("agents.deleted_at IS NOT NULL")).scalar_subquery()
)


def count_agents(c: sa.Connection, *, user_id: UserId | None = None) -> int:
    """Return the number of agents that are not archived, of all users or of one."""
    if user_id is None:
        return int(c.execute(COUNT).scalar_one())
    query = sa.select(sa.func.count()).select_from(agents).where(agents.c.deleted_at.is_(None))
    return int(c.execute(_of_user(query, user_id)).scalar_one())


def agents_by(
    c: sa.Connection,
    column: Literal["connector_id", "template_id"],
    ids: Sequence[str],
    *,
    user_id: UserId | None = None,
) -> dict[str, dict[AgentId, str]]:
    """Return the names of present agents by id, for each of these values of a column, by name."""
    key = agents.c[column]
    query = _of_user(sa.select(key, agents.c.id, agents.c.name), user_id)
    query = query.where(key.in_(ids), agents.c.deleted_at.is_(None)).order_by(agents.c.name, agents.c.id)
    found: dict[str, dict[AgentId, str]] = {id: {} for id in ids}
    for value, agent_id, name in c.execute(query):
        found[value][AgentId(agent_id)] = name
    return found


def _of_user(query: sa.Select[Any], user_id: UserId | None) -> sa.Select[Any]:
    return query if user_id is None else query.where(agents.c.user_id == user_id)


@reader
def agent_in(row: sa.Row[Any]) -> AgentRow:
    """Convert a row of ``AGENTS``."""
    return fill(
        AgentRow,
        row,
        schedule=None
        if row.schedule_id is None
        else schedule_rows.time_text(row.expr, row.every_ms, row.at_ms),
        last_run=None if row.run_id is None else fill(LastRun, row, prefix="run_"),
        **configs.configs_in(row),
    )


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
    return fill(Axes, row, activity=activity_in(row))


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
        raise ValueError("an agent is exhausted for a reason: storage.agents.agent_states.exhaust")
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
        with sparing(c):
            _change(c, row, activity_in(before[row.agent_id]), reason=reason, at=at, actor=actor)


def _change(c: sa.Connection, row: Any, before: Activity, *, reason: str, at: int, actor: str) -> None:
    """Record the change of activity from *before* to that in *row*, if it differs."""
    axes = axes_in(row)
    if axes.activity is before:
        return
    c.execute(NEXT_VERSION, {"agent": row.agent_id, "now": at})
    made = next_move(row, Axis.ACTIVITY, before, axes.activity, reason=reason, actor=actor, at=at)
    remember(c, [(made, axes)])
