"""OAuth 2.1 authorization of assistants: which clients are known, codes, tokens and their renewal.

A client opens ``/authorize`` in the browser of its person. That is a page of the dashboard, which asks what
the request is for and, once the person allows it, for a code. Nothing of a request is stored before, and the
document of a client is fetched for persons who are signed in alone. Clients are public: a code is worth
nothing without the verifier of its client (PKCE), and a refresh token is replaced at each use. Scopes, days
and the time of a code are decided in ``hub.api.resources.assistants``.
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlsplit

import anyio
from mcp.server.auth.handlers.authorize import AuthorizationHandler
from mcp.server.auth.handlers.revoke import RevocationHandler
from mcp.server.auth.handlers.token import TokenHandler
from mcp.server.auth.middleware.client_auth import ClientAuthenticator
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    RefreshToken,
    TokenError,
    construct_redirect_uri,
)
from mcp.shared.auth import InvalidRedirectUriError, OAuthClientInformationFull, OAuthToken
from msgspec import json
from pydantic import AnyUrl, ValidationError
from starlette.datastructures import QueryParams
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message

from hub.api.binding import bad_request
from hub.api.http.access import ASSISTANTS, REVOKE, TOKEN
from hub.base import tokens
from hub.base.clock import Chance, Clock, epoch_ms
from hub.base.log import Channel
from hub.base.outbound.addresses import parse_target
from hub.base.outbound.client import AnswerTooLarge, DecodingError, InvalidURL, OutboundClient, TransportError
from hub.base.outbound.rules import is_this_machine, leads_here
from hub.base.printable import one_line
from hub.base.tokens import TokenKind, hash_token
from storage.devices.assistant_grants import GrantRow, find_client, find_grant, renew
from storage.devices.keys import FRESH_MS
from storage.devices.tokens import OPERATOR_TOKENS
from storage.store import Store

log = Channel(__name__)

DOCUMENT_S: Final = 5.0
DOCUMENT_BYTES: Final = 16 * 1024
DOCUMENTS: Final = 100  # that are remembered
REMEMBERED_MS: Final = 600_000  # so long: a client takes a key or an address back within this time
FORM_BYTES: Final = 16 * 1024
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")  # of S256
_NO_DOCUMENT: Final = (
    *(AnswerTooLarge, DecodingError, InvalidURL, TransportError),
    *(TimeoutError, ValidationError),
)


class OAuthClient(OAuthClientInformationFull):
    """A client as its document or hub.toml describes it."""

    def validate_scope(self, requested_scope: str | None) -> list[str]:
        """Return the requested scopes; the page leaves out those that the hub does not have."""
        return (requested_scope or "").split()

    def validate_redirect_uri(self, redirect_uri: AnyUrl | None) -> AnyUrl:
        """Return the address if it is one of the client's: at this machine with any port (RFC 8252, 7.3)."""
        if redirect_uri is None or _portless(redirect_uri) not in map(_portless, self.redirect_uris or ()):
            raise InvalidRedirectUriError("redirect_uri is none of the client's addresses")
        return redirect_uri


class AuthorizationRequest:
    """A request for authorization by *client*, checked; *params*: None if it is refused."""

    params: AuthorizationParams | None = None

    def __init__(self, client: OAuthClient) -> None:
        self.client = client

    async def get_client(self, client_id: str) -> OAuthClient:
        """Return the client."""
        return self.client

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        """Note what is asked for."""
        self.params = params
        return "/"

    def answer(self, **params: str | None) -> str:
        """Return the address at the client where the browser brings an answer."""
        assert self.params is not None
        return construct_redirect_uri(str(self.params.redirect_uri), state=self.params.state, **params)


