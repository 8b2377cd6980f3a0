"""Messages between agents: stored before they are sent, and moved only by proof, each move once.

The rules:

* Every move is a compare-and-set on the version, and a row of ``message_moves`` with its proof. Of two hubs,
  or of an answer and the expiry, one wins; the other gets ``None``.
* A message becomes SENT before the send: a row in WAITING has certainly not left the hub.
* An agent gets its messages one after the other, in the order of their creation.
* The entry in ``activity_log`` is written in the transaction of the proof.

``message_rows`` reads and moves them; here they are created, found when they are due, postponed, cancelled
and retried.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.coordination import MESSAGE, MessageEvent, MessageKind, MessageState
from protocol.errors import CodedError, ErrorCode, LimitReached
from protocol.ids import (
    AgentId,
    BootId,
    DeviceId,
    GatewayId,
    MessageId,
    UserId,
)
from storage import audit
from storage.coordination.message_rows import (
    LOCK_MESSAGE,
    SIGHTS,
    UNPROVEN,
    MessageFields,
    MessageRow,
    MessageSight,
    find_sight,
    get_message,
    move_message,
    remember,
)
from storage.devices.nodes import is_alive
from storage.kernel.columns import Int, fill, fill_each, listed, values_of
from storage.schema import agents, gateway_agents, message_moves, messages, questions

LEFT_MS: Final = 180_000  # longer than any step of a message takes


class Hand(msgspec.Struct, frozen=True):
    """Hub process that processes messages.

    Attributes:
        is_alone: no other hub uses the database, so messages leased by other processes are free.
    """

    boot_id: BootId
    is_alone: bool


_message: sa.BindParameter[str] = sa.bindparam("message")
_now: sa.BindParameter[int] = sa.bindparam("now", type_=Int)
_most = sa.bindparam("most", type_=sa.Integer)
_is_open = messages.c.settled_at.is_(None)
_is_ours = sa.or_(
    messages.c.lease_boot_id.is_(None),
    messages.c.lease_boot_id == sa.bindparam("boot"),
    sa.bindparam("is_alone", type_=sa.Integer) == 1,
    sa.not_(is_alive(messages.c.lease_boot_id)),
)
_earlier = messages.alias("earlier")
# Messages that two hubs added in the same millisecond are ordered by id.
_is_before = sa.and_(
    _earlier.c.created_at <= messages.c.created_at,
    sa.or_(_earlier.c.created_at < messages.c.created_at, _earlier.c.id < messages.c.id),
)
# Literal text instead of a list of parameters, so that the partial index is used.
_UNPROVEN = sa.text(f"earlier.state IN ({', '.join(repr(str(state)) for state in UNPROVEN)})")
_waiting: sa.ColumnElement[Any] = sa.literal_column("'waiting'", messages.c.state.type)
_is_in_turn = sa.or_(
    messages.c.state != _waiting,
    sa.and_(
        ~sa.exists().where(
            _earlier.c.to_agent_id == messages.c.to_agent_id,
            _is_before,
            _earlier.c.settled_at.is_(None),
            _UNPROVEN,
        ),
        # A message for the board's lead who is not known yet also comes first.
        ~sa.exists().where(
            messages.c.to_lead,
            _earlier.c.to_lead,
            _earlier.c.to_agent_id.is_(None),
            _earlier.c.board_id == messages.c.board_id,
            _is_before,
            _earlier.c.settled_at.is_(None),
            _UNPROVEN,
        ),
    ),
)
# On a device, the same call is the same message, and a device has one hub: no lease is needed.
_due_at_devices = SIGHTS.where(_is_open, messages.c.not_before <= _now, _is_in_turn)
# A live hub that neglects its leased messages cannot reach the gateway: another hub may take them.
_is_left = messages.c.not_before <= _now - LEFT_MS
_due = SIGHTS.where(_is_open, messages.c.not_before <= _now, sa.or_(_is_ours, _is_left), _is_in_turn)
_in_order = (messages.c.not_before, messages.c.id)

DUE_AT_GATEWAY = (
    _due.where(messages.c.gateway_id == sa.bindparam("gateway")).order_by(*_in_order).limit(_most)
)
DUE_AT_DEVICES = (
    _due_at_devices.where(
        messages.c.gateway_id.is_(None), agents.c.device_id.in_(sa.bindparam("devices", expanding=True))
    )
    .order_by(*_in_order)
    .limit(_most)
)
DUE_NOWHERE = (
    _due.where(
        messages.c.gateway_id.is_(None),
        sa.or_(agents.c.device_id.is_(None), agents.c.deleted_at.is_not(None)),
    )
    .order_by(*_in_order)
    .limit(_most)
)
EXPIRING = (
    SIGHTS.where(
        _is_open,
        messages.c.expires_at <= _now,
        _is_ours,
        sa.or_(messages.c.state == _waiting, messages.c.not_before <= _now),
    )
    .order_by(messages.c.expires_at)
    .limit(_most)
)
STIRRED = (
    SIGHTS.where(
        _is_open,
        _is_ours,
        messages.c.gateway_id == sa.bindparam("gateway"),
        messages.c.state != _waiting,
        gateway_agents.c.session_key.in_(sa.bindparam("sessions", expanding=True)),
    )
    .order_by(messages.c.created_at)
    .limit(_most)
)
NEXT_DUE = sa.select(
    sa.func.count(), sa.func.min(sa.case((messages.c.not_before > _now, messages.c.not_before)))
).where(_is_open)
LETTER = (
    sa.select(message_moves.c.proof)
    .where(
        message_moves.c.message_id == _message,
        message_moves.c.attempt == sa.bindparam("attempt"),
        message_moves.c.new_state == sa.literal_column("'sent'", message_moves.c.new_state.type),
    )
    .order_by(message_moves.c.seq)
    .limit(1)
)


def due_at_gateway(
    c: sa.Connection, gateway_id: GatewayId, hand: Hand, *, at: int, most: int
) -> list[MessageSight]:
    """Return due messages of a gateway that no other hub has leased, longest overdue first."""
    given = _spelled(hand) | {"gateway": gateway_id, "now": at, "most": most}
    return fill_each(MessageSight, c.execute(DUE_AT_GATEWAY, given))


def due_at_devices(
    c: sa.Connection, devices: Sequence[DeviceId], *, at: int, most: int
) -> list[MessageSight]:
    """Return due messages of agents on these devices, which are connected to this hub."""
    given: dict[str, Any] = {"devices": list(devices), "now": at, "most": most}
    return fill_each(MessageSight, c.execute(DUE_AT_DEVICES, given))


def due_nowhere(c: sa.Connection, hand: Hand, *, at: int, most: int) -> list[MessageSight]:
    """Return due messages of agents without a known home."""
    given = _spelled(hand) | {"now": at, "most": most}
    return fill_each(MessageSight, c.execute(DUE_NOWHERE, given))


def expiring(c: sa.Connection, hand: Hand, *, at: int, most: int) -> list[MessageSight]:
    """Return open messages whose time to live is over."""
    given = _spelled(hand) | {"now": at, "most": most}
    return fill_each(MessageSight, c.execute(EXPIRING, given))


def stirred(
    c: sa.Connection,
    gateway_id: GatewayId,
    sessions: Sequence[str],
    hand: Hand,
    *,
    most: int,
) -> list[MessageSight]:
    """Return sent messages to agents whose sessions had an event."""
    given = _spelled(hand) | {"gateway": gateway_id, "sessions": list(sessions), "most": most}
    return fill_each(MessageSight, c.execute(STIRRED, given))


def next_due(c: sa.Connection, at: int) -> tuple[bool, int | None]:
    """Return whether any message is open, and the next time at which one becomes due."""
    open_ones, soonest = c.execute(NEXT_DUE, {"now": at}).one()
    return bool(open_ones), soonest


def stir(c: sa.Connection, gateway_id: GatewayId, at: int) -> int:
    """Make every open message of a reconnected gateway due now. Return their number."""
    later = sa.update(messages).where(
        _is_open, messages.c.gateway_id == gateway_id, messages.c.not_before > at
    )
    return c.execute(later.values(not_before=at)).rowcount


def stir_devices(c: sa.Connection, device_ids: Sequence[DeviceId], at: int) -> int:
    """Make the messages to connected devices' agents due now, as earlier sends may be lost."""
    on_devices = agents.c.device_id.in_(listed(sa.bindparam("listed")))
    its_agents = sa.select(agents.c.id).where(on_devices)
    later = sa.update(messages).where(
        _is_open,
        messages.c.gateway_id.is_(None),
        messages.c.not_before > at,
        messages.c.to_agent_id.in_(its_agents),
    )
    return c.execute(later.values(not_before=at), {"listed": list(device_ids)}).rowcount


