"""Questions to people: asked once, answered once, on whichever channel.

The first answer counts, however many come at the same moment. It is one transaction with its effects: the
item in the board's memory, the message to the agent that asked, the activity. So the answer is visible
everywhere at once, and a later answer is refused with the name of the first.
"""

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, BoardId, MessageId, QuestionId, UserId
from protocol.messages import MessageKind, QuestionState
from storage.audit import audit
from storage.coordination.messages import MessageLimits, NewMessage, add_message
from storage.coordination.question_answers import NewAnswer, answer, answer_by_memory
from storage.coordination.question_rows import (
    DEFAULT_SOURCE,
    DEFAULT_TAGS,
    IS_OPEN,
    QUESTIONS,
    Home,
    QuestionRow,
    UnknownQuestion,
    WaitingLong,
    count_open,
    find_question,
    get_question,
    home_of,
    list_questions,
    main_of,
    open_since,
    question_in,
    waiting_since,
)
from storage.coordination.question_settling import (
    ASKED,
    EXPIRED,
    WITHDRAWN,
    QuestionSettled,
    record,
    settle,
    settled,
    short,
    told_actor,
    told_actors,
)
from storage.coordination.question_tellings import Due, due_of, known_to, told, with_news
from storage.kernel.rows import values_of
from storage.schema import questions, users

__all__ = [
    "DEFAULT_SOURCE",
    "DEFAULT_TAGS",
    "Due",
    "Home",
    "NewAnswer",
    "NewQuestion",
    "QuestionRow",
    "QuestionSettled",
    "TooManyQuestions",
    "UnknownQuestion",
    "WaitingLong",
    "answer",
    "answer_by_memory",
    "ask",
    "count_open",
    "due_of",
    "expire_due",
    "find_question",
    "get_question",
    "home_of",
    "known_to",
    "list_questions",
    "main_of",
    "open_since",
    "told",
    "told_actor",
    "told_actors",
    "waiting_since",
    "with_news",
    "withdraw",
]


class TooManyQuestions(HubError):
    """Error: the user has the maximum number of open questions; nothing was written."""

    code = ErrorCode.LIMIT_REACHED
    limit = "open_questions_per_user"


class NewQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """New question.

    Attributes:
        dedupe_key: an existing question with this key is returned instead.
        activity_id, message_id: ids of the rows that the question adds.
        is_decision: a person asked: add an audit entry.
    """

    id: QuestionId
    user_id: UserId
    board_id: BoardId
    from_agent_id: AgentId | None
    actor: str
    content: str
    preferred_channel: str | None = None
    correlation_id: str | None = None
    reply_tags: tuple[str, ...] = ()
    reply_source: str | None = None
    trace_id: str
    dedupe_key: str | None = None
    at: int
    expires_at: int
    activity_id: str
    message_id: MessageId
    is_decision: bool = False


LOCK_USER = sa.select(users.c.id).where(users.c.id == sa.bindparam("user")).with_for_update(key_share=True)
KNOWN = QUESTIONS.where(questions.c.dedupe_key == sa.bindparam("key"))
OPEN_OF_USER = sa.select(sa.func.count()).where(questions.c.user_id == sa.bindparam("user"), sa.text(IS_OPEN))
INSERT = sa.insert(questions)
LINK_MESSAGE = (
    sa.update(questions)
    .where(questions.c.id == sa.bindparam("question"))
    .values(message_id=sa.bindparam("message"))
)
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
        TooManyQuestions, MessageTooLong, TooManyMessages: nothing was written.
    """
    c.execute(LOCK_USER, {"user": new.user_id})  # serializes counting and inserting
    if new.dedupe_key is not None:
        known = c.execute(KNOWN, {"key": new.dedupe_key}).one_or_none()
        if known is not None:
            return question_in(known), False
    count = c.execute(OPEN_OF_USER, {"user": new.user_id}).scalar_one()
    if count >= most:
        raise TooManyQuestions(
            f"{count} questions of this user wait for an answer ({TooManyQuestions.limit}):"
            " answer some, or withdraw them"
        )
    c.execute(INSERT, values_of(new, questions, created_at=new.at, message_id=None))
    main = main_of(c, new.board_id)
    if main is not None:
        _tell_main(c, new, main, limits)
        c.execute(LINK_MESSAGE, {"question": new.id, "message": new.message_id})
    asked = get_question(c, new.id)
    message = f"Asked on {asked.board}: {short(new.content)}"
    record(c, ASKED, asked, message, new.activity_id, new.actor, new.at)
    if new.is_decision:
        audit.append(
            c, at=new.at, actor=new.actor, event=ASKED, subject=new.id, detail={"board": asked.board}
        )
    return asked, True


def withdraw(
    c: sa.Connection, id: str, *, at: int, actor: str, activity_id: str, user_id: UserId | None = None
) -> QuestionRow:
    """Withdraw a question.

    Raises:
        UnknownQuestion: no question has the id, or it belongs to another user.
        QuestionSettled: it was answered, or has expired.
    """
    asked = get_question(c, id, user_id=user_id)
    if not settle(c, asked, QuestionState.WITHDRAWN, at, {}):
        standing = get_question(c, id)
        if standing.state is QuestionState.WITHDRAWN:
            return standing
        raise settled(c, standing)
    audit.append(c, at=at, actor=actor, event=WITHDRAWN, subject=asked.id, detail={"board": asked.board})
    record(c, WITHDRAWN, asked, f"Withdrawn: {short(asked.content)}", activity_id, actor, at)
    return get_question(c, id)


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


def _tell_main(c: sa.Connection, new: NewQuestion, main: Home, limits: MessageLimits) -> None:
    message = NewMessage(
        id=new.message_id,
        user_id=new.user_id,
        kind=MessageKind.ASK_USER,
        board_id=new.board_id,
        from_agent_id=new.from_agent_id,
        actor=new.actor,
        to_agent_id=main.agent_id,
        gateway_id=main.gateway_id,
        content=new.content,
        deliver=True,
        correlation_id=new.correlation_id,
        question_id=new.id,
        reply_tags=new.reply_tags or DEFAULT_TAGS,
        reply_source=new.reply_source or DEFAULT_SOURCE,
        trace_id=new.trace_id,
        dedupe_key=f"ask:{new.id}",
        not_before=new.at,
        expires_at=new.expires_at,
        at=new.at,
    )
    add_message(c, message, limits=limits)
