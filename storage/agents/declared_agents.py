"""Agents of hub.toml in the database: created, changed, archived, revived; limits and name conflicts.

Agents of hub.toml are changed only there. A removed agent keeps its row and its history; creating an agent
with its name revives it. An archived agent that lived at a gateway is renamed instead, with a tilde and its
id; ``storage.coordination.gateway_agents`` revives those of gateways.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from protocol.agent_types import AgentKind, AgentSubtype, AgentType
from protocol.configs import RESERVED
from protocol.errors import CodedError, ErrorCode, HubError, LimitReached
from protocol.ids import AgentId, DeviceId, UserId
from storage import schema
from storage.agents import agent_states, config_changes, state_moves
from storage.agents import capabilities as stored_capabilities
from storage.agents import templates as stored_templates
from storage.agents.agents import (
    FILE_AGENTS,
    AgentFields,
    AgentRow,
    agent_in,
    find_agent_by_name,
)
from storage.agents.capabilities import AgentCapability
from storage.agents.config_changes import NewConfig
from storage.agents.configs import write_configs
from storage.agents.locks import release_agent
from storage.agents.templates import TemplateRow
from storage.connectors import connectors
from storage.connectors.connectors import Reconciled
from storage.devices import devices, users
from storage.kernel.columns import isolating_broken_row, readable, struct_from
from storage.schedules import schedule_rows, schedules
from storage.schedules.schedule_rows import DeclaredSchedule, ScheduleRow
from storage.schema import agents, board_members


class DeclaredAgent(AgentFields, frozen=True, kw_only=True):
    """Declaration of an agent, in hub.toml or over the API.

    Attributes:
        user_name: name of its user; ``None``: the hub's owner.
        device_name: name of its device; ``None``: it has none.
        type: ``None``: its template's type, or CUSTOM without a template.
        template: name of its template.
        prompt: empty: its template's prompt.
        capabilities: its own capabilities, in addition to those of its device.
        config: its typed configs.
        slots: its calendar, schedules whose action is ``wake``.
    """

    user_name: str | None = None
    device_name: str | None = None
    type: AgentType | None = None
    subtype: AgentSubtype | None = None
    template: str | None = None
    prompt: str = ""
    schedule: DeclaredSchedule | None = None
    slots: tuple[DeclaredSchedule, ...] = ()
    config: tuple[NewConfig, ...] = ()
    capabilities: tuple[AgentCapability, ...] = ()


# Compared separately. With another user the declaration means another agent.
_APART = ("schedule", "slots", "config", "capabilities", "user_name")
_SAME = [name for name in AgentFields.__struct_fields__ if name in agents.c]


def differs(c: sa.Connection, old: AgentRow, new: DeclaredAgent) -> bool:
    """Return True if the declaration changed, apart from schedule, slots, configs and capabilities."""
    if (old.template, old.type, old.subtype) != (new.template, *_kind(new, _template(c, new))):
        return True
    names = [name for name in DeclaredAgent.__struct_fields__ if name not in (*_APART, "type", "subtype")]
    renamed = {"prompt": "own_prompt"}
    return any(getattr(old, renamed.get(name, name)) != getattr(new, name) for name in names)


def insert_agent(
    c: sa.Connection,
    id: AgentId,
    agent: DeclaredAgent,
    device: devices.DeviceRow | None,
    *,
    user_id: UserId,
    source: str,
    lifecycle: str = "active",
    at: int,
    actor: str,
) -> None:
    """Insert the rows of a new agent of the user, without its schedules.

    Raises:
        UnknownTemplate, CodedError, UnknownConnector: the caller must roll back.
    """
    row = {"id": id, "user_id": user_id, "source": source}
    about = (
        _declared_values(c, id, agent, user_id)
        | {"device_id": None if device is None else device.id}
        | _read_by(c, agent, user_id)
    )
    c.execute(sa.insert(agents), row | about | {"created_at": at, "updated_at": at})
    online = device is not None and device.connectivity == "online"
    agent_states.create_state(c, id, lifecycle=lifecycle, online=online, at=at, actor=actor)
    _write_configs(c, id, agent, at)


def update_agent(
    c: sa.Connection,
    old: AgentRow,
    agent: DeclaredAgent,
    device: devices.DeviceRow | None,
    *,
    source: str,
    at: int,
    actor: str,
    back_because: str,
) -> None:
    """Update the rows of an agent to *agent*, without its schedules and typed configs.

    Args:
        device: device that it works on, if any.
        back_because: reason in the history if the agent was archived and becomes active again.

    Raises:
        UnknownTemplate, CodedError, UnknownConnector: the caller must roll back.
    """
    values = _declared_values(c, old.id, agent, old.user_id) | {"source": source}
    values |= {"device_id": None if device is None else device.id}
    if old.executor != "gateway":
        values |= _read_by(c, agent, old.user_id)
    values |= {"config_rev": agents.c.config_rev + 1, "updated_at": at, "deleted_at": None}
    c.execute(sa.update(agents).where(agents.c.id == old.id).values(values))
    _write_configs(c, old.id, agent, at)
    if old.max_concurrent_runs != agent.max_concurrent_runs:
        state_moves.follow_limit(c, old.id, old.max_concurrent_runs, at=at, actor=actor)
    if old.archived_at is not None:
        state_moves.move_if_legal(c, old.id, "lifecycle", "active", at=at, actor=actor, reason=back_because)
        if "api" in (old.source, source):  # it was deleted: what it has read and done stays known, no more
            c.execute(sa.delete(schema.checkpoints).where(schema.checkpoints.c.agent_id == old.id))
            agent_states.write_metadata(c, old.id, {}, at=at)
            config_changes.change(c, old.id, replaces=True, at=at, actor=actor)
    # A terminated agent stays offline, and one that has had no device is as its heartbeats say.
    if (device is not None or old.device_id is not None) and old.lifecycle != "terminated":
        connectivity = "offline" if device is None else device.connectivity
        state_moves.move(c, old.id, "connectivity", connectivity, at=at, actor=actor)
    if device is not None and old.device_id is None:  # its runs count from now on
        state_moves.count_turns(c, old.id, 0, because="it has a device now", at=at, actor=actor)


# A removed agent leaves its board, which frees the place of the lead.
LEAVE_BOARD = sa.delete(board_members).where(board_members.c.agent_id == sa.bindparam("agent"))


def archive_agent(c: sa.Connection, agent: AgentRow, *, at: int, actor: str, reason: str) -> None:
    """Archive an agent: pause it, remove its schedules, release its locks; keep its history."""
    c.execute(sa.update(agents).where(agents.c.id == agent.id).values(deleted_at=at, updated_at=at))
    schedules.remove(c, agent.id, at)
    state_moves.move_if_legal(c, agent.id, "lifecycle", "paused", at=at, actor=actor, reason=reason)
    release_agent(c, agent.id)
    c.execute(LEAVE_BOARD, {"agent": agent.id})


def _declared_values(
    c: sa.Connection, id: AgentId, agent: DeclaredAgent, user_id: UserId
) -> dict[str, object]:
    """Return the column values of *agent*, without its device. Free its external id on archived agents."""
    if agent.external_id is not None:
        is_other = sa.and_(agents.c.external_id == agent.external_id, agents.c.id != id)
        other = c.execute(
            sa.select(agents.c.name, agents.c.user_id).where(is_other, agents.c.deleted_at.is_(None))
        ).first()
        if other is not None:  # the other agent's name is shown only to its own user
            who = f"the agent {other.name!r}" if other.user_id == user_id else "another agent"
            raise CodedError(ErrorCode.NAME_TAKEN, f"external_id: {who} is called that already")
        archived = sa.update(agents).where(is_other, agents.c.deleted_at.is_not(None))
        c.execute(archived.values(external_id=None))
    template = _template(c, agent)
    kind = _kind(agent, template)
    return {name: getattr(agent, name) for name in _SAME} | {
        "template_id": None if template is None else template.id,
        "type": kind.type,
        "subtype": kind.subtype,
        "prompt_template": agent.prompt or None,
    }


def _read_by(c: sa.Connection, agent: DeclaredAgent, user_id: UserId) -> dict[str, object]:
    """Return the columns of its document source: its device, or a connector of its user."""
    if agent.mailbox is None:
        return {"executor": "device", "connector_id": None}
    row = connectors.get_connector(c, agent.mailbox.connector, user_id=user_id)
    return {"executor": "connector", "connector_id": row.id}


def _template(c: sa.Connection, agent: DeclaredAgent) -> TemplateRow | None:
    return None if agent.template is None else stored_templates.template_called(c, agent.template)


def _kind(agent: DeclaredAgent, template: TemplateRow | None) -> AgentKind:
    """Return the agent's own type, else its template's."""
    if agent.type is not None:
        return AgentKind(agent.type, agent.subtype)
    return (
        AgentKind(AgentType.CUSTOM) if template is None else AgentKind(template.agent_type, template.subtype)
    )


def _write_configs(c: sa.Connection, id: AgentId, agent: DeclaredAgent, at: int) -> None:
    configs = {key: getattr(agent, key) for key in RESERVED}
    if agent.mailbox is None:
        del configs["mailbox"]
    write_configs(c, id, configs, at)


ACTOR: Final = "hub.toml"
IDS_PER_AGENT = 4  # fresh ids for the agent, its device, its schedule, its user


class NameTaken(HubError):
    """Error: an agent of the API has the name."""

    code = ErrorCode.NAME_TAKEN

    def __init__(self, name: str) -> None:
        super().__init__(f"the agent {name!r} was made over the API; declare it under another name")
        self.name = name


class TooManyDeclared(HubError):
    """Error: a user would have too many agents, of hub.toml and of the API together. Nothing was written.

    *number*: place of the first declared agent that is too many.
    """

    code = ErrorCode.LIMIT_REACHED

    def __init__(self, user: str, made: int, most: int, number: int) -> None:
        super().__init__(
            f"user {user!r} has {made} agents of the API, and would have more than {most} (agents_per_user)"
        )
        self.number = number


# Serializes hubs that start at once with different files; rows that refer to the user do not wait.
LOCK_USER = (
    sa.select(schema.users.c.id)
    .where(schema.users.c.id == sa.bindparam("user"))
    .with_for_update(key_share=True)
)
SET_ASIDE = sa.update(agents).where(agents.c.id == sa.bindparam("agent")).values(name=sa.bindparam("called"))


def reconcile_declared(
    c: sa.Connection,
    *,
    user_id: UserId,
    declared: Sequence[DeclaredAgent],
    at: int,
    fresh_ids: Sequence[str],
    most_per_user: int | None = None,
    is_elsewhere: Callable[[UserId, str], bool] = lambda user_id, name: False,
) -> Reconciled:
    """Make the agents of source ``file`` match the declarations.

    Devices and users named for the first time are created. An agent that is no longer declared is paused and
    archived; declared again, it is the same row. An agent declared for another user is another agent.

    Args:
        user_id: the hub's owner.
        fresh_ids: ``IDS_PER_AGENT`` for each declared agent; not all are used.
        most_per_user: limit on the agents of a user; ``None``: not checked.
        is_elsewhere: returns True for an agent of a user that stays although it is not declared.

    Raises:
        NameTaken: an agent of the API has a declared name; nothing was written.
        TooManyDeclared: a user would have too many agents; nothing was written.
    """
    if len(fresh_ids) < IDS_PER_AGENT * len(declared):
        raise ValueError(
            f"{IDS_PER_AGENT} fresh ids for each of {len(declared)} agents, not {len(fresh_ids)}"
        )
    c.execute(LOCK_USER, {"user": user_id})
    if most_per_user is not None:
        check_number(c, user_id=user_id, declared=declared, most_per_user=most_per_user)
    rows = {(row.user_id, row.name): row for row in c.execute(FILE_AGENTS)}
    known = {(agent.user_id, agent.name): agent for agent in readable(agent_in, rows.values())}
    created: list[str] = []
    updated: list[str] = []
    revived: list[str] = []
    for position, agent in enumerate(declared):
        own_id, device_id, schedule_id, fresh_user = fresh_ids[position * IDS_PER_AGENT :][:IDS_PER_AGENT]
        whose = user_id
        if agent.user_name is not None:
            whose = users.ensure_user(c, UserId(fresh_user), agent.user_name, at)
        device = None
        if agent.device_name is not None:
            id = DeviceId(device_id)
            device = devices.ensure_device(c, id=id, user_id=whose, name=agent.device_name, at=at)
        if (whose, agent.name) in rows.keys() - known.keys():
            continue  # its row is unreadable, and stays as it is until it is corrected
        old = known.pop((whose, agent.name), None) or _room_for(c, whose, agent.name)
        if old is None:
            insert_agent(c, AgentId(own_id), agent, device, user_id=whose, source="file", at=at, actor=ACTOR)
            config_changes.declare(c, AgentId(own_id), agent.config, at=at, actor=ACTOR)
            schedules.declare(c, AgentId(own_id), agent.schedule, fresh_id=schedule_id, at=at)
            schedules.declare_slots(c, AgentId(own_id), agent.slots, at=at)
            stored_capabilities.declare(c, AgentId(own_id), agent.capabilities, source="file", at=at)
            created.append(agent.name)
            continue
        is_rescheduled = schedules.declare(c, old.id, agent.schedule, fresh_id=schedule_id, at=at)
        is_rescheduled |= schedules.declare_slots(c, old.id, agent.slots, at=at)
        is_able = stored_capabilities.declare(c, old.id, agent.capabilities, source="file", at=at)
        is_reconfigured = config_changes.declare(c, old.id, agent.config, at=at, actor=ACTOR).keys
        if (
            is_able
            or is_rescheduled
            or is_reconfigured
            or old.archived_at is not None
            or differs(c, old, agent)
        ):
            update_agent(
                c, old, agent, device, source="file", at=at, actor=ACTOR, back_because="declared again"
            )
            (updated if old.archived_at is None else revived).append(agent.name)
    undeclared = [
        agent
        for agent in known.values()
        if agent.archived_at is None and not is_elsewhere(agent.user_id, agent.name)
    ]
    for agent_row in undeclared:
        with isolating_broken_row(c):
            archive_agent(c, agent_row, at=at, actor=ACTOR, reason="no longer declared")
    return Reconciled(
        tuple(created), tuple(updated), tuple(revived), tuple(sorted(a.name for a in undeclared))
    )


def _room_for(c: sa.Connection, user_id: UserId, name: str) -> AgentRow | None:
    """Return the archived agent of the API with a declared name, if any.

    An agent that lived at a gateway is renamed instead, because it worked elsewhere.
    """
    found = find_agent_by_name(c, name, user_id=user_id)
    if found is not None and found.archived_at is None:
        raise NameTaken(name)
    if found is not None and found.executor == "gateway":
        c.execute(SET_ASIDE, {"agent": found.id, "called": f"{found.name}~{found.id}"})
        return None
    return found


def check_number(
    c: sa.Connection, *, user_id: UserId, declared: Sequence[DeclaredAgent], most_per_user: int
) -> None:
    """Check the limit on the agents of a user, of hub.toml and of the API together, without archived ones.

    Raises:
        TooManyDeclared: a user would have too many.
    """
    places: dict[str | None, list[int]] = {}
    for number, agent in enumerate(declared):
        places.setdefault(agent.user_name, []).append(number)
    for name, numbers in places.items():
        user = None if name is None else users.find_user_by_name(c, name)
        whose = user_id if name is None else user and user.id
        is_made = sa.and_(agents.c.user_id == whose, agents.c.source != "file", agents.c.deleted_at.is_(None))
        made = c.execute(sa.select(sa.func.count()).select_from(agents).where(is_made)).scalar_one()
        if made + len(numbers) > most_per_user:
            first = numbers[min(max(0, most_per_user - made), len(numbers) - 1)]
            raise TooManyDeclared(name or users.OWNER, made, most_per_user, first)


def check_names(c: sa.Connection, *, user_id: UserId, declared: Sequence[DeclaredAgent]) -> None:
    """Check whether ``reconcile_declared`` would refuse a name; nothing is written.

    Raises:
        NameTaken: an agent of the API has a declared name.
    """
    for agent in declared:
        whose: UserId | None = user_id
        if agent.user_name is not None:
            user = users.find_user_by_name(c, agent.user_name)
            whose = None if user is None else user.id
        found = None if whose is None else find_agent_by_name(c, agent.name, user_id=whose)
        if found is not None and found.source != "file" and found.archived_at is None:
            raise NameTaken(agent.name)


class AgentLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on agents that are not archived and on templates; a refusal names the limit."""

    agents: int = 10_000
    agents_per_user: int = 1_000
    templates: int = 200


