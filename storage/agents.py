"""Agents, and the reconciling of those that are declared in hub.toml."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, DeviceId, RunId, UserId
from protocol.lifecycles import RunOutcome, RunState
from storage import agent_configs, agent_states, devices, schedules, schema, users
from storage.agent_configs import ModelUse
from storage.schedules import DeclaredSchedule
from storage.schema import agents, runs

IDS_PER_AGENT = 4  # of the agent, of its device, of its schedule, of its user


class UnknownAgent(HubError):
    """There is no such agent, or it was removed."""

    code = ErrorCode.UNKNOWN_AGENT


class NameTaken(HubError):
    """An agent made over the API bears the name."""

    code = ErrorCode.NAME_TAKEN

    def __init__(self, name: str) -> None:
        super().__init__(f"the agent {name!r} was made over the API; declare it under another name")
        self.name = name


class DeclaredAgent(msgspec.Struct, frozen=True, kw_only=True):
    """An agent as it stands in hub.toml. *user_name*: whose it is; ``None``: the owner's."""

    name: str
    user_name: str | None = None
    device_name: str
    paths: tuple[str, ...] = ()
    file_extensions: tuple[str, ...] = ()
    data_types: tuple[str, ...] = ()
    prompt: str = ""
    schedule: DeclaredSchedule | None = None
    timezone: str = "UTC"
    priority: int = 0
    max_concurrent_runs: int = 1
    model_use: ModelUse = ModelUse()


class Reconciled(msgspec.Struct, frozen=True):
    """Names of the agents that the file touched; *revived* ones were archived before."""

    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    revived: tuple[str, ...] = ()
    archived: tuple[str, ...] = ()


class LastRun(msgspec.Struct, frozen=True):
    """The newest run of an agent, in brief."""

    id: RunId
    state: RunState
    outcome: RunOutcome | None
    created_at: int
    completed_at: int | None
    items_created: int


class AgentRow(msgspec.Struct, frozen=True, kw_only=True):
    """An agent with its device, configs, axes and schedule.

    *archived_at*: removed, its history stays. *schedule*: the enabled one in short, for people.
    """

    id: AgentId
    user_id: UserId
    name: str
    device_id: DeviceId | None
    device_name: str | None
    paths: tuple[str, ...]
    file_extensions: tuple[str, ...]
    data_types: tuple[str, ...]
    prompt: str
    source: str  # "file" or "api"
    priority: int
    max_concurrent_runs: int
    config_rev: int
    archived_at: int | None
    lifecycle: str
    availability: str
    recovery_at: int | None  # when an exhausted agent is asked again
    connectivity: str
    health: str
    runs_waiting: int
    runs_executing: int
    schedule: str | None
    timezone: str
    model_use: ModelUse
    last_run: LastRun | None


_newest = runs.alias()
AGENTS = agent_configs.with_configs(
    sa.select(
        agents.c.id,
        agents.c.user_id,
        agents.c.name,
        agents.c.device_id,
        schema.devices.c.name.label("device_name"),
        *agent_configs.COLUMNS,
        agents.c.data_types,
        agents.c.prompt_template.label("prompt"),
        agents.c.source,
        agents.c.priority,
        agents.c.max_concurrent_runs,
        agents.c.config_rev,
        agents.c.deleted_at.label("archived_at"),
        schema.agent_states.c.lifecycle,
        schema.agent_states.c.availability,
        sa.func.coalesce(schema.agent_states.c.recovery_at, schema.agent_states.c.probe_at).label(
            "recovery_at"
        ),
        schema.agent_states.c.connectivity,
        schema.agent_states.c.health,
        schema.agent_states.c.runs_waiting,
        schema.agent_states.c.runs_executing,
        schema.schedules.c.id.label("schedule_id"),
        schema.schedules.c.expr,
        schema.schedules.c.every_ms,
        schema.schedules.c.at_ms,
        runs.c.id.label("run_id"),
        runs.c.state.label("run_state"),
        runs.c.outcome.label("run_outcome"),
        runs.c.created_at.label("run_created_at"),
        runs.c.completed_at.label("run_completed_at"),
        runs.c.items_created.label("run_items_created"),
    )
    .join_from(agents, schema.agent_states, schema.agent_states.c.agent_id == agents.c.id)
    .outerjoin(schema.devices, schema.devices.c.id == agents.c.device_id)
    .outerjoin(
        schema.schedules,
        sa.and_(schema.schedules.c.agent_id == agents.c.id, schema.schedules.c.enabled),
    )
    .outerjoin(
        runs,
        runs.c.id
        == sa.select(sa.func.max(_newest.c.id)).where(_newest.c.agent_id == agents.c.id).scalar_subquery(),
    )
)
AGENT = AGENTS.where(agents.c.id == sa.bindparam("agent"))
AGENT_BY_NAME = AGENTS.where(agents.c.name == sa.bindparam("named")).order_by(
    agents.c.deleted_at.is_not(None), agents.c.created_at, agents.c.id
)
PRESENT_AGENTS = AGENTS.where(agents.c.deleted_at.is_(None)).order_by(agents.c.name, agents.c.id)
PRESENT_AGENTS_NAMED = PRESENT_AGENTS.where(agents.c.name == sa.bindparam("named"))
FILE_AGENTS = AGENTS.where(agents.c.source == "file")


