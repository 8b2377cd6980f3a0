"""Rows of agents at gateways, in the states that a test needs."""

import sqlalchemy as sa

from protocol.ids import AgentId
from storage.schema import gateway_agents


def set_state(c: sa.Connection, agent_id: AgentId, state: str, problem: str | None = None) -> None:
    """Set how far the agent is created at its gateway."""
    row = gateway_agents.c.agent_id == agent_id
    c.execute(sa.update(gateway_agents).where(row).values(state=state, problem=problem))
