"""Rows of questions to people: reading them, and settling each exactly once, with activity."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.coordination import MessageEvent, MessageState, QuestionState
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, BoardId, DeviceId, GatewayId, MemoryId, MessageId, QuestionId, UserId
from storage import audit
from storage.agents.locks import instant_text
from storage.coordination.message_rows import SentFields, find_message, move_message
from storage.kernel.columns import Key, columns_of, fill, fill_page, listed_keys, narrowed, paged, unindexed
from storage.schema import agents, boards, gateway_agents, messages, questions, users

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
            board=boards.c.name,
            from_agent=agents.c.name,
            main_agent_id=messages.c.to_agent_id,
            main_agent=_main.c.name,
        )
    )
    .join_from(questions, users, users.c.id == questions.c.user_id)
    .outerjoin(boards, boards.c.id == questions.c.board_id)
    .outerjoin(agents, agents.c.id == questions.c.from_agent_id)
    .outerjoin(messages, messages.c.id == questions.c.message_id)
    .outerjoin(_main, _main.c.id == messages.c.to_agent_id)
)
QUESTION = QUESTIONS.where(questions.c.id == sa.bindparam("question"))
IS_OPEN: Final = "questions.state = 'open'"  # as text, so that the partial index is used
IS_SETTLED: Final = "questions.settled_at IS NOT NULL"
MAIN = (
    sa.select(gateway_agents.c.agent_id, sa.null().label("device_id"), gateway_agents.c.gateway_id)
    .join_from(gateway_agents, boards, boards.c.gateway_id == gateway_agents.c.gateway_id)
    .join(agents, agents.c.id == gateway_agents.c.agent_id)
    .where(
        boards.c.id == sa.bindparam("board"),
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
    return fill(QuestionRow, row)


def get_question(c: sa.Connection, id: str, *, user_id: UserId | None = None) -> QuestionRow:
    """Return the question with that id.

    Raises:
        CodedError (UNKNOWN_QUESTION): no question has the id, or it belongs to another user.
    """
    found = find_question(c, id, user_id=user_id)
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
    return fill_page(c, QuestionRow, query, limit)


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
        .join_from(questions, boards, boards.c.id == questions.c.board_id)
        .where(sa.text(IS_OPEN), boards.c.gateway_id == gateway_id)
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
