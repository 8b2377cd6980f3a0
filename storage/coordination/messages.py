"""Messages and broadcasts: admission, due times, expiry, retry as copies, and results.

The rules:

* Every move is a compare-and-set on the version, and a row of ``message_moves`` with its proof. Of two hubs,
  or of an answer and the expiry, one wins; the other gets ``None``.
* A message becomes SENT before the send: a row in WAITING has certainly not left the hub.
* An agent gets its messages one after the other, in the order of their creation.
* The entry in ``activity_log`` is written in the transaction of the proof.

``message_rows`` reads and moves them; here they are created, found when they are due, postponed, cancelled
and retried.

A broadcast is a text to the leads of many boards, stored as one row and a message for each board, in one
transaction. The messages are delivered independently. Their results are read from their rows and never stored
twice. A retried message is a copy, which replaces it in its broadcast. A broadcast is settled when no pending
message of it can still reach a lead.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.agent_messages import MESSAGE, MessageEvent, MessageKind, MessageState
from protocol.errors import CodedError, ErrorCode, LimitReached
from protocol.ids import (
    AgentId,
    BoardId,
    BootId,
    BroadcastId,
    DeviceId,
    GatewayId,
    MessageId,
    UserId,
)
from storage import audit
from storage.coordination.boards import list_places
from storage.coordination.message_rows import (
    LOCK_MESSAGE,
    NOT_DELIVERED,
    SIGHTS,
    UNPROVEN,
    MessageFields,
    MessageRow,
    MessageSight,
    SentFields,
    find_sight,
    get_message,
    move_message,
    remember,
)
from storage.coordination.message_rows import MESSAGES as MESSAGE_ROWS
from storage.kernel.columns import (
    Int,
    Key,
    columns_of,
    fetch_page,
    listed,
    listed_keys,
    narrowed,
    paged,
    struct_from,
    structs_from,
    values_of,
    whole_id,
)
from storage.leases import is_alive
from storage.schema import (
    agents,
    boards,
    broadcasts,
    gateway_agents,
    gateways,
    message_moves,
    messages,
    questions,
    users,
)

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
    return structs_from(MessageSight, c.execute(DUE_AT_GATEWAY, given))


def due_at_devices(
    c: sa.Connection, devices: Sequence[DeviceId], *, at: int, most: int
) -> list[MessageSight]:
    """Return due messages of agents on these devices, which are connected to this hub."""
    given: dict[str, Any] = {"devices": list(devices), "now": at, "most": most}
    return structs_from(MessageSight, c.execute(DUE_AT_DEVICES, given))


def due_nowhere(c: sa.Connection, hand: Hand, *, at: int, most: int) -> list[MessageSight]:
    """Return due messages of agents without a known home."""
    given = _spelled(hand) | {"now": at, "most": most}
    return structs_from(MessageSight, c.execute(DUE_NOWHERE, given))


def expiring(c: sa.Connection, hand: Hand, *, at: int, most: int) -> list[MessageSight]:
    """Return open messages whose time to live is over."""
    given = _spelled(hand) | {"now": at, "most": most}
    return structs_from(MessageSight, c.execute(EXPIRING, given))


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
    return structs_from(MessageSight, c.execute(STIRRED, given))


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
    if seen.state not in NOT_DELIVERED:
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
    return struct_from(
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


CHECKED: Final = 100  # broadcasts in one query


class RefusedBoard(msgspec.Struct, frozen=True, kw_only=True):
    """Board that gets no message. *given*: its name in the request; *error*: reason, in words."""

    given: str
    board_id: BoardId | None = None
    board: str | None = None
    code: str
    error: str


class BroadcastFields(SentFields, frozen=True, kw_only=True):
    """Fields of a broadcast that it has from its creation.

    Attributes:
        gateway_id: gateway whose main agent sends it; ``None``: a person sends it.
        refused: requested boards that get no message.
    """

    id: BroadcastId
    gateway_id: GatewayId | None = None
    kind: MessageKind
    refused: tuple[RefusedBoard, ...] = ()


class BroadcastRow(BroadcastFields, frozen=True, kw_only=True):
    """Broadcast to the leads of boards.

    Attributes:
        boards: number of requested boards, including the refused ones.
        rounds: number of times that it was sent: once, and at each resume.
        settled_at: time at which no message of it was pending any more.
    """

    user: str
    gateway: str | None
    from_agent: str | None
    boards: int
    rounds: int
    created_at: int
    settled_at: int | None


class DeliveryTally(msgspec.Struct, frozen=True):
    """Number of boards whose lead has the message, will not get it, or may still get it."""

    sent: int = 0
    failed: int = 0
    waiting: int = 0


class BoardResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a broadcast at a board. *lead_created*: the lead was created for it."""

    message_id: MessageId
    board_id: BoardId | None
    board: str | None
    gateway: str | None
    lead_id: AgentId | None
    lead: str | None
    lead_created: bool
    state: MessageState
    code: str | None
    error: str | None


