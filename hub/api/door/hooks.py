"""The listener of webhooks: ``POST /hooks/{name}``, and nothing else.

A webhook post is verified, stored, and answered with 202. A delivery is committed before its response is
sent, so an acknowledged sender need not repeat it. A sender without a response may: the same delivery is
stored once. An unknown webhook and a bad signature get the same response after the same work.
"""

import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple

import anyio
from anyio.abc import TaskStatus
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from hub.api.door.access import LET_IN, read_body
from hub.api.door.server import HttpServer
from hub.api.door.sockets import HEAD_S, listen_on_tcp
from hub.api.errors import Problem
from hub.clock import Clock, IdFactory, epoch_ms
from hub.connectors.webhook import Delivery, Source, judge, value_of
from hub.links.gate import Gate, network_of
from hub.links.hosts import FORWARDING, Hosts, TrustedProxies
from hub.log import Channel
from hub.loop_meter import LoopMeter, charged
from hub.metrics import Metrics
from hub.settings.limit_settings import DEFAULTS
from hub.settings.values import Address
from protocol.errors import ErrorCode, HubError
from storage.connectors import connectors
from storage.connectors.connectors import UnknownConnector
from storage.runs import posted
from storage.runs.posted import TooManyPosted
from storage.store import Store

log = Channel(__name__)

AT_ONCE: Final = 32  # each holds a body in memory while its signature is checked
MOST_WAITING: Final = 1_000  # of one webhook, whose agent reads them a run at a time
BODY_S: Final = 10.0  # time limit for receiving a body; senders have the whole body before they begin
BUSY_S: Final = 1  # Retry-After when all places are taken
FULL_S: Final = 60  # Retry-After when an agent has to process posts first
_PLACE: Final = "/hooks/"
_MEDIA_TYPE_CHARS: Final = 200


class Hook(NamedTuple):
    """A webhook: the name of its connector, its sender, and the secrets of which one has to verify."""

    name: str
    source: Source
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Hook({self.name!r}, {self.source.value!r})"


class Refused(HubError):
    """A refused post."""

    def __init__(self, code: ErrorCode, message: str, *, status: int | None = None, **headers: str) -> None:
        super().__init__(message)
        self.reason = code
        self.answer = Problem(
            code,
            message,
            status=status,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )


