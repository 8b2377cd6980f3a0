"""Boards in the database: creation, members, lead, limits and removal.

A place of a board is the target of messages to its lead.
"""

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode, HubError, LimitReached
from protocol.ids import AgentId, BoardId, DeviceId, GatewayId, UserId
from storage import audit
from storage.kernel.columns import (
    Key,
    columns_of,
    fetch_page,
    paged,
    struct_from,
    struct_or_none,
    structs_from,
)
from storage.schema import (
    agent_states,
    agents,
    board_members,
    boards,
    devices,
    gateway_agents,
    gateways,
    users,
)


class UnknownBoard(HubError):
    """Error: no board has that name or id, or it belongs to another user."""

    code = ErrorCode.UNKNOWN_BOARD


class TooManyOfBoards(LimitReached):
    """Error: too many boards, members or items. *limit*: name of the limit; nothing was written."""


class BoardLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on boards; a refusal names the limit."""

    boards_per_user: int = 1_000
    members_per_board: int = 64


DEFAULT_LIMITS: Final = BoardLimits()


class BoardRow(msgspec.Struct, frozen=True, kw_only=True):
    """Board. *members*: number of its agents, including the lead. Instants are epoch milliseconds."""

    id: BoardId
    user_id: UserId
    user_name: str
    name: str
    description: str | None
    gateway_id: GatewayId | None
    gateway_name: str | None
    lead_id: AgentId | None
    lead_name: str | None
    members: int
    created_at: int
    updated_at: int


class Unset(msgspec.Struct, frozen=True):
    """Marker of an argument that leaves a value unchanged."""


UNSET: Final = Unset()

_lead = board_members.alias("lead")
_lead_agent = agents.alias("lead_agent")
_members = (
    sa.select(sa.func.count())
    .where(board_members.c.board_id == boards.c.id)
    .correlate(boards)
    .scalar_subquery()
)
_board: sa.BindParameter[str] = sa.bindparam("board")
_user: sa.BindParameter[str] = sa.bindparam("user")
BOARDS = (
    sa.select(
        *columns_of(
            BoardRow,
            boards,
            user_name=users.c.name,
            gateway_name=gateways.c.name,
            lead_id=_lead.c.agent_id,
            lead_name=_lead_agent.c.name,
            members=_members,
        )
    )
    .join_from(boards, users, users.c.id == boards.c.user_id)
    .outerjoin(gateways, gateways.c.id == boards.c.gateway_id)
    .outerjoin(_lead, sa.and_(_lead.c.board_id == boards.c.id, _lead.c.is_lead))
    .outerjoin(_lead_agent, _lead_agent.c.id == _lead.c.agent_id)
)
BOARD = BOARDS.where(boards.c.id == _board)
BOARDS_NAMED = BOARDS.where(boards.c.name == sa.bindparam("named")).order_by(boards.c.id)
LOCK_USER = sa.select(users.c.id).where(users.c.id == _user).with_for_update(key_share=True)


def create_board(
    c: sa.Connection,
    *,
    id: BoardId,
    user_id: UserId,
    name: str,
    description: str | None = None,
    gateway_id: GatewayId | None = None,
    limits: BoardLimits = DEFAULT_LIMITS,
    at: int,
    actor: str,
) -> BoardRow:
    """Create a board for the user.

    Raises:
        CodedError (NAME_TAKEN): the user has a board of this name.
        TooManyOfBoards: the user has the maximum number of boards.
        In each case nothing was written.
    """
    c.execute(LOCK_USER, {"user": user_id})
    if boards_named(c, name, user_id=user_id):
        raise CodedError(ErrorCode.NAME_TAKEN, f"there is a board {name!r} already")
    count = c.execute(
        sa.select(sa.func.count()).select_from(boards).where(boards.c.user_id == user_id)
    ).scalar_one()
    if count >= limits.boards_per_user:
        raise TooManyOfBoards(f"this user has {count} boards", limit="boards_per_user")
    row = {"id": id, "user_id": user_id, "name": name, "description": description, "gateway_id": gateway_id}
    c.execute(sa.insert(boards), row | {"created_at": at, "updated_at": at})
    detail: audit.Detail = {"name": name, "user": user_id, "gateway": gateway_id}
    audit.append(c, at=at, actor=actor, event="board.created", subject=id, detail=detail)
    return get_board(c, id)


def get_board(c: sa.Connection, id: BoardId) -> BoardRow:
    """Return the board with that id, or raise UnknownBoard."""
    row = c.execute(BOARD, {"board": id}).one_or_none()
    if row is None:
        raise UnknownBoard(f"there is no board {id}")
    return struct_from(BoardRow, row)


def find_board(c: sa.Connection, given: str, *, user_id: UserId | None = None) -> BoardRow:
    """Return the board with that id or, failing that, that name; of one user or of any.

    Raises:
        UnknownBoard: no board matches, or it belongs to another user.
        CodedError (BAD_PARAMS): several users have a board of this name.
    """
    row = c.execute(BOARD, {"board": given}).one_or_none()
    if row is not None and user_id in (None, row.user_id):
        return struct_from(BoardRow, row)
    found = boards_named(c, given, user_id=user_id)
    if len(found) > 1:
        raise CodedError(ErrorCode.BAD_PARAMS, f"several users have a board {given!r}; say whose: ?user=NAME")
    if not found:
        raise UnknownBoard(f"there is no board {given!r}")
    return found[0]


def boards_named(c: sa.Connection, name: str, *, user_id: UserId | None = None) -> list[BoardRow]:
    """Return the boards of that name: at most one of each user, or of *user_id*."""
    query = BOARDS_NAMED if user_id is None else BOARDS_NAMED.where(boards.c.user_id == user_id)
    return structs_from(BoardRow, c.execute(query, {"named": name}))


def list_boards(
    c: sa.Connection,
    *,
    user_id: UserId | None = None,
    gateway_id: GatewayId | None = None,
    limit: int | None = None,
    after: Key | None = None,
) -> list[BoardRow]:
    """Return boards by name and id: of one user or all, of one gateway or all."""
    query = paged(BOARDS, boards.c.name, boards.c.id, limit=limit, after=after)
    if user_id is not None:
        query = query.where(boards.c.user_id == user_id)
    if gateway_id is not None:
        query = query.where(boards.c.gateway_id == gateway_id)
    return fetch_page(c, BoardRow, query, limit)


def edit_board(
    c: sa.Connection,
    id: BoardId,
    *,
    name: str | Unset = UNSET,
    description: str | Unset | None = UNSET,
    gateway_id: GatewayId | Unset | None = UNSET,
    at: int,
    actor: str,
) -> BoardRow:
    """Change name, description or gateway of the board.

    Raises:
        UnknownBoard: no board has the id.
        CodedError (NAME_TAKEN): the user has another board of this name.
        In each case nothing was written.
    """
    user_id = lock_board(c, id)
    given = {"name": name, "description": description, "gateway_id": gateway_id}
    changed: dict[str, Any] = {key: value for key, value in given.items() if not isinstance(value, Unset)}
    if any(other.id != id for other in boards_named(c, changed.get("name", ""), user_id=user_id)):
        raise CodedError(ErrorCode.NAME_TAKEN, f"there is a board {name!r} already")
    if changed:
        before = get_board(c, id)
        c.execute(sa.update(boards).where(boards.c.id == id).values(**changed, updated_at=at))
        changed.pop("description", None)
        detail = audit.changed({key: getattr(before, key) for key in changed}, changed)
        audit.append(c, at=at, actor=actor, event="board.changed", subject=id, detail=detail)
    return get_board(c, id)


def remove_board(c: sa.Connection, id: BoardId, *, at: int, actor: str) -> BoardRow:
    """Delete the board with its memory, and return it; its agents stay, on no board.

    Raises:
        UnknownBoard: no board has the id.
    """
    lock_board(c, id)
    board = get_board(c, id)
    c.execute(sa.delete(boards).where(boards.c.id == id))
    detail: audit.Detail = {"name": board.name, "user": board.user_id}
    audit.append(c, at=at, actor=actor, event="board.removed", subject=id, detail=detail)
    return board


def touch(c: sa.Connection, id: BoardId, at: int) -> None:
    """Update the board's time of the last change."""
    c.execute(sa.update(boards).where(boards.c.id == id).values(updated_at=at))


