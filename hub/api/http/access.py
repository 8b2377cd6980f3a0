"""Authentication of a request (token, cookie, Unix socket), its permission, and limits per caller.

Over the Unix socket the kernel identifies the caller; over TCP a bearer token is always required, also
from loopback. Requests of web pages on another origin and of rebound host names are refused. Then the
table of ``roles`` decides; a route that is not in the table is refused.

Places for requests and event streams are limited, and shared fairly between users. A user gets at most half
of those over TCP, however many tokens it has. All users together leave a quarter free, which is reserved for
the Unix socket: a hub that is overloaded over TCP still answers on its own machine.

Verification of the bearer tokens of operators and agents: looked up by hash, their last use stored.

Failed attempts are limited per network and per token. A valid token is accepted all the same and resets
no counter: tokens cannot be guessed, and failed attempts from the same network lock no owner out.
"""

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import quote, unquote, unquote_plus

import anyio
import anyio.lowlevel
import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as Request

from hub.api.http.idempotency import Replays
from hub.base.clock import Clock, epoch_ms
from hub.base.log import Channel
from hub.base.loop_meter import MAX_WAIT_S, SHARE, LoopAccount, LoopMeter, charged
from hub.base.roles import (
    AGENT,
    HUB_WIDE_ROUTES,
    LIMITED,
    OF_OWNER,
    PRINCIPAL,
    PUBLIC,
    ROLE_SCOPES,
    ROUTES,
    SESSION,
    Principal,
    Role,
    RouteKey,
    Scope,
    creation_of,
    may_ask,
    rows_of,
)
from hub.base.tokens import TokenKind
from hub.base.web.cookies import MARK, cookie_of, origin_of
from hub.base.web.pages import Pages
from hub.base.web.problem import BUSY, RETRY_AFTER, ProblemResponse
from hub.links.failed_attempts import FailedAttempts
from hub.links.hosts import FORWARDING, Hosts, TrustedProxies, network_of
from hub.links.refusals import OTHERS, RefusalSamples
from protocol.errors import CodedError, ErrorCode, HubError
from protocol.frame import check_value
from protocol.ids import TokenId
from storage import audit
from storage.devices.browser_sessions import SESSIONS, BrowserSessionRow, use_session
from storage.devices.keys import FRESH_MS
from storage.devices.tokens import AGENT_TOKENS, OPERATOR_TOKENS, AgentTokenRow, OperatorTokenRow
from storage.kernel.database import CAUSE, StorageError
from storage.store import Connection, Store

log = Channel(__name__)

USED_EVERY_MS: Final = 60_000  # a token's last use is stored at most this often
REMEMBERED: Final = 1_000  # tokens whose last use is cached; far more than are valid at once
LONGEST_TOKEN: Final = 200
NEW_TOKEN: Final = "on the hub's machine: hub token create --role ROLE"
NEW_LINK: Final = "on the hub's machine: hub dashboard"
NEW_AGENT_TOKEN: Final = "on the hub's machine: hub agents token NAME"


