"""Creation of agents at their gateways, and of the leads that boards need.

A hub claims an agent before it creates it, so only one of several hubs does. Claims of a dead hub are free
for the others. No row is locked while the gateway is called.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import AgentId, BoardId, BootId, GatewayId
from storage import audit
from storage.agents.agents import free_name, get_agent
from storage.agents.declared_agents import AgentLimits
from storage.coordination import boards
from storage.coordination.boards import DEFAULT_LIMITS, BoardLimits, MemberRow, get_board, lock_board
from storage.coordination.gateway_agents import (
    CREATING,
    FAILED,
    GATEWAY_AGENTS,
    LEAD,
    READY,
    REQUESTED,
    GatewayAgentRow,
    find_by_remote_id,
    find_gateway_agent,
    lead_remote_id,
    make_gateway_agent,
)
from storage.coordination.gateways import find_gateway
from storage.coordination.messages import Hand
from storage.devices.nodes import is_alive
from storage.kernel.columns import Int, fill_each
from storage.schema import agents, gateway_agents, gateways

NAME_CHARACTERS: Final = 58  # of a board's name in its lead's name: with "-lead" at most 64
MOST: Final = 500  # agents in one query


class NoGateway(HubError):
    """Error: the board's gateway is not declared; nothing was written."""

    code = ErrorCode.NO_GATEWAY


class Led(NamedTuple):
    """Lead of a board; *is_created*: the call created it."""

    lead: MemberRow
    is_created: bool


