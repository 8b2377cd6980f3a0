"""Messages to agents of a device: kept once, shown to the person, and answered from the device's own file."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hub.device.inserts import DeviceStore
from hub.device.messages import Reply
from protocol.coordination import Method, Response
from protocol.errors import ErrorCode
from protocol.frame import ErrorBody
from protocol.ids import CallId
from protocol.work import Action, ToolCall
from tests.hub.device.test_verdicts import report
from tests.support.clock import FakeClock
from tests.support.device import RunningDevice
from tests.support.scripted_hub import Guest
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


def owner_writes(db: Path, answer: str) -> None:
    with closing(sqlite3.connect(db, isolation_level=None)) as beside:
        beside.execute("UPDATE messages SET answer = ? WHERE message_id = 'm-1'", (answer,))


def test_a_message_is_kept_once_however_often_it_is_brought(store: DeviceStore) -> None:
    first, again, anew = store.apply([call(), call(), call("c-2", content="something else")])
    assert first.result == again.result == anew.result == {"delivered": True}
    found = store._db.execute("SELECT message_id, agent_id, content, sender, board FROM messages")
    assert [tuple(row) for row in found] == [("m-1", "a-1", "tea is ready", "lead", "garden")]


@pytest.mark.parametrize("data", [{"content": ""}, {"message_id": ""}, {"kind": None}], ids=str)
def test_what_is_no_message_is_refused(store: DeviceStore, data: dict[str, Any]) -> None:
    (answer,) = store.apply([call(**data)])
    assert answer.error is not None and answer.error.code == ErrorCode.BAD_RECORD
    assert store._db.execute("SELECT 1 FROM messages").fetchone() is None


def test_an_answer_is_sent_until_the_hub_has_confirmed_it(store: DeviceStore, db: Path) -> None:
    store.apply([call()])
    owner_writes(db, "  ")
    assert store.unreported_replies(9) == []
    owner_writes(db, " thank you\n")
    assert store.unreported_replies(9) == [Reply("m-1", "thank you")]
    store.note_reply(Reply("m-1", "thank you"))
    assert store.unreported_replies(9) == []


async def test_what_is_answered_in_the_file_is_brought_to_the_hub(
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
