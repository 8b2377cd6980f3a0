"""Several calls in one frame: a transport of single calls, each with its own id and answer."""

import json
from typing import Any

import anyio
import pytest

from hub.links.gate import LinkLimits
from hub.links.roster import DeviceLink
from protocol.errors import CallTimedOut, CloseCode, DeliveryError, LinkLost, TooManyCalls
from protocol.frame import MAX_BATCH_CALLS, MAX_RESULT_BYTES
from protocol.work import Answer
from tests.support.clock import FakeClock
from tests.support.families import each
from tests.support.wire import Port, make_call, open_port, until

BATCHES = ("tool_calls",)
IDS = ("c-1", "c-2", "c-3")


def result(call_id: str) -> dict[str, Any]:
    return {"id": call_id, "result": {"row": call_id}}


def answer(call_id: str) -> Answer:
    return Answer(result={"row": call_id})


async def ask(
    link: DeviceLink, outcomes: list[Answer | DeliveryError], *ids: str, wait_ms: int = 30_000
) -> None:
    outcomes += await link.call_many([make_call(id, deadline_ms=wait_ms) for id in ids])


async def test_calls_go_together_and_are_answered_together() -> None:
    outcomes: list[Answer | DeliveryError] = []
    async with open_port() as port, port.device(capabilities=BATCHES) as device:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, port.link(), outcomes, *IDS)
            frame = await device.hear()
            await device.say(type="tool_results", results=[result("c-3"), result("c-1")])
            await device.say(type="tool_result", **result("c-2"))
        assert frame["type"] == "tool_calls"
        assert [call["id"] for call in frame["calls"]] == [*IDS]
        assert outcomes == [answer(id) for id in IDS]
        assert port.count("hub_call_duration_seconds_count", action="insert", outcome="answered") == 3


async def test_a_device_that_does_not_know_it_gets_each_call_in_a_frame_of_its_own() -> None:
    outcomes: list[Answer | DeliveryError] = []
    async with open_port() as port, port.device() as device:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, port.link(), outcomes, *IDS)
            for _ in IDS:
                await device.answer_call()
        assert outcomes == [Answer(result={"ok": True})] * 3


async def test_a_call_of_a_batch_that_is_refused_or_not_answered_leaves_the_others_as_they_are() -> None:
    clock = FakeClock()
    outcomes: list[Answer | DeliveryError] = []
    async with open_port(clock) as port, port.device(capabilities=BATCHES) as device:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: ask(port.link(), outcomes, *IDS, wait_ms=2_000))
            await device.hear()
            await device.say(type="tool_results", results=[result("c-1"), {"id": "c-3", "error": "no"}])
            await until(lambda: port.count("hub_frames_total", direction="in", type="tool_results") == 1)
            await clock.pass_time(2.5)
        taken, late, refused = outcomes
        assert taken == answer("c-1")
        assert isinstance(late, CallTimedOut)
        assert isinstance(refused, Answer) and refused.error is not None
        await device.say(type="tool_results", results=[result("c-2")])
        await until(lambda: port.count("hub_frames_dropped_total", reason="unknown_call") == 1)


async def test_answers_that_came_before_the_end_of_the_connection_count() -> None:
    outcomes: list[Answer | DeliveryError] = []
    async with open_port() as port, port.device(capabilities=BATCHES) as device:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, port.link(), outcomes, *IDS)
            await device.hear()
            await device.say(type="tool_results", results=[result("c-2")])
            await until(lambda: port.count("hub_frames_total", direction="in", type="tool_results") == 1)
            device.socket.transport.abort()
        lost, taken, lost_too = outcomes
        assert taken == answer("c-2")
        assert isinstance(lost, LinkLost) and isinstance(lost_too, LinkLost)


async def test_a_batch_with_more_calls_than_may_be_open_is_not_sent() -> None:
    limits = LinkLimits(pending_calls=2)
    async with open_port(limits=limits) as port, port.device(capabilities=BATCHES):
        with pytest.raises(TooManyCalls):
            await ask(port.link(), [], *IDS)
        assert port.count("hub_limits_reached_total", limit="pending_calls") == 1


async def test_of_answers_in_batches_only_those_to_open_calls_were_asked_for() -> None:
    clock = FakeClock()
    limits = LinkLimits(close_s=1.0, frames_per_s=20.0)
    async with open_port(clock, limits=limits) as port, port.device(capabilities=BATCHES) as device:
        for number in range(60):
            outcomes: list[Answer | DeliveryError] = []
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask, port.link(), outcomes, f"c-{number}")
                await device.hear()
                await device.say(type="tool_results", results=[result(f"c-{number}")])
        assert throttled_s(port) == 0
        for _ in range(60):
            await device.say(type="tool_results", results=[result("c-1"), result("c-2")])
        await until(lambda: throttled_s(port) > 0)
        device.socket.transport.abort()


def throttled_s(port: Port) -> float:
    return port.count("hub_throttled_seconds_total")


_LONG = json.dumps([{"id": "c-1", "result": "x" * MAX_RESULT_BYTES}])
_MANY = json.dumps([{"id": f"c-{number}"} for number in range(MAX_BATCH_CALLS + 1)])


@each(
    ("results", "code"),
    [
        ("[]", "bad_frame"),
        (_MANY, "bad_frame"),
        ('[{"id":"c-1"},5]', "bad_frame"),
        ('[{"id":"c-1"},{"result":1}]', "bad_frame"),
        ('[{"id":"c-1"},{"id":"c-2","call_id":"c-3"}]', "bad_frame"),
        (_LONG, "too_large"),
    ],
)
async def test_a_malformed_batch_ends_the_connection_and_answers_nothing(results: str, code: str) -> None:
    outcomes: list[Answer | DeliveryError] = []
    async with open_port() as port, port.device(capabilities=BATCHES) as device:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, port.link(), outcomes, "c-1")
            await device.hear()
            await device.socket.send('{"type":"tool_results","results":' + results + "}")
            error = await device.hear()
        assert (error["type"], error["code"]) == ("error", code)
        assert await device.closed() == CloseCode.BAD_FRAME
        assert isinstance(outcomes[0], LinkLost)