class BearerTokens:
    """Verifier of the tokens of operators and agents.

    Args:
        attempts: failed attempts by network and token; shared with code that reads it or sets its limits.
        on_limit: called for each token that is refused because of too many failed attempts.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        attempts: FailedAttempts,
        on_limit: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._attempts = attempts
        self._on_limit = on_limit
        self._samples = RefusalSamples(clock)
        self._used_at: dict[TokenId, int] = {}

    async def principal(self, token: str, network: str, *, signs_in: bool = False) -> Principal:
        """Return the principal of a token that was sent from *network*.

        Args:
            signs_in: the request opens a session, for which alone the code of a link counts.

        Raises:
            CodedError (AUTH_FAILED): the token is unknown, revoked or expired, or its agent was removed.
            CodedError (RATE_LIMITED): the same, after too many failed attempts.
        """
        at = epoch_ms(self._clock.now())
        digest = hashlib.sha256(token[:LONGEST_TOKEN].encode()).digest()
        if token.startswith(TokenKind.AGENT):
            return await self._agent(digest, network, at)
        if signs_in and token.startswith(TokenKind.LINK):
            return await self._link(digest, network, at)
        row = await self._store.read(OPERATOR_TOKENS.find, digest)
        reason = _why_not(row, at)
        if row is None or reason is not None:
            raise await self._refusal(network_of(network), digest, reason or "unknown", at)
        await self._note_use(row.id, at, partial(OPERATOR_TOKENS.use, id=row.id, at=at))
        return _principal(row, f"token:{row.id}")

    async def session(self, secret: str, network: str) -> Principal:
        """Return the principal of a browser's session. Raises HubError as ``principal`` does."""
        at = epoch_ms(self._clock.now())
        digest = hashlib.sha256(secret[:LONGEST_TOKEN].encode()).digest()
        row = await self._store.read(SESSIONS.find, digest)
        if row is None or row.opened_at is None:
            raise await self._refusal(network_of(network), digest, "no_session", at, door="browser")
        if _why_not(row, at) is not None:  # no guess: a browser sends its cookie until it is removed
            raise CodedError(ErrorCode.AUTH_FAILED, _MESSAGES["no_session"], hint=NEW_LINK)
        await self._note_use(row.id, at, partial(use_session, row=row, at=at))
        return _principal_of_session(row)

    async def _link(self, digest: bytes, network: str, at: int) -> Principal:
        row = await self._store.read(SESSIONS.find, digest)
        if row is None or row.opened_at is not None or _why_not(row, at) is not None:
            raise await self._refusal(network_of(network), digest, "no_link", at, door="browser")
        return _principal(row, f"link:{row.id}")

    async def _agent(self, digest: bytes, network: str, at: int) -> Principal:
        row = await self._store.read(AGENT_TOKENS.find, digest)
        reason = _why_not(row, at)
        if row is None or reason is not None:
            raise await self._refusal(network_of(network), digest, reason or "unknown", at, door="agent")
        await self._note_use(row.id, at, partial(AGENT_TOKENS.use, id=row.id, at=at))
        return Principal.of_agent(row.agent_id, user_id=row.user_id, name=row.agent_name)

    async def still_counts(self, principal: Principal) -> bool:
        """Return whether the token of *principal* is still valid; always True for a caller without one."""
        kind, _, id = principal.actor.partition(":")
        if kind not in ("token", "session"):
            return True
        stored = OPERATOR_TOKENS if kind == "token" else SESSIONS
        try:
            row = await self._store.read(stored.find_by_id, TokenId(id))
        except StorageError:  # the caller checks again soon
            return True
        if isinstance(row, BrowserSessionRow) and row.user_id is not None and principal.user_id is None:
            return False  # a stream of all users is not that of an owner who is not the only one any more
        return _why_not(row, epoch_ms(self._clock.now())) is None

    async def report_forbidden(self, principal: Principal, network: str, why: str) -> None:
        """Log and audit a request without permission, at most once a minute per token."""
        if (sample := self._samples.count(principal.actor, "forbidden")) is None:
            return
        actor, count = sample
        network = network_of(network)
        door = "operator" if principal.agent_id is None else "agent"
        log.warning("operator.refused", network=network, actor=actor, reason="forbidden", count=count)
        detail: audit.Detail = {
            "network": network,
            "reason": "forbidden",
            "why": why,
            "count": count,
            "door": door,
        }
        try:
            await self._store.write(
                audit.append,
                at=epoch_ms(self._clock.now()),
                actor="hub" if actor == OTHERS else actor,
                event="auth.refused",
                outcome="refused",
                detail=detail,
            )
        except StorageError as exc:  # the request is refused all the same
            log.warning("audit.not_written", code=exc.code, reason="forbidden")

    async def _refusal(
        self, network: str, digest: bytes, reason: str, at: int, *, door: str = "operator"
    ) -> HubError:
        """Count the failed attempt, audit a sample of the failures, and return the error to raise."""
        parties = (network, f"token:{digest[:12].hex()}")
        wait_s = await self._attempts.fail(*parties)
        if (sample := self._samples.count(network, reason)) is not None:
            shown_network, count = sample
            log.warning("operator.refused", network=shown_network, reason=reason, count=count)
            detail: audit.Detail = {"network": shown_network, "reason": reason, "count": count, "door": door}
            await self._store.write(
                audit.append, at=at, actor="hub", event="auth.refused", outcome="refused", detail=detail
            )
        if wait_s:
            self._on_limit()
            return CodedError(
                ErrorCode.RATE_LIMITED, f"too many wrong tokens; wait {wait_s:.0f} s", retry_after_s=wait_s
            )
        return CodedError(ErrorCode.AUTH_FAILED, _MESSAGES[reason], hint=_HINTS[door])

    async def _note_use(self, id: TokenId, at: int, use: Callable[[Connection], object]) -> None:
        """Store the use of the token, once a minute."""
        if 0 <= at - self._used_at.get(id, 0) < USED_EVERY_MS:
            return
        if len(self._used_at) >= REMEMBERED:
            self._used_at.clear()  # some uses are then stored twice within a minute
        self._used_at[id] = at
        with suppress(StorageError):  # a database that cannot be written can still be read
            await self._store.write(use)


