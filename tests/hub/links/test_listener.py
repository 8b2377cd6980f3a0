"""The way in: what happens before a device is welcomed, and how the port closes."""

import gc
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from hub.links.auth import Admission, Authenticator, Knock
from hub.links.listener import RESTARTING
from protocol.codec import MSGPACK
from protocol.errors import CloseCode, DeviceSlow
from protocol.handshake import Challenge, DeviceHello, Goodbye, Welcome
from protocol.work import AgentCancel
from storage.kernel.database import Busy
from storage.store import Store
from tests.support.clock import SeededChance
from tests.support.families import each
from tests.support.wire import Port, RawDevice, call_answered_by, make_call, open_port, until


async def refused(
    port: Port, url: str | None = None, **options: object
) -> tuple[int, dict[str, dict[str, str]]]:
    """Status and body of a request that does not become a WebSocket."""
    with pytest.raises(InvalidStatus) as refusal:
        async with connect(url or port.url, **options):  # type: ignore[arg-type]
            pass
    response = refusal.value.response
    body = json.loads(response.body) if response.headers.get("Content-Type") == "application/json" else {}
    return response.status_code, body


async def test_welcome_names_the_device_of_the_token(port: Port, stranger: RawDevice) -> None:
    token = await port.pair("laptop")
    welcome = await stranger.greet(token, device_id="my own label", client={"name": "c", "platform": "linux"})
    assert (welcome["type"], welcome["device_id"], welcome["user_id"], welcome["epoch"]) == (
        "welcome",
        "laptop",
        "anna",
        1,
    )
    assert port.link("laptop").epoch == 1


async def test_accepted_connection_has_tcp_nodelay(port: Port) -> None:
    async with port.connect():
        number = urlsplit(port.url).port
        accepted = [
            connection
            for connection in gc.get_objects()
            if type(connection) is socket.socket
            and connection.fileno() >= 0
            and connection.family == socket.AF_INET
            and connection.getsockname()[1] == number
            and not connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        ]
        assert [one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for one in accepted] == [1]


async def test_a_token_may_come_in_the_authorization_header(port: Port) -> None:
    token = await port.pair("laptop")
    async with port.connect(additional_headers={"Authorization": f"Bearer {token}"}) as device:
        assert (await device.greet(None))["type"] == "welcome"


async def test_frame_sent_directly_after_the_hello_is_handled_after_the_welcome(
    port: Port, stranger: RawDevice
) -> None:
    token = await port.pair()
    await stranger.say(type="device_hello", token=token)
    await stranger.say(type="request", id="q-1", method="agents.list")
    assert [(await stranger.hear())["type"] for _ in range(2)] == ["challenge", "welcome"]
    await until(lambda: len(port.events) == 2)


async def test_a_device_may_speak_messagepack(port: Port) -> None:
    async with port.connect(subprotocols=["hub.v1.msgpack"]) as device:
        assert device.socket.subprotocol == "hub.v1.msgpack"
        assert isinstance(MSGPACK.decode_from_hub(await device.socket.recv(decode=False)), Challenge)
        await device.socket.send(MSGPACK.encode(DeviceHello(token=await port.pair())))
        assert isinstance(MSGPACK.decode_from_hub(await device.socket.recv(decode=False)), Welcome)


async def test_subprotocol_is_the_first_offered_subprotocol_known_to_the_hub(port: Port) -> None:
    async with port.connect(subprotocols=["hub.v9.xml", "hub.v1.json", "hub.v1.msgpack"]) as device:
        assert device.socket.subprotocol == "hub.v1.json"
    async with port.connect() as device:
        assert device.socket.subprotocol is None
        assert (await device.greet(await port.pair()))["type"] == "welcome"


async def test_compression_is_negotiated_only_if_enabled() -> None:
    async with open_port() as port, port.connect(compression="deflate") as device:
        assert "Sec-WebSocket-Extensions" not in device.socket.response.headers  # type: ignore[union-attr]
    async with open_port(compression=True) as port, port.device(compression="deflate") as device:
        agreed = device.socket.response.headers["Sec-WebSocket-Extensions"]  # type: ignore[union-attr]
        assert "server_no_context_takeover" in agreed
        assert "client_no_context_takeover" in agreed
        assert "server_max_window_bits=10" in agreed and "client_max_window_bits=10" in agreed
        assert (await call_answered_by(device, port.link())).result == {"ok": True}


