"""Orders of people about messages: cancel, or retry."""

from typing import Final

import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import MessageId
from protocol.messages import MESSAGE, MessageEvent, MessageKind, MessageState
from storage.audit import audit
from storage.coordination.message_dues import look_now
from storage.coordination.message_moves import LOCK_MESSAGE, move_message
from storage.coordination.message_rows import MessageRow, get_message
from storage.coordination.messages import DEFAULT_LIMITS, MessageLimits, NewMessage, add_message
from storage.kernel.rows import fill
from storage.schema import messages, questions

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