def lock_board(c: sa.Connection, id: BoardId) -> UserId:
    """Lock the board's row for update and return its owner.

    Raises:
        UnknownBoard: no board has the id.
    """
    user_id = c.execute(
        sa.select(boards.c.user_id).where(boards.c.id == id).with_for_update(key_share=True)
    ).scalar_one_or_none()
    if user_id is None:
        raise UnknownBoard(f"there is no board {id}")
    return UserId(user_id)


class LeadHome(msgspec.Struct, frozen=True, kw_only=True):
    """Board, with the home of its lead.

    Attributes:
        has_gateway: the board has a gateway, declared or not.
        gateway_id: the board's gateway, if it is declared.
        home_gateway_id, home_device_id: current home of its lead.
    """

    board_id: BoardId
    name: str
    has_gateway: bool
    gateway_id: GatewayId | None
    lead_id: AgentId | None
    home_gateway_id: GatewayId | None
    home_device_id: DeviceId | None

    @property
    def goes_over(self) -> tuple[GatewayId | None, DeviceId | None]:
        """Gateway or device that carries a message to the lead."""
        if self.home_gateway_id is not None:
            return self.home_gateway_id, None
        if self.home_device_id is not None:
            return None, self.home_device_id
        return self.gateway_id, None

    @property
    def refusal(self) -> tuple[ErrorCode, str] | None:
        """Reason why messages cannot reach its lead; ``None``: they can, or a lead can be created."""
        if self.gateway_id is not None or self.home_gateway_id is not None or self.home_device_id is not None:
            return None
        if self.has_gateway:
            return ErrorCode.NO_GATEWAY, f"the gateway of board {self.name} is not in hub.toml any more"
        if self.lead_id is None:
            message = f"board {self.name} has no lead, and no gateway at which one could be made"
            return ErrorCode.NO_LEAD, message
        return ErrorCode.NO_SESSION, f"the lead of board {self.name} lives on no gateway and on no device"