def get_agent(c: sa.Connection, id: AgentId) -> AgentRow:
    """The agent, archived or not.

    Raises:
        UnknownAgent: there is none.
    """
    row = c.execute(AGENT, {"agent": id}).one_or_none()
    if row is None:
        raise UnknownAgent(f"there is no agent {id}")
    return _agent(row)


def find_agent_by_name(c: sa.Connection, name: str, *, user_id: UserId | None = None) -> AgentRow | None:
    """The agent of that name, of any user or of one; an archived one only if no other bears it."""
    row = c.execute(_of_user(AGENT_BY_NAME, user_id), {"named": name}).first()
    return None if row is None else _agent(row)


def agents_named(c: sa.Connection, name: str, *, user_id: UserId | None = None) -> list[AgentRow]:
    """The agents of that name that are not archived: at most one of each user, or of *user_id*."""
    query = _of_user(PRESENT_AGENTS_NAMED, user_id)
    return [_agent(row) for row in c.execute(query, {"named": name})]


def list_agents(c: sa.Connection, *, user_id: UserId | None = None) -> list[AgentRow]:
    """Every agent that is not archived, of all users or of one, by name."""
    return [_agent(row) for row in c.execute(_of_user(PRESENT_AGENTS, user_id))]


def _of_user(query: sa.Select[Any], user_id: UserId | None) -> sa.Select[Any]:
    return query if user_id is None else query.where(agents.c.user_id == user_id)


def _agent(row: Any) -> AgentRow:
    return AgentRow(
        id=row.id,
        user_id=row.user_id,
        name=row.name,
        device_id=row.device_id,
        device_name=row.device_name,
        paths=agent_configs.names_in(row.paths),
        file_extensions=agent_configs.names_in(row.file_extensions),
        data_types=tuple(row.data_types),
        prompt=row.prompt or "",
        source=row.source,
        priority=row.priority,
        max_concurrent_runs=row.max_concurrent_runs,
        config_rev=row.config_rev,
        archived_at=row.archived_at,
        lifecycle=row.lifecycle,
        availability=row.availability,
        recovery_at=row.recovery_at,
        connectivity=row.connectivity,
        health=row.health,
        runs_waiting=row.runs_waiting,
        runs_executing=row.runs_executing,
        schedule=None if row.schedule_id is None else schedules.told(row.expr, row.every_ms, row.at_ms),
        timezone=agent_configs.zone_in(row.timezone),
        model_use=agent_configs.model_use_in(row.model_use),
        last_run=None
        if row.run_id is None
        else LastRun(
            row.run_id,
            row.run_state,
            row.run_outcome,
            row.run_created_at,
            row.run_completed_at,
            row.run_items_created,
        ),
    )


UPDATE_AGENT = (
    sa.update(agents)
    .where(agents.c.id == sa.bindparam("agent"))
    .values(
        device_id=sa.bindparam("on_device"),
        prompt_template=sa.bindparam("prompt"),
        data_types=sa.bindparam("types"),
        priority=sa.bindparam("rank"),
        max_concurrent_runs=sa.bindparam("at_once"),
        config_rev=agents.c.config_rev + 1,
        updated_at=sa.bindparam("now"),
        deleted_at=None,
    )
)
ARCHIVE_AGENT = (
    sa.update(agents)
    .where(agents.c.id == sa.bindparam("agent"))
    .values(deleted_at=sa.bindparam("now"), updated_at=sa.bindparam("now"))
)


# Hubs that start at once with files of their own; it does not hold up who refers to the user.
LOCK_USER = (
    sa.select(schema.users.c.id)
    .where(schema.users.c.id == sa.bindparam("user"))
    .with_for_update(key_share=True)
)


