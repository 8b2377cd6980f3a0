"""Messages between agents in the database: reading, listing, state changes and answers."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.agent_messages import DELIVERED, MESSAGE, MessageEvent, MessageKind, MessageState
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
from storage import audit
from storage.coordination.board_memory import MemoryRow, NewMemory, add_memory
from storage.coordination.boards import lock_board
from storage.kernel.columns import (
    Key,
    columns_of,
    fetch_page,
    listed_keys,
    narrowed,
    paged,
    struct_or_none,
    structs_from,
    unindexed,
    whole_id,
)
from storage.schema import (
    agent_states,
    agents,
    boards,
    broadcasts,
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


class SentFields(msgspec.Struct, frozen=True, kw_only=True):
    """Fields that messages, questions and broadcasts have from their creation.

    Attributes:
        from_agent_id: agent that sends it; ``None``: a person.
        actor: sender in the spelling of the audit log.
        reply_tags, reply_source: tags and source of the answer in the board's memory; empty: the defaults.
    """

    user_id: UserId
    content: str
    from_agent_id: AgentId | None = None
    actor: str
    correlation_id: str | None = None
    reply_tags: tuple[str, ...] = ()
    reply_source: str | None = None
    trace_id: str


class MessageFields(SentFields, frozen=True, kw_only=True):
    """Fields of a message that it has from its creation.

    Attributes:
        to_agent_id: recipient; ``None`` with *to_lead*: the board's lead at the time of sending, created if
            missing; ``None`` without: the agent was removed.
        gateway_id, device_id: route of the last or next send.
        content: text, without the frame that a send adds.
        deliver: forward the agent's answer to the agent's own channel.
        queue_mode: how a busy agent queues it; ``None``: the gateway's setting.
        not_before: next time of processing.
        expires_at: deadline of the delivery.
    """

    id: MessageId
    kind: MessageKind
    board_id: BoardId | None = None
    broadcast_id: BroadcastId | None = None
    to_agent_id: AgentId | None = None
    to_lead: bool = False
    gateway_id: GatewayId | None = None
    device_id: DeviceId | None = None
    deliver: bool = False
    queue_mode: str | None = None
    reply_to: str | None = None
    question_id: QuestionId | None = None
    not_before: int
    expires_at: int


class MessageRow(MessageFields, frozen=True, kw_only=True):
    """Message, with the names of the objects that it refers to.

    Attributes:
        attempt: number of the current idempotency key.
        sends: number of times that it may have left the hub.
        version: grows with each move.
        lease_boot_id: hub process that processes it.
        reason_code: error code of a failure.
        settled_at: end of processing.
    """

    user: str
    board: str | None
    from_agent: str | None
    to_agent: str | None
    gateway: str | None
    state: MessageState
    attempt: int
    sends: int
    version: int
    lease_boot_id: BootId | None
    reason_code: str | None
    reason: str | None
    answer: str | None
    memory_id: MemoryId | None
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
        is_removed: the agent was removed.
        held_until: for an exhausted agent, time of its recovery or probe.
    """

    home_device_id: DeviceId | None
    home_gateway_id: GatewayId | None
    remote_id: str | None
    session_key: str | None
    remote_state: str | None
    is_removed: bool
    held_until: int | None


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
    "is_removed": agents.c.deleted_at.is_not(None),
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
MESSAGE_BY_ID = MESSAGES.where(messages.c.id == _message)
SIGHT = SIGHTS.where(messages.c.id == _message)
MOVES = (
    sa.select(*columns_of(MessageMove, message_moves))
    .where(message_moves.c.message_id == _message)
    .order_by(message_moves.c.seq)
)


def find_message(c: sa.Connection, id: str, user_id: UserId | None = None) -> MessageRow | None:
    """Return the message with that id, or the one of the user whose id ends so (``whole_id``), if any."""
    whole = whole_id(c, messages, id, user_id=user_id)
    return struct_or_none(MessageRow, c.execute(MESSAGE_BY_ID, {"message": whole}).one_or_none())


def get_message(c: sa.Connection, id: str) -> MessageRow:
    """Return the message with that id, or raise UnknownMessage."""
    found = find_message(c, id)
    if found is None:
        raise UnknownMessage(f"there is no message {id}")
    return found


def find_sight(c: sa.Connection, id: str) -> MessageSight | None:
    """Return the message with its route, if any has that id."""
    return struct_or_none(MessageSight, c.execute(SIGHT, {"message": id}).one_or_none())


def moves_of(c: sa.Connection, id: str) -> list[MessageMove]:
    """Return the moves of a message, in order."""
    return structs_from(MessageMove, c.execute(MOVES, {"message": id}))