_HINTS: Final = {"operator": NEW_TOKEN, "agent": NEW_AGENT_TOKEN, "browser": NEW_LINK}
_MESSAGES: Final = {
    "no_session": "this session has ended: sign in again",
    "no_link": "this link was used, or its time is over",
    "unknown": "this token is unknown",
    "revoked": "this token was revoked",
    "expired": "this token has expired",
    "removed": "the agent of this token was removed, or ended for good",
}


def _principal(row: OperatorTokenRow, actor: str) -> Principal:
    role = Role(row.role)
    scopes = ROLE_SCOPES[role] & {scope for scope in Scope if scope in row.granted}
    return Principal(actor, role, frozenset(scopes), row.user_id, row.name, limits=row.limited_to)


def _principal_of_session(row: BrowserSessionRow) -> Principal:
    """Return the principal of a session; of an owner among several users, with the rights of one."""
    principal = _principal(row, f"{SESSION}{row.id}")
    if row.device_id is None or row.user_id is None:
        return principal
    return replace(principal, role=Role.OPERATOR, scopes=principal.scopes & OF_OWNER)


def _why_not(row: OperatorTokenRow | AgentTokenRow | None, at: int) -> str | None:
    """Return the reason why the token is not valid; None: it is valid."""
    if row is None:
        return "unknown"
    if row.revoked_at is not None:
        return "revoked"
    if isinstance(row, BrowserSessionRow):
        return "expired" if row.ends_at <= at else None
    if isinstance(row, AgentTokenRow):
        if row.is_removed:
            return "removed"
    elif row.renewed_at is not None and row.renewed_at + FRESH_MS <= at:
        return "expired"
    return "expired" if row.expires_at <= at else None


READING_METHODS: Final = frozenset({"GET", "HEAD"})
PEER_UID: Final = "peer_uid"  # in the scope's state: user id of the peer of a Unix socket; None over TCP
SOCKET_PATH: Final = "socket_path"  # in the scope's state: path of the Unix socket of the connection
LET_IN: Final = "let_in"  # in the scope's state: called after a valid token was received
ROUTE: Final = "route_asked"  # in the scope's state: the row of the table that let the request in
NETWORK: Final = "network"  # in the scope's state: address of the caller; empty over a Unix socket
BODY: Final = "body"  # in the scope's state: the whole body; empty if there is none
BODY_BYTES: Final = 1024 * 1024  # the text of hub.toml is the longest body
BODY_S: Final = 30.0
TAGGED: Final = frozenset(("agents", "boards", "config", "devices", "runs", "templates"))  # have an ``ETag``
# Requests that wait for a device, an agent or a gateway, without a bound of their own.
WAITING: Final = frozenset(
    (
        "ask-user",
        "calls",
        "ensure",
        "estimate",
        "memory",
        "message",
        "nudge",
        "places",
        "preview",
        "runs",
        "soul",
    )
)
ASSISTANTS: Final = "/mcp"
AUTHORIZES: Final = "/.well-known/oauth-authorization-server"
PROTECTED: Final = f"/.well-known/oauth-protected-resource{ASSISTANTS}"
TOKEN: Final = "/token"
REVOKE: Final = "/revoke"
FORM: Final = "application/x-www-form-urlencoded"
FORMS: Final = (TOKEN, REVOKE)  # public routes, which take a form as OAuth 2.1 has it
# The response is a stream, which is not stored.
CALLS: Final = "/v1/devices/{device_id}/calls"  # its response has rows, which stay at the device
PLACES: Final = "/v1/devices/{device_id}/places"  # its request may have a password
STREAMED: Final = frozenset(("/v1/agents/{name}/preview", ASSISTANTS, CALLS, PLACES))
NO_PROXIES: Final = TrustedProxies()
TOKEN_PARAMETER: Final = "token"  # reserved: no query parameter has it in its name
_NAMED_TOKEN: Final = re.compile(rf"(?:^|&)[^=&]*{TOKEN_PARAMETER}")
STRANGER: Final = ""  # a share of the places: a caller over TCP that is not authenticated yet
UNIX: Final = None  # a share of the places: a caller over a Unix socket
# How long a refused body is dropped: a stranger sends 7.5 MiB in this time; and without a byte of it.
_DROP_S, _SILENCE_S = 30.0, 1.0
_MAX_OF_ONE: Final = 2  # half of the places
_RESERVED: Final = 4  # a quarter of the places
TOKENS: Final = tuple(TokenKind)
LIVENESS: Final = "/healthz"  # asks for no place: a hub that is full lives
LIVENESS_PLACES: Final = 8  # of connections over a limit; a newer one takes that of the oldest
SIGN_IN: Final = RouteKey("POST", "/v1/sessions")
_SAME: Final = ("same-origin", "none")  # values of Sec-Fetch-Site: the hub's own page, or a person


