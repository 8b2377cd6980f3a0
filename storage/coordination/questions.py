"""Questions to people in the database: first answer counts, withdrawal, and effects of an answer.

The first answer counts, however many come at the same moment. It is one transaction with its effects: the
item in the board's memory, the message to the agent that asked, the activity. So the answer is visible
everywhere at once, and a later answer is refused with the name of the first.

An item of a board's memory answers the question that it replies to. An item of the gateway's main agent
without a reply answers the only open one with its correlation id.

Each device is notified once of a question, and once of its end. A row of ``question_tellings`` says that the
device confirmed. The call that notifies it has a derived id. If a hub dies before it writes the row, the
device is notified again under the same id, and applies it once.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.agent_messages import MessageEvent, MessageKind, MessageState, QuestionState
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, BoardId, DeviceId, GatewayId, MemoryId, MessageId, QuestionId, UserId
from storage import audit
from storage.agents.locks import instant_text
from storage.coordination import board_memory, message_rows
from storage.coordination.board_memory import MemoryLimits, MemoryRow, NewMemory, add_memory
from storage.coordination.message_rows import MessageRow, SentFields, find_message, move_message
from storage.coordination.messages import MessageLimits, NewMessage, add_message
from storage.kernel.columns import (
    Key,
    columns_of,
    execute_among,
    fetch_page,
    listed_keys,
    narrowed,
    paged,
    struct_from,
    structs_from,
    unindexed,
    values_of,
    whole_id,
)
from storage.schema import agents, devices, gateway_agents, messages, question_tellings, questions, users
from storage.schema import boards as board_table

DEFAULT_TAGS: Final = ("gateway_main", "user_reply")  # tags of the answer in the board's memory
DEFAULT_SOURCE: Final = "user_via_gateway_main"


class QuestionFields(SentFields, frozen=True, kw_only=True):
    """Fields of a question that it has from its creation.

    Attributes:
        preferred_channel: channel on which the person prefers to be reached, in the asker's words.
        expires_at: deadline of the answer, epoch milliseconds.
    """

    id: QuestionId
    preferred_channel: str | None = None
    expires_at: int


class QuestionRow(QuestionFields, frozen=True, kw_only=True):
    """Question, with the names of the objects that it refers to. Instants are epoch milliseconds.

    Attributes:
        board_id: ``None``: the board was deleted.
        answered_by: actor that answered.
        memory_id: item of the board's memory with the answer.
        message_id: message to *main_agent* of the board's gateway, if any.
    """

    user: str
    board_id: BoardId | None
    board: str | None
    from_agent: str | None
    state: QuestionState
    answer: str | None
    answered_by: str | None
    memory_id: MemoryId | None
    message_id: MessageId | None
    main_agent_id: AgentId | None
    main_agent: str | None
    created_at: int
    settled_at: int | None

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags of the answer."""
        return self.reply_tags or DEFAULT_TAGS

    @property
    def source(self) -> str:
        """Source of the answer."""
        return self.reply_source or DEFAULT_SOURCE


class Home(msgspec.Struct, frozen=True):
    """Address of an agent."""

    agent_id: AgentId
    device_id: DeviceId | None
    gateway_id: GatewayId | None


_main = agents.alias("main_agent")
QUESTIONS = (
    sa.select(
        *columns_of(
            QuestionRow,
            questions,
            user=users.c.name,
            board=board_table.c.name,
            from_agent=agents.c.name,
            main_agent_id=messages.c.to_agent_id,
            main_agent=_main.c.name,
        )
    )
    .join_from(questions, users, users.c.id == questions.c.user_id)
    .outerjoin(board_table, board_table.c.id == questions.c.board_id)
    .outerjoin(agents, agents.c.id == questions.c.from_agent_id)
    .outerjoin(messages, messages.c.id == questions.c.message_id)
    .outerjoin(_main, _main.c.id == messages.c.to_agent_id)
)
QUESTION = QUESTIONS.where(questions.c.id == sa.bindparam("question"))
IS_OPEN: Final = "questions.state = 'open'"  # as text, so that the partial index is used
IS_SETTLED: Final = "questions.settled_at IS NOT NULL"
MAIN = (
    sa.select(gateway_agents.c.agent_id, sa.null().label("device_id"), gateway_agents.c.gateway_id)
    .join_from(gateway_agents, board_table, board_table.c.gateway_id == gateway_agents.c.gateway_id)
    .join(agents, agents.c.id == gateway_agents.c.agent_id)
    .where(
        board_table.c.id == sa.bindparam("board"),
        gateway_agents.c.role == sa.literal_column("'main'"),
        agents.c.deleted_at.is_(None),
    )
)
WAITING = (
    sa.select(
        questions.c.user_id,
        users.c.name,
        sa.func.count().label("count"),
        sa.func.min(questions.c.created_at).label("since"),
    )
    .join_from(questions, users, users.c.id == questions.c.user_id)
    .where(sa.text(IS_OPEN), questions.c.created_at < sa.bindparam("before"))
    .group_by(questions.c.user_id, users.c.name)
    .order_by(users.c.name)
)


