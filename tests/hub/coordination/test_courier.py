"""Messages to agents of a gateway: each state is proven by what the gateway shows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
import sqlalchemy as sa

from hub.coordination.gateway_delivery import find
from hub.coordination.message_delivery import PER_GATEWAY
from hub.openclaw import Gateway
from protocol.agent_messages import MessageEvent, MessageKind, MessageState
from protocol.coordination import attempt_key
from protocol.errors import ErrorCode
from protocol.ids import AgentId, GatewayId, MessageId, QuestionId
from storage import audit
from storage.coordination import board_memory, gateway_agents, message_rows, messages, questions
from storage.coordination.board_memory import MemoryFilter
from storage.coordination.messages import MessageLimits
from storage.coordination.questions import NewQuestion
from storage.schema import agent_states
from storage.schema import gateways as gateway_table
from tests.hub.coordination.post import DAY_MS, LEADS, WORKERS, PostBench, open_post
from tests.hub.coordination.souls import BOARD, GATEWAY, LEAD, OWNER, WORKER
from tests.support.gateway import Fails, FakeGateway, Row
from tests.support.wire import until

SEND = "chat.send"


async def test_message_is_answered_by_the_last_words_of_the_agent_turn(
    bench: PostBench, gateway: FakeGateway
) -> None:
    gateway.answer_with(lambda session, message: "the mail is read")
    row = await bench.end(await bench.say("look at the mail"))

    assert (row.state, row.answer, row.attempt, row.sends) == (
        MessageState.ANSWERED,
        "the mail is read",
        1,
        1,
    )
    assert await bench.states(row) == ["waiting", "sent", "accepted", "consumed", "answered"]
    (said,) = gateway.said(WORKERS)
    assert "look at the mail" in said
    (sent,) = [asked for asked in gateway.asked if asked.method == SEND]
    assert sent.traceparent is not None and sent.traceparent.split("-")[1] == row.trace_id
    consumed, answered = (await bench.moves(row))[-2:]
    assert consumed.proof["history"]["key"] == f"{attempt_key(row.id, 1)}:user"
    assert answered.proof["history"]["run_id"] == attempt_key(row.id, 1)


async def test_message_to_a_busy_agent_is_queued_until_answered(
    bench: PostBench, gateway: FakeGateway
) -> None:
    gateway.hold(WORKERS)
    first = await bench.until(await bench.say("first"), MessageState.CONSUMED)
    second = await bench.until(await bench.say("second"), MessageState.QUEUED)
    assert await bench.states(second) == ["waiting", "sent", "accepted", "queued"]
    assert (await bench.get(first)).state is MessageState.CONSUMED
    queued = (await bench.moves(second))[-1]
    assert (queued.proof["pending"]["state"], queued.proof["wait"]["status"]) == ("queued", "pending")

    gateway.release(WORKERS)
    assert (await bench.end(second)).state is MessageState.ANSWERED
    assert [words in said for words, said in zip(("first", "second"), gateway.said(WORKERS), strict=True)]


async def test_messages_to_an_agent_are_sent_in_sequence(bench: PostBench, gateway: FakeGateway) -> None:
    gateway.hold_intake()
    rows = [await bench.say(f"number {n}") for n in range(3)]
    await bench.until(rows[0], MessageState.ACCEPTED)
    assert [(await bench.get(row)).state for row in rows[1:]] == [MessageState.WAITING] * 2
    gateway.release_intake()
    for row in rows:
        await bench.end(row)
    assert [f"number {n}" in said for n, said in enumerate(gateway.said(WORKERS))] == [True] * 3


async def test_message_lost_before_the_gateway_is_resent_unchanged(
    bench: PostBench, gateway: FakeGateway
) -> None:
    gateway.fault(SEND, "before", times=2)
    row = await bench.end(await bench.say())
    sent = [asked.params for asked in gateway.asked if asked.method == SEND]
    assert (row.state, row.sends, len(sent), len(gateway.said(WORKERS))) == (MessageState.ANSWERED, 3, 3, 1)
    assert sent[0] == sent[1] == sent[2]
    (letter,) = [move.proof["letter"] for move in await bench.moves(row) if "letter" in move.proof]
    assert letter["message"] == sent[0]["message"]


async def test_message_is_resent_no_sooner_than_retry_after_of_the_gateway(
    bench: PostBench, gateway: FakeGateway
) -> None:
    busy = {"code": "UNAVAILABLE", "message": "busy", "retryable": True, "retryAfterMs": 1_500}
    gateway.fault(SEND, "refused", busy)
    row = await bench.end(await bench.say())
    assert row.state is MessageState.ANSWERED
    assert (await bench.states(row))[:4] == ["waiting", "sent", "waiting", "sent"]
    taken_back, again = (await bench.moves(row))[2:4]
    assert again.at - taken_back.at >= 1_500


async def test_queued_message_dropped_by_a_gateway_restart_is_resent_under_a_new_key(
    bench: PostBench, gateway: FakeGateway
) -> None:
    gateway.hold(WORKERS)
    await bench.until(await bench.say("first"), MessageState.CONSUMED)
    row = await bench.until(await bench.say("second"), MessageState.QUEUED)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gateway.stop)
        await until(lambda: gateway.is_draining)
        gateway.release(WORKERS)
    await gateway.start()
    ended = await bench.end(row)
    assert (ended.state, ended.attempt) == (MessageState.ANSWERED, 2)
    assert "interrupted" in await bench.states(row)
    assert sum("second" in said for said in gateway.said(WORKERS)) == 1


async def test_turn_interrupted_by_a_gateway_kill_is_answered_without_a_second_send(
    bench: PostBench, gateway: FakeGateway
) -> None:
    gateway.hold(WORKERS)
    row = await bench.until(await bench.say(), MessageState.CONSUMED)
    await gateway.stop(killed=True)
    gateway.release(WORKERS)
    await gateway.start()
    ended = await bench.end(row)
    assert (ended.state, ended.attempt, ended.sends) == (MessageState.ANSWERED, 1, 1)
    assert len(gateway.said(WORKERS)) == 1


async def test_message_undelivered_in_time_expires_with_a_warning(
    bench: PostBench, gateway: FakeGateway
) -> None:
    await gateway.stop()
    assert (await bench.end(await bench.say(lasts_ms=3_000))).state is MessageState.EXPIRED
    (told,) = await bench.store.read(audit.list_activity, agent_id=LEAD)
    assert (told.event_type, told.level) == ("agent.nudge.failed", "warning")


async def test_accepted_messages_are_answered_after_a_hub_restart_without_resending(
    bench: PostBench, gateway: FakeGateway
) -> None:
    gateway.hold_intake()
    rows = [await bench.say("to the worker"), await bench.say("to the lead", to=LEAD)]
    for row in rows:
        await bench.until(row, MessageState.ACCEPTED)
    await bench.kill()
    gateway.release_intake()
    bench.start()
    for row in rows:
        assert (await bench.end(row)).state is MessageState.ANSWERED
    assert (len(gateway.said(WORKERS)), len(gateway.said(LEADS))) == (1, 1)


async def test_hub_killed_before_the_acknowledgement_does_not_resend_the_message(
    bench: PostBench, gateway: FakeGateway
) -> None:
    gateway.fault(SEND, "never")
    row = await bench.say()
    await until(lambda: gateway.count(SEND) == 1)
    await bench.kill()
    assert (await bench.get(row)).state is MessageState.SENT
    bench.start()
    assert (await bench.end(row)).state is MessageState.ANSWERED
    assert (gateway.count(SEND), len(gateway.said(WORKERS))) == (1, 1)


SCOPE = {"code": "MISSING_SCOPE", "missingScope": "operator.write"}
FORBIDDEN = {"code": "FORBIDDEN", "message": "no", "details": SCOPE}


@pytest.mark.parametrize(
    ("answer", "refusal", "state", "code", "words", "said"),
    [
        (Fails(), None, MessageState.FAILED, None, "", 1),
        ("NO_REPLY", None, MessageState.CONSUMED, None, "", 1),
        ("", FORBIDDEN, MessageState.FAILED, ErrorCode.GATEWAY_FORBIDDEN, "operator.write is missing", 0),
    ],
    ids=["the turn fails", "the turn ends without a word", "missing scope"],
)
async def test_message_without_an_answer_ends_in_the_matching_state_without_repeat(
    bench: PostBench,
    gateway: FakeGateway,
    answer: Fails | str,
    refusal: dict[str, Any] | None,
    state: MessageState,
    code: ErrorCode | None,
    words: str,
    said: int,
) -> None:
    gateway.answer_with(lambda session, message: answer)
    if refusal is not None:
        gateway.fault(SEND, "refused", refusal)
    row = await bench.end(await bench.say())
    assert (row.state, row.answer, row.attempt) == (state, None, 1)
    assert ("consumed" in await bench.states(row), len(gateway.said(WORKERS))) == (said == 1, said)
    assert (code in (None, row.reason_code), words in (row.reason or "")) == (True, True)


async def test_message_to_an_agent_unknown_to_the_gateway_fails(
    bench: PostBench, gateway: FakeGateway
) -> None:
    del gateway.agents["worker"]
    row = await bench.end(await bench.say())
    assert (row.state, row.reason_code) == (MessageState.FAILED, ErrorCode.GATEWAY_REFUSED)
    assert row.reason == "gateway west has no agent worker any more"


async def test_answer_of_a_lead_to_a_question_is_added_to_the_board_memory(
    bench: PostBench, gateway: FakeGateway
) -> None:
    gateway.answer_with(lambda session, message: "on Tuesday")
    row = await bench.end(await bench.say("when?", to=LEAD, kind=MessageKind.QUESTION, correlation_id="c-7"))
    assert (row.state, row.answer) == (MessageState.ANSWERED, "on Tuesday")
    (item,) = await bench.store.read(board_memory.list_memory, BOARD, MemoryFilter(), limit=10)
    assert (item.content, item.reply_to, item.correlation_id) == ("on Tuesday", row.id, "c-7")
    assert (item.id, item.tags, item.source) == (
        row.memory_id,
        ("gateway_main", "lead_reply"),
        "lead_to_gateway_main",
    )


async def test_main_agent_reply_to_an_ask_user_message_is_passed_to_the_listener(
    bench: PostBench, gateway: FakeGateway
) -> None:
    gateway.answer_with(lambda session, message: "ANSWER q-1: blue")
    row = await bench.end(await bench.say("which colour?", to=LEAD, kind=MessageKind.ASK_USER))
    assert (row.state, row.answer) == (MessageState.CONSUMED, None)
    await until(lambda: (LEAD, "ANSWER q-1: blue") in bench.heard)


async def test_message_not_due_yet_waits(bench: PostBench, gateway: FakeGateway) -> None:
    row = await bench.say(not_before=bench.at + 3_600_000)
    assert (await bench.courier.settled_or(row.id, 1.0)).state is MessageState.WAITING
    assert gateway.count(SEND) == 0
    await bench.store.write(messages.make_due, row.id, bench.at)
    bench.courier.kick()
    assert (await bench.end(row)).state is MessageState.ANSWERED


async def test_message_far_back_in_the_session_history_is_found_without_resending(
    bench: PostBench, gateway: FakeGateway
) -> None:
    gateway.fault(SEND, "never")
    row = await bench.say()
    await until(lambda: len(gateway.said(WORKERS)) == 1)
    await bench.kill()
    gateway.chat._runs.clear()
    for n in range(4_000):
        gateway.rows(WORKERS).append(Row("user", "hm", key=f"other-{n}:user", at_ms=bench.at))
    bench.start()
    ended = await bench.end(row)
    assert ended.state in (MessageState.ANSWERED, MessageState.CONSUMED)
    assert (gateway.count(SEND), ended.attempt) == (1, 1)


async def test_session_history_is_not_read_beyond_the_time_of_the_message(
    bench: PostBench, gateway: FakeGateway
) -> None:
    long_ago = bench.at - DAY_MS
    rows = gateway.office.session(WORKERS).rows
    rows += [Row("user", "hm", key=f"other-{n}:user", at_ms=long_ago) for n in range(4_000)]
    gateway.answer_once(SEND, "unreadable, and it was not done")
    row = await bench.end(await bench.say())
    assert (row.sends, sum(row.content in said for said in gateway.said(WORKERS))) == (2, 1)
    offsets = {asked.params.get("offset") for asked in gateway.asked if asked.method == "chat.history"}
    assert offsets == {None}


@pytest.mark.parametrize("is_delivered", [True, False])
async def test_message_before_a_session_reset_fails_as_unknown_effect_without_resending(
    bench: PostBench, gateway: FakeGateway, *, is_delivered: bool
) -> None:
    """The session shows nothing of before: its agent may have had the message, or never gets it."""
    if is_delivered:
        gateway.fault(SEND, "never")
        row = await bench.say()
        await until(lambda: len(gateway.said(WORKERS)) == 1)
    else:
        gateway.hold(WORKERS)
        await bench.until(await bench.say("first"), MessageState.CONSUMED)
        row = await bench.until(await bench.say("second", queue_mode="followup"), MessageState.QUEUED)
    await bench.kill()
    sends = gateway.count(SEND)
    gateway.chat._runs.clear()
    gateway.chat.abort(WORKERS)
    gateway.office.session(WORKERS).reset(bench.at)
    bench.start()

    ended = await bench.end(row)

    assert (ended.state, ended.reason_code) == (MessageState.FAILED, ErrorCode.UNKNOWN_EFFECT)
    assert (gateway.count(SEND), ended.attempt) == (sends, 1)


async def test_a_message_withdrawn_at_the_gateway_has_failed(bench: PostBench, gateway: FakeGateway) -> None:
    gateway.hold(WORKERS)
    await bench.until(await bench.say("first"), MessageState.CONSUMED)
    row = await bench.until(await bench.say("second", queue_mode="followup"), MessageState.QUEUED)
    (item,) = gateway.office.session(WORKERS).pending
    item.state = "cancelled"
    ended = await bench.end(row)
    assert (ended.state, ended.reason_code) == (MessageState.FAILED, ErrorCode.CANCELLED)


def use_up(c: sa.Connection, *, back_at: int) -> None:
    """The worker may not work before *back_at*."""
    c.execute(
        sa.update(agent_states)
        .where(agent_states.c.agent_id == WORKER)
        .values(availability="exhausted", exhaust_reason="rate_limit", exhausted_at=1, recovery_at=back_at)
    )


async def test_messages_to_an_unreachable_gateway_delay_no_other_messages(
    bench: PostBench, gateway: FakeGateway
) -> None:
    nowhere = await bench.store.write(another_gateway, at=bench.at)
    for n in range(60):
        await bench.say(f"number {n}", to=LEAD, gateway_id=nowhere)
    assert (await bench.end(await bench.say("to one that is there"))).state is MessageState.ANSWERED
    assert gateway.count(SEND) == 1


def another_gateway(c: sa.Connection, *, at: int) -> GatewayId:
    """One that nobody ever hears of."""
    row = {"id": "gateway-far", "user_id": OWNER, "name": "far", "created_at": at, "updated_at": at}
    c.execute(sa.insert(gateway_table), row)
    return GatewayId("gateway-far")


async def test_courier_sends_a_limited_number_of_messages_per_gateway_at_once(
    tmp_path: Path, gateway: FakeGateway
) -> None:
    """However many are due, a gateway is asked about sixteen at a time."""
    async with open_post(tmp_path, gateway, fast=1) as bench:  # no request is given up meanwhile
        agents = [await bench.worker(n) for n in range(PER_GATEWAY + 4)]
        gateway.hold_intake()
        gateway.fault(SEND, "never", times=len(agents))
        for agent in agents:
            gateway.add_agent(agent)
            await bench.say(to=AgentId(agent))
        await until(lambda: gateway.count(SEND) >= PER_GATEWAY)
        assert gateway.count(SEND) == PER_GATEWAY


async def test_message_lost_before_the_model_is_resent_with_growing_waits(
    bench: PostBench, gateway: FakeGateway
) -> None:
    """As happens while agents are made at the gateway; the row stays in the history."""
    outcomes = [Fails(was_asked=False), Fails(was_asked=False)]
    gateway.answer_with(lambda session, message: outcomes.pop() if outcomes else "here I am")
    row = await bench.end(await bench.say())
    assert (row.state, row.answer, row.attempt) == (MessageState.ANSWERED, "here I am", 3)
    sent = [move.at for move in await bench.moves(row) if move.new_state is MessageState.SENT]
    assert sent[1] - sent[0] >= 4_500
    assert sent[2] - sent[1] >= 9_000


# --- a message whose time is over ---


async def test_message_queued_at_the_agent_past_the_deadline_fails_as_unknown_effect(
    bench: PostBench, gateway: FakeGateway
) -> None:
    """Its agent gets it, sooner or later: who were told that it expired would say it twice."""
    gateway.hold(WORKERS)
    await bench.until(await bench.say("first"), MessageState.CONSUMED)
    second = await bench.end(await bench.say("second", lasts_ms=6_000, queue_mode="followup"))
    assert "queued" in await bench.states(second)
    assert (second.state, second.reason_code) == (MessageState.FAILED, ErrorCode.UNKNOWN_EFFECT)
    assert second.reason is not None and "may get it yet" in second.reason
    gateway.release(WORKERS)


async def test_message_in_an_unreadable_session_fails_after_a_day(
    bench: PostBench, gateway: FakeGateway
) -> None:
    await bench.kill()
    row = await bench.say(lasts_ms=-2 * DAY_MS)
    sent = await bench.store.write(
        message_rows.move_message,
        row.id,
        MessageEvent.SENT,
        seen_version=row.version,
        at=bench.at,
        proof={},
        gateway_id=GATEWAY,
    )
    assert sent is not None
    refused = {"code": "INVALID_REQUEST", "message": "unsafe session"}
    gateway.fault("chat.history", "refused", refused, times=1_000)
    bench.start()
    ended = await bench.end(row)
    assert (ended.state, ended.reason_code) == (MessageState.FAILED, ErrorCode.UNKNOWN_EFFECT)


async def ticking(gateway: FakeGateway) -> None:
    """The gateway is heard of, so that no reconnection makes everything be looked at."""
    while True:
        gateway.tick()
        await anyio.sleep(0.5)


async def test_waiting_message_is_sent_when_the_quota_of_the_agent_is_back_early(
    bench: PostBench, gateway: FakeGateway
) -> None:
    bench.tasks.start_soon(ticking, gateway)
    await bench.store.write(use_up, back_at=bench.at + DAY_MS // 2)
    row = await bench.say()
    assert (await bench.courier.settled_or(row.id, 1.0)).state is MessageState.WAITING
    await bench.store.write(use_up, back_at=1)
    assert (await bench.end(row)).state is MessageState.ANSWERED


async def test_message_to_the_lead_waits_for_an_earlier_message_to_the_same_agent(
    bench: PostBench, gateway: FakeGateway
) -> None:
    gateway.hold_intake()
    first = await bench.until(await bench.say("first", to=LEAD), MessageState.ACCEPTED)
    second = await bench.say("second", to=None, to_lead=True, kind=MessageKind.HANDOFF)
    waiting = await bench.until(second, addressed=True)
    assert (waiting.state, waiting.to_agent_id) == (MessageState.WAITING, LEAD)
    gateway.release_intake()
    assert [(await bench.end(row)).state for row in (first, second)] == [MessageState.ANSWERED] * 2


async def test_a_gateway_with_unreadable_acknowledgements_is_retried_less_and_less_often(
    bench: PostBench, gateway: FakeGateway
) -> None:
    """Each try is a row of the database, and a message may be tried for a day."""
    for _ in range(50):
        gateway.answer_once("chat.send", {"ok": True, "aborted": False, "runIds": []})
    assert (await bench.courier.settled_or((await bench.say()).id, 30.0)).state is MessageState.SENT
    assert 2 < gateway.count("chat.send") < 10


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


async def test_hub_restart_without_open_questions_reads_no_main_agent_history(
    bench: PostBench, gateway: FakeGateway
) -> None:
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


async def test_earlier_answer_is_not_assigned_to_a_message_arriving_during_reading() -> None:
    """So much waits there that it takes a second look, and in the second look the message has come."""
    many = {"items": [{"state": "queued", "runId": f"x-{n}"} for n in range(20)], "total": 21}
    before = [user("k-1"), agent("somebody else's", "run-of-its-own")]
    gateway = Scripted(
        {"messages": before, "pendingInputs": many | {"nextBefore": 2}},
        {"messages": [*before, user("k-2")], "pendingInputs": {"items": [], "total": 0}},
    )
    shown, _ = await find(cast(Gateway, gateway), "s", "k-2", created_at=0, moved_at=0)
    assert shown.answer is None
