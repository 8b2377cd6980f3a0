"""The limits of the device port over real sockets: backpressure, turning away, proxies, files."""

import asyncio
import json
import socket
import zlib
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest
from websockets.exceptions import InvalidStatus

from hub.links.connection_limits import PortLimits
from hub.links.hosts import TrustedProxies
from hub.links.link_limits import LinkLimits
from hub.links.transport import DeviceSocket, UpgradeRules
from protocol.errors import CloseCode
from protocol.tool_calls import Action, ToolCall
from protocol.work import AgentRun, RunConfig
from tests.hub.links.test_listener import refused
from tests.scenarios.attackers import Plan, frame, ping, request_of
from tests.support.clock import FakeClock
from tests.support.families import each
from tests.support.wire import Port, RawDevice, calling, make_call, open_port, until

SLOW = LinkLimits(close_s=1.0, frames_per_s=200.0, bytes_per_s=1e9)


def send_raw(device: RawDevice, data: bytes) -> None:
    """Past the library, which would not send it so."""
    device.socket.transport.write(data)


def dropped(port: Port) -> float:
    return port.count("hub_frames_dropped_total", reason="unknown_call")


ANSWER = frame(1, json.dumps({"type": "tool_result", "id": "c-none", "result": 1}).encode())


def passed(clock: FakeClock, seconds: float) -> bool:
    """So much time is over."""
    clock.advance(seconds)
    return True


# --- what one device sends ---


async def test_frames_beyond_the_rate_are_delayed_and_not_lost() -> None:
    clock = FakeClock()
    async with open_port(clock, limits=SLOW) as port, port.device() as device:
        send_raw(device, ANSWER * 600)
        await until(lambda: port.count("hub_limits_reached_total", limit="frames_per_s") == 1)
        first = dropped(port)
        assert 200 <= first < 300  # what one second allows, and the rest of a part
        await until(lambda: passed(clock, 0.25) and dropped(port) == 600)
        assert port.link().epoch == 1  # it is slowed down, not sent away


def throttled_s(port: Port) -> float:
    return port.count("hub_throttled_seconds_total")


async def test_answers_to_open_calls_are_not_throttled() -> None:
    limits = LinkLimits(close_s=1.0, frames_per_s=20.0)
    async with open_port(limits=limits) as port, port.device() as device:
        for number in range(100):
            async with calling(port.link(), make_call(f"c-{number}")):
                await device.answer_call()
        assert throttled_s(port) == 0


async def test_repeated_answers_to_a_call_are_throttled_and_dropped() -> None:
    clock = FakeClock()
    answer = frame(1, json.dumps({"type": "tool_result", "id": "c-1", "result": 1}).encode())
    async with open_port(clock, limits=SLOW) as port, port.device() as device:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(port.link().call, ToolCall(id="c-1", action=Action.INSERT, table="tasks"))
            await device.hear()
            send_raw(device, answer * 300)
        await until(lambda: throttled_s(port) > 0)
        await until(lambda: passed(clock, 0.25) and dropped(port) == 299)


async def test_run_pieces_within_the_credit_are_not_throttled_but_empty_frames_are() -> None:
    limits = LinkLimits(close_s=1.0, frames_per_s=20.0, bytes_per_s=10_000.0)
    piece = {"path": "a.md", "content": "x" * 1_000}
    async with open_port(limits=limits) as port, port.device(capabilities=("agent_data.credit",)) as device:
        run = AgentRun(run_id="r-1", fence=1, agent_id="a-1", config=RunConfig(), credit=100)
        async with port.link().open_run(run) as stream:
            await device.hear()
            for _ in range(100):
                await device.say(type="agent_data", run_id="r-1", fence=1, files=[piece])
                await anext(stream)
            assert throttled_s(port) == 0
            for _ in range(30):
                await device.say(type="agent_data", run_id="r-1", fence=1, files=[])
            await until(lambda: throttled_s(port) > 0)
            device.socket.transport.abort()  # a polite end would stand behind what is not read


