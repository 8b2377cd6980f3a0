"""Messages between agents: stored before they are sent, and moved only by proof, each move once.

The rules:

* Every move is a compare-and-set on the version, and a row of ``message_moves`` with its proof. Of two hubs,
  or of an answer and the expiry, one wins; the other gets ``None``.
* A message becomes SENT before the send: a row in WAITING has certainly not left the hub.
* An agent gets its messages one after the other, in the order of their creation.
* The entry in ``activity_log`` is written in the transaction of the proof.
"""

from typing import Final

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import (
    AgentId,
    BoardId,
    BroadcastId,
    DeviceId,
    GatewayId,
    MessageId,
    QuestionId,
    UserId,
)
from protocol.messages import MESSAGE, MessageEvent, MessageKind, MessageState
from storage import audit
from storage.coordination.message_dues import (
    look_now,
)
from storage.coordination.message_rows import (
    LOCK_MESSAGE,
    MessageRow,
    get_message,
    move_message,
    remember,
)
from storage.kernel.rows import fill, values_of
from storage.schema import messages, questions


class BadMessage(HubError):
    """Error: the message has no valid text; nothing was written."""

    code = ErrorCode.BAD_PARAMS


class MessageTooLong(HubError):
    """Error: the message exceeds the maximum size; nothing was written."""

    code = ErrorCode.TOO_LARGE


class TooManyMessages(HubError):
    """Error: too many open messages. *limit*: name of the limit; nothing was written."""

    code = ErrorCode.LIMIT_REACHED

    def __init__(self, message: str, *, limit: str) -> None:
        super().__init__(f"{message} ({limit})")
        self.limit = limit


class MessageLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on messages; a refusal names the limit."""

    open_messages_per_user: int = 10_000
    agent_message_bytes: int = 32_768


DEFAULT_LIMITS: Final = MessageLimits()


class NewMessage(msgspec.Struct, frozen=True, kw_only=True):
    """New message to an agent.

    Attributes:
        to_agent_id: recipient; ``None`` with *to_lead*: the board's lead at the time of sending, created if
            missing.
        gateway_id: gateway of the agent, or of the board whose lead gets it; ``None``: a device, or unknown.
        deliver: forward the agent's answer to the agent's own channel.
        queue_mode: how a busy agent queues it; ``None``: the gateway's setting.
        dedupe_key: repeated messages with the same key are added once.
        expires_at: deadline of the delivery.
    """

    id: MessageId
    user_id: UserId
    kind: MessageKind
    board_id: BoardId | None = None
    broadcast_id: BroadcastId | None = None
    from_agent_id: AgentId | None = None
    actor: str
    to_agent_id: AgentId | None = None
    to_lead: bool = False
    gateway_id: GatewayId | None = None
    device_id: DeviceId | None = None
    content: str
    deliver: bool = False
    queue_mode: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    question_id: QuestionId | None = None
    reply_tags: tuple[str, ...] = ()
    reply_source: str | None = None
    trace_id: str
    dedupe_key: str | None = None
    not_before: int
    expires_at: int
    at: int


_most = sa.bindparam("most", type_=sa.Integer)
_is_open = messages.c.settled_at.is_(None)
KNOWN = sa.select(messages.c.id).where(messages.c.dedupe_key == sa.bindparam("key"))
OPEN_OF_USER = sa.select(sa.func.count()).select_from(
    sa.select(messages.c.id)
    .where(messages.c.user_id == sa.bindparam("user"), _is_open)
    .limit(_most)
    .subquery()
)
LAST_SAID = sa.select(sa.func.max(messages.c.created_at)).where(
    _is_open, messages.c.to_agent_id == sa.bindparam("whom")
)
LAST_SAID_TO_LEAD = sa.select(sa.func.max(messages.c.created_at)).where(
    _is_open, messages.c.board_id == sa.bindparam("whom"), messages.c.to_lead
)
INSERT = sa.insert(messages)


def add_message(c: sa.Connection, new: NewMessage, *, limits: MessageLimits = DEFAULT_LIMITS) -> MessageRow:
    """Add a message for delivery, or return the one with the same dedupe key.

    Raises:
        BadMessage, MessageTooLong, TooManyMessages: nothing was written.
    """
    if new.dedupe_key is not None:
        known = c.execute(KNOWN, {"key": new.dedupe_key}).scalar_one_or_none()
        if known is not None:
            return get_message(c, known)
    check_content(new.content, limits)
    if open_count(c, new.user_id, limits.open_messages_per_user) >= limits.open_messages_per_user:
        raise TooManyMessages(
            f"{limits.open_messages_per_user} messages of this user are under way",
            limit="open_messages_per_user",
        )
    asked, whom = (LAST_SAID_TO_LEAD, new.board_id) if new.to_lead else (LAST_SAID, new.to_agent_id)
    last: int | None = c.execute(asked, {"whom": whom}).scalar_one()
    created_at = new.at if last is None else max(new.at, last + 1)  # unique instants define the order
    c.execute(INSERT, values_of(new, messages, created_at=created_at, updated_at=new.at))
    remember(c, new.id, 1, None, MessageState.WAITING, 1, {}, None, new.at)
    return get_message(c, new.id)


def check_content(content: str, limits: MessageLimits) -> None:
    """Check the text of a message; raise BadMessage or MessageTooLong."""
    if not content.strip():
        raise BadMessage("a message says something: its content is empty")
    if "\0" in content or not _is_text(content):
        raise BadMessage("the content has characters in it that are no text")
    if (size := len(content.encode())) > limits.agent_message_bytes:
        raise MessageTooLong(
            f"the message has {size} bytes, {limits.agent_message_bytes} are allowed (agent_message_bytes)"
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

LEAVE_BROADCAST: Final = (
    sa.update(messages).where(messages.c.id == sa.bindparam("message")).values(broadcast_id=None)
)
IS_SETTLED: Final = sa.select(questions.c.settled_at).where(questions.c.id == sa.bindparam("question"))
LINK_MESSAGE: Final = (
    sa.update(questions)
    .where(questions.c.id == sa.bindparam("question"))
    .values(message_id=sa.bindparam("message"))
)


class MessageSettled(HubError):
    """Error: the message's outcome is final."""

    code = ErrorCode.MESSAGE_SETTLED