_broadcast: sa.BindParameter[str] = sa.bindparam("broadcast")
_sender = agents.alias("sender")
BROADCASTS = (
    sa.select(
        *columns_of(
            BroadcastRow, broadcasts, user=users.c.name, gateway=gateways.c.name, from_agent=_sender.c.name
        )
    )
    .join_from(broadcasts, users, users.c.id == broadcasts.c.user_id)
    .outerjoin(gateways, gateways.c.id == broadcasts.c.gateway_id)
    .outerjoin(_sender, _sender.c.id == broadcasts.c.from_agent_id)
)
BROADCAST = BROADCASTS.where(broadcasts.c.id == _broadcast)
OPEN = (
    sa.select(broadcasts.c.id)
    .where(broadcasts.c.settled_at.is_(None), broadcasts.c.id > sa.bindparam("after"))
    .order_by(broadcasts.c.id)
    .limit(_most)
)
STATES_OF = (
    sa.select(messages.c.state, sa.func.count().label("many"))
    .where(messages.c.broadcast_id == _broadcast)
    .group_by(messages.c.state)
)
RESULTS = (
    sa.select(
        *columns_of(
            BoardResult,
            messages,
            message_id=messages.c.id,
            board=boards.c.name,
            gateway=gateways.c.name,
            lead_id=messages.c.to_agent_id,
            lead=agents.c.name,
            lead_created=sa.and_(
                sa.func.coalesce(gateway_agents.c.role, "") == "lead",
                sa.func.coalesce(gateway_agents.c.created_at, 0) >= broadcasts.c.created_at,
            ),
            code=messages.c.reason_code,
            error=messages.c.reason,
        )
    )
    .join_from(messages, broadcasts, broadcasts.c.id == messages.c.broadcast_id)
    .outerjoin(boards, boards.c.id == messages.c.board_id)
    .outerjoin(gateways, gateways.c.id == messages.c.gateway_id)
    .outerjoin(agents, agents.c.id == messages.c.to_agent_id)
    .outerjoin(gateway_agents, gateway_agents.c.agent_id == messages.c.to_agent_id)
    .where(messages.c.broadcast_id == _broadcast)
)


def get_broadcast(c: sa.Connection, id: str, user_id: UserId | None = None) -> BroadcastRow:
    """Return the broadcast with that id, or the one of the user whose id ends so, or raise CodedError."""
    whole = whole_id(c, broadcasts, id, user_id=user_id)
    row = c.execute(BROADCAST, {"broadcast": whole}).one_or_none()
    if row is None:
        raise CodedError(ErrorCode.UNKNOWN_BROADCAST, f"there is no broadcast {id}")
    return struct_from(BroadcastRow, row)


def list_broadcasts(
    c: sa.Connection,
    *,
    user_id: UserId | None = None,
    gateway_id: GatewayId | None = None,
    limit: int | None = None,
    after: Key | None = None,
) -> list[BroadcastRow]:
    """Return broadcasts, newest first.

    Args:
        gateway_id: only broadcasts of this gateway's main agent.
        after: ``(created_at, id)`` of the last broadcast of the previous page.
    """
    of = broadcasts.c
    only = narrowed((of.gateway_id, gateway_id), (of.user_id, user_id))
    query = paged(
        BROADCASTS,
        of.created_at,
        of.id,
        limit=limit,
        after=after,
        descending=True,
        only=[*only, listed_keys(broadcasts)],
    )
    return fetch_page(c, BroadcastRow, query, limit)


def list_open(c: sa.Connection, after: str = "", most: int = CHECKED) -> list[BroadcastId]:
    """Return the ids above *after* of broadcasts that are not settled, in order."""
    return [row.id for row in c.execute(OPEN, {"after": after, "most": most})]


def results_of(
    c: sa.Connection, id: str, *, limit: int | None = None, after: Key | None = None
) -> list[BoardResult]:
    """Return the results of a broadcast at its boards, by message id, without the refused boards."""
    query = paged(RESULTS, messages.c.id, limit=limit, after=after)
    return fetch_page(c, BoardResult, query, limit, {"broadcast": id})