def reconcile_declared(
    c: sa.Connection,
    *,
    user_id: UserId,
    declared: Sequence[DeclaredAgent],
    at: int,
    fresh_ids: Sequence[str],
) -> Reconciled:
    """Make the agents of source ``file`` those that are declared, and no others.

    A device or user that is named for the first time is made. An agent that is no longer
    declared is paused and archived; one that comes back is the same row again. One that is
    declared for another user is another agent.

    Args:
        user_id: the owner.
        fresh_ids: ``IDS_PER_AGENT`` for each agent declared; not all are used.

    Raises:
        NameTaken: an agent made over the API bears a declared name; nothing was written.
    """
    if len(fresh_ids) < IDS_PER_AGENT * len(declared):
        raise ValueError(
            f"{IDS_PER_AGENT} fresh ids for each of {len(declared)} agents, not {len(fresh_ids)}"
        )
    c.execute(LOCK_USER, {"user": user_id})
    known = {(row.user_id, row.name): _agent(row) for row in c.execute(FILE_AGENTS)}
    created: list[str] = []
    updated: list[str] = []
    revived: list[str] = []
    for position, agent in enumerate(declared):
        own_id, device_id, schedule_id, fresh_user = fresh_ids[position * IDS_PER_AGENT :][:IDS_PER_AGENT]
        whose = user_id
        if agent.user_name is not None:
            whose = users.ensure_user(c, UserId(fresh_user), agent.user_name, at)
        device = devices.ensure_device(
            c, id=DeviceId(device_id), user_id=whose, name=agent.device_name, at=at
        )
        old = known.pop((whose, agent.name), None)
        if old is None:
            _create(c, AgentId(own_id), agent, device, at)
            _write_configs(c, AgentId(own_id), agent, at)
            schedules.declare(c, AgentId(own_id), agent.schedule, fresh_id=schedule_id, at=at)
            created.append(agent.name)
            continue
        is_rescheduled = schedules.declare(c, old.id, agent.schedule, fresh_id=schedule_id, at=at)
        if is_rescheduled or old.archived_at is not None or _differs(old, agent):
            _update(c, old, agent, device, at)
            _write_configs(c, old.id, agent, at)
            (updated if old.archived_at is None else revived).append(agent.name)
    gone = [agent for agent in known.values() if agent.archived_at is None]
    for agent_row in gone:
        _archive(c, agent_row, at)
    return Reconciled(tuple(created), tuple(updated), tuple(revived), tuple(sorted(a.name for a in gone)))


def check_names(c: sa.Connection, *, user_id: UserId, declared: Sequence[DeclaredAgent]) -> None:
    """Look whether ``reconcile_declared`` would refuse a name; nothing is written.

    Raises:
        NameTaken: an agent made over the API bears a declared name.
    """
    for agent in declared:
        whose: UserId | None = user_id
        if agent.user_name is not None:
            user = users.find_user_by_name(c, agent.user_name)
            whose = None if user is None else user.id
        found = None if whose is None else find_agent_by_name(c, agent.name, user_id=whose)
        if found is not None and found.source != "file":
            raise NameTaken(agent.name)


def _differs(old: AgentRow, new: DeclaredAgent) -> bool:
    """Whether anything but the schedule changed. (Of another user it would be another agent.)"""
    names = [name for name in DeclaredAgent.__struct_fields__ if name not in ("schedule", "user_name")]
    return any(getattr(old, name) != getattr(new, name) for name in names)


def _create(c: sa.Connection, id: AgentId, agent: DeclaredAgent, device: devices.DeviceRow, at: int) -> None:
    if find_agent_by_name(c, agent.name, user_id=device.user_id) is not None:
        raise NameTaken(agent.name)
    row = {"id": id, "user_id": device.user_id, "name": agent.name, "source": "file", "executor": "device"}
    about: dict[str, object] = {
        "device_id": device.id,
        "prompt_template": agent.prompt,
        "data_types": list(agent.data_types),
        "priority": agent.priority,
        "max_concurrent_runs": agent.max_concurrent_runs,
    }
    c.execute(sa.insert(agents), row | about | {"created_at": at, "updated_at": at})
    online = device.connectivity == "online"
    agent_states.create_state(c, id, lifecycle="active", online=online, at=at, actor="hub.toml")


def _update(
    c: sa.Connection, old: AgentRow, agent: DeclaredAgent, device: devices.DeviceRow, at: int
) -> None:
    about: dict[str, object] = {
        "on_device": device.id,
        "prompt": agent.prompt,
        "types": list(agent.data_types),
        "rank": agent.priority,
        "at_once": agent.max_concurrent_runs,
    }
    c.execute(UPDATE_AGENT, {"agent": old.id, "now": at} | about)
    if old.archived_at is not None:
        agent_states.move(c, old.id, "lifecycle", "active", at=at, actor="hub.toml", reason="declared again")
    agent_states.move(c, old.id, "connectivity", device.connectivity, at=at, actor="hub.toml")


def _archive(c: sa.Connection, agent: AgentRow, at: int) -> None:
    c.execute(ARCHIVE_AGENT, {"agent": agent.id, "now": at})
    schedules.remove(c, agent.id, at)
    agent_states.move(
        c, agent.id, "lifecycle", "paused", at=at, actor="hub.toml", reason="no longer declared"
    )


def _write_configs(c: sa.Connection, id: AgentId, agent: DeclaredAgent, at: int) -> None:
    configs = {
        "paths": agent.paths,
        "file_extensions": agent.file_extensions,
        "timezone": agent.timezone,
        "model_use": agent.model_use,
    }
    agent_configs.write_configs(c, id, configs, at)
