"""The operator's listener: uvicorn on a Unix socket and on loopback TCP, and nothing of the devices'."""

import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anyio.to_thread
import uvicorn
from anyio.abc import TaskGroup, TaskStatus
from starlette.types import Receive, Scope, Send

from hub.api.application import application
from hub.api.deps import SERVED, Served
from hub.api.door.access import BODY_S, NO_PROXIES, Access, Bearer
from hub.api.door.connection import CONNECTIONS, HEAD_S, connection_factory, told_to_an_operator
from hub.api.door.idempotency import Replays
from hub.api.door.sockets import listen_on_tcp, listen_on_unix
from hub.api.door.uvicorn_server import FINISH_S, GRACE_S, BoundedServer
from hub.api.events import BEAT_S, Streams
from hub.api.facade import HubFacade
from hub.clock import Clock
from hub.links.acceptor import Acceptor, Make
from hub.links.deadlines import DeadlineWheel
from hub.links.forwarded import TrustedProxies
from hub.links.gate import Gate
from hub.links.hosts import Hosts
from hub.loop_meter import LoopMeter
from hub.settings.address import Address
from hub.turns import Turns


class Listening(NamedTuple):
    """Where the server listens: *tcp* with the port that was really taken."""

    tcp: Address
    unix: Path


class OperatorServer:
    """Serves a hub's REST interface.

    Args:
        address: the TCP listener, for whoever shows a token.
        unix_path: the Unix socket, for the hub's own user.
        hosts: what the Host header of a TCP request may say.
        proxies: whose word about who asks is taken.
        bearer: knows operators' tokens; without it TCP serves nothing but health.
        replays: keeps the answers to requests with an ``Idempotency-Key``.
        tcp, admin: sockets that the service manager holds for us: the first stands in for *address*,
            the second, a Unix socket that a group may open, comes beside *unix_path*.
        tls: serve with it over TCP.
        body_bytes: the longest request body.
        body_s: within which it must be here.
        requests: answered at once; further ones get 503.
        gate: counts the connections over TCP; who is not let in by it is told so, and closed.
        connections: the same over the Unix sockets, which nobody takes up over TCP.
        head_s: within which a request's head must be here.
        event_streams: followers at once.
        beat_s: how long a stream is silent at most.
        metrics: what ``/metrics`` answers, in Prometheus' text format.
        on_refusal: told the code of every request and connection that was refused for what it is.
        loop: is charged with what requests take.

    Attributes:
        access: the ASGI application that the sockets serve.
    """

    def __init__(
        self,
        hub: HubFacade,
        *,
        address: Address,
        unix_path: Path,
        hosts: Hosts | None = None,
        proxies: TrustedProxies = NO_PROXIES,
        bearer: Bearer | None = None,
        replays: Replays | None = None,
        body_bytes: int = 1024 * 1024,
        body_s: float = BODY_S,
        requests: int = 64,
        gate: Gate,
        connections: int = CONNECTIONS,
        head_s: float = HEAD_S,
        event_streams: int = 16,
        beat_s: float = BEAT_S,
        metrics: Callable[[], bytes],
        on_refusal: Callable[[str], None] = lambda _: None,
        loop: LoopMeter | None = None,
        tcp: socket.socket | None = None,
        tls: ssl.SSLContext | None = None,
        admin: socket.socket | None = None,
        clock: Clock,
    ) -> None:
        self.turns = Turns(clock)
        self._clock = clock
        self._acceptor: Acceptor | None = None
        self._tcp, self._admin = tcp, admin
        self._tls = tls
        self._address = address
        self._unix_path = unix_path
        self._gate = gate
        self._connections = connections
        self._head_s = head_s
        self._streams = Streams(event_streams, beat_s=beat_s)
        self._streams.on_refusal = self._on_refusal = on_refusal
        self._served = Served(hub, self._streams, metrics)
        if bearer is not None:
            self._streams.still_counts = bearer.still_counts
        self.access = Access(
            self._answer,
            hosts=hosts or Hosts(),
            proxies=proxies,
            body_bytes=body_bytes,
            body_s=body_s,
            requests=requests,
            bearer=bearer,
            replays=replays,
            guarded=() if admin is None else (admin.getsockname(),),
            on_refusal=on_refusal,
            loop=loop,
        )

    def apply(self, *, hosts: Hosts, proxies: TrustedProxies, body_bytes: int) -> None:
        """Other rules from the next request on."""
        self.access.hosts = hosts
        self.access.proxies = proxies
        if self._acceptor is not None:
            self._acceptor.proxies = proxies
        self.access.body_bytes = body_bytes

    async def serve(self, *, task_status: TaskStatus[Listening] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; then every stream ends, answers under way finish, in bounded time.

        Raises:
            CannotListen: one of the two sockets could not be opened; neither is open.
        """
        application()  # before READY: not at the first request, on the loop that serves devices
        with ExitStack() as sockets:
            unix = sockets.enter_context(listen_on_unix(self._unix_path))
            tcp = self._tcp or sockets.enter_context(listen_on_tcp(self._address))
            host, port = tcp.getsockname()[:2]
            where = Address(self._address.host if self._tcp is None else host, port)
            running = anyio.CancelScope(shield=True)
            async with anyio.create_task_group() as tasks:
                wheel = DeadlineWheel(self._clock)
                await tasks.start(wheel.serve)
                server = BoundedServer(
                    self._config(), self.turns, partial(self._accept_on, tcp, tasks, wheel)
                )
                open_sockets = [unix, tcp] if self._admin is None else [unix, self._admin, tcp]
                tasks.start_soon(server.run_in, running, open_sockets)
                try:
                    await server.accepting.wait()
                    task_status.started(Listening(where, self._unix_path))
                    await anyio.sleep_forever()
                finally:
                    self._streams.end()
                    server.should_exit = True
                    with anyio.move_on_after(GRACE_S, shield=True):
                        await server.ended.wait()
                    running.cancel()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that was let in."""
        scope["state"][SERVED] = self._served
        await application()(scope, receive, send)

    def _accept_on(self, tcp: socket.socket, tasks: TaskGroup, wheel: DeadlineWheel, make: Make) -> Acceptor:
        """What lets connections in over TCP: counted, and in bounded time, before TLS costs anything."""
        self._acceptor = Acceptor(
            tcp,
            make,
            gate=self._gate,
            proxies=self.access.proxies,
            tls=self._tls,
            tasks=tasks,
            wheel=wheel,
            clock=self._clock,
            open_s=self._head_s,
            close_s=FINISH_S,
            on_refusal=self._on_refusal,
            tell=told_to_an_operator,
        )
        return self._acceptor

    def _config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self.access,
            http=connection_factory(
                most_local=self._connections,
                head_s=self._head_s,
                on_refusal=self._on_refusal,
                loop=self.access.loop,
            ),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # no header is believed about who asks
            server_header=False,
            timeout_graceful_shutdown=FINISH_S,
        )
