"""What the hub asks of gateways, as types; and that the fake behaves as a real one was seen to."""

import pytest

from hub.openclaw import FileConflict, GatewayInvalid, GatewayRefused
from hub.openclaw.methods import (
    agent_wait,
    agents_list,
    chat_history,
    chat_send,
    create_agent,
    file_get,
    file_set,
    message_text,
)
from protocol.coordination import SOUL_FILE, QueueMode
from tests.support.families import each
from tests.support.gateway import DEFAULT_SOUL, Fails, FakeGateway
from tests.support.gateway.office import digest
from tests.support.gateway.visit import Visit, failed
from tests.support.wire import until

MAIN = "agent:main:main"


async def test_agents_are_made_once_and_listed(visit: Visit) -> None:
    assert (await create_agent(visit.client, "Lead-ABC")).agent_id == "lead-abc"
    error = await failed(create_agent(visit.client, "Lead-ABC"))
    assert isinstance(error, GatewayRefused) and error.reason == "INVALID_REQUEST"
    assert (await agents_list(visit.client)).find("lead-abc") is not None


async def test_of_two_writers_of_one_soul_one_wins_and_the_other_learns_what_is_there(
    gateway: FakeGateway, visit: Visit
) -> None:
    read = await file_get(visit.client, "main", SOUL_FILE)
    assert (read.content, read.hash, read.missing) == (DEFAULT_SOUL, digest(DEFAULT_SOUL), False)
    won = await file_set(visit.client, "main", SOUL_FILE, "I won\n", expected_hash=read.hash)
    assert won.hash == digest("I won\n")
    with pytest.raises(FileConflict) as caught:
        await file_set(visit.client, "main", SOUL_FILE, "I lost\n", expected_hash=read.hash)
    assert caught.value.current_hash == won.hash
    assert not caught.value.dispatched
    assert gateway.agents["main"].files[SOUL_FILE] == "I won\n"


async def test_a_file_that_is_not_there_is_missing_and_a_hash_of_it_is_a_conflict(
    gateway: FakeGateway, visit: Visit
) -> None:
    del gateway.agents["main"].files[SOUL_FILE]
    read = await file_get(visit.client, "main", SOUL_FILE)
    assert (read.missing, read.hash, read.content) == (True, None, None)
    with pytest.raises(FileConflict) as caught:
        await file_set(visit.client, "main", SOUL_FILE, "new", expected_hash="0" * 64)
    assert caught.value.current_hash is None
    assert (await file_set(visit.client, "main", SOUL_FILE, "new")).hash == digest("new")
    assert isinstance(await failed(file_get(visit.client, "main", "TOOLS.md")), GatewayRefused)


async def test_a_message_is_taken_read_and_answered(gateway: FakeGateway, visit: Visit) -> None:
    gateway.hold_intake()
    ack = await chat_send(visit.client, MAIN, "hello", key="k1")
    assert (ack.run_id, ack.status) == ("k1", "started")
    taken = await chat_history(visit.client, MAIN, about=["k1", "k9"])
    pending = taken.waiting("k1")
    assert pending is not None and pending.state == "queued"
    assert (taken.place("k1"), taken.receipts) == (None, {"k1": "pending"})

    gateway.release_intake()
    assert (await agent_wait(visit.client, "k1", timeout_ms=1000)).reply == "ok: hello"
    read = await chat_history(visit.client, MAIN, limit=10, about=["k1"])
    assert (read.place("k1"), read.waiting("k1"), read.receipts) == (0, None, {})
    assert [(row.role, row.text, row.run_id) for row in read.messages] == [
        ("user", "hello", None),
        ("assistant", "ok: hello", "k1"),
    ]
    assert (await chat_send(visit.client, MAIN, "hello", key="k1")).status == "ok"


@pytest.mark.parametrize(
    ("was_asked", "row"),
    [
        (True, ("assistant", "k1:terminal-error", "error", None)),
        (False, ("custom", None, None, "run-failed-before-reply")),
    ],
    ids=["failed", "never reached the model"],
)
async def test_a_failed_turn_is_reported_and_stored_as_failed(
    gateway: FakeGateway, visit: Visit, was_asked: bool, row: tuple[str | None, ...]
) -> None:
    gateway.answer_with(lambda *_: Fails("out of money", reason="billing", was_asked=was_asked))
    await chat_send(visit.client, MAIN, "hello", key="k1")
    waited = await agent_wait(visit.client, "k1", timeout_ms=1000)
    assert (waited.status, waited.error, waited.reply) == ("error", "out of money", None)
    last = (await chat_history(visit.client, MAIN)).messages[-1]
    assert (last.role, last.key, last.stop_reason, last.kind) == row


async def test_a_text_that_is_a_command_to_the_gateway_is_no_message(
    gateway: FakeGateway, visit: Visit
) -> None:
    assert isinstance(await failed(chat_send(visit.client, MAIN, "stop", key="k1")), GatewayInvalid)
    assert gateway.said(MAIN) == []


async def test_old_rows_and_many_that_wait_are_read_in_pages(gateway: FakeGateway, visit: Visit) -> None:
    for number in range(5):
        await chat_send(visit.client, MAIN, f"m{number}", key=f"k{number}")
        await agent_wait(visit.client, f"k{number}", timeout_ms=1000)
    newest = await chat_history(visit.client, MAIN, limit=4)
    assert [row.text for row in newest.messages] == ["m3", "ok: m3", "m4", "ok: m4"]
    assert newest.next_offset == 4
    older = await chat_history(visit.client, MAIN, limit=4, offset=newest.next_offset)
    assert [row.text for row in older.messages] == ["m1", "ok: m1", "m2", "ok: m2"]

    gateway.hold(MAIN)
    await chat_send(visit.client, MAIN, "busy", key="busy")
    await until(lambda: gateway.said(MAIN)[-1] == "busy")
    for number in range(25):
        await chat_send(visit.client, MAIN, "x", key=f"q{number}", queue_mode=QueueMode.FOLLOWUP)
    page = await chat_history(visit.client, MAIN)
    assert len(page.pending) == 20
    rest = await chat_history(visit.client, MAIN, pending_before=page.pending_before)
    assert [item.run_id for item in rest.pending] == [f"q{number}" for number in range(5)]


async def test_an_unknown_session_is_empty(visit: Visit) -> None:
    history = await chat_history(visit.client, "agent:ghost:main")
    assert (history.messages, history.pending, history.is_running) == ([], [], False)
    error = await failed(chat_send(visit.client, "agent:ghost:main", "boo", key="k1"))
    assert isinstance(error, GatewayRefused)


@each(
    ("content", "text"),
    [
        ("plain", "plain"),
        ([{"type": "text", "text": "a"}, {"type": "thinking"}, {"type": "text", "text": "b"}], "a\nb"),
        ([{"type": "text"}, 7, None], ""),
        (None, ""),
        ({"text": "x"}, ""),
    ],
)
def test_the_words_of_a_message_are_found_however_it_is_put(content: object, text: str) -> None:
    assert message_text(content) == text