def tally_of(c: sa.Connection, row: BroadcastRow) -> DeliveryTally:
    """Count a broadcast's messages by outcome; refused boards count as failed."""
    counts = {found.state: int(found.many) for found in c.execute(STATES_OF, {"broadcast": row.id})}
    waiting = sum(counts.pop(state, 0) for state in UNPROVEN)
    failed = counts.pop(MessageState.FAILED, 0) + counts.pop(MessageState.EXPIRED, 0)
    return DeliveryTally(sent=sum(counts.values()), failed=failed + len(row.refused), waiting=waiting)


PART: Final = 200  # rows in one statement


class NewBroadcast(BroadcastFields, frozen=True, kw_only=True):
    """New broadcast to the leads of boards. *dedupe_key*: requests with the same key are sent once."""

    dedupe_key: str | None = None
    at: int
    expires_at: int


class Aim(msgspec.Struct, frozen=True, kw_only=True):
    """Board whose lead gets a message, and the message's route."""

    message_id: MessageId
    board_id: BoardId
    gateway_id: GatewayId | None
    device_id: DeviceId | None


_consumed = message_moves.alias("heard")
UNDELIVERED = (
    MESSAGE_ROWS.where(
        messages.c.broadcast_id == _broadcast,
        messages.c.id > sa.bindparam("after"),
        sa.text("messages.state IN ('failed', 'expired')"),
        # Their lead has the message, or may have it: it is not sent again.
        sa.func.coalesce(messages.c.reason_code, "") != str(ErrorCode.UNKNOWN_EFFECT),
        ~sa.exists().where(_consumed.c.message_id == messages.c.id, sa.text("heard.new_state = 'consumed'")),
    )
    .order_by(messages.c.id)
    .limit(_most)
)


def add_broadcast(
    c: sa.Connection, new: NewBroadcast, aims: Sequence[Aim], *, limits: MessageLimits
) -> BroadcastRow:
    """Add a broadcast with a message for each board, or return the one with the same dedupe key.

    A broadcast without messages is settled at once.

    Raises:
        CodedError, LimitReached: nothing was written.
    """
    if new.dedupe_key is not None:
        known = c.execute(
            sa.select(broadcasts.c.id).where(broadcasts.c.dedupe_key == new.dedupe_key)
        ).scalar_one_or_none()
        if known is not None:
            return get_broadcast(c, known)
    check_content(new.content, limits)
    _check_room(c, new.user_id, len(aims), limits)
    row = values_of(new, broadcasts, boards=len(aims) + len(new.refused), created_at=new.at)
    c.execute(sa.insert(broadcasts), row)
    _add_messages(c, [_message_to(new, aim) for aim in aims], new.at)
    settle(c, new.id, at=new.at)
    return get_broadcast(c, new.id)


def resume(
    c: sa.Connection,
    id: BroadcastId,
    fresh: Sequence[MessageId],
    aims: Sequence[Aim],
    refused: Sequence[RefusedBoard],
    *,
    expires_at: int,
    at: int,
    actor: str,
    limits: MessageLimits,
) -> BroadcastRow:
    """Send the broadcast again, as new messages, to the boards whose leads never got it.

    Leads that have the message, or may have it, do not get it again. Without any such board the broadcast
    stays unchanged.

    Args:
        fresh: ids, one for each message of the broadcast.
        aims: boards that were refused before and can get it now.
        refused: boards that are still refused.

    Raises:
        CodedError (UNKNOWN_BROADCAST): no broadcast has the id.
        LimitReached: nothing was written.
    """
    c.execute(sa.select(broadcasts.c.id).where(broadcasts.c.id == id).with_for_update())
    row = get_broadcast(c, id)
    places = {place.board_id: place for place in list_places(c, row.user_id)}
    has = set(c.execute(sa.select(messages.c.board_id).where(messages.c.broadcast_id == id)).scalars())
    anew: list[NewMessage] = []
    after = ""
    ids = iter(fresh)
    while part := c.execute(UNDELIVERED, {"broadcast": id, "after": after, "most": PART}).all():
        after = part[-1].id
        for old in (struct_from(MessageRow, row) for row in part):
            place = None if old.board_id is None else places.get(old.board_id)
            if place is None:
                continue  # its board was deleted meanwhile
            gateway_id, device_id = place.goes_over
            repeated = repeated_message(c, old, next(ids), at=at)
            anew.append(
                msgspec.structs.replace(
                    repeated,
                    gateway_id=gateway_id,
                    device_id=device_id,
                    trace_id=row.trace_id,
                    expires_at=expires_at,
                )
            )
    known = {board.given for board in row.refused}
    new = struct_from(NewBroadcast, row, refused=(), at=at, expires_at=expires_at)
    anew += [_message_to(new, aim) for aim in aims if aim.board_id not in has]
    if not anew:
        return row
    _check_room(c, row.user_id, len(anew), limits)
    still = [msgspec.structs.asdict(board) for board in refused if board.given in known]
    again = {"rounds": broadcasts.c.rounds + 1, "settled_at": None, "refused": still}
    c.execute(sa.update(broadcasts).where(broadcasts.c.id == id).values(again))
    _add_messages(c, anew, at)
    detail: audit.Detail = {"messages": len(anew), "round": row.rounds + 1}
    audit.append(c, at=at, actor=actor, event="broadcast.resumed", subject=id, detail=detail)
    return get_broadcast(c, id)


