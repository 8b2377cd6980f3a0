"""Listeners of operators, and of webhooks (429 for posts beyond a limit of unread ones), by uvicorn.

The servers are uvicorn's, started and stopped by the hub, which accepts TCP connections itself.

uvicorn starts tasks of its own and would install signal handlers. Here it installs none, and is
stopped by the hub, in bounded time.

The listener of webhooks: ``POST /hooks/{name}``, and nothing else.

A webhook post is verified, stored, and answered with 202. A delivery is committed before its response is
sent, so an acknowledged sender need not repeat it. A sender without a response may: the same delivery is
stored once. An unknown webhook and a bad signature get the same response after the same work. If an agent has
``MAX_WAITING`` posts of it to read, the sender is asked to return after a minute (429).
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import anyio
import uvicorn
from anyio.abc import TaskGroup, TaskStatus
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from hub.api.application import ANSWERED, application, document_server
from hub.api.events import BEAT_S, Streams, counts_for_ever
from hub.api.http.access import (
    BODY_BYTES,
    BODY_S,
    LET_IN,
    LIVENESS_PLACES,
    NO_PROXIES,
    Access,
    BearerTokens,
    answer_before_body,
    read_body,
)
from hub.api.http.idempotency import Replays
from hub.api.http.listening import listen_on_tcp, listen_on_unix
from hub.api.http.request_parser import HEAD_S, connection_factory, operator_refusal
from hub.api.resource import ResourceRegistry, Served
from hub.base.clock import Clock, IdFactory, epoch_ms, wait_for_event
from hub.base.log import Channel, bind
from hub.base.loop_meter import LoopAccount, LoopMeter, charge_tasks, charged
from hub.base.metrics import Metrics
from hub.base.periodic_loop import LoopReports
from hub.base.toml.limits import DEFAULTS
from hub.base.toml.values import HostPort
from hub.base.web.keep_alive import IDLE_S
from hub.base.web.pages import Pages
from hub.base.web.problem import ProblemResponse
from hub.connectors.webhook import Source, VerifiedPost, judge, value_of
from hub.links.acceptor import Acceptor, Make
from hub.links.connection_limits import ConnectionSlot, Gate
from hub.links.deadline_wheel import DeadlineWheel
from hub.links.hosts import FORWARDING, Hosts, TrustedProxies, network_of
from protocol.errors import ErrorCode, HubError
from storage.connectors import connectors, seen_messages
from storage.connectors.connectors import UnknownConnector
from storage.connectors.seen_messages import TooManyPosted
from storage.store import Store

log = Channel(__name__)

FINISH_S: Final = 5  # for responses in progress when the server stops
GRACE_S: Final = FINISH_S + 2.0  # uvicorn is cancelled after this time
_TICK_S: Final = 30.0  # between two reports that the server works


class Application(Protocol):
    """ASGI application that checks host names and forwarding headers by itself."""

    hosts: Hosts
    proxies: TrustedProxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class AssistantApplication(Protocol):
    """ASGI application of assistants that speak MCP."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    async def serve(self, *, task_status: TaskStatus[None]) -> None:
        """Serve until cancelled."""


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
        self.loop = LoopReports(clock)
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
        charge_tasks(asyncio.get_running_loop())
        async with anyio.create_task_group() as tasks:
            wheel = DeadlineWheel(self._clock)
            await tasks.start(wheel.serve)
            server = BoundedServer(
                self._config(), self.loop, self._clock, partial(self._accept_on, tcp, tasks, wheel)
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

    def _note_refusal(self, code: str, reason: str) -> None:
        """Report a request that was refused before the application had it."""
        self._on_refusal(code)

    def _config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._application,
            http=connection_factory(
                most_local=self._connections,
                head_s=self._head_s,
                on_refusal=self._note_refusal,
                loop=self._loop,
            ),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",  # a stranger can cause each warning; refusals are counted
            access_log=False,
            proxy_headers=False,  # the application checks forwarding headers
            server_header=False,
            date_header=False,  # set with each request
            timeout_graceful_shutdown=FINISH_S,
            timeout_keep_alive=IDLE_S,
        )


