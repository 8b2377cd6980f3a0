"""Agents, and the reconciling of those that are declared in hub.toml."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, DeviceId, RunId, UserId
from protocol.lifecycles import RunOutcome, RunState
from storage import agent_states, devices, schema
from storage.schema import agent_configs, agents, runs, schedules

IDS_PER_AGENT = 3  # of the agent, of its device, of its schedule


class UnknownAgent(HubError):
    """There is no such agent, or it was removed."""

    code = ErrorCode.UNKNOWN_AGENT


class NameTaken(HubError):
    """An agent made over the API bears the name."""

    code = ErrorCode.NAME_TAKEN


class DeclaredAgent(msgspec.Struct, frozen=True, kw_only=True):
    """An agent as it stands in hub.toml. *schedule* is a checked cron expression."""

    name: str
    device_name: str
    paths: tuple[str, ...] = ()
    file_extensions: tuple[str, ...] = ()
    data_types: tuple[str, ...] = ()
    prompt: str = ""
    schedule: str | None = None
    timezone: str = "UTC"


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
    """An agent with its device, configs, axes and schedule. *archived_at*: removed, its history stays."""

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
    config_rev: int
    archived_at: int | None
    lifecycle: str
    availability: str
    connectivity: str
    health: str
    runs_waiting: int
    runs_executing: int
    schedule: str | None
    timezone: str
    last_run: LastRun | None


_paths, _extensions, _timezone = (agent_configs.alias(name) for name in ("paths", "extensions", "zone"))
_newest = runs.alias()
AGENTS = (
    sa.select(
        agents.c.id,
        agents.c.user_id,
        agents.c.name,
        agents.c.device_id,
        schema.devices.c.name.label("device_name"),
        _paths.c.config_value.label("paths"),
        _extensions.c.config_value.label("file_extensions"),
        agents.c.data_types,
        agents.c.prompt_template.label("prompt"),
        agents.c.source,
        agents.c.config_rev,
        agents.c.deleted_at.label("archived_at"),
        schema.agent_states.c.lifecycle,
        schema.agent_states.c.availability,
        schema.agent_states.c.connectivity,
        schema.agent_states.c.health,
        schema.agent_states.c.runs_waiting,
        schema.agent_states.c.runs_executing,
        schedules.c.expr.label("schedule"),
        _timezone.c.config_value.label("timezone"),
        runs.c.id.label("run_id"),
        runs.c.state.label("run_state"),
        runs.c.outcome.label("run_outcome"),
        runs.c.created_at.label("run_created_at"),
        runs.c.completed_at.label("run_completed_at"),
        runs.c.items_created.label("run_items_created"),
    )
    .join_from(agents, schema.agent_states, schema.agent_states.c.agent_id == agents.c.id)
    .outerjoin(schema.devices, schema.devices.c.id == agents.c.device_id)
    .outerjoin(_paths, sa.and_(_paths.c.agent_id == agents.c.id, _paths.c.config_key == "paths"))
    .outerjoin(
        _extensions,
        sa.and_(_extensions.c.agent_id == agents.c.id, _extensions.c.config_key == "file_extensions"),
    )
    .outerjoin(_timezone, sa.and_(_timezone.c.agent_id == agents.c.id, _timezone.c.config_key == "timezone"))
    .outerjoin(
        schedules,
        sa.and_(schedules.c.agent_id == agents.c.id, schedules.c.kind == "cron", schedules.c.enabled),
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
FILE_AGENTS = AGENTS.where(agents.c.source == "file", agents.c.user_id == sa.bindparam("user"))


def get_agent(c: sa.Connection, id: AgentId) -> AgentRow:
    """The agent, archived or not.

    Raises:
        UnknownAgent: there is none.
    """
    row = c.execute(AGENT, {"agent": id}).one_or_none()
    if row is None:
        raise UnknownAgent(f"there is no agent {id}")
    return _agent(row)


def find_agent_by_name(c: sa.Connection, name: str) -> AgentRow | None:
    """The agent of that name; an archived one only if no other bears it."""
    row = c.execute(AGENT_BY_NAME, {"named": name}).first()
    return None if row is None else _agent(row)


def list_agents(c: sa.Connection) -> list[AgentRow]:
    """Every agent that is not archived, by name."""
    return [_agent(row) for row in c.execute(PRESENT_AGENTS)]


def _agent(row: Any) -> AgentRow:
    return AgentRow(
        id=row.id,
        user_id=row.user_id,
        name=row.name,
        device_id=row.device_id,
        device_name=row.device_name,
        paths=_names(row.paths),
        file_extensions=_names(row.file_extensions),
        data_types=tuple(row.data_types),
        prompt=row.prompt or "",
        source=row.source,
        config_rev=row.config_rev,
        archived_at=row.archived_at,
        lifecycle=row.lifecycle,
        availability=row.availability,
        connectivity=row.connectivity,
        health=row.health,
        runs_waiting=row.runs_waiting,
        runs_executing=row.runs_executing,
        schedule=row.schedule,
        timezone="UTC" if row.timezone is None else msgspec.json.decode(row.timezone, type=str),
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


def _names(config_value: str | None) -> tuple[str, ...]:
    return () if config_value is None else msgspec.json.decode(config_value, type=tuple[str, ...])


UPDATE_AGENT = (
    sa.update(agents)
    .where(agents.c.id == sa.bindparam("agent"))
    .values(
        device_id=sa.bindparam("on_device"),
        prompt_template=sa.bindparam("prompt"),
        data_types=sa.bindparam("types"),
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
DISABLE_SCHEDULES = (
    sa.update(schedules)
    .where(schedules.c.agent_id == sa.bindparam("agent"), schedules.c.enabled)
    .values(enabled=False, next_fire_at=None, rev=schedules.c.rev + 1, updated_at=sa.bindparam("now"))
)
DELETE_CONFIGS = sa.delete(agent_configs).where(agent_configs.c.agent_id == sa.bindparam("agent"))


def reconcile_declared(
    c: sa.Connection,
    *,
    user_id: UserId,
    declared: Sequence[DeclaredAgent],
    at: int,
    fresh_ids: Sequence[str],
) -> Reconciled:
    """Make the agents of source ``file`` those that are declared, and no others.

    A device that is named for the first time is made. An agent that is no longer
    declared is paused and archived; one that comes back is the same row again.

    Args:
        fresh_ids: ``IDS_PER_AGENT`` for each agent declared; not all are used.

    Raises:
        NameTaken: an agent made over the API bears a declared name; nothing was written.
    """
    if len(fresh_ids) < IDS_PER_AGENT * len(declared):
        raise ValueError(
            f"{IDS_PER_AGENT} fresh ids for each of {len(declared)} agents, not {len(fresh_ids)}"
        )
    known = {row.name: _agent(row) for row in c.execute(FILE_AGENTS, {"user": user_id})}
    created: list[str] = []
    updated: list[str] = []
    revived: list[str] = []
    for position, agent in enumerate(declared):
        own_id, device_id, schedule_id = fresh_ids[position * IDS_PER_AGENT :][:IDS_PER_AGENT]
        device = devices.ensure_device(
            c, id=DeviceId(device_id), user_id=user_id, name=agent.device_name, at=at
        )
        old = known.pop(agent.name, None)
        if old is None:
            _create(c, AgentId(own_id), agent, device, at)
            _write_configs(c, AgentId(own_id), agent, at)
            _write_schedule(c, AgentId(own_id), agent, schedule_id, at)
            created.append(agent.name)
        elif old.archived_at is not None or _differs(old, agent):
            _update(c, old, agent, device, at)
            _write_configs(c, old.id, agent, at)
            _write_schedule(c, old.id, agent, schedule_id, at)
            (updated if old.archived_at is None else revived).append(agent.name)
    gone = [agent for agent in known.values() if agent.archived_at is None]
    for agent_row in gone:
        _archive(c, agent_row, at)
    return Reconciled(tuple(created), tuple(updated), tuple(revived), tuple(sorted(a.name for a in gone)))


def _differs(old: AgentRow, new: DeclaredAgent) -> bool:
    return any(getattr(old, name) != getattr(new, name) for name in DeclaredAgent.__struct_fields__)


def _create(c: sa.Connection, id: AgentId, agent: DeclaredAgent, device: devices.DeviceRow, at: int) -> None:
    if (namesake := find_agent_by_name(c, agent.name)) is not None and namesake.user_id == device.user_id:
        raise NameTaken(f"the agent {agent.name!r} was made over the API; declare it under another name")
    row = {"id": id, "user_id": device.user_id, "name": agent.name, "source": "file", "executor": "device"}
    about = {"device_id": device.id, "prompt_template": agent.prompt, "data_types": list(agent.data_types)}
    c.execute(sa.insert(agents), row | about | {"created_at": at, "updated_at": at})
    online = device.connectivity == "online"
    agent_states.create_state(c, id, lifecycle="active", online=online, at=at, actor="hub.toml")


def _update(
    c: sa.Connection, old: AgentRow, agent: DeclaredAgent, device: devices.DeviceRow, at: int
) -> None:
    about = {"on_device": device.id, "prompt": agent.prompt, "types": list(agent.data_types)}
    c.execute(UPDATE_AGENT, {"agent": old.id, "now": at} | about)
    if old.archived_at is not None:
        agent_states.move(c, old.id, "lifecycle", "active", at=at, actor="hub.toml", reason="declared again")
    agent_states.move(c, old.id, "connectivity", device.connectivity, at=at, actor="hub.toml")


def _archive(c: sa.Connection, agent: AgentRow, at: int) -> None:
    c.execute(ARCHIVE_AGENT, {"agent": agent.id, "now": at})
    c.execute(DISABLE_SCHEDULES, {"agent": agent.id, "now": at})
    agent_states.move(
        c, agent.id, "lifecycle", "paused", at=at, actor="hub.toml", reason="no longer declared"
    )


def _write_configs(c: sa.Connection, id: AgentId, agent: DeclaredAgent, at: int) -> None:
    c.execute(DELETE_CONFIGS, {"agent": id})
    configs = {
        "paths": agent.paths,
        "file_extensions": agent.file_extensions,
        "timezone": agent.timezone,
    }
    c.execute(
        sa.insert(agent_configs),
        [
            {
                "agent_id": id,
                "config_key": key,
                "config_type": "json",
                "config_value": msgspec.json.encode(value).decode(),
                "created_at": at,
                "updated_at": at,
            }
            for key, value in configs.items()
        ],
    )


def _write_schedule(c: sa.Connection, id: AgentId, agent: DeclaredAgent, schedule_id: str, at: int) -> None:
    """At most one schedule counts; older ones stay, disabled, because runs may point at them."""
    c.execute(DISABLE_SCHEDULES, {"agent": id, "now": at})
    if agent.schedule is not None:
        row = {"id": schedule_id, "agent_id": id, "kind": "cron", "expr": agent.schedule}
        stamps = {"cursor_at": at, "created_at": at, "updated_at": at}
        c.execute(sa.insert(schedules), row | {"tz": agent.timezone} | stamps)