async def test_first_pieces_of_requested_files_are_not_throttled_but_others_are() -> None:
    limits = LinkLimits(close_s=1.0, frames_per_s=20.0, bytes_per_s=10_000.0)
    async with open_port(limits=limits) as port, port.device() as device:
        run = AgentRun(run_id="r-1", fence=1, agent_id="a-1", config=RunConfig(), credit=1)
        async with port.link().open_run(run) as stream:
            await device.hear()
            await stream.fetch([f"{number}.md" for number in range(100)], last=True)
            await device.hear()
            for number in range(100):
                piece = {"path": f"{number}.md", "content": "x" * 1_000}
                await device.say(type="agent_data", run_id="r-1", fence=1, files=[piece])
                await anext(stream)
            assert throttled_s(port) == 0
            for number in range(30):
                piece = {"path": f"more{number}.md", "content": ""}
                await device.say(type="agent_data", run_id="r-1", fence=1, files=[piece])
            await until(lambda: throttled_s(port) > 0)
            device.socket.transport.abort()  # a polite end would stand behind what is not read


async def test_pings_and_fragments_count_for_the_frame_rate() -> None:
    for flood in (ping() * 300, frame(1, b"x", fin=False) + frame(0, b"x", fin=False) * 299):
        async with open_port(limits=SLOW) as port, port.device() as device:
            send_raw(device, flood)
            await until(lambda port=port: port.count("hub_limits_reached_total", limit="frames_per_s") == 1)  # type: ignore[misc]
            device.socket.transport.abort()  # a polite end would stand behind what is not read


async def test_bytes_beyond_the_rate_are_read_later() -> None:
    clock = FakeClock()
    limits = LinkLimits(close_s=1.0, bytes_per_s=100_000.0)
    async with open_port(clock, limits=limits, ping_every_s=None) as port, port.device() as device:
        padded = {"type": "tool_result", "id": "c-none", "result": "x" * 50_000}
        send_raw(device, frame(1, json.dumps(padded).encode()) * 4)
        await until(lambda: port.count("hub_limits_reached_total", limit="bytes_per_s") == 1)
        await until(lambda: passed(clock, 0.25) and dropped(port) == 4)


async def test_throttled_device_with_a_delayed_pong_is_not_disconnected() -> None:
    """Its pong stands behind what is not read."""
    clock = FakeClock()
    async with (
        open_port(clock, limits=SLOW, ping_every_s=0.05, pong_within_s=0.2) as port,
        port.device() as device,
    ):
        send_raw(device, ANSWER * 2_000)
        await until(lambda: passed(clock, 0.005) and dropped(port) > 300)
        assert port.link().epoch == 1
        device.socket.transport.abort()  # a hub without time reads no goodbye, for ten seconds


async def test_round_trip_of_a_link_is_measured_by_the_newest_answered_ping() -> None:
    clock = FakeClock()
    async with open_port(clock, ping_every_s=1.0, pong_within_s=5.0) as port, port.device() as device:
        device.socket.transport.pause_reading()
        await clock.pass_time(1.5)  # a ping is sent, and answered later
        await clock.pass_time(1.0)
        device.socket.transport.resume_reading()
        await until(lambda: port.link().round_trip is not None)
        first = port.link().round_trip
        assert first is not None and 1 <= first.seconds < 2 and first.age_s == 0
        await clock.pass_time(1.5)
        await until(lambda: (port.link().round_trip or first).seconds < 1)


async def test_device_without_a_pong_in_time_reaches_ping_timeout_s() -> None:
    clock = FakeClock()
    waits = open_port(clock, limits=SLOW, ping_every_s=1.0, pong_within_s=0.5)
    async with waits as port, port.device() as device:
        await clock.pass_time(3.0)
        await until(lambda: port.link().round_trip is not None)
        device.socket.transport.pause_reading()
        await clock.pass_time(3.0)
        await until(lambda: port.count("hub_limits_reached_total", limit="ping_timeout_s") == 1)
        device.socket.transport.abort()