class BoundedServer(uvicorn.Server):
    """uvicorn server with events for its start and its end.

    Args:
        accept_on_tcp: creates the acceptor of TCP connections. The library's own would accept every
            connection, and count connections only after the TLS handshake.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        turns: LoopReports,
        clock: Clock,
        accept_on_tcp: Callable[[Make], Acceptor],
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

    def _connection(self, place: ConnectionSlot, _: str) -> asyncio.BaseProtocol:
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


class BoundAddresses(NamedTuple):
    """Addresses of the server; *tcp* has the port that was actually bound."""

    tcp: HostPort
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
        assistants: whether assistants that speak MCP are served.

    Raises:
        CodedError (BAD_SETTINGS): assistants are to be served, and a package is missing.

    Attributes:
        access: the ASGI application that the sockets serve.
        served: what its routes answer from.
    """

    def __init__(
        self,
        hub: ResourceRegistry,
        *,
        address: HostPort,
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
        assistants: bool = False,
        clock: Clock,
    ) -> None:
        self._tcp, self._admin = tcp, admin
        self._address = address
        self._unix_path = unix_path
        still_counts = counts_for_ever if bearer is None else bearer.still_counts
        self._streams = Streams(
            event_streams, beat_s=beat_s, still_counts=still_counts, on_refusal=on_refusal
        )
        self._assistants = (
            _assistants(hub, self._streams, find_access=lambda: self.access) if assistants else None
        )
        self.served = served = Served(
            hub, self._streams, metrics, document_server(ANSWERED.values()), self._assistants
        )
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
            authorizes=assistants,
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

    async def serve(self, *, task_status: TaskStatus[BoundAddresses] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, then end every stream and finish responses in progress, in bounded time.

        Raises:
            CannotListen: one of the two sockets could not be opened; neither is open.
        """
        with ExitStack() as sockets:
            unix = sockets.enter_context(listen_on_unix(self._unix_path))
            tcp = self._tcp or sockets.enter_context(listen_on_tcp(self._address, "operator"))
            host, port = tcp.getsockname()[:2]
            where = HostPort(self._address.host if self._tcp is None else host, port)
            async with self.serving(tcp, unix, *([] if self._admin is None else [self._admin])) as tasks:
                if self._assistants is not None:
                    await tasks.start(self._assistants.serve)
                try:
                    task_status.started(BoundAddresses(where, self._unix_path))
                    await anyio.sleep_forever()
                finally:
                    self._streams.end()


def _assistants(
    hub: ResourceRegistry, streams: Streams, find_access: Callable[[], Access]
) -> AssistantApplication:
    # Imported where it is used alone: the package is of an extra, and takes a second and 28 MiB.
    from hub.api.http.assistants import AssistantServer

    return AssistantServer(hub, streams, find_access)


AT_ONCE: Final = 32  # each holds a body in memory while its signature is checked
MAX_WAITING: Final = 1_000  # of one webhook, whose agent reads them a run at a time
_BODY_S: Final = 10.0  # time limit for receiving a body; senders have the whole body before they begin
FULL_S: Final = 60  # Retry-After when an agent has to process posts first
_PLACE: Final = "/hooks/"
_MEDIA_TYPE_CHARS: Final = 200


class WebhookEndpoint(NamedTuple):
    """A webhook: the name of its connector, its sender, and the secrets of which one has to verify."""

    name: str
    source: Source
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Hook({self.name!r}, {self.source.value!r})"


class RefusedPost(HubError):
    """A refused post."""

    def __init__(self, code: ErrorCode, message: str, *, status: int | None = None, **headers: str) -> None:
        super().__init__(message)
        self.reason = code
        self.answer = ProblemResponse(
            code,
            message,
            status=status,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )


class WebhookApplication:
    """ASGI application of the webhooks.

    Args:
        news: called with the id of a connector after a post to it was stored; must return at once.

    Attributes:
        hooks: webhooks by name.
        body_bytes: limit on the length of a body.
        at_once: limit on concurrent requests; further requests get 503.
        most_waiting: limit on unsettled posts of one webhook.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        ids: IdFactory,
        metrics: Metrics,
        news: Callable[[str], None],
        hosts: Hosts,
        proxies: TrustedProxies,
        body_bytes: int = DEFAULTS.posted_bytes,
        body_s: float = _BODY_S,
        at_once: int = AT_ONCE,
        most_waiting: int = MAX_WAITING,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._news = news
        self._body_s = body_s
        self._taken = 0
        self.hooks: Mapping[str, WebhookEndpoint] = {}
        self.hosts = hosts
        self.proxies = proxies
        self.body_bytes = body_bytes
        self.at_once = at_once
        self.most_waiting = most_waiting

    def use(self, hooks: Sequence[WebhookEndpoint]) -> None:
        """Replace the webhooks from the next post on."""
        self.hooks = {hook.name: hook for hook in hooks}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        account = LoopAccount(
            self._metrics.loop, f"network:{network_of(scope['client'][0])}"
        )  # may be a proxy's
        name = scope["path"].removeprefix(_PLACE)
        with bind(**({"connector": name} if name in self.hooks else {})):
            await charged(account, self._serve(scope, receive, send))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if self._taken >= self.at_once:
            self._metrics.limits_reached.labels("posts_at_once").inc()
            message = f"{self.at_once} posts are being answered, and no further one is now"
            await self._refuse(RefusedPost(ErrorCode.OVERLOADED, message))(scope, receive, send)
            return
        try:
            name = self._check_shape(scope)
        except HubError as refusal:
            await answer_before_body(self._refuse(refusal), scope, receive, send)
            return
        self._taken += 1
        try:
            answer = await self._answer(scope, receive, name)
        finally:
            self._taken -= 1
        if answer is not None and answer.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            await answer_before_body(answer, scope, receive, send)
        elif answer is not None:
            await answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, name: str) -> Response | None:
        """Return the response; None: the peer disconnected."""
        try:
            body = await read_body(receive, within_s=self._body_s, max_bytes=self.body_bytes)
            return None if body is None else await self._accept(scope, name, body)
        except HubError as refusal:
            if refusal.code is ErrorCode.TOO_LARGE:
                self._metrics.limits_reached.labels("posted_bytes").inc()
            return self._refuse(refusal)

    async def _accept(self, scope: Scope, name: str, body: bytes) -> Response:
        """Verify and store a post. Raises Refused if the signature is bad or too many posts are unsettled."""
        headers = Headers(scope=scope)
        once = {key: values[0] for key in headers if len(values := headers.getlist(key)) == 1}
        hook, now = self.hooks.get(name), self._clock.now()
        delivery = judge(
            None if hook is None else hook.source, once, body, () if hook is None else hook.secrets, now
        )
        if hook is None or delivery is None:
            raise RefusedPost(ErrorCode.BAD_SIGNATURE, "it is not signed as this webhook wants it")
        if (let_in := scope["state"].get(LET_IN)) is not None:
            let_in()
        media_type = once.get("content-type", "application/octet-stream")[:_MEDIA_TYPE_CHARS]
        if hook.source is Source.SLACK and (challenge := _challenge(body, media_type)) is not None:
            return PlainTextResponse(challenge)
        await self._keep(hook, delivery, media_type, body)
        return JSONResponse({}, status_code=202)

    async def _keep(
        self, hook: WebhookEndpoint, delivery: VerifiedPost, media_type: str, body: bytes
    ) -> None:
        at = epoch_ms(self._clock.now())
        try:
            row = await self._store.read(connectors.get_connector, hook.name)
            is_new = await self._store.write(
                seen_messages.take_in,
                row.id,
                id=self._ids.fresh(),
                keys=delivery.keys,
                since=0 if delivery.since is None else epoch_ms(delivery.since),
                event=delivery.event,
                media_type=media_type,
                body=body,
                most_waiting=self.most_waiting,
                at=at,
            )
        except TooManyPosted as error:
            self._metrics.limits_reached.labels("posted_waiting").inc()
            raise RefusedPost(error.code, str(error), status=429, retry_after=str(FULL_S)) from error
        except UnknownConnector as error:  # the connector is being removed from hub.toml
            raise RefusedPost(ErrorCode.BAD_SIGNATURE, "it is not signed as this webhook wants it") from error
        if is_new:
            log.info("hook.posted", connector=hook.name, bytes=len(body))
            self._news(row.id)

    def _check_shape(self, scope: Scope) -> str:
        """Return the name of the webhook that a request posts to.

        Raises:
            Refused: the request is not a well-formed post to a webhook.
            BadForwarding: a forwarding header came from a peer that is not a trusted proxy.
        """
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0] not in self.hosts:
            raise RefusedPost(ErrorCode.WRONG_HOST, self.hosts.refusal(" ".join(hosts), "webhooks"))
        forwarded = {name: values for name in FORWARDING if (values := headers.getlist(name))}
        self.proxies.client(scope["client"][0], forwarded)
        path: str = scope["path"]
        name = path.removeprefix(_PLACE)
        if not path.startswith(_PLACE) or not name or "/" in name:
            raise RefusedPost(ErrorCode.UNKNOWN_METHOD, "here is nothing but /hooks/NAME")
        if scope["method"] != "POST":
            raise RefusedPost(ErrorCode.UNKNOWN_METHOD, "a webhook is posted to", status=405, allow="POST")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise RefusedPost(
                ErrorCode.BAD_CONTENT_TYPE, "a body is not compressed", accept_encoding="identity"
            )
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self.body_bytes:
            self._metrics.limits_reached.labels("posted_bytes").inc()
            raise RefusedPost(ErrorCode.TOO_LARGE, f"a body has at most {self.body_bytes} bytes")
        return name

    def note_refusal(self, code: str, reason: str) -> None:
        """Count and log a refused post: its sender may not show the response."""
        self._metrics.webhook_refusals.labels(code).inc()
        log.info("hook.refused", code=code, why=reason)

    def _refuse(self, error: HubError) -> Response:
        """Count and log a refusal, also one of the database, and return its response."""
        if isinstance(error, RefusedPost):
            self.note_refusal(error.reason, str(error))
            return error.answer
        self.note_refusal(error.code, str(error))
        return ProblemResponse.of(error)


