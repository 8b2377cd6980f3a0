"""Replies in a board's memory: an item may answer a message, or a question to a person.

The item and the answer are written in one transaction. A late reply, or a reply without a waiting message or
question, is stored as an item only.
"""

import msgspec
import sqlalchemy as sa

from protocol.ids import MessageId
from storage.audit import audit
from storage.coordination import board_memory, messages, questions
from storage.coordination.board_memory import MemoryLimits, MemoryRow, NewMemory
from storage.coordination.message_rows import MessageRow
from storage.coordination.question_rows import QUESTIONS, QuestionRow, question_in
from storage.schema import questions as questions_table

ANSWERED = QUESTIONS.where(
    questions_table.c.user_id == sa.bindparam("user"), questions_table.c.memory_id == sa.bindparam("item")
)


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
    is_decision: bool = False,
) -> Replied:
    """Add the item, and let it answer the message or question that it replies to.

    Args:
        is_decision: an operator writes it: add an audit entry.

    Raises:
        UnknownBoard, TooManyOfBoards: nothing was written.
    """
    memory, is_new = board_memory.add_memory(c, new, limits)
    if not is_new:
        return _as_before(c, memory)
    message = messages.answer_by_memory(c, memory, at=new.at)
    question = questions.answer_by_memory(
        c,
        memory,
        activity_id=ids.activity_id,
        message_id=ids.message_id,
        message_expires_at=ids.message_expires_at,
    )
    if is_decision:
        detail: audit.Detail = {
            "board": memory.board_id,
            "message": None if message is None else message.id,
            "question": None if question is None else question.id,
        }
        audit.append(c, at=new.at, actor=new.actor, event="memory.added", subject=memory.id, detail=detail)
    return Replied(memory=memory, message=message, question=question)


def _as_before(c: sa.Connection, memory: MemoryRow) -> Replied:
    """Return the message or question that a known item answered, for a caller that missed the response."""
    message = None if memory.reply_to is None else messages.find_message(c, memory.reply_to)
    asked = c.execute(ANSWERED, {"user": memory.user_id, "item": memory.id}).one_or_none()
    return Replied(
        memory=memory,
        is_new=False,
        message=message if message is not None and message.memory_id == memory.id else None,
        question=None if asked is None else question_in(asked),
    )
