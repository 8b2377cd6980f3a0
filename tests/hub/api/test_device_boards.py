"""What a device hears of boards, and writes into their memory: as its person, or as one of its agents."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from hub.api import device
from protocol.coordination import Response
from protocol.ids import BoardId, UserId
from storage.coordination import boards
from storage.devices import devices
from tests.support.link import FakeLink
from tests.support.requests import ask
from tests.support.runs import Bench, agent, bench, store

__all__ = ["agent", "bench", "store"]

_AT: Mapping[str, Any] = {"at": 1, "actor": "operator:0"}


@pytest.fixture(autouse=True)
async def _boards(bench: Bench) -> None:
    """The boards roses, on which the agent notes is, and lawn; eve has one that is called eves."""
    mine, eve = bench.agent.user_id, await bench.store.write(devices.ensure_user, UserId("eve"), "eve", 1)
    for name, user_id in (("roses", mine), ("lawn", mine), ("eves", eve)):
        id = BoardId(f"board-{name}")
        await bench.store.write(boards.create_board, id=id, user_id=user_id, name=name, **_AT)
    await bench.store.write(boards.add_member, BoardId("board-roses"), bench.agent.id, **_AT)


async def asked(bench: Bench, method: str, **params: Any) -> Response:
    """The answer to the device of the agent notes."""
    link = FakeLink(str(bench.agent.device_id), user_id=bench.agent.user_id)
    return await ask(bench, method, link, **params)


async def told(bench: Bench, method: str, **params: Any) -> dict[str, Any]:
    answer = await asked(bench, method, **params)
    assert answer.error is None and answer.result is not None, answer.error
    return cast("dict[str, Any]", answer.result)


async def refused(bench: Bench, method: str, **params: Any) -> str:
    answer = await asked(bench, method, **params)
    assert answer.error is not None
    return answer.error.code


async def remember(bench: Bench, content: str, **about: Any) -> dict[str, Any]:
    bench.clock.advance(1)
    return await told(bench, "memory.add", board="roses", content=content, **about)


def contents(listed: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    return [item["content"] for item in listed["memory"]]


async def test_a_device_hears_of_its_users_boards_and_for_an_agent_of_that_ones_alone(bench: Bench) -> None:
    listed = await told(bench, "boards.list")
    assert [board["name"] for board in listed["boards"]] == ["lawn", "roses"]
    own = await told(bench, "boards.list", agent_id="notes")
    assert [board["board_id"] for board in own["boards"]] == ["board-roses"]


async def test_the_person_at_a_device_writes_into_every_board_of_theirs(bench: Bench) -> None:
    for board in ("roses", "lawn"):
        added = await told(bench, "memory.add", board=board, content="cut them", tags=["weeds"])
        assert (added["memory"]["actor"], added["memory"]["agent_id"]) == (
            f"device:{bench.agent.device_id}",
            None,
        )
    assert await refused(bench, "memory.add", board="eves", content="cut them") == "unknown_board"
    assert await refused(bench, "memory.list", board="board-eves") == "unknown_board"


async def test_an_agent_of_a_device_writes_in_its_own_name_on_its_own_board(bench: Bench) -> None:
    added = await remember(bench, "done", agent_id="notes")
    assert (added["memory"]["agent_id"], added["memory"]["agent"]) == (bench.agent.id, "notes")
    about = {"board": "lawn", "agent_id": "notes"}
    assert await refused(bench, "memory.add", content="done", **about) == "not_your_board"
    assert await refused(bench, "memory.list", **about) == "not_your_board"
    assert await refused(bench, "memory.list", board="roses", agent_id="nobody") == "unknown_agent"


async def test_memory_is_listed_by_its_tags_and_in_pages(bench: Bench) -> None:
    for n in range(3):
        await remember(bench, f"item {n}", tags=["weeds"] if n else [])
    assert contents(await told(bench, "memory.list", board="roses", tags=["weeds"])) == ["item 2", "item 1"]
    first = await told(bench, "memory.list", board="roses", limit=2)
    assert contents(first) == ["item 2", "item 1"]
    second = await told(bench, "memory.list", board="roses", limit=2, cursor=first["cursor"])
    assert (contents(second), second["cursor"]) == (["item 0"], None)


async def test_an_answer_fits_a_frame_however_long_the_items_are(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "ANSWER_BYTES", 10)
    for n in range(3):
        await remember(bench, f"item {n}")
    cursor, pages = None, []
    while page := await told(bench, "memory.list", board="roses", **({"cursor": cursor} if cursor else {})):
        pages.append(contents(page))
        if (cursor := page["cursor"]) is None:
            break
    assert pages == [["item 2"], ["item 1"], ["item 0"]]


async def test_a_request_that_comes_twice_is_written_once(bench: Bench) -> None:
    first = await remember(bench, "once", idempotency_key="k")
    assert (await remember(bench, "once", idempotency_key="k"))["memory"] == first["memory"]
    other = await remember(bench, "once", idempotency_key="k", agent_id="notes")
    assert other["memory"]["memory_id"] != first["memory"]["memory_id"], "who asks has keys of their own"


async def test_a_message_has_the_same_form_when_it_is_sent_and_listed(bench: Bench) -> None:
    sent = (await told(bench, "messages.nudge", board="roses", agent="notes", content="cut them"))["message"]
    assert (sent["agent_id"], sent["agent"], sent["state"]) == (bench.agent.id, "notes", "waiting")
    assert (sent["board"], sent["kind"], sent["at_ms"]) == ("roses", "nudge", bench.now_ms)
    assert (await told(bench, "messages.list"))["messages"] == [sent]
    assert (await told(bench, "messages.list", agent_id="notes", states=["answered"]))["messages"] == []


async def test_the_person_at_a_device_asks_and_answers_questions(bench: Bench) -> None:
    put = (await told(bench, "questions.ask", board="roses", content="Which?", correlation_id="c-1"))[
        "question"
    ]
    assert put == {
        "question_id": put["question_id"],
        "content": "Which?",
        "board": "roses",
        "correlation_id": "c-1",
        "asked_at": bench.now_ms,
        "expires_at": put["expires_at"],
    }
    assert (await told(bench, "questions.list"))["questions"] == [put]
    by_device = {"question_id": put["question_id"], "answer": "the red ones", "agent_id": "notes"}
    answered = (await told(bench, "questions.answer", **by_device))["question"]
    assert (answered["state"], answered["answer"]) == ("answered", "the red ones")
    assert (await told(bench, "questions.list"))["questions"] == []
    assert (await told(bench, "questions.list", states=["answered"]))["questions"] == [answered]