_home = gateways.alias("home")
PLACES = (
    sa.select(
        *columns_of(
            LeadHome,
            boards,
            board_id=boards.c.id,
            has_gateway=boards.c.gateway_id.is_not(None),
            gateway_id=gateways.c.id,
            lead_id=_lead.c.agent_id,
            home_gateway_id=_home.c.id,
            home_device_id=agents.c.device_id,
        )
    )
    .select_from(boards)
    .outerjoin(gateways, sa.and_(gateways.c.id == boards.c.gateway_id, gateways.c.deleted_at.is_(None)))
    .outerjoin(_lead, sa.and_(_lead.c.board_id == boards.c.id, _lead.c.is_lead))
    .outerjoin(agents, agents.c.id == _lead.c.agent_id)
    .outerjoin(gateway_agents, gateway_agents.c.agent_id == _lead.c.agent_id)
    .outerjoin(_home, sa.and_(_home.c.id == gateway_agents.c.gateway_id, _home.c.deleted_at.is_(None)))
    .where(boards.c.user_id == sa.bindparam("user"))
    .order_by(boards.c.name, boards.c.id)
)


def list_places(c: sa.Connection, user_id: UserId) -> list[LeadHome]:
    """Return all boards of a user, by name."""
    return structs_from(LeadHome, c.execute(PLACES, {"user": user_id}))


def find_place(c: sa.Connection, user_id: UserId, board_id: BoardId) -> LeadHome | None:
    """Return the user's board with that id, if any."""
    query = PLACES.where(boards.c.id == board_id)
    return struct_or_none(LeadHome, c.execute(query, {"user": user_id}).one_or_none())


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


