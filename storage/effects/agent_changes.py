"""Agents created, edited or removed by people and devices, with schedules and configs, at once."""

from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from protocol.agent_status import FINAL, Lifecycle
from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import AgentId, RunId, UserId
from storage.agents import agent_snapshot, capabilities, config_changes, state_moves, template_changes
from storage.agents.agent_snapshot import Check
from storage.agents.agents import AgentRow, find_agent_by_name, free_name, get_agent
from storage.agents.config_changes import NewConfig
from storage.agents.declared_agents import (
    LOCK_USER,
    AgentLimits,
    DeclaredAgent,
    archive_agent,
    check_room,
    differs,
    insert_agent,
    set_aside,
    update_agent,
)
from storage.agents.templates import keep_templates
from storage.devices import devices, pairings
from storage.runs import run_pauses
from storage.schedules import schedules
from storage.schedules.schedule_rows import DeclaredSchedule

REMOVED: Final = "the agent was removed"


class AgentOfFile(HubError):
    """Error: hub.toml declares the agent; it is changed there. Nothing was written."""

    code = ErrorCode.MANAGED_BY_FILE

    def __init__(self, agent: AgentRow) -> None:
        super().__init__(f"agent {agent.name!r} is managed by hub.toml")
        self.agent = agent


class Writing(msgspec.Struct, frozen=True, kw_only=True):
    """Context of a write: time, actor and limits.

    Attributes:
        check: returns the problems of an agent's set-up; pure.
    """

    at: int
    actor: str
    check: Check
    limits: AgentLimits = AgentLimits()
    config_limits: config_changes.ConfigLimits | None = None


def check_future(place: str, schedule: DeclaredSchedule | None, at: int) -> None:
    """Check that the only time of a schedule is after *at* (epoch milliseconds). Raises CodedError."""
    if schedule is not None and schedule.at_ms is not None and schedule.at_ms <= at:
        raise CodedError(
            ErrorCode.BAD_PARAMS,
            f"{place}.at: it is in the past",
            hint="give a time in the future, or start a run by hand",
        )


def make_agent(
    c: sa.Connection,
    agent: DeclaredAgent,
    *,
    user_id: UserId,
    fresh_id: AgentId,
    fresh_schedule_id: str,
    lifecycle: Lifecycle = Lifecycle.ACTIVE,
    may_rename: bool = False,
    writing: Writing,
) -> AgentRow:
    """Create an agent of the user.

    Args:
        may_rename: use ``name-2``, ``name-3``, ... if the user has or had an agent of that name.

    Raises:
        CodedError (NAME_TAKEN), LimitReached, UnknownDevice, UnknownTemplate, BadConfig,
            LimitReached, CodedError: nothing was written.
    """
    check_future("schedule", agent.schedule, writing.at)
    for place, slot in enumerate(agent.slots):
        check_future(f"slots.{place}", slot, writing.at)
    keep_templates(c)
    c.execute(LOCK_USER, {"user": user_id})
    if may_rename:
        agent = msgspec.structs.replace(agent, name=free_name(c, user_id, agent.name))
    device = _device(c, user_id, agent.device_name, writing.at)
    old = find_agent_by_name(c, agent.name, user_id=user_id)
    if old is not None and old.archived_at is None:
        raise CodedError(ErrorCode.NAME_TAKEN, f"there is an agent {agent.name!r} already")
    check_room(c, user_id, writing.limits)
    if old is not None and (old.lifecycle == Lifecycle.TERMINATED or old.executor == "gateway"):
        set_aside(c, old)  # a terminated agent never works again, and an agent of a gateway lived elsewhere
        old = None
    id = fresh_id if old is None else old.id
    at, actor = writing.at, writing.actor
    if old is None:
        insert_agent(
            c, id, agent, device, user_id=user_id, source="api", lifecycle=lifecycle, at=at, actor=actor
        )
    else:
        update_agent(c, old, agent, device, source="api", at=at, actor=actor, back_because="made again")
        if lifecycle is not Lifecycle.ACTIVE:
            state_moves.move_if_legal(c, id, "lifecycle", lifecycle, at=at, actor=actor)
    schedules.declare(c, id, agent.schedule, fresh_id=fresh_schedule_id, at=at)
    schedules.declare_slots(c, id, agent.slots, at=at)
    capabilities.declare(c, id, agent.capabilities, source="api", at=at)
    _configure(c, id, agent.config, writing)
    agent_snapshot.check_setup(c, id, check=writing.check)
    return get_agent(c, id)