def cancel_message(c: sa.Connection, id: str, *, at: int, actor: str) -> MessageRow:
    """Cancel a message: it is FAILED. Sends that already happened cannot be undone.

    Raises:
        UnknownMessage: no message has the id.
        MessageSettled: its agent has it, or it is settled.
        In each case nothing was written.
    """
    c.execute(LOCK_MESSAGE, {"message": id})  # waits for a concurrent move
    seen = get_message(c, id)
    if (
        seen.is_delivered
        or seen.settled_at is not None
        or not MESSAGE.allows(seen.state, MessageEvent.FAILED)
    ):
        raise MessageSettled(f"message {id} is {seen.state}: there is nothing to take back")
    may_be_there = seen.state is not MessageState.WAITING or seen.sends > 0
    told = "taken back" + ("; its agent may have it all the same" if may_be_there else "")
    moved = move_message(
        c,
        id,
        MessageEvent.FAILED,
        seen_version=seen.version,
        at=at,
        proof={"actor": actor},
        reason_code=ErrorCode.CANCELLED,
        reason=told,
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
        MessageSettled: its agent has it, or the question that it asks is settled.
        TooManyMessages: a limit is reached.
        In each case nothing was written.
    """
    seen = get_message(c, id)
    detail: audit.Detail = {"state": str(seen.state), "to": seen.to_agent_id}
    if seen.settled_at is None and not seen.is_delivered:
        look_now(c, id, at)
        audit.append(c, at=at, actor=actor, event="message.retried", subject=id, detail=detail)
        return get_message(c, id)
    if seen.state not in _UNDELIVERED:
        raise MessageSettled(f"message {id} is {seen.state}: its agent has it")
    asked = seen.question_id if seen.kind is MessageKind.ASK_USER else None
    if asked is not None and c.execute(IS_SETTLED, {"question": asked}).scalar_one_or_none() is not None:
        raise MessageSettled(f"nobody waits for the answer to question {asked} any more")
    added = add_message(c, said_anew(c, seen, fresh, at=at), limits=limits)
    if added.id != fresh:
        return retry_message(c, added.id, fresh, at=at, actor=actor, limits=limits)
    if asked is not None:  # so that it is cancelled with the question if that is settled first
        c.execute(LINK_MESSAGE, {"question": asked, "message": added.id})
    entry = {**detail, "anew": added.id}
    audit.append(c, at=at, actor=actor, event="message.retried", subject=id, detail=entry)
    return added


def said_anew(c: sa.Connection, seen: MessageRow, fresh: MessageId, *, at: int) -> NewMessage:
    """Return a copy under another id, unique for each original; it replaces the original in its broadcast."""
    if seen.broadcast_id is not None:
        c.execute(LEAVE_BROADCAST, {"message": seen.id})
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
