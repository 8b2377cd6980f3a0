"""Questions on the device: kept in its file, answered by its owner, told to the hub until it knows."""

import sqlite3
from pathlib import Path
from typing import Any

import anyio
import pytest

from hub.device.inserts import DeviceFileError, DeviceStore
from hub.device.owner import answer, read_questions
from protocol.calls import QuestionToUser, asking_call_id
from protocol.coordination import Method, QuestionState, Request, Response
from protocol.errors import ErrorCode
from protocol.frame import ErrorBody
from protocol.handshake import CapabilityName
from protocol.work import Action, Answer, ToolCall
from tests.support.clock import FakeClock
from tests.support.device import RunningDevice
from tests.support.scripted_hub import Guest, ScriptedHub
from tests.support.wire import until

ASKED = QuestionToUser(
    question_id="q-1",
    content="Which colour?",
    board="roadmap",
    asked_by="lead",
    asked_at=1_000,
    expires_at=9_000,
)


def call(about: QuestionToUser = ASKED, **changed: Any) -> ToolCall:
    told = about.record() | changed
    is_settled = told.get("state", "open") != "open"
    call_id = asking_call_id(str(told["question_id"]), "desk", is_settled=is_settled)
    return ToolCall(id=call_id, action=Action.USER_ASK, data=told)


def settled(state: str = "answered", **about: Any) -> ToolCall:
    return call(state=state, **about)


def test_a_question_is_kept_with_who_asks_and_about_what(store: DeviceStore, db: Path) -> None:
    assert store.apply([call()]) == [Answer(result={"asked": True})]
    (kept,) = read_questions(db)
    assert (kept.number, kept.content, kept.board, kept.asked_by, kept.state, kept.is_waiting) == (
        1,
        "Which colour?",
        "roadmap",
        "lead",
        QuestionState.OPEN,
        True,
    )


def test_a_question_that_arrives_twice_is_stored_once(store: DeviceStore, db: Path) -> None:
    store.apply([call(), call()])
    again = ToolCall(id="another-id", action=Action.USER_ASK, data=ASKED.record())
    assert store.apply([again]) == [Answer(result={"asked": True})]
    assert len(read_questions(db)) == 1


def test_an_answer_of_the_owner_is_unreported_until_the_hub_confirms_it(
    store: DeviceStore, owner: sqlite3.Connection, db: Path
) -> None:
    store.apply([call()])
    assert store.unreported_answers(9) == []
    owner.execute("UPDATE questions SET answer = '  Red. '")
    (said,) = store.unreported_answers(9)
    assert (said.id, said.answer) == ("q-1", "Red.")
    store.note_answer(said, counts=True)
    assert store.unreported_answers(9) == []
    (kept,) = read_questions(db)
    assert (kept.state, kept.reported, kept.is_waiting) == (QuestionState.ANSWERED, True, False)


def test_an_answer_of_blanks_is_none(store: DeviceStore, owner: sqlite3.Connection) -> None:
    store.apply([call()])
    owner.execute("UPDATE questions SET answer = '  '")
    assert store.unreported_answers(9) == []


def test_an_answer_from_elsewhere_replaces_an_unreported_one(store: DeviceStore, db: Path) -> None:
    store.apply([call()])
    answer(db, 1, "Red.", at_ms=5)
    store.apply([settled(answer="Blue.", settled_by="device phone")])
    assert store.unreported_answers(9) == []
    (kept,) = read_questions(db)
    assert (kept.answer, kept.settled_by, kept.state) == ("Blue.", "device phone", QuestionState.ANSWERED)
    with pytest.raises(DeviceFileError, match=r"question 1 was answered by device phone: Blue\."):
        answer(db, 1, "Red.", at_ms=6)


@pytest.mark.parametrize(("state", "words"), [("withdrawn", "was withdrawn"), ("expired", "has expired")])
def test_a_settled_question_cannot_be_answered(store: DeviceStore, db: Path, state: str, words: str) -> None:
    store.apply([call(), settled(state)])
    with pytest.raises(DeviceFileError, match=words):
        answer(db, 1, "Red.", at_ms=6)


def test_the_end_of_an_unknown_question_is_ignored(store: DeviceStore, db: Path) -> None:
    assert store.apply([settled(answer="Red.")]) == [Answer(result={"closed": True})]
    assert read_questions(db) == []


