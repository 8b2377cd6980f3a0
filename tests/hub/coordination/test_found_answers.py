"""A person's answer is heard whenever its gateway's main agent wrote it, and whoever was away then."""

from collections.abc import Mapping
from typing import Any, cast

import pytest

from hub.coordination.to_gateway import find
from hub.openclaw import Gateway
from protocol.coordination import MessageState
from protocol.ids import MessageId, QuestionId
from storage.coordination import gateway_agents, questions
from storage.coordination.messages import MessageLimits
from storage.coordination.questions import NewQuestion
from tests.hub.coordination.post import WORKERS, PostBench
from tests.hub.coordination.souls import BOARD, GATEWAY, LEAD, OWNER
from tests.support.gateway import FakeGateway, Row
from tests.support.wire import until


async def ask(bench: PostBench, id: str = "q-1") -> None:
    new = NewQuestion(
        id=QuestionId(id),
        user_id=OWNER,
        board_id=BOARD,
        from_agent_id=LEAD,
        actor=f"agent:{LEAD}",
        content="Which colour?",
        trace_id="0" * 32,
        at=bench.at,
        expires_at=bench.at + 86_400_000,
        activity_id=f"asked-{id}",
        message_id=MessageId(f"to-main-{id}"),
    )
    await bench.store.write(questions.ask, new, most=9, limits=MessageLimits())


@pytest.mark.parametrize("away", ["hub", "gateway"])
async def test_an_answer_written_while_the_hub_was_disconnected_is_found_later(
    bench: PostBench, gateway: FakeGateway, away: str
) -> None:
    main = await bench.store.read(gateway_agents.find_main_agent, GATEWAY)
    assert main is not None and main.session_key is not None
    await ask(bench)
    if away == "hub":
        await bench.kill()
    else:
        await gateway.stop()
    rows = gateway.office.session(main.session_key).rows
    rows.append(Row("assistant", "ANSWER q-1: blue", run_id="r-1", stop_reason="stop", at_ms=bench.at))
    for n in range(300):
        rows.append(Row("user", f"somebody else {n}", key=f"other-{n}:user", at_ms=bench.at))
    if away == "hub":
        bench.start()
    else:
        await gateway.start()
        bench.fleet.wake()
    await until(lambda: (main.agent_id, "ANSWER q-1: blue") in bench.heard)


async def test_without_an_open_question_no_history_is_read(bench: PostBench, gateway: FakeGateway) -> None:
    await bench.end(await bench.say())
    await bench.kill()
    before = gateway.count("chat.history")
    bench.start()
    assert (await bench.end(await bench.say())).state is MessageState.ANSWERED
    sessions = [asked.params["sessionKey"] for asked in gateway.asked if asked.method == "chat.history"]
    assert set(sessions[before:]) == {WORKERS}


class Scripted:
    """A gateway that answers ``chat.history`` with one page after the other, and notes what was asked."""

    name = "west"

    def __init__(self, *pages: dict[str, Any]) -> None:
        self._pages = list(pages)
        self.asked: list[Mapping[str, Any]] = []

    async def call(self, method: str, params: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        self.asked.append(params)
        return {"sessionKey": "s", **self._pages.pop(0)}


def user(key: str) -> dict[str, Any]:
    return {
        "role": "user",
        "content": "hm",
        "idempotencyKey": f"{key}:user",
        "__openclaw": {"id": f"u-{key}"},
    }


def agent(text: str, run: str) -> dict[str, Any]:
    told = {"runId": run, "id": f"a-{run}"}
    return {"role": "assistant", "content": text, "stopReason": "stop", "__openclaw": told}


async def test_an_answer_of_before_is_no_answer_to_what_came_while_the_history_was_read() -> None:
    """So much waits there that it takes a second look, and in the second look the message has come."""
    many = {"items": [{"state": "queued", "runId": f"x-{n}"} for n in range(20)], "total": 21}
    before = [user("k-1"), agent("somebody else's", "run-of-its-own")]
    gateway = Scripted(
        {"messages": before, "pendingInputs": many | {"nextBefore": 2}},
        {"messages": [*before, user("k-2")], "pendingInputs": {"items": [], "total": 0}},
    )
    shown, _ = await find(cast(Gateway, gateway), "s", "k-2", created_at=0, moved_at=0)
    assert shown.answer is None