class Hooks:
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
        body_s: float = BODY_S,
        at_once: int = AT_ONCE,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._news = news
        self._body_s = body_s
        self._taken = 0
        self.hooks: Mapping[str, Hook] = {}
        self.hosts = hosts
        self.proxies = proxies
        self.body_bytes = body_bytes
        self.at_once = at_once
        self.most_waiting = most_waiting

    def use(self, hooks: Sequence[Hook]) -> None:
        """Replace the webhooks from the next post on."""
        self.hooks = {hook.name: hook for hook in hooks}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if self._taken >= self.at_once:
            self._metrics.limits_reached.labels("posts_at_once").inc()
            message = f"{self.at_once} posts are being answered, and no further one is now"
            await self._refuse(Refused(ErrorCode.OVERLOADED, message, retry_after=str(BUSY_S)))(
                scope, receive, send
            )
            return
        self._taken += 1
        try:
            network = f"network:{network_of(scope['client'][0])}"  # may be a proxy's
            answer = await charged(self._metrics.loop, network, self._answer(scope, receive))
            if answer is not None:
                await answer(scope, receive, send)
        finally:
            self._taken -= 1

    async def _answer(self, scope: Scope, receive: Receive) -> Response | None:
        """Return the response; None: the peer disconnected."""
        try:
            name = self._check_shape(scope)
            body = await read_body(receive, within_s=self._body_s)
            return None if body is None else await self._take(scope, name, body)
        except Refused as refusal:
            return self._refuse(refusal)
        except HubError as refusal:
            return self._problem(refusal)

    async def _take(self, scope: Scope, name: str, body: bytes) -> Response:
        """Verify and store a post. Raises Refused if the signature is bad or too many posts are unsettled."""
        headers = Headers(scope=scope)
        once = {key: values[0] for key in headers if len(values := headers.getlist(key)) == 1}
        hook, now = self.hooks.get(name), self._clock.now()
        delivery = judge(
            None if hook is None else hook.source, once, body, () if hook is None else hook.secrets, now
        )
        if hook is None or delivery is None:
            raise Refused(ErrorCode.BAD_SIGNATURE, "it is not signed as this webhook wants it")
        if (let_in := scope["state"].get(LET_IN)) is not None:
            let_in()
        media_type = once.get("content-type", "application/octet-stream")[:_MEDIA_TYPE_CHARS]
        if hook.source is Source.SLACK and (challenge := _challenge(body, media_type)) is not None:
            return PlainTextResponse(challenge)
        await self._keep(hook, delivery, media_type, body)
        return JSONResponse({}, status_code=202)

    async def _keep(self, hook: Hook, delivery: Delivery, media_type: str, body: bytes) -> None:
        at = epoch_ms(self._clock.now())
        try:
            row = await self._store.read(connectors.get_connector, hook.name)
            is_new = await self._store.write(
                posted.take_in,
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
            raise Refused(error.code, str(error), status=429, retry_after=str(FULL_S)) from error
        except UnknownConnector as error:  # the connector is being removed from hub.toml
            raise Refused(ErrorCode.BAD_SIGNATURE, "it is not signed as this webhook wants it") from error
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
            raise Refused(ErrorCode.WRONG_HOST, self.hosts.refusal(" ".join(hosts), "webhooks"))
        forwarded = {name: values for name in FORWARDING if (values := headers.getlist(name))}
        self.proxies.client(scope["client"][0], forwarded)
        path: str = scope["path"]
        name = path.removeprefix(_PLACE)
        if not path.startswith(_PLACE) or not name or "/" in name:
            raise Refused(ErrorCode.UNKNOWN_METHOD, "here is nothing but /hooks/NAME")
        if scope["method"] != "POST":
            raise Refused(ErrorCode.UNKNOWN_METHOD, "a webhook is posted to", status=405, allow="POST")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Refused(ErrorCode.BAD_CONTENT_TYPE, "a body is not compressed", accept_encoding="identity")
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self.body_bytes:
            self._metrics.limits_reached.labels("posted_bytes").inc()
            raise Refused(ErrorCode.TOO_LARGE, f"a body has at most {self.body_bytes} bytes")
        return name

    def _refuse(self, refusal: Refused) -> Response:
        self._metrics.webhook_refusals.labels(refusal.reason).inc()
        return refusal.answer

    def _problem(self, error: HubError) -> Response:
        """Return the response for an error of the database or of a body."""
        self._metrics.webhook_refusals.labels(error.code).inc()
        answer = Problem.of(error)
        if answer.status_code == 503:
            answer.headers.setdefault("retry-after", str(BUSY_S))
        return answer


def _challenge(body: bytes, media_type: str) -> str | None:
    """Return the challenge that Slack expects back before it posts to a URL, or None."""
    found = value_of(body, media_type)
    if not isinstance(found, dict) or found.get("type") != "url_verification":
        return None
    challenge = found.get("challenge")
    return challenge if isinstance(challenge, str) else None


class NewsDesk:
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
            for connector_id in await self._store.read(posted.connectors_with_news):
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


class HookServer(HttpServer):
    """Service that listens for webhook posts. Its arguments are those of ``HttpServer``."""

    def __init__(
        self,
        hooks: Hooks,
        news: NewsDesk,
        *,
        address: Address,
        gate: Gate,
        head_s: float = HEAD_S,
        tls: ssl.SSLContext | None = None,
        on_refusal: Callable[[str], None] = lambda _: None,
        loop: LoopMeter | None = None,
        clock: Clock,
    ) -> None:
        self.hooks = hooks
        self._news = news
        self._address = address
        super().__init__(
            hooks,
            gate=gate,
            connections=0,
            head_s=head_s,
            tls=tls,
            on_refusal=on_refusal,
            loop=loop or LoopMeter(),
            clock=clock,
        )

    async def serve(self, *, task_status: TaskStatus[Address] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, then finish requests in progress, in bounded time.

        Reports the bound address to *task_status*.

        Raises:
            CannotListen: the address is taken, or is not this machine's.
        """
        with listen_on_tcp(self._address, "webhooks") as tcp:
            async with self.serving(tcp) as tasks:
                tasks.start_soon(self._news.serve)
                task_status.started(Address(self._address.host, tcp.getsockname()[1]))
                await anyio.sleep_forever()