def edit_agent(
    c: sa.Connection,
    agent_id: AgentId,
    agent: DeclaredAgent,
    *,
    fresh_schedule_id: str,
    revision: int | None = None,
    replaces_config: bool = False,
    writing: Writing,
) -> AgentRow:
    """Update an agent of the API to *agent*, with its schedules and the named configs.

    Args:
        replaces_config: also delete the configs that *agent* does not name.
        revision: the ``config_rev`` that *agent* is based on; refused if another change came between.

    Raises:
        CodedError, AgentOfFile, CodedError, UnknownDevice,
            UnknownTemplate, CodedError, BadConfig, LimitReached, CodedError:
            nothing was written.
    """
    keep_templates(c)
    c.execute(LOCK_USER, {"user": _own(c, agent_id).user_id})
    config_changes.lock_revision(c, agent_id)
    old = _own(c, agent_id)  # read again under the lock
    if old.lifecycle == Lifecycle.TERMINATED:
        raise CodedError(
            ErrorCode.BAD_STATUS,
            f"the agent {old.name!r} is terminated, for good; nothing about it changes",
            hint=FINAL,
        )
    if revision is not None and old.config_rev != revision:
        raise CodedError(ErrorCode.CHANGED_MEANWHILE, f"agent {old.name!r} changed since it was read")
    if agent.name != old.name:
        other = find_agent_by_name(c, agent.name, user_id=old.user_id)
        if other is not None:
            raise CodedError(ErrorCode.NAME_TAKEN, f"there is an agent {agent.name!r} already, or was one")
    device = _device(c, old.user_id, agent.device_name, writing.at)
    at, actor = writing.at, writing.actor
    is_rescheduled = schedules.declare(c, agent_id, agent.schedule, fresh_id=fresh_schedule_id, at=at)
    if is_rescheduled:
        check_future("schedule", agent.schedule, at)
    is_rescheduled |= schedules.declare_slots(c, agent_id, agent.slots, at=at)
    if is_rescheduled or differs(c, old, agent):
        update_agent(c, old, agent, device, source="api", at=at, actor=actor, back_because="made again")
    _configure(c, agent_id, agent.config, writing, replaces=replaces_config)
    agent_snapshot.check_setup(c, agent_id, check=writing.check)
    template_changes.put_in_error(c, (), [agent_id], at=at, actor=actor)
    if old.device_name != agent.device_name:
        run_pauses.follow_agents(c, at, actor=actor)
    return get_agent(c, agent_id)


def remove_agent(c: sa.Connection, agent_id: AgentId, *, writing: Writing) -> tuple[AgentRow, list[RunId]]:
    """Remove an agent of the API: archive it and cancel its waiting runs.

    An executing run finishes; the history stays.

    Raises:
        CodedError, AgentOfFile, CodedError: nothing was written.
    """
    config_changes.lock_revision(c, agent_id)
    old = _own(c, agent_id)
    if old.gateway_role == "main":
        raise CodedError(
            ErrorCode.MANAGED_BY_FILE,
            f"agent {old.name!r} is the main agent of gateway {old.gateway!r}",
            hint="it goes when its gateway is taken out of hub.toml",
        )
    archive_agent(c, old, at=writing.at, actor=writing.actor, reason="removed")
    cancelled = run_pauses.cancel_orphans(c, REMOVED, writing.at, actor=writing.actor)
    return get_agent(c, agent_id), cancelled


def _own(c: sa.Connection, agent_id: AgentId) -> AgentRow:
    agent = get_agent(c, agent_id)
    if agent.archived_at is not None:
        raise CodedError(ErrorCode.UNKNOWN_AGENT, f"the agent {agent.name!r} was removed")
    if agent.source == "file":
        raise AgentOfFile(agent)
    return agent


def _device(c: sa.Connection, user_id: UserId, name: str | None, at: int) -> devices.DeviceRow | None:
    if name is None:
        return None
    found = [device for device in devices.devices_called(c, name) if device.user_id == user_id]
    if not found:
        raise pairings.unknown_device(c, name, user_id=user_id, at=at)
    return found[0]


def _configure(
    c: sa.Connection,
    agent_id: AgentId,
    configs: Sequence[NewConfig],
    writing: Writing,
    *,
    replaces: bool = False,
) -> None:
    if configs or replaces:
        config_changes.change(
            c,
            agent_id,
            configs,
            replaces=replaces,
            at=writing.at,
            actor=writing.actor,
            limits=writing.config_limits,
        )