class BoardPlacement(msgspec.Struct, frozen=True, kw_only=True):
    """Board of an agent, and the gateway whose main agent it is."""

    agent_id: AgentId
    user_id: UserId
    board_id: BoardId | None = None
    is_lead: bool = False
    main_of: GatewayId | None = None


_agent: sa.BindParameter[str] = sa.bindparam("agent")
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
MEMBER = MEMBERS_OF_BOARD.where(board_members.c.agent_id == sa.bindparam("agent"))
LEAD = (
    sa.update(board_members)
    .where(board_members.c.board_id == _board, board_members.c.agent_id == _agent)
    .values(is_lead=True)
)
DROP = sa.delete(board_members).where(board_members.c.board_id == _board, board_members.c.agent_id == _agent)


def list_members(c: sa.Connection, board_id: BoardId) -> list[MemberRow]:
    """Return the agents of a board, its lead first, then by name."""
    return structs_from(MemberRow, c.execute(MEMBERS_OF_BOARD, {"board": board_id}))


def lead_of(c: sa.Connection, board_id: BoardId) -> MemberRow | None:
    """Return the board's lead, if it has one."""
    first = next(iter(list_members(c, board_id)), None)
    return first if first is not None and first.is_lead else None


def place_of(c: sa.Connection, agent_id: AgentId) -> BoardPlacement | None:
    """Return the agent's board and role; ``None`` if the agent does not exist or was removed."""
    row = c.execute(
        sa.select(
            *columns_of(
                BoardPlacement,
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
        .where(agents.c.id == agent_id, agents.c.deleted_at.is_(None))
    ).one_or_none()
    return None if row is None else struct_from(BoardPlacement, row)


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
        CodedError (UNKNOWN_AGENT): the board's user has no agent with that id.
        CodedError (ILLEGAL_TRANSITION): the agent is on another board, or is the main agent of a gateway.
        TooManyOfBoards: the board has the maximum number of agents.
        In each case nothing was written.
    """
    user_id = lock_board(c, board_id)
    place = place_of(c, agent_id)
    if place is None or place.user_id != user_id:
        raise CodedError(ErrorCode.UNKNOWN_AGENT, f"there is no agent {agent_id}")
    if place.main_of is not None:
        message = "the main agent of a gateway is on no board: it serves all of them"
        raise CodedError(ErrorCode.ILLEGAL_TRANSITION, message, hint="choose another agent")
    if place.board_id not in (None, board_id):
        other = get_board(c, place.board_id)
        message = f"it is on board {other.name!r}: take it off that one first"
        raise CodedError(ErrorCode.ILLEGAL_TRANSITION, message, hint=f"'hub boards drop {other.name} AGENT'")
    if place.board_id is None:
        count = c.execute(
            sa.select(sa.func.count()).select_from(board_members).where(board_members.c.board_id == board_id)
        ).scalar_one()
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
        CodedError (UNKNOWN_AGENT): the agent is not on this board.
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
        CodedError (UNKNOWN_AGENT): the agent is not on this board; nothing was written.
    """
    lock_board(c, board_id)
    was = lead_of(c, board_id)
    if (None if was is None else was.agent_id) == agent_id:
        return get_board(c, board_id)
    if agent_id is not None:
        _member(c, board_id, agent_id)
    c.execute(
        sa.update(board_members)
        .where(board_members.c.board_id == board_id, board_members.c.is_lead)
        .values(is_lead=False)
    )
    if agent_id is not None:
        c.execute(LEAD, {"board": board_id, "agent": agent_id})
    touch(c, board_id, at)
    detail: audit.Detail = {"agent": agent_id, "before": None if was is None else was.agent_id}
    audit.append(c, at=at, actor=actor, event="board.lead", subject=board_id, detail=detail)
    return get_board(c, board_id)


def _member(c: sa.Connection, board_id: BoardId, agent_id: AgentId) -> MemberRow:
    row = c.execute(MEMBER, {"board": board_id, "agent": agent_id}).one_or_none()
    if row is None:
        raise CodedError(ErrorCode.UNKNOWN_AGENT, "the agent is not on this board")
    return struct_from(MemberRow, row)