def make_due(c: sa.Connection, id: str, at: int) -> bool:
    """Make an open message due now. Return False if it is settled."""
    update = sa.update(messages).where(messages.c.id == id, _is_open).values(not_before=at)
    return c.execute(update).rowcount > 0


def put_off(c: sa.Connection, id: str, *, seen_version: int, not_before: int) -> bool:
    """Postpone a message. Return False if another process changed it. Not a move: nothing was proven."""
    seen = sa.update(messages).where(messages.c.id == id, messages.c.version == seen_version)
    return c.execute(seen.values(not_before=not_before)).rowcount > 0


def give_home(
    c: sa.Connection,
    id: str,
    *,
    seen_version: int,
    agent_id: AgentId | None,
    gateway_id: GatewayId | None,
    device_id: DeviceId | None,
    at: int,
) -> MessageSight | None:
    """Set the message's recipient and route. Return ``None`` if the message changed."""
    seen = sa.update(messages).where(messages.c.id == id, messages.c.version == seen_version)
    routed = seen.values(
        to_agent_id=agent_id,
        gateway_id=gateway_id,
        device_id=device_id,
        version=messages.c.version + 1,
        updated_at=at,
    )
    if c.execute(routed).rowcount == 0:
        return None
    found = find_sight(c, id)
    assert found is not None, "it was written in this transaction"
    home = {"agent": agent_id, "gateway": gateway_id, "device": device_id}
    remember(c, id, found.version, found.state, found.state, found.attempt, {"home": home}, None, at)
    return found


