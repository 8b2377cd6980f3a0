"""Hints and requests between hub processes over a real NATS server."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from hub.base.clock import SystemClock
from hub.cluster.bus import MAX_BYTES, Bus, Member, reach_server
from hub.cluster.messages import (
    RENEWALS,
    BusReply,
    BusRequest,
    Hint,
    NodeRenewed,
    NodeUnreachable,
    RunChanged,
)
from protocol.ids import BootId, RunId
from tests.support.clock import FakeClock, SeededChance
from tests.support.lines import open_line
from tests.support.nats import Nats, running_nats
from tests.support.services import running
from tests.support.wire import until

EAST, WEST = BootId("east"), BootId("west")
SECRET = b"s" * 32
ASKED = BusRequest(method="GET", path="/v1/status", query="", body=b"", principal={"actor": "operator:0"})
WITHIN_S = 10.0


class Member_:
    """A bus, and what it received."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.hints: list[Hint] = []
        self.requests: list[BusRequest] = []
        self.body = b"hello"
        bus.on_hint = self.hints.append
        bus.on_request = self._answer

    async def _answer(self, request: BusRequest) -> BusReply:
        self.requests.append(request)
        return BusReply(status=200, headers={}, body=self.body)


@asynccontextmanager
async def on_bus(
    url: str, boot: BootId, *, secret: bytes = SECRET, clock: FakeClock | None = None
) -> AsyncIterator[Member_]:
    """Run the bus of a process, and wait until it is connected."""
    chance = SeededChance(len(boot) + boot.encode()[0])
    bus = Bus(url, Member("hub-1", boot, secret), clock=clock or SystemClock(), chance=chance)
    async with running(bus):
        await until(lambda: bus.lost_since is None)
        yield Member_(bus)


async def test_bus_request_to_another_process_returns_the_answer(nats: Nats) -> None:
    async with on_bus(nats.url, EAST) as east, on_bus(nats.url, WEST) as west:
        reply = await east.bus.ask(WEST, ASKED, within_s=WITHIN_S)
        assert (reply.body, west.requests, east.requests) == (b"hello", [ASKED], [])


async def test_bus_hint_reaches_all_other_processes_or_the_addressed_process(nats: Nats) -> None:
    first, second, third = (RunChanged(RunId(id)) for id in ("r-1", "r-2", "r-3"))
    last = NodeRenewed(EAST, 12.0, 3, "ws://east")
    async with (
        on_bus(nats.url, EAST) as east,
        on_bus(nats.url, WEST) as west,
        on_bus(nats.url, BootId("n")) as north,
    ):
        east.bus.hint(first)
        east.bus.hint(second, WEST)
        east.bus.hint(third)
        east.bus.hint(last, RENEWALS)
        await until(lambda: last in north.hints and len(west.hints) == 4)
        assert (set(west.hints), north.hints, east.hints) == (
            {first, second, third, last},
            [first, third, last],
            [],
        )


async def test_bus_request_to_a_disconnected_process_is_refused_at_once(nats: Nats) -> None:
    async with on_bus(nats.url, EAST) as east:
        with pytest.raises(NodeUnreachable, match="not connected to the bus"):
            await east.bus.ask(WEST, ASKED, within_s=WITHIN_S)


async def test_bus_withholding_messages_is_named_by_a_check_and_by_a_request(nats: Nats) -> None:
    async with open_line(nats.port) as line, on_bus(f"nats://127.0.0.1:{line.port}", EAST) as east:
        await east.bus.check()
        assert (east.bus.lost_since, east.bus.problem) == (None, "")
        await line.change("held")
        with anyio.fail_after(WITHIN_S), pytest.raises(NodeUnreachable, match=r"bus .* is away.*within 2 s"):
            await east.bus.ask(WEST, ASKED, within_s=10 * WITHIN_S)
        assert east.bus.lost_since is not None and "no answer" in east.bus.problem
        await line.change("open")
        await until(lambda: east.bus.lost_since is None)
        assert east.bus.problem == ""


