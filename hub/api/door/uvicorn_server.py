"""HTTP servers of the hub: uvicorn, started and stopped by the hub, which accepts TCP connections itself.

uvicorn starts tasks of its own and would install signal handlers. Here it installs none, and is
stopped by the hub, in bounded time.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Final, Protocol

import anyio
import uvicorn
from anyio.abc import TaskGroup
from starlette.types import Receive, Scope, Send

from hub.api.door.connection import connection_factory, operator_refusal
from hub.clock import Clock, wait_for_event
from hub.links.gate import DeadlineWheel, Gate, Place
from hub.links.hosts import Hosts, TrustedProxies
from hub.links.listener import Acceptor, Make
from hub.loop_meter import LoopMeter
from hub.rounds import Turns

FINISH_S: Final = 5  # for responses in progress when the server stops
GRACE_S: Final = FINISH_S + 2.0  # uvicorn is cancelled after this time
_TICK_S: Final = 30.0  # between two reports that the server works


class Application(Protocol):
    """ASGI application that checks host names and forwarding headers by itself."""

    hosts: Hosts
    proxies: TrustedProxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class HttpServer:
    """Server of one TCP port, and of Unix sockets.

    Args:
        gate: limit on connections over TCP; a refused connection gets a response and is closed.
        connections: separate limit on connections over the Unix sockets.
        head_s: time limit for receiving a request's head, in seconds.
        tls: TLS context of the TCP port.
        on_refusal: called with the error code of every refused connection.
        loop: meter that is charged with the loop time of connections.
        liveness_places: connections over the limit that may ask whether the hub lives.
    """

    def __init__(
        self,
        application: Application,
        *,
        gate: Gate,
        connections: int,
        head_s: float,
        tls: ssl.SSLContext | None,
        on_refusal: Callable[[str], None],
        loop: LoopMeter,
        liveness_places: int = 0,
        clock: Clock,
    ) -> None:
        self.turns = Turns(clock)
        self._application = application
        self._gate = gate
        self._connections = connections
        self._head_s = head_s
        self._tls = tls
        self._on_refusal = on_refusal
        self._loop = loop
        self._clock = clock
        self._liveness_places = liveness_places
        self._acceptor: Acceptor | None = None

    def apply(self, *, hosts: Hosts, proxies: TrustedProxies) -> None:
        """Replace hosts and proxies from the next request on."""
        self._application.hosts, self._application.proxies = hosts, proxies
        if self._acceptor is not None:
            self._acceptor.proxies = proxies

    @asynccontextmanager
    async def serving(self, tcp: socket.socket, *unix: socket.socket) -> AsyncIterator[TaskGroup]:
        """Serve until the block ends, then finish responses in progress, in bounded time.

        Yields the group of its tasks, which further tasks may join.
        """
        running = anyio.CancelScope(shield=True)
        async with anyio.create_task_group() as tasks:
            wheel = DeadlineWheel(self._clock)
            await tasks.start(wheel.serve)
            server = BoundedServer(
                self._config(), self.turns, self._clock, partial(self._accept_on, tcp, tasks, wheel)
            )
            tasks.start_soon(server.run_in, running, [*unix, tcp])
            try:
                await server.accepting.wait()
                yield tasks
            finally:
                server.should_exit = True
                server.leaving.set()
                with anyio.move_on_after(GRACE_S, shield=True):
                    await server.ended.wait()
                running.cancel()

    def _accept_on(self, tcp: socket.socket, tasks: TaskGroup, wheel: DeadlineWheel, make: Make) -> Acceptor:
        """Return the acceptor of TCP connections, which counts and limits them before the TLS handshake."""
        self._acceptor = Acceptor(
            tcp,
            make,
            gate=self._gate,
            proxies=self._application.proxies,
            tls=self._tls,
            tasks=tasks,
            wheel=wheel,
            clock=self._clock,
            open_s=self._head_s,
            close_s=FINISH_S,
            on_refusal=self._on_refusal,
            refusal_message=operator_refusal,
            liveness_places=self._liveness_places,
        )
        return self._acceptor

    def _config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._application,
            http=connection_factory(
                most_local=self._connections,
                head_s=self._head_s,
                on_refusal=self._on_refusal,
                loop=self._loop,
            ),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # the application checks forwarding headers
            server_header=False,
            date_header=False,  # set with each request
            timeout_graceful_shutdown=FINISH_S,
        )


class BoundedServer(uvicorn.Server):
    """uvicorn server with events for its start and its end.

    Args:
        accept_on_tcp: creates the acceptor of TCP connections. The library's own would accept every
            connection, and count connections only after the TLS handshake.
    """

    def __init__(
        self, config: uvicorn.Config, turns: Turns, clock: Clock, accept_on_tcp: Callable[[Make], Acceptor]
    ) -> None:
        super().__init__(config)
        self._turns = turns
        self._accept_on_tcp = accept_on_tcp
        self._clock = clock
        self.leaving = anyio.Event()
        self.accepting = anyio.Event()
        self.ended = anyio.Event()

    async def run_in(self, scope: anyio.CancelScope, sockets: list[socket.socket]) -> None:
        """Serve inside *scope*, which is shielded: uvicorn abandons its connections when cancelled."""
        try:
            with scope:
                await self.serve(sockets)
        finally:
            self.ended.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        assert sockets is not None
        await super().startup([sock for sock in sockets if sock.family == socket.AF_UNIX])
        acceptor = self._accept_on_tcp(self._connection)
        await acceptor.start_serving()
        self.servers.append(acceptor)  # type: ignore[arg-type]  # has all methods of a Server that are used
        self.accepting.set()

    def _connection(self, place: Place, _: str) -> asyncio.BaseProtocol:
        """Create the protocol of a connection, as the library does for its own listeners."""
        made: asyncio.BaseProtocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state, place=place
        )
        return made

    async def main_loop(self) -> None:
        """Wait for the end, with few wake-ups. The library would wake ten times a second."""
        while not await self.on_tick(1):
            self._turns.wait(_TICK_S)
            await wait_for_event(self.leaving, self._clock, _TICK_S)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers; the daemon handles signals."""
        yield