def find_question(c: sa.Connection, id: str, *, user_id: UserId | None = None) -> QuestionRow | None:
    """Return the question with that id, of one user or of any."""
    row = c.execute(QUESTION, {"question": id}).one_or_none()
    if row is None or user_id not in (None, row.user_id):
        return None
    return struct_from(QuestionRow, row)


def get_question(c: sa.Connection, id: str, *, user_id: UserId | None = None) -> QuestionRow:
    """Return the question with that id, or the one of the user whose id ends so; see ``whole_id``.

    Raises:
        CodedError (UNKNOWN_QUESTION): no question has the id, or it belongs to another user.
    """
    found = find_question(c, whole_id(c, questions, id, user_id=user_id), user_id=user_id)
    if found is None:
        raise CodedError(ErrorCode.UNKNOWN_QUESTION, f"there is no question {id}")
    return found


def list_questions(
    c: sa.Connection,
    *,
    user_id: UserId | None = None,
    board_id: BoardId | None = None,
    states: Sequence[QuestionState] = (),
    correlation_id: str | None = None,
    limit: int | None = None,
    after: Key | None = None,
) -> list[QuestionRow]:
    """Return questions, newest first.

    Args:
        states: only questions in these states; empty: any state.
        after: ``(created_at, id)`` of the last question of the previous page.
    """
    of = questions.c
    only = narrowed((of.correlation_id, correlation_id), (of.board_id, board_id), (of.user_id, user_id))
    column = unindexed(of.state) if only else of.state
    query = paged(
        *(QUESTIONS, of.created_at, of.id),
        limit=limit,
        after=after,
        descending=True,
        only=[*only, listed_keys(questions)],
        parts=[column == state for state in states],
    )
    return fetch_page(c, QuestionRow, query, limit)


class WaitingLong(msgspec.Struct, frozen=True):
    """User with open questions: their number, and the time of the oldest, epoch milliseconds."""

    user_id: UserId
    user: str
    count: int
    since: int


def waiting_since(c: sa.Connection, before: int) -> list[WaitingLong]:
    """Return the users with open questions that were asked before *before*."""
    return [WaitingLong(*row) for row in c.execute(WAITING, {"before": before})]


def count_open(c: sa.Connection) -> int:
    """Return the number of open questions."""
    return int(
        c.execute(sa.select(sa.func.count()).select_from(questions).where(sa.text(IS_OPEN))).scalar_one()
    )


def count_questions(
    c: sa.Connection,
    most: int,
    *,
    since: int | None = None,
    user_id: UserId | None = None,
) -> int:
    """Return the number of questions asked from *since* on, else of open ones; *most* if there are more."""
    query = sa.select(questions.c.id)
    query = query.where(sa.text(IS_OPEN) if since is None else questions.c.created_at >= since)
    if user_id is not None:
        query = query.where(questions.c.user_id == user_id)
    found = query.limit(most).subquery()
    return c.execute(sa.select(sa.func.count()).select_from(found)).scalar_one()


def open_since(c: sa.Connection, gateway_id: GatewayId) -> int | None:
    """Return the time of the oldest open question of a gateway's boards; ``None``: none is open."""
    query = (
        sa.select(sa.func.min(questions.c.created_at))
        .join_from(questions, board_table, board_table.c.id == questions.c.board_id)
        .where(sa.text(IS_OPEN), board_table.c.gateway_id == gateway_id)
    )
    found: int | None = c.execute(query).scalar_one()
    return found


def main_of(c: sa.Connection, board_id: BoardId) -> Home | None:
    """Return the address of the main agent of the board's gateway, if any."""
    row = c.execute(MAIN, {"board": board_id}).one_or_none()
    return None if row is None else Home(*row)


def home_of(c: sa.Connection, agent_id: AgentId) -> Home | None:
    """Return the address of the agent; ``None``: it has no home, or was removed."""
    row = c.execute(
        sa.select(agents.c.id, agents.c.device_id, gateway_agents.c.gateway_id)
        .outerjoin_from(agents, gateway_agents, gateway_agents.c.agent_id == agents.c.id)
        .where(agents.c.id == agent_id, agents.c.deleted_at.is_(None))
    ).one_or_none()
    if row is None or (row.device_id is None and row.gateway_id is None):
        return None
    return Home(*row)


ASKED, ANSWERED = "question.asked", "question.answered"  # events of activity and of the audit log
WITHDRAWN, EXPIRED = "question.withdrawn", "question.expired"
_BECAME: Final = {QuestionState.WITHDRAWN: "was withdrawn", QuestionState.EXPIRED: "was over"}
_SHORT: Final = 120  # maximum characters of a question in a message about it


SETTLE = (
    sa.update(questions)
    .where(questions.c.id == sa.bindparam("question"), sa.text(IS_OPEN))
    .values(
        state=sa.bindparam("to", type_=questions.c.state.type),
        answer=sa.bindparam("text"),
        answered_by=sa.bindparam("who"),
        memory_id=sa.bindparam("memory"),
        settled_at=sa.bindparam("now"),
    )
)