async def test_devices_of_a_cut_off_node_are_sent_to_others_and_refused_until_the_node_is_back(
    port: Port,
) -> None:
    is_cut_off = False
    port.roster.is_cut_off = lambda: is_cut_off
    async with AsyncExitStack() as opened:
        devices = [await opened.enter_async_context(port.device(name)) for name in ("laptop", "phone")]
        stranger = await opened.enter_async_context(port.connect())
        await stranger.hear()
        is_cut_off = True
        port.listener.send_away([(7, "ws://far.example"), (0, "ws://near.example")])
        goodbyes = [await device.hear() for device in (*devices, stranger)]
        assert {(one["type"], one["reason"], one["to"]) for one in goodbyes} == {
            ("goodbye", "cut_off", "ws://near.example")
        }
        assert [await device.closed() for device in devices] == [CloseCode.RESTARTING] * 2
        status, body = await refused(port, port.url)
        assert (status, body["error"]["code"]) == (503, "database_unavailable")
        is_cut_off = False
        await opened.enter_async_context(port.device())


async def test_device_gets_no_call_while_the_lease_of_the_node_is_over(port: Port) -> None:
    async with port.device() as device:
        has_lease = False
        port.roster.may_send = lambda: has_lease
        with pytest.raises(DeviceSlow, match="lease"):
            await port.link().call(make_call())
        await port.link().send(AgentCancel(run_id="r-1", fence=1, reason="over"))
        assert (await device.hear())["type"] == "agent_cancel"
        has_lease = True
        assert (await call_answered_by(device, port.link())).result == {"ok": True}


async def test_upgrade_of_another_path_is_answered_with_404(port: Port) -> None:
    status, body = await refused(port, port.url.replace("/v1/device", "/"))
    assert status == 404
    assert "/v1/device" in body["error"]["message"]


