"""Several calls in one frame: a transport of single calls, each with its own id and answer."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from hub.links.link_limits import LinkLimits
from protocol.errors import CallTimedOut, CloseCode, DeliveryError, LinkLost, TooManyCalls
from protocol.frame import MAX_BATCH_CALLS, MAX_RESULT_BYTES
from protocol.tool_calls import Answer
from tests.hub.links.test_limits import throttled_s
from tests.support.wire import Port, RawDevice, make_call, open_port, until

BATCHES = ("tool_calls",)
IDS = ("c-1", "c-2", "c-3")


def result(call_id: str) -> dict[str, Any]:
    return {"id": call_id, "result": {"row": call_id}}


def answer(call_id: str) -> Answer:
    return Answer(result={"row": call_id})


@asynccontextmanager
async def asking(port: Port, *ids: str, wait_ms: int = 30_000) -> AsyncIterator[list[Answer | DeliveryError]]:
    """Make calls of these ids in one frame in the block; the list gets how each of them ended."""
    outcomes: list[Answer | DeliveryError] = []

    async def ask() -> None:
        outcomes.extend(await port.link().call_many([make_call(id, deadline_ms=wait_ms) for id in ids]))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        yield outcomes


@pytest.fixture
async def device(port: Port) -> AsyncIterator[RawDevice]:
    """A device that knows batches."""
    async with port.device(capabilities=BATCHES) as opened:
        yield opened


async def test_batch_calls_are_sent_in_a_single_frame_and_answered_separately(
    port: Port, device: RawDevice
) -> None:
    async with asking(port, *IDS) as outcomes:
        frame = await device.hear()
        await device.say(type="tool_results", results=[result("c-3"), result("c-1")])
        await device.say(type="tool_result", **result("c-2"))
    assert (frame["type"], [call["id"] for call in frame["calls"]]) == ("tool_calls", [*IDS])
    assert outcomes == [answer(id) for id in IDS]
    assert port.count("hub_call_duration_seconds_count", action="insert", outcome="answered") == 3


async def test_device_without_batch_capability_gets_each_call_in_a_separate_frame(port: Port) -> None:
    async with port.device() as device:
        async with asking(port, *IDS) as outcomes:
            for _ in IDS:
                await device.answer_call()
        assert outcomes == [Answer(result={"ok": True})] * 3


async def test_refused_or_late_call_does_not_affect_others_of_the_batch(
    port: Port, device: RawDevice
) -> None:
    async with asking(port, *IDS, wait_ms=2_000) as outcomes:
        await device.hear()
        await device.say(type="tool_results", results=[result("c-1"), {"id": "c-3", "error": "no"}])
        await until(lambda: port.count("hub_frames_total", direction="in", type="tool_results") == 1)
        await port.clock.pass_time(2.5)
    taken, late, refused = outcomes
    assert taken == answer("c-1")
    assert isinstance(late, CallTimedOut)
    assert isinstance(refused, Answer) and refused.error is not None
    await device.say(type="tool_results", results=[result("c-2")])
    await until(lambda: port.count("hub_frames_dropped_total", reason="unknown_call") == 1)


async def test_deadline_of_the_other_calls_begins_anew_with_each_answer(
    port: Port, device: RawDevice
) -> None:
    async with asking(port, *IDS, wait_ms=2_000) as outcomes:
        await device.hear()
        for number, id in enumerate(IDS[:2], 1):
            await port.clock.pass_time(1.5)
            assert port.link().answered_at < port.clock.monotonic()
            await device.say(type="tool_result", **result(id))
            await until(lambda: port.count("hub_frames_total", direction="in", type="tool_result") == number)  # noqa: B023
        assert port.link().answered_at == port.clock.monotonic()
        await port.clock.pass_time(2.5)
    assert outcomes[:2] == [answer(id) for id in IDS[:2]]
    assert isinstance(outcomes[2], CallTimedOut)


async def test_answers_received_before_the_connection_ended_are_returned(
    port: Port, device: RawDevice
) -> None:
    async with asking(port, *IDS) as outcomes:
        await device.hear()
        await device.say(type="tool_results", results=[result("c-2")])
        await until(lambda: port.count("hub_frames_total", direction="in", type="tool_results") == 1)
        device.socket.transport.abort()
    lost, taken, lost_too = outcomes
    assert taken == answer("c-2")
    assert isinstance(lost, LinkLost) and isinstance(lost_too, LinkLost)


async def test_batch_above_the_pending_calls_limit_is_not_sent() -> None:
    limits = LinkLimits(pending_calls=2)
    async with open_port(limits=limits) as port, port.device(capabilities=BATCHES):
        with pytest.raises(TooManyCalls):
            await port.link().call_many([make_call(id) for id in IDS])
        assert port.count("hub_limits_reached_total", limit="pending_calls") == 1


async def test_batched_answers_without_an_open_call_are_throttled() -> None:
    limits = LinkLimits(close_s=1.0, frames_per_s=20.0)
    async with open_port(limits=limits) as port, port.device(capabilities=BATCHES) as device:
        for number in range(60):
            async with asking(port, f"c-{number}"):
                await device.hear()
                await device.say(type="tool_results", results=[result(f"c-{number}")])
        assert throttled_s(port) == 0
        for _ in range(60):
            await device.say(type="tool_results", results=[result("c-1"), result("c-2")])
        await until(lambda: throttled_s(port) > 0)
        device.socket.transport.abort()


_LONG = json.dumps([{"id": "c-1", "result": "x" * MAX_RESULT_BYTES}])
_MANY = json.dumps([{"id": f"c-{number}"} for number in range(MAX_BATCH_CALLS + 1)])


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ("[]", "bad_frame"),
        (_MANY, "bad_frame"),
        ('[{"id":"c-1"},5]', "bad_frame"),
        ('[{"id":"c-1"},{"result":1}]', "bad_frame"),
        ('[{"id":"c-1"},{"id":"c-2","call_id":"c-3"}]', "bad_frame"),
        (_LONG, "too_large"),
    ],
    ids=["none", "many", "no object", "no id", "two ids", "long"],
)
async def test_malformed_batch_of_results_ends_the_connection(
    port: Port, device: RawDevice, results: str, code: str
) -> None:
    async with asking(port, "c-1") as outcomes:
        await device.hear()
        await device.socket.send('{"type":"tool_results","results":' + results + "}")
        error = await device.hear()
    assert (error["type"], error["code"]) == ("error", code)
    assert await device.closed() == CloseCode.BAD_FRAME
    assert isinstance(outcomes[0], LinkLost)
