"""Connections of operators that do not ask, ask badly, or are too many."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import anyio
import httpx2
import pytest
import uvicorn
from anyio.abc import SocketStream
from starlette.responses import PlainTextResponse
from uvicorn.server import ServerState

from hub.api.http.access import LIVENESS_PLACES
from hub.api.http.request_parser import STRANGER_READS_PER_S, BoundedConnection, operator_refusal
from hub.app.listeners import operator_port_limits
from hub.base.loop_meter import LoopMeter
from hub.base.metrics import Metrics
from hub.base.roles import Role
from hub.base.toml.limits import Limits
from hub.base.web.keep_alive import ANNOUNCED_S, IDLE_S
from hub.base.web.problem import ProblemResponse
from hub.links.acceptor import device_refusal
from hub.links.connection_limits import AdmissionRefused, Gate
from hub.links.transport import RequestRefused
from protocol.errors import CATALOGUE, ErrorCode
from tests.support.clock import FakeClock
from tests.support.families import each
from tests.support.hub import ROOMY, ServedHub, over_tcp, over_unix, serving

POST = b"POST /v1/runs/r-1/cancel HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"


async def _connect(hub: ServedHub) -> SocketStream:
    return await anyio.connect_tcp(hub.listening.tcp.host, hub.listening.tcp.port)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[ServedHub]:
    """A hub that serves on sockets."""
    async with serving(tmp_path) as opened:
        yield opened


@pytest.fixture
async def stream(hub: ServedHub) -> AsyncIterator[SocketStream]:
    """A connection of a stranger."""
    async with await _connect(hub) as opened:
        yield opened


async def _rest(stream: SocketStream) -> bytes:
    """All that comes until the hub closes."""
    told = b""
    with anyio.fail_after(5):
        try:
            while True:
                told += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return told


def _problem(answer: bytes) -> tuple[int, str]:
    """The status and the code of a refusal as it came over the wire."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    assert f"content-length: {len(body)}".encode() in head.lower()
    told = json.loads(body)
    assert int(head.split()[1]) == told["status"]
    return told["status"], told["code"]


READ = b"GET /v1/status HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
REFUSED: Final[tuple[tuple[bytes, int, str], ...]] = (
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 501, "unknown_method"),
    (b"HELLO\r\n\r\n", 501, "unknown_method"),
    (b"GET / HTTP/1.1\r\nhost: a\r\nhost\r\n\r\n", 400, "bad_params"),
    (b"GET / HTTP/1.1\r\ncontent-length: x\r\nhost: a\r\n\r\n", 400, "bad_params"),
    (b"GET / HTTP/1.1\r\nx: " + b"y" * 20_000, 431, "too_large"),
    (b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 200 + b"\r\n", 431, "too_large"),
    (b"GET /healthz?" + b"a&" * 10_000 + b" HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", 431, "too_large"),
    (POST + b"transfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1_000, 401, "auth_failed"),
    (POST + b"transfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 3_000, 413, "too_large"),
    (READ + b"content-length: 100\r\n\r\n", 422, "bad_params"),  # before the body is read
    (POST + b"content-length: 1000\r\n\r\n{", 401, "auth_failed"),  # nor is anything after a refusal
)


async def test_malformed_request_is_refused_as_a_problem_and_the_connection_ends(hub: ServedHub) -> None:
    for sent, status, code in REFUSED:
        async with await _connect(hub) as stream:
            await stream.send(sent)
            answer = await _rest(stream)
        assert (_problem(answer), b"connection: close" in answer) == ((status, code), True), sent[:50]


async def test_bytes_after_a_refused_upgrade_are_not_read_as_a_request(hub: ServedHub) -> None:
    asked = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: x\r\n"
    async with await _connect(hub) as stream:
        await stream.send(asked + b"content-type: application/json\r\ncontent-length: 4\r\n\r\n")
        told = await _rest(stream)
    assert told.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in told


OFFER: Final = b"connection: Upgrade, HTTP2-Settings\r\nhttp2-settings: AAEAAEAA\r\nupgrade: h2c\r\n"
LENGTH: Final = b"content-length: 13\r\n\r\n"
CHUNKED: Final = b"transfer-encoding: chunked\r\n\r\n"
BODY: Final = b'{"axis": "x"}'
CHUNKS: Final = b"6\r\n%b\r\n7\r\n%b\r\n0\r\n\r\n" % (BODY[:6], BODY[6:])


@pytest.mark.parametrize("cut", [0, 3, 12])
@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (OFFER + LENGTH, BODY),  # as the HTTP client of Java sends each request
        (OFFER + CHUNKED, CHUNKS),
        (CHUNKED, CHUNKS),
    ],
    ids=["offer", "offer, in chunks", "in chunks"],
)
async def test_body_is_read_in_chunks_and_after_an_offer_of_http2(
    hub: ServedHub, framing: bytes, body: bytes, cut: int
) -> None:
    token = (await hub.token(role=Role.ADMIN)).encode()
    head = b"POST /v1/agents HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    head += b"authorization: Bearer %b\r\n" % token + framing
    async with await _connect(hub) as stream:
        await stream.send(head + body[:cut])
        if cut:
            await anyio.wait_all_tasks_blocked()
        await stream.send(body[cut:] + POST + LENGTH + b"[" * 13)
        told = await _rest(stream)
    assert told.count(b"HTTP/1.1 ") == 1
    assert b'"body.axis":"there is no such field"' in told


