"""Membership of agents on boards: members, the lead, and main agents of gateways."""

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, BoardId, DeviceId, GatewayId, UserId
from storage.audit import audit
from storage.coordination.boards import (
    DEFAULT_LIMITS,
    BoardLimits,
    BoardRow,
    TooManyOfBoards,
    get_board,
    lock_board,
    touch,
)
from storage.kernel.rows import columns_of, fill
from storage.schema import agent_states, agents, board_members, devices, gateway_agents, gateways


class NotOnBoard(HubError):
    """Error: the agent is not on this board; nothing was written."""

    code = ErrorCode.UNKNOWN_AGENT


class OnAnotherBoard(HubError):
    """Error: the agent cannot join this board; nothing was written."""

    code = ErrorCode.ILLEGAL_TRANSITION

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class MemberRow(msgspec.Struct, frozen=True, kw_only=True):
    """Agent on a board, with its home: a gateway, a device, or none yet."""

    board_id: BoardId
    agent_id: AgentId
    name: str
    is_lead: bool
    executor: str  # "device", "gateway" or "connector"
    device_id: DeviceId | None
    device_name: str | None
    gateway_id: GatewayId | None
    gateway_name: str | None
    availability: str
    connectivity: str
    joined_at: int


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Board of an agent, and the gateway whose main agent it is."""

    agent_id: AgentId
    user_id: UserId
    board_id: BoardId | None = None
    is_lead: bool = False
    main_of: GatewayId | None = None


_board: sa.BindParameter[str] = sa.bindparam("board")
_agent: sa.BindParameter[str] = sa.bindparam("agent")
COUNT_MEMBERS = (
    sa.select(sa.func.count()).select_from(board_members).where(board_members.c.board_id == _board)
)
MEMBERS = (
    sa.select(
        *columns_of(
            MemberRow,
            board_members,
            agents,
            agent_states,
            device_name=devices.c.name,
            gateway_id=gateway_agents.c.gateway_id,
            gateway_name=gateways.c.name,
        )
    )
    .join_from(board_members, agents, agents.c.id == board_members.c.agent_id)
    .join(agent_states, agent_states.c.agent_id == agents.c.id)
    .outerjoin(devices, devices.c.id == agents.c.device_id)
    .outerjoin(gateway_agents, gateway_agents.c.agent_id == agents.c.id)
    .outerjoin(gateways, gateways.c.id == gateway_agents.c.gateway_id)
    .order_by(board_members.c.is_lead.desc(), agents.c.name, agents.c.id)
)
MEMBERS_OF_BOARD = MEMBERS.where(board_members.c.board_id == _board)
MEMBER = MEMBERS_OF_BOARD.where(board_members.c.agent_id == _agent)
PLACE = (
    sa.select(
        *columns_of(
            Place,
            agents,
            board_members,
            agent_id=agents.c.id,
            is_lead=sa.func.coalesce(board_members.c.is_lead, sa.false()),
            main_of=sa.case((gateway_agents.c.role == "main", gateway_agents.c.gateway_id)),
        )
    )
    .select_from(agents)
    .outerjoin(board_members, board_members.c.agent_id == agents.c.id)
    .outerjoin(gateway_agents, gateway_agents.c.agent_id == agents.c.id)
    .where(agents.c.id == _agent, agents.c.deleted_at.is_(None))
)
NOT_LEAD = (
    sa.update(board_members)
    .where(board_members.c.board_id == _board, board_members.c.is_lead)
    .values(is_lead=False)
)
LEAD = (
    sa.update(board_members)
    .where(board_members.c.board_id == _board, board_members.c.agent_id == _agent)
    .values(is_lead=True)
)
DROP = sa.delete(board_members).where(board_members.c.board_id == _board, board_members.c.agent_id == _agent)
# A removed agent leaves its board, which frees the lead's place.
LEAVE = sa.delete(board_members).where(board_members.c.agent_id == _agent)


def list_members(c: sa.Connection, board_id: BoardId) -> list[MemberRow]:
    """Return the agents of a board, its lead first, then by name."""
    return [fill(MemberRow, row) for row in c.execute(MEMBERS_OF_BOARD, {"board": board_id})]


def lead_of(c: sa.Connection, board_id: BoardId) -> MemberRow | None:
    """Return the board's lead, if it has one."""
    first = next(iter(list_members(c, board_id)), None)
    return first if first is not None and first.is_lead else None


