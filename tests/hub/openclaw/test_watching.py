"""A connection is given up when it is not what it seems; nothing that grows on it is without a bound."""

import tracemalloc
from pathlib import Path

import anyio
import anyio.lowlevel

from hub.openclaw import GatewayError, GatewayNews, GatewayUnreachable
from hub.openclaw.gateway_connection import MAX_UNSENT_BYTES
from hub.openclaw.methods import chat_send
from tests.support.clock import FakeClock
from tests.support.gateway import FakeGateway, fake_gateway
from tests.support.gateway.visit import Calls, Visit, failed, visiting
from tests.support.wire import until

MAIN = "agent:main:main"


async def test_gap_in_gateway_events_forces_a_reconnection(gateway: FakeGateway, visit: Visit) -> None:
    gateway.emit("agent", 1)
    gateway.emit("agent", 2)
    gateway.emit("chat", 4, lost=1)
    await visit.is_in("waiting")
    assert (visit.events, visit.problem) == (["agent", "agent"], "events_lost")
    await visit.back_within(1)
    assert (visit.reconnected, visit.counted("hub_gateway_event_gaps_total")) == ([False, False], 1)
    gateway.emit("agent", 5)
    await until(lambda: visit.events == ["agent", "agent", "agent"])


async def test_gateway_events_without_a_sequence_number_are_delivered(
    gateway: FakeGateway, visit: Visit
) -> None:
    gateway.emit("agent", 1)
    gateway.say_raw('{"type":"event","event":"health","payload":{}}')
    gateway.emit("agent", 2)
    await until(lambda: visit.events == ["agent", "health", "agent"])


async def test_connection_to_a_gateway_silent_for_two_ticks_is_closed(tmp_path: Path) -> None:
    calls = Calls()
    async with (
        fake_gateway() as gateway,
        visiting(gateway, tmp_path) as visit,
        anyio.create_task_group() as tasks,
    ):
        gateway.answers = False
        tasks.start_soon(calls.make, lambda: visit.client.call("health", timeout_s=300))
        await until(lambda: gateway.count("health") == 1)
        await visit.time_goes_by(59, step_s=10)
        assert (visit.state, calls.ended) == ("ready", [])
        await visit.time_goes_by(1)
        await visit.is_in("waiting")
        assert (visit.problem, [error.dispatched for error in calls.errors]) == ("silent", [True])
        await visit.back_within(1)


async def test_connection_to_a_ticking_gateway_remains_open(tmp_path: Path) -> None:
    clock = FakeClock()
    async with (
        fake_gateway(clock=clock) as gateway,
        visiting(gateway, tmp_path, clock=clock) as visit,
    ):
        await visit.time_goes_by(900, step_s=15)
        assert (visit.states, len(gateway.knocks)) == (["connecting", "ready"], 1)


async def test_never_reading_gateway_is_disconnected_with_bounded_memory(
    tmp_path: Path, gateway: FakeGateway
) -> None:
    text = "x" * 1_000_000
    calls = Calls()
    gateway.reads = False
    async with visiting(gateway, tmp_path) as visit, anyio.create_task_group() as tasks:
        tracemalloc.start()
        try:
            for number in range(60):
                key = f"k{number}"
                tasks.start_soon(calls.make, lambda key=key: chat_send(visit.client, MAIN, text, key=key))
                gateway.tick()  # it talks all the same
                await anyio.lowlevel.checkpoint()
            await until(lambda: len(calls.ended) >= 40)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        refused = calls.errors
        assert {(error.reason, error.dispatched) for error in refused} == {("slow", False)}
        assert peak < 3 * MAX_UNSENT_BYTES  # masking makes a copy of each frame
        assert visit.counted("hub_limits_reached_total", limit="gateway_unsent_bytes") == len(refused)
        for _ in range(6):
            gateway.tick()
            await visit.time_goes_by(10, step_s=5)
        await until(lambda: visit.problem == "silent")
        await until(lambda: len(calls.ended) == 60)
        left = [error for error in calls.errors if error.dispatched]
        assert left and all(isinstance(error, GatewayUnreachable | GatewayError) for error in left)


async def test_unanswered_gateway_calls_leak_no_memory(tmp_path: Path) -> None:
    async with (
        fake_gateway() as gateway,
        visiting(gateway, tmp_path) as visit,
        anyio.create_task_group() as tasks,
    ):
        gateway.answers = False

        async def round_of_calls() -> None:
            calls = Calls()
            for _ in range(50):
                tasks.start_soon(calls.make, lambda: visit.client.call("health", {"probe": True}))
            await anyio.sleep(0.01)
            gateway.tick()
            await visit.time_goes_by(30, step_s=10)
            await until(lambda: len(calls.ended) == 50)
            gateway.asked.clear()

        tracemalloc.start()
        try:
            await round_of_calls()
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(3):
                await round_of_calls()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < 100_000


def fails(news: GatewayNews) -> None:
    raise RuntimeError("a fault of the listener's own")


async def test_an_error_of_a_listener_affects_no_other(gateway: FakeGateway, visit: Visit) -> None:
    end = visit.client.listen(fails)
    gateway.emit("agent", 1)
    await until(lambda: visit.events == ["agent"])
    end()
    end()
    assert await visit.client.call("health") == {"ok": True}
    assert (await failed(visit.client.call("nonsense"))).reason == "MISSING_SCOPE"
