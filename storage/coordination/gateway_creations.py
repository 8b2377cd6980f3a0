"""Claims on agents to be created at gateways, so that only one hub creates each.

A hub claims an agent before it creates it, so only one of several hubs does. Claims of a dead hub are free
for the others. No row is locked while the gateway is called.
"""

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from protocol.ids import AgentId, BootId, GatewayId
from storage import audit
from storage.coordination.gateway_agents import (
    CREATING,
    FAILED,
    GATEWAY_AGENTS,
    READY,
    REQUESTED,
    GatewayAgentRow,
    find_gateway_agent,
)
from storage.coordination.messages import Hand
from storage.kernel.columns import Int, structs_from
from storage.leases import is_alive
from storage.schema import agents, gateways
from storage.schema import gateway_agents as agent_rows

MAX_LISTED: Final = 500  # agents in one query
_agent: sa.BindParameter[str] = sa.bindparam("agent")
_boot: sa.BindParameter[str] = sa.bindparam("boot")
_now: sa.BindParameter[int] = sa.bindparam("now")
_state: dict[str, sa.ColumnElement[str]] = {
    state: sa.literal_column(f"'{state}'") for state in (REQUESTED, CREATING, READY, FAILED)
}
CLAIM = (
    sa.update(agent_rows)
    .where(
        agent_rows.c.agent_id == _agent,
        sa.or_(
            agent_rows.c.state.in_((_state[REQUESTED], _state[FAILED])),
            sa.and_(
                agent_rows.c.state == _state[CREATING],
                sa.or_(
                    agent_rows.c.lease_boot_id.is_(None),
                    agent_rows.c.lease_boot_id == _boot,
                    sa.bindparam("is_alone", type_=sa.Integer) == 1,
                    sa.not_(is_alive(agent_rows.c.lease_boot_id)),
                ),
            ),
        ),
    )
    .values(state=CREATING, lease_boot_id=_boot, updated_at=_now)
)
UNMADE = (
    GATEWAY_AGENTS.where(
        agents.c.deleted_at.is_(None),
        gateways.c.deleted_at.is_(None),
        agent_rows.c.state.in_(sa.bindparam("states", expanding=True)),
    )
    .order_by(agent_rows.c.created_at, agent_rows.c.agent_id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)


def claim(c: sa.Connection, agent_id: AgentId, hand: Hand, *, at: int) -> bool:
    """Claim an agent to create it at its gateway. Return False if it exists or another hub creates it."""
    given = {"agent": agent_id, "boot": hand.boot_id, "is_alone": int(hand.is_alone), "now": at}
    return c.execute(CLAIM, given).rowcount == 1


def missing(c: sa.Connection, agent_id: AgentId, boot_id: BootId) -> bool:
    """Record that the gateway lacks the agent, so that its first texts must be written."""
    return c.execute(_if_claimed(agent_id, boot_id).values(made_at=None)).rowcount == 1


def _if_claimed(agent_id: AgentId, boot_id: BootId) -> sa.Update:
    """Return an update of the agent at its gateway, if this process creates it."""
    return sa.update(agent_rows).where(
        agent_rows.c.agent_id == agent_id,
        agent_rows.c.state == _state[CREATING],
        agent_rows.c.lease_boot_id == boot_id,
    )


def made(c: sa.Connection, agent_id: AgentId, boot_id: BootId, *, at: int, activity_id: str) -> bool:
    """Record that the agent and its texts exist. Return False if another hub claimed it meanwhile."""
    ready = _if_claimed(agent_id, boot_id).values(
        state=READY,
        problem=None,
        lease_boot_id=None,
        made_at=sa.func.coalesce(agent_rows.c.made_at, sa.literal(at, Int)),
        updated_at=at,
    )
    if c.execute(ready).rowcount == 0:
        return False
    row = _present(c, agent_id)
    _record_agent(
        c,
        row,
        "agent.made",
        f"Agent {row.agent_name} is ready at gateway {row.gateway_name}.",
        at,
        activity_id,
    )
    return True


def not_made(
    c: sa.Connection,
    agent_id: AgentId,
    boot_id: BootId,
    *,
    problem: str,
    is_final: bool,
    at: int,
    activity_id: str,
) -> None:
    """Record that the agent could not be created.

    Args:
        is_final: the gateway refused. The hub retries on request or when the gateway reconnects; otherwise it
            retries by itself.
    """
    state = FAILED if is_final else CREATING
    released = _if_claimed(agent_id, boot_id).values(
        state=state, problem=problem, lease_boot_id=None, updated_at=at
    )
    if c.execute(released).rowcount and is_final:
        row = _present(c, agent_id)
        words = f"Agent {row.agent_name} could not be made at gateway {row.gateway_name}: {problem}"
        _record_agent(c, row, "agent.not_made", words, at, activity_id, level="warning")


def note_missing(c: sa.Connection, agent_id: AgentId, *, problem: str, at: int) -> bool:
    """Mark a ready agent that its gateway lost for creation. Return False if it was not ready."""
    ready = sa.update(agent_rows).where(
        agent_rows.c.agent_id == agent_id, agent_rows.c.state == _state[READY]
    )
    missing = ready.values(state=REQUESTED, problem=problem, made_at=None, updated_at=at)
    return c.execute(missing).rowcount == 1


def list_unmade(
    c: sa.Connection,
    gateway_id: GatewayId | None = None,
    *,
    with_failed: bool = False,
    most: int = MAX_LISTED,
) -> Sequence[GatewayAgentRow]:
    """Return agents that are yet to be created at their gateway, or at any; oldest first.

    Args:
        with_failed: include agents that a gateway refused.
    """
    states = [REQUESTED, CREATING, *([FAILED] if with_failed else [])]
    query = UNMADE if gateway_id is None else UNMADE.where(agent_rows.c.gateway_id == gateway_id)
    return structs_from(GatewayAgentRow, c.execute(query, {"states": states, "most": most}))


def _present(c: sa.Connection, agent_id: AgentId) -> GatewayAgentRow:
    row = find_gateway_agent(c, agent_id)
    assert row is not None, "it was moved in this transaction"
    return row


def _record_agent(
    c: sa.Connection,
    row: GatewayAgentRow,
    event: str,
    words: str,
    at: int,
    activity_id: str,
    *,
    level: str = "info",
) -> None:
    audit.record(
        c,
        id=activity_id,
        at=at,
        event_type=event,
        message=words,
        actor="hub",
        agent_id=row.agent_id,
        level=level,
        data={"gateway": row.gateway_name, "remote_id": row.remote_id, "role": row.role},
    )
