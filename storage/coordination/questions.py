"""Questions to people: asked once, answered once, on whichever channel.

The first answer counts, however many come at the same moment. It is one transaction with its effects: the
item in the board's memory, the message to the agent that asked, the activity. So the answer is visible
everywhere at once, and a later answer is refused with the name of the first.

Each device is notified once of a question, and once of its end. A row of ``question_tellings`` says that the
device confirmed. The call that notifies it has a derived id. If a hub dies before it writes the row, the
device is notified again under the same id, and applies it once.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.coordination import MessageKind, QuestionState
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, BoardId, DeviceId, MemoryId, MessageId, QuestionId, UserId
from storage import audit
from storage.coordination import boards, message_rows
from storage.coordination.boards import MemoryLimits, MemoryRow, NewMemory, add_memory
from storage.coordination.message_rows import MessageRow
from storage.coordination.messages import MessageLimits, NewMessage, add_message
from storage.coordination.question_rows import (
    ANSWERED,
    ASKED,
    DEFAULT_SOURCE,
    DEFAULT_TAGS,
    EXPIRED,
    IS_OPEN,
    IS_SETTLED,
    QUESTIONS,
    WITHDRAWN,
    QuestionFields,
    QuestionRow,
    get_question,
    home_of,
    main_of,
    record,
    settle,
    settled,
    short,
)
from storage.kernel.columns import fill, fill_each, in_parts, listed_keys, values_of
from storage.schema import devices, question_tellings, questions, users


class Due(msgspec.Struct, frozen=True):
    """Notification due to a device: a new question, or its end."""

    question: QuestionRow
    is_settled: bool


_device: sa.BindParameter[str] = sa.bindparam("device")
_listed = devices.c.id.in_(sa.bindparam("listed", expanding=True))
_is_delivered = sa.exists().where(
    question_tellings.c.question_id == questions.c.id, question_tellings.c.device_id == devices.c.id
)
# Devices whose users have an open question, or an end of one, that they were not notified of.
NOT_ASKED = (
    sa.select(devices.c.id)
    .where(
        _listed,
        sa.exists().where(questions.c.user_id == devices.c.user_id, sa.text(IS_OPEN), sa.not_(_is_delivered)),
    )
    .order_by(devices.c.id)
)
NOT_CLOSED = (
    sa.select(question_tellings.c.device_id)
    .join_from(question_tellings, questions, questions.c.id == question_tellings.c.question_id)
    .where(
        question_tellings.c.device_id.in_(sa.bindparam("listed", expanding=True)),
        question_tellings.c.closed_at.is_(None),
        sa.text(IS_SETTLED),
    )
    .distinct()
)
TO_ASK = (
    QUESTIONS.join(devices, sa.and_(devices.c.user_id == questions.c.user_id, devices.c.id == _device))
    .where(sa.text(IS_OPEN), sa.not_(_is_delivered))
    .order_by(questions.c.created_at, questions.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
TO_CLOSE = (
    QUESTIONS.join(question_tellings, question_tellings.c.question_id == questions.c.id)
    .where(
        question_tellings.c.device_id == _device,
        question_tellings.c.closed_at.is_(None),
        sa.text(IS_SETTLED),
    )
    .order_by(questions.c.settled_at, questions.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
KNOWS = sa.select(question_tellings.c.closed_at).where(
    question_tellings.c.question_id == sa.bindparam("question"), question_tellings.c.device_id == _device
)
CLOSE = (
    sa.update(question_tellings)
    .where(
        question_tellings.c.question_id == sa.bindparam("question"),
        question_tellings.c.device_id == _device,
        question_tellings.c.closed_at.is_(None),
    )
    .values(closed_at=sa.bindparam("now"))
)


def with_news(c: sa.Connection, device_ids: Sequence[DeviceId]) -> list[DeviceId]:
    """Return the devices that are due a notification about a question."""
    found: set[str] = set()
    for part in in_parts(device_ids):
        for query in (NOT_ASKED, NOT_CLOSED):
            found |= set(c.execute(query, {"listed": list(part)}).scalars())
    return sorted(DeviceId(id) for id in found)


def due_of(c: sa.Connection, device_id: DeviceId, limit: int) -> list[Due]:
    """Return the notifications due to the device: first ends, then new questions, oldest first."""
    given = {"device": device_id, "most": limit}
    ended = [Due(row, True) for row in fill_each(QuestionRow, c.execute(TO_CLOSE, given))]
    asked = [Due(row, False) for row in fill_each(QuestionRow, c.execute(TO_ASK, given))]
    return [*ended, *asked][:limit]


def note_delivered(c: sa.Connection, due: Due, device_id: DeviceId, at: int) -> None:
    """Record that the device confirmed the notification."""
    given = {"question": due.question.id, "device": device_id}
    if due.is_settled:
        c.execute(CLOSE, given | {"now": at})
    elif c.execute(KNOWS, given).first() is None:
        row = {"question_id": due.question.id, "device_id": device_id, "asked_at": at}
        c.execute(sa.insert(question_tellings), row)


def known_to(c: sa.Connection, question_id: QuestionId) -> list[DeviceId]:
    """Return the devices that were notified of the question."""
    query = sa.select(question_tellings.c.device_id).where(question_tellings.c.question_id == question_id)
    return [DeviceId(id) for id in c.execute(query.order_by(question_tellings.c.device_id)).scalars()]


# A person's answer is never refused for lack of room.
UNBOUNDED: Final = MessageLimits(open_messages_per_user=1_000_000, agent_message_bytes=1 << 20)


class NewAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """New answer.

    Attributes:
        activity_id, memory_id, message_id: ids of the rows that the answer adds.
        message_expires_at: deadline for delivering it to the agent that asked.
    """

    text: str
    actor: str
    agent_id: AgentId | None = None  # agent that brings the person's answer, if any
    at: int
    activity_id: str
    memory_id: MemoryId
    message_id: MessageId
    message_expires_at: int


def answer(c: sa.Connection, id: str, given: NewAnswer, *, user_id: UserId | None = None) -> QuestionRow:
    """Answer a question, and pass the answer to the board's memory and the agent that asked.

    The same answer again changes nothing.

    Raises:
        CodedError (UNKNOWN_QUESTION): no question has the id, or it belongs to another user.
        CodedError (QUESTION_SETTLED): it was answered before, or withdrawn, or expired.
        In each case nothing was written.
    """
    asked = get_question(c, id, user_id=user_id)
    memory_id = None if asked.board_id is None else given.memory_id
    answered = {"text": given.text, "who": given.actor, "memory": memory_id}
    if not settle(c, asked, QuestionState.ANSWERED, given.at, answered):
        current = get_question(c, id)
        if (current.answer, current.answered_by) == (given.text, given.actor):
            return current  # a retry after a lost response
        raise settled(c, current)
    if asked.board_id is not None:
        item = NewMemory(
            id=given.memory_id,
            board_id=asked.board_id,
            content=given.text,
            tags=asked.tags,
            source=asked.source,
            correlation_id=asked.correlation_id,
            reply_to=asked.id,
            agent_id=given.agent_id,
            actor=given.actor,
            dedupe_key=f"answer:{asked.id}",
            at=given.at,
        )
        add_memory(c, item)
    return _answered(c, asked, given)


def answer_by_memory(
    c: sa.Connection, item: MemoryRow, *, activity_id: str, message_id: MessageId, message_expires_at: int
) -> QuestionRow | None:
    """Answer the question that a new item of a board's memory replies to; ``None`` if none.

    Called in the transaction that adds the item. An item of the gateway's main agent without *reply_to*
    answers the only open question with the same correlation id. Only a person and the main agent of the
    board's gateway can answer; a reply to a settled question is only an item.

    Args:
        activity_id, message_id, message_expires_at: as in ``NewAnswer``.
    """
    main = None if item.agent_id is None else main_of(c, item.board_id)
    if item.agent_id is not None and (main is None or main.agent_id != item.agent_id):
        return None
    rows: list[Any] = []
    if item.reply_to is not None:
        rows = list(
            c.execute(
                QUESTIONS.where(
                    questions.c.board_id == item.board_id,
                    sa.or_(questions.c.id == item.reply_to, questions.c.message_id == item.reply_to),
                )
            )
        )
    elif item.correlation_id is not None and main is not None:
        # Only open questions: a correlation id may be used again later.
        rows = list(
            c.execute(
                QUESTIONS.where(
                    questions.c.board_id == item.board_id,
                    questions.c.correlation_id == item.correlation_id,
                    listed_keys(questions),
                    sa.text(IS_OPEN),
                ).limit(2)
            )
        )
    if len(rows) != 1:
        return None
    given = NewAnswer(
        text=item.content,
        actor=item.actor,
        agent_id=item.agent_id,
        at=item.created_at,
        activity_id=activity_id,
        memory_id=item.id,
        message_id=message_id,
        message_expires_at=message_expires_at,
    )
    asked = fill(QuestionRow, rows[0])
    answered = {"text": given.text, "who": given.actor, "memory": item.id}
    if not settle(c, asked, QuestionState.ANSWERED, given.at, answered):
        return None
    return _answered(c, asked, given)


def _answered(c: sa.Connection, asked: QuestionRow, given: NewAnswer) -> QuestionRow:
    """Send the answer to the agent that asked, and record activity and audit entry."""
    if asked.from_agent_id is not None:
        home = home_of(c, asked.from_agent_id)
        if home is not None:
            message = fill(
                NewMessage,
                asked,
                id=given.message_id,
                kind=MessageKind.ANSWER,
                from_agent_id=given.agent_id,
                actor=given.actor,
                to_agent_id=home.agent_id,
                gateway_id=home.gateway_id,
                device_id=home.device_id,
                content=given.text,
                reply_to=asked.id,
                question_id=asked.id,
                reply_tags=(),
                reply_source=None,
                dedupe_key=f"answer:{asked.id}",
                not_before=given.at,
                expires_at=given.message_expires_at,
                at=given.at,
            )
            add_message(c, message, limits=UNBOUNDED)
    record(c, ANSWERED, asked, f"Answered: {short(asked.content)}", given.activity_id, given.actor, given.at)
    detail: audit.Detail = {"board": asked.board}
    audit.append(c, at=given.at, actor=given.actor, event=ANSWERED, subject=asked.id, detail=detail)
    return get_question(c, asked.id)


class NewQuestion(QuestionFields, frozen=True, kw_only=True):
    """New question.

    Attributes:
        dedupe_key: an existing question with this key is returned instead.
        activity_id, message_id: ids of the rows that the question adds.
    """

    board_id: BoardId
    dedupe_key: str | None = None
    at: int
    activity_id: str
    message_id: MessageId


OPEN_OF_USER = sa.select(sa.func.count()).where(questions.c.user_id == sa.bindparam("user"), sa.text(IS_OPEN))
OVER = (
    sa.select(questions.c.id)
    .where(sa.text(IS_OPEN), questions.c.expires_at <= sa.bindparam("now"))
    .order_by(questions.c.expires_at, questions.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)


def ask(c: sa.Connection, new: NewQuestion, *, most: int, limits: MessageLimits) -> tuple[QuestionRow, bool]:
    """Ask a question. Return it, and True if it is new. Notify the main agent of the board's gateway, if any.

    Args:
        most: maximum number of open questions of a user.
        limits: limits on messages.

    Raises:
        CodedError, LimitReached: nothing was written.
    """
    # serializes counting and inserting
    c.execute(sa.select(users.c.id).where(users.c.id == new.user_id).with_for_update(key_share=True))
    if new.dedupe_key is not None:
        known = c.execute(QUESTIONS.where(questions.c.dedupe_key == new.dedupe_key)).one_or_none()
        if known is not None:
            return fill(QuestionRow, known), False
    count = c.execute(OPEN_OF_USER, {"user": new.user_id}).scalar_one()
    if count >= most:
        raise CodedError(
            ErrorCode.LIMIT_REACHED,
            f"{count} questions of this user wait for an answer (open_questions_per_user):"
            " answer some, or withdraw them",
            limit="open_questions_per_user",
        )
    c.execute(sa.insert(questions), values_of(new, questions, created_at=new.at, message_id=None))
    main = main_of(c, new.board_id)
    if main is not None:
        message = fill(
            NewMessage,
            new,
            id=new.message_id,
            kind=MessageKind.ASK_USER,
            to_agent_id=main.agent_id,
            gateway_id=main.gateway_id,
            deliver=True,
            question_id=new.id,
            reply_tags=new.reply_tags or DEFAULT_TAGS,
            reply_source=new.reply_source or DEFAULT_SOURCE,
            dedupe_key=f"ask:{new.id}",
            not_before=new.at,
        )
        add_message(c, message, limits=limits)
        c.execute(sa.update(questions).where(questions.c.id == new.id).values(message_id=new.message_id))
    asked = get_question(c, new.id)
    record(
        c, ASKED, asked, f"Asked on {asked.board}: {short(new.content)}", new.activity_id, new.actor, new.at
    )
    audit.append(c, at=new.at, actor=new.actor, event=ASKED, subject=new.id, detail={"board": asked.board})
    return asked, True


def withdraw(
    c: sa.Connection, id: str, *, at: int, actor: str, activity_id: str, user_id: UserId | None = None
) -> QuestionRow:
    """Withdraw a question.

    Raises:
        CodedError (UNKNOWN_QUESTION): no question has the id, or it belongs to another user.
        CodedError (QUESTION_SETTLED): it was answered, or has expired.
    """
    asked = get_question(c, id, user_id=user_id)
    if not settle(c, asked, QuestionState.WITHDRAWN, at, {}):
        current = get_question(c, id)
        if current.state is QuestionState.WITHDRAWN:
            return current
        raise settled(c, current)
    audit.append(c, at=at, actor=actor, event=WITHDRAWN, subject=asked.id, detail={"board": asked.board})
    record(c, WITHDRAWN, asked, f"Withdrawn: {short(asked.content)}", activity_id, actor, at)
    return get_question(c, id)


def is_any_due(c: sa.Connection, at: int) -> bool:
    """Return True if ``expire_due`` has work. Only reads."""
    return c.execute(OVER.order_by(None), {"now": at, "most": 1}).first() is not None


def expire_due(c: sa.Connection, at: int, fresh_ids: Sequence[str]) -> list[QuestionRow]:
    """Expire overdue questions, as many as there are *fresh_ids*, and return them."""
    over = c.execute(OVER, {"now": at, "most": len(fresh_ids)}).scalars().all()
    went: list[QuestionRow] = []
    for id, fresh in zip(over, fresh_ids, strict=False):
        asked = get_question(c, id)
        if settle(c, asked, QuestionState.EXPIRED, at, {}):
            message = f"Nobody answered in time: {short(asked.content)}"
            record(c, EXPIRED, asked, message, fresh, "hub", at, level="warning")
            went.append(get_question(c, id))
    return went


class Replied(msgspec.Struct, frozen=True, kw_only=True):
    """Result of adding an item.

    Attributes:
        is_new: no item with the same key existed.
        message, question: the message or question that it answered, in its new state.
    """

    memory: MemoryRow
    is_new: bool = True
    message: MessageRow | None = None
    question: QuestionRow | None = None


class ReplyIds(msgspec.Struct, frozen=True, kw_only=True):
    """Ids of the rows that an answer adds; *message_expires_at*: deadline for delivering the answer."""

    activity_id: str
    message_id: MessageId
    message_expires_at: int


def add_reply(
    c: sa.Connection,
    new: NewMemory,
    ids: ReplyIds,
    *,
    limits: MemoryLimits | None,
) -> Replied:
    """Add the item, and let it answer the message or question that it replies to.

    Raises:
        UnknownBoard, TooManyOfBoards: nothing was written.
    """
    memory, is_new = boards.add_memory(c, new, limits)
    if not is_new:
        return _as_before(c, memory)
    message = message_rows.answer_by_memory(c, memory, at=new.at)
    question = answer_by_memory(
        c,
        memory,
        activity_id=ids.activity_id,
        message_id=ids.message_id,
        message_expires_at=ids.message_expires_at,
    )
    detail: audit.Detail = {
        "board": memory.board_id,
        "message": None if message is None else message.id,
        "question": None if question is None else question.id,
    }
    audit.append(c, at=new.at, actor=new.actor, event="memory.added", subject=memory.id, detail=detail)
    return Replied(memory=memory, message=message, question=question)


def _as_before(c: sa.Connection, memory: MemoryRow) -> Replied:
    """Return the message or question that a known item answered, for a caller that missed the response."""
    message = None if memory.reply_to is None else message_rows.find_message(c, memory.reply_to)
    asked = c.execute(
        QUESTIONS.where(questions.c.user_id == memory.user_id, questions.c.memory_id == memory.id)
    ).one_or_none()
    return Replied(
        memory=memory,
        is_new=False,
        message=message if message is not None and message.memory_id == memory.id else None,
        question=None if asked is None else fill(QuestionRow, asked),
    )
