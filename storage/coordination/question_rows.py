"""Questions to a person, as they are kept, and reading them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, BoardId, DeviceId, GatewayId, MemoryId, MessageId, QuestionId, UserId
from protocol.messages import QuestionState
from storage.schema import agents, boards, gateway_agents, messages, questions, users

DEFAULT_TAGS: Final = ("gateway_main", "user_reply")  # of the answer in the board's memory
DEFAULT_SOURCE: Final = "user_via_gateway_main"


class UnknownQuestion(HubError):
    """There is no such question."""

    code = ErrorCode.UNKNOWN_QUESTION


class QuestionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A question, with the names of what it is about. Instants are epoch milliseconds.

    Attributes:
        board_id: ``None``: the board was removed since.
        from_agent_id: who asks; ``None``: a person.
        actor: who asked, as the audit log spells it.
        preferred_channel: over which the person would rather be reached, in the asker's words.
        reply_tags, reply_source: what the answer bears in the board's memory; empty: ``DEFAULT_TAGS``.
        answered_by: an actor.
        memory_id: the item of the board's memory that has the answer.
        message_id: what was sent to *main_agent*, of the board's gateway, if it had one.
        expires_at: then nobody waits for an answer any more.
    """

    id: QuestionId
    user_id: UserId
    user: str
    board_id: BoardId | None
    board: str | None
    from_agent_id: AgentId | None
    from_agent: str | None
    actor: str
    content: str
    preferred_channel: str | None
    correlation_id: str | None
    reply_tags: tuple[str, ...]
    reply_source: str | None
    trace_id: str
    state: QuestionState
    answer: str | None
    answered_by: str | None
    memory_id: MemoryId | None
    message_id: MessageId | None
    main_agent_id: AgentId | None
    main_agent: str | None
    created_at: int
    expires_at: int
    settled_at: int | None

    @property
    def tags(self) -> tuple[str, ...]:
        """What the answer is tagged with."""
        return self.reply_tags or DEFAULT_TAGS

    @property
    def source(self) -> str:
        """Where the answer is said to come from."""
        return self.reply_source or DEFAULT_SOURCE


class Home(msgspec.Struct, frozen=True):
    """Where an agent is reached."""

    agent_id: AgentId
    device_id: DeviceId | None
    gateway_id: GatewayId | None


_main = agents.alias("main_agent")
_SPELLED: Final[Mapping[str, sa.ColumnElement[Any]]] = {
    "user": users.c.name,
    "board": boards.c.name,
    "from_agent": agents.c.name,
    "main_agent_id": messages.c.to_agent_id,
    "main_agent": _main.c.name,
}
QUESTIONS = (
    sa.select(
        *(
            (_SPELLED[name] if name in _SPELLED else questions.c[name]).label(name)
            for name in QuestionRow.__struct_fields__
        )
    )
    .join_from(questions, users, users.c.id == questions.c.user_id)
    .outerjoin(boards, boards.c.id == questions.c.board_id)
    .outerjoin(agents, agents.c.id == questions.c.from_agent_id)
    .outerjoin(messages, messages.c.id == questions.c.message_id)
    .outerjoin(_main, _main.c.id == messages.c.to_agent_id)
)
QUESTION = QUESTIONS.where(questions.c.id == sa.bindparam("question"))
IS_OPEN: Final = "questions.state = 'open'"  # as text: the partial index is used then
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
HOME = (
    sa.select(agents.c.id, agents.c.device_id, gateway_agents.c.gateway_id)
    .outerjoin_from(agents, gateway_agents, gateway_agents.c.agent_id == agents.c.id)
    .where(agents.c.id == sa.bindparam("agent"), agents.c.deleted_at.is_(None))
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
OPEN_SINCE = (
    sa.select(sa.func.min(questions.c.created_at))
    .join_from(questions, boards, boards.c.id == questions.c.board_id)
    .where(sa.text(IS_OPEN), boards.c.gateway_id == sa.bindparam("gateway"))
)
COUNT_OPEN = sa.select(sa.func.count()).select_from(questions).where(sa.text(IS_OPEN))


def find_question(c: sa.Connection, id: str, *, user_id: UserId | None = None) -> QuestionRow | None:
    """The question of this id among a user's, or among all."""
    row = c.execute(QUESTION, {"question": id}).one_or_none()
    if row is None or user_id not in (None, row.user_id):
        return None
    return question_in(row)


def get_question(c: sa.Connection, id: str, *, user_id: UserId | None = None) -> QuestionRow:
    """The question of this id.

    Raises:
        UnknownQuestion: there is none, or it is another user's.
    """
    found = find_question(c, id, user_id=user_id)
    if found is None:
        raise UnknownQuestion(f"there is no question {id}")
    return found


def list_questions(
    c: sa.Connection,
    *,
    user_id: UserId | None = None,
    board_id: BoardId | None = None,
    states: Sequence[QuestionState] = (),
    correlation_id: str | None = None,
    limit: int = 100,
    after: tuple[int, str] | None = None,
) -> list[QuestionRow]:
    """Questions, the newest first.

    Args:
        states: in these only; empty: in any.
        after: ``created_at`` and id of one; only what follows it in this order.
    """
    query = QUESTIONS.order_by(questions.c.created_at.desc(), questions.c.id.desc()).limit(limit)
    if user_id is not None:
        query = query.where(questions.c.user_id == user_id)
    if board_id is not None:
        query = query.where(questions.c.board_id == board_id)
    if correlation_id is not None:
        query = query.where(questions.c.correlation_id == correlation_id)
    if states:
        query = query.where(questions.c.state.in_(states))
    if after is not None:
        query = query.where(
            sa.or_(
                questions.c.created_at < after[0],
                sa.and_(questions.c.created_at == after[0], questions.c.id < after[1]),
            )
        )
    return [question_in(row) for row in c.execute(query)]


class WaitingLong(msgspec.Struct, frozen=True):
    """A user whose questions wait: how many, and since when the oldest does, in epoch milliseconds."""

    user_id: UserId
    user: str
    count: int
    since: int


def waiting_since(c: sa.Connection, before: int) -> list[WaitingLong]:
    """Users with questions that were asked before *before* and are open."""
    return [WaitingLong(*row) for row in c.execute(WAITING, {"before": before})]


def count_open(c: sa.Connection) -> int:
    """How many questions wait for an answer."""
    return int(c.execute(COUNT_OPEN).scalar_one())


def open_since(c: sa.Connection, gateway_id: GatewayId) -> int | None:
    """When the oldest open question of a gateway's boards was asked; ``None``: none is open."""
    found: int | None = c.execute(OPEN_SINCE, {"gateway": gateway_id}).scalar_one()
    return found


def main_of(c: sa.Connection, board_id: BoardId) -> Home | None:
    """The main agent of the board's gateway, if there is one."""
    row = c.execute(MAIN, {"board": board_id}).one_or_none()
    return None if row is None else Home(*row)


def home_of(c: sa.Connection, agent_id: AgentId) -> Home | None:
    """Where the agent is reached; ``None``: nowhere, or it was removed."""
    row = c.execute(HOME, {"agent": agent_id}).one_or_none()
    if row is None or (row.device_id is None and row.gateway_id is None):
        return None
    return Home(*row)


def question_in(row: Any) -> QuestionRow:
    """The question that a row of ``QUESTIONS`` is."""
    return QuestionRow(**{**row._mapping, "reply_tags": tuple(row.reply_tags)})
