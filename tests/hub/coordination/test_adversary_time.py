"""A message whose time is over: what its agent may get yet is not called expired; nothing waits for ever."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa

from protocol.coordination import MessageEvent, MessageKind, MessageState
from protocol.errors import ErrorCode
from storage.coordination import message_rows
from storage.schema import agent_states
from tests.hub.coordination.post import DAY_MS, GATEWAY, LEAD, WORKER, WORKERS, PostBench, open_post
from tests.support.gateway import FakeGateway, fake_gateway


@pytest.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    async with fake_gateway("west") as opened:
        yield opened


@pytest.fixture
async def bench(gateway: FakeGateway, tmp_path: Path) -> AsyncIterator[PostBench]:
    async with open_post(tmp_path, gateway) as opened:
        yield opened


async def test_what_waits_at_its_agent_when_its_time_is_over_is_not_called_expired(
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


async def test_a_session_that_its_gateway_never_shows_again_holds_up_its_agent_for_a_day_and_no_longer(
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


async def test_an_agent_that_is_well_again_before_its_quota_was_to_be_back_gets_what_waits_for_it(
    bench: PostBench, gateway: FakeGateway
) -> None:
    bench.tasks.start_soon(ticking, gateway)
    await bench.store.write(use_up, back_at=bench.at + DAY_MS // 2)
    row = await bench.say()
    assert (await bench.courier.settled_or(row.id, 1.0)).state is MessageState.WAITING
    await bench.store.write(use_up, back_at=1)
    assert (await bench.end(row)).state is MessageState.ANSWERED


def use_up(c: sa.Connection, *, back_at: int) -> None:
    """The worker may not work before *back_at*."""
    c.execute(
        sa.update(agent_states)
        .where(agent_states.c.agent_id == WORKER)
        .values(availability="exhausted", exhaust_reason="rate_limit", exhausted_at=1, recovery_at=back_at)
    )


async def test_what_is_for_the_lead_of_a_board_comes_after_what_was_said_to_that_agent_before(
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
    row = await bench.say()
    assert (await bench.courier.settled_or(row.id, 30.0)).state is MessageState.SENT
    assert 2 < gateway.count("chat.send") < 10