async def test_endless_field_behind_a_body_in_chunks_is_refused(hub: ServedHub) -> None:
    token = (await hub.token(role=Role.ADMIN)).encode()
    head = b"POST /v1/agents HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    async with await _connect(hub) as stream:
        await stream.send(head + b"authorization: Bearer %b\r\n" % token + CHUNKED + b"1\r\n[\r\n0\r\nx: ")
        await stream.send(b"a" * 100_000)
        assert _problem(await _rest(stream)) == (431, "too_large")


async def test_pipelined_requests_are_not_read(hub: ServedHub) -> None:
    async with await _connect(hub) as stream:
        await stream.send(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" * 100)
        told = await _rest(stream)
    assert told.count(b"HTTP/1.1 200 ") == 1
    assert b"connection: close" in told
    assert b"keep-alive" not in told.lower()


class Wire(asyncio.Transport):
    """A transport that notes when it is read no more, and when again."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__({"socket": sock})
        self.pauses = 0
        self.resumed = anyio.Event()

    def pause_reading(self) -> None:
        self.pauses += 1

    def resume_reading(self) -> None:
        self.resumed.set()

    def is_closing(self) -> bool:
        return False


def _connection(on_refusal: Callable[[str, str], None]) -> BoundedConnection:
    return BoundedConnection(
        config=uvicorn.Config(PlainTextResponse(""), lifespan="off", log_config=None),
        server_state=ServerState(),
        app_state={},
        local={},
        most_local=1,
        head_s=60.0,
        on_refusal=on_refusal,
        meter=LoopMeter(),
        place=_gate().enter("127.0.0.1"),
    )


async def test_unauthenticated_connection_is_read_at_a_limited_rate() -> None:
    connection = _connection(lambda *_: None)
    with socket.socket() as sock:
        wire = Wire(sock)
        connection.connection_made(wire)
        sent = memoryview((b"GET /healthz HTTP/1.1\r\nx: " + b"y" * 1_000)[:1_000])
        began = anyio.current_time()
        while not wire.pauses:
            connection.data_received(bytes(sent[:1]))
            sent = sent[1:]
        allowed = STRANGER_READS_PER_S * (1 + anyio.current_time() - began)
        assert STRANGER_READS_PER_S < 1_000 - len(sent) <= allowed + 1
        with anyio.fail_after(5):
            await wire.resumed.wait()
        connection.connection_lost(ConnectionResetError())


async def test_connection_sending_no_request_in_time_is_closed(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, head_s=0.2) as hub,
        await _connect(hub) as silent,
        await _connect(hub) as stream,
    ):
        await stream.send(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        assert (await stream.receive()).startswith(b"HTTP/1.1 200 ")
        await stream.send(b"GET /hea")
        told = await _rest(stream)
        assert _problem(await _rest(silent)) == (408, "hello_timeout")
    assert _problem(told[told.index(b"HTTP/1.1") :]) == (408, "hello_timeout")


def _gate(metrics: Metrics | None = None, **limits: int) -> Gate:
    bounds = replace(ROOMY, **limits)
    return Gate(bounds, clock=FakeClock(), metrics=metrics or Metrics(), prefix="operator_")


async def _health(stream: SocketStream) -> bytes:
    await stream.send(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
    return await stream.receive()


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ("connections", "too_many_connections"),
        ("connections_per_network", "too_many_connections"),
        ("strangers", "overloaded"),
        ("strangers_per_network", "overloaded"),
    ],
)
async def test_connection_beyond_the_limit_replaces_the_oldest_silent_connection(
    tmp_path: Path, limit: str, code: str
) -> None:
    counted: list[str] = []
    metrics = Metrics()
    options: dict[str, Any] = {"gate": _gate(metrics, **{limit: 2}), "on_refusal": counted.append}
    async with (
        serving(tmp_path, **options) as hub,
        await _connect(hub) as first,
        await _connect(hub) as second,
    ):
        await _health(second)  # by now both are known
        async with await _connect(hub) as third:
            assert (await _health(third)).startswith(b"HTTP/1.1 200 ")
            assert _problem(await _rest(first)) == (503, code)
        assert (await _health(second)).startswith(b"HTTP/1.1 200 ")
    assert counted == [code]
    assert metrics.registry.get_sample_value("hub_limits_reached_total", {"limit": f"operator_{limit}"}) == 1


async def test_only_healthz_is_answered_when_all_connections_are_in_use(tmp_path: Path) -> None:
    counted: list[str] = []
    gate = _gate(connections=2)
    async with serving(tmp_path, gate=gate, requests=8, on_refusal=counted.append) as hub:
        token = await hub.token()
        async with over_tcp(hub, token) as first, over_tcp(hub, token) as second, AsyncExitStack() as opened:
            for client in (first, second):
                await opened.enter_async_context(client.stream("GET", "/v1/events"))
            for number in range(3 * LIVENESS_PLACES):
                async with await _connect(hub) as third:
                    answer = await _health(third)
                    assert answer.startswith(b"HTTP/1.1 200 "), number
                    assert b"connection: close" in answer
                silent = await opened.enter_async_context(await _connect(hub))  # holds a place
            assert len(gate) == 2
            assert counted == ["too_many_connections"] * (2 * LIVENESS_PLACES)  # the newest have a place
            await silent.send(b"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            refused = await _rest(silent)
            assert _problem(refused) == (503, "too_many_connections")
            assert b"retry-after: 1" in refused


async def test_longest_idle_connection_is_closed_for_a_new_connection_with_retry_after(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, gate=(gate := _gate(connections_per_network=2))) as hub:
        token = (await hub.token()).encode()
        asked = b"GET /v1/status HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer " + token + b"\r\n\r\n"
        async with await _connect(hub) as first, await _connect(hub) as second:
            for stream in (first, second, first):
                await stream.send(asked)
                assert (await stream.receive()).startswith(b"HTTP/1.1 200 ")
            assert (gate.strangers, len(gate)) == (0, 2)
            async with await _connect(hub) as third:
                await third.send(asked)
                assert (await third.receive()).startswith(b"HTTP/1.1 200 ")
            refused = await _rest(second)
            assert (_problem(refused), b"retry-after: 1" in refused) == ((503, "too_many_connections"), True)
            await first.send(asked)
            assert (await first.receive()).startswith(b"HTTP/1.1 200 ")


async def test_request_crossing_a_refusal_does_not_reset_the_connection(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, gate=_gate(strangers=1)) as hub,
        await _connect(hub) as first,
        await _connect(hub) as second,
    ):
        assert (await _health(second)).startswith(b"HTTP/1.1 200 ")
        for _ in range(3):  # the first one would be answered by a reset if the hub had closed the socket
            await first.send(POST)
            await anyio.wait_all_tasks_blocked()
        refused = await _rest(first)
    assert (_problem(refused), b"retry-after: 1" in refused) == ((503, "overloaded"), True)


async def test_longest_idle_connection_over_the_unix_socket_is_closed_for_a_new_connection(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, connections=1) as hub, over_unix(hub) as first, over_unix(hub) as second:
        for client in (first, second, first):
            assert (await client.get("/v1/status")).status_code == 200


async def test_announced_idle_time_exceeds_the_idle_time_of_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert max(httpx2.Limits().keepalive_expiry or 0, 60) < ANNOUNCED_S < IDLE_S  # 60 s: of proxies
    monkeypatch.setattr("hub.api.http.server.IDLE_S", 0.05)
    async with serving(tmp_path) as hub, await _connect(hub) as stream:
        answer = await _health(stream)
        assert f"keep-alive: timeout={ANNOUNCED_S}\r\n".encode() in answer
        assert await _rest(stream) == b""
        async with await _connect(hub) as last:
            await last.send(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
            assert b"keep-alive" not in await _rest(last)


async def test_forty_connections_at_once_are_served_or_told_when_to_retry(tmp_path: Path) -> None:
    bounds = operator_port_limits(Limits())
    gate = Gate(bounds, clock=FakeClock(), metrics=Metrics(), prefix="operator_")
    answers: list[httpx2.Response] = []
    async with serving(tmp_path, gate=gate) as hub:
        token = await hub.token()

        async def ask() -> None:
            async with over_tcp(hub, token) as client:
                answers.append(await client.get("/v1/status"))

        async with anyio.create_task_group() as tasks:
            for _ in range(40):
                tasks.start_soon(ask)
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert [answer.headers.get("retry-after") for answer in answers if answer.status_code == 503] == ["1"] * (
        40 - sum(answer.status_code == 200 for answer in answers)
    )
    assert len(answers) == 40


BUSY: Final = [code for code, info in CATALOGUE.items() if info.http_status in (429, 503)]


@each("code", BUSY)
def test_each_listener_says_when_to_retry_after_a_refusal_for_now(code: ErrorCode) -> None:
    turned = AdmissionRefused("connections", "full", reason=code)
    assert ProblemResponse(code, "busy").headers["retry-after"] == "1"
    assert b"retry-after: 1\r\n" in operator_refusal(turned)
    assert b"Retry-After: 1\r\n" in device_refusal(turned)
    assert RequestRefused(code, "busy").response().headers["Retry-After"] == "1"


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})])
async def test_timer_of_a_closed_connection_writes_nothing() -> None:
    refused: list[str] = []
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    connection = _connection(lambda code, _: refused.append(code))
    with theirs:
        transport, _ = await loop.connect_accepted_socket(lambda: connection, ours)
        transport.abort()
        await anyio.lowlevel.checkpoint()  # the loop has closed the socket, and not yet told the connection
        connection._too_slow()
        await anyio.wait_all_tasks_blocked()
        connection._too_slow()
    assert refused == []


async def test_unix_socket_is_served_when_tcp_connections_are_used_up(tmp_path: Path) -> None:
    gate = _gate(connections=2)
    async with (
        serving(tmp_path, gate=gate, connections=1) as hub,
        await _connect(hub) as first,
        await _connect(hub) as second,
    ):
        await _health(first)
        await _health(second)
        async with over_unix(hub) as client:
            assert (await client.get("/v1/status")).status_code == 200


async def test_unix_socket_connections_have_a_separate_limit(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, connections=1) as hub,
        over_unix(hub) as client,
        client.stream("GET", "/v1/events"),
    ):
        async with await anyio.connect_unix(str(hub.listening.unix)) as second:
            assert _problem(await _rest(second)) == (503, "overloaded")
        async with await _connect(hub) as stranger:
            assert (await _health(stranger)).startswith(b"HTTP/1.1 200 ")


async def test_gate_counts_no_authenticated_or_closed_connection_as_a_stranger(
    tmp_path: Path,
) -> None:
    gate = _gate(strangers=1)
    async with serving(tmp_path, gate=gate) as hub:
        token = await hub.token()
        async with over_tcp(hub, token) as known, over_tcp(hub, token) as other:
            assert (await known.get("/v1/status")).status_code == 200
            assert (await other.get("/v1/status")).status_code == 200
            assert (len(gate), gate.strangers) == (2, 0)
        async with await _connect(hub) as stranger:
            await _health(stranger)
            assert gate.strangers == 1
        with anyio.fail_after(5):
            while len(gate):
                await anyio.lowlevel.checkpoint()


async def test_requests_beyond_the_concurrency_limit_are_refused_until_a_place_is_free(
    tmp_path: Path,
) -> None:

    async with serving(tmp_path, requests=1) as hub, over_unix(hub) as client:
        async with client.stream("GET", "/v1/events"):
            refused = await client.get("/v1/status")
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        with anyio.fail_after(5):
            while (await client.get("/v1/status")).status_code != 200:
                await anyio.lowlevel.checkpoint()


async def test_concurrent_requests_of_a_token_leave_room_for_other_callers(
    tmp_path: Path,
) -> None:

    async with serving(tmp_path, requests=4) as hub, AsyncExitStack() as opened:
        clients = [
            await opened.enter_async_context(over_tcp(hub, await hub.token(Role.VIEWER))) for _ in range(2)
        ]
        greedy, other = clients
        for _ in range(2):
            await opened.enter_async_context(greedy.stream("GET", "/v1/events"))
        refused = await greedy.get("/v1/status")
        assert (await other.get("/v1/status")).status_code == 200
        await opened.enter_async_context(other.stream("GET", "/v1/events"))
        crowded = await other.get("/v1/status")
        async with over_unix(hub) as unix:
            assert (await unix.get("/v1/status")).status_code == 200
    assert [(answer.status_code, answer.json()["code"]) for answer in (refused, crowded)] == [
        (503, "overloaded")
    ] * 2
    assert "2 are yours already" in refused.json()["detail"]


async def test_request_with_a_missing_body_times_out_with_408(tmp_path: Path) -> None:
    head = b"POST /v1/runs/r-1/cancel HTTP/1.1\r\nhost: hub\r\ncontent-type: application/json\r\n"
    for key in (b"", b"idempotency-key: k\r\n"):
        async with (
            serving(tmp_path, body_s=0.05) as hub,
            await anyio.connect_unix(str(hub.listening.unix)) as stream,
        ):
            await stream.send(head + key + b'content-length: 20\r\n\r\n{"rea')
            with anyio.fail_after(5):
                assert (await stream.receive()).startswith(b"HTTP/1.1 408 ")


async def test_open_event_stream_does_not_delay_changes_of_other_requests(client: httpx2.AsyncClient) -> None:
    async with client.stream("GET", "/v1/events", headers={"if-match": "*"}) as answer:
        assert answer.status_code == 200
        with anyio.fail_after(5):
            changed = await client.post("/v1/agents/notes/pause", headers={"if-match": "*"})
    assert changed.status_code == 200


async def test_websocket_upgrade_request_logs_no_library_message(
    hub: ServedHub, caplog: pytest.LogCaptureFixture
) -> None:
    async with await _connect(hub) as stream:
        await stream.send(
            b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            b"connection: upgrade, close\r\nupgrade: websocket\r\n\r\n"
        )
        assert (await _rest(stream)).startswith(b"HTTP/1.1 200")
    assert [record.name for record in caplog.records if not record.name.startswith("hub.")] == []
