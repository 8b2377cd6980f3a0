"""Messages to agents of a device and questions to its owner: kept once, shown, and answered from the file."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hub.device.device_file import DeviceFileError, DeviceStore
from hub.device.messages import OwnerReply
from hub.device.owner import answer, read_questions
from protocol.agent_messages import QuestionState
from protocol.calls import QuestionToUser, asking_call_id
from protocol.capabilities import CapabilityName
from protocol.coordination import Method, Request, Response
from protocol.errors import ErrorCode
from protocol.frame import ErrorBody
from protocol.ids import CallId
from protocol.tool_calls import Action, Answer, ToolCall
from tests.hub.device.test_verdicts import report
from tests.support.clock import FakeClock
from tests.support.device import RunningDevice
from tests.support.scripted_hub import Guest, ScriptedHub
from tests.support.wire import until

DATA: dict[str, Any] = {
    "message_id": "m-1",
    "agent_id": "a-1",
    "kind": "nudge",
    "content": "tea is ready",
    "board": "garden",
    "from": "lead",
    "at_ms": 7,
}


def call(id: str = "c-1", **data: Any) -> ToolCall:
    return ToolCall(id=CallId(id), action=Action.MESSAGE_DELIVER, data=DATA | data, agent_id="a-1")


def owner_writes(db: Path, text: str) -> None:
    with closing(sqlite3.connect(db, isolation_level=None)) as beside:
        beside.execute("UPDATE messages SET answer = ? WHERE message_id = 'm-1'", (text,))


def test_repeated_message_is_stored_once(store: DeviceStore) -> None:
    first, again, anew = store.apply([call(), call(), call("c-2", content="something else")])
    assert first.result == again.result == anew.result == {"delivered": True}
    found = store._db.execute("SELECT message_id, agent_id, content, sender, board FROM messages")
    assert [tuple(row) for row in found] == [("m-1", "a-1", "tea is ready", "lead", "garden")]


@pytest.mark.parametrize("data", [{"content": ""}, {"message_id": ""}, {"kind": None}], ids=str)
def test_malformed_message_is_refused_and_not_stored(store: DeviceStore, data: dict[str, Any]) -> None:
    (refused,) = store.apply([call(**data)])
    assert refused.error is not None and refused.error.code == ErrorCode.BAD_RECORD
    assert store._db.execute("SELECT 1 FROM messages").fetchone() is None


def test_reply_to_a_message_is_unreported_until_confirmed_by_the_hub(store: DeviceStore, db: Path) -> None:
    store.apply([call()])
    owner_writes(db, "  ")
    assert store.unreported_replies(9) == []
    owner_writes(db, " thank you\n")
    assert store.unreported_replies(9) == [OwnerReply("m-1", "thank you")]
    store.note_reply(OwnerReply("m-1", "thank you"))
    assert store.unreported_replies(9) == []


async def test_reply_written_into_the_device_file_is_sent_to_the_hub(
    device: RunningDevice, guest: Guest, clock: FakeClock
) -> None:
    assert (await guest.call(call())).result == {"delivered": True}
    assert any("nudge from lead to a-1: tea is ready" in line for line in device.told)
    owner_writes(device.db, "thank you")
    request = await report(guest, clock)
    assert (request.method, request.params) == (
        Method.MESSAGES_ANSWER,
        {"message_id": "m-1", "answer": "thank you"},
    )

    settled = ErrorBody(code=ErrorCode.MESSAGE_SETTLED, message="it was answered elsewhere")
    await guest.say(Response(id=request.id, error=settled))
    await until(lambda: any("it was answered elsewhere" in line for line in device.told))


ASKED = QuestionToUser(
    question_id="q-1",
    content="Which colour?",
    board="roadmap",
    asked_by="lead",
    asked_at=1_000,
    expires_at=9_000,
)


def asking(about: QuestionToUser = ASKED, **changed: Any) -> ToolCall:
    told = about.record() | changed
    is_settled = told.get("state", "open") != "open"
    call_id = asking_call_id(str(told["question_id"]), "desk", is_settled=is_settled)
    return ToolCall(id=call_id, action=Action.USER_ASK, data=told)


def settled(state: str = "answered", **about: Any) -> ToolCall:
    return asking(state=state, **about)


def test_repeated_question_is_stored_once_with_asker_and_board(store: DeviceStore, db: Path) -> None:
    again = ToolCall(id="another-id", action=Action.USER_ASK, data=ASKED.record())
    assert store.apply([asking(), asking(), again]) == [Answer(result={"asked": True})] * 3
    (kept,) = read_questions(db)
    assert (kept.number, kept.content, kept.board, kept.asked_by, kept.state, kept.is_waiting) == (
        1,
        "Which colour?",
        "roadmap",
        "lead",
        QuestionState.OPEN,
        True,
    )


def test_owner_answer_is_unreported_until_confirmed_by_the_hub(
    store: DeviceStore, owner: sqlite3.Connection, db: Path
) -> None:
    store.apply([asking()])
    owner.execute("UPDATE questions SET answer = '  '")
    assert store.unreported_answers(9) == []
    owner.execute("UPDATE questions SET answer = '  Red. '")
    (said,) = store.unreported_answers(9)
    assert (said.id, said.answer) == ("q-1", "Red.")
    store.note_answer(said, counts=True)
    assert store.unreported_answers(9) == []
    (kept,) = read_questions(db)
    assert (kept.state, kept.reported, kept.is_waiting) == (QuestionState.ANSWERED, True, False)


def test_new_answer_replaces_an_unreported_answer(store: DeviceStore, db: Path) -> None:
    store.apply([asking()])
    for text in ("Red.", "Green."):
        answer(db, 1, text, at_ms=5)
    assert [said.answer for said in store.unreported_answers(9)] == ["Green."]
    store.apply([settled(answer="Blue.", settled_by="device phone")])
    assert store.unreported_answers(9) == []
    (kept,) = read_questions(db)
    assert (kept.answer, kept.settled_by, kept.state) == ("Blue.", "device phone", QuestionState.ANSWERED)
    with pytest.raises(DeviceFileError, match=r"question 1 was answered by device phone: Blue\."):
        answer(db, 1, "Red.", at_ms=6)


@pytest.mark.parametrize(("state", "words"), [("withdrawn", "was withdrawn"), ("expired", "has expired")])
def test_a_settled_question_cannot_be_answered(store: DeviceStore, db: Path, state: str, words: str) -> None:
    store.apply([asking(), settled(state)])
    with pytest.raises(DeviceFileError, match=words):
        answer(db, 1, "Red.", at_ms=6)


def test_the_end_of_an_unknown_question_is_ignored(store: DeviceStore, db: Path) -> None:
    assert store.apply([settled(answer="Red.")]) == [Answer(result={"closed": True})]
    assert read_questions(db) == []


def test_question_without_an_id_is_refused(store: DeviceStore) -> None:
    (refused,) = store.apply([ToolCall(id="u-1", action=Action.USER_ASK, data={"content": "?"})])
    assert refused.error is not None and refused.error.code == ErrorCode.BAD_RECORD
    assert "question_id" in refused.error.message


def test_empty_or_overlong_answer_or_unknown_question_is_refused(store: DeviceStore, db: Path) -> None:
    store.apply([asking()])
    for text in ("", " \n", "x" * 9_000):
        with pytest.raises(DeviceFileError):
            answer(db, 1, text, at_ms=5)
    with pytest.raises(DeviceFileError, match="'hub answer' lists"):
        answer(db, 2, "Red.", at_ms=5)
    with pytest.raises(DeviceFileError):
        read_questions(db.with_name("nowhere.db"))


async def asked(guest: Guest, device: RunningDevice) -> None:
    """Wait until the device has shown the question of the hub."""
    hello = await guest.welcome()
    assert CapabilityName.USER_ASK in {one.name for one in hello.capabilities}
    assert await guest.call(asking()) == Answer(result={"asked": True})
    await until(lambda: any("question of lead (roadmap): Which colour?" in line for line in device.told))


async def test_unconfirmed_answer_is_sent_over_the_next_connection(
    hub: ScriptedHub, device: RunningDevice, clock: FakeClock
) -> None:
    guest = await hub.guest()
    await asked(guest, device)
    answer(device.db, 1, "Red.", at_ms=5)
    await guest.cut()
    await until(lambda: any("again" in line or "broke" in line for line in device.told))
    clock.advance(120)
    guest = await hub.welcomed()
    said = await guest.hear(Request)
    assert (said.method, said.params) == (
        Method.QUESTIONS_ANSWER,
        {"question_id": "q-1", "answer": "Red."},
    )
    await guest.say(Response(id=said.id, result={}))
    await until(lambda: [one.reported for one in read_questions(device.db)] == [True])


async def test_owner_is_notified_of_another_answer_settling_the_question(
    hub: ScriptedHub, device: RunningDevice, clock: FakeClock
) -> None:
    guest = await hub.guest()
    await asked(guest, device)
    answer(device.db, 1, "Red.", at_ms=5)
    said = await report(guest, clock)
    words = "question q-1 was answered by device phone at 2026-01-05T09:00:00Z"
    late = ErrorBody(code=ErrorCode.QUESTION_SETTLED, message=words)
    await guest.say(Response(id=said.id, error=late))
    await until(lambda: any("does not count" in line and words in line for line in device.told))
    told = await guest.call(settled(answer="Blue.", settled_by="device phone"))
    assert told == Answer(result={"closed": True})
    (kept,) = read_questions(device.db)
    assert (kept.answer, kept.state) == ("Blue.", QuestionState.ANSWERED)
    assert any("answered by device phone: Which colour?" in line for line in device.told)