def test_what_is_no_question_is_refused(store: DeviceStore) -> None:
    (refused,) = store.apply([ToolCall(id="u-1", action=Action.USER_ASK, data={"content": "?"})])
    assert refused.error is not None and refused.error.code == ErrorCode.BAD_RECORD
    assert "question_id" in refused.error.message


def test_an_answer_has_words_and_a_question(store: DeviceStore, db: Path) -> None:
    store.apply([call()])
    for text in ("", " \n", "x" * 9_000):
        with pytest.raises(DeviceFileError):
            answer(db, 1, text, at_ms=5)
    with pytest.raises(DeviceFileError, match="'hub answer' lists"):
        answer(db, 2, "Red.", at_ms=5)
    with pytest.raises(DeviceFileError):
        read_questions(db.with_name("nowhere.db"))


def test_an_owner_may_change_an_unreported_answer(store: DeviceStore, db: Path) -> None:
    store.apply([call()])
    answer(db, 1, "Red.", at_ms=5)
    answer(db, 1, "Blue.", at_ms=6)
    assert [said.answer for said in store.unreported_answers(9)] == ["Blue."]


async def asked(guest: Guest, device: RunningDevice) -> None:
    """The hub has told the device of the question, and it knows."""
    hello = await guest.welcome()
    assert CapabilityName.USER_ASK in {one.name for one in hello.capabilities}
    assert await guest.call(call()) == Answer(result={"asked": True})
    await until(lambda: any("question of lead (roadmap): Which colour?" in line for line in device.told))


async def in_time(guest: Guest, clock: FakeClock) -> Request:
    """What the device asks next, as time goes by."""

    async def pass_time() -> None:
        while True:
            clock.advance(1)
            await anyio.sleep(0.005)

    async with anyio.create_task_group() as passing:
        passing.start_soon(pass_time)
        request = await guest.hear(Request)
        passing.cancel_scope.cancel()
    return request


async def test_an_answer_is_sent_until_the_hub_has_confirmed_it(
    hub: ScriptedHub, device: RunningDevice, clock: FakeClock
) -> None:
    guest = await hub.guest()
    await asked(guest, device)
    answer(device.db, 1, "Red.", at_ms=5)
    said = await in_time(guest, clock)
    assert (said.method, said.params) == (
        Method.QUESTIONS_ANSWER,
        {"question_id": "q-1", "answer": "Red."},
    )
    busy = ErrorBody(code=ErrorCode.DATABASE_BUSY, message="later", retryable=True)
    await guest.say(Response(id=said.id, error=busy))
    again = await in_time(guest, clock)
    assert again.params == said.params
    await guest.say(Response(id=again.id, result={}))
    await until(lambda: [one.reported for one in read_questions(device.db)] == [True])


async def test_an_answer_that_was_not_confirmed_is_sent_over_the_next_connection(
    hub: ScriptedHub, device: RunningDevice, clock: FakeClock
) -> None:
    guest = await hub.guest()
    await asked(guest, device)
    answer(device.db, 1, "Red.", at_ms=5)
    await guest.cut()
    await until(lambda: any("again" in line or "broke" in line for line in device.told))
    clock.advance(120)
    guest = await hub.welcomed()
    assert (await guest.hear(Request)).params == {"question_id": "q-1", "answer": "Red."}


async def test_an_owner_learns_that_another_answer_was_first(
    hub: ScriptedHub, device: RunningDevice, clock: FakeClock
) -> None:
    guest = await hub.guest()
    await asked(guest, device)
    answer(device.db, 1, "Red.", at_ms=5)
    said = await in_time(guest, clock)
    words = "question q-1 was answered by device phone at 2026-01-05T09:00:00Z"
    late = ErrorBody(code=ErrorCode.QUESTION_SETTLED, message=words)
    await guest.say(Response(id=said.id, error=late))
    await until(lambda: any("does not count" in line and words in line for line in device.told))
    told = await guest.call(settled(answer="Blue.", settled_by="device phone"))
    assert told == Answer(result={"closed": True})
    (kept,) = read_questions(device.db)
    assert (kept.answer, kept.state) == ("Blue.", QuestionState.ANSWERED)
    assert any("answered by device phone: Which colour?" in line for line in device.told)
