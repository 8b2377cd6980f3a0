"""A question to a person is asked once and answered once, and the answer is in every place at once."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from protocol.agent_messages import MessageKind, MessageState, QuestionState
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, BoardId, DeviceId, GatewayId, MemoryId, MessageId, QuestionId
from storage import audit
from storage.agents.agents import AgentRow
from storage.coordination import board_memory, boards, gateway_agents, message_rows, messages, questions
from storage.coordination.board_memory import MemoryRow, NewMemory
from storage.coordination.message_rows import MessageRow
from storage.coordination.messages import MessageLimits
from storage.coordination.questions import NewAnswer, NewQuestion, QuestionRow, ReplyIds, add_reply
from storage.effects import retention
from storage.schema import devices, gateways
from tests.storage.rows import AT, LAPTOP, ME, make_agent, seeded, some
from tests.support.coded import coded

BOARD = BoardId("board")
WEST = GatewayId("gateway")
MAIN = AgentId("main")
DAY = 86_400_000
MESSAGES = MessageLimits()


def a_board(c: sa.Connection, *, has_gateway: bool = False) -> AgentRow:
    """A board with a lead that lives on the laptop, and a gateway with a main agent if there is to be one."""
    return seeded(c, _make_board, has_gateway)


def _make_board(c: sa.Connection, has_gateway: bool) -> AgentRow:
    lead = make_agent(c)
    if has_gateway:
        row = {"id": WEST, "user_id": ME, "name": "west", "created_at": AT, "updated_at": AT}
        c.execute(sa.insert(gateways), row)
        made = {"gateway_id": WEST, "user_id": ME, "name": "west-main", "role": "main", "remote_id": "main"}
        gateway_agents.make_gateway_agent(c, **made, fresh_id=MAIN, at=AT, actor="hub")  # type: ignore[arg-type]
    gateway_id = WEST if has_gateway else None
    boards.create_board(c, id=BOARD, user_id=ME, name="roadmap", gateway_id=gateway_id, at=AT, actor="hub")
    boards.add_member(c, BOARD, lead.id, is_lead=True, at=AT, actor="hub")
    return lead


def new(id: str = "q-1", **about: Any) -> NewQuestion:
    asked = NewQuestion(
        id=QuestionId(id),
        user_id=ME,
        board_id=BOARD,
        from_agent_id=AgentId("agent-inbox"),
        actor="agent:agent-inbox",
        content="Which colour is the door to be?",
        trace_id="0" * 32,
        at=AT,
        expires_at=AT + 7 * DAY,
        activity_id=f"asked-{id}",
        message_id=MessageId(f"to-main-{id}"),
    )
    return msgspec.structs.replace(asked, **about)


def ask(c: sa.Connection, /, id: str = "q-1", *, most: int = 9, **about: Any) -> QuestionRow:
    return questions.ask(c, new(id, **about), most=most, limits=MESSAGES)[0]


def said(text: str = "Red.", *, by: str = "operator:4000007", at: int = AT + 5, **about: Any) -> NewAnswer:
    return NewAnswer(
        text=text,
        actor=by,
        at=at,
        activity_id=f"answered-{by}-{at}",
        memory_id=MemoryId(f"memory-{by}-{at}"),
        message_id=MessageId(f"to-lead-{by}-{at}"),
        message_expires_at=at + DAY,
        **about,
    )


def remembered(c: sa.Connection) -> list[MemoryRow]:
    return board_memory.list_memory(c, BOARD)


def to(c: sa.Connection, kind: MessageKind) -> list[MessageRow]:
    return [row for row in message_rows.list_messages(c, limit=100) if row.kind is kind]


def types_of_activity(c: sa.Connection) -> list[str]:
    return [entry.event_type for entry in audit.list_activity(c)]


@pytest.fixture
def board(c: sa.Connection) -> AgentRow:
    """A board whose lead lives on a laptop."""
    return a_board(c)


@pytest.fixture
def asked(c: sa.Connection, board: AgentRow) -> QuestionRow:
    """A question of the lead."""
    return ask(c)


@pytest.fixture
def west(c: sa.Connection) -> AgentRow:
    """A board of a gateway with a main agent."""
    return a_board(c, has_gateway=True)


@pytest.fixture
def answered(c: sa.Connection, asked: QuestionRow) -> None:
    """A question that was answered."""
    questions.answer(c, "q-1", said())


def test_question_answer_is_stored_in_memory_and_sent_to_the_asking_agent(c: sa.Connection) -> None:
    lead = a_board(c)
    asked = ask(c, correlation_id="door-7")
    assert (asked.state, asked.board, asked.from_agent) == (QuestionState.OPEN, "roadmap", lead.name)
    answered = questions.answer(c, asked.id, said())
    assert (answered.state, answered.answer, answered.answered_by, answered.settled_at) == (
        QuestionState.ANSWERED,
        "Red.",
        "operator:4000007",
        AT + 5,
    )
    (item,) = remembered(c)
    assert (item.content, item.tags, item.source, item.correlation_id, item.reply_to, item.id) == (
        "Red.",
        ("gateway_main", "user_reply"),
        "user_via_gateway_main",
        "door-7",
        asked.id,
        answered.memory_id,
    )
    (message,) = to(c, MessageKind.ANSWER)
    assert (message.to_agent_id, message.content, message.reply_to, message.state) == (
        lead.id,
        "Red.",
        asked.id,
        MessageState.WAITING,
    )
    assert types_of_activity(c) == ["question.answered", "question.asked"]
    assert audit.list_entries(c, limit=1)[0].event == "question.answered"


@pytest.mark.usefixtures("board")
def test_answer_bears_the_requested_tags_and_source(c: sa.Connection) -> None:
    ask(c, reply_tags=("colour", "door"), reply_source="anna")
    questions.answer(c, "q-1", said())
    assert [(item.tags, item.source) for item in remembered(c)] == [(("colour", "door"), "anna")]


@pytest.mark.usefixtures("asked")
def test_second_answer_to_a_question_is_refused_naming_the_first_author(c: sa.Connection) -> None:
    questions.answer(c, "q-1", said("Red.", by="device:device-laptop"))
    with pytest.raises(
        CodedError,
        check=coded(ErrorCode.QUESTION_SETTLED),
        match="answered by device laptop at 1970-01-01T00:16:40Z",
    ):
        questions.answer(c, "q-1", said("Blue.", at=AT + 9))
    assert questions.get_question(c, "q-1").answer == "Red."
    assert [item.content for item in remembered(c)] == ["Red."]
    assert len(to(c, MessageKind.ANSWER)) == 1


@pytest.mark.usefixtures("board")
def test_question_with_a_known_dedupe_key_is_the_existing_question(c: sa.Connection) -> None:
    first = ask(c, dedupe_key="k")
    again, is_new = questions.ask(c, new("q-2", dedupe_key="k"), most=1, limits=MESSAGES)
    assert (again, is_new, len(questions.list_questions(c))) == (first, False, 1)


@pytest.mark.usefixtures("board")
def test_open_question_beyond_the_limit_of_a_user_is_refused(c: sa.Connection) -> None:
    ask(c, "q-1", most=2)
    ask(c, "q-2", most=2)
    with pytest.raises(CodedError, check=coded(ErrorCode.LIMIT_REACHED), match="open_questions_per_user"):
        ask(c, "q-3", most=2)
    questions.answer(c, "q-1", said())
    ask(c, "q-3", most=2)


@pytest.mark.usefixtures("west")
def test_the_main_agent_of_the_boards_gateway_gets_the_question(c: sa.Connection) -> None:
    asked = ask(c, correlation_id="door-7")
    (message,) = to(c, MessageKind.ASK_USER)
    assert (
        message.id,
        message.to_agent_id,
        message.gateway_id,
        message.question_id,
        message.content,
        message.correlation_id,
    ) == (asked.message_id, MAIN, WEST, asked.id, asked.content, "door-7")


@pytest.mark.usefixtures("west")
def test_unsent_message_of_a_question_fails_when_the_question_is_answered(c: sa.Connection) -> None:
    ask(c)
    questions.answer(c, "q-1", said())
    (message,) = to(c, MessageKind.ASK_USER)
    assert (message.state, message.reason_code) == (MessageState.FAILED, "question_settled")


def reply(c: sa.Connection, *, agent_id: str | None, **about: Any) -> QuestionRow | None:
    """What an item of the memory answers."""
    item = NewMemory(
        id=MemoryId("item"),
        board_id=BOARD,
        content="Green.",
        agent_id=None if agent_id is None else AgentId(agent_id),
        actor="operator:4000007" if agent_id is None else f"agent:{agent_id}",
        at=AT + 3,
        **about,
    )
    ids = ReplyIds(activity_id="replied", message_id=MessageId("to-lead"), message_expires_at=AT + DAY)
    return add_reply(c, item, ids, limits=None).question


@pytest.mark.usefixtures("west")
@pytest.mark.parametrize(
    "how",
    [
        lambda asked: {"reply_to": asked.id},
        lambda asked: {"reply_to": asked.message_id},
        lambda asked: {"correlation_id": asked.correlation_id},
    ],
    ids=["question", "message", "word"],
)
def test_memory_item_of_the_main_agent_answers_the_referenced_question(c: sa.Connection, how: Any) -> None:
    answered = some(reply(c, agent_id=MAIN, **how(ask(c, correlation_id="door-7"))))
    assert (answered.answer, answered.answered_by, answered.memory_id) == ("Green.", f"agent:{MAIN}", "item")
    assert [item.id for item in remembered(c)] == ["item"]
    assert [message.content for message in to(c, MessageKind.ANSWER)] == ["Green."]


@pytest.mark.usefixtures("west")
def test_correlation_id_shared_by_two_questions_answers_neither(c: sa.Connection) -> None:
    ask(c, "q-1", correlation_id="w")
    ask(c, "q-2", correlation_id="w")
    assert (reply(c, agent_id=MAIN, correlation_id="w"), len(remembered(c))) == (None, 1)


@pytest.mark.usefixtures("asked")
def test_memory_item_of_a_person_answers_the_question(c: sa.Connection) -> None:
    assert some(reply(c, agent_id=None, reply_to="q-1")).answer == "Green."


def test_memory_item_of_the_asking_lead_does_not_answer_the_question(c: sa.Connection) -> None:
    lead = a_board(c, has_gateway=True)
    asked = ask(c, correlation_id="w")
    assert reply(c, agent_id=lead.id, reply_to=asked.id, correlation_id="w") is None
    assert (questions.get_question(c, asked.id).state, len(remembered(c))) == (QuestionState.OPEN, 1)


@pytest.mark.usefixtures("answered")
def test_memory_item_after_the_answer_does_not_change_the_answer(c: sa.Connection) -> None:
    assert reply(c, agent_id=None, reply_to="q-1") is None
    assert questions.get_question(c, "q-1").answer == "Red."


@pytest.mark.usefixtures("asked")
def test_a_withdrawn_question_cannot_be_answered(c: sa.Connection) -> None:
    gone = questions.withdraw(c, "q-1", at=AT + 1, actor="operator:4000007", activity_id="w")
    assert gone.state is QuestionState.WITHDRAWN
    assert questions.withdraw(c, "q-1", at=AT + 2, actor="operator:4000007", activity_id="w2") == gone
    with pytest.raises(CodedError, check=coded(ErrorCode.QUESTION_SETTLED), match="was withdrawn at"):
        questions.answer(c, "q-1", said())
    assert remembered(c) == []


@pytest.mark.usefixtures("answered")
def test_an_answered_question_cannot_be_withdrawn(c: sa.Connection) -> None:
    with pytest.raises(
        CodedError, check=coded(ErrorCode.QUESTION_SETTLED), match="was answered by operator:4000007 at"
    ):
        questions.withdraw(c, "q-1", at=AT + 9, actor="operator:4000007", activity_id="w")


@pytest.mark.usefixtures("board")
def test_a_question_without_an_answer_in_time_expires(c: sa.Connection) -> None:
    ask(c, "q-1", expires_at=AT + 10)
    ask(c, "q-2", expires_at=AT + 11)
    assert not questions.is_any_due(c, AT + 9) and questions.is_any_due(c, AT + 10)
    assert [row.id for row in questions.expire_due(c, AT + 10, ["e-1", "e-2"])] == ["q-1"]
    assert not questions.is_any_due(c, AT + 10)
    with pytest.raises(CodedError, check=coded(ErrorCode.QUESTION_SETTLED), match="was over at"):
        questions.answer(c, "q-1", said(at=AT + 12))
    assert questions.get_question(c, "q-2").state is QuestionState.OPEN


@pytest.mark.usefixtures("asked")
def test_question_of_another_user_is_unknown(c: sa.Connection) -> None:
    other = msgspec.convert("somebody", type(ME))
    assert questions.find_question(c, "q-1", user_id=other) is None
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_QUESTION)):
        questions.answer(c, "q-1", said(), user_id=other)


@pytest.mark.usefixtures("board")
def test_questions_are_listed_in_pages_the_newest_first(c: sa.Connection) -> None:
    for number in range(5):
        ask(c, f"q-{number}", at=AT + number // 2)
    first = questions.list_questions(c, limit=2)
    last = first[-1]
    rest = questions.list_questions(c, limit=9, after=(last.created_at, last.id))
    assert [row.id for row in [*first, *rest]] == ["q-4", "q-3", "q-2", "q-1", "q-0"]
    questions.answer(c, "q-2", said())
    assert [row.id for row in questions.list_questions(c, states=[QuestionState.ANSWERED])] == ["q-2"]


@pytest.mark.usefixtures("asked")
def test_answer_to_a_question_of_a_removed_board_is_sent(c: sa.Connection) -> None:
    boards.remove_board(c, BOARD, at=AT + 1, actor="operator:4000007")
    answered = questions.answer(c, "q-1", said())
    assert (answered.board, answered.memory_id, len(to(c, MessageKind.ANSWER))) == (None, None, 1)


def due(c: sa.Connection, device: str = "device-laptop") -> list[tuple[str, bool]]:
    return [(one.question.id, one.is_settled) for one in questions.due_of(c, DeviceId(device), 9)]


def tell_all(c: sa.Connection, device: str = "device-laptop") -> None:
    for one in questions.due_of(c, DeviceId(device), 9):
        questions.note_delivered(c, one, DeviceId(device), AT)


@pytest.mark.usefixtures("board")
def test_device_is_notified_once_of_each_open_question_and_once_of_the_end(c: sa.Connection) -> None:
    ask(c, "q-1")
    ask(c, "q-2", at=AT + 1)
    laptop = DeviceId("device-laptop")
    assert questions.with_news(c, [laptop, DeviceId("nobodys")]) == [laptop]
    assert due(c) == [("q-1", False), ("q-2", False)]
    tell_all(c)
    tell_all(c)
    assert (due(c), questions.with_news(c, [laptop])) == ([], [])
    questions.answer(c, "q-2", said())
    assert (questions.with_news(c, [laptop]), due(c)) == ([laptop], [("q-2", True)])
    tell_all(c)
    assert (due(c), questions.known_to(c, QuestionId("q-1"))) == ([], [laptop])


@pytest.mark.usefixtures("answered")
def test_device_never_notified_of_a_question_is_not_notified_of_the_end(c: sa.Connection) -> None:
    assert due(c) == []


@pytest.mark.usefixtures("asked")
def test_a_device_of_another_user_is_not_notified(c: sa.Connection) -> None:
    c.execute(sa.text("INSERT INTO users (id, name, created_at) VALUES ('bo', 'bo', 1)"))
    row = {"id": "bos", "user_id": "bo", "name": LAPTOP, "created_at": 1, "updated_at": 1}
    c.execute(sa.insert(devices), row)
    assert (due(c, "bos"), questions.with_news(c, [DeviceId("bos")])) == ([], [])


@pytest.mark.usefixtures("board")
def test_long_open_questions_are_counted_by_user(c: sa.Connection) -> None:
    ask(c, "q-1")
    ask(c, "q-2", at=AT + DAY)
    found: Sequence[Any] = questions.waiting_since(c, AT + 5)
    assert [(one.user, one.count, one.since) for one in found] == [("me", 1, AT)]
    assert questions.count_open(c) == 2


@pytest.mark.usefixtures("board")
def test_old_settled_question_is_pruned_and_the_answer_remains_in_the_memory(
    c: sa.Connection,
) -> None:
    for id in ("q-old", "q-young", "q-open"):
        ask(c, id)
    tell_all(c)
    questions.answer(c, "q-old", said(at=AT + 5))
    questions.answer(c, "q-young", said(at=AT + DAY))
    assert retention.prune_questions(c, before=AT + DAY) == 1
    assert retention.prune_questions(c, before=AT + DAY) == 0
    assert {row.id for row in questions.list_questions(c)} == {"q-young", "q-open"}
    assert len(remembered(c)) == 2
    told_of = c.execute(sa.text("SELECT DISTINCT question_id FROM question_tellings")).scalars()
    assert set(told_of) == {"q-young", "q-open"}


@pytest.mark.usefixtures("west")
def test_message_of_an_answered_question_to_the_main_agent_is_not_retried(
    c: sa.Connection,
) -> None:
    asked = ask(c)
    messages.cancel_message(c, "to-main-q-1", at=AT, actor="operator:4000007")
    retry = {"at": AT + 1, "actor": "operator:4000007"}
    anew = messages.retry_message(c, "to-main-q-1", MessageId("again"), **retry)  # type: ignore[arg-type]
    questions.answer(c, asked.id, said())
    taken_back = message_rows.get_message(c, anew.id)
    assert (taken_back.state, taken_back.reason_code) == (MessageState.FAILED, "question_settled")
    with pytest.raises(CodedError, check=coded(ErrorCode.MESSAGE_SETTLED), match="no run waits"):
        messages.retry_message(c, anew.id, MessageId("more"), **retry)  # type: ignore[arg-type]
