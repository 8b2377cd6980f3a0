"""Agents at gateways in the database: names there, creation, archiving and revival.

A removed agent is revived if it lived at the same gateway in the same role. Any other archived agent of the
name is renamed by ``storage.agents.declared_agents``.
"""

from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from protocol.agent_status import Axes, Lifecycle
from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import AgentId, BoardId, GatewayId, UserId
from storage.agents import agent_states, declared_agents, state_moves
from storage.agents.agents import AgentRow, find_agent_by_name, free_name, get_agent
from storage.agents.declared_agents import LOCK_USER, AgentLimits, archive_agent
from storage.agents.state_moves import axes_in
from storage.kernel.columns import columns_of, isolating_broken_row, readable, struct_from, structs_from
from storage.schema import agent_states as states
from storage.schema import agent_tokens, agents, gateway_agents, gateways

EXECUTOR: Final = "gateway"  # value of ``agents.executor``
MAIN, LEAD, WORKER = "main", "lead", "worker"
OWN_MAIN: Final = "main"  # id of the agent that a gateway has by itself, to which its channels lead
REQUESTED, CREATING, READY, FAILED = "wanted", "creating", "ready", "failed"


class GatewayAgentRow(msgspec.Struct, frozen=True, kw_only=True):
    """Agent with its identity at its gateway.

    Attributes:
        remote_id: the agent's id at the gateway.
        session_key: key of its main session there.
        role: main, lead or worker.
        state: progress of its creation at the gateway; *problem*: reason of a failure.
        is_listed: neither the agent nor its gateway is archived.
        made_at: time at which it existed there with its first texts; ``None``: they are not written yet.
    """

    agent_id: AgentId
    user_id: UserId
    agent_name: str
    gateway_id: GatewayId
    gateway_name: str
    remote_id: str
    session_key: str | None
    role: str
    state: str
    problem: str | None
    is_listed: bool
    updated_at: int
    created_at: int = 0
    made_at: int | None = None


GATEWAY_AGENTS = (
    sa.select(
        *columns_of(
            GatewayAgentRow,
            gateway_agents,
            agents,
            agent_name=agents.c.name,
            gateway_name=gateways.c.name,
            is_listed=sa.and_(agents.c.deleted_at.is_(None), gateways.c.deleted_at.is_(None)),
        )
    )
    .join_from(gateway_agents, agents, agents.c.id == gateway_agents.c.agent_id)
    .join(gateways, gateways.c.id == gateway_agents.c.gateway_id)
)
OF_GATEWAY = GATEWAY_AGENTS.where(gateway_agents.c.gateway_id == sa.bindparam("gateway")).order_by(
    agents.c.name
)


def main_remote_id(gateway_id: GatewayId) -> str:
    """Return the id, at its gateway, of a main agent that the hub creates."""
    return f"mc-gateway-{gateway_id}"


def lead_remote_id(board_id: BoardId) -> str:
    """Return the id, at its gateway, of a board's lead."""
    return f"lead-{board_id}"


def worker_remote_id(agent_id: AgentId) -> str:
    """Return the id, at its gateway, of a worker that the hub creates."""
    return f"mc-{agent_id}"


def session_key_of(remote_id: str) -> str:
    """Return the key of an agent's main session at its gateway."""
    return f"agent:{remote_id}:main"


def find_gateway_agent(c: sa.Connection, agent_id: AgentId) -> GatewayAgentRow | None:
    """Return the agent's gateway row; ``None`` if it lives at no gateway."""
    return _found(c.execute(GATEWAY_AGENTS.where(gateway_agents.c.agent_id == agent_id)).one_or_none())


def find_by_remote_id(c: sa.Connection, gateway_id: GatewayId, remote_id: str) -> GatewayAgentRow | None:
    """Return the agent with that id at the gateway."""
    query = GATEWAY_AGENTS.where(
        gateway_agents.c.gateway_id == gateway_id, gateway_agents.c.remote_id == remote_id
    )
    return _found(c.execute(query).one_or_none())


def find_by_session(c: sa.Connection, gateway_id: GatewayId, session_key: str) -> GatewayAgentRow | None:
    """Return the agent that owns the session ``agent:<remote_id>:<rest>``, its main one or another."""
    kind, _, rest = session_key.partition(":")
    remote_id, colon, _ = rest.partition(":")
    return find_by_remote_id(c, gateway_id, remote_id) if kind == "agent" and colon else None


def list_gateway_agents(c: sa.Connection, gateway_id: GatewayId) -> list[GatewayAgentRow]:
    """Return the agents of a gateway that are not archived, by name."""
    rows = structs_from(GatewayAgentRow, c.execute(OF_GATEWAY, {"gateway": gateway_id}))
    return [row for row in rows if row.is_listed]


