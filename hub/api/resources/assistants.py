"""Route ``/mcp`` of assistants, and a person's permission: scopes, days, lifetime of its code.

Authorization of assistants by persons who are signed in at the dashboard (OAuth 2.1). A person decides its
scopes and days here, and its code holds for a minute; ``hub.api.http.authorization`` checks the rest.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

from msgspec import Meta
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Request

from hub.api.binding import BodyField, FromHeader, RequestContext, bad_request
from hub.api.events import StreamedResponse
from hub.api.http.access import ASSISTANTS, AUTHORIZES, NEW_LINK, PROTECTED, REVOKE, TOKEN
from hub.api.resource import NO_CHANGE, Assistants, Caller, Resource, View, audited, route
from hub.api.resources.tokens import LimitsView, OperatorTokensResource
from hub.base.clock import Clock, epoch_ms
from hub.base.log import Channel
from hub.base.printable import one_line
from hub.base.roles import ASSISTANT, BY_ALL, OPERATOR, PRINCIPAL, PUBLIC, ROLE_SCOPES, Principal, Role, Scope
from hub.base.tokens import TokenKind
from hub.base.web.cookies import origin_of
from protocol.errors import CodedError, ErrorCode
from protocol.ids import UserId
from protocol.similar_names import did_you_mean
from storage.devices.assistant_grants import create_grant
from storage.devices.browser_sessions import BrowserSessionRow, session_of
from storage.devices.tokens import DAY_MS
from storage.store import Store

if TYPE_CHECKING:
    from hub.api.http.authorization import Authorization

log = Channel(__name__)

OFFERED: Final = frozenset(
    {Scope.READ, Scope.RUN, Scope.REVIEW, Scope.ANSWER}
)  # of tools; a session has no rows
CODE_S: Final = 60.0  # in which a client exchanges its code
MAX_OF_NAME: Final = 40  # characters that a client calls itself
MAX_OF_HOST: Final = 20  # characters of its host; the last ones say whose it is

Scopes = Annotated[
    Annotated[str, Meta(max_length=200, description="Act with these scopes alone, with blanks between them.")]
    | None,
    FromHeader("hub-scopes"),
]
Called = Annotated[
    Annotated[
        str,
        Meta(
            pattern=r"^(?:[A-Za-z0-9][A-Za-z0-9 ._-]{0,39})?$",
            description="Name that its person gave to an assistant on the hub's machine.",
        ),
    ],
    FromHeader("hub-assistant"),
]


class ForwardedResponse(StreamedResponse):
    """Response of another application to a request, whose caller has *scopes* alone if they are given.

    Over the Unix socket the caller is an assistant of the user there, and *called* is its name. A token has
    a name of its own, which the person who made it gave to it.

    Args:
        user_id: the user that the caller is limited to; None: it is limited no further.
    """

    def __init__(self, app: ASGIApp | None, user_id: UserId | None, scopes: str | None, called: str) -> None:
        app = _served(app)
        named = None if scopes is None else {*scopes.split()}
        if unknown := sorted((named or set()) - {*Scope}):
            hints = [did_you_mean(scope, Scope) for scope in unknown]
            raise bad_request([f"header.hub-scopes: there is no scope {scope!r}" for scope in unknown], hints)
        super().__init__()
        self._app, self._user_id, self._scopes, self._called = app, user_id, named, called

    async def __call__(self, scope: Request, receive: Receive, send: Send) -> None:
        caller: Principal = scope["state"][PRINCIPAL]
        scopes = caller.scopes if self._scopes is None else caller.scopes & self._scopes
        kind, uid = caller.actor[: len(OPERATOR)], caller.actor[len(OPERATOR) :]
        actor = f"{ASSISTANT}{uid}:{self._called}".rstrip(":") if kind == OPERATOR else caller.actor
        user_id = self._user_id or caller.user_id
        limited = replace(caller, actor=actor, user_id=user_id, scopes=frozenset(scopes))
        scope["state"][PRINCIPAL] = limited
        await self._app(scope, receive, send)


def _served(app: ASGIApp | None) -> ASGIApp:
    """Return the application that serves assistants. Raises CodedError if there is none."""
    if app is None:
        raise CodedError(
            ErrorCode.UNKNOWN_METHOD,
            "this hub serves no assistants",
            hint="write assistants = true below [listen.operator] in hub.toml, and restart the hub",
        )
    return app


class AssistantMessagesResource(Resource):
    """Messages of assistants; ``hub.api.http.assistants`` answers them by the declared tools."""

    name, path, within = "assistants", ASSISTANTS, BY_ALL  # each tool asks its own route

    @route("POST", "", Scope.READ)
    @audited(NO_CHANGE)
    async def post(self, app: Assistants, scopes: Scopes = None, called: Called = "") -> ForwardedResponse:
        """Answer a message of an assistant. A tool is a route of the hub, and needs the scope of that route.

        A client of the revision 2025-11-25 opens a session first; one of 2026-07-28 has none.
        """
        return ForwardedResponse(app, self.user_id, scopes, called)

    @route("GET", "", Scope.READ)
    async def listen(self, app: Assistants, scopes: Scopes = None, called: Called = "") -> ForwardedResponse:
        """Send the events of a session."""
        return ForwardedResponse(app, self.user_id, scopes, called)

    @route("DELETE", "", Scope.READ)
    @audited(NO_CHANGE)
    async def end(self, app: Assistants, scopes: Scopes = None, called: Called = "") -> ForwardedResponse:
        """End a session."""
        return ForwardedResponse(app, self.user_id, scopes, called)


class AuthorizationView(View):
    """A request of an assistant for authorization.

    *name*: what its client calls itself. *client*: the address of its document, or its name in hub.toml.
    *place*: the host where the browser goes on, which gets the code. *scopes*: those that it asks for, of
    those that the caller can give. *offered*: all that the caller can give. *denied*: where the browser goes
    on if the person does not allow it.
    """

    name: str
    client: str
    place: str
    scopes: tuple[Scope, ...]
    offered: tuple[Scope, ...]
    denied: str


class Allowed(View):
    """An allowed request. *location*: where the browser goes on, with the code."""

    location: str


_QUERY: Final = "The query of the address that the assistant opened."
_REQUEST: Final = BodyField("AllowRequest", "A request of an assistant that its person allows.")


class AuthorizationsResource(Resource):
    """Requests of assistants for authorization; ``hub.api.http.authorization`` checks them.

    Args:
        tokens: the tokens of operators, of which an allowed assistant gets one.
        server: returns the authorization server; called where assistants are served.
    """

    name, path = "authorizations", ""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        tokens: OperatorTokensResource,
        server: "Callable[[], Authorization]",
    ) -> None:
        self._store, self._clock, self._tokens, self._server = store, clock, tokens, server

    @route("GET", AUTHORIZES, PUBLIC, is_whole=True)
    async def server_metadata(self, app: Assistants, call: RequestContext) -> dict[str, Any]:
        """Describe the authorization server of assistants (RFC 8414)."""
        _served(app)
        origin = origin_of(call.scope)
        return {
            "issuer": origin,
            "authorization_endpoint": f"{origin}/authorize",
            "token_endpoint": origin + TOKEN,
            "revocation_endpoint": origin + REVOKE,
            "scopes_supported": sorted(OFFERED),
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint_auth_methods_supported": ["none"],
            "code_challenge_methods_supported": ["S256"],
            "client_id_metadata_document_supported": True,
            "authorization_response_iss_parameter_supported": True,
        }

    @route("GET", PROTECTED, PUBLIC, is_whole=True)
    async def resource_metadata(self, app: Assistants, call: RequestContext) -> dict[str, Any]:
        """Describe the address of assistants, and who authorizes them (RFC 9728)."""
        _served(app)
        origin = origin_of(call.scope)
        return {
            "resource": origin + ASSISTANTS,
            "authorization_servers": [origin],
            "scopes_supported": sorted(OFFERED),
            "bearer_methods_supported": ["header"],
        }

    @route("POST", TOKEN, PUBLIC, is_whole=True)
    @audited(NO_CHANGE)
    async def token(self, app: Assistants, call: RequestContext) -> Response:
        """Exchange a code, or a refresh token, for a token of an assistant (OAuth 2.1, a form)."""
        _served(app)
        return await self._server().respond(TOKEN, call.body, origin_of(call.scope))

    @route("POST", REVOKE, PUBLIC, is_whole=True)
    @audited(NO_CHANGE)
    async def end(self, app: Assistants, call: RequestContext) -> Response:
        """Revoke a token of an assistant, and its refresh token (RFC 7009, a form)."""
        _served(app)
        return await self._server().respond(REVOKE, call.body, origin_of(call.scope))

    @route("GET", "/v1/authorizations", Scope.READ, errors=[ErrorCode.ADDRESS_REFUSED])
    async def get(
        self,
        app: Assistants,
        caller: Caller,
        call: RequestContext,
        query: Annotated[str, Meta(max_length=4_000, description=_QUERY)],
    ) -> AuthorizationView:
        """Show a request of an assistant for authorization, to who is signed in at the dashboard."""
        _served(app)
        await self._session(caller)
        origin = origin_of(call.scope)
        asked = await self._server().asked(query, origin)
        assert asked.params is not None
        offered = OFFERED & caller.scopes
        return AuthorizationView(
            name=_called(asked.client.client_name, asked.client.client_id),
            client=asked.client.client_id,
            place=asked.params.redirect_uri.host or "",
            scopes=tuple(
                sorted(scope for scope in offered if scope in {Scope.READ, *(asked.params.scopes or ())})
            ),
            offered=tuple(sorted(offered)),
            denied=asked.answer(error="access_denied", iss=origin),
        )

    @route(
        *("POST", "/v1/authorizations", Scope.READ),
        status=201,
        is_secret=True,
        errors=[ErrorCode.ADDRESS_REFUSED, ErrorCode.UNKNOWN_DEVICE, ErrorCode.LIMIT_REACHED],
    )
    @audited("operator_token.created")
    async def allow(
        self,
        app: Assistants,
        caller: Caller,
        call: RequestContext,
        query: Annotated[str, Meta(max_length=4_000), _REQUEST],
        scopes: Annotated[tuple[Scope, ...], _REQUEST],
        limits: Annotated[LimitsView | None, _REQUEST] = None,
        days: Annotated[int, Meta(ge=1, le=90), _REQUEST] = 30,
        name: Annotated[str, Meta(max_length=100), _REQUEST] = "",
    ) -> Allowed:
        """Allow an assistant to act with some of the caller's rights, for *days*, until it is revoked.

        *name* is what the person calls it, to which its host is added; what the client calls itself is not
        taken. Only a session of a browser may. The assistant gets an operator's token, which it renews each
        hour. With ``user``, the token sees only that user's things; with *limits*, only those.
        """
        _served(app)
        session = await self._session(caller)
        server, origin = self._server(), origin_of(call.scope)
        asked = await server.asked(query, origin)
        assert asked.params is not None
        granted = {Scope.READ, *scopes}
        if beyond := sorted(granted - OFFERED):
            message = f"no assistant is given the scopes {', '.join(beyond)} by this page"
            raise CodedError(ErrorCode.FORBIDDEN, message)
        opener = f"token:{session.token_id}" if session.token_id else None
        opener = f"device:{session.device_id}" if session.device_id else opener
        ends_at = epoch_ms(self._clock.now()) + days * DAY_MS
        if session.token_expires_at is not None:
            ends_at = min(ends_at, session.token_expires_at)
        code, grant = server.code(asked, opener, ends_at)
        tokens = self._tokens.seen_by(self.user_id)
        row, _, _ = await tokens.add(
            caller,
            _called(name, asked.client.client_id),
            next(role for role in Role if granted <= ROLE_SCOPES[role]),
            sorted(granted),
            CODE_S,
            limits,
            partial(create_grant, grant=grant),
            TokenKind.ASSISTANT,
        )
        log.info("assistant.allowed", token_id=row.id)
        return Allowed(asked.answer(code=code, iss=origin))

    async def _session(self, caller: Principal) -> BrowserSessionRow:
        """Return the session of a caller. Raises CodedError if it has none."""
        session = await self._store.read(session_of, caller.actor)
        if session is None:
            message = "a person allows an assistant at the dashboard: this caller has no session there"
            raise CodedError(ErrorCode.FORBIDDEN, message, hint=NEW_LINK)
        return session


def _called(name: str | None, client_id: str) -> str:
    """Return what a client is called, and the end of the host that answers for it."""
    host = urlsplit(client_id).hostname or ""
    called = one_line(name or "").strip() or ("assistant" if host else client_id)
    called = called if len(called) <= MAX_OF_NAME else f"{called[: MAX_OF_NAME - 1]}…"
    place = host if len(host) <= MAX_OF_HOST else f"…{host[1 - MAX_OF_HOST :]}"
    return f"{called} ({place})" if host else called