def _challenge(body: bytes, media_type: str) -> str | None:
    """Return the challenge that Slack expects back before it posts to a URL, or None."""
    found = value_of(body, media_type)
    if not isinstance(found, dict) or found.get("type") != "url_verification":
        return None
    challenge = found.get("challenge")
    return challenge if isinstance(challenge, str) else None


class NewPostQueue:
    """Queue of connectors with new posts, reported one after the other, without duplicates."""

    def __init__(self, store: Store, report: Callable[[str], Awaitable[None]]) -> None:
        self._store = store
        self._report = report
        self._waiting: dict[str, None] = {}
        self._is_some = anyio.Event()

    def news(self, connector_id: str) -> None:
        """Queue a connector that has a new post."""
        self._waiting[connector_id] = None
        self._is_some.set()

    async def serve(self) -> None:
        """Report connectors until cancelled, first those whose posts a killed hub had not reported."""
        try:
            for connector_id in await self._store.read(seen_messages.connectors_with_news):
                self.news(connector_id)
        except HubError as problem:
            log.warning("hook.news_not_told", code=problem.code, detail=str(problem))
        while True:
            await self._is_some.wait()
            self._is_some = anyio.Event()
            while self._waiting:
                connector_id = next(iter(self._waiting))
                del self._waiting[connector_id]
                try:
                    await self._report(connector_id)
                except HubError as problem:  # a schedule or the next post retries
                    log.warning("hook.news_not_told", code=problem.code, detail=str(problem))


