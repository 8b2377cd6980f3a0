"""Listener of operators, and HTTP servers in general: uvicorn, started and stopped by the hub.

HTTP servers of the hub: uvicorn, started and stopped by the hub, which accepts TCP connections itself.

uvicorn starts tasks of its own and would install signal handlers. Here it installs none, and is
stopped by the hub, in bounded time.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import anyio
import uvicorn
from anyio.abc import TaskGroup, TaskStatus
from starlette.types import Receive, Scope, Send

from hub.api.application import ANSWERED, application, document_server
from hub.api.door.access import BODY_BYTES, BODY_S, LIVENESS_PLACES, NO_PROXIES, Access, BearerTokens
from hub.api.door.idempotency import Replays
from hub.api.door.sockets import HEAD_S, connection_factory, listen_on_tcp, listen_on_unix, operator_refusal
from hub.api.events import BEAT_S, Streams
from hub.api.noun import Hub, Served
from hub.api.pages import Pages
from hub.clock import Clock, wait_for_event
from hub.links.gate import DeadlineWheel, Gate, Place
from hub.links.hosts import Hosts, TrustedProxies
from hub.links.listener import Acceptor, Make
from hub.loop_meter import LoopMeter
from hub.rounds import Turns
from hub.settings.limit_settings import DEFAULTS
from hub.settings.values import Address

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


class Listening(NamedTuple):
    """Addresses of the server; *tcp* has the port that was actually bound."""

    tcp: Address
    unix: Path


class OperatorServer(HttpServer):
    """Server of a hub's REST interface.

    Args:
        address: address of the TCP listener, which requires a token.
        unix_path: path of the Unix socket, for the hub's own user.
        hosts: values allowed in the Host header of a TCP request.
        proxies: proxies whose forwarding headers are trusted.
        bearer: verifier of tokens; without it TCP serves public routes only.
        replays: stored responses to requests with an ``Idempotency-Key``.
        tcp, admin: sockets passed by the service manager. *tcp* replaces *address*; *admin*, a Unix socket
            that a group may open, is served in addition to *unix_path*.
        tls: TLS context of the TCP listener.
        body_bytes: limit on the length of a request body.
        body_s: time limit for receiving a body, in seconds.
        requests: limit on concurrent requests; further requests get 503.
        gate: limit on connections over TCP; a refused connection gets a response and is closed.
        connections: separate limit on connections over the Unix sockets.
        head_s: time limit for receiving a request's head, in seconds.
        event_streams: limit on concurrent event streams.
        beat_s: seconds of silence after which a stream sends a comment.
        metrics: returns the body of ``/metrics``, in Prometheus' text format.
        on_refusal: called with the error code of every refused request and connection.
        loop: meter that is charged with the loop time of requests.

    Attributes:
        access: the ASGI application that the sockets serve.
        served: what its routes answer from.
    """

    def __init__(
        self,
        hub: Hub,
        *,
        address: Address,
        unix_path: Path,
        hosts: Hosts | None = None,
        proxies: TrustedProxies = NO_PROXIES,
        bearer: BearerTokens | None = None,
        replays: Replays | None = None,
        body_bytes: int = BODY_BYTES,
        body_s: float = BODY_S,
        requests: int = DEFAULTS.operator_requests,
        gate: Gate,
        connections: int = DEFAULTS.operator_connections,
        head_s: float = HEAD_S,
        event_streams: int = DEFAULTS.operator_event_streams,
        beat_s: float = BEAT_S,
        metrics: Callable[[], bytes],
        on_refusal: Callable[[str], None] = lambda _: None,
        loop: LoopMeter | None = None,
        tcp: socket.socket | None = None,
        tls: ssl.SSLContext | None = None,
        admin: socket.socket | None = None,
        clock: Clock,
    ) -> None:
        self._tcp, self._admin = tcp, admin
        self._address = address
        self._unix_path = unix_path
        self._streams = Streams(event_streams, beat_s=beat_s)
        self._streams.on_refusal = on_refusal
        self.served = served = Served(hub, self._streams, metrics, document_server(ANSWERED.values()))
        if bearer is not None:
            self._streams.still_counts = bearer.still_counts
        self.access = Access(
            partial(application, served),
            hosts=hosts or Hosts(),
            proxies=proxies,
            body_bytes=body_bytes,
            body_s=body_s,
            requests=requests,
            bearer=bearer,
            replays=replays,
            pages=Pages(),
            guarded=() if admin is None else (admin.getsockname(),),
            on_refusal=on_refusal,
            loop=loop,
        )
        super().__init__(
            self.access,
            gate=gate,
            connections=connections,
            head_s=head_s,
            tls=tls,
            on_refusal=on_refusal,
            loop=self.access.loop,
            liveness_places=LIVENESS_PLACES,
            clock=clock,
        )

    async def serve(self, *, task_status: TaskStatus[Listening] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, then end every stream and finish responses in progress, in bounded time.

        Raises:
            CannotListen: one of the two sockets could not be opened; neither is open.
        """
        with ExitStack() as sockets:
            unix = sockets.enter_context(listen_on_unix(self._unix_path))
            tcp = self._tcp or sockets.enter_context(listen_on_tcp(self._address, "operator"))
            host, port = tcp.getsockname()[:2]
            where = Address(self._address.host if self._tcp is None else host, port)
            async with self.serving(tcp, unix, *([] if self._admin is None else [self._admin])):
                try:
                    task_status.started(Listening(where, self._unix_path))
                    await anyio.sleep_forever()
                finally:
                    self._streams.end()
