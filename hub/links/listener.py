"""The device port: a WebSocket server, and a device's way from the socket to the roster.

Strangers are cheap: few at a time, small messages, short deadlines. Everything
that is said to a device before its socket closes is said by its session.
"""

import logging
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import anyio
import msgspec
from anyio.abc import TaskStatus
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.extensions.base import ServerExtensionFactory
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request, Response
from websockets.typing import Origin, Subprotocol

from hub.clock import Chance, Clock, IdFactory, epoch_ms
from hub.links.auth import Admission, Authenticator, Refusal, network_of
from hub.links.connection import Connection
from hub.links.deadlines import DeadlineWheel
from hub.links.open_link import LinkLimits
from hub.links.roster import DRAIN_S, Roster
from hub.links.transport import OUTGOING_BYTES, DeviceSocket
from hub.log import Channel
from hub.metrics import Metrics
from protocol.codec import SUBPROTOCOLS, for_subprotocol
from protocol.errors import CATALOGUE, CloseCode, ErrorCode, HubError
from protocol.frame import MAX_HELLO_BYTES, PATH
from protocol.handshake import DeviceHello, Error, Goodbye
from protocol.hub_session import HubSession
from protocol.ids import ConnectionId

log = Channel(__name__)

OPEN_S: Final = 5.0  # for the opening handshake
JUDGE_S: Final = 20.0  # for the database to say who it is; a device waits 30 s for its welcome
STRANGERS: Final = 256  # connections without a welcome
STRANGERS_PER_NETWORK: Final = 16
PING_EVERY_S: Final = 15.0
PONG_WITHIN_S: Final = 10.0
AFTER_ABORT_S: Final = 2.0  # for the handlers to write down that their device is gone
NONCE_BYTES: Final = 32
# The session says 16 KiB in words; what is this much larger is cut off by the library.
STRANGER_MESSAGE_BYTES: Final = 4 * MAX_HELLO_BYTES
WRITE_LIMIT: Final = 2 * OUTGOING_BYTES  # never reached, or the library's ping would wait for ever

# Small windows and no memory between messages: 17.7 KiB a connection instead of 56.
_DEFLATE: Final = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True,
    client_no_context_takeover=True,
    server_max_window_bits=12,
    client_max_window_bits=12,
    compress_settings={"memLevel": 5},
)


@dataclass(frozen=True, slots=True)
class Farewell:
    """What devices are told when the listener stops."""

    goodbye: Goodbye
    close: CloseCode


STOPPING: Final = Farewell(Goodbye(reason="stopping"), CloseCode.STOPPING)


class Strangers:
    """Connections that have not been welcomed, and how many there are per network."""

    def __init__(self, most: int, most_per_network: int) -> None:
        self._most = most
        self._most_per_network = most_per_network
        self._by_network: Counter[str] = Counter()
        self._connections: set[Connection] = set()

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._connections)

    def is_full(self, network: str) -> bool:
        """Whether one more from *network* is too many."""
        return len(self) >= self._most or self._by_network[network] >= self._most_per_network

    @contextmanager
    def one(self, connection: Connection, network: str) -> Iterator[None]:
        """*connection*, from *network*, is a stranger for as long as the block lasts."""
        self._connections.add(connection)
        self._by_network[network] += 1
        try:
            yield
        finally:
            self._connections.remove(connection)
            self._by_network[network] -= 1
            if not self._by_network[network]:
                del self._by_network[network]


