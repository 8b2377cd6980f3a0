"""Rows of messages between agents, and reading them. Instants are epoch milliseconds."""

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
from storage.kernel.keyset import Key, paged
from storage.kernel.rows import columns_of, fill
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

# While a message to an agent is in one of these states, later ones wait: order is kept.
UNPROVEN: Final = (
    MessageState.WAITING,
    MessageState.SENT,
    MessageState.ACCEPTED,
    MessageState.QUEUED,
    MessageState.INTERRUPTED,
)


class UnknownMessage(HubError):
    """Error: no message has that id."""

    code = ErrorCode.UNKNOWN_MESSAGE


class MessageRow(msgspec.Struct, frozen=True, kw_only=True):
    """Message, with the names of the objects that it refers to.

    Attributes:
        from_agent_id: sending agent; ``None``: a person.
        actor: sender in the spelling of the audit log.
        to_agent_id: ``None``: the board's lead, not known yet; or the agent was removed.
        gateway_id, device_id: route of the last or next send.
        content: text, without the frame that a send adds.
        attempt: number of the current idempotency key.
        sends: number of times that it may have left the hub.
        version: grows with each move.
        lease_boot_id: hub process that processes it.
        reason_code: error code of a failure.
        not_before: next time of processing.
        settled_at: end of processing.
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
        """True if delivery to its agent is proven."""
        return self.state in DELIVERED


class MessageSight(MessageRow, frozen=True, kw_only=True):
    """Open message with everything that determines its route.

    Attributes:
        home_device_id, home_gateway_id: current home of its agent.
        remote_id, session_key: identity of the agent and its session at the gateway.
        remote_state: state of the agent's creation there.
        is_gone: the agent was removed.
        held_until: for an exhausted agent, time of its recovery or probe.
    """

    home_device_id: DeviceId | None
    home_gateway_id: GatewayId | None
    remote_id: str | None
    session_key: str | None
    remote_state: str | None
    is_gone: bool
    held_until: int | None


class MessageHome(msgspec.Struct, frozen=True):
    """Route of messages to an agent."""

    gateway_id: GatewayId | None
    device_id: DeviceId | None


class MessageMove(msgspec.Struct, frozen=True, kw_only=True):
    """Row of a message's history. *proof*: evidence from the gateway or the device."""

    seq: int
    old_state: MessageState | None
    new_state: MessageState
    attempt: int
    proof: dict[str, Any]
    reason: str | None
    at: int


_sender = agents.alias("sender")
_SPELLED: Final[dict[str, Any]] = {
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
    return (
        sa.select(*columns_of(of, messages, **_SPELLED))
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
    sa.select(*columns_of(MessageMove, message_moves))
    .where(message_moves.c.message_id == _message)
    .order_by(message_moves.c.seq)
)


HOME = (
    sa.select(gateway_agents.c.gateway_id, agents.c.device_id)
    .join_from(agents, gateway_agents, gateway_agents.c.agent_id == agents.c.id, isouter=True)
    .where(agents.c.id == sa.bindparam("agent"), agents.c.deleted_at.is_(None))
)


def row_of(row: sa.Row[Any]) -> MessageRow:
    """Convert a row of ``MESSAGES``."""
    return fill(MessageRow, row)


def sight_of(row: sa.Row[Any]) -> MessageSight:
    """Convert a row of ``SIGHTS``."""
    return fill(MessageSight, row)


def find_message(c: sa.Connection, id: str) -> MessageRow | None:
    """Return the message with that id, if any."""
    row = c.execute(MESSAGE, {"message": id}).one_or_none()
    return None if row is None else row_of(row)


def get_message(c: sa.Connection, id: str) -> MessageRow:
    """Return the message with that id, or raise UnknownMessage."""
    found = find_message(c, id)
    if found is None:
        raise UnknownMessage(f"there is no message {id}")
    return found


def find_sight(c: sa.Connection, id: str) -> MessageSight | None:
    """Return the message with its route, if any has that id."""
    row = c.execute(SIGHT, {"message": id}).one_or_none()
    return None if row is None else sight_of(row)


def moves_of(c: sa.Connection, id: str) -> list[MessageMove]:
    """Return the moves of a message, in order."""
    return [fill(MessageMove, row) for row in c.execute(MOVES, {"message": id})]


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
    limit: int | None = None,
    after: Key | None = None,
) -> list[MessageRow]:
    """Return messages, newest first.

    Args:
        agent_ids: only messages from or to these agents.
        after: ``(created_at, id)`` of the last message of the previous page.
    """
    query = paged(MESSAGES, messages.c.created_at, messages.c.id, limit=limit, after=after, descending=True)
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
    return [row_of(row) for row in c.execute(query)]


def home_of(c: sa.Connection, agent_id: AgentId) -> MessageHome | None:
    """Return the route of messages to an agent; ``None``: it has no home, or was removed."""
    row = c.execute(HOME, {"agent": agent_id}).one_or_none()
    if row is None or (row.gateway_id is None and row.device_id is None):
        return None
    return MessageHome(row.gateway_id, None if row.gateway_id is not None else row.device_id)