def letter_of(c: sa.Connection, id: str, attempt: int) -> dict[str, Any] | None:
    """Return the content sent in an attempt, to send it again unchanged; ``None`` if none was sent."""
    found: dict[str, Any] | None = c.execute(LETTER, {"message": id, "attempt": attempt}).scalar_one_or_none()
    return found


def release_all(c: sa.Connection, boot_id: BootId, at: int) -> int:
    """Release the messages of other processes and make them due, for a database that only this hub uses."""
    leased = sa.update(messages).where(
        _is_open, messages.c.lease_boot_id.is_not(None), messages.c.lease_boot_id != boot_id
    )
    soon = sa.case((messages.c.not_before > at, at), else_=messages.c.not_before)
    return c.execute(leased.values(lease_boot_id=None, not_before=soon)).rowcount


def _spelled(hand: Hand) -> dict[str, Any]:
    return {"boot": hand.boot_id, "is_alone": int(hand.is_alone)}


class MessageLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on messages; a refusal names the limit."""

    open_messages_per_user: int = 10_000
    agent_message_bytes: int = 32_768


DEFAULT_LIMITS: Final = MessageLimits()


class NewMessage(MessageFields, frozen=True, kw_only=True):
    """New message to an agent. *dedupe_key*: repeated messages with the same key are added once."""

    dedupe_key: str | None = None
    at: int


OPEN_OF_USER = sa.select(sa.func.count()).select_from(
    sa.select(messages.c.id)
    .where(messages.c.user_id == sa.bindparam("user"), _is_open)
    .limit(_most)
    .subquery()
)


def add_message(c: sa.Connection, new: NewMessage, *, limits: MessageLimits = DEFAULT_LIMITS) -> MessageRow:
    """Add a message for delivery, or return the one with the same dedupe key.

    Raises:
        CodedError, LimitReached: nothing was written.
    """
    if new.dedupe_key is not None:
        known = c.execute(
            sa.select(messages.c.id).where(messages.c.dedupe_key == new.dedupe_key)
        ).scalar_one_or_none()
        if known is not None:
            return get_message(c, known)
    check_content(new.content, limits)
    if open_count(c, new.user_id, limits.open_messages_per_user) >= limits.open_messages_per_user:
        raise LimitReached(
            f"{limits.open_messages_per_user} messages of this user are under way",
            limit="open_messages_per_user",
        )
    newest = sa.select(sa.func.max(messages.c.created_at)).where(_is_open)
    if new.to_lead:
        newest = newest.where(messages.c.board_id == new.board_id, messages.c.to_lead)
    else:
        newest = newest.where(messages.c.to_agent_id == new.to_agent_id)
    last: int | None = c.execute(newest).scalar_one()
    created_at = new.at if last is None else max(new.at, last + 1)  # unique instants define the order
    c.execute(sa.insert(messages), values_of(new, messages, created_at=created_at, updated_at=new.at))
    remember(c, new.id, 1, None, MessageState.WAITING, 1, {}, None, new.at)
    return get_message(c, new.id)


def check_content(content: str, limits: MessageLimits) -> None:
    """Check the text of a message; raise CodedError or CodedError."""
    if not content.strip():
        raise CodedError(ErrorCode.BAD_PARAMS, "a message says something: its content is empty")
    if "\0" in content or not _is_text(content):
        raise CodedError(ErrorCode.BAD_PARAMS, "the content has characters in it that are no text")
    if (size := len(content.encode())) > limits.agent_message_bytes:
        raise CodedError(
            ErrorCode.TOO_LARGE,
            f"the message has {size} bytes, {limits.agent_message_bytes} are allowed (agent_message_bytes)",
            limit="agent_message_bytes",
        )


def _is_text(content: str) -> bool:
    try:
        content.encode()
    except UnicodeEncodeError:  # lone surrogate
        return False
    return True


def open_count(c: sa.Connection, user_id: UserId, most: int) -> int:
    """Return the number of the user's open messages, counting up to *most*."""
    return int(c.execute(OPEN_OF_USER, {"user": user_id, "most": most}).scalar_one())