async def test_device_pinging_without_reading_is_disconnected_as_slow() -> None:
    clock = FakeClock()
    limits = LinkLimits(close_s=1.0, frames_per_s=1e6, bytes_per_s=1e9, outgoing_bytes=100_000)
    async with open_port(clock, limits=limits, ping_every_s=None) as port, port.device() as device:
        device.socket.transport.pause_reading()
        await until(lambda: _is_full(port, device))
        assert port.count("hub_outbound_queue_bytes", of="max") < 2 * 100_000
        for _ in range(50):
            await clock.pass_time(0.25)
        await until(lambda: port.count("hub_slow_consumers_total") == 1)
        device.socket.transport.abort()


def _is_full(port: Port, device: RawDevice) -> bool:
    send_raw(device, ping(b"x" * 125) * 2_000)
    return port.count("hub_limits_reached_total", limit="outgoing_bytes") > 0


async def test_compressed_message_inflating_too_much_ends_the_connection() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -10)
    packed = packer.compress(bytes(8 * 1024 * 1024)) + packer.flush(zlib.Z_SYNC_FLUSH)
    async with open_port(compression=True) as port, port.device(compression="deflate") as device:
        send_raw(device, frame(0x41, packed.removesuffix(b"\x00\x00\xff\xff")))
        assert await device.closed() == CloseCode.TOO_LARGE


async def test_welcome_contains_the_limits_of_the_device() -> None:
    limits = LinkLimits(close_s=1.0, message_bytes=400_000, pending_calls=7)
    async with open_port(limits=limits) as port, port.device() as device:
        told = device.welcome["limits"]
        assert (told["max_message_bytes"], told["max_piece_bytes"], told["max_pending_calls"]) == (
            400_000,
            100_000,
            7,
        )
        await device.socket.send("x" * 400_001)
        assert await device.closed() == CloseCode.TOO_LARGE
        await until(lambda: port.count("hub_limits_reached_total", limit="message_bytes") == 1)


# --- strangers ---


async def test_stranger_flooding_with_pings_ends_with_hello_timeout(port: Port, stranger: RawDevice) -> None:
    await stranger.hear()
    send_raw(stranger, ping() * 1_000)
    await stranger.say(type="device_hello", token=await port.pair())
    await port.clock.pass_time(11)
    assert ((await stranger.hear())["code"], await stranger.closed()) == (
        "hello_timeout",
        CloseCode.HELLO_TIMEOUT,
    )


async def test_hello_timeout_and_hello_size_follow_the_settings() -> None:
    clock = FakeClock()
    limits = LinkLimits(close_s=1.0, hello_timeout_s=2.0, hello_bytes=1_000)
    async with open_port(clock, limits=limits) as port:
        async with port.connect() as device:
            await device.hear()
            await clock.pass_time(1.5)
            assert port.count("hub_connections", role="device", state="greeting") == 1
            await clock.pass_time(1)
            assert (await device.hear())["code"] == "hello_timeout"
            assert await device.closed() == CloseCode.HELLO_TIMEOUT
        async with port.connect() as device:
            assert (await device.greet("x" * 1_200))["code"] == "too_large"
            assert await device.closed() == CloseCode.TOO_LARGE
        async with port.connect() as device:
            await device.socket.send("x" * 100_000)  # not even taken in
            assert await device.closed() == CloseCode.TOO_LARGE
        reached = [
            port.count("hub_limits_reached_total", limit=limit)
            for limit in ("hello_timeout_s", "hello_bytes")
        ]
        assert reached == [1, 1]


async def test_overlong_or_never_ending_request_is_cut_off() -> None:
    async with open_port(open_s=0.2) as port:
        with raw_socket(port) as long:
            long.sendall(b"GET /v1/device HTTP/1.1\r\n" + b"X-Padding: " + b"x" * 4_000 + b"\r\n")
            long.sendall((b"X-Padding: " + b"x" * 4_000 + b"\r\n") * 5)
            assert (await all_of(long)).startswith(b"HTTP/1.1 431 ")
        with raw_socket(port) as silent:
            silent.sendall(b"GET /v1/de")
            assert await all_of(silent) == b""
        await until(lambda: port.count("hub_connection_attempts_total", result="no_request") == 1)
        assert (
            port.count("hub_connection_attempts_total", result="too_large"),
            port.count("hub_connections", role="device", state="greeting"),
        ) == (1, 0)
        assert port.count("hub_limits_reached_total", limit="handshake_timeout_s") == 1


