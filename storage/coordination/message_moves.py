"""Moves of messages: each is a compare-and-set on the version, and a row with its proof.

Of several answers the first counts. The answer to a question or a handoff is in the board's memory in either
case: it is there already, or is added in the transaction that records the answer.
"""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from protocol.ids import BootId, DeviceId, GatewayId, MemoryId
from protocol.messages import DELIVERED, MESSAGE, MessageEvent, MessageKind, MessageState
from storage.audit import activity
from storage.coordination.board_memory import MemoryRow, NewMemory, add_memory
from storage.coordination.boards import lock_board
from storage.coordination.message_rows import MessageRow, find_message, get_message
from storage.schema import message_moves, messages

_EVENTS: Final = {
    MessageKind.NUDGE: "agent.nudge",
    MessageKind.QUESTION: "gateway.main.lead_message",
    MessageKind.HANDOFF: "gateway.main.lead_message",
    MessageKind.ASK_USER: "gateway.lead.ask_user",
    MessageKind.ANSWER: "agent.answer",
}
_UNDELIVERED: Final = (MessageState.FAILED, MessageState.EXPIRED)


def record_move(c: sa.Connection, before: MessageState, row: MessageRow) -> None:
    """Record the activity for the move of *row* out of *before*, if people need to know.

    Messages of a broadcast are skipped: the broadcast has one entry for all of them.
    """
    if row.broadcast_id is not None:
        return
    if row.state in DELIVERED and before not in DELIVERED:
        outcome, level, message = "sent", "info", _sent(row)
    elif row.state in _UNDELIVERED and before not in DELIVERED:
        outcome, level = "failed", "warning"
        message = f"{_failed(row)}: {row.reason or row.state}"
    else:
        return
    activity.record(
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


_message: sa.BindParameter[str] = sa.bindparam("message")
_as_seen = (messages.c.id == _message, messages.c.version == sa.bindparam("seen"))
MOVE = (
    sa.update(messages)
    .where(*_as_seen)
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
INSERT_MOVE = sa.insert(message_moves)


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
    kept = ("state", "attempt", "sends", "gateway_id", "device_id", "reason_code", "reason", "answer")
    row = {name: getattr(seen, name) for name in (*kept, "memory_id", "not_before")}
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
    c.execute(INSERT_MOVE, row | {"proof": dict(proof), "reason": reason, "at": at})


DEFAULT_TAGS: Final = ("gateway_main", "lead_reply")  # tags of a lead's answer in the board's memory
DEFAULT_SOURCE: Final = "lead_to_gateway_main"
REMEMBERED: Final = (MessageKind.QUESTION, MessageKind.HANDOFF)
BY_PERSON: Final = (MessageKind.ASK_USER, MessageKind.ANSWER)  # only people answer these

LOCK_MESSAGE: Final = (
    sa.select(messages.c.id).where(messages.c.id == sa.bindparam("message")).with_for_update(key_share=True)
)


def answer_by_memory(c: sa.Connection, memory: MemoryRow, *, at: int) -> MessageRow | None:
    """Answer the message that a new memory item replies to; ``None`` if it answers none.

    Called in the transaction that adds the item. Only the agent that got the message, or a person, can answer
    it; the first answer stays.
    """
    seen = None if memory.reply_to is None else find_message(c, memory.reply_to)
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