class WebhookServer(HttpServer):
    """Service that listens for webhook posts. Its arguments are those of ``HttpServer``.

    Args:
        on_refusal: called with the code and the reason of each refusal.
    """

    def __init__(
        self,
        hooks: WebhookApplication,
        news: NewPostQueue,
        *,
        address: HostPort,
        gate: Gate,
        head_s: float = HEAD_S,
        tls: ssl.SSLContext | None = None,
        on_refusal: Callable[[str, str], None] = lambda *_: None,
        loop: LoopMeter | None = None,
        clock: Clock,
    ) -> None:
        self.hooks = hooks
        self._news = news
        self._address = address
        self._on_refused_post = on_refusal
        super().__init__(
            hooks,
            gate=gate,
            connections=0,
            head_s=head_s,
            tls=tls,
            on_refusal=lambda code: on_refusal(code, "its connection was refused"),
            loop=loop or LoopMeter(),
            clock=clock,
        )

    def _note_refusal(self, code: str, reason: str) -> None:
        self._on_refused_post(code, reason)

    async def serve(self, *, task_status: TaskStatus[HostPort] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, then finish requests in progress, in bounded time.

        Reports the bound address to *task_status*.

        Raises:
            CannotListen: the address is taken, or is not this machine's.
        """
        with listen_on_tcp(self._address, "webhooks") as tcp:
            async with self.serving(tcp) as tasks:
                tasks.start_soon(self._news.serve)
                task_status.started(HostPort(self._address.host, tcp.getsockname()[1]))
                await anyio.sleep_forever()
