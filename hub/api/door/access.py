"""Authentication and authorization of the operators' interface, decided before a route is called.

Over the Unix socket the kernel identifies the caller; over TCP a bearer token is always required, also
from loopback. Requests of web pages on another origin and of rebound host names are refused. Then the
table of ``api/door/routes`` decides; a route that is not in the table is refused.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from typing import Final, Protocol
from urllib.parse import unquote_plus

import anyio
import msgspec
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Request

from hub.api.door.bearer import NEW_AGENT_TOKEN, NEW_TOKEN
from hub.api.door.bodies import read_body, replaying
from hub.api.door.fair_quota import STRANGER, UNIX, Shares
from hub.api.door.idempotency import Replays
from hub.api.door.roles import PRINCIPAL, Principal, least_role
from hub.api.door.routes import AGENT, HUB_WIDE_ROUTES, PUBLIC, ROUTES, Asked, may_ask, route_of
from hub.api.errors import Problem
from hub.links.attempts import network_of
from hub.links.forwarded import FORWARDING, TrustedProxies
from hub.links.hosts import Hosts
from hub.loop_meter import MOST_WAIT_S, SHARE, LoopMeter, charged
from protocol.errors import ErrorCode, HubError
from protocol.json_bounds import check_value
from storage.kernel.database import written_for

READING_METHODS: Final = frozenset({"GET", "HEAD"})
PEER_UID: Final = "peer_uid"  # in the scope's state: user id of the peer of a Unix socket; None over TCP
SOCKET_PATH: Final = "socket_path"  # in the scope's state: path of the Unix socket of the connection
LET_IN: Final = "let_in"  # in the scope's state: called after a valid token was received
ROUTE: Final = "route_asked"  # in the scope's state: the row of the table that let the request in
BODY_BYTES: Final = 1024 * 1024  # the text of hub.toml is the longest body
BODY_S: Final = 30.0
TAGGED: Final = frozenset(("agents", "boards", "config", "devices", "runs", "templates"))  # have an ``ETag``
# Requests that wait for a device, an agent or a gateway, without a bound of their own.
WAITING: Final = frozenset(("ask-user", "ensure", "estimate", "memory", "message", "nudge", "soul"))
NO_PROXIES: Final = TrustedProxies()
TOKEN_PARAMETER: Final = "token"  # reserved: no query parameter has it in its name
_NAMED_TOKEN: Final = re.compile(rf"(?:^|&)[^=&]*{TOKEN_PARAMETER}")
TOKENS: Final = ("hub_op_", "hub_dev_", "hub_inv_", "hub_agt_")


class Bearer(Protocol):
    """Verifier of the tokens of operators and agents."""

    async def principal(self, token: str, network: str) -> Principal:
        """Return the principal of a token that was sent from *network*.

        Raises:
            HubError: the token is not valid, or too many wrong tokens came from this network.
        """
        ...

    async def still_counts(self, principal: Principal) -> bool:
        """Return whether the token of *principal*, which was accepted before, is still valid."""
        ...

    async def tell_forbidden(self, principal: Principal, network: str, why: str) -> None:
        """Record that an authenticated *principal* requested a route without permission."""
        ...


class Refused(HubError):
    """A refused request. *status* replaces the status of the code where HTTP has a more specific number."""

    def __init__(self, code: ErrorCode, detail: str, *, status: int | None = None, hint: str = "") -> None:
        super().__init__(detail)
        self.told = Problem(code, detail, status=status, hint=hint)
        self.reason = code


class Access:
    """ASGI middleware that checks the caller of a request and enforces the limits on requests.

    Args:
        hosts: values allowed in the Host header of a TCP request.
        proxies: proxies whose forwarding headers are trusted.
        body_bytes: limit on the length of a body.
        body_s: time limit for receiving a body, in seconds.
        requests: limit on concurrent requests, in the shares of ``api.door.fair_quota``; further requests
            get 503.
        bearer: verifier of tokens; without it only public routes answer over TCP.
        replays: stored responses to requests with an ``Idempotency-Key``; without it none are stored.
        guarded: paths of Unix sockets whose file permissions (a group) replace the check of the user id.
        on_refusal: called with the error code of every refusal.
        loop: meter that is charged with the loop time of requests; a caller over its share is delayed or
            refused.
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
        bearer: Bearer | None = None,
        replays: Replays | None = None,
        guarded: Collection[str] = (),
        on_refusal: Callable[[str], None] = lambda _: None,
        loop: LoopMeter | None = None,
    ) -> None:
        self._app = app
        self.hosts = hosts
        self.proxies = proxies
        self.body_bytes = body_bytes
        self._body_s = body_s
        self._requests = Shares(requests)
        self._bearer = bearer
        self._replays = replays
        self._guarded = frozenset(guarded)
        self._uids = frozenset({0, os.getuid()})
        self._on_refusal = on_refusal
        self.loop = loop or LoopMeter()
        self._edits: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)  # by the noun of a route

    async def __call__(self, scope: Request, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            network = self._check_shape(scope)
            unknown = STRANGER if scope["state"].get(PEER_UID) is None else UNIX
            self._check_room(unknown)
            with self._requests.taken(unknown):
                stranger = f"network:{network_of(network)}"
                principal = await charged(self.loop, stranger, self._let_in(scope, network))
                asked = await self._may(scope, principal, network)
            who = unknown if principal is None else principal.share
            self._check_room(who)
            wait_s = 0.0 if principal is None or who is UNIX else self._wait_s(principal.actor)
        except Refused as refusal:
            self._on_refusal(refusal.reason)
            await refusal.told(scope, receive, send)
        except HubError as refusal:
            self._on_refusal(refusal.code)
            await Problem.of(refusal)(scope, receive, send)
        else:
            scope["state"] |= {PRINCIPAL: principal, ROUTE: asked}
            with self._requests.taken(who):
                if principal is None:
                    await self._app(scope, receive, send)  # a public route, which reads no body
                else:
                    if wait_s:
                        await anyio.sleep(wait_s)
                    work = self._answer(scope, receive, send, principal, asked)
                    with written_for(principal.actor):
                        await charged(self.loop, principal.actor, work)

    async def _answer(
        self, scope: Request, receive: Receive, send: Send, principal: Principal, asked: Asked | None
    ) -> None:
        # The body is received before the lock is taken, so that a slow sender delays no other request.
        try:
            body = await read_body(receive, within_s=self._body_s)
            _check_body(body or b"")
        except HubError as refusal:
            self._on_refusal(refusal.code)
            await Problem.of(refusal)(scope, receive, send)
            return
        if body is None:
            return
        receive = replaying(body, receive)
        key = Headers(scope=scope).get("idempotency-key")
        async with AsyncExitStack() as held:
            if asked is not None and (noun := _noun_changed(asked)) is not None:
                await held.enter_async_context(self._edits[noun])
            if self._replays is None or key is None or scope["method"] != "POST":
                await self._app(scope, receive, send)
            else:
                within = f"{principal.actor} {asked.path if asked else scope['path']}"
                await self._replays.answer(self._app, scope, receive, send, body=body, key=key, within=within)

    def _check_shape(self, scope: Request) -> str:
        """Check the form of a request. Return the client's address; empty over a Unix socket.

        Raises:
            HubError: the request is too long or malformed.
        """
        headers = Headers(scope=scope)
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            raise Refused(ErrorCode.BAD_PARAMS, "an address with a NUL in it names nothing")
        if _has_token(scope["query_string"]):
            raise Refused(ErrorCode.TOKEN_IN_URL, "a token in an address is read by others: it is not taken")
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self.body_bytes:
            raise Refused(ErrorCode.TOO_LARGE, f"a body has at most {self.body_bytes} bytes")
        if scope["state"].get(PEER_UID) is None:
            self._check_origin(scope, headers)
        has_body = length.strip("0") != "" or "transfer-encoding" in headers
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if has_body and kind != "application/json":
            raise Refused(ErrorCode.BAD_CONTENT_TYPE, f"a body is application/json, not {kind or 'untold'}")
        return self._client(scope)

    def _check_room(self, who: str | None) -> None:
        """Raise Refused if the share of *who* of concurrent requests is used up."""
        if lack := self._requests.lack(who):
            raise Refused(ErrorCode.OVERLOADED, f"no further request is answered now: {lack}")

    def _wait_s(self, actor: str) -> float:
        """Return the seconds that a request of *actor*, which used more loop time than its share, is delayed.

        Raises:
            Refused: the actor used so much loop time that it has to retry later.
        """
        wait_s = self.loop.wait_s(actor)
        if wait_s > MOST_WAIT_S:
            share = self.loop.share(actor)
            told = f"your requests take {share:.0%} of the hub's time, and others wait: {SHARE:.0%} may"
            raise Refused(ErrorCode.OVERLOADED, told, hint=f"ask again in {wait_s:.0f} s")
        return wait_s

    def _check_origin(self, scope: Request, headers: Headers) -> None:
        """Raise Refused for an unknown host name (DNS rebinding) or a page of another origin."""
        host = headers.get("host", "").lower()
        if len(headers.getlist("host")) != 1 or host not in self.hosts:
            raise Refused(ErrorCode.WRONG_HOST, f"this hub is not called {host[:100] or 'nothing'}")
        origin = headers.get("origin")
        if origin is not None:
            if origin.lower() not in (f"http://{host}", f"https://{host}"):
                raise Refused(ErrorCode.FOREIGN_ORIGIN, "a page of another origin may not ask")
        elif scope["method"] not in READING_METHODS and headers.get("sec-fetch-site", "same-origin") not in (
            "same-origin",
            "none",
        ):
            raise Refused(ErrorCode.FOREIGN_ORIGIN, "a browser does not say which page asks")

    async def _let_in(self, scope: Request, network: str) -> Principal | None:
        """Return the principal of the request; None: no token was sent, to a public route.

        Raises:
            HubError: the caller is not known to this hub.
        """
        uid = scope["state"].get(PEER_UID)
        if uid is not None:
            if uid in self._uids or scope["state"].get(SOCKET_PATH) in self._guarded:
                return Principal.of_uid(uid)
            raise Refused(ErrorCode.FORBIDDEN, f"user {uid} is not the hub's user")
        asked = route_of(scope["method"], scope["path"])
        if asked is not None and ROUTES[asked] is PUBLIC:
            return None
        shown = Headers(scope=scope).getlist("authorization")
        scheme, _, token = shown[0].partition(" ") if len(shown) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or not token.strip() or self._bearer is None:
            if asked is not None and ROUTES[asked] is AGENT:
                told = "show an agent's token: Authorization: Bearer hub_agt_..."
                raise Refused(ErrorCode.AUTH_FAILED, told, hint=NEW_AGENT_TOKEN)
            told = "show an operator's token: Authorization: Bearer hub_op_..."
            raise Refused(ErrorCode.AUTH_FAILED, told, hint=NEW_TOKEN)
        principal = await self._bearer.principal(token.strip(), network)
        if (let_in := scope["state"].get(LET_IN)) is not None:
            let_in()
        return principal

    def _client(self, scope: Request) -> str:
        """Return the client's address; empty over a Unix socket.

        Raises:
            BadForwarding: a forwarding header came from a peer that is not a trusted proxy.
        """
        if scope["client"] is None:
            return ""
        headers = Headers(scope=scope)
        told = {name: values for name in FORWARDING if (values := headers.getlist(name))}
        return self.proxies.client(scope["client"][0], told)

    async def _may(self, scope: Request, principal: Principal | None, network: str) -> Asked | None:
        """Check the route as ``_check_route`` does; report the refusal of a valid token to the audit log."""
        try:
            return self._check_route(scope, principal)
        except Refused as refusal:
            if principal is not None and self._bearer is not None:
                await self._bearer.tell_forbidden(principal, network, str(refusal))
            raise

    def _check_route(self, scope: Request, principal: Principal | None) -> Asked | None:
        """Return the row that permits the request; None: unknown route, which the application answers.

        Raises:
            Refused: the table does not permit the request.
        """
        asked = route_of(scope["method"], scope["path"])
        if asked is None:
            return None
        need = ROUTES[asked]
        if need is PUBLIC or (principal is not None and may_ask(principal, asked)):
            return asked
        if need is AGENT:
            told = f"{asked.method} {asked.path} is asked by agents, each with a token of its own"
            raise Refused(ErrorCode.FORBIDDEN, told, hint="hub agents token NAME; people ask /v1/boards")
        if principal is not None and principal.agent_id is not None:
            told = f"{asked.method} {asked.path} is not for agents: theirs begin with /v1/agent"
            raise Refused(ErrorCode.FORBIDDEN, told, hint="GET /v1/agent says what the agent is")
        told = f"{asked.method} {asked.path} needs the scope {need.value!r}"
        hint = f"the least role that has it: hub token create --role {least_role(need)}"
        if asked in HUB_WIDE_ROUTES and principal is not None and principal.may(need):
            told += ", and a token that is not of one user"
            hint += ", without --user"
        raise Refused(ErrorCode.FORBIDDEN, told, hint=hint)


class _DearBody(HubError):
    """A body that would take too long to parse."""

    code = ErrorCode.TOO_LARGE


def _check_body(body: bytes) -> None:
    """Raise HubError if *body* has more parts than may be parsed, whatever its media type."""
    try:
        check_value(body)
    except msgspec.DecodeError as error:
        raise _DearBody(f"the body has {error}") from None


def _has_token(query: bytes) -> bool:
    """Return whether a URL's query, in any encoding, has a token or a parameter named like a token."""
    said = unquote_plus(query.decode("latin-1")).lower()
    return any(token in said for token in TOKENS) or _NAMED_TOKEN.search(said) is not None


def _noun_changed(asked: Asked) -> str | None:
    """Return the tagged noun that *asked* changes an object of, or None.

    Example: ``/v1/agents/{name}/pause``. Changes of a noun are serialized, so that checking an
    ``If-Match`` and applying the change is atomic. The lock is per noun, as an object may have several
    addresses. Requests that wait for a peer are excluded: no lock is held while a peer answers.
    """
    if asked.method in READING_METHODS:
        return None
    _, _, noun, *rest = asked.path.split("/")
    creates = asked.method == "POST" and not rest
    waits = bool(rest) and rest[-1] in WAITING
    return noun if noun in TAGGED and not creates and not waits else None