_UNDELIVERED: Final = (MessageState.FAILED, MessageState.EXPIRED)

IS_SETTLED: Final = sa.select(questions.c.settled_at).where(questions.c.id == sa.bindparam("question"))


def cancel_message(c: sa.Connection, id: str, *, at: int, actor: str) -> MessageRow:
    """Cancel a message: it is FAILED. Sends that already happened cannot be undone.

    Raises:
        UnknownMessage: no message has the id.
        CodedError (MESSAGE_SETTLED): its agent has it, or it is settled.
        In each case nothing was written.
    """
    c.execute(LOCK_MESSAGE, {"message": id})  # waits for a concurrent move
    seen = get_message(c, id)
    if (
        seen.is_delivered
        or seen.settled_at is not None
        or not MESSAGE.allows(seen.state, MessageEvent.FAILED)
    ):
        raise CodedError(
            ErrorCode.MESSAGE_SETTLED, f"message {id} is {seen.state}: there is nothing to take back"
        )
    may_have_arrived = seen.state is not MessageState.WAITING or seen.sends > 0
    reason = "taken back" + ("; its agent may have it all the same" if may_have_arrived else "")
    moved = move_message(
        c,
        id,
        MessageEvent.FAILED,
        seen_version=seen.version,
        at=at,
        proof={"actor": actor},
        reason_code=ErrorCode.CANCELLED,
        reason=reason,
    )
    assert moved is not None, "it was seen in this transaction"
    detail: audit.Detail = {"state": str(seen.state), "to": seen.to_agent_id}
    audit.append(c, at=at, actor=actor, event="message.cancelled", subject=id, detail=detail)
    return moved


def retry_message(
    c: sa.Connection,
    id: str,
    fresh: MessageId,
    *,
    at: int,
    actor: str,
    limits: MessageLimits = DEFAULT_LIMITS,
) -> MessageRow:
    """Retry a waiting message now, or send an undelivered one again as the message *fresh*.

    The new message has its full time to live, and replaces the old one in its broadcast. A repeated retry
    returns the same new message, unless that failed too.

    Raises:
        UnknownMessage: no message has the id.
        CodedError (MESSAGE_SETTLED): its agent has it, or the question that it asks is settled.
        LimitReached: a limit is reached.
        In each case nothing was written.
    """
    seen = get_message(c, id)
    detail: audit.Detail = {"state": str(seen.state), "to": seen.to_agent_id}
    if seen.settled_at is None and not seen.is_delivered:
        make_due(c, id, at)
        audit.append(c, at=at, actor=actor, event="message.retried", subject=id, detail=detail)
        return get_message(c, id)
    if seen.state not in _UNDELIVERED:
        raise CodedError(ErrorCode.MESSAGE_SETTLED, f"message {id} is {seen.state}: its agent has it")
    asked = seen.question_id if seen.kind is MessageKind.ASK_USER else None
    if asked is not None and c.execute(IS_SETTLED, {"question": asked}).scalar_one_or_none() is not None:
        raise CodedError(
            ErrorCode.MESSAGE_SETTLED, f"no run waits for the answer to question {asked} any more"
        )
    added = add_message(c, repeated_message(c, seen, fresh, at=at), limits=limits)
    if added.id != fresh:
        return retry_message(c, added.id, fresh, at=at, actor=actor, limits=limits)
    if asked is not None:  # so that it is cancelled with the question if that is settled first
        c.execute(sa.update(questions).where(questions.c.id == asked).values(message_id=added.id))
    entry = {**detail, "anew": added.id}
    audit.append(c, at=at, actor=actor, event="message.retried", subject=id, detail=entry)
    return added


def repeated_message(c: sa.Connection, seen: MessageRow, fresh: MessageId, *, at: int) -> NewMessage:
    """Return a copy under another id, unique for each original; it replaces the original in its broadcast."""
    if seen.broadcast_id is not None:
        c.execute(sa.update(messages).where(messages.c.id == seen.id).values(broadcast_id=None))
    return fill(
        NewMessage,
        seen,
        id=fresh,
        at=at,
        to_agent_id=None if seen.to_lead else seen.to_agent_id,
        trace_id=fresh.replace("-", ""),
        dedupe_key=f"anew:{seen.id}",
        not_before=at,
        expires_at=at + (seen.expires_at - seen.created_at),
    )
