"""The operators' listener: uvicorn on a Unix socket and on TCP, separate from the devices' listener."""

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

from hub.api.application import ANSWERED, application
from hub.api.deps import Hub, Served
from hub.api.document import document_server
from hub.api.door.access import BODY_BYTES, BODY_S, NO_PROXIES, Access, Bearer
from hub.api.door.connection import HEAD_S, connection_factory, operator_refusal
from hub.api.door.idempotency import Replays
from hub.api.door.sockets import listen_on_tcp, listen_on_unix
from hub.api.door.uvicorn_server import FINISH_S, GRACE_S, BoundedServer
from hub.api.events import BEAT_S, Streams
from hub.clock import Clock
from hub.links.acceptor import Acceptor, Make
from hub.links.deadlines import DeadlineWheel
from hub.links.gate import Gate
from hub.links.hosts import Hosts, TrustedProxies
from hub.loop_meter import LoopMeter
from hub.settings.limit_settings import DEFAULTS
from hub.settings.values import Address
from hub.turns import Turns


class Listening(NamedTuple):
    """Addresses of the server; *tcp* has the port that was actually bound."""

    tcp: Address
    unix: Path


class OperatorServer:
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
    """

    def __init__(
        self,
        hub: Hub,
        *,
        address: Address,
        unix_path: Path,
        hosts: Hosts | None = None,
        proxies: TrustedProxies = NO_PROXIES,
        bearer: Bearer | None = None,
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
        served = Served(hub, self._streams, metrics, document_server(ANSWERED.values()))
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
            guarded=() if admin is None else (admin.getsockname(),),
            on_refusal=on_refusal,
            loop=loop,
        )

    def apply(self, *, hosts: Hosts, proxies: TrustedProxies) -> None:
        """Replace hosts and proxies from the next request on."""
        self.access.hosts = hosts
        self.access.proxies = proxies
        if self._acceptor is not None:
            self._acceptor.proxies = proxies

    async def serve(self, *, task_status: TaskStatus[Listening] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, then end every stream and finish responses in progress, in bounded time.

        Raises:
            CannotListen: one of the two sockets could not be opened; neither is open.
        """
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

    def _accept_on(self, tcp: socket.socket, tasks: TaskGroup, wheel: DeadlineWheel, make: Make) -> Acceptor:
        """Return the acceptor of TCP connections, which counts and limits them before the TLS handshake."""
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
            refusal_message=operator_refusal,
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
            proxy_headers=False,  # forwarding headers are checked by ``Access``
            server_header=False,
            timeout_graceful_shutdown=FINISH_S,
        )
