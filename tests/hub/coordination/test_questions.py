"""People are asked on every device of theirs, and told there how a question ended; any answer is enough."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sqlalchemy as sa

from hub.base.clock import IdFactory
from hub.base.metrics import Metrics
from hub.coordination.board_access import Caller
from hub.coordination.questions import (
    AGAIN_S,
    POLL_S,
    QuestionDelivery,
    QuestionDraft,
    QuestionService,
    seen_question,
)
from protocol.agent_messages import QuestionState
from protocol.board_permissions import Verb
from protocol.calls import question_in
from protocol.capabilities import CapabilityName
from protocol.errors import CallTimedOut, CodedError, ErrorCode
from protocol.frame import ErrorBody
from protocol.ids import AgentId, DeviceId
from protocol.tool_calls import Answer, ToolCall
from storage.coordination import board_memory, questions
from storage.coordination.questions import QuestionRow
from storage.store import Store, open_store
from tests.storage.rows import ME
from tests.storage.test_questions import BOARD, MAIN, a_board
from tests.support.clock import FakeClock, SeededChance
from tests.support.coded import coded
from tests.support.families import each
from tests.support.link import FakeLink, Replies

LEAD = Caller.of_agent(AgentId("agent-inbox"), ME)
OPERATOR = Caller("operator:77777", None)
DESK = DeviceId("device-laptop")
YES = Answer(result={"asked": True})
DAY_S = 86_400.0


@dataclass
class Hub:
    """A hub that asks: a board with a lead, and devices of the person whose board it is."""

    store: Store
    clock: FakeClock = field(default_factory=FakeClock)
    metrics: Metrics = field(default_factory=Metrics)
    links: dict[DeviceId, FakeLink] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.questions = QuestionService(
            self.store,
            clock=self.clock,
            ids=IdFactory(self.clock, SeededChance()),
            metrics=self.metrics,
        )
        self.teller = self.new_teller()

    def new_teller(self) -> QuestionDelivery:
        return QuestionDelivery(
            self.store,
            asked=self.questions,
            links=lambda: list(self.links.values()),
            find_link=self.links.get,
            clock=self.clock,
        )

    async def ask(self, content: str = "Which colour?", caller: Caller = LEAD, **about: Any) -> QuestionRow:
        return await self.questions.ask(caller, BOARD, QuestionDraft(content=content, **about))

    async def answer(self, asked: QuestionRow, text: str, caller: Caller = OPERATOR) -> QuestionRow:
        return await self.questions.answer(caller, asked.id, text)

    async def now(self, asked: QuestionRow) -> QuestionRow:
        return await self.store.read(questions.get_question, asked.id)

    async def connect(self, answers: Replies, *, can_ask: bool = True, id: DeviceId = DESK) -> FakeLink:
        link = FakeLink(id, capabilities=[CapabilityName.USER_ASK] if can_ask else [], answers=answers)
        self.links[id] = link
        self.teller.device_ready(id)
        await self.settles()
        return link

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """One life of the hub; leaving kills it."""
        self.teller = self.new_teller()
        async with anyio.create_task_group() as tasks:
            await tasks.start(self.teller.serve)
            await self.settles()
            yield
            tasks.cancel_scope.cancel()

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.settles()

    async def settles(self) -> None:
        for _ in range(30):
            await anyio.lowlevel.checkpoint()
            await self.store.read(questions.count_open)  # behind whatever was asked of the database before


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with open_store("sqlite://") as store:
        await store.write(lambda c: a_board(c, has_gateway=True) and None)
        yield Hub(store)


def told(link: FakeLink) -> list[tuple[str, str, str | None]]:
    """What a device was told: of which question, how it stands, and by whose answer."""
    said = [question_in(call.data) for call in link.calls]
    return [(one.content, one.state.value, one.settled_by) for one in said]


def always(_: ToolCall) -> Answer:
    return YES


async def test_device_receives_a_question_at_once_and_then_the_answer(hub: Hub) -> None:
    async with hub.serving():
        link = await hub.connect(always)
        asked = await hub.ask(preferred_channel="slack", correlation_id="w")
        await hub.settles()
        (call,) = link.calls
        question = question_in(call.data)
        assert (call.action, call.agent_id) == ("user.ask", "agent-inbox")
        assert (question.question_id, question.board, question.asked_by, question.preferred_channel) == (
            asked.id,
            "roadmap",
            "inbox",
            "slack",
        )
        await hub.answer(asked, "Red.")
        await hub.settles()
        end = question_in(link.calls[1].data)
        assert (end.state, end.answer, end.settled_by) == (QuestionState.ANSWERED, "Red.", "operator:77777")
        assert link.calls[1].id != call.id
        await hub.pass_time(POLL_S)
        assert len(link.calls) == 2


async def test_connecting_device_receives_exactly_the_open_questions_once(hub: Hub) -> None:
    first = await hub.ask("One?")
    hub.clock.advance(1)
    second = await hub.ask("Two?")
    gone = await hub.ask("Three?")
    await hub.answer(gone, "Never mind.")
    async with hub.serving():
        link = await hub.connect(always)
        assert told(link) == [("One?", "open", None), ("Two?", "open", None)]
        assert {question_in(call.data).question_id for call in link.calls} == {first.id, second.id}
        link.cut()
        assert (await hub.connect(always)).calls == []


async def test_device_unable_to_ask_people_gets_no_questions(hub: Hub) -> None:
    async with hub.serving():
        link = await hub.connect(always, can_ask=False)
        await hub.ask()
        await hub.settles()
        assert link.calls == []


async def test_question_is_sent_with_the_same_call_id_after_a_hub_restart(hub: Hub) -> None:
    async with hub.serving():
        first = await hub.connect([])
        await hub.ask()
        await hub.settles()
        assert len(first.calls) == 1
    first.cut()
    async with hub.serving():
        assert [call.id for call in (await hub.connect(always)).calls] == [first.calls[0].id]


async def test_question_is_resent_with_the_same_id_until_confirmed_by_the_device(hub: Hub) -> None:
    no = Answer(error=ErrorBody(code=ErrorCode.DATABASE_BUSY, message="later", retryable=True))
    async with hub.serving():
        link = await hub.connect([CallTimedOut("silent"), no, YES])
        await hub.ask()
        await hub.settles()
        for wait_s in (AGAIN_S, 2 * AGAIN_S):
            await hub.pass_time(wait_s)
        assert (len({call.id for call in link.calls}), len(link.calls)) == (1, 3)


async def test_a_question_asked_at_another_hub_is_sent_here_within_half_a_minute(hub: Hub) -> None:
    async with hub.serving():
        link = await hub.connect(always)
        other = QuestionService(
            hub.store,
            clock=hub.clock,
            ids=IdFactory(hub.clock, SeededChance(5)),
            metrics=Metrics(),
        )
        await other.ask(LEAD, BOARD, QuestionDraft(content="From there?"))
        await hub.pass_time(POLL_S)
        assert told(link) == [("From there?", "open", None)]


async def test_expired_question_is_reported_to_the_device(hub: Hub) -> None:
    hub.questions.expires_s = DAY_S
    async with hub.serving():
        link = await hub.connect(always)
        asked = await hub.ask()
        await hub.settles()
        await hub.pass_time(DAY_S + POLL_S)
        assert (await hub.now(asked)).state is QuestionState.EXPIRED
        assert told(link)[-1] == ("Which colour?", "expired", None)


async def test_question_refused_by_a_device_does_not_block_the_next_question(hub: Hub) -> None:
    def answer(call: ToolCall) -> Answer:
        if question_in(call.data).content == "One?":
            return Answer(error=ErrorBody(code=ErrorCode.BAD_RECORD, message="not that one"))
        return YES

    async with hub.serving():
        link = await hub.connect(answer)
        await hub.ask("One?")
        second = await hub.ask("Two?")
        await hub.settles()
        await hub.pass_time(POLL_S)
        assert ("Two?", "open", None) in told(link)
        assert await hub.store.read(questions.known_to, second.id) == [DESK]


async def test_answer_lines_in_the_main_agent_chat_answer_the_questions(
    hub: Hub,
) -> None:
    first, second = await hub.ask("One?"), await hub.ask("Two?")
    text = f"I asked.\nANSWER {first.id}: Red,\nbut not too red.\n\nANSWER {second.id}: Blue."
    assert await hub.questions.accept_text(MAIN, text) == 2
    assert (await hub.now(first)).answer == "Red,\nbut not too red."
    answered = await hub.now(second)
    assert (answered.answer, answered.answered_by) == ("Blue.", f"agent:{MAIN}")
    items = await hub.store.read(board_memory.list_memory, BOARD)
    assert {item.content for item in items} == {"Red,\nbut not too red.", "Blue."}


async def test_chat_text_without_a_valid_answer_line_answers_no_question(hub: Hub) -> None:
    asked = await hub.ask()
    settled = await hub.ask("Two?")
    await hub.answer(settled, "Red.")
    for text in (
        "Red.",
        "ANSWER 019b0000-0000-7000-8000-000000000000: Red.",
        f"ANSWER {asked.id}:",
        f"ANSWER {settled.id}: Blue.",
    ):
        assert await hub.questions.accept_text(MAIN, text) == 0
    assert await hub.questions.accept_text(AgentId("agent-inbox"), f"ANSWER {asked.id}: Red.") == 0
    assert (await hub.now(asked)).state is QuestionState.OPEN
    assert (await hub.now(settled)).answer == "Red."


async def test_asking_and_answering_questions_requires_the_permitted_role(hub: Hub) -> None:
    main = Caller.of_agent(MAIN, ME)
    with pytest.raises(CodedError, check=coded(ErrorCode.FORBIDDEN)):
        await hub.ask(caller=main)
    asked = await hub.ask()
    assert (await hub.store.read(seen_question, LEAD, Verb.QUESTION_READ, asked.id)).id == asked.id
    with pytest.raises(CodedError, check=coded(ErrorCode.NOT_GATEWAY_MAIN)):
        await hub.answer(asked, "Red.", LEAD)
    assert (await hub.answer(asked, "Red.", main)).answered_by == f"agent:{MAIN}"


@each(
    ("about", "words"),
    [
        ({"content": " \n"}, "content: may not be empty"),
        ({"content": "a\0b"}, "null character"),
        ({"content": "\ud800"}, "half of one"),
        ({"content": "x" * 9_000}, "at most 8192 characters, not 9000"),
        ({"content": "?", "preferred_channel": "x" * 200}, "preferred_channel"),
    ],
)
async def test_invalid_question_is_refused_with_a_reason(hub: Hub, about: dict[str, Any], words: str) -> None:
    with pytest.raises(CodedError, match=words):
        await hub.ask(**about)


async def test_request_beyond_a_limit_is_refused_and_counted(hub: Hub) -> None:
    hub.questions.most = 1
    await hub.ask()
    with pytest.raises(CodedError, check=coded(ErrorCode.LIMIT_REACHED), match="open_questions_per_user"):
        await hub.ask()
    assert hub.metrics.reached()["open_questions_per_user"] == 1


async def test_question_repeated_with_the_same_dedupe_key_is_created_once_per_actor(hub: Hub) -> None:
    assert await hub.ask(dedupe_key="k") == await hub.ask("Else?", dedupe_key="k")
    assert (await hub.ask(dedupe_key="k", caller=OPERATOR)).actor == "operator:77777"
    count = await hub.store.read(lambda c: c.execute(sa.text("SELECT count(*) FROM questions")).scalar())
    assert count == 2
