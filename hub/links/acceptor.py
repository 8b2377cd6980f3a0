"""Takes connections off the listening socket, as long as there is room for them.

Who comes too often is told so and let go here, before a task, TLS or the WebSocket
library has cost anything. Near the limit of open files nothing is accepted for a while:
who knocks then waits in the kernel, and the hub can still open files of its own.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

from anyio.abc import TaskGroup

from hub.clock import Clock
from hub.links import open_files
from hub.links.attempts import network_of
from hub.links.deadlines import DeadlineWheel
from hub.links.forwarded import TrustedProxies
from hub.links.gate import Gate, Place, TurnedAway
from hub.links.upgrade import RequestRefused
from hub.log import Channel

log = Channel(__name__)

# What was sent and not acknowledged for so long cuts the connection: a peer that is gone is not
# found by its silence while there is still much of it to be read.
DEAD_AFTER_MS: Final = 30_000
ACCEPTED_AT_ONCE: Final = 8  # about a millisecond, then it is the others' turn
PAUSE_S: Final = 1.0  # when no file is left; with the wheel's tick, who waits is in within two seconds
LET_GO_S: Final = 1.0  # what somebody gets to read why; were it closed at once, the words could be lost
LET_GO_AT_ONCE: Final = 64  # beyond it a socket is closed without a word
TELL_EVERY_S: Final = 60.0  # that nothing is accepted: a flood of connections makes no flood of log lines

Make = Callable[[Place, str], asyncio.BaseProtocol]


def told_to_a_device(turned: TurnedAway) -> bytes:
    """Why it may not come, as HTTP: what it would have asked for is a WebSocket."""
    return RequestRefused(turned.reason, str(turned), retry_s=turned.retry_s).spelled()


class Acceptor:
    """Accepts on one listening socket; what the WebSocket library takes for an ``asyncio.Server``.

    Attributes:
        is_accepting: not while it pauses.

    Args:
        make: the protocol of a connection: for its place, and the address at its other end.
        tasks: for the opening of each connection, TLS included.
        open_s, close_s: for the handshakes of TLS.
        on_refusal: told the code of every connection that is let go, or ``tls_failed``.
        tell: what one is told that is let go, where it would be understood.
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
        tell: Callable[[TurnedAway], bytes] = told_to_a_device,
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
        self._tell = tell
        self._open_s, self._close_s = open_s, close_s
        self._loop = asyncio.get_running_loop()
        self._is_serving = False
        self.is_accepting = False
        self._leaving: set[_Leaving] = set()
        self._told_at: float | None = None

    # --- asyncio.Server, as far as it is asked for ---

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop it accepts in."""
        return self._loop

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The one it accepts on."""
        return (self._listening,)

    def is_serving(self) -> bool:
        """Whether who is accepted is also let in."""
        return self._is_serving

    async def start_serving(self) -> None:
        """Accept from now on."""
        self._listening.setblocking(False)
        self._is_serving = True
        self._accept_again()

    def close(self) -> None:
        """Accept no more. The listening socket is closed by whoever opened it."""
        self._is_serving = False
        self._stop_accepting()
        for leaving in list(self._leaving):
            leaving.run_late()

    async def wait_closed(self) -> None:
        """Nothing is left to wait for."""

    # --- accepting ---

    def run_late(self) -> None:
        """The wheel: the pause is over."""
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
        """The loop: somebody knocks."""
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                connection, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no file, or no memory, is left to this process or to the machine
                self._pause(error.strerror or "cannot accept")
                return
            if not self._take(connection, str(address[0]) if isinstance(address, tuple) else "local"):
                return

    def _take(self, connection: socket.socket, peer: str) -> bool:
        """Let a connection in or go; false when nothing more should be accepted for a while."""
        connection.setblocking(False)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER_MS)
        try:
            if connection.fileno() >= self._most_files():
                raise self._gate.turn_away("spare_files", "too many files are open")
            place = self._gate.enter(None if peer in self.proxies else network_of(peer))
        except TurnedAway as turned:
            is_told = self._let_go(connection, turned)
            if turned.limit == "spare_files" or (turned.limit == "connections" and not is_told):
                self._pause(str(turned))
                return False
            return True
        self._tasks.start_soon(self._open, connection, peer, place)
        return True

    async def _open(self, connection: socket.socket, peer: str, place: Place) -> None:
        """Make the transport, with TLS where that is asked for; from then on it is the library's."""
        timeouts = {}
        if self._tls is not None:
            timeouts = {"ssl_handshake_timeout": self._open_s, "ssl_shutdown_timeout": self._close_s}
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._make(place, peer), connection, ssl=self._tls, **timeouts
            )
        except OSError as error:  # it left, or does not speak TLS
            place.leave()
            connection.close()
            self._on_refusal("tls_failed")
            log.info("listener.tls_failed", reason=type(error).__name__)
        except Exception as exc:  # one connection does not take the port down with it
            place.leave()
            connection.close()
            log.error("connection.failed", exc=exc)
        except BaseException:
            place.leave()
            raise

    # --- letting go ---

    def _let_go(self, connection: socket.socket, turned: TurnedAway) -> bool:
        """Say why and close a little later; false when too many are being let go for that."""
        self._on_refusal(turned.reason)
        if len(self._leaving) >= min(LET_GO_AT_ONCE, self._spared() // 2):
            connection.close()
            return False
        if self._tls is not None:  # words in the clear would be taken for a broken handshake
            connection.close()
            return True
        try:
            connection.send(self._tell(turned))
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            connection.close()
            return True
        leaving = _Leaving(connection, self._leaving)
        self._wheel.add_after(leaving, LET_GO_S)
        return True

    def _pause(self, why: str) -> None:
        """Accept nothing for PAUSE_S."""
        self._stop_accepting()
        self._wheel.add_after(self, PAUSE_S)
        now = self._clock.monotonic()
        if self._told_at is None or now >= self._told_at + TELL_EVERY_S:
            self._told_at = now
            log.warning("listener.paused", reason=why, connections=len(self._gate))

    def _most_files(self) -> int:
        """From this number of a file on, it is one of those that are spared."""
        limit = open_files.limit()
        return limit - self._spared(limit)

    def _spared(self, limit: int | None = None) -> int:
        return open_files.spared(self._gate.limits.spare_files, limit or open_files.limit())


class _Leaving:
    """A connection that was told why it may not come, and gets a moment to read it."""

    __slots__ = ("_among", "_connection")

    def __init__(self, connection: socket.socket, among: "set[_Leaving]") -> None:
        self._connection = connection
        self._among = among
        among.add(self)

    def run_late(self) -> None:
        """The wheel: the moment is over."""
        self._among.discard(self)
        self._connection.close()
