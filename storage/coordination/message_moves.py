"""Moves of messages: each is a compare-and-set on the version, and a row with its proof."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from protocol.ids import BootId, DeviceId, GatewayId, MemoryId
from protocol.messages import MESSAGE, MessageEvent, MessageState
from storage.coordination import message_activity
from storage.coordination.message_rows import MessageRow, get_message
from storage.schema import message_moves, messages

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
    message_activity.tell(c, seen.state, moved)
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