@pytest.mark.parametrize("query", ["token=hub_dev_secret", "access_token=secret", "x=hub_dev_secret"])
async def test_a_token_in_the_url_is_refused_and_not_logged(
    query: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("websockets").setLevel(logging.WARNING)  # the client's log has what it sent
    async with open_port() as port:
        status, body = await refused(port, f"{port.url}?{query}")
        assert (status, body["error"]["code"]) == (400, "token_in_url")
        assert port.count("hub_connection_attempts_total", result="token_in_url") == 1
        assert "secret" not in caplog.text
        assert "listener.opened" in caplog.text


async def test_a_device_without_a_common_version_is_refused_with_the_reason(
    port: Port, stranger: RawDevice
) -> None:
    answer = await stranger.greet(await port.pair(), protocol={"min": 7, "max": 9})
    assert answer["code"] == "version_unsupported"
    assert await stranger.closed() == CloseCode.VERSION_UNSUPPORTED


async def test_device_of_a_newer_protocol_version_is_welcomed_with_a_skew_note(
    port: Port, stranger: RawDevice
) -> None:
    welcome = await stranger.greet(await port.pair(), protocol={"min": 1, "max": 2})
    assert (welcome["type"], welcome["protocol"]) == ("welcome", 1)
    (link,) = port.roster.connected()
    assert link.skew == "the hub speaks the protocol up to version 1, the device up to 2: update the hub"


async def test_when_the_port_closes_every_device_gets_a_goodbye(port: Port) -> None:
    async with port.connect() as stranger, port.device("one") as one, port.device("two") as two:
        await stranger.hear()
        port.listener.farewell = RESTARTING
        told: set[int] = set()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(port.stop)
            for device in (stranger, one, two):
                goodbye = await device.hear()
                told.add(goodbye.pop("retry_after_ms"))
                assert goodbye == {"type": "goodbye", "reason": "restarting"}
                assert await device.closed() == CloseCode.RESTARTING
    assert len(told) == 3, "each comes back at a time of its own"
    assert all(200 <= retry_after_ms <= 1_000 for retry_after_ms in told)
    with pytest.raises(OSError):
        await anyio.connect_tcp("127.0.0.1", int(port.url.split(":")[2].split("/")[0]))


async def test_device_ignoring_the_close_does_not_hold_up_the_stop() -> None:
    async with open_port(drain_s=1.0) as port, port.device() as device:
        device.socket.transport.pause_reading()
        with anyio.fail_after(4):
            await port.stop()
        device.socket.transport.abort()


async def test_connection_to_a_draining_systemd_socket_waits_for_the_next_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        async with open_port(sock=sock, sock_outlives_us=True, drain_s=1.0) as port, port.device() as device:
            device.socket.transport.pause_reading()  # it holds the stop up
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(port.stop)
                await until(lambda: port.roster.is_draining)
                knocking = socket.create_connection(sock.getsockname(), timeout=5)
                knocking.sendall(b"GET /v1/device HTTP/1.1\r\n\r\n")
            device.socket.transport.abort()
        with knocking, sock.accept()[0] as let_in:
            assert let_in.recv(100) == b"GET /v1/device HTTP/1.1\r\n\r\n", "nobody has read it before"


class SlowJudge(Authenticator):
    """Lets nobody in before ``open`` is set, or breaks."""

    def __init__(self, store: Store, **options: Any) -> None:
        super().__init__(store, **options)
        self.asked = anyio.Event()
        self.open = anyio.Event()
        self.error: Exception | None = None

    async def admit(self, knock: Knock) -> Admission:
        self.asked.set()
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return await super().admit(knock)


@pytest.fixture
async def slow() -> AsyncIterator[tuple[Port, SlowJudge]]:
    """A port with a judge that waits."""
    async with open_port(judge=SlowJudge) as port:
        assert isinstance(port.judge, SlowJudge)
        yield port, port.judge


async def test_device_disconnected_during_authentication_is_not_left_online(
    slow: tuple[Port, SlowJudge],
) -> None:
    port, judge = slow
    async with port.connect() as device:
        await device.say(type="device_hello", token=await port.pair())
        await judge.asked.wait()
        device.socket.transport.abort()
    judge.open.set()
    await until(lambda: port.count("hub_connections", role="device", state="greeting") == 0)
    await until(lambda: port.roster.connected() == [])


async def test_older_connection_is_ended_if_the_newer_fails_before_welcome(
    slow: tuple[Port, SlowJudge],
) -> None:
    port, judge = slow
    token = await port.pair()
    judge.open.set()
    async with port.connect() as older:
        assert (await older.greet(token))["type"] == "welcome"
        judge.asked, judge.open = anyio.Event(), anyio.Event()
        async with port.connect() as newer:
            await newer.say(type="device_hello", token=token)
            await judge.asked.wait()
            (connection,) = port.listener._greeting
            connection.end(Goodbye(reason="fault"), CloseCode.FAULT)
            judge.open.set()
        assert ((await older.hear())["reason"], await older.closed()) == ("overtaken", CloseCode.RESTARTING)


async def test_authentication_error_of_the_database_closes_with_a_retryable_code(
    slow: tuple[Port, SlowJudge],
) -> None:
    port, judge = slow
    judge.open.set()
    for judge.error, close in (
        (Busy("another process holds it"), CloseCode.OVERLOADED),
        (ZeroDivisionError(), CloseCode.FAULT),
    ):
        async with port.connect() as device:
            assert ((await device.greet("hub_dev_x"))["type"], await device.closed()) == ("error", close)


async def test_device_authenticated_while_the_port_closes_is_not_admitted(
    slow: tuple[Port, SlowJudge],
) -> None:
    port, judge = slow
    async with port.connect() as device:
        await device.say(type="device_hello", token=await port.pair())
        await judge.asked.wait()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(port.stop)
            assert (
                (await device.hear())["type"],
                (await device.hear())["reason"],
                await device.closed(),
            ) == ("challenge", "stopping", CloseCode.STOPPING)
            judge.open.set()
        assert port.events == []


# --- what a device is told when the hub goes: when to come back ---


@each(("connections", "longest_ms"), [(1, 1_000), (500, 1_000), (2_000, 4_000), (10_000, 20_000)])
def test_retry_times_at_restart_are_spread_over_two_ms_per_device(connections: int, longest_ms: int) -> None:
    chance = SeededChance(4)
    told = [RESTARTING.to_one_of(connections, chance).retry_after_ms for _ in range(1_000)]
    waits = [wait for wait in told if wait is not None]
    assert len(waits) == 1_000
    assert 200 <= min(waits) < 200 + longest_ms / 20
    assert longest_ms * 0.95 < max(waits) <= longest_ms
    in_the_first_half = sum(wait < (200 + longest_ms) / 2 for wait in waits)
    assert 400 < in_the_first_half < 600, "they are spread evenly"