MAX_AGENTS: Final = 10  # whose messages are read page by page; of more agents they are sorted


def list_messages(
    c: sa.Connection,
    *,
    user_id: UserId | None = None,
    board_id: str | None = None,
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
        broadcast_id: id of a broadcast, or the end of one; see ``whole_id``.
        after: ``(created_at, id)`` of the last message of the previous page.
    """
    of = messages.c
    if broadcast_id is not None:
        broadcast_id = whole_id(c, broadcasts, broadcast_id, user_id=user_id)
    user = (of.user_id, user_id if agent_ids is None else None)
    only = narrowed(
        (of.broadcast_id, broadcast_id), (of.correlation_id, correlation_id), (of.board_id, board_id), user
    )
    parts: list[sa.ColumnElement[bool]] = []
    if agent_ids is not None:
        ends = (of.to_agent_id, of.from_agent_id)
        parts = [end.in_(agent_ids) for end in ends]
        if not only and len(agent_ids) <= MAX_AGENTS:
            parts = [end == id for id in agent_ids for end in ends]
        if user_id is not None:
            only.append(unindexed(of.user_id) == user_id)
    if states is not None and (only or parts):
        only.append(unindexed(of.state).in_(states))
    elif states is not None:
        parts = [of.state == state for state in states]
    if is_open is not None:
        only.append(of.settled_at.is_(None) if is_open else of.settled_at.is_not(None))
    query = paged(
        *(MESSAGES, of.created_at, of.id),
        limit=limit,
        after=after,
        descending=True,
        only=[*only, listed_keys(messages)],
        parts=parts,
    )
    return fetch_page(c, MessageRow, query, limit)


def home_of(c: sa.Connection, agent_id: AgentId) -> tuple[GatewayId | None, DeviceId | None] | None:
    """Return the gateway or the device of an agent; ``None``: it has no home, or was removed."""
    row = c.execute(
        sa.select(gateway_agents.c.gateway_id, agents.c.device_id)
        .join_from(agents, gateway_agents, gateway_agents.c.agent_id == agents.c.id, isouter=True)
        .where(agents.c.id == agent_id, agents.c.deleted_at.is_(None))
    ).one_or_none()
    if row is None or (row.gateway_id is None and row.device_id is None):
        return None
    return row.gateway_id, None if row.gateway_id is not None else row.device_id


_EVENTS: Final = {
    MessageKind.NUDGE: "agent.nudge",
    MessageKind.QUESTION: "gateway.main.lead_message",
    MessageKind.HANDOFF: "gateway.main.lead_message",
    MessageKind.ASK_USER: "gateway.lead.ask_user",
    MessageKind.ANSWER: "agent.answer",
}
NOT_DELIVERED: Final = (MessageState.FAILED, MessageState.EXPIRED)


def record_move(c: sa.Connection, before: MessageState, row: MessageRow) -> None:
    """Record a message's transition from the state *before* in the activity log, if people need it.

    Messages of a broadcast are skipped: the broadcast has one entry for all of them.
    """
    if row.broadcast_id is not None:
        return
    if row.state in DELIVERED and before not in DELIVERED:
        outcome, level, message = "sent", "info", _sent(row)
    elif row.state in NOT_DELIVERED and before not in DELIVERED:
        outcome, level = "failed", "warning"
        message = f"{_failed(row)}: {row.reason or row.state}"
    else:
        return
    audit.record(
        c,
        id=f"{row.id}:{row.version}",  # unique, so that a repeated transaction adds one entry
        at=row.updated_at,
        event_type=f"{_EVENTS[row.kind]}.{outcome}",
        message=message,
        actor=row.actor,
        agent_id=row.from_agent_id or row.to_agent_id,
        device_id=row.device_id,
        level=level,
        data={"message_id": row.id, "board_id": row.board_id, "to_agent_id": row.to_agent_id},
        trace_id=row.trace_id,
    )


def _sent(row: MessageRow) -> str:
    match row.kind:
        case MessageKind.NUDGE:
            return f"Nudge sent to {row.to_agent}."
        case MessageKind.QUESTION | MessageKind.HANDOFF:
            return f"Sent {row.kind} to lead for board: {row.board}."
        case MessageKind.ASK_USER:
            return f"Lead requested user info via gateway agent for board: {row.board}."
        case MessageKind.ANSWER:
            return f"Sent the user's answer to {row.to_agent}."


def _failed(row: MessageRow) -> str:
    match row.kind:
        case MessageKind.NUDGE:
            return f"Nudge failed for {row.to_agent}"
        case MessageKind.QUESTION | MessageKind.HANDOFF:
            return f"Lead message failed for {row.board}"
        case MessageKind.ASK_USER:
            return f"Lead user question failed for {row.board}"
        case MessageKind.ANSWER:
            return f"The user's answer did not reach {row.to_agent}"


MOVE = (
    sa.update(messages)
    .where(messages.c.id == _message, messages.c.version == sa.bindparam("seen"))
    .values(
        {
            name: sa.bindparam(f"to_{name}")
            for name in (
                "state",
                "attempt",
                "sends",
                "version",
                "lease_boot_id",
                "gateway_id",
                "device_id",
                "reason_code",
                "reason",
                "answer",
                "memory_id",
                "not_before",
                "updated_at",
                "settled_at",
            )
        }
    )
)


def move_message(
    c: sa.Connection,
    id: str,
    event: MessageEvent,
    *,
    seen_version: int,
    at: int,
    proof: Mapping[str, Any] | None = None,
    reason_code: str | None = None,
    reason: str | None = None,
    answer: str | None = None,
    memory_id: MemoryId | None = None,
    not_before: int | None = None,
    boot_id: BootId | None = None,
    gateway_id: GatewayId | None = None,
    device_id: DeviceId | None = None,
    settles: bool = False,
) -> MessageRow | None:
    """Move a message by *event*. Return it, or ``None`` if it changed; nothing was written then.

    Args:
        proof: evidence of the event; the first SENT of an attempt contains the sent content.
        boot_id: with SENT: the hub process that leases the message from now on.
        gateway_id, device_id: with SENT: route of the message.
        settles: processing ends, although the state is not final.

    Raises:
        UnknownMessage: no message has the id.
        IllegalTransition: the state table does not allow the event.
        In each case nothing was written.
    """
    seen = get_message(c, id)
    if seen.version != seen_version:
        return None
    after = MESSAGE.after(seen.state, event)
    # A person's memory item may answer a message that was settled as read.
    is_over = settles or MESSAGE.is_final(after) or seen.settled_at is not None
    is_sent, is_anew = event is MessageEvent.SENT, event is MessageEvent.TRIED_ANEW
    lets_go = is_over or is_anew or event is MessageEvent.TAKEN_BACK
    attempt = seen.attempt + is_anew
    row = {
        "state": after,
        "attempt": attempt,
        "sends": seen.sends + is_sent,
        "version": seen.version + 1,
        "lease_boot_id": boot_id if is_sent else None if lets_go else seen.lease_boot_id,
        "gateway_id": gateway_id if is_sent else seen.gateway_id,
        "device_id": device_id if is_sent else seen.device_id,
        "reason_code": reason_code,
        "reason": reason,
        "answer": answer if answer is not None else seen.answer,
        "memory_id": memory_id if memory_id is not None else seen.memory_id,
        "not_before": seen.not_before if not_before is None else not_before,
        "updated_at": at,
        "settled_at": at if is_over else None,
    }
    given = {f"to_{name}": value for name, value in row.items()} | {"message": id, "seen": seen_version}
    if c.execute(MOVE, given).rowcount == 0:
        return None
    remember(c, id, seen.version + 1, seen.state, after, attempt, proof or {}, reason, at)
    moved = get_message(c, id)
    record_move(c, seen.state, moved)
    return moved


def settle_message(
    c: sa.Connection, id: str, *, seen_version: int, at: int, proof: Mapping[str, Any]
) -> MessageRow | None:
    """Settle a delivered message without changing its state. Return ``None`` if it changed."""
    seen = get_message(c, id)
    if seen.version != seen_version or seen.settled_at is not None:
        return None
    fields = ("state", "attempt", "sends", "gateway_id", "device_id", "reason_code", "reason", "answer")
    row = {name: getattr(seen, name) for name in (*fields, "memory_id", "not_before")}
    row |= {"version": seen.version + 1, "lease_boot_id": None, "updated_at": at, "settled_at": at}
    given = {f"to_{name}": value for name, value in row.items()} | {"message": id, "seen": seen_version}
    if c.execute(MOVE, given).rowcount == 0:
        return None
    remember(c, id, seen.version + 1, seen.state, seen.state, seen.attempt, proof, None, at)
    return get_message(c, id)


def remember(
    c: sa.Connection,
    id: str,
    seq: int,
    old: MessageState | None,
    new: MessageState,
    attempt: int,
    proof: Mapping[str, Any],
    reason: str | None,
    at: int,
) -> None:
    """Insert the row of a move."""
    row = {"message_id": id, "seq": seq, "old_state": old, "new_state": new, "attempt": attempt}
    c.execute(sa.insert(message_moves), row | {"proof": dict(proof), "reason": reason, "at": at})


DEFAULT_TAGS: Final = ("gateway_main", "lead_reply")  # tags of a lead's answer in the board's memory
DEFAULT_SOURCE: Final = "lead_to_gateway_main"
MAX_COMPARED: Final = 100  # newest messages to an agent that an item without reply_to may answer
REMEMBERED: Final = (MessageKind.QUESTION, MessageKind.HANDOFF)
BY_PERSON: Final = (MessageKind.ASK_USER, MessageKind.ANSWER)  # only people answer these

LOCK_MESSAGE: Final = (
    sa.select(messages.c.id).where(messages.c.id == sa.bindparam("message")).with_for_update(key_share=True)
)


def answer_by_memory(c: sa.Connection, memory: MemoryRow, *, at: int) -> MessageRow | None:
    """Answer the message that a new memory item replies to; ``None`` if it answers none.

    Called in the transaction that adds the item. Only the agent that got the message, or a person, can answer
    it; the first answer stays. An item of an agent without *reply_to* answers the message that ``_asked_for``
    returns.
    """
    seen = _asked_for(c, memory) if memory.reply_to is None else find_message(c, memory.reply_to)
    if seen is None or seen.board_id != memory.board_id or seen.kind in BY_PERSON:
        return None
    c.execute(LOCK_MESSAGE, {"message": seen.id})  # waits for a concurrent move
    seen = get_message(c, seen.id)
    if memory.agent_id not in (None, seen.to_agent_id) or not MESSAGE.allows(
        seen.state, MessageEvent.ANSWERED
    ):
        return None
    return move_message(
        c,
        seen.id,
        MessageEvent.ANSWERED,
        seen_version=seen.version,
        at=at,
        proof={"memory": memory.id},
        answer=memory.content,
        memory_id=memory.id,
    )


def _asked_for(c: sa.Connection, memory: MemoryRow) -> MessageRow | None:
    """Return the only open question to the writer of an item that asked for its tags and source.

    Without a question that is the only handoff; None: there is none, or it could be of either.
    """
    query = MESSAGES.where(
        messages.c.to_agent_id == memory.agent_id,
        messages.c.board_id == memory.board_id,
        messages.c.kind.in_(REMEMBERED),
        messages.c.memory_id.is_(None),
        listed_keys(messages),
    ).order_by(messages.c.created_at.desc(), messages.c.id.desc())
    found = [
        row
        for row in structs_from(MessageRow, c.execute(query.limit(MAX_COMPARED)))
        if MESSAGE.allows(row.state, MessageEvent.ANSWERED)
        and is_as_asked(
            memory, row.reply_tags or DEFAULT_TAGS, row.reply_source or DEFAULT_SOURCE, row.correlation_id
        )
    ]
    found = [row for row in found if row.kind is MessageKind.QUESTION] or found
    return found[0] if len(found) == 1 else None


def is_as_asked(memory: MemoryRow, tags: Sequence[str], source: str, correlation_id: str | None) -> bool:
    """Return True for an item with these tags and this source, and with no other correlation id."""
    return (
        not memory.is_chat
        and {*memory.tags} == {*tags}
        and memory.source == source
        and memory.correlation_id in (None, correlation_id)
    )


def answer_message(
    c: sa.Connection,
    id: str,
    *,
    seen_version: int,
    text: str,
    proof: Mapping[str, Any],
    memory_id: MemoryId,
    at: int,
) -> MessageRow | None:
    """Record the agent's answer *text*. Return ``None`` if the message changed; nothing was written then.

    Args:
        memory_id: id of the new memory item, for the answer to a question or a handoff.

    Raises:
        UnknownMessage, IllegalTransition: nothing was written.
    """
    seen = get_message(c, id)
    if seen.kind in REMEMBERED and seen.board_id is not None:
        lock_board(c, seen.board_id)  # the board before the message, the order of all writers
    c.execute(LOCK_MESSAGE, {"message": id})  # otherwise a losing answer could leave an item behind
    seen = get_message(c, id)
    if seen.version != seen_version:
        return None
    item: MemoryRow | None = None
    if seen.kind in REMEMBERED and seen.board_id is not None:
        item, _ = add_memory(
            c,
            NewMemory(
                id=memory_id,
                board_id=seen.board_id,
                content=text,
                tags=seen.reply_tags or DEFAULT_TAGS,
                source=seen.reply_source or DEFAULT_SOURCE,
                correlation_id=seen.correlation_id,
                reply_to=seen.id,
                agent_id=seen.to_agent_id,
                actor=f"agent:{seen.to_agent_id}",
                dedupe_key=f"answer:{seen.id}",
                at=at,
            ),
        )
    return move_message(
        c,
        id,
        MessageEvent.ANSWERED,
        seen_version=seen_version,
        at=at,
        proof=proof,
        answer=text,
        memory_id=None if item is None else item.id,
    )
