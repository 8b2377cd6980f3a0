"""Who may ask what of the operators' interface, decided before any route is looked at.

Over the Unix socket the kernel says who asks; over TCP a bearer token does, always: no
address is trusted for being near. A web page on another origin and a rebound host name
are turned away. Then the table of ``api/door/routes`` decides; what is not in it is refused.
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
PEER_UID: Final = "peer_uid"  # in the scope's state: who is at the other end of a Unix socket; None over TCP
SOCKET_PATH: Final = "socket_path"  # in the scope's state: the Unix socket that it came over
LET_IN: Final = "let_in"  # in the scope's state: called once a good token came over the connection
ROUTE: Final = "route_asked"  # in the scope's state: the row of the table that let the request in
BODY_S: Final = 30.0
TAGGED: Final = frozenset(("agents", "boards", "config", "devices", "runs", "templates"))  # have an ``ETag``
# What waits for a device, an agent or a gateway, as long as that takes.
WAITING: Final = frozenset(("ask-user", "ensure", "estimate", "memory", "message", "nudge", "soul"))
NO_PROXIES: Final = TrustedProxies()
TOKEN_PARAMETER: Final = "token"  # no parameter is called so, or has it in its name
_NAMED_TOKEN: Final = re.compile(rf"(?:^|&)[^=&]*{TOKEN_PARAMETER}")
TOKENS: Final = ("hub_op_", "hub_dev_", "hub_inv_", "hub_agt_")


class Bearer(Protocol):
    """Knows the tokens of operators and of agents."""

    async def principal(self, token: str, network: str) -> Principal:
        """Whose token it is; *network* is where it was shown.

        Raises:
            HubError: it opens nothing, or too many were tried from there.
        """
        ...

    async def still_counts(self, principal: Principal) -> bool:
        """Whether *principal*, who was let in before, may go on."""
        ...

    async def tell_forbidden(self, principal: Principal, network: str, why: str) -> None:
        """*principal* was let in, and asked for what it may not."""
        ...


class Refused(HubError):
    """The request goes no further. *status* differs from the code's own where HTTP has a number for it."""

    def __init__(self, code: ErrorCode, detail: str, *, status: int | None = None, hint: str = "") -> None:
        super().__init__(detail)
        self.told = Problem(code, detail, status=status, hint=hint)
        self.reason = code


class Access:
    """ASGI middleware: the rules above, and the bounds on a request.

    Args:
        hosts: what the Host header of a TCP request may say.
        proxies: whose word about who asks is taken.
        body_bytes: the longest body that is read.
        body_s: within which it must be here.
        requests: answered at once, in the shares of ``api.door.fair_quota``; further ones get 503.
        bearer: knows the tokens; without it nobody comes in over TCP.
        replays: keeps the answers to requests with an ``Idempotency-Key``; without it there are none.
        guarded: paths of Unix sockets that whoever can open may use, as a group guards them.
        on_refusal: told the code of every refusal.
        loop: is charged with what requests take; who took too much waits, or is refused.
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
        self._edits: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)  # by the first part of a route

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
        # All of the body is here before others have to wait for what it changes.
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
        """The address that asks; empty over a Unix socket.

        Raises:
            HubError: it is longer than it may be, or not said as it must be.
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
        """Raises Refused: no further request of *who* is answered now."""
        if lack := self._requests.lack(who):
            raise Refused(ErrorCode.OVERLOADED, f"no further request is answered now: {lack}")

    def _wait_s(self, actor: str) -> float:
        """Return how long a request of *actor* has to wait, which took more of the loop than its share.

        Raises:
            Refused: it took so much that it should come again later.
        """
        wait_s = self.loop.wait_s(actor)
        if wait_s > MOST_WAIT_S:
            share = self.loop.share(actor)
            told = f"your requests take {share:.0%} of the hub's time, and others wait: {SHARE:.0%} may"
            raise Refused(ErrorCode.OVERLOADED, told, hint=f"ask again in {wait_s:.0f} s")
        return wait_s

    def _check_origin(self, scope: Request, headers: Headers) -> None:
        """Raises Refused: a rebound name, or a page of another origin (SEC-11)."""
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
        """Who asks; None: anybody, and a public route is asked for.

        Raises:
            HubError: nobody that this hub knows.
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
        """The address that asks; empty over a Unix socket.

        Raises:
            BadForwarding: a header speaks for another, and nobody may whom this hub does not list.
        """
        if scope["client"] is None:
            return ""
        headers = Headers(scope=scope)
        told = {name: values for name in FORWARDING if (values := headers.getlist(name))}
        return self.proxies.client(scope["client"][0], told)

    async def _may(self, scope: Request, principal: Principal | None, network: str) -> Asked | None:
        """As ``_check_route``; that a known token was refused is told (SEC-18)."""
        try:
            return self._check_route(scope, principal)
        except Refused as refusal:
            if principal is not None and self._bearer is not None:
                await self._bearer.tell_forbidden(principal, network, str(refusal))
            raise

    def _check_route(self, scope: Request, principal: Principal | None) -> Asked | None:
        """The row that lets the request in; None: there is no such route, which the application says.

        Raises:
            Refused: the table says no.
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
    """A body that takes too long to read."""

    code = ErrorCode.TOO_LARGE


def _check_body(body: bytes) -> None:
    """Raises HubError: there is more in *body* than may be read, whatever it is."""
    try:
        check_value(body)
    except msgspec.DecodeError as error:
        raise _DearBody(f"the body has {error}") from None


def _has_token(query: bytes) -> bool:
    """Whether something in a URL's query, however it is spelled, is a token, or called one."""
    said = unquote_plus(query.decode("latin-1")).lower()
    return any(token in said for token in TOKENS) or _NAMED_TOKEN.search(said) is not None


def _noun_changed(asked: Asked) -> str | None:
    """Return the tagged noun of which *asked* changes one, as in ``/v1/agents/{name}/pause``, or None.

    Such requests go one after the other, whether or not they bear an ``If-Match``: for a request that
    bears one, reading and changing are one step. By noun, as one thing may have several addresses.
    Requests that wait for a peer are not among them: no lock is held over the answer of a peer.
    """
    if asked.method in READING_METHODS:
        return None
    _, _, noun, *rest = asked.path.split("/")
    creates = asked.method == "POST" and not rest
    waits = bool(rest) and rest[-1] in WAITING
    return noun if noun in TAGGED and not creates and not waits else None