@contextmanager
def raw_socket(port: Port) -> Iterator[socket.socket]:
    """A connection on which nothing was said."""
    with socket.create_connection(("127.0.0.1", int(port.url.split(":")[2].partition("/")[0]))) as connection:
        yield connection


async def all_of(connection: socket.socket) -> bytes:
    """What the hub says until it hangs up."""
    connection.settimeout(5)

    def read() -> bytes:
        data = b""
        while more := connection.recv(65_536):
            data += more
        return data

    return await anyio.to_thread.run_sync(read)


# --- how many ---


async def test_a_refused_connection_gets_the_reason_and_the_time_of_the_next_try() -> None:
    async with open_port(port_limits=PortLimits(connections_per_network=1)) as port, port.device():
        status, body = await refused(port)
        assert (status, body["error"]["code"]) == (503, "too_many_connections")
        assert "127.0.0.1" in body["error"]["message"]
        assert "[limits]" in body["error"]["hint"]
    async with open_port(port_limits=PortLimits(new_at_once=1, new_per_s=0.1)) as port, port.device():
        with pytest.raises(InvalidStatus) as refusal:
            async with port.connect():
                pass
        assert (refusal.value.response.status_code, refusal.value.response.headers["Retry-After"]) == (
            429,
            "10",
        )
        assert (
            port.count("hub_connection_attempts_total", result="rate_limited"),
            port.count("hub_limits_reached_total", limit="new_connections_per_s"),
        ) == (1, 1)


async def test_connections_per_user_are_limited_and_a_takeover_is_not_counted(
    port: Port,
) -> None:
    async with AsyncExitStack() as devices:
        port.judge.connections_per_user = 2
        first, _ = [await devices.enter_async_context(port.device(name)) for name in ("one", "two")]
        async with port.connect() as third:
            error = await third.greet(await port.pair("three", "hub_dev_three"))
            assert (error["code"], error["retry_after_ms"]) == ("too_many_connections", 1_000)
            assert port.count("hub_limits_reached_total", limit="connections_per_user") == 1
            assert await third.closed() == CloseCode.OVERLOADED
        await devices.enter_async_context(port.device("one"))
        assert await first.closed() == CloseCode.REPLACED
        assert len(port.roster.connected()) == 2


async def test_connection_flood_is_answered_with_429_and_then_closed_silently() -> None:
    async with open_port(port_limits=PortLimits(new_at_once=1)) as port:
        with raw_socket(port):
            knocking = [socket.create_connection(_where(port)) for _ in range(200)]
            said = [await all_of(connection) for connection in knocking]
            assert (sum(b"429" in words for words in said), sum(words == b"" for words in said)) == (64, 136)
            for connection in knocking:
                connection.close()
            assert port.listener.sockets == 1


def _where(port: Port) -> tuple[str, int]:
    return "127.0.0.1", int(port.url.split(":")[2].partition("/")[0])


