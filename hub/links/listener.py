"""The device port: a WebSocket server, and a device's way from the socket to the roster.

Strangers are cheap: few at a time, small messages, short deadlines. Everything
that is said to a device before its socket closes is said by its session.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskGroup, TaskStatus
from websockets.asyncio.server import Server, ServerConnection
from websockets.extensions.base import ServerExtensionFactory
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request, Response
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from hub.clock import Chance, Clock, IdFactory, epoch_ms
from hub.links.acceptor import Acceptor
from hub.links.attempts import network_of
from hub.links.auth import Admission, Authenticator, Knock
from hub.links.connection import Connection
from hub.links.deadlines import DeadlineWheel
from hub.links.farewell import STOPPING
from hub.links.gate import Gate, Place, TurnedAway
from hub.links.hub_key import HubKey
from hub.links.intake import HELLO_ROOM
from hub.links.limits import LinkLimits, PortLimits
from hub.links.refusal import Refusal
from hub.links.roster import DRAIN_S, Roster
from hub.links.transport import DeviceSocket
from hub.links.upgrade import RequestRefused, UpgradeRules, bearer
from hub.log import Channel
from hub.metrics import Metrics
from protocol.codec import SUBPROTOCOLS, for_subprotocol
from protocol.errors import CloseCode, ErrorCode, HubError
from protocol.handshake import DeviceHello, Error
from protocol.hub_session import HubSession
from protocol.ids import ConnectionId

log = Channel(__name__)

OPEN_S: Final = 5.0  # for the opening handshake
JUDGE_S: Final = 20.0  # for the database to say who it is; a device waits 30 s for its welcome
PING_EVERY_S: Final = 15.0
PONG_WITHIN_S: Final = 10.0
AFTER_ABORT_S: Final = 2.0  # for the handlers to write down that their device is gone
NONCE_BYTES: Final = 32
BACKLOG: Final = 4096  # as in hub.socket; who starts to listen on a socket of systemd sets its backlog anew

_SUBPROTOCOLS: Final = [Subprotocol(name) for name in SUBPROTOCOLS]

# Small windows and no memory between messages: 19.3 KiB a connection instead of 56. A hello may come
# compressed: common libraries do that to all they send. What it unfolds to is bounded as ever.
_DEFLATE: Final = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True,
    client_no_context_takeover=True,
    server_max_window_bits=10,
    client_max_window_bits=10,
    compress_settings={"memLevel": 5},
)


class DeviceListener:
    """Serves devices on one port.

    Args:
        host, port: where to bind; port 0 takes a free one. Not used when *sock* is given.
        sock: a listening socket; whoever opened it closes it.
        sock_outlives_us: systemd holds *sock* too. What knocks while we leave is not refused: it waits
            there for the next process.
        tls: serve with it.
        key: by which devices know the hub.
        rules: for the request that asks for a WebSocket: hosts, origins, proxies.
        compression: permessage-deflate, for devices that offer it.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        sock: socket.socket | None = None,
        sock_outlives_us: bool = False,
        hub_id: str,
        key: HubKey,
        authenticator: Authenticator,
        roster: Roster,
        clock: Clock,
        chance: Chance,
        metrics: Metrics,
        limits: LinkLimits | None = None,
        port_limits: PortLimits | None = None,
        rules: UpgradeRules | None = None,
        tls: ssl.SSLContext | None = None,
        compression: bool = False,
        ping_every_s: float | None = PING_EVERY_S,
        pong_within_s: float | None = PONG_WITHIN_S,
        open_s: float = OPEN_S,
        drain_s: float = DRAIN_S,
    ) -> None:
        self._address = host, port
        self._sock = sock
        self._sock_outlives_us = sock_outlives_us
        self._hub_id = hub_id
        self._key = key
        self._authenticator = authenticator
        self._roster = roster
        self._clock = clock
        self._chance = chance
        self._ids = IdFactory(clock, chance)
        self._metrics = metrics
        self._limits = limits or LinkLimits()
        self._rules = rules or UpgradeRules()
        self._tls = tls
        self._extensions: list[ServerExtensionFactory] | None = [_DEFLATE] if compression else None
        self._ping_every_s, self._pong_within_s = ping_every_s, pong_within_s
        self._open_s = open_s
        self._drain_s = drain_s
        self._wheel = DeadlineWheel(clock)
        self.turns = self._wheel.turns
        self._gate = Gate(port_limits or PortLimits(), clock=clock, metrics=metrics)
        self._acceptor: Acceptor | None = None
        self._sockets: set[DeviceSocket] = set()
        self._greeting: set[Connection] = set()
        metrics.connections.labels("device", "greeting").set_function(lambda: self._gate.strangers)
        self.farewell = STOPPING  # set it before stopping, to say something else

    @property
    def sockets(self) -> int:
        """Connections that were let in as far as their request for a WebSocket, or further."""
        return len(self._sockets)

    @property
    def is_accepting(self) -> bool:
        """Whether who knocks is looked at; not while the process has hardly a file left."""
        return self._acceptor is not None and self._acceptor.is_accepting

    def apply(
        self,
        *,
        limits: LinkLimits,
        port_limits: PortLimits,
        rules: UpgradeRules,
        ping_every_s: float | None,
        pong_within_s: float | None,
    ) -> None:
        """Use other limits and rules, for connections made from now on. Who is connected stays."""
        self._limits, self._rules = limits, rules
        self._ping_every_s, self._pong_within_s = ping_every_s, pong_within_s
        self._gate.limits = port_limits
        if self._acceptor is not None:
            self._acceptor.proxies = rules.proxies

    async def serve(self, *, task_status: TaskStatus[tuple[str, int]] = anyio.TASK_STATUS_IGNORED) -> None:
        """Let devices in until cancelled; started with the host and port that are bound.

        When cancelled, everybody is told goodbye, and all sockets are gone within
        ``drain_s`` and AFTER_ABORT_S.
        """
        self._roster.is_draining = False  # a listener may be served again
        with ExitStack() as opened:
            listening = self._sock or opened.enter_context(_bind(self._address))
            async with anyio.create_task_group() as tasks:
                await tasks.start(self._wheel.serve)
                server = await self._make_server(listening, tasks)
                try:
                    bound = listening.getsockname()
                    log.info("listener.opened", port=bound[1])
                    task_status.started((bound[0], bound[1]))
                    await anyio.sleep_forever()
                finally:
                    if self._sock_outlives_us:
                        server.server.close()
                    # Without the shields the handlers would be abandoned: waiting for them
                    # would be cancelled at once.
                    with anyio.move_on_after(self._drain_s, shield=True):
                        await self._say_goodbye()
                    for device in list(self._sockets):
                        device.abort()
                    server.close(code=self.farewell.close)
                    with anyio.move_on_after(AFTER_ABORT_S, shield=True):
                        await server.wait_closed()
                    log.info("listener.closed")

    async def _make_server(self, listening: socket.socket, tasks: TaskGroup) -> Server:
        """The library's server, which accepts by our own rules."""

        async def accept() -> asyncio.Server:
            listening.listen(BACKLOG)
            self._acceptor = Acceptor(
                listening,
                partial(self._make_socket, server),
                gate=self._gate,
                proxies=self._rules.proxies,
                tls=self._tls,
                tasks=tasks,
                wheel=self._wheel,
                clock=self._clock,
                open_s=self._open_s,
                close_s=self._limits.close_s,
                on_refusal=lambda code: self._metrics.connection_attempts.labels(code).inc(),
            )
            await self._acceptor.start_serving()
            return self._acceptor  # type: ignore[return-value]  # all of a Server that is asked for

        server = Server(accept, self._handle, _quiet_logger())
        return await server

    def _make_socket(self, server: Server, place: Place, address: str) -> DeviceSocket:
        limits = self._limits
        protocol = ServerProtocol(
            extensions=self._extensions,
            subprotocols=_SUBPROTOCOLS,
            select_subprotocol=_choose_subprotocol,
            max_size=HELLO_ROOM * limits.hello_bytes,  # the session says in words what is less too long
            logger=server.logger,
        )
        return DeviceSocket(
            protocol,
            server,
            ping_interval=self._ping_every_s,
            ping_timeout=self._pong_within_s,
            close_timeout=limits.close_s,
            write_limit=2 * limits.outgoing_bytes,  # never reached, or the library's ping would wait for ever
            limits=limits,
            place=place,
            address=address,
        )

    async def _say_goodbye(self) -> None:
        """To everybody; then wait until their sockets are gone. Who knocks meanwhile gets a 503."""
        close = self.farewell.close
        strangers = list(self._greeting)
        goodbye = partial(self.farewell.to_one_of, len(self._roster) + len(strangers), chance=self._chance)
        for stranger in strangers:
            stranger.end(goodbye(), close)
        await self._roster.drain(goodbye, close, within_s=self._drain_s)
        for stranger in strangers:
            await stranger.wait_closed()

    # --- before the WebSocket ---

    async def _handle(self, socket: ServerConnection) -> None:
        """One connection, from its first byte until its socket is gone. Started by the library."""
        assert isinstance(socket, DeviceSocket)
        self._sockets.add(socket)
        try:
            with anyio.move_on_after(self._open_s) as handshake:
                await socket.handshake(self._look_at_request, server_header=None)
            if socket.protocol.state is OPEN:
                socket.start_keepalive()
                await self._serve_socket(socket)
            elif socket.request is None:
                how = ErrorCode.TOO_LARGE if socket.is_head_too_long else "no_request"
                self._metrics.connection_attempts.labels(how).inc()
                if handshake.cancelled_caught:
                    self._metrics.limits_reached.labels("handshake_timeout_s").inc()
        except Exception as exc:
            log.error("connection.failed", exc=exc)
        finally:
            socket.abort()
            self._sockets.discard(socket)
            socket.forget_handler()

    def _look_at_request(self, socket: ServerConnection, request: Request) -> Response | None:
        assert isinstance(socket, DeviceSocket)
        try:
            socket.address = self._rules.client(request, socket.address)
            socket.dialled = self._rules.dialled(request, socket.local_address[:2])
            if self._roster.is_draining:
                raise RequestRefused(ErrorCode.STOPPING, "the hub stops")
            if socket.place.network is None:  # a proxy has said it only now
                socket.place.name(network_of(socket.address))
        except TurnedAway as turned:
            refused = RequestRefused(turned.reason, str(turned), retry_s=turned.retry_s)
        except RequestRefused as error:
            refused = error
        else:
            return None
        self._metrics.connection_attempts.labels(refused.reason).inc()
        return refused.response()

    # --- the WebSocket ---

    async def _serve_socket(self, transport: DeviceSocket) -> None:
        """One WebSocket, until it is gone."""
        connection = self._open(transport)
        self._greeting.add(connection)
        try:
            admission = await self._let_in(connection, transport.address)
        finally:
            self._greeting.discard(connection)
        try:
            await transport.wait_closed()
        finally:
            if admission is not None:
                # Cancelled or not, the database must not go on calling the device online.
                with anyio.move_on_after(AFTER_ABORT_S, shield=True):
                    await self._release(admission, connection.left)

    async def _release(self, admission: Admission, reason: str | None) -> None:
        try:
            await self._authenticator.release(admission, reason)
        except HubError as exc:  # the device's next connection, or the hub's next start, sets it right
            log.warning("device.not_released", device_id=admission.device_id, code=exc.code)

    def _open(self, transport: DeviceSocket) -> Connection:
        assert transport.request is not None
        limits = transport.limits
        prove = None
        if transport.dialled is not None:
            (address, nonce), transport.dialled = transport.dialled, None
            prove = partial(self._key.prove, address=address, device_nonce=nonce)
        session = HubSession(
            codec=for_subprotocol(transport.subprotocol),
            hub_id=self._hub_id,
            nonce=self._chance.token_bytes(NONCE_BYTES),
            now=self._clock.monotonic(),
            ts_ms=epoch_ms(self._clock.now()),
            bearer=bearer(transport.request.headers),
            prove=prove,
            hello_timeout_s=limits.hello_timeout_s,
            hello_bytes=limits.hello_bytes,
        )
        transport.forget_request()
        return Connection(
            transport,
            session,
            connection_id=ConnectionId(self._ids.fresh()),
            place=transport.place,
            roster=self._roster,
            wheel=self._wheel,
            clock=self._clock,
            metrics=self._metrics,
            limits=limits,
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
                return await self._authenticator.admit(
                    Knock(
                        hello=hello,
                        challenge=connection.challenge,
                        token=connection.token,
                        address=address,
                        connection_id=connection.connection_id,
                    )
                )
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


def _choose_subprotocol(protocol: ServerProtocol, offered: Iterable[Subprotocol]) -> Subprotocol | None:
    """The first we know, in the client's order; none is JSON."""
    return next((name for name in offered if name in SUBPROTOCOLS), None)


def _bind(address: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    return socket.create_server(address, family=family)


def _quiet_logger() -> logging.Logger:
    """The library's own log. Never below warnings: it would write headers, and with them tokens."""
    logger = logging.getLogger("hub.links.websockets")
    logger.setLevel(logging.WARNING)
    return logger
