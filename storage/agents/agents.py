"""Agents in the database: reading, listing, finding by name, and missing settings for runs."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import count
from typing import Any, Concatenate, Final, Literal, ParamSpec, TypeVar

import msgspec
import sqlalchemy as sa

from protocol.agent_types import AgentSubtype, AgentType
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, DeviceId, RunId, TemplateId, UserId
from protocol.lifecycles import RunOutcome, RunState
from storage.agents import configs
from storage.agents.configs import Mailbox, ModelUse
from storage.kernel.columns import Key, columns_of, paged, readable, readable_page, reader, struct_from
from storage.schedules import schedule_rows
from storage.schema import (
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
    exhausted_at: int | None
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
    named = of_user(AGENTS.where(agents.c.name == name), user_id)
    present = named.where(agents.c.deleted_at.is_(None)).order_by(agents.c.created_at, agents.c.id)
    removed = named.where(agents.c.deleted_at.is_not(None)).order_by(agents.c.created_at, agents.c.id)
    row = c.execute(present).first() or c.execute(removed).first()
    return None if row is None else agent_in(row)


def free_name(c: sa.Connection, user_id: UserId, preferred: str) -> str:
    """Return the name, or the first of name-2, name-3, ... that no agent of the user ever had."""
    numbered = agents.c.name.startswith(f"{preferred}-", autoescape=True)
    query = sa.select(agents.c.name).where(sa.or_(agents.c.name == preferred, numbered))
    taken = set(c.execute(of_user(query, user_id)).scalars())
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
    row = c.execute(of_user(AGENT, user_id), {"agent": given}).one_or_none()
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
    query = of_user(PRESENT_AGENTS, user_id).where(*only)
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
    return int(c.execute(of_user(query, user_id)).scalar_one())


def agents_by(
    c: sa.Connection,
    column: Literal["connector_id", "template_id"],
    ids: Sequence[str],
    *,
    user_id: UserId | None = None,
) -> dict[str, dict[AgentId, str]]:
    """Return the names of present agents by id, for each of these values of a column, by name."""
    key = agents.c[column]
    query = of_user(sa.select(key, agents.c.id, agents.c.name), user_id)
    query = query.where(key.in_(ids), agents.c.deleted_at.is_(None)).order_by(agents.c.name, agents.c.id)
    found: dict[str, dict[AgentId, str]] = {id: {} for id in ids}
    for value, agent_id, name in c.execute(query):
        found[value][AgentId(agent_id)] = name
    return found


def of_user(query: sa.Select[Any], user_id: UserId | None) -> sa.Select[Any]:
    """Restrict *query*, which joins the agents, to one user; None: no restriction."""
    return query if user_id is None else query.where(agents.c.user_id == user_id)


@reader
def agent_in(row: sa.Row[Any]) -> AgentRow:
    """Convert a row of ``AGENTS``."""
    return struct_from(
        AgentRow,
        row,
        schedule=None
        if row.schedule_id is None
        else schedule_rows.time_text(row.expr, row.every_ms, row.at_ms),
        last_run=None if row.run_id is None else struct_from(LastRun, row, prefix="run_"),
        **configs.configs_in(row),
    )
