"""Sessions of browsers, and the links that open them."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from hub import tokens
from hub.api.binding import Call, Head
from hub.api.device import Link
from hub.api.door.bearer import NEW_LINK
from hub.api.door.cookies import spelled_cookie
from hub.api.door.roles import Role, Scope, scopes_of
from hub.api.noun import ALL, Noun, Part, audited, device, listed, route
from hub.api.nouns.tokens import OperatorTokenView, SecretsOfKind, UnknownToken, check_within_rights
from hub.api.parameters import Actor, Caller
from hub.api.view import Instant, View
from hub.clock import epoch_ms
from hub.log import Channel
from hub.tokens import TokenKind
from protocol.coordination import DEVICE, Method
from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import TokenId
from storage.devices import devices
from storage.devices.devices import Grant
from storage.devices.tokens import IDLE_MS, LONGEST_MS, SESSIONS, BrowserSessionRow, open_link

log = Channel(__name__)

LINK_S: Final = 60.0  # between making a link and opening it
OF_OWNER: Final = (
    Scope.READ,
    Scope.RUN,
    Scope.REVIEW,
    Scope.ANSWER,
)  # of a session for the owner of a device: it admits no devices


class PagesAt(msgspec.Struct, frozen=True):
    """Address of the pages for browsers. *host*: empty, if that is any address of the hub's machine."""

    host: str
    port: int
    is_encrypted: bool


class UsedLink(HubError):
    """A link that another request has opened in the same moment."""

    code = ErrorCode.AUTH_FAILED
    hint = NEW_LINK


class NoSessionHere(HubError):
    """A caller that may not open a session: it is signed in, or needs none."""

    code = ErrorCode.FORBIDDEN
    hint = NEW_LINK


class SessionView(OperatorTokenView, kw_only=True):
    """A browser's session without its secret, of which *last4* are the last characters.

    *opened_at*: null, if it is a link that was not opened yet. *user*: the only user whose things it sees;
    null: everybody's.
    """

    opened_at: Instant | None = None


class NewLink(SessionView, kw_only=True):
    """A created link. *path*: what a browser opens at this hub; no other response contains it."""

    path: str


class LinkRequest(View):
    """A link to create, with the rights of the caller, or fewer."""

    role: Role | None = None  # None: the caller's
    scopes: tuple[Scope, ...] = ()  # none: those of the caller, or of a role that is named


