"""Messages between agents, as they are kept, and reading them. Instants are epoch milliseconds."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import (
    AgentId,
    BoardId,
    BootId,
    BroadcastId,
    DeviceId,
    GatewayId,
    MemoryId,
    MessageId,
    QuestionId,
    UserId,
)
from protocol.messages import DELIVERED, MessageKind, MessageState
from storage.schema import (
    agent_states,
    agents,
    boards,
    gateway_agents,
    gateways,
    message_moves,
    messages,
    users,
)

# Until one of these is over, its agent gets no later message: order is kept, and one is under way at a time.
UNPROVEN: Final = (
    MessageState.WAITING,
    MessageState.SENT,
    MessageState.ACCEPTED,
    MessageState.QUEUED,
    MessageState.INTERRUPTED,
)


class UnknownMessage(HubError):
    """There is no such message."""

    code = ErrorCode.UNKNOWN_MESSAGE


class MessageRow(msgspec.Struct, frozen=True, kw_only=True):
    """A message, with the names of what it is about.

    Attributes:
        from_agent_id: who sends it; ``None``: a person.
        actor: who sent it, as the audit log spells it.
        to_agent_id: ``None``: the lead of the board, who is not known yet; or the agent was removed.
        gateway_id, device_id: over which it went last, or is to go.
        content: what is said, without what a letter puts around it.
        attempt: of how many keys the current one is.
        sends: how often it may have left.
        version: grows with each move.
        lease_boot_id: the start of a hub that has it in hand.
        reason_code: of a failure, an error code.
        not_before: when it is looked at again.
        settled_at: since when nothing further is done about it.
    """

    id: MessageId
    user_id: UserId
    user: str
    kind: MessageKind
    board_id: BoardId | None
    board: str | None
    broadcast_id: BroadcastId | None
    from_agent_id: AgentId | None
    from_agent: str | None
    actor: str
    to_agent_id: AgentId | None
    to_agent: str | None
    to_lead: bool
    gateway_id: GatewayId | None
    gateway: str | None
    device_id: DeviceId | None
    content: str
    deliver: bool
    queue_mode: str | None
    correlation_id: str | None
    reply_to: str | None
    question_id: QuestionId | None
    reply_tags: tuple[str, ...]
    reply_source: str | None
    trace_id: str
    state: MessageState
    attempt: int
    sends: int
    version: int
    lease_boot_id: BootId | None
    reason_code: str | None
    reason: str | None
    answer: str | None
    memory_id: MemoryId | None
    not_before: int
    expires_at: int
    created_at: int
    updated_at: int
    settled_at: int | None

    @property
    def is_delivered(self) -> bool:
        """Whether it is proven that its agent has it."""
        return self.state in DELIVERED


class MessageSight(MessageRow, frozen=True, kw_only=True):
    """An open message with all that decides where it goes.

    Attributes:
        home_device_id, home_gateway_id: where its agent lives now.
        remote_id, session_key: what the agent and its session are called at the gateway.
        remote_state: whether it is there: wanted, creating, ready or failed.
        is_gone: the agent was removed.
        held_until: of an agent whose quota is used up, when it is back or asked about.
    """

    home_device_id: DeviceId | None
    home_gateway_id: GatewayId | None
    remote_id: str | None
    session_key: str | None
    remote_state: str | None
    is_gone: bool
    held_until: int | None


class MessageHome(msgspec.Struct, frozen=True):
    """Where messages to an agent go."""

    gateway_id: GatewayId | None
    device_id: DeviceId | None


class MessageMove(msgspec.Struct, frozen=True, kw_only=True):
    """One move of a message. *proof*: what the gateway or the device showed for it."""

    seq: int
    old_state: MessageState | None
    new_state: MessageState
    attempt: int
    proof: dict[str, Any]
    reason: str | None
    at: int


_sender = agents.alias("sender")
_SPELLED: Final[dict[str, sa.ColumnElement[Any]]] = {
    "user": users.c.name,
    "board": boards.c.name,
    "from_agent": _sender.c.name,
    "to_agent": agents.c.name,
    "gateway": gateways.c.name,
    "home_device_id": agents.c.device_id,
    "home_gateway_id": gateway_agents.c.gateway_id,
    "remote_id": gateway_agents.c.remote_id,
    "session_key": gateway_agents.c.session_key,
    "remote_state": gateway_agents.c.state,
    "is_gone": agents.c.deleted_at.is_not(None),
    "held_until": sa.case(
        (
            agent_states.c.availability == "exhausted",
            sa.func.coalesce(agent_states.c.recovery_at, agent_states.c.probe_at),
        )
    ),
}


def _select(of: type[MessageRow]) -> sa.Select[Any]:
    columns = [_SPELLED[name] if name in _SPELLED else messages.c[name] for name in of.__struct_fields__]
    return (
        sa.select(*(column.label(name) for name, column in zip(of.__struct_fields__, columns, strict=True)))
        .join_from(messages, users, users.c.id == messages.c.user_id)
        .outerjoin(boards, boards.c.id == messages.c.board_id)
        .outerjoin(gateways, gateways.c.id == messages.c.gateway_id)
        .outerjoin(agents, agents.c.id == messages.c.to_agent_id)
        .outerjoin(_sender, _sender.c.id == messages.c.from_agent_id)
    )


_message: sa.BindParameter[str] = sa.bindparam("message")
MESSAGES = _select(MessageRow)
SIGHTS = (
    _select(MessageSight)
    .outerjoin(gateway_agents, gateway_agents.c.agent_id == messages.c.to_agent_id)
    .outerjoin(agent_states, agent_states.c.agent_id == messages.c.to_agent_id)
)
MESSAGE = MESSAGES.where(messages.c.id == _message)
SIGHT = SIGHTS.where(messages.c.id == _message)
MOVES = (
    sa.select(*(message_moves.c[name] for name in MessageMove.__struct_fields__))
    .where(message_moves.c.message_id == _message)
    .order_by(message_moves.c.seq)
)


HOME = (
    sa.select(gateway_agents.c.gateway_id, agents.c.device_id)
    .join_from(agents, gateway_agents, gateway_agents.c.agent_id == agents.c.id, isouter=True)
    .where(agents.c.id == sa.bindparam("agent"), agents.c.deleted_at.is_(None))
)


def row_of(row: sa.Row[Any]) -> MessageRow:
    """The struct of a row of ``MESSAGES``."""
    return MessageRow(**{**row._mapping, "reply_tags": tuple(row.reply_tags)})


def sight_of(row: sa.Row[Any]) -> MessageSight:
    """The struct of a row of ``SIGHTS``."""
    told = {**row._mapping, "reply_tags": tuple(row.reply_tags), "is_gone": bool(row.is_gone)}
    return MessageSight(**told)


def find_message(c: sa.Connection, id: str) -> MessageRow | None:
    """The message, if there is one of this id."""
    row = c.execute(MESSAGE, {"message": id}).one_or_none()
    return None if row is None else row_of(row)


def get_message(c: sa.Connection, id: str) -> MessageRow:
    """Raises UnknownMessage."""
    found = find_message(c, id)
    if found is None:
        raise UnknownMessage(f"there is no message {id}")
    return found


def find_sight(c: sa.Connection, id: str) -> MessageSight | None:
    """The message and where it goes, if there is one of this id."""
    row = c.execute(SIGHT, {"message": id}).one_or_none()
    return None if row is None else sight_of(row)


def moves_of(c: sa.Connection, id: str) -> list[MessageMove]:
    """What happened to a message, in order."""
    return [MessageMove(**row._mapping) for row in c.execute(MOVES, {"message": id})]


def list_messages(
    c: sa.Connection,
    *,
    user_id: UserId | None = None,
    board_ids: Sequence[str] | None = None,
    agent_ids: Sequence[str] | None = None,
    broadcast_id: str | None = None,
    states: Sequence[MessageState] | None = None,
    correlation_id: str | None = None,
    is_open: bool | None = None,
    after: tuple[int, str] | None = None,
    limit: int = 100,
) -> list[MessageRow]:
    """Messages, the newest first.

    Args:
        agent_ids: of those that send it or are to get it.
        after: ``created_at`` and id of one; only what follows it in this order.
    """
    query = MESSAGES.order_by(messages.c.created_at.desc(), messages.c.id.desc()).limit(limit)
    if user_id is not None:
        query = query.where(messages.c.user_id == user_id)
    if board_ids is not None:
        query = query.where(messages.c.board_id.in_(board_ids))
    if agent_ids is not None:
        query = query.where(
            sa.or_(messages.c.to_agent_id.in_(agent_ids), messages.c.from_agent_id.in_(agent_ids))
        )
    if broadcast_id is not None:
        query = query.where(messages.c.broadcast_id == broadcast_id)
    if states is not None:
        query = query.where(messages.c.state.in_(states))
    if correlation_id is not None:
        query = query.where(messages.c.correlation_id == correlation_id)
    if is_open is not None:
        query = query.where(
            messages.c.settled_at.is_(None) if is_open else messages.c.settled_at.is_not(None)
        )
    if after is not None:
        query = query.where(
            sa.tuple_(messages.c.created_at, messages.c.id) < sa.tuple_(*map(sa.literal, after))
        )
    return [row_of(row) for row in c.execute(query)]


def home_of(c: sa.Connection, agent_id: AgentId) -> MessageHome | None:
    """Where messages to an agent go; ``None``: it lives nowhere, or it was removed."""
    row = c.execute(HOME, {"agent": agent_id}).one_or_none()
    if row is None or (row.gateway_id is None and row.device_id is None):
        return None
    return MessageHome(row.gateway_id, None if row.gateway_id is not None else row.device_id)