class DeviceListener:
    """Serves devices on one port.

    Args:
        host, port: where to bind; port 0 takes a free one. Not used when *sock* is given.
        sock: a listening socket, for instance handed over by systemd.
        origins: browser origins that may connect; devices send none.
        compression: permessage-deflate, for devices that offer it.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        sock: socket.socket | None = None,
        hub_id: str,
        authenticator: Authenticator,
        roster: Roster,
        clock: Clock,
        chance: Chance,
        metrics: Metrics,
        limits: LinkLimits | None = None,
        origins: Sequence[str] = (),
        compression: bool = False,
        ping_every_s: float | None = PING_EVERY_S,
        pong_within_s: float | None = PONG_WITHIN_S,
        open_s: float = OPEN_S,
        strangers: int = STRANGERS,
        strangers_per_network: int = STRANGERS_PER_NETWORK,
        drain_s: float = DRAIN_S,
    ) -> None:
        self._bound: dict[str, Any] = {"sock": sock} if sock else {"host": host, "port": port}
        self._hub_id = hub_id
        self._authenticator = authenticator
        self._roster = roster
        self._clock = clock
        self._chance = chance
        self._ids = IdFactory(clock, chance)
        self._metrics = metrics
        self._limits = limits or LinkLimits()
        self._origins = [None, *(Origin(origin) for origin in origins)]
        self._extensions: list[ServerExtensionFactory] = [_DEFLATE] if compression else []
        self._ping_every_s, self._pong_within_s = ping_every_s, pong_within_s
        self._open_s = open_s
        self._drain_s = drain_s
        self._wheel = DeadlineWheel(clock)
        self._strangers = Strangers(strangers, strangers_per_network)
        metrics.connections.labels("device", "greeting").set_function(lambda: len(self._strangers))
        self.farewell = STOPPING  # set it before stopping, to say something else

    async def serve(self, *, task_status: TaskStatus[tuple[str, int]] = anyio.TASK_STATUS_IGNORED) -> None:
        """Let devices in until cancelled; started with the host and port that are bound.

        When cancelled, everybody is told goodbye, and all sockets are gone within
        ``drain_s`` and AFTER_ABORT_S.
        """
        self._roster.is_draining = False  # a listener may be served again
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._wheel.serve)
            server = await serve(
                self._serve_socket,
                **self._bound,
                create_connection=DeviceSocket,
                process_request=self._look_at_request,
                select_subprotocol=_choose_subprotocol,
                subprotocols=[Subprotocol(name) for name in SUBPROTOCOLS],
                origins=self._origins,
                extensions=self._extensions,
                compression=None,
                server_header=None,
                open_timeout=self._open_s,
                ping_interval=self._ping_every_s,
                ping_timeout=self._pong_within_s,
                close_timeout=self._limits.close_s,
                max_size=STRANGER_MESSAGE_BYTES,
                write_limit=WRITE_LIMIT,
                logger=_quiet_logger(),
            )
            try:
                bound = server.sockets[0].getsockname()
                log.info("listener.opened", port=bound[1])
                task_status.started((bound[0], bound[1]))
                await anyio.sleep_forever()
            finally:
                # Without the shields the handlers would be abandoned: waiting for them
                # would be cancelled at once.
                with anyio.move_on_after(self._drain_s, shield=True):
                    await self._say_goodbye()
                for connection in list(server.all_connections):
                    connection.transport.abort()
                server.close(code=self.farewell.close)
                with anyio.move_on_after(AFTER_ABORT_S, shield=True):
                    await server.wait_closed()
                log.info("listener.closed")

    async def _say_goodbye(self) -> None:
        """To everybody; then wait until their sockets are gone. Who knocks meanwhile gets a 503."""
        goodbye, close = self.farewell.goodbye, self.farewell.close
        strangers = list(self._strangers)
        for stranger in strangers:
            stranger.end(goodbye, close)
        await self._roster.drain(goodbye, close, within_s=self._drain_s)
        for stranger in strangers:
            await stranger.wait_closed()

    # --- before the WebSocket ---

    def _look_at_request(self, connection: ServerConnection, request: Request) -> Response | None:
        url = urlsplit(request.path)
        if url.path != PATH:
            return self._refuse_request(
                HTTPStatus.NOT_FOUND, ErrorCode.BAD_PARAMS, f"devices connect to {PATH}"
            )
        if _has_token(url.query):
            told = "a token in the URL ends up in logs"
            return self._refuse_request(HTTPStatus.BAD_REQUEST, ErrorCode.TOKEN_IN_URL, told)
        if self._roster.is_draining:
            return self._refuse_request(HTTPStatus.SERVICE_UNAVAILABLE, ErrorCode.STOPPING, "the hub stops")
        if self._strangers.is_full(network_of(_address(connection))):
            told = "too many connections wait to be let in"
            return self._refuse_request(HTTPStatus.SERVICE_UNAVAILABLE, ErrorCode.OVERLOADED, told)
        return None

    def _refuse_request(self, status: HTTPStatus, code: ErrorCode, message: str) -> Response:
        self._metrics.connection_attempts.labels(code).inc()
        body = {"error": {"code": code, "message": message, "hint": CATALOGUE[code].hint}}
        data = msgspec.json.encode(body)
        headers = Headers(
            {"Content-Type": "application/json", "Content-Length": str(len(data)), "Connection": "close"}
        )
        return Response(status.value, status.phrase, headers, data)

    # --- the WebSocket ---

    async def _serve_socket(self, transport: ServerConnection) -> None:
        """One connection, from its opening handshake until the socket is gone."""
        assert isinstance(transport, DeviceSocket)
        address = _address(transport)
        connection = self._open(transport)
        with self._strangers.one(connection, network_of(address)):
            admission = await self._let_in(connection, address)
        try:
            await transport.wait_closed()
        finally:
            if admission is not None:
                # Cancelled or not, the database must not go on calling the device online.
                with anyio.move_on_after(AFTER_ABORT_S, shield=True):
                    await self._release(admission)

    async def _release(self, admission: Admission) -> None:
        try:
            await self._authenticator.release(admission)
        except HubError as exc:  # the device's next connection, or the hub's next start, sets it right
            log.warning("device.not_released", device_id=admission.device_id, code=exc.code)

    def _open(self, transport: DeviceSocket) -> Connection:
        assert transport.request is not None
        session = HubSession(
            codec=for_subprotocol(transport.subprotocol),
            hub_id=self._hub_id,
            nonce=self._chance.token_bytes(NONCE_BYTES),
            now=self._clock.monotonic(),
            ts_ms=epoch_ms(self._clock.now()),
            bearer=_bearer(transport.request.headers),
        )
        transport.forget_request()
        return Connection(
            transport,
            session,
            connection_id=ConnectionId(self._ids.fresh()),
            roster=self._roster,
            wheel=self._wheel,
            clock=self._clock,
            metrics=self._metrics,
            limits=self._limits,
        )

    async def _let_in(self, connection: Connection, address: str) -> Admission | None:
        """Wait for the hello, judge it, and answer it. ``None`` when nobody was let in."""
        hello = await connection.hello()
        if hello is None:
            return None
        admission = await self._judge(connection, hello, address)
        if admission is not None:
            connection.welcome(admission)
        return admission

    async def _judge(self, connection: Connection, hello: DeviceHello, address: str) -> Admission | None:
        try:
            with anyio.fail_after(JUDGE_S):
                return await self._authenticator.admit(hello, connection.token, address=address)
        except Refusal as refusal:
            log.info("device.refused", connection_id=connection.connection_id, code=refusal.error.code)
            connection.refuse(refusal.error, refusal.close)
        except (HubError, TimeoutError) as exc:
            code = exc.code if isinstance(exc, HubError) else ErrorCode.OVERLOADED
            log.warning("device.not_judged", connection_id=connection.connection_id, code=code)
            connection.refuse(
                Error(code=code, message="the hub cannot look you up now"), CloseCode.OVERLOADED
            )
        except Exception as exc:  # the socket must not stay open over a fault of ours
            log.error("connection.failed", exc=exc, connection_id=connection.connection_id)
            connection.refuse(Error(code=ErrorCode.INTERNAL, message="a fault in the hub"), CloseCode.FAULT)
        return None


def _choose_subprotocol(connection: ServerConnection, offered: Iterable[Subprotocol]) -> Subprotocol | None:
    """The first we know, in the client's order; none is JSON."""
    return next((name for name in offered if name in SUBPROTOCOLS), None)


def _address(connection: ServerConnection) -> str:
    peer = connection.remote_address
    return str(peer[0]) if isinstance(peer, tuple) else "local"


def _bearer(headers: Headers) -> str | None:
    for value in headers.get_all("Authorization"):
        kind, _, token = value.partition(" ")
        if kind.lower() == "bearer":
            return token.strip() or None
    return None


def _has_token(query: str) -> bool:
    """Whether something in a URL's query is, or is called, a token."""
    return any(
        "token" in name.lower() or value.startswith(("hub_", "Bearer"))
        for name, value in parse_qsl(query, keep_blank_values=True)
    )


def _quiet_logger() -> logging.Logger:
    """The library's own log. Never below warnings: it would write headers, and with them tokens."""
    logger = logging.getLogger("hub.links.websockets")
    logger.setLevel(logging.WARNING)
    return logger