class NoCapacity(HubError):
    """Error: the places for requests, or for event streams, are taken."""

    code = ErrorCode.OVERLOADED


class ForwardedRequest(NamedTuple):
    """A request that is a part of another one: the call of a tool by an assistant."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class FairShares:
    """Counters of the taken places out of *limit*, in total and by user. *full*: begin of a refusal."""

    def __init__(self, limit: int, full: str) -> None:
        self.limit = limit
        self._full = full
        self._taken = 0
        self._over_tcp: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._taken

    @contextmanager
    def hold(self, who: str | None) -> Iterator[None]:
        """Hold a place for *who*, a ``Principal.share``.

        Raises:
            NoPlace: no place is free for *who*.
        """
        most = self.limit - self.limit // _RESERVED
        half = max(1, self.limit // _MAX_OF_ONE)
        if self._taken >= self.limit:
            raise NoCapacity(f"{self._full}: all {self.limit} are taken")
        if who is not UNIX and self._over_tcp.total() >= most:
            raise NoCapacity(
                f"{self._full}: all {most} are taken that are not kept for the hub's own machine"
            )
        if who is not UNIX and who != STRANGER and self._over_tcp[who] >= half:
            raise NoCapacity(f"{self._full}: {half} are yours already, which is the most for one user")
        self._taken += 1
        if who is not UNIX:
            self._over_tcp[who] += 1
        try:
            yield
        finally:
            self._taken -= 1
            if who is not UNIX:
                self._over_tcp[who] -= 1
                if not self._over_tcp[who]:
                    del self._over_tcp[who]


class Access:
    """ASGI middleware that checks the caller of a request and enforces the limits on requests.

    Args:
        hosts: values allowed in the Host header of a TCP request.
        proxies: proxies whose forwarding headers are trusted.
        body_bytes: limit on the length of a body.
        body_s: time limit for receiving a body, in seconds.
        requests: limit on concurrent requests, in fair shares; further requests get 503.
        bearer: verifier of tokens; without it only public routes answer over TCP.
        replays: stored responses to requests with an ``Idempotency-Key``; without it none are stored.
        pages: answers requests of browsers over TCP for pages, which need no token and show nothing of
            the hub; without it there are none.
        guarded: paths of Unix sockets whose file permissions (a group) replace the check of the user id.
        on_refusal: called with the error code of every refusal.
        loop: meter that is charged with the loop time of requests; a caller over its share is delayed or
            refused.
        authorizes: whether the hub serves assistants, and authorizes them.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Hosts,
        proxies: TrustedProxies = NO_PROXIES,
        body_bytes: int,
        body_s: float = BODY_S,
        requests: int = 64,
        bearer: BearerTokens | None = None,
        replays: Replays | None = None,
        pages: Pages | None = None,
        guarded: Collection[str] = (),
        on_refusal: Callable[[str], None] = lambda _: None,
        loop: LoopMeter | None = None,
        authorizes: bool = False,
    ) -> None:
        self._app = app
        self.hosts = hosts
        self.proxies = proxies
        self.body_bytes = body_bytes
        self._body_s = body_s
        self._requests = FairShares(requests, "no further request is answered now")
        self._bearer = bearer
        self._replays = replays
        self._pages = pages
        self._guarded = frozenset(guarded)
        self._uids = frozenset({0, os.getuid()})
        self._on_refusal = on_refusal
        self.loop = loop or LoopMeter()
        self._authorizes = authorizes
        self._checks = anyio.Lock()
        self._edits: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)  # by the resource of a route

    async def __call__(self, scope: Request, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        account = LoopAccount(self.loop, self._stranger(scope))
        await charged(account, self._serve(scope, receive, send, account))

    async def _serve(self, scope: Request, receive: Receive, send: Send, account: LoopAccount) -> None:
        """Answer a request, whose *account* is that of a stranger until the caller is known."""
        state = scope["state"]
        scope["path"] = _quoted(scope)
        send_page, send = send, _uncached(send)
        with ExitStack() as places:
            try:
                rows = rows_of(scope["path"])
                asked = rows.get(scope["method"])
                has_body = self._check_shape(scope, asked)
                if not rows and (page := await self._page(scope)) is not None:
                    await page(scope, receive, send_page)
                    return
                if asked is not None and asked.path == LIVENESS:
                    if scope["state"].get(PEER_UID) is None:
                        self._client(scope)
                    scope["state"] |= {PRINCIPAL: None, ROUTE: asked, BODY: b""}
                    await self._app(scope, receive, send)
                    return
                principal, network = await self._caller(scope, asked)
                if principal is not None:
                    account.cause = principal.actor
                if asked is not None and not may_ask(principal, asked):
                    raise await self._forbidden(asked, principal, network)
                share = STRANGER if principal is None else principal.share
                places.enter_context(self._requests.hold(share))
                wait_s = 0.0 if principal is None else self._wait_s(principal)
            except HubError as refusal:
                await self._refuse(refusal, scope, receive, send, before_body=True)
                return
            state |= {PRINCIPAL: principal, ROUTE: asked, BODY: b"", NETWORK: network}
            if asked is None:
                await answer_before_body(self._app, scope, receive, send)
                return
            if principal is None:  # a public route, of which few read a body
                is_form = has_body and scope["path"] in FORMS
                if not is_form or await self._is_read(scope, receive, send):
                    await self._app(scope, receive, send)
                return
            if wait_s:
                await anyio.sleep(wait_s)
            CAUSE.set(principal.actor)  # of this task alone, which the server started for the request
            await self._answer(scope, receive, send, principal, asked, has_body)

    async def ask(self, outer: Request, request: ForwardedRequest) -> Response:
        """Return the response to a request that is a part of *outer*, whose place and caller it has."""
        principal: Principal = outer["state"][PRINCIPAL]
        network: str = outer["state"][NETWORK]
        asked = rows_of(request.path).get(request.method)
        messages: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": request.body}

        async def send(message: Message) -> None:
            messages.append(message)

        headers = [(b"content-type", b"application/json"), *request.headers]
        state = {PRINCIPAL: principal, ROUTE: asked, BODY: b"", NETWORK: network}
        scope: Request = {
            "type": "http",
            "method": request.method,
            "path": request.path,
            "query_string": request.query.encode(),
            "headers": headers,
            "state": state,
        }
        try:
            if asked is not None and not may_ask(principal, asked):
                raise await self._forbidden(asked, principal, network)
            if wait_s := self._wait_s(principal):
                await anyio.sleep(wait_s)
        except HubError as refusal:
            await self._refuse(refusal, scope, receive, send)
        else:
            CAUSE.set(principal.actor)
            work = self._answer(scope, receive, send, principal, asked, bool(request.body))
            await charged(LoopAccount(self.loop, principal.actor), work)
        start, *parts = messages
        body = b"".join(part.get("body", b"") for part in parts)
        return Response(body, start["status"], Headers(raw=start["headers"]))

    def _stranger(self, scope: Request) -> str:
        """Return the cause of a request whose caller is not known yet."""
        if scope["state"].get(PEER_UID) is not None or scope["client"] is None:
            return "operator:socket"
        network: str = scope["client"][0]
        with suppress(HubError):  # a forged header is refused later
            network = self._client(scope)
        return f"network:{network_of(network)}"

    async def _page(self, scope: Request) -> Response | None:
        if self._pages is None or scope["state"].get(PEER_UID) is not None:
            return None
        return await self._pages.find(scope["method"], scope["path"], Headers(scope=scope))

    async def _refuse(
        self, refusal: HubError, scope: Request, receive: Receive, send: Send, *, before_body: bool = False
    ) -> None:
        self._on_refusal(refusal.code)
        problem = ProblemResponse.of(refusal)
        if self._authorizes and scope["path"] == ASSISTANTS and refusal.code is ErrorCode.AUTH_FAILED:
            problem.headers["www-authenticate"] = challenge(scope, scope=Scope.READ)
        if before_body:
            await answer_before_body(problem, scope, receive, send)
        else:
            await problem(scope, receive, send)

    async def _is_read(self, scope: Request, receive: Receive, send: Send) -> bool:
        """Read the body into the state of *scope*. Return False if the body is refused, or its peer left."""
        body = None
        try:
            body = await read_body(receive, within_s=self._body_s, max_bytes=self.body_bytes)
            async with self._checks:  # one in a turn of the loop: that of a MiB takes up to 20 ms
                _check_body(body or b"")
                await anyio.lowlevel.checkpoint()
        except HubError as refusal:
            await self._refuse(refusal, scope, receive, send, before_body=body is None)
            return False
        scope["state"][BODY] = body
        return body is not None

    async def _answer(
        self,
        scope: Request,
        receive: Receive,
        send: Send,
        principal: Principal,
        asked: RouteKey | None,
        has_body: bool,
    ) -> None:
        # The body is received before the lock is taken, so that a slow sender delays no other request.
        if has_body and not await self._is_read(scope, receive, send):
            return
        if scope["method"] in READING_METHODS:
            await self._app(scope, receive, send)
            return
        key = Headers(scope=scope).get("idempotency-key")
        async with AsyncExitStack() as held:
            if asked is not None and (resource := _resource_changed(asked)) is not None:
                await held.enter_async_context(self._edits[resource])
            is_stored = scope["method"] == "POST" and (asked is None or asked.path not in STREAMED)
            if self._replays is None or key is None or not is_stored:
                await self._app(scope, receive, send)
            else:
                within = f"{principal.actor} {asked.path if asked else scope['path']}"
                body = scope["state"][BODY]
                await self._replays.answer(self._app, scope, receive, send, body=body, key=key, within=within)

    def _check_shape(self, scope: Request, asked: RouteKey | None) -> bool:
        """Check the form of a request, and of a body that its route *asked* takes. Return whether it has one.

        Raises:
            HubError: the request is too long or malformed.
        """
        headers = Headers(scope=scope)
        if "%00" in scope["path"] or b"%00" in scope["query_string"]:
            raise CodedError(ErrorCode.BAD_PARAMS, "an address with a NUL in it names nothing")
        query = unquote_plus(scope["query_string"].decode("latin-1")).lower()  # however it is encoded
        if any(token in query for token in TOKENS) or _NAMED_TOKEN.search(query):
            raise CodedError(
                ErrorCode.TOKEN_IN_URL, "a token in an address is read by others: it is not taken"
            )
        if scope["state"].get(PEER_UID) is None:
            self._check_origin(scope, headers)
        if asked is None:
            return False
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self.body_bytes:
            raise CodedError(ErrorCode.TOO_LARGE, f"a body has at most {self.body_bytes} bytes")
        has_body = length.strip("0") != "" or "transfer-encoding" in headers
        if has_body and scope["method"] in READING_METHODS:  # before it is read, or its elements are counted
            raise CodedError(ErrorCode.BAD_PARAMS, f"a {scope['method']} has no body", hint="leave it out")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        expected = FORM if scope["path"] in FORMS else "application/json"
        if has_body and kind != expected:
            raise CodedError(ErrorCode.BAD_CONTENT_TYPE, f"a body is {expected}, not {kind or 'untold'}")
        return has_body

    def _wait_s(self, principal: Principal) -> float:
        """Return the seconds that a request is delayed, whose caller used more loop time than its share.

        Raises:
            CodedError: the caller used so much loop time that it has to retry later.
        """
        actor = principal.actor
        wait_s = 0.0 if principal.share is UNIX else self.loop.wait_s(actor)
        if wait_s > MAX_WAIT_S:
            share = self.loop.share(actor)
            message = f"your requests take {share:.0%} of the hub's time, and others wait: {SHARE:.0%} may"
            raise CodedError(
                ErrorCode.OVERLOADED, message, hint=f"ask again in {wait_s:.0f} s", retry_after_s=wait_s
            )
        return wait_s

    def _check_origin(self, scope: Request, headers: Headers) -> None:
        """Raise CodedError for an unknown host name (DNS rebinding) or a page of another origin."""
        host = headers.get("host", "").lower()
        if len(headers.getlist("host")) != 1 or host not in self.hosts:
            raise CodedError(ErrorCode.WRONG_HOST, self.hosts.refusal(host, "operator"))
        origin = headers.get("origin")
        if origin is not None:
            if origin.lower() not in (f"http://{host}", f"https://{host}"):
                raise CodedError(ErrorCode.FOREIGN_ORIGIN, "a page of another origin may not ask")
        elif scope["method"] not in READING_METHODS and headers.get("sec-fetch-site", "none") not in _SAME:
            raise CodedError(ErrorCode.FOREIGN_ORIGIN, "a browser does not say which page asks")

    async def _caller(self, scope: Request, asked: RouteKey | None) -> tuple[Principal | None, str]:
        """Return the principal of the request, and its network; None: no token was sent, to a public route.

        Raises:
            HubError: the caller is not known to this hub, or no place is free for a caller that is not yet.
        """
        uid = scope["state"].get(PEER_UID)
        if uid is None:
            network = self._client(scope)
            with self._requests.hold(STRANGER):
                return await self._bearer_of(scope, asked, network), network
        if uid in self._uids or scope["state"].get(SOCKET_PATH) in self._guarded:
            return Principal.of_uid(uid), ""
        raise CodedError(ErrorCode.FORBIDDEN, f"user {uid} is not the hub's user")

    async def _bearer_of(self, scope: Request, asked: RouteKey | None, network: str) -> Principal | None:
        """Return the principal of the token that was sent; see ``_caller``."""
        if asked is not None and ROUTES[asked] is PUBLIC:
            return None
        shown = Headers(scope=scope).getlist("authorization")
        if not shown and self._bearer is not None and (secret := cookie_of(scope)) is not None:
            _check_page(scope)
            return _let_in(scope, await self._bearer.session(secret, network))
        scheme, _, token = shown[0].partition(" ") if len(shown) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or not token.strip() or self._bearer is None:
            if asked is not None and ROUTES[asked] is AGENT:
                message = "show an agent's token: Authorization: Bearer hub_agt_..."
                raise CodedError(ErrorCode.AUTH_FAILED, message, hint=NEW_AGENT_TOKEN)
            message = "show an operator's token: Authorization: Bearer hub_op_..."
            raise CodedError(ErrorCode.AUTH_FAILED, message, hint=NEW_TOKEN)
        signs_in, token = asked == SIGN_IN, token.strip()
        if token.startswith(TokenKind.ASSISTANT) and (asked is None or asked.path != ASSISTANTS):
            message = f"this token of an assistant counts at {ASSISTANTS} alone"
            raise CodedError(ErrorCode.AUTH_FAILED, message, hint=NEW_TOKEN)
        return _let_in(scope, await self._bearer.principal(token, network, signs_in=signs_in))

    def _client(self, scope: Request) -> str:
        """Return the client's address.

        Raises:
            BadForwarding: a forwarding header came from a peer that is not a trusted proxy.
        """
        headers = Headers(scope=scope)
        forwarded = {name: values for name in FORWARDING if (values := headers.getlist(name))}
        return self.proxies.client(scope["client"][0], forwarded)

    async def _forbidden(self, asked: RouteKey, principal: Principal | None, network: str) -> CodedError:
        """Return the refusal of a route that the table does not permit; report that of a valid token."""
        need, message, hint = ROUTES[asked], f"{asked.method} {asked.path}", ""
        if need is AGENT:
            message += " is asked by agents, each with a token of its own"
            hint = "hub agents token NAME; people ask /v1/boards"
        elif principal is not None and principal.agent_id is not None:
            message += " is not for agents: theirs begin with /v1/agent"
            hint = "GET /v1/agent says what the agent is"
        elif isinstance(need, Scope):
            message += f" needs the scope {need.value!r}"
            hint = creation_of(need)
            has_scope = principal is not None and principal.may(need)
            if (
                principal is not None
                and has_scope
                and not principal.limits.kinds
                and asked in HUB_WIDE_ROUTES
            ):
                message += ", and a token that is not of one user"
                hint += ", without --user"
            elif principal is not None and has_scope:
                kinds = ", ".join(sorted(principal.limits.kinds - LIMITED[asked]))
                message = (
                    f"{asked.method} {asked.path} shows or changes more than this token's limits: {kinds}"
                )
                hint = "GET /v1/me has the limits, 'hub routes' what a limited token may"
        if principal is not None and self._bearer is not None:
            await self._bearer.report_forbidden(principal, network, message)
        return CodedError(ErrorCode.FORBIDDEN, message, hint=hint)


def challenge(request: Request, **params: str) -> str:
    """Return the header that leads an assistant to the authorization server (RFC 9728, 5.1)."""
    params["resource_metadata"] = origin_of(request) + PROTECTED
    return "Bearer " + ", ".join(f'{name}="{value}"' for name, value in params.items())


async def read_body(receive: Receive, *, within_s: float, max_bytes: int) -> bytes | None:
    """Return the whole body, or None if the peer left before its end.

    Raises:
        CodedError: the body was not received *within_s* seconds, or is longer than *max_bytes*.
    """
    body = bytearray()
    with anyio.move_on_after(within_s):
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if len(body) > max_bytes:  # one that comes in chunks declares no length
                raise CodedError(ErrorCode.TOO_LARGE, f"a body has at most {max_bytes} bytes")
            if not message.get("more_body", False):
                return bytes(body)
    raise CodedError(ErrorCode.HELLO_TIMEOUT, f"the body was not here within {within_s:g} s")


async def answer_before_body(response: ASGIApp, scope: Request, receive: Receive, send: Send) -> None:
    """Send a response to a request whose body was not read, then read and drop the body for a while.

    If the connection ended at once, its reset would take the response from a peer that still sends.
    """

    async def send_part(message: Message) -> None:
        is_body = message["type"] == "http.response.body"
        await send({**message, "more_body": True} if is_body else message)

    await response(scope, receive, send_part)
    is_sending = True
    with anyio.move_on_after(_DROP_S):
        while is_sending:
            with anyio.move_on_after(_SILENCE_S) as silence:
                is_sending = (await receive()).get("more_body", False)
            is_sending = is_sending and not silence.cancelled_caught
    await send({"type": "http.response.body", "body": b""})


def _let_in(scope: Request, principal: Principal) -> Principal:
    """Report to the connection that its peer is known."""
    if (let_in := scope["state"].get(LET_IN)) is not None:
        let_in()
    return principal


def _quoted(scope: Request) -> str:
    """Return the path of a request with its parts quoted: an encoded slash separates no parts."""
    sent: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    return "/".join(quote(unquote(part), safe="") for part in sent.decode("latin-1").split("/"))


def _uncached(send: Send) -> Send:
    """Wrap *send* so that no cache keeps a response, and no browser takes it for another type.

    A busy hub says when to ask again.
    """

    async def send_uncached(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message["headers"])
            headers.setdefault("cache-control", "no-store")
            headers.setdefault("x-content-type-options", "nosniff")
            if message["status"] in BUSY:  # also of the package that serves assistants
                headers.setdefault("retry-after", RETRY_AFTER)
        await send(message)

    return send_uncached


def _check_page(scope: Request) -> None:
    """Raise CodedError unless the hub's own page sends the request: a browser sends its cookie for any."""
    headers = Headers(scope=scope)
    if headers.get("sec-fetch-site", "none") not in _SAME:
        raise CodedError(ErrorCode.FOREIGN_ORIGIN, "a page of another origin may not ask with this cookie")
    if scope["method"] not in READING_METHODS and MARK not in headers:
        message = "a change with a cookie bears the header X-Hub-Request"
        raise CodedError(ErrorCode.FORBIDDEN, message, hint="send X-Hub-Request: 1, or a token instead")


def _check_body(body: bytes) -> None:
    """Raise CodedError if *body* has more parts than may be parsed, whatever its media type."""
    try:
        check_value(body)
    except msgspec.DecodeError as error:
        raise CodedError(ErrorCode.TOO_LARGE, f"the body has {error}") from None


def _resource_changed(asked: RouteKey) -> str | None:
    """Return the tagged resource that *asked* changes an object of, or None.

    Example: ``/v1/agents/{name}/pause``. Changes of a resource are serialized, so that checking an
    ``If-Match`` and applying the change is atomic. The lock is per resource, as an object may have several
    addresses. Requests that wait for a peer are excluded: no lock is held while a peer answers.
    """
    resource, *rest = asked.path.split("/")[2:] or ("",)
    creates = asked.method == "POST" and not rest
    waits = bool(rest) and rest[-1] in WAITING
    return resource if resource in TAGGED and not creates and not waits else None
