"""The device port: WebSocket upgrade, goodbye at a stop, and when each device should return.

Strangers get few connections, small messages and short deadlines. All messages to a device before its socket
closes are sent by its session. The goodbye of a stop names a random wait, longer with more devices.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from heapq import heapify, heapreplace
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

from hub.base.clock import Chance, Clock, IdFactory, now_ms, utc_text
from hub.base.log import Channel
from hub.base.log.line_formats import readable
from hub.base.metrics import Metrics
from hub.base.toml.limits import DEFAULTS
from hub.links.acceptor import Acceptor
from hub.links.auth import Admission, Authenticator, Knock
from hub.links.connection import DeviceConnection
from hub.links.connection_limits import AdmissionRefused, ConnectionSlot, Gate, PortLimits
from hub.links.deadline_wheel import DeadlineWheel
from hub.links.hosts import network_of
from hub.links.hub_key import HubKey
from hub.links.intake import HELLO_ROOM
from hub.links.link_limits import LinkLimits
from hub.links.refusals import HelloRefusal, Peer
from hub.links.roster import DRAIN_S, LocalLink, Roster
from hub.links.transport import DeviceSocket, RequestRefused, UpgradeRules, bearer
from protocol.codec import SUBPROTOCOLS, for_subprotocol
from protocol.errors import CloseCode, DeliveryError, ErrorCode, HubError
from protocol.handshake import DeviceHello, Error, Goodbye
from protocol.ids import ConnectionId, DeviceId
from protocol.session import HubSession
from storage.devices.credential_copies import Copy

log = Channel(__name__)

OPEN_S: Final = 5.0  # for the opening handshake
JUDGE_S: Final = 20.0  # for authentication; a device waits 30 s for its welcome
AFTER_ABORT_S: Final = 2.0  # for handlers to record the disconnect of their device
FIND_S: Final = 1.0  # for the database to name the other nodes at a stop
NONCE_BYTES: Final = 32
BACKLOG: Final = 4096  # as in hub.socket; listening again on a socket of systemd replaces its backlog

_SUBPROTOCOLS: Final = [Subprotocol(name) for name in SUBPROTOCOLS]

# Small windows and no memory between messages: 19.3 KiB per connection instead of 56. A hello may be
# compressed, as common libraries compress all messages; its decompressed size is limited as usual.
_DEFLATE: Final = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True,
    client_no_context_takeover=True,
    server_max_window_bits=10,
    client_max_window_bits=10,
    compress_settings={"memLevel": 5},
)


class NodeAddresses:
    """Addresses of other nodes, of which each device of a node that stops gets one.

    Args:
        nodes: number of devices and address of each node.
    """

    def __init__(self, nodes: Iterable[tuple[int, str]] = ()) -> None:
        self._nodes = list(nodes)
        heapify(self._nodes)

    def next(self) -> str | None:
        """Return the address of the node with the fewest devices, or None without a node."""
        if not self._nodes:
            return None
        devices, address = self._nodes[0]
        heapreplace(self._nodes, (devices + 1, address))
        return address


class DevicesPort:
    """Server for devices on one port.

    Args:
        host, port: address to bind; port 0 selects a free one. Unused with *sock*.
        sock: a listening socket, closed by its owner.
        sock_outlives_us: True if systemd holds *sock* too. While the hub stops, new connections are not
            refused, but wait there for the next process.
        tls: TLS configuration, or None.
        key: key by which devices recognize the hub.
        rules: rules for upgrade requests: hosts, origins, proxies.
        compression: True to accept permessage-deflate.
        find_others: returns the number of devices and the address of each other node that has room.
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
        ping_every_s: float | None = DEFAULTS.ping_interval_s,
        pong_within_s: float | None = DEFAULTS.ping_timeout_s,
        open_s: float = OPEN_S,
        drain_s: float = DRAIN_S,
        find_others: Callable[[], Awaitable[list[tuple[int, str]]]] | None = None,
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
        self.loop = self._wheel.loop
        self._gate = Gate(port_limits or PortLimits(), clock=clock, metrics=metrics)
        self._acceptor: Acceptor | None = None
        self._sockets: set[DeviceSocket] = set()
        self._greeting: set[DeviceConnection] = set()
        metrics.connections.labels("device", "greeting").set_function(lambda: self._gate.strangers)
        self.farewell = STOPPING  # may be replaced before the stop
        self._find_others = find_others

    def send_away(self, nodes: Iterable[tuple[int, str]]) -> None:
        """Send all devices to other nodes.

        Args:
            nodes: number of devices and address of each node; without any, devices find one by themselves.
        """
        others = NodeAddresses(nodes)
        peers: list[DeviceConnection | LocalLink] = [*self._greeting, *self._roster.local()]
        for peer in peers:
            peer.end(CUT_OFF.to_one_of(len(peers), self._chance, to=others.next()), CUT_OFF.close)

    @property
    def sockets(self) -> int:
        """Number of open connections, authenticated or not."""
        return len(self._sockets)

    @property
    def is_accepting(self) -> bool:
        """True unless accepting is paused for lack of files."""
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
        """Apply new limits and rules to later connections. Open connections stay."""
        self._limits, self._rules = limits, rules
        self._ping_every_s, self._pong_within_s = ping_every_s, pong_within_s
        self._gate.limits = port_limits
        if self._acceptor is not None:
            self._acceptor.proxies = rules.proxies

    async def serve(self, *, task_status: TaskStatus[tuple[str, int]] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve devices until cancelled; reports the bound host and port as started.

        When cancelled, all devices get a goodbye. All sockets are closed within ``drain_s`` plus
        AFTER_ABORT_S.
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
                    # Without the shields, waiting for the handlers would be cancelled at once.
                    with anyio.move_on_after(self._drain_s, shield=True):
                        await self._send_goodbye()
                    for device in list(self._sockets):
                        device.abort()
                    server.close(code=self.farewell.close)
                    with anyio.move_on_after(AFTER_ABORT_S, shield=True):
                        await server.wait_closed()
                    log.info("listener.closed")

    async def _make_server(self, listening: socket.socket, tasks: TaskGroup) -> Server:
        """Return the library's server, with this hub's acceptor."""

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
            return self._acceptor  # type: ignore[return-value]  # has all members of Server that are used

        server = Server(accept, self._handle, _quiet_logger())
        return await server

    def _make_socket(self, server: Server, place: ConnectionSlot, address: str) -> DeviceSocket:
        limits = self._limits
        protocol = ServerProtocol(
            extensions=self._extensions,
            subprotocols=_SUBPROTOCOLS,
            # the first known one in the client's order; None means JSON
            select_subprotocol=lambda _, offered: next(
                (name for name in offered if name in SUBPROTOCOLS), None
            ),
            # the session reports smaller excess sizes with a message
            max_size=HELLO_ROOM * limits.hello_bytes,
            logger=server.logger,
        )
        return DeviceSocket(
            protocol,
            server,
            wheel=self._wheel,
            ping_every_s=self._ping_every_s,
            pong_within_s=self._pong_within_s,
            close_timeout=limits.close_s,
            # never reached, else the library's answer to a request would wait for ever
            write_limit=2 * limits.outgoing_bytes,
            limits=limits,
            place=place,
            address=address,
        )

    async def _send_goodbye(self) -> None:
        """Send goodbyes to all devices and wait until their sockets close; refuse new requests with 503."""
        close = self.farewell.close
        strangers = list(self._greeting)
        goodbye = partial(self.farewell.to_one_of, len(self._roster) + len(strangers), chance=self._chance)
        for stranger in strangers:
            stranger.end(goodbye(), close)
        others = await self._others()
        await self._roster.drain(lambda: goodbye(to=others.next()), close, within_s=self._drain_s)
        for stranger in strangers:
            await stranger.wait_closed()

    async def _others(self) -> NodeAddresses:
        """Return the nodes to which the devices of this one can go."""
        if self._find_others is not None and len(self._roster):
            with anyio.move_on_after(FIND_S):
                try:
                    return NodeAddresses(await self._find_others())
                except HubError as exc:  # the devices find one by themselves
                    log.warning("listener.others_not_read", code=exc.code)
        return NodeAddresses()

    # --- before the WebSocket ---

    async def _handle(self, socket: ServerConnection) -> None:
        """Handle one connection until its socket is closed. Started by the library."""
        assert isinstance(socket, DeviceSocket)
        self._sockets.add(socket)
        try:
            with anyio.move_on_after(self._open_s) as handshake:
                await socket.handshake(self._check_request, server_header=None)
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

    def _check_request(self, socket: ServerConnection, request: Request) -> Response | None:
        assert isinstance(socket, DeviceSocket)
        try:
            socket.address = self._rules.client(request, socket.address)
            socket.dialled = self._rules.dialled(request, socket.local_address[:2])
            if self._roster.is_draining or not socket.server.is_serving():
                raise RequestRefused(ErrorCode.STOPPING, "the hub stops")
            if self._roster.is_cut_off():
                raise RequestRefused(ErrorCode.DATABASE_UNAVAILABLE, CUT_OFF.message, retry_s=CUT_OFF_RETRY_S)
            if socket.place.network is None:  # the client's address came from a proxy just now
                socket.place.name(network_of(socket.address))
        except AdmissionRefused as turned:
            refused = RequestRefused(turned.reason, str(turned), retry_s=turned.retry_s)
        except RequestRefused as error:
            refused = error
            self._authenticator.refused.note(
                Peer(network=network_of(socket.address)), error.reason, str(error)
            )
        else:
            return None
        self._metrics.connection_attempts.labels(refused.reason).inc()
        return refused.response()

    # --- the WebSocket ---

    async def _serve_socket(self, transport: DeviceSocket) -> None:
        """Handle one WebSocket until it is closed."""
        connection = self._open(transport)
        self._greeting.add(connection)
        try:
            hello = await connection.hello()
            # without a hello, the connection has ended already
            if message := connection.version_problem:
                peer = Peer(network=network_of(transport.address))
                self._authenticator.refused.note(peer, ErrorCode.VERSION_UNSUPPORTED, message)
            admission = None if hello is None else await self._judge(connection, hello, transport.address)
            if admission is not None:
                connection.welcome(admission)
        finally:
            self._greeting.discard(connection)
        try:
            await transport.wait_closed()
        finally:
            if admission is not None:
                self._roster.abandon(admission.device_id, admission.epoch)
                # Even if cancelled, the database must not keep the device online.
                with anyio.move_on_after(AFTER_ABORT_S, shield=True):
                    try:
                        if transport.close_is_answered() and connection.left == ErrorCode.REPLACED:
                            copy = await self._authenticator.note_replaced(admission)
                            await self._warn_newer(admission.device_id, copy)
                        await self._authenticator.release(admission, connection.left)
                    except HubError as exc:  # corrected by the device's next connection or the next start
                        log.warning("device.not_released", device_id=admission.device_id, code=exc.code)

    async def _warn_newer(self, device_id: DeviceId, copy: Copy | None) -> None:
        """Notify the machine that took the place of another one with the same key; it shows the error."""
        newer = self._roster.find(device_id)
        if copy is None or newer is None:
            return
        _, device = readable("device_id", device_id)
        message = (
            f"the key of this device is in use on another machine too: {copy.older}, connected since"
            f" {utc_text(copy.older.at)}; its connection was ended, because the hub"
            " serves the machine that connected last"
        )
        hint = (
            f"keep one of both, by its host, address or file; at the hub: hub devices keep {device} MACHINE"
        )
        with suppress(DeliveryError):  # it has left already, or does not read
            await newer.send(Error(code=ErrorCode.REPLACED, message=message, hint=hint))

    def _open(self, transport: DeviceSocket) -> DeviceConnection:
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
            ts_ms=now_ms(self._clock),
            bearer=bearer(transport.request.headers),
            prove=prove,
            hello_timeout_s=limits.hello_timeout_s,
            hello_bytes=limits.hello_bytes,
        )
        transport.forget_request()
        return DeviceConnection(
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

    async def _judge(
        self, connection: DeviceConnection, hello: DeviceHello, address: str
    ) -> Admission | None:
        """Authenticate a device. If it is refused, send the reason and return None."""
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
        except HelloRefusal as refusal:
            log.info(
                "device.refused",
                connection_id=connection.connection_id,
                network=network_of(address),
                device_id=refusal.device_id,
                code=refusal.error.code,
                why=refusal.error.message,
            )
            connection.refuse(refusal.error, refusal.close)
        except (HubError, TimeoutError) as exc:
            code = exc.code if isinstance(exc, HubError) else ErrorCode.OVERLOADED
            log.warning("device.not_judged", connection_id=connection.connection_id, code=code)
            connection.refuse(
                Error(code=code, message="the hub cannot look you up now"), CloseCode.OVERLOADED
            )
        except Exception as exc:  # an internal error must not leave the socket open
            log.error("connection.failed", exc=exc, connection_id=connection.connection_id)
            connection.refuse(Error(code=ErrorCode.INTERNAL, message="a fault in the hub"), CloseCode.FAULT)
        return None


def _bind(address: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    return socket.create_server(address, family=family)


def _quiet_logger() -> logging.Logger:
    """Return the library's logger, limited to warnings: below, it would log headers with tokens."""
    logger = logging.getLogger("hub.links.websockets")
    logger.setLevel(logging.WARNING)
    return logger


SHORTEST_MS: Final = 200
LONGEST_MS: Final = 1_000  # with few devices
EACH_MS: Final = 2  # 10,000 devices connected in 8 s on two cores, so they are spread over 20 s


@dataclass(frozen=True, slots=True)
class Farewell:
    """Reason and close code with which the hub ends all connections, and a message for the person."""

    reason: str
    close: CloseCode
    message: str = ""

    def to_one_of(self, connections: int, chance: Chance, *, to: str | None = None) -> Goodbye:
        """Return the goodbye of one out of *connections*, with a random time for its reconnect.

        Args:
            to: address of the node for its next connection; None: of any.
        """
        longest_ms = max(LONGEST_MS, EACH_MS * connections)
        wait_ms = round(chance.uniform(SHORTEST_MS, longest_ms))
        return Goodbye(reason=self.reason, retry_after_ms=wait_ms, message=self.message or None, to=to)


STOPPING: Final = Farewell("stopping", CloseCode.STOPPING)
RESTARTING: Final = Farewell("restarting", CloseCode.RESTARTING)
CUT_OFF: Final = Farewell(
    "cut_off",
    CloseCode.RESTARTING,
    "this node does not reach its database, and another one does: connect to that one",
)
CUT_OFF_RETRY_S: Final = 10.0
