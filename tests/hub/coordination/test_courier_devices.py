"""Messages to agents of our own devices: kept there once, answered from there, and no gateway anywhere."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from hub.api.device import requests_of
from hub.api.resource import ResourceRegistry
from hub.api.resources.messages import MessagesResource
from hub.base.tokens import hash_token
from protocol.agent_messages import MessageKind, MessageState
from protocol.capabilities import CapabilityName
from protocol.coordination import Method
from protocol.errors import CallTimedOut, CodedError, ErrorCode, LinkLost, TooManyCalls
from protocol.frame import ErrorBody, Parameters
from protocol.ids import DeviceId, TokenId
from protocol.tool_calls import Action, Answer, ToolCall
from storage.coordination import board_memory as coordination_board_memory
from storage.coordination.board_memory import MemoryFilter
from storage.coordination.message_rows import UnknownMessage
from storage.devices.tokens import DEVICE_TOKENS
from tests.hub.coordination.post import PostBench, open_post
from tests.hub.coordination.souls import AT_DESK, BOARD
from tests.support.coded import coded
from tests.support.device import RunningDevice, open_device
from tests.support.link import FakeLink
from tests.support.wire import open_port, until

DESK = DeviceId("device-desk")
TOKEN = "hub_dev_desk"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[PostBench]:
    """A hub with a port for devices."""
    async with open_port() as port, open_post(tmp_path, port=port) as opened:
        await port.store.write(
            DEVICE_TOKENS.create, id=TokenId("t-1"), device_id=DESK, token_hash=hash_token(TOKEN), at=1
        )
        yield opened


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[PostBench]:
    """A hub whose devices are scripted."""
    async with open_post(tmp_path) as opened:
        yield opened


def kept(device: RunningDevice) -> list[tuple[str, str]]:
    """The messages in the device's file, and their agents."""
    with closing(sqlite3.connect(device.db)) as db:
        return list(db.execute("SELECT agent_id, content FROM messages ORDER BY rowid"))


async def test_message_to_a_device_agent_is_consumed_when_stored_by_the_device(
    bench: PostBench, tmp_path: Path
) -> None:
    row = await bench.say("tea is ready", to=AT_DESK, gateway_id=None)
    assert (await bench.courier.settled_or(row.id, 2.0)).state is MessageState.WAITING
    assert bench.port is not None
    async with open_device(bench.port.url, tmp_path, TOKEN) as device:
        ended = await bench.end(row)
        assert (ended.state, ended.device_id) == (MessageState.CONSUMED, DESK)
        assert kept(device) == [(AT_DESK, "tea is ready")]
        await until(lambda: any("tea is ready" in line for line in device.told))
    assert await bench.states(row) == ["waiting", "sent", "consumed"]
    (proof,) = [move.proof for move in await bench.moves(row) if move.new_state == "consumed"]
    assert (proof["device"], proof["answer"]) == (DESK, {"delivered": True})


async def test_message_call_with_a_lost_device_answer_is_repeated_with_the_same_id(alone: PostBench) -> None:
    calls: list[ToolCall] = []
    errors: list[Exception] = [CallTimedOut("late"), LinkLost("cut", dispatched=True)]

    def answer(call: ToolCall) -> Answer:
        calls.append(call)
        if errors:
            raise errors.pop(0)
        return Answer(result={"delivered": True})

    alone.links.links[DESK] = FakeLink(DESK, answers=answer, capabilities=[CapabilityName.MESSAGE_DELIVER])
    row = await alone.end(await alone.say(to=AT_DESK, gateway_id=None))
    assert (row.state, row.sends, len({call.id for call in calls})) == (MessageState.CONSUMED, 3, 1)
    assert {call.action for call in calls} == {Action.MESSAGE_DELIVER}


