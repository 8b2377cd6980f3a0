"""The operators' listener: uvicorn on a Unix socket and on TCP, separate from the devices' listener."""

import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anyio
from anyio.abc import TaskStatus

from hub.api.application import ANSWERED, application
from hub.api.document import document_server
from hub.api.door.access import BODY_BYTES, BODY_S, LIVENESS_PLACES, NO_PROXIES, Access
from hub.api.door.bearer import BearerTokens
from hub.api.door.connection import HEAD_S
from hub.api.door.idempotency import Replays
from hub.api.door.sockets import listen_on_tcp, listen_on_unix
from hub.api.door.uvicorn_server import HttpServer
from hub.api.events import BEAT_S, Streams
from hub.api.pages import Pages
from hub.api.parameters import Hub, Served
from hub.clock import Clock
from hub.links.gate import Gate
from hub.links.hosts import Hosts, TrustedProxies
from hub.loop_meter import LoopMeter
from hub.settings.limit_settings import DEFAULTS
from hub.settings.values import Address


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
            tcp = self._tcp or sockets.enter_context(listen_on_tcp(self._address))
            host, port = tcp.getsockname()[:2]
            where = Address(self._address.host if self._tcp is None else host, port)
            async with self.serving(tcp, unix, *([] if self._admin is None else [self._admin])):
                try:
                    task_status.started(Listening(where, self._unix_path))
                    await anyio.sleep_forever()
                finally:
                    self._streams.end()
