"""Reconciliation of agents with hub.toml."""

from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, DeviceId, UserId
from storage import schema
from storage.agents import capabilities, config_changes
from storage.agents.agent_declarations import (
    DeclaredAgent,
    archive_agent,
    differs,
    insert_agent,
    update_agent,
)
from storage.agents.agent_rows import FILE_AGENTS, AgentRow, agent_in, find_agent_by_name
from storage.devices import devices, users
from storage.kernel.rows import readable
from storage.schedules import schedules

ACTOR: Final = "hub.toml"
IDS_PER_AGENT = 4  # fresh ids for the agent, its device, its schedule, its user


class NameTaken(HubError):
    """Error: an agent of the API has the name."""

    code = ErrorCode.NAME_TAKEN

    def __init__(self, name: str) -> None:
        super().__init__(f"the agent {name!r} was made over the API; declare it under another name")
        self.name = name


class Reconciled(msgspec.Struct, frozen=True):
    """Names of the agents that the file changed; *revived* agents were archived before."""

    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    revived: tuple[str, ...] = ()
    archived: tuple[str, ...] = ()


# Serializes hubs that start at once with different files; rows that refer to the user do not wait.
LOCK_USER = (
    sa.select(schema.users.c.id)
    .where(schema.users.c.id == sa.bindparam("user"))
    .with_for_update(key_share=True)
)


SET_ASIDE = (
    sa.update(schema.agents)
    .where(schema.agents.c.id == sa.bindparam("agent"))
    .values(name=sa.bindparam("called"))
)


def reconcile_declared(
    c: sa.Connection,
    *,
    user_id: UserId,
    declared: Sequence[DeclaredAgent],
    at: int,
    fresh_ids: Sequence[str],
) -> Reconciled:
    """Make the agents of source ``file`` match the declarations.

    Devices and users named for the first time are created. An agent that is no longer declared is paused and
    archived; declared again, it is the same row. An agent declared for another user is another agent.

    Args:
        user_id: the hub's owner.
        fresh_ids: ``IDS_PER_AGENT`` for each declared agent; not all are used.

    Raises:
        NameTaken: an agent of the API has a declared name; nothing was written.
    """
    if len(fresh_ids) < IDS_PER_AGENT * len(declared):
        raise ValueError(
            f"{IDS_PER_AGENT} fresh ids for each of {len(declared)} agents, not {len(fresh_ids)}"
        )
    c.execute(LOCK_USER, {"user": user_id})
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
        device = devices.ensure_device(
            c, id=DeviceId(device_id), user_id=whose, name=agent.device_name, at=at
        )
        if (whose, agent.name) in rows.keys() - known.keys():
            continue  # its row is unreadable, and stays as it is until it is corrected
        old = known.pop((whose, agent.name), None) or _room_for(c, whose, agent.name)
        if old is None:
            insert_agent(c, AgentId(own_id), agent, device, source="file", at=at, actor=ACTOR)
            config_changes.declare(c, AgentId(own_id), agent.config, at=at, actor=ACTOR)
            schedules.declare(c, AgentId(own_id), agent.schedule, fresh_id=schedule_id, at=at)
            schedules.declare_slots(c, AgentId(own_id), agent.slots, at=at)
            capabilities.declare(c, AgentId(own_id), agent.capabilities, source="file", at=at)
            created.append(agent.name)
            continue
        is_rescheduled = schedules.declare(c, old.id, agent.schedule, fresh_id=schedule_id, at=at)
        is_rescheduled |= schedules.declare_slots(c, old.id, agent.slots, at=at)
        is_able = capabilities.declare(c, old.id, agent.capabilities, source="file", at=at)
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
    gone = [agent for agent in known.values() if agent.archived_at is None]
    for agent_row in gone:
        archive_agent(c, agent_row, at=at, actor=ACTOR, reason="no longer declared")
    return Reconciled(tuple(created), tuple(updated), tuple(revived), tuple(sorted(a.name for a in gone)))


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