def settle(c: sa.Connection, asked: QuestionRow, to: QuestionState, at: int, given: dict[str, Any]) -> bool:
    """Settle an open question. Return False if it was settled before."""
    bound = {"text": None, "who": None, "memory": None} | given | {"question": asked.id, "to": to, "now": at}
    if c.execute(SETTLE, bound).rowcount == 0:
        return False
    # The message to the main agent is cancelled if it has certainly not been sent.
    message = None if asked.message_id is None else find_message(c, asked.message_id)
    if message is not None and message.state in (MessageState.WAITING, MessageState.INTERRUPTED):
        move_message(
            c,
            message.id,
            MessageEvent.FAILED,
            seen_version=message.version,
            at=at,
            reason_code=ErrorCode.QUESTION_SETTLED,
            reason="no run waits for the answer any more",
        )
    return True


def settled(c: sa.Connection, question: QuestionRow) -> CodedError:
    """Return the error for a call after the question was answered, withdrawn or expired."""
    by = None if question.answered_by is None else audit.actor_name(c, question.answered_by)
    when = instant_text(question.settled_at or question.created_at)
    became = f"was answered by {by}" if by else _BECAME[question.state]
    return CodedError(ErrorCode.QUESTION_SETTLED, f"question {question.id} {became} at {when}")


def record(
    c: sa.Connection,
    event_type: str,
    asked: QuestionRow,
    message: str,
    id: str,
    actor: str,
    at: int,
    level: str = "info",
) -> None:
    audit.record(
        c,
        id=id,
        at=at,
        event_type=event_type,
        message=message,
        actor=actor,
        agent_id=asked.from_agent_id,
        level=level,
        data={"question_id": asked.id, "board_id": asked.board_id},
        trace_id=asked.trace_id,
    )


def short(content: str) -> str:
    line = " ".join(content.split())
    return line if len(line) <= _SHORT else f"{line[: _SHORT - 3]}..."


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
    found = [
        id
        for query in (NOT_ASKED, NOT_CLOSED)
        for id in execute_among(c, query, "listed", device_ids).scalars()
    ]
    return sorted(DeviceId(id) for id in set(found))


def due_of(c: sa.Connection, device_id: DeviceId, limit: int) -> list[Due]:
    """Return the notifications due to the device: first ends, then new questions, oldest first."""
    given = {"device": device_id, "most": limit}
    ended = [Due(row, True) for row in structs_from(QuestionRow, c.execute(TO_CLOSE, given))]
    asked = [Due(row, False) for row in structs_from(QuestionRow, c.execute(TO_ASK, given))]
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
        return check_answer(c, asked.id, given.text, given.actor)
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


def check_answer(c: sa.Connection, id: str, text: str, actor: str) -> QuestionRow:
    """Return a question that *actor* can answer with *text*, or has. Raises CodedError if it is settled."""
    current = get_question(c, id)
    is_retry = (current.answer, current.answered_by) == (text, actor)  # after a lost response
    if current.settled_at is not None and not is_retry:
        raise settled(c, current)
    return current


def answer_by_memory(
    c: sa.Connection, item: MemoryRow, *, activity_id: str, message_id: MessageId, message_expires_at: int
) -> QuestionRow | None:
    """Answer the question that a new item of a board's memory replies to; ``None`` if none.

    Called in the transaction that adds the item. An item without *reply_to* answers the only open question
    with the same correlation id, or with its tags and source. Only a person
    and the main agent of the board's gateway can answer; a reply to a settled question is only an item.

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
    else:
        # Only open questions: a correlation id may be used again later.
        query = QUESTIONS.where(
            questions.c.board_id == item.board_id, listed_keys(questions), sa.text(IS_OPEN)
        )
        rows = [
            row
            for row in c.execute(query)
            if (item.correlation_id is not None and item.correlation_id == row.correlation_id)
            or message_rows.is_as_asked(
                item, row.reply_tags or DEFAULT_TAGS, row.reply_source or DEFAULT_SOURCE, row.correlation_id
            )
        ]
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
    asked = struct_from(QuestionRow, rows[0])
    answered = {"text": given.text, "who": given.actor, "memory": item.id}
    if not settle(c, asked, QuestionState.ANSWERED, given.at, answered):
        return None
    return _answered(c, asked, given)


def _answered(c: sa.Connection, asked: QuestionRow, given: NewAnswer) -> QuestionRow:
    """Send the answer to the agent that asked, and record activity and audit entry."""
    if asked.from_agent_id is not None:
        home = home_of(c, asked.from_agent_id)
        if home is not None:
            message = struct_from(
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
            return struct_from(QuestionRow, known), False
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
        message = struct_from(
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
        current = get_question(c, asked.id)
        if current.state is QuestionState.WITHDRAWN:
            return current
        raise settled(c, current)
    audit.append(c, at=at, actor=actor, event=WITHDRAWN, subject=asked.id, detail={"board": asked.board})
    record(c, WITHDRAWN, asked, f"Withdrawn: {short(asked.content)}", activity_id, actor, at)
    return get_question(c, asked.id)


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
    memory, is_new = board_memory.add_memory(c, new, limits)
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
        question=None if asked is None else struct_from(QuestionRow, asked),
    )