COUNT_AGENTS = sa.select(sa.func.count()).select_from(agents).where(agents.c.deleted_at.is_(None))


def declaration_of(c: sa.Connection, agent: AgentRow) -> DeclaredAgent:
    """Return the agent's current declaration, without configs and capabilities, which have their own API."""
    run = [row for row in schedule_rows.schedules_of(c, agent.id) if not _is_removed(row)]
    slots = [row for row in schedule_rows.slots_of(c, agent.id) if not _is_removed(row)]
    return struct_from(
        DeclaredAgent,
        agent,
        user_name=None,
        prompt=agent.own_prompt,
        schedule=run[0].declared if run else None,
        slots=tuple(row.declared for row in slots),
    )


def _is_removed(row: ScheduleRow) -> bool:
    return not row.enabled and row.paused_reason in (schedule_rows.REMOVED, None)


def set_aside(c: sa.Connection, agent: AgentRow) -> None:
    """Rename an archived agent, so that a new agent can have its name."""
    c.execute(SET_ASIDE, {"agent": agent.id, "called": f"{agent.name}~{agent.id}"})


def check_room(c: sa.Connection, user_id: UserId, limits: AgentLimits) -> None:
    """Check the limits on agents; raise LimitReached if the user or the hub has the maximum."""
    if c.execute(COUNT_AGENTS).scalar_one() >= limits.agents:
        raise LimitReached(f"there are {limits.agents} agents already", limit="agents")
    own = c.execute(COUNT_AGENTS.where(agents.c.user_id == user_id)).scalar_one()
    if own >= limits.agents_per_user:
        message = f"agents of this user: {own}, the most is {limits.agents_per_user}; terminated ones count"
        raise LimitReached(message, limit="agents_per_user")