async def test_device_may_answer_a_message_whose_acknowledgement_was_lost(
    alone: PostBench,
) -> None:
    """Its word that it has the message was lost, and it is too busy to be told again."""
    errors: list[Exception] = [CallTimedOut("late"), LinkLost("cut", dispatched=False)]

    def answer(call: ToolCall) -> Answer:
        raise errors.pop(0) if errors else TooManyCalls("it has enough to do")

    alone.links.links[DESK] = FakeLink(DESK, answers=answer, capabilities=[CapabilityName.MESSAGE_DELIVER])
    row = await alone.say("when?", to=AT_DESK, gateway_id=None)
    await until(lambda: not errors)
    answered = await alone.messages().answer_at_device(DESK, row.id, "at noon")
    assert (answered.state, answered.answer) == (MessageState.ANSWERED, "at noon")
    assert set(await alone.states(row)) == {"waiting", "sent", "answered"}


TOO_LONG = Answer(error=ErrorBody(code=ErrorCode.BAD_RECORD, message="too long for me"))


@pytest.mark.parametrize(
    ("capabilities", "code", "words"),
    [
        ([], ErrorCode.CALL_UNSUPPORTED, ""),
        ([CapabilityName.MESSAGE_DELIVER], ErrorCode.BAD_RECORD, "too long for me"),
    ],
    ids=["takes no messages", "refuses for good"],
)
async def test_message_refused_by_the_connected_device_fails(
    alone: PostBench, capabilities: list[str], code: ErrorCode, words: str
) -> None:
    row = await alone.say(to=AT_DESK, gateway_id=None)
    assert (await alone.courier.settled_or(row.id, 2.0)).state is MessageState.WAITING
    alone.links.links[DESK] = FakeLink(DESK, answers=lambda call: TOO_LONG, capabilities=capabilities)
    ended = await alone.end(row)
    assert (ended.state, ended.reason_code) == (MessageState.FAILED, code)
    assert words in (ended.reason or "")


async def test_device_agent_answers_a_question_once_and_the_board_stores_the_answer(
    alone: PostBench,
) -> None:
    stored = Answer(result={"delivered": True})
    link = FakeLink(DESK, answers=[stored], capabilities=[CapabilityName.MESSAGE_DELIVER])
    alone.links.links[DESK] = link
    row = await alone.end(await alone.say("when?", to=AT_DESK, gateway_id=None, kind=MessageKind.QUESTION))
    hub = ResourceRegistry(alone.store, alone.clock)
    hub.add(MessagesResource(alone.store, alone.messages()))
    asked = requests_of(hub, alone.store)[Method.MESSAGES_ANSWER].answer
    answer: Parameters = {"message_id": row.id, "answer": "on Tuesday"}
    assert await asked(link, answer) == await asked(link, answer)
    ended = await alone.get(row)
    assert (ended.state, ended.answer) == (MessageState.ANSWERED, "on Tuesday")
    (item,) = await alone.store.read(coordination_board_memory.list_memory, BOARD, MemoryFilter(), limit=10)
    assert (item.content, item.reply_to) == ("on Tuesday", row.id)
    with pytest.raises(CodedError, check=coded(ErrorCode.MESSAGE_SETTLED)):
        await asked(link, answer | {"answer": "on Monday"})
    with pytest.raises(UnknownMessage):
        await asked(FakeLink(DeviceId("device-other")), answer)


async def test_two_hubs_deliver_a_message_to_a_device_once(alone: PostBench) -> None:
    calls: list[ToolCall] = []

    def answer(call: ToolCall) -> Answer:
        calls.append(call)
        return Answer(result={"delivered": True})

    alone.links.links[DESK] = FakeLink(DESK, answers=answer, capabilities=[CapabilityName.MESSAGE_DELIVER])
    other = alone.make()
    alone.tasks.start_soon(other.serve)
    rows = [await alone.say(f"number {n}", to=AT_DESK, gateway_id=None) for n in range(4)]
    for row in rows:
        assert (await alone.end(row)).state is MessageState.CONSUMED
    assert [call.data["content"] for call in calls] == [f"number {n}" for n in range(4)]