def settle(c: sa.Connection, id: str, *, at: int) -> BroadcastRow | None:
    """Settle the broadcast and record its activity, if none of its messages is pending.

    Returns:
        The settled broadcast; ``None`` if messages are pending or it was settled already.
    """
    c.execute(sa.select(broadcasts.c.id).where(broadcasts.c.id == id).with_for_update())
    found = c.execute(BROADCAST, {"broadcast": id}).one_or_none()
    if found is None or found.settled_at is not None:
        return None
    row = struct_from(BroadcastRow, found)
    tally = tally_of(c, row)
    if tally.waiting:
        return None
    c.execute(sa.update(broadcasts).where(broadcasts.c.id == id).values(settled_at=at))
    is_sent = tally.sent > 0
    words = f"Broadcast {row.kind} to {tally.sent} board leads (failed: {tally.failed})."
    audit.record(
        c,
        id=f"{row.id}:{row.rounds}",  # unique for each round
        at=at,
        event_type=f"gateway.main.lead_broadcast.{'sent' if is_sent else 'failed'}",
        message=words if is_sent else f"Broadcast {row.kind} reached no board lead (failed: {tally.failed}).",
        actor=row.actor,
        agent_id=row.from_agent_id,
        level="warning" if tally.failed else "info",
        data={"broadcast_id": row.id, "sent": tally.sent, "failed": tally.failed, "round": row.rounds},
        trace_id=row.trace_id,
    )
    return get_broadcast(c, id)


def _message_to(new: NewBroadcast, aim: Aim) -> NewMessage:
    return struct_from(
        NewMessage,
        new,
        id=aim.message_id,
        board_id=aim.board_id,
        broadcast_id=new.id,
        to_lead=True,
        gateway_id=aim.gateway_id,
        device_id=aim.device_id,
        dedupe_key=None,
        not_before=new.at,
    )


def _check_room(c: sa.Connection, user_id: UserId, more: int, limits: MessageLimits) -> None:
    most = limits.open_messages_per_user
    if more and open_count(c, user_id, most) + more > most:
        message = f"with {more} more there would be more than {most} messages of this user under way"
        raise LimitReached(message, limit="open_messages_per_user")


def _add_messages(c: sa.Connection, repeated: Sequence[NewMessage], at: int) -> None:
    """Insert messages, each after the last message to the same lead."""
    for start in range(0, len(repeated), PART):
        part = repeated[start : start + PART]
        query = (
            sa.select(messages.c.board_id, sa.func.max(messages.c.created_at))
            .where(
                messages.c.settled_at.is_(None),
                messages.c.to_lead,
                messages.c.board_id.in_([new.board_id for new in part]),
            )
            .group_by(messages.c.board_id)
        )
        after = {board_id: last + 1 for board_id, last in c.execute(query)}
        rows = [
            values_of(new, messages, created_at=max(new.at, after.get(new.board_id, 0)), updated_at=new.at)
            for new in part
        ]
        c.execute(sa.insert(messages), rows)
        c.execute(sa.insert(message_moves), [_begun(new.id, at) for new in part])


def _begun(id: MessageId, at: int) -> dict[str, Any]:
    """Return the row of a message's first move, as ``message_moves.remember`` writes it."""
    row = {"message_id": id, "seq": 1, "old_state": None, "new_state": MessageState.WAITING, "attempt": 1}
    return row | {"proof": {}, "reason": None, "at": at}