class Sessions(SecretsOfKind[BrowserSessionRow], Noun):
    """Sessions of browsers."""

    name, path = "sessions", "/v1/sessions"
    kind, stored = TokenKind.LINK, SESSIONS
    unknown = UnknownToken, "there is no session {!r}"
    errors = (ErrorCode.UNKNOWN_TOKEN, ErrorCode.LIMIT_REACHED)
    pages_at: Callable[[], PagesAt | None] = staticmethod(lambda: None)  # None: nothing listens yet

    @listed("", Scope.TOKENS, key=lambda session: (epoch_ms(session.created_at), session.id))
    async def all(self, part: Part = ALL) -> list[SessionView]:
        """List the sessions of browsers and the links to open one, the oldest first, ended ones for a day."""
        return list(map(_view, await self._page(part)))

    @route("POST", "/links", Scope.TOKENS, status=201, is_secret=True)
    @audited("session.created")
    async def link(self, requested: LinkRequest, caller: Caller) -> NewLink:
        """Create a link that signs a browser in, once and within a minute. Only this response has it.

        With ``user``, the session sees only that user's things.
        """
        role = requested.role or caller.role or Role.VIEWER
        is_same = not requested.scopes and requested.role is None
        granted = caller.scopes if is_same else scopes_of(role, requested.scopes)
        check_within_rights(role, granted, requested.scopes, caller)
        await self._check_room("browser_sessions", "sessions of browsers")
        row, code = await self._create(
            LINK_S,
            name=caller.name,
            role=role,
            scopes=sorted(granted),
            user_id=self.user_id,
            token_id=_token_of(caller.actor),
            device_id=None,
            actor=caller.actor,
        )
        log.info("session.link_created", session_id=row.id)
        return NewLink.from_row(_view(row), path=f"/login#{code}")

    @device(Method.SESSIONS_LINK, "what its user sees", Grant.COORDINATION)
    @audited("session.created")
    async def link_for_owner(self, link: Link) -> dict[str, Any]:
        """Create a link for the owner of a device, whose session sees their things only.

        The session ends with the device.
        """
        at = self.pages_at()
        if at is None:
            raise CodedError(ErrorCode.OVERLOADED, "the hub is starting")
        await self._check_room("browser_sessions", "sessions of browsers")
        known = await self._store.read(devices.get_device, link.device_id)
        row, code = await self._create(
            LINK_S,
            name=known.name,
            role=Role.OPERATOR,
            scopes=sorted(OF_OWNER),
            user_id=self.user_id,
            token_id=None,
            device_id=link.device_id,
            actor=f"{DEVICE}{link.device_id}",
        )
        log.info("session.link_created", session_id=row.id)
        return {"path": f"/login#{code}", "host": at.host, "port": at.port, "tls": at.is_encrypted}

    @route("POST", "", Scope.READ, status=201, is_secret=True, errors=[ErrorCode.AUTH_FAILED])
    @audited("session.opened")
    async def open(self, caller: Caller, call: Call, head: Head) -> SessionView:
        """Sign a browser in: with the code of a link, or an operator's token, as the bearer token.

        The answer sets the cookie of the session. It ends after 12 hours without a request, 7 days after it
        was opened, and with the token or device that it was made with. A change with the cookie needs the
        header ``X-Hub-Request``.
        """
        kind, _, id = caller.actor.partition(":")
        row: BrowserSessionRow | None
        if kind == "link":
            at, secret = self._now, tokens.make(TokenKind.SESSION, self._chance)
            row = await self._store.write(
                open_link,
                TokenId(id),
                token_hash=tokens.hash_token(secret),
                last4=tokens.last4(secret),
                at=at,
                actor=caller.actor,
            )
            if row is None:
                raise UsedLink("this link was used in this moment")
        elif kind == "token":
            await self._check_room("browser_sessions", "sessions of browsers")
            row, secret = await self._create(
                IDLE_MS / 1_000,
                kind=TokenKind.SESSION,
                name=caller.name,
                role=caller.role,
                scopes=sorted(caller.scopes),
                user_id=self.user_id,
                token_id=TokenId(id),
                device_id=None,
                opened_at=self._now,
                actor=caller.actor,
            )
        else:
            raise NoSessionHere("a session is opened with a link or an operator's token")
        head.headers["set-cookie"] = spelled_cookie(call.scope, secret, LONGEST_MS // 1_000)
        log.info("session.opened", session_id=row.id)
        return _view(row)

    @route("DELETE", "/current", Scope.READ)
    @audited("session.revoked")
    async def sign_out(self, caller: Caller, call: Call, head: Head) -> SessionView:
        """End the session of the cookie, and remove the cookie."""
        kind, _, id = caller.actor.partition(":")
        if kind != "session":
            raise UnknownToken("this request has no session: it bears no cookie")
        head.headers["set-cookie"] = spelled_cookie(call.scope, "", 0)
        return await self.revoke(id, caller.actor)

    @route("DELETE", "/{session_id}", Scope.TOKENS)
    @audited("session.revoked")
    async def revoke(self, session_id: str, actor: Actor) -> SessionView:
        """End a session, or a link that was not opened yet; doing it twice is no error."""
        row = await self._revoke(session_id, actor)
        log.info("session.revoked", session_id=row.id)
        return _view(row)


def _token_of(actor: str) -> TokenId | None:
    kind, _, id = actor.partition(":")
    return TokenId(id) if kind == "token" else None


def _view(row: BrowserSessionRow) -> SessionView:
    return SessionView.from_row(row, role=Role(row.role), scopes=tuple(sorted(map(Scope, row.scopes))))
