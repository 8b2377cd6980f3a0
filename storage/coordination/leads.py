"""Creation of a board's lead agent at a gateway, and its name."""

from typing import Final, NamedTuple

import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import AgentId, BoardId, GatewayId
from storage import audit
from storage.agents.agents import free_name, get_agent
from storage.agents.declared_agents import AgentLimits
from storage.coordination import boards
from storage.coordination.boards import DEFAULT_LIMITS, BoardLimits, MemberRow, get_board, lock_board
from storage.coordination.gateway_agents import (
    LEAD,
    REQUESTED,
    find_by_remote_id,
    find_gateway_agent,
    lead_remote_id,
    make_gateway_agent,
)
from storage.coordination.gateways import find_gateway
from storage.schema import gateway_agents as agent_rows

NAME_CHARACTERS: Final = 58  # of a board's name in its lead's name: with "-lead" at most 64


class NoGateway(HubError):
    """Error: the board's gateway is not declared; nothing was written."""

    code = ErrorCode.NO_GATEWAY


class Led(NamedTuple):
    """Lead of a board; *is_created*: the call created it."""

    lead: MemberRow
    is_created: bool


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
    moved = sa.update(agent_rows).where(agent_rows.c.agent_id == lead.agent_id)
    c.execute(moved.values(fresh | {"gateway_id": gateway_id}))
    detail: audit.Detail = {"board": board_id, "before": home.gateway_id, "gateway": gateway_id}
    audit.append(c, at=at, actor=actor, event="agent.gateway_changed", subject=lead.agent_id, detail=detail)