class Authorization:
    """Authorization server of a hub, which its nodes share.

    Args:
        http: creates a client for the documents of clients.
        registered: clients without a document, each as its name and an address, with a blank between them.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        chance: Chance,
        http: Callable[[], OutboundClient],
        registered: Iterable[str],
    ) -> None:
        self._store, self._clock, self._chance, self._http = store, clock, chance, http
        self._registered: dict[str, list[str]] = {}
        for name, _, address in (line.partition(" ") for line in registered):
            self._registered.setdefault(name, []).append(address)
        self._documents: dict[str, tuple[int, OAuthClient]] = {}
        provider: Any = self  # has those methods of the protocol that these handlers call
        known = ClientAuthenticator(provider)
        self._handlers: dict[str, Callable[[Request], Awaitable[Response]]] = {
            TOKEN: TokenHandler(provider, known).handle,
            REVOKE: RevocationHandler(provider, known).handle,
        }

    @property
    def _now(self) -> int:
        return epoch_ms(self._clock.now())

    async def asked(self, query: str, origin: str) -> AuthorizationRequest:
        """Return the request for authorization that the address of a page has as its *query*.

        Raises:
            CodedError: the client is unknown, or its request is invalid; nothing is sent to its address.
        """
        given = QueryParams(query)
        asked = AuthorizationRequest(await self._client(given.get("client_id", "")))
        request = {"type": "http", "method": "GET", "query_string": query.encode(), "headers": []}
        response = await AuthorizationHandler(cast(Any, asked)).handle(Request(request))
        if asked.params is None:
            if (location := response.headers.get("location")) is not None:
                problem = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
            else:
                problem = json.decode(bytes(response.body))
            raise bad_request([f"query: {problem.get('error_description') or problem['error']}"])
        if not _CHALLENGE.fullmatch(asked.params.code_challenge):
            raise bad_request(["query.code_challenge: expected that of S256"])
        if not _is_of(origin, asked.params.resource):
            raise bad_request([f"query.resource: it is for {asked.params.resource}, and this is {origin}"])
        return asked

    def code(
        self, asked: AuthorizationRequest, opener: str | None, ends_at: int
    ) -> tuple[str, dict[str, Any]]:
        """Return a new code for a request, and the columns of its grant."""
        assert asked.params is not None
        family, turn = (tokens.make(TokenKind.RENEWAL, self._chance) for _ in range(2))
        grant = {
            "family_hash": hash_token(family),
            "turn_hash": hash_token(turn),
            "client_id": asked.client.client_id,
            "redirect_uri": str(asked.params.redirect_uri),
            "code_challenge": asked.params.code_challenge,
            "opener": opener,
            "ends_at": ends_at,
        }
        return f"{family}.{turn}", grant

    async def respond(self, path: str, form: bytes, origin: str) -> Response:
        """Return the response to a request of a client for a token, or for its end."""
        text = form.decode("latin-1")
        if len(form) > FORM_BYTES or not _is_of(origin, QueryParams(text).get("resource")):
            error = "invalid_request" if len(form) > FORM_BYTES else "invalid_target"
            return JSONResponse({"error": error}, 400)
        # The handler of revocations refuses a client without a secret unless the form has the field.
        body = form + b"&client_secret="

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        headers = [(b"content-type", b"application/x-www-form-urlencoded")]
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
        try:
            return await self._handlers[path](Request(scope, receive))
        except MultiPartException as error:  # also of a form with too many fields
            return JSONResponse({"error": "invalid_request", "error_description": error.message}, 400)

    async def get_client(self, client_id: str) -> OAuthClientInformationFull:
        """Return a client that shows no secret: each grant names the client that it is for."""
        return OAuthClientInformationFull(client_id=client_id, token_endpoint_auth_method="none")

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        """Return a code that was not used, or None."""
        grant = await self._grant(authorization_code)
        if grant is None or grant.code_challenge is None:
            return None
        return AuthorizationCode(
            code=authorization_code,
            scopes=grant.limits["scopes"],
            expires_at=float("inf"),  # by the clock of the hub, it is fresh
            client_id=grant.client_id,
            code_challenge=grant.code_challenge,
            redirect_uri=AnyUrl(grant.redirect_uri),
            redirect_uri_provided_explicitly=True,
        )

    async def load_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: str
    ) -> RefreshToken | None:
        """Return a refresh token that was not used, or None."""
        grant = await self._grant(refresh_token)
        if grant is None or grant.code_challenge is not None:
            return None
        return RefreshToken(token=refresh_token, client_id=grant.client_id, scopes=grant.limits["scopes"])

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        """Use a code."""
        return await self._renewed(authorization_code.code)

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        """Use a refresh token; the new token has all scopes of the grant, and the response names them."""
        return await self._renewed(refresh_token.token)

    async def load_access_token(self, token: str) -> AccessToken | None:
        """Return the token of an assistant, or None."""
        found = await self._store.read(find_client, hash_token(token))
        if found is None:
            return None
        return AccessToken(token=token, client_id=found[1], scopes=[], subject=found[0])

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        """Revoke a token of an assistant and what renews it, whichever of them is shown."""
        if (id := token.subject) is None:
            grant = await self._grant(token.token)
            id = None if grant is None else grant.token_id
        if id is not None:
            actor = f"token:{id}"
            await self._store.write(OPERATOR_TOKENS.revoke, id, at=self._now, actor=actor)

    async def _grant(self, secret: str) -> GrantRow | None:
        """Return the grant of a secret that was not used; revoke that of one that was."""
        family, _, turn = secret.partition(".")
        grant = await self._store.read(find_grant, hash_token(family), self._now)
        if grant is not None and grant.turn_hash != hash_token(turn):
            await self._store.write(OPERATOR_TOKENS.revoke, grant.token_id, at=self._now, actor="hub")
            log.warning("assistant.secret_reused", token_id=grant.token_id)
            return None
        return grant

    async def _renewed(self, secret: str) -> OAuthToken:
        """Replace a secret, and the token of its grant."""
        family, _, turn = secret.partition(".")
        grant = await self._grant(secret)
        if grant is not None:
            token, following = (
                tokens.make(kind, self._chance) for kind in (TokenKind.ASSISTANT, TokenKind.RENEWAL)
            )
            renewal = partial(
                renew,
                grant=grant,
                turn_hash=hash_token(turn),
                next_hash=hash_token(following),
                token_hash=hash_token(token),
                last4=tokens.last4(token),
                at=self._now,
            )
            if await self._store.write(renewal):
                return OAuthToken(
                    access_token=token,
                    expires_in=FRESH_MS // 1_000,
                    scope=" ".join(grant.limits["scopes"]),
                    refresh_token=f"{family}.{following}",
                )
        raise TokenError("invalid_grant", "it was used before, or has ended")

    async def _client(self, client_id: str) -> OAuthClient:
        """Return a client. Raises CodedError."""
        if (addresses := self._registered.get(client_id)) is not None:
            uris = list(map(AnyUrl, addresses))
            return OAuthClient(client_id=client_id, client_name=client_id, redirect_uris=uris)
        known_at, client = self._documents.get(client_id, (0, None))
        if client is None or not 0 <= self._now - known_at < REMEMBERED_MS:
            client = await self._fetched(client_id)
            if len(self._documents) >= DOCUMENTS:
                self._documents.clear()
            self._documents[client_id] = self._now, client
        return client

    async def _fetched(self, client_id: str) -> OAuthClient:
        """Return the client that its document describes, which is at the address that is its id."""
        if not _is_of_document(client_id):
            raise bad_request(
                [f"query.client_id: {client_id!r} is no client of this hub"],
                ["its id is the https address of its document, or in assistant_clients of [listen.operator]"],
            )
        try:
            with anyio.fail_after(DOCUMENT_S):
                async with self._http() as http:
                    answer = await http.get(client_id, headers={"accept": "application/json"})
            if answer.status_code != 200:
                what = f"the status is {answer.status_code}, and no redirect is followed"
                raise bad_request([f"query.client_id: the document {client_id}: {what}"])
            client = OAuthClient.model_validate_json(answer.content)
        except _NO_DOCUMENT as error:
            raise bad_request([f"query.client_id: the document {client_id}: {_problem_of(error)}"]) from error
        client.redirect_uris = list(filter(_may_be_led_to, client.redirect_uris or ()))
        if client.client_id != client_id or not client.redirect_uris:
            own = "no redirect_uris with https, or at this machine"
            what = own if client.client_id == client_id else f"the client_id {client.client_id!r}"
            raise bad_request([f"query.client_id: the document {client_id} has {what}"])
        return client


def _problem_of(error: Exception) -> str:
    """Return why no document of a client was read, for the person and for who wrote the client."""
    match error:
        case ValidationError():
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "it"
            return one_line(f"it describes no client: {place}: {first['msg']}")
        case AnswerTooLarge():
            return f"it has more than {DOCUMENT_BYTES} bytes"
        case TimeoutError():
            return f"it did not come within {DOCUMENT_S:g} s"
    return f"it cannot be read: {error}"


def _is_of_document(client_id: str) -> bool:
    """Return whether an id is the address of a document, at another machine."""
    try:
        target = parse_target(client_id)
    except ValueError:
        return False
    place = urlsplit(client_id)
    has_path = place.path.strip("/") != "" and not place.fragment
    return target.scheme == "https" and has_path and not leads_here(target.host)


def _is_of(origin: str, resource: str | None) -> bool:
    """Return whether a token for *resource* (RFC 8707) is one for the assistants of this hub."""
    return resource is None or resource.rstrip("/") in (origin, f"{origin}{ASSISTANTS}")


def _may_be_led_to(address: AnyUrl) -> bool:
    """Return whether a browser may be led to this address of a client that any person may have written."""
    return address.scheme == "https" or (address.scheme == "http" and is_this_machine(address.host or ""))


def _portless(address: AnyUrl) -> str:
    """Return an address to compare: without its port if it is at this machine, never without its user."""
    place = urlsplit(str(address))
    if address.scheme == "http" and is_this_machine(place.hostname or ""):
        place = place._replace(netloc=place.netloc.removesuffix(f":{place.port}"))
    return place.geturl()