async def test_bus_is_kept_if_the_process_itself_was_late_for_the_answer_to_a_check(
    nats: Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.cluster.bus.REACH_S", 0.2)
    monkeypatch.setattr("hub.cluster.bus.LAG_S", 0.1)
    async with open_line(nats.port) as line, on_bus(f"nats://127.0.0.1:{line.port}", EAST) as east:
        asyncio.get_running_loop().call_soon(time.sleep, 0.5)  # noqa: TID251 - the line is late as well
        await east.bus.check()
        assert east.bus.lost_since is None


async def test_bus_request_without_an_answer_is_refused_after_the_time_limit(nats: Nats) -> None:
    async with on_bus(nats.url, EAST) as east, on_bus(nats.url, WEST) as west:
        west.bus.on_request = lambda _: anyio.sleep_forever()  # type: ignore[assignment,return-value]
        with pytest.raises(NodeUnreachable, match="did not answer within"):
            await east.bus.ask(WEST, ASKED, within_s=0.05)


async def test_bus_answer_above_the_size_limit_is_an_error_of_the_request(nats: Nats) -> None:
    async with on_bus(nats.url, EAST) as east, on_bus(nats.url, WEST) as west:
        west.body = b"x" * MAX_BYTES
        assert (await east.bus.ask(WEST, ASKED, within_s=WITHIN_S)).status == 507


async def test_bus_messages_without_the_database_secret_are_refused(nats: Nats) -> None:
    async with on_bus(nats.url, EAST, secret=b"other") as stranger, on_bus(nats.url, WEST) as west:
        stranger.bus.hint(RunChanged(RunId("r-1")))
        with pytest.raises(NodeUnreachable):
            await stranger.bus.ask(WEST, ASKED, within_s=0.2)
        await until(lambda: west.bus.refused == 2)
        assert (west.hints, west.requests) == ([], [])


async def test_bus_message_replayed_to_another_process_is_refused(
    nats: Nats,
) -> None:
    async with (
        on_bus(nats.url, EAST) as east,
        on_bus(nats.url, WEST) as west,
        on_bus(nats.url, BootId("n")) as north,
    ):
        client = Client()
        await client.connect([nats.url])
        caught = await client.subscribe("hub.hub-1.west")
        await reach_server(client)
        east.bus.hint(RunChanged(RunId("r-1")), WEST)
        message = await caught.next_msg(timeout=WITHIN_S)
        await until(lambda: bool(west.hints))
        await client.publish("hub.hub-1.n", message.data)
        await until(lambda: north.bus.refused == 1)
        await client.close()
        assert north.hints == []


@pytest.mark.slow
async def test_lost_bus_refuses_requests_and_reconnects_by_itself() -> None:
    clock = FakeClock()
    with running_nats() as server:
        async with on_bus(server.url, EAST, clock=clock) as east, on_bus(server.url, WEST, clock=clock):
            server.stop()
            await until(lambda: east.bus.lost_since is not None)
            east.bus.hint(RunChanged(RunId("r-1")))
            with pytest.raises(NodeUnreachable, match="bus between the nodes is away"):
                await east.bus.ask(WEST, ASKED, within_s=WITHIN_S)
            server.start()
            with anyio.fail_after(30):
                while True:
                    clock.advance(2)
                    await anyio.sleep(0.01)
                    try:
                        assert (await east.bus.ask(WEST, ASKED, within_s=1)).status == 200
                        break
                    except NodeUnreachable:
                        continue


@pytest.mark.slow
async def test_bus_password_of_the_address_is_used_and_a_wrong_password_refused() -> None:
    with running_nats("--user", "hub", "--pass", "horse") as server:
        right = server.url.replace("//", "//hub:horse@")
        async with on_bus(right, EAST):
            clock = FakeClock()
            address, member = right.replace("horse", "donkey"), Member("hub-1", WEST, SECRET)
            bus = Bus(address, member, clock=clock, chance=SeededChance())

            def is_refused() -> bool:
                clock.advance(1.0)  # the end of a connection may be noticed before its reason
                return "authorization violation" in bus.problem.lower()

            async with running(bus):
                await until(is_refused)
            assert bus.lost_since is not None
            assert "donkey" not in bus.problem


async def test_request_replayed_by_another_process_is_not_answered_again(nats: Nats) -> None:
    client = Client()
    await client.connect(nats.url)
    seen: list[bytes] = []

    async def note(message: Msg) -> None:
        seen.append(message.data)

    try:
        await client.subscribe("hub.hub-1.west", cb=note)
        await reach_server(client)
        async with on_bus(nats.url, EAST) as east, on_bus(nats.url, WEST) as west:
            await east.bus.ask(WEST, ASKED, within_s=WITHIN_S)
            await until(lambda: bool(seen))
            await client.publish("hub.hub-1.west", seen[0], reply="somebody")
            await until(lambda: west.bus.refused == 1)
            assert west.requests == [ASKED]
    finally:
        await client.close()