async def test_listener_pauses_near_the_open_file_limit_and_resumes(
    port: Port, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with port.device("first"):
        with monkeypatch.context() as few:
            few.setattr("hub.base.open_files.limit", lambda: 12)  # this process has more open than that
            for _ in range(5):
                with raw_socket(port) as connection:
                    assert b"too_many_connections" in await all_of(connection)
                    await until(lambda: not port.listener.is_accepting)
                await port.clock.pass_time(1.5)
            assert port.count("hub_limits_reached_total", limit="open_files") == 5
        waiting = socket.create_connection(_where(port))  # in the kernel, as it is not accepted
        await port.clock.pass_time(2)
        async with port.device("second"):
            waiting.close()
    assert caplog.text.count("listener.paused") <= 1


async def test_changed_port_limits_apply_from_the_next_connection(port: Port) -> None:
    async with port.device():
        port.listener.apply(
            limits=replace(SLOW, pending_calls=3),
            port_limits=PortLimits(connections_per_network=2),
            rules=UpgradeRules(origins=["https://app.example"]),
            ping_every_s=None,
            pong_within_s=None,
        )
        async with port.device("other", origin="https://app.example") as other:
            assert other.welcome["limits"]["max_pending_calls"] == 3
            assert (await refused(port))[0] == 503


# --- who asks, and by which name ---


@each(
    ("headers", "status", "code"),
    [
        ({"Origin": "https://evil.example"}, 403, "foreign_origin"),
        ({"Origin": "null"}, 403, "foreign_origin"),
        ({"X-Forwarded-For": "10.1.1.1"}, 400, "untrusted_proxy"),
        ({"Forwarded": "for=10.1.1.1"}, 400, "untrusted_proxy"),
        ({"X-Real-IP": "10.1.1.1"}, 400, "untrusted_proxy"),
    ],
)
async def test_a_page_of_another_origin_and_an_unlisted_proxy_are_refused(
    headers: dict[str, str], status: int, code: str
) -> None:
    async with open_port() as port:
        answer, body = await refused(port, additional_headers=headers)
        assert (answer, body["error"]["code"]) == (status, code)
        assert port.count("hub_connection_attempts_total", result=code) == 1


async def test_unlisted_host_header_is_answered_with_421() -> None:
    async with open_port(rules=UpgradeRules(hosts=["hub.example"])) as port:
        for name, status in (("evil.example", b"421"), ("hub.example", b"101"), ("localhost:1", b"101")):
            with raw_socket(port) as connection:
                connection.sendall(request_of(Plan(seconds=0, sockets=1, headers={"Host": name}), None))
                assert (await anyio.to_thread.run_sync(connection.recv, 4_096)).split(b" ")[1] == status


async def test_challenge_leaves_in_one_write_with_the_answer_to_the_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect = DeviceSocket.connection_made
    writes: list[bytes] = []

    def connection_made(self: DeviceSocket, transport: asyncio.BaseTransport) -> None:
        connect(self, transport)
        write = self.transport.write

        def record(data: bytes) -> None:
            writes.append(data)
            write(data)

        monkeypatch.setattr(self.transport, "write", record)

    monkeypatch.setattr(DeviceSocket, "connection_made", connection_made)
    async with open_port() as port, port.device():
        pass
    answer, _, frames = writes[0].partition(b"\r\n\r\n")
    assert (answer.split(b" ")[1], b'"challenge"' in frames) == (b"101", True)


async def test_connections_behind_a_trusted_proxy_are_counted_by_client_address() -> None:
    rules = UpgradeRules(proxies=TrustedProxies(["127.0.0.0/8"]))
    limits = PortLimits(connections_per_network=1)
    async with open_port(rules=rules, port_limits=limits) as port, AsyncExitStack() as devices:
        for number in range(3):
            client = {"X-Forwarded-For": f"203.0.113.{number}"}
            await devices.enter_async_context(port.device(f"d{number}", additional_headers=client))
        status, body = await refused(port, additional_headers={"X-Forwarded-For": "203.0.113.1"})
        assert (status, body["error"]["code"]) == (503, "too_many_connections")
        assert "203.0.113.1" in body["error"]["message"]


async def test_new_connection_replaces_the_longest_waiting_stranger() -> None:
    async with open_port(port_limits=PortLimits(strangers_per_network=2)) as port:
        with raw_socket(port) as silent:
            async with port.connect() as first, port.device("one"):
                assert b" 503 " in await all_of(silent)
                assert (await first.hear())["type"] == "challenge"
                async with port.connect() as second, port.device("two"):
                    assert ((await first.hear())["code"], await first.closed()) == (
                        "overloaded",
                        CloseCode.OVERLOADED,
                    )
                    assert (await second.hear())["type"] == "challenge"
                    assert len(port.roster.connected()) == 2


async def test_ipv4_mapped_and_plain_addresses_are_the_same_network() -> None:
    limits = PortLimits(connections_per_network=1)
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as sock:
        async with open_port(sock=sock, port_limits=limits) as port:
            number = sock.getsockname()[1]
            with socket.create_connection(("127.0.0.1", number)) as first:  # seen as ::ffff:127.0.0.1
                first.sendall(b"GET ")
                await until(lambda: port.count("hub_connections", role="device", state="greeting") == 1)
                with socket.create_connection(("127.0.0.1", number)):
                    assert b"connections of 127.0.0.1 are open" in await all_of(first)
