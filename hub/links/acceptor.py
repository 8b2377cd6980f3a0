"""Acceptance of sockets on the device port, and early refusal beyond the limits.

Connections over a rate limit are refused here with a message, before a task, TLS or the WebSocket library has
cost anything. Near the limit of open files, accepting pauses for a while: new connections wait in the
kernel's backlog, and the hub can still open files of its own.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

import anyio
from anyio.abc import TaskGroup

from hub.base import open_files
from hub.base.clock import Clock
from hub.base.log import Channel
from hub.links.connection_limits import OPEN_FILES, AdmissionRefused, ConnectionSlot, Gate, LivenessSlot
from hub.links.deadline_wheel import DeadlineWheel
from hub.links.hosts import TrustedProxies, network_of
from hub.links.transport import RequestRefused
from protocol.errors import ErrorCode

log = Channel(__name__)

ACCEPTED_AT_ONCE: Final = 8  # about a millisecond, then other tasks run

# without a free file; with the wheel's tick, waiting connections are accepted within two seconds
PAUSE_S: Final = 1.0

LINGER_S: Final = 1.0  # before closing a refused connection: closed at once, the message could be lost

MAX_LINGERING: Final = 64  # above this, a socket is closed without a message

LOG_EVERY_S: Final = 60.0  # limits log lines about paused accepting during a flood of connections

Make = Callable[[ConnectionSlot, str], asyncio.BaseProtocol]
# Unacknowledged data cuts the connection after this time. A dead peer is not detected by its silence while
# much of its data is still unread.
DEAD_AFTER_MS: Final = 30_000


def device_refusal(turned: AdmissionRefused) -> bytes:
    """Return the reason of a refusal as an HTTP response, because the device expects a WebSocket."""
    return RequestRefused(turned.reason, str(turned), retry_s=turned.retry_s).spelled()


class Acceptor:
    """Accepts on one listening socket; replaces the ``asyncio.Server`` of the WebSocket library.

    Attributes:
        is_accepting: False while accepting is paused.

    Args:
        make: creates the protocol of a connection from its place and the peer's address.
        tasks: runs the opening of each connection, including TLS.
        open_s, close_s: time limits of the TLS handshakes.
        on_refusal: called with the code of every refused connection, or ``tls_failed``.
        refusal_message: returns the message for a refused connection.
        liveness_places: refused connections that are opened at once all the same, see LivenessPlace.
    """

    def __init__(
        self,
        listening: socket.socket,
        make: Make,
        *,
        gate: Gate,
        proxies: TrustedProxies,
        tls: ssl.SSLContext | None,
        tasks: TaskGroup,
        wheel: DeadlineWheel,
        clock: Clock,
        open_s: float,
        close_s: float,
        on_refusal: Callable[[str], None],
        refusal_message: Callable[[AdmissionRefused], bytes] = device_refusal,
        liveness_places: int = 0,
    ) -> None:
        self.proxies = proxies
        self._listening = listening
        self._make = make
        self._gate = gate
        self._tls = tls
        self._tasks = tasks
        self._wheel = wheel
        self._clock = clock
        self._on_refusal = on_refusal
        self._refusal_message = refusal_message
        self._liveness_places = liveness_places
        self._alive: dict[LivenessSlot, None] = {}
        self._open_s, self._close_s = open_s, close_s
        self._loop = asyncio.get_running_loop()
        self._is_serving = False
        self.is_accepting = False
        self._leaving: set[_Leaving] = set()
        self._logged_at: float | None = None

    # --- interface of asyncio.Server ---

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop of the listening socket."""
        return self._loop

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening socket."""
        return (self._listening,)

    def is_serving(self) -> bool:
        """Return True between ``start_serving`` and ``close``."""
        return self._is_serving

    async def start_serving(self) -> None:
        """Start accepting connections."""
        self._listening.setblocking(False)
        self._is_serving = True
        self._accept_again()

    def close(self) -> None:
        """Stop accepting. The listening socket is closed by its owner."""
        self._is_serving = False
        self._stop_accepting()
        for leaving in list(self._leaving):
            leaving.on_deadline()

    async def wait_closed(self) -> None:
        """Return at once; required by the interface."""

    # --- accepting ---

    def on_deadline(self) -> None:
        """Resume accepting after the pause; called by the wheel."""
        if self._is_serving:
            self._accept_again()

    def _accept_again(self) -> None:
        if not self.is_accepting:
            self.is_accepting = True
            self._loop.add_reader(self._listening.fileno(), self._accept)

    def _stop_accepting(self) -> None:
        if self.is_accepting:
            self.is_accepting = False
            self._loop.remove_reader(self._listening.fileno())

    def _accept(self) -> None:
        """Accept waiting connections; called by the event loop."""
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                connection, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # the process or the machine has no file or memory left
                self._pause(error.strerror or "cannot accept")
                return
            if not self._admit(connection, str(address[0]) if isinstance(address, tuple) else "local"):
                return

    def _admit(self, connection: socket.socket, peer: str) -> bool:
        """Open or refuse a connection. Return False if accepting should stop for a while."""
        connection.setblocking(False)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER_MS)
            # asyncio does so only where the socket names its protocol, which a bound one need not.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        try:
            if connection.fileno() >= (limit := open_files.limit()) - self._spared(limit):
                raise self._gate.turn_away(OPEN_FILES, "too many files are open")
            place = self._gate.enter(None if peer in self.proxies else network_of(peer))
        except AdmissionRefused as turned:
            liveness = self._liveness_place(turned)
            is_answered = liveness is not None or self._linger(connection, turned)
            if liveness is not None:
                self._tasks.start_soon(self._open, connection, peer, liveness)
            if turned.limit == OPEN_FILES or (turned.limit == "connections" and not is_answered):
                self._pause(str(turned))
                return False
            return True
        self._tasks.start_soon(self._open, connection, peer, place)
        return True

    def _liveness_place(self, turned: AdmissionRefused) -> ConnectionSlot | None:
        """Return a place for a request for liveness, if need be that of the oldest one."""
        if not self._liveness_places or turned.reason == ErrorCode.RATE_LIMITED:
            return None
        if len(self._alive) >= min(self._liveness_places, self._spared() // 2):
            oldest = next(iter(self._alive), None)
            if oldest is None or oldest.give_way is None or not oldest.give_way(turned):
                return None
            oldest.leave()
        return LivenessSlot(turned, self._alive)

    async def _open(self, connection: socket.socket, peer: str, place: ConnectionSlot) -> None:
        """Set up the transport, with TLS if configured; the library handles the connection from then on."""
        timeouts = {}
        if self._tls is not None:
            timeouts = {"ssl_handshake_timeout": self._open_s, "ssl_shutdown_timeout": self._close_s}

        def give_way(turned: AdmissionRefused) -> bool:
            self._on_refusal(turned.reason)
            opening.cancel()
            return True

        try:
            with anyio.CancelScope() as opening:
                if (
                    self._tls is not None
                ):  # else it has its connection at once, and is not to be cut off between
                    place.give_way = give_way
                await self._loop.connect_accepted_socket(
                    lambda: self._make(place, peer), connection, ssl=self._tls, **timeouts
                )
        except OSError as error:  # it disconnected, or does not speak TLS
            place.leave()
            connection.close()
            self._on_refusal("tls_failed")
            why = (
                getattr(error, "reason", None)
                or "the peer closed the connection, as one that refuses the certificate"
            )
            log.info("listener.tls_failed", network=network_of(peer), why=why)
        except Exception as exc:  # a failure of one connection must not close the port
            place.leave()
            connection.close()
            log.error("connection.failed", exc=exc)
        except BaseException:
            place.leave()
            raise

    # --- refusing ---

    def _linger(self, connection: socket.socket, turned: AdmissionRefused) -> bool:
        """Send the reason and close later. Return False if too many refused connections are open."""
        self._on_refusal(turned.reason)
        if len(self._leaving) >= min(MAX_LINGERING, self._spared() // 2):
            connection.close()
            return False
        if self._tls is not None:  # plain text would look like a broken handshake
            connection.close()
            return True
        try:
            connection.send(self._refusal_message(turned))
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            connection.close()
            return True
        leaving = _Leaving(connection, self._leaving)
        self._wheel.add_after(leaving, LINGER_S)
        return True

    def _pause(self, why: str) -> None:
        """Stop accepting for PAUSE_S."""
        self._stop_accepting()
        self._wheel.add_after(self, PAUSE_S)
        now = self._clock.monotonic()
        if self._logged_at is None or now >= self._logged_at + LOG_EVERY_S:
            self._logged_at = now
            log.warning("listener.paused", reason=why, connections=len(self._gate))

    def _spared(self, limit: int | None = None) -> int:
        """Return the number of files that are reserved for other use than connections."""
        return open_files.spared(self._gate.limits.spare_files, limit or open_files.limit())


class _Leaving:
    """A refused connection, open for a moment so that the peer can read the reason."""

    __slots__ = ("_among", "_connection")

    def __init__(self, connection: socket.socket, among: "set[_Leaving]") -> None:
        self._connection = connection
        self._among = among
        among.add(self)

    def on_deadline(self) -> None:
        """Close the connection; called by the wheel."""
        self._among.discard(self)
        self._connection.close()