_agent: sa.BindParameter[str] = sa.bindparam("agent")
_boot: sa.BindParameter[str] = sa.bindparam("boot")
_now: sa.BindParameter[int] = sa.bindparam("now")
_state: dict[str, sa.ColumnElement[str]] = {
    state: sa.literal_column(f"'{state}'") for state in (REQUESTED, CREATING, READY, FAILED)
}
CLAIM = (
    sa.update(gateway_agents)
    .where(
        gateway_agents.c.agent_id == _agent,
        sa.or_(
            gateway_agents.c.state.in_((_state[REQUESTED], _state[FAILED])),
            sa.and_(
                gateway_agents.c.state == _state[CREATING],
                sa.or_(
                    gateway_agents.c.lease_boot_id.is_(None),
                    gateway_agents.c.lease_boot_id == _boot,
                    sa.bindparam("is_alone", type_=sa.Integer) == 1,
                    sa.not_(is_alive(gateway_agents.c.lease_boot_id)),
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
        gateway_agents.c.state.in_(sa.bindparam("states", expanding=True)),
    )
    .order_by(gateway_agents.c.created_at, gateway_agents.c.agent_id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
# --- making ---


def claim(c: sa.Connection, agent_id: AgentId, hand: Hand, *, at: int) -> bool:
    """Claim an agent to create it at its gateway. Return False if it exists or another hub creates it."""
    given = {"agent": agent_id, "boot": hand.boot_id, "is_alone": int(hand.is_alone), "now": at}
    return c.execute(CLAIM, given).rowcount == 1


def missing(c: sa.Connection, agent_id: AgentId, boot_id: BootId) -> bool:
    """Record that the gateway lacks the agent, so that its first texts must be written."""
    return c.execute(_if_claimed(agent_id, boot_id).values(made_at=None)).rowcount == 1


def _if_claimed(agent_id: AgentId, boot_id: BootId) -> sa.Update:
    """Return an update of the agent at its gateway, if this process creates it."""
    return sa.update(gateway_agents).where(
        gateway_agents.c.agent_id == agent_id,
        gateway_agents.c.state == _state[CREATING],
        gateway_agents.c.lease_boot_id == boot_id,
    )


def made(c: sa.Connection, agent_id: AgentId, boot_id: BootId, *, at: int, activity_id: str) -> bool:
    """Record that the agent and its texts exist. Return False if another hub claimed it meanwhile."""
    ready = _if_claimed(agent_id, boot_id).values(
        state=READY,
        problem=None,
        lease_boot_id=None,
        made_at=sa.func.coalesce(gateway_agents.c.made_at, sa.literal(at, Int)),
        updated_at=at,
    )
    if c.execute(ready).rowcount == 0:
        return False
    row = _present(c, agent_id)
    _record(
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
        _record(c, row, "agent.not_made", words, at, activity_id, level="warning")


def note_missing(c: sa.Connection, agent_id: AgentId, *, problem: str, at: int) -> bool:
    """Mark a ready agent that its gateway lost for creation. Return False if it was not ready."""
    ready = sa.update(gateway_agents).where(
        gateway_agents.c.agent_id == agent_id, gateway_agents.c.state == _state[READY]
    )
    missing = ready.values(state=REQUESTED, problem=problem, made_at=None, updated_at=at)
    return c.execute(missing).rowcount == 1


def list_unmade(
    c: sa.Connection,
    gateway_id: GatewayId | None = None,
    *,
    with_failed: bool = False,
    most: int = MOST,
) -> Sequence[GatewayAgentRow]:
    """Return agents that are yet to be created at their gateway, or at any; oldest first.

    Args:
        with_failed: include agents that a gateway refused.
    """
    states = [REQUESTED, CREATING, *([FAILED] if with_failed else [])]
    query = UNMADE if gateway_id is None else UNMADE.where(gateway_agents.c.gateway_id == gateway_id)
    return fill_each(GatewayAgentRow, c.execute(query, {"states": states, "most": most}))


# --- leads ---


def ensure_lead(
    c: sa.Connection,
    board_id: BoardId,
    *,
    fresh_id: AgentId,
    limits: AgentLimits | None = None,
    board_limits: BoardLimits = DEFAULT_LIMITS,
    at: int,
    actor: str,
) -> Led:
    """Return the board's lead. Without one, insert a lead at its gateway, yet to be created there.

    Concurrent calls get the same lead. A lead that the hub created moves with its board to another gateway.

    Raises:
        UnknownBoard: no board has the id.
        CodedError (NO_LEAD): the board has neither lead nor gateway.
        NoGateway: its gateway is no longer declared.
        LimitReached, TooManyOfBoards: a limit is reached.
        In each case nothing was written.
    """
    lock_board(c, board_id)
    board, lead = get_board(c, board_id), boards.lead_of(c, board_id)
    if lead is not None:
        _follow(c, board_id, board.gateway_id, lead, at=at, actor=actor)
        return Led(boards.lead_of(c, board_id) or lead, False)
    if board.gateway_id is None:
        raise CodedError(
            ErrorCode.NO_LEAD, f"board {board.name} has no lead, and no gateway at which one could be made"
        )
    gateway = find_gateway(c, board.gateway_id)
    if gateway is None or gateway.archived_at is not None:
        raise NoGateway(f"the gateway of board {board.name} is not in hub.toml any more")
    remote_id = lead_remote_id(board_id)
    known = find_by_remote_id(c, board.gateway_id, remote_id)
    if known is not None and get_agent(c, known.agent_id).archived_at is None:
        agent_id, is_created = known.agent_id, False  # it was taken off the board
    else:
        preferred = f"{board.name[:NAME_CHARACTERS]}-lead"
        name = free_name(c, board.user_id, preferred) if known is None else known.agent_name
        row = make_gateway_agent(
            c,
            gateway_id=board.gateway_id,
            user_id=board.user_id,
            name=name,
            role=LEAD,
            remote_id=remote_id,
            description=f"Lead of board {board.name}.",
            fresh_id=fresh_id,
            at=at,
            actor=actor,
            limits=limits,
        )
        agent_id, is_created = row.agent_id, True
        detail: audit.Detail = {"agent": row.agent_name, "board": board_id, "remote_id": remote_id}
        audit.append(c, at=at, actor=actor, event="agent.created", subject=agent_id, detail=detail)
    lead = boards.add_member(c, board_id, agent_id, is_lead=True, limits=board_limits, at=at, actor=actor)
    return Led(lead, is_created)


def _follow(
    c: sa.Connection,
    board_id: BoardId,
    gateway_id: GatewayId | None,
    lead: MemberRow,
    *,
    at: int,
    actor: str,
) -> None:
    """Move a lead that the hub created for the board to the board's gateway."""
    home = find_gateway_agent(c, lead.agent_id)
    if home is None or gateway_id in (None, home.gateway_id) or home.remote_id != lead_remote_id(board_id):
        return
    gateway = find_gateway(c, gateway_id)
    if gateway is None or gateway.archived_at is not None:
        return
    if find_by_remote_id(c, gateway_id, home.remote_id) is not None:
        return  # another agent has the id there, and keeps it
    fresh = {"state": REQUESTED, "problem": None, "made_at": None, "lease_boot_id": None, "updated_at": at}
    moved = sa.update(gateway_agents).where(gateway_agents.c.agent_id == lead.agent_id)
    c.execute(moved.values(fresh | {"gateway_id": gateway_id}))
    detail: audit.Detail = {"board": board_id, "before": home.gateway_id, "gateway": gateway_id}
    audit.append(c, at=at, actor=actor, event="agent.gateway_changed", subject=lead.agent_id, detail=detail)


def _present(c: sa.Connection, agent_id: AgentId) -> GatewayAgentRow:
    row = find_gateway_agent(c, agent_id)
    assert row is not None, "it was moved in this transaction"
    return row


def _record(
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
