"""Answers to questions: the first counts, and its effects are in the same transaction."""

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, MemoryId, MessageId, UserId
from protocol.messages import MessageKind, QuestionState
from storage.audit import audit
from storage.coordination.board_memory import MemoryRow, NewMemory, add_memory
from storage.coordination.messages import MessageLimits, NewMessage, add_message
from storage.coordination.question_rows import (
    IS_OPEN,
    QUESTIONS,
    Home,
    QuestionRow,
    get_question,
    home_of,
    main_of,
    question_in,
)
from storage.coordination.question_settling import ANSWERED, record, settle, settled, short
from storage.schema import questions

# A person's answer is never refused for lack of room.
UNBOUNDED: Final = MessageLimits(open_messages_per_user=1_000_000, agent_message_bytes=1 << 20)


class NewAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """New answer.

    Attributes:
        activity_id, memory_id, message_id: ids of the rows that the answer adds.
        message_expires_at: deadline for delivering it to the agent that asked.
        is_decision: an operator answered: add an audit entry.
    """

    text: str
    actor: str
    agent_id: AgentId | None = None  # agent that brings the person's answer, if any
    at: int
    activity_id: str
    memory_id: MemoryId
    message_id: MessageId
    message_expires_at: int
    is_decision: bool = False


MEANT = QUESTIONS.where(
    questions.c.board_id == sa.bindparam("board"),
    sa.or_(questions.c.id == sa.bindparam("reply_to"), questions.c.message_id == sa.bindparam("reply_to")),
)
# Only open questions: a correlation id may be used again later.
CORRELATED = QUESTIONS.where(
    questions.c.board_id == sa.bindparam("board"),
    questions.c.correlation_id == sa.bindparam("word"),
    sa.text(IS_OPEN),
).limit(2)


def answer(c: sa.Connection, id: str, given: NewAnswer, *, user_id: UserId | None = None) -> QuestionRow:
    """Answer a question, and pass the answer to the board's memory and the agent that asked.

    The same answer again changes nothing.

    Raises:
        UnknownQuestion: no question has the id, or it belongs to another user.
        QuestionSettled: it was answered before, or withdrawn, or expired.
        In each case nothing was written.
    """
    asked = get_question(c, id, user_id=user_id)
    memory_id = None if asked.board_id is None else given.memory_id
    answered = {"text": given.text, "who": given.actor, "memory": memory_id}
    if not settle(c, asked, QuestionState.ANSWERED, given.at, answered):
        standing = get_question(c, id)
        if (standing.answer, standing.answered_by) == (given.text, given.actor):
            return standing  # a retry after a lost response
        raise settled(c, standing)
    if asked.board_id is not None:
        _into_memory(c, asked, given)
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
        rows = list(c.execute(MEANT, {"board": item.board_id, "reply_to": item.reply_to}))
    elif item.correlation_id is not None and main is not None:
        rows = list(c.execute(CORRELATED, {"board": item.board_id, "word": item.correlation_id}))
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
    asked = question_in(rows[0])
    answered = {"text": given.text, "who": given.actor, "memory": item.id}
    if not settle(c, asked, QuestionState.ANSWERED, given.at, answered):
        return None
    return _answered(c, asked, given)


def _answered(c: sa.Connection, asked: QuestionRow, given: NewAnswer) -> QuestionRow:
    """Send the answer to the agent that asked, and record activity and audit entry."""
    if asked.from_agent_id is not None:
        home = home_of(c, asked.from_agent_id)
        if home is not None:
            _tell_asker(c, asked, given, home)
    message = f"Answered: {short(asked.content)}"
    record(c, ANSWERED, asked, message, given.activity_id, given.actor, given.at)
    if given.is_decision:
        detail: audit.Detail = {"board": asked.board}
        audit.append(c, at=given.at, actor=given.actor, event=ANSWERED, subject=asked.id, detail=detail)
    return get_question(c, asked.id)


def _tell_asker(c: sa.Connection, asked: QuestionRow, given: NewAnswer, home: Home) -> None:
    message = NewMessage(
        id=given.message_id,
        user_id=asked.user_id,
        kind=MessageKind.ANSWER,
        board_id=asked.board_id,
        from_agent_id=given.agent_id,
        actor=given.actor,
        to_agent_id=home.agent_id,
        gateway_id=home.gateway_id,
        device_id=home.device_id,
        content=given.text,
        correlation_id=asked.correlation_id,
        reply_to=asked.id,
        question_id=asked.id,
        trace_id=asked.trace_id,
        dedupe_key=f"answer:{asked.id}",
        not_before=given.at,
        expires_at=given.message_expires_at,
        at=given.at,
    )
    add_message(c, message, limits=UNBOUNDED)


def _into_memory(c: sa.Connection, asked: QuestionRow, given: NewAnswer) -> None:
    assert asked.board_id is not None
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
