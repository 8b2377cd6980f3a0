"""Rows of agents that live at a gateway, with their identity there.

Remote ids are derived from the hub's ids, never from names, so that creating an agent twice yields one agent.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, BoardId, GatewayId, UserId
from protocol.standing import Axes
from storage.agents.agent_moves import axes_in
from storage.kernel.rows import columns_of, fill
from storage.schema import agent_states, agent_tokens, agents, gateway_agents, gateways

EXECUTOR: Final = "gateway"  # value of ``agents.executor``
MAIN, LEAD, WORKER = "main", "lead", "worker"
WANTED, CREATING, READY, FAILED = "wanted", "creating", "ready", "failed"


class GatewayAgentRow(msgspec.Struct, frozen=True, kw_only=True):
    """Agent with its identity at its gateway.

    Attributes:
        remote_id: the agent's id at the gateway.
        session_key: key of its main session there.
        role: main, lead or worker.
        state: progress of its creation at the gateway; *problem*: reason of a failure.
        is_there: neither the agent nor its gateway is archived.
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
    is_there: bool
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
            is_there=sa.and_(agents.c.deleted_at.is_(None), gateways.c.deleted_at.is_(None)),
        )
    )
    .join_from(gateway_agents, agents, agents.c.id == gateway_agents.c.agent_id)
    .join(gateways, gateways.c.id == gateway_agents.c.gateway_id)
)
OF_AGENT = GATEWAY_AGENTS.where(gateway_agents.c.agent_id == sa.bindparam("agent"))
BY_REMOTE_ID = GATEWAY_AGENTS.where(
    gateway_agents.c.gateway_id == sa.bindparam("gateway"),
    gateway_agents.c.remote_id == sa.bindparam("remote"),
)
OF_GATEWAY = GATEWAY_AGENTS.where(gateway_agents.c.gateway_id == sa.bindparam("gateway")).order_by(
    agents.c.name
)
MAIN_AGENT = GATEWAY_AGENTS.where(
    gateway_agents.c.gateway_id == sa.bindparam("gateway"), sa.text("gateway_agents.role = 'main'")
)
WITH_TOKENS = (
    sa.select(sa.func.count())
    .select_from(agent_tokens.join(agents, agents.c.id == agent_tokens.c.agent_id))
    .where(
        agents.c.deleted_at.is_(None),
        sa.text("agents.executor = 'gateway'"),
        agent_tokens.c.revoked_at.is_(None),
        agent_tokens.c.expires_at > sa.bindparam("now"),
    )
)
AXES = (
    sa.select(agent_states, agents.c.max_concurrent_runs)
    .join_from(gateway_agents, agents, agents.c.id == gateway_agents.c.agent_id)
    .join(agent_states, agent_states.c.agent_id == agents.c.id)
    .where(gateway_agents.c.gateway_id == sa.bindparam("gateway"), agents.c.deleted_at.is_(None))
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
    return _found(c.execute(OF_AGENT, {"agent": agent_id}).one_or_none())


def find_by_remote_id(c: sa.Connection, gateway_id: GatewayId, remote_id: str) -> GatewayAgentRow | None:
    """Return the agent with that id at the gateway."""
    return _found(c.execute(BY_REMOTE_ID, {"gateway": gateway_id, "remote": remote_id}).one_or_none())


def find_by_session(c: sa.Connection, gateway_id: GatewayId, session_key: str) -> GatewayAgentRow | None:
    """Return the agent that owns the session ``agent:<remote_id>:<rest>``, its main one or another."""
    kind, _, rest = session_key.partition(":")
    remote_id, colon, _ = rest.partition(":")
    return find_by_remote_id(c, gateway_id, remote_id) if kind == "agent" and colon else None


def list_gateway_agents(c: sa.Connection, gateway_id: GatewayId) -> list[GatewayAgentRow]:
    """Return the agents of a gateway that are not archived, by name."""
    rows = [fill(GatewayAgentRow, row) for row in c.execute(OF_GATEWAY, {"gateway": gateway_id})]
    return [row for row in rows if row.is_there]


def axes_of(c: sa.Connection, gateway_id: GatewayId) -> dict[AgentId, Axes]:
    """Return the axes of the agents of a gateway that are not archived."""
    rows = c.execute(AXES, {"gateway": gateway_id})
    return {AgentId(row.agent_id): axes_in(row) for row in rows}


def has_tokens(c: sa.Connection, at: int) -> bool:
    """Return True if an agent of any gateway has a valid token at *at* (epoch milliseconds)."""
    return bool(c.execute(WITH_TOKENS, {"now": at}).scalar_one())


def find_main_agent(c: sa.Connection, gateway_id: GatewayId) -> GatewayAgentRow | None:
    """Return the main agent of a gateway."""
    return _found(c.execute(MAIN_AGENT, {"gateway": gateway_id}).one_or_none())


def list_gateway_agents_of(c: sa.Connection, gateway_id: GatewayId) -> Sequence[GatewayAgentRow]:
    """Return all agents of a gateway, also archived ones and those of an archived gateway."""
    return [fill(GatewayAgentRow, row) for row in c.execute(OF_GATEWAY, {"gateway": gateway_id})]


def _found(row: Any) -> GatewayAgentRow | None:
    return None if row is None else fill(GatewayAgentRow, row)