def place_of(c: sa.Connection, agent_id: AgentId) -> Place | None:
    """Return the agent's board and role; ``None`` if the agent does not exist or was removed."""
    row = c.execute(PLACE, {"agent": agent_id}).one_or_none()
    return None if row is None else fill(Place, row)


def add_member(
    c: sa.Connection,
    board_id: BoardId,
    agent_id: AgentId,
    *,
    is_lead: bool = False,
    limits: BoardLimits = DEFAULT_LIMITS,
    at: int,
    actor: str,
) -> MemberRow:
    """Add the agent to the board. An agent that is on it already stays, and may become its lead.

    Raises:
        UnknownBoard: no board has the id.
        NotOnBoard: the board's user has no agent with that id.
        OnAnotherBoard: the agent is on another board, or is the main agent of a gateway.
        TooManyOfBoards: the board has the maximum number of agents.
        In each case nothing was written.
    """
    user_id = lock_board(c, board_id)
    place = place_of(c, agent_id)
    if place is None or place.user_id != user_id:
        raise NotOnBoard(f"there is no agent {agent_id}")
    if place.main_of is not None:
        told = "the main agent of a gateway is on no board: it serves all of them"
        raise OnAnotherBoard(told, hint="choose another agent")
    if place.board_id not in (None, board_id):
        other = get_board(c, place.board_id)
        told = f"it is on board {other.name!r}: take it off that one first"
        raise OnAnotherBoard(told, hint=f"'hub boards drop {other.name} AGENT'")
    if place.board_id is None:
        count = c.execute(COUNT_MEMBERS, {"board": board_id}).scalar_one()
        if count >= limits.members_per_board:
            raise TooManyOfBoards(f"there are {count} agents on this board", limit="members_per_board")
        row = {"board_id": board_id, "agent_id": agent_id, "is_lead": False, "joined_at": at}
        c.execute(sa.insert(board_members), row)
        touch(c, board_id, at)
        detail: audit.Detail = {"agent": agent_id}
        audit.append(c, at=at, actor=actor, event="board.joined", subject=board_id, detail=detail)
    if is_lead and not place.is_lead:
        set_lead(c, board_id, agent_id, at=at, actor=actor)
    return _member(c, board_id, agent_id)


def drop_member(c: sa.Connection, board_id: BoardId, agent_id: AgentId, *, at: int, actor: str) -> MemberRow:
    """Remove the agent from the board. Return its former membership.

    Raises:
        UnknownBoard: no board has the id.
        NotOnBoard: the agent is not on this board.
    """
    lock_board(c, board_id)
    member = _member(c, board_id, agent_id)
    c.execute(DROP, {"board": board_id, "agent": agent_id})
    touch(c, board_id, at)
    detail: audit.Detail = {"agent": agent_id, "was_lead": member.is_lead}
    audit.append(c, at=at, actor=actor, event="board.left", subject=board_id, detail=detail)
    return member


def set_lead(
    c: sa.Connection, board_id: BoardId, agent_id: AgentId | None, *, at: int, actor: str
) -> BoardRow:
    """Make this agent the board's only lead; ``None``: the board has no lead.

    Raises:
        UnknownBoard: no board has the id.
        NotOnBoard: the agent is not on this board; nothing was written.
    """
    lock_board(c, board_id)
    was = lead_of(c, board_id)
    if (None if was is None else was.agent_id) == agent_id:
        return get_board(c, board_id)
    if agent_id is not None:
        _member(c, board_id, agent_id)
    c.execute(NOT_LEAD, {"board": board_id})
    if agent_id is not None:
        c.execute(LEAD, {"board": board_id, "agent": agent_id})
    touch(c, board_id, at)
    detail: audit.Detail = {"agent": agent_id, "before": None if was is None else was.agent_id}
    audit.append(c, at=at, actor=actor, event="board.lead", subject=board_id, detail=detail)
    return get_board(c, board_id)


def leave(c: sa.Connection, agent_id: AgentId) -> None:
    """Remove a deleted agent from its board."""
    c.execute(LEAVE, {"agent": agent_id})


def _member(c: sa.Connection, board_id: BoardId, agent_id: AgentId) -> MemberRow:
    row = c.execute(MEMBER, {"board": board_id, "agent": agent_id}).one_or_none()
    if row is None:
        raise NotOnBoard("the agent is not on this board")
    return fill(MemberRow, row)