def axes_of(c: sa.Connection, gateway_id: GatewayId) -> dict[AgentId, Axes]:
    """Return the axes of the agents of a gateway that are not archived."""
    rows = c.execute(
        sa.select(states, agents.c.max_concurrent_runs)
        .join_from(gateway_agents, agents, agents.c.id == gateway_agents.c.agent_id)
        .join(states, states.c.agent_id == agents.c.id)
        .where(gateway_agents.c.gateway_id == gateway_id, agents.c.deleted_at.is_(None))
    )
    found = readable(lambda row: (AgentId(row.agent_id), axes_in(row)), rows)
    return dict(found)


def has_tokens(c: sa.Connection, at: int) -> bool:
    """Return True if an agent of any gateway has a valid token at *at* (epoch milliseconds)."""
    return bool(
        c.execute(
            sa.select(sa.func.count())
            .select_from(agent_tokens.join(agents, agents.c.id == agent_tokens.c.agent_id))
            .where(
                agents.c.deleted_at.is_(None),
                sa.text("agents.executor = 'gateway'"),
                agent_tokens.c.revoked_at.is_(None),
                agent_tokens.c.expires_at > at,
            )
        ).scalar_one()
    )


def find_main_agent(c: sa.Connection, gateway_id: GatewayId) -> GatewayAgentRow | None:
    """Return the main agent of a gateway."""
    query = GATEWAY_AGENTS.where(
        gateway_agents.c.gateway_id == gateway_id, sa.text("gateway_agents.role = 'main'")
    )
    return _found(c.execute(query).one_or_none())


def _found(row: Any) -> GatewayAgentRow | None:
    return None if row is None else struct_from(GatewayAgentRow, row)


class RemoteIdTaken(HubError):
    """Error: another agent of the hub has that id at the gateway. Nothing was written."""

    code = ErrorCode.NAME_TAKEN

    def __init__(self, other: "GatewayAgentRow") -> None:
        super().__init__(
            f"agent {other.agent_name!r} is {other.remote_id!r} at gateway {other.gateway_name!r} already"
        )
        self.gateway = other.gateway_name
        self.hint = f"that is agent {other.agent_name}: it needs no second name"


RELOCATE = (
    sa.update(gateway_agents)
    .where(gateway_agents.c.agent_id == sa.bindparam("agent"))
    .values(
        remote_id=sa.bindparam("remote"),
        session_key=sa.bindparam("session"),
        state=sa.bindparam("after"),
        problem=None,
        made_at=None,
        updated_at=sa.bindparam("now"),
    )
)


def make_gateway_agent(
    c: sa.Connection,
    *,
    gateway_id: GatewayId,
    user_id: UserId,
    name: str,
    role: str = WORKER,
    remote_id: str | None = None,
    description: str | None = None,
    fresh_id: AgentId,
    at: int,
    actor: str,
    limits: AgentLimits | None = None,
) -> GatewayAgentRow:
    """Create an agent that lives at a gateway of its user. Nothing is sent to the gateway yet.

    Args:
        role: lead or worker.
        remote_id: id of an agent that exists at the gateway, or of a lead; by default the derived id of a
            worker that is to be created there.
        limits: limits on agents; ``None``: unlimited.

    Raises:
        CodedError, RemoteIdTaken, LimitReached: nothing was written.
    """
    c.execute(LOCK_USER, {"user": user_id})
    old = find_agent_by_name(c, name, user_id=user_id)
    if old is not None and old.archived_at is None:
        raise CodedError(ErrorCode.NAME_TAKEN, f"there is an agent {name!r} already")
    if limits is not None:
        declared_agents.check_room(c, user_id, limits)
    lived = None if old is None else find_gateway_agent(c, old.id)
    if (
        old is not None
        and lived is not None
        and old.lifecycle != Lifecycle.TERMINATED
        and (lived.gateway_id, lived.role) == (gateway_id, role)
        and lived.remote_id == (remote_id or worker_remote_id(old.id))
    ):  # it was removed, and is created again
        _revive(c, old, at=at, actor=actor)
        return _present(c, old.id)
    if old is not None:
        declared_agents.set_aside(c, old)
    row = _Fresh(gateway_id, user_id, name, role, remote_id or worker_remote_id(fresh_id), fresh_id)
    return _insert(
        c,
        row,
        state=REQUESTED if role == LEAD or remote_id is None else READY,
        description=description,
        at=at,
        actor=actor,
    )


def put_main_agent(
    c: sa.Connection,
    *,
    gateway_id: GatewayId,
    user_id: UserId,
    preferred: str,
    remote_id: str | None,
    fresh_id: AgentId,
    at: int,
    actor: str,
) -> tuple[GatewayAgentRow, bool]:
    """Create, revive or relocate the main agent of a declared gateway. Return it, and if it changed.

    A new agent gets the preferred name, with a number if that is taken.

    Args:
        remote_id: id of an agent that exists at the gateway; ``None``: the gateway's own, or one that the hub
            creates there.

    Raises:
        RemoteIdTaken: nothing was written.
    """
    state = REQUESTED if remote_id is None else READY
    old = find_main_agent(c, gateway_id)
    is_own = old is not None and remote_id is None and old.remote_id == OWN_MAIN
    remote = OWN_MAIN if is_own else remote_id or main_remote_id(gateway_id)
    if old is None:
        row = _Fresh(gateway_id, user_id, free_name(c, user_id, preferred), MAIN, remote, fresh_id)
        return _insert(c, row, state=state, at=at, actor=actor), True
    is_changed = False
    if old.remote_id != remote:
        _relocate(c, old, remote, state, at)
        is_changed = True
    agent = get_agent(c, old.agent_id)
    if agent.archived_at is not None:
        _revive(c, agent, at=at, actor=actor)
        is_changed = True
    return _present(c, old.agent_id), is_changed


def use_own_main(c: sa.Connection, agent_id: AgentId, *, at: int) -> bool:
    """Make a main agent that is to be created the gateway's own one, which is listed there.

    Return False if it is no longer to be created, or if the own one is another agent of the hub.
    """
    row = _present(c, agent_id)
    if row.state != CREATING or row.remote_id != main_remote_id(row.gateway_id):
        return False
    try:
        _relocate(c, row, OWN_MAIN, CREATING, at)
    except RemoteIdTaken:
        return False
    return True


def check_main_agent(c: sa.Connection, gateway_id: GatewayId, remote_id: str) -> None:
    """Check that no other active agent has this id at the gateway; raise RemoteIdTaken otherwise."""
    other = find_by_remote_id(c, gateway_id, remote_id)
    if other is not None and other.role != MAIN and get_agent(c, other.agent_id).archived_at is None:
        raise RemoteIdTaken(other)


def archive_agents_of(c: sa.Connection, gateway_id: GatewayId, *, at: int, actor: str, reason: str) -> None:
    """Archive the main agent of a gateway that is no longer declared, and take its other agents offline."""
    for row in structs_from(GatewayAgentRow, c.execute(OF_GATEWAY, {"gateway": gateway_id})):
        with isolating_broken_row(c):
            agent = get_agent(c, row.agent_id)
            if agent.archived_at is None:
                state_moves.count_turns(c, agent.id, 0, because=reason, at=at, actor=actor)
                state_moves.move_if_legal(
                    c, agent.id, "connectivity", "offline", at=at, actor=actor, reason=reason
                )
                if row.role == MAIN:
                    archive_agent(c, agent, at=at, actor=actor, reason=reason)


class _Fresh(NamedTuple):
    gateway_id: GatewayId
    user_id: UserId
    name: str
    role: str
    remote_id: str
    agent_id: AgentId


def _insert(
    c: sa.Connection, row: _Fresh, *, state: str, description: str | None = None, at: int, actor: str
) -> GatewayAgentRow:
    _free_remote_id(c, row.gateway_id, row.remote_id)
    about = {"id": row.agent_id, "user_id": row.user_id, "name": row.name, "description": description}
    kind = {"source": "api", "executor": EXECUTOR, "type": "COORDINATOR" if row.role != WORKER else "CUSTOM"}
    c.execute(sa.insert(agents), about | kind | {"created_at": at, "updated_at": at})
    agent_states.create_state(c, row.agent_id, lifecycle="active", online=False, at=at, actor=actor)
    location = {
        "agent_id": row.agent_id,
        "gateway_id": row.gateway_id,
        "remote_id": row.remote_id,
        "session_key": session_key_of(row.remote_id),
    }
    values = {"role": row.role, "state": state, "created_at": at, "updated_at": at}
    c.execute(sa.insert(gateway_agents), location | values)
    return _present(c, row.agent_id)


def _revive(c: sa.Connection, agent: AgentRow, *, at: int, actor: str) -> None:
    c.execute(
        sa.update(agents)
        .where(agents.c.id == agent.id)
        .values(deleted_at=None, config_rev=agents.c.config_rev + 1, updated_at=at)
    )
    state_moves.move_if_legal(c, agent.id, "lifecycle", "active", at=at, actor=actor, reason="wanted again")


def _relocate(c: sa.Connection, row: GatewayAgentRow, remote_id: str, state: str, at: int) -> None:
    _free_remote_id(c, row.gateway_id, remote_id)
    location = {"remote": remote_id, "session": session_key_of(remote_id), "after": state}
    c.execute(RELOCATE, {"agent": row.agent_id, "now": at} | location)


def _free_remote_id(c: sa.Connection, gateway_id: GatewayId, remote_id: str) -> None:
    """Free the remote id on an archived agent; raise RemoteIdTaken if an active agent has it."""
    other = find_by_remote_id(c, gateway_id, remote_id)
    if other is None:
        return
    if get_agent(c, other.agent_id).archived_at is None:
        raise RemoteIdTaken(other)
    c.execute(sa.delete(gateway_agents).where(gateway_agents.c.agent_id == other.agent_id))


def _present(c: sa.Connection, agent_id: AgentId) -> GatewayAgentRow:
    row = find_gateway_agent(c, agent_id)
    assert row is not None
    return row
