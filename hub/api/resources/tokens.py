"""Routes of tokens, invitations and browser sessions; no token exceeds the rights of its creator.

Only hashes of secrets are stored. ``check_within_rights`` refuses rights that the creator lacks.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Final, Generic, TypeVar

import msgspec
from msgspec import Meta
from msgspec.structs import asdict

from hub.api.binding import BodyField, RequestContext, ResponseHead
from hub.api.device import Link
from hub.api.http.access import NEW_LINK
from hub.api.resource import (
    ALL,
    Actor,
    Caller,
    Instant,
    ListPart,
    Name,
    Resource,
    View,
    audited,
    command,
    device,
    listed,
    route,
)
from hub.base import tokens
from hub.base.clock import Chance, Clock, IdFactory, epoch_ms, from_epoch_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.roles import (
    AT_DEVICES,
    BY_ALL,
    IN_NAME_OF_OWNERS,
    OF_OWNER,
    OPERATOR,
    Principal,
    Role,
    Scope,
    scopes_of,
)
from hub.base.tokens import TokenKind
from hub.base.web.cookies import spelled_cookie
from hub.links.roster import Roster
from protocol.coordination import DEVICE, Method
from protocol.errors import CodedError, ErrorCode
from protocol.grants import Grant, TokenLimits
from protocol.ids import DeviceId, TokenId, UserId
from storage.agents import agents
from storage.devices import devices, pairings, users
from storage.devices.browser_sessions import (
    IDLE_MS,
    LONGEST_MS,
    SESSIONS,
    BrowserSessionRow,
    open_link,
    session_of,
)
from storage.devices.devices import DeviceRow
from storage.devices.tokens import (
    AGENT_TOKENS,
    DEVICE_TOKENS,
    INVITATIONS,
    OPERATOR_TOKENS,
    AgentTokenRow,
    DeviceTokenRow,
    InvitationRow,
    OperatorTokenRow,
    TooManyAgentTokens,
    create_agent_token,
    list_agent_tokens,
)
from storage.devices.tokens import TokenStatements as StoredTokens
from storage.store import Connection, Store

log = Channel(__name__)

RowT = TypeVar("RowT", DeviceTokenRow, OperatorTokenRow, AgentTokenRow, InvitationRow, BrowserSessionRow)

DAY_S: Final = 86_400.0
YEAR_S: Final = 366 * DAY_S

Lifetime = Annotated[
    float, Meta(ge=60.0, le=YEAR_S, description="How long it counts, in seconds.", examples=[7_776_000])
]


# Spaces around it are stripped.
Label = Annotated[
    str, Meta(max_length=64, pattern=r"^[^\S\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$(?!\n)")
]


class IdentityLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds; a refusal names the one that was reached.

    Attributes:
        device_tokens, operator_tokens: maximum number of valid tokens.
        browser_sessions: maximum number of sessions of browsers, and of links that open one.
        device_tokens_per_user, operator_tokens_per_user, invitations_per_user,
            browser_sessions_per_user: maximum number per user, for callers scoped to that user, so that no
            user takes the places of all.
        operator_token_days: default lifetime of an operator's token, in days.
        agent_tokens_per_agent, agent_token_days: the same limits for tokens of agents.
        invitations: maximum number of open invitations.
        invitation_ttl_s: lifetime of an invitation, in seconds.
        wrong_codes: wrong codes of an operator within *wrong_code_window_s* seconds, after which its
            approvals are refused for *wrong_code_wait_s* seconds.
    """

    device_tokens: int = 20_000
    device_tokens_per_user: int = 5_000
    operator_tokens: int = 100
    operator_tokens_per_user: int = 25
    operator_token_days: int = 90
    browser_sessions: int = 200
    browser_sessions_per_user: int = 50
    agent_tokens_per_agent: int = 16
    agent_token_days: int = 90
    users: int = 1_000
    invitations: int = 100
    invitations_per_user: int = 25
    invitation_ttl_s: float = 600.0
    wrong_codes: int = 5
    wrong_code_window_s: float = 600.0
    wrong_code_wait_s: float = 600.0


class SecretsOfKind(Generic[RowT]):
    """Base of the resources of secrets of one kind.

    Args:
        owner_id: owner of a device that an unscoped operator creates or invites.

    Attributes:
        kind: prefix of the secrets.
        stored: the statements about their rows.
        unknown: code and text of the refusal of an id of which the caller sees no secret.
    """

    kind: ClassVar[TokenKind]
    stored: StoredTokens[RowT]
    unknown: ClassVar[tuple[ErrorCode, str]]
    user_id: UserId | None

    def __init__(
        self,
        *,
        store: Store,
        roster: Roster,
        clock: Clock,
        ids: IdFactory,
        chance: Chance,
        metrics: Metrics,
        owner_id: UserId,
        limits: IdentityLimits,
    ) -> None:
        self._store = store
        self._roster = roster
        self._clock = clock
        self._ids = ids
        self._chance = chance
        self._metrics = metrics
        self._owner_id = owner_id
        self.limits = limits

    @property
    def _now(self) -> int:
        return epoch_ms(self._clock.now())

    async def _owned_by(self, caller: Principal, granted: frozenset[Scope]) -> DeviceRow | None:
        """Return the device whose owner the caller is, if *granted* acts in the name of owners."""

        def read(c: Connection) -> DeviceRow | None:
            session = session_of(c, caller.actor)
            id = session.device_id if session is not None else None
            return None if id is None else devices.get_device(c, id)

        return await self._store.read(read) if granted & IN_NAME_OF_OWNERS else None

    async def _page(self, part: ListPart) -> list[RowT]:
        return await self._store.read(
            self.stored.page, user_id=self.user_id, limit=part.limit, after=part.after
        )

    async def _check_room(self, limit: str, about: str) -> None:
        """Check the limit on valid secrets, and that per user if the caller is scoped to one.

        Raises:
            CodedError (LIMIT_REACHED): a limit is reached.
        """
        limits = {limit: None} if self.user_id is None else {limit: None, f"{limit}_per_user": self.user_id}
        for name, user_id in limits.items():
            most: int = getattr(self.limits, name)
            if await self._store.read(self.stored.count, self._now, user_id=user_id) >= most:
                self._metrics.limits_reached.labels(name).inc()
                raise CodedError(ErrorCode.LIMIT_REACHED, f"there are {most} {about} ({name})")

    async def _create(
        self,
        lasts_s: float | None,
        create: Callable[..., RowT] | None = None,
        *,
        kind: TokenKind | None = None,
        **columns: Any,
    ) -> tuple[RowT, str]:
        """Create a secret that is valid for *lasts_s*. Return its row, and its text, which is not stored."""
        at, secret = self._now, tokens.make(kind or self.kind, self._chance)
        row = await self._store.write(
            create or self.stored.create,
            id=self._ids.fresh(),
            token_hash=tokens.hash_token(secret),
            last4=tokens.last4(secret),
            at=at,
            expires_at=None if lasts_s is None else at + round(lasts_s * 1_000),
            **columns,
        )
        return row, secret

    async def _revoke(self, id: str, actor: str) -> RowT:
        """Revoke a secret, unless it is revoked, and return its row."""
        row = await self._store.read(self.stored.find_by_end, id, self.user_id)
        if row is None:
            code, text = self.unknown
            raise CodedError(code, text.format(id))
        await self._store.write(self.stored.revoke, row.id, at=self._now, actor=actor)
        return await self._store.read(self.stored.find_by_id, row.id) or row


class TokenView(View, kw_only=True):
    """A device's token without its secret, of which *last4* are the last characters."""

    id: str
    device: str
    user: str = ""
    last4: str | None = None
    created_by: str | None = None  # the actor, as in the audit log
    created_at: Instant
    expires_at: Instant | None = None
    last_used_at: Instant | None = None
    revoked_at: Instant | None = None


class NewToken(View, kw_only=True):
    """A created token. No other response contains *token*.

    *revoked_at*: when its device was revoked, which the request let in again.
    """

    id: str
    device: str
    is_new_device: bool = False  # the request created the device too
    revoked_at: Instant | None = None
    user: str = ""
    token: str
    created_at: Instant
    expires_at: Instant | None = None


_TOKEN_REQUEST: Final = BodyField("TokenRequest", "A token to create, for the device of this name.")


class TokensResource(SecretsOfKind[DeviceTokenRow], Resource):
    """Tokens of devices."""

    name, path = "tokens", "/v1/tokens"
    kind, stored = TokenKind.DEVICE, DEVICE_TOKENS
    unknown = ErrorCode.UNKNOWN_TOKEN, "there is no token {!r}"
    errors = (ErrorCode.UNKNOWN_TOKEN, ErrorCode.LIMIT_REACHED)

    @listed("", Scope.DEVICES, key=lambda token: (epoch_ms(token.created_at), token.id))
    async def all(self, part: ListPart = ALL) -> list[TokenView]:
        """List the tokens of devices, including revoked ones, the oldest first."""
        return list(map(TokenView.from_row, await self._page(part)))

    @route("POST", "", Scope.DEVICES, status=201, is_secret=True)
    @audited("token.created")
    async def create(
        self,
        device: Annotated[Name, _TOKEN_REQUEST],
        actor: Actor,
        ttl_s: Annotated[Lifetime | None, _TOKEN_REQUEST] = None,
    ) -> NewToken:
        """Create a token for a device, and the device if it is new; with ``user``, as that user's.

        A revoked device of that name is let in again with its items. Only this response has the secret.
        """
        await self._check_room("device_tokens", "tokens of devices that count")
        fresh_id = DeviceId(self._ids.fresh())
        named, user_id, at = device, self.user_id or self._owner_id, self._now
        known, owner = await self._store.write(
            lambda c: (
                devices.find_device(c, named, user_id=user_id),
                devices.admit_device(c, id=fresh_id, user_id=user_id, name=named, at=at, actor=actor),
            )
        )
        row, token = await self._create(ttl_s, device_id=owner.id, actor=actor)
        log.info("token.created", token_id=row.id, device_id=owner.id)
        return NewToken.from_row(
            row,
            is_new_device=known is None,
            revoked_at=None if known is None or known.revoked_at is None else from_epoch_ms(known.revoked_at),
            token=token,
        )

    @route("DELETE", "/{token_id}", Scope.DEVICES)
    @audited("token.revoked")
    async def revoke(self, token_id: str, actor: Actor) -> TokenView:
        """Revoke a token and close the connection that uses it; doing it twice is no error."""
        row = await self._revoke(token_id, actor)
        self._roster.end_revoked(row.device_id, f"token:{row.id}")
        log.info("token.revoked", token_id=row.id, device_id=row.device_id)
        return TokenView.from_row(row)


class IssuedSecretView(View, kw_only=True):
    """Fields of tokens of operators and agents, and of sessions, in responses.

    *created_by*: the actor, as in the audit log.
    """

    id: str
    last4: str
    created_by: str
    created_at: Instant
    expires_at: Instant
    last_used_at: Instant | None = None
    revoked_at: Instant | None = None


Limited = Annotated[
    tuple[Annotated[str, Meta(max_length=200, pattern=r"^[^/\x00]+$(?!\n)")], ...], Meta(max_length=50)
]


class LimitsView(View):
    """Things that a token is limited to, by their names; of a kind without any, it is not limited.

    *roots*: shared folders, as the first part of paths names them.
    """

    devices: Limited = ()
    tables: Limited = ()
    roots: Limited = ()

    @classmethod
    def of(cls, limits: TokenLimits, names: Mapping[DeviceId, str]) -> "LimitsView | None":
        """Return limits with the names of devices; None without any."""
        named = tuple(names.get(id, id) for id in limits.devices)
        return cls(named, limits.tables, limits.roots) if limits.kinds else None


class OperatorTokenView(IssuedSecretView, kw_only=True):
    """An operator's token without its secret.

    *user*: the only user whose things it sees; None: everybody's. *scopes*: those of its role that it has.
    *limits*: null: it has none.
    """

    name: str
    role: Role
    scopes: tuple[Scope, ...]
    user: str | None = None
    limits: LimitsView | None = None


class NewOperatorToken(OperatorTokenView, kw_only=True):
    """A created token of an operator. No other response contains *token*."""

    token: str


_OPERATOR_TOKEN_REQUEST: Final = BodyField(
    "OperatorTokenRequest",
    """An operator's token to create, with some scopes of its role.

*scopes*: ``rows``, ``files``, ``review`` and ``answer``, which act in the name of owners, have to be named.
*limits*: routes that show or change more are refused to the token.
""",
)


class OperatorTokensResource(SecretsOfKind[OperatorTokenRow], Resource):
    """Tokens of operators."""

    name, path, list_key = "operator_tokens", "/v1/operator-tokens", "tokens"
    kind, stored = TokenKind.OPERATOR, OPERATOR_TOKENS
    unknown = ErrorCode.UNKNOWN_TOKEN, "there is no token {!r} of an operator"
    errors = (ErrorCode.UNKNOWN_TOKEN, ErrorCode.LIMIT_REACHED)

    @listed("", Scope.TOKENS, key=lambda token: (epoch_ms(token.created_at), token.id))
    async def all(self, part: ListPart = ALL) -> list[OperatorTokenView]:
        """List the tokens of operators, including revoked ones, the oldest first."""

        def read(c: Connection) -> tuple[list[OperatorTokenRow], dict[DeviceId, str]]:
            rows = self.stored.page(c, user_id=self.user_id, limit=part.limit, after=part.after)
            ids = {id for row in rows for id in row.limited_to.devices}
            return rows, devices.names_of_devices(c, ids)

        rows, names = await self._store.read(read)
        return [_operator_view(row, names) for row in rows]

    @route(
        *("POST", "", Scope.TOKENS),
        status=201,
        is_secret=True,
        errors=[ErrorCode.UNKNOWN_DEVICE],
        within=BY_ALL,
    )
    @audited("operator_token.created")
    async def create(
        self,
        name: Annotated[Label, _OPERATOR_TOKEN_REQUEST],
        role: Annotated[Role, _OPERATOR_TOKEN_REQUEST],
        caller: Caller,
        scopes: Annotated[tuple[Scope, ...], _OPERATOR_TOKEN_REQUEST] = (),
        ttl_s: Annotated[Lifetime | None, _OPERATOR_TOKEN_REQUEST] = None,
        limits: Annotated[LimitsView | None, _OPERATOR_TOKEN_REQUEST] = None,
    ) -> NewOperatorToken:
        """Create a token within the caller's own rights. Only this response has the secret.

        With ``user``, the token sees only that user's things; with *limits*, only those devices, tables and
        shared folders. The session of a device's owner makes tokens in the name of owners for that user only.
        """
        row, token, names = await self.add(caller, name, role, scopes, ttl_s, limits)
        log.info("operator_token.created", token_id=row.id)
        return NewOperatorToken.from_row(_operator_view(row, names), token=token)

    async def add(
        self,
        caller: Principal,
        name: str,
        role: Role,
        scopes: Collection[Scope],
        ttl_s: float | None,
        limits: LimitsView | None,
        create: Callable[..., OperatorTokenRow] | None = None,
        kind: TokenKind = TokenKind.OPERATOR,
    ) -> tuple[OperatorTokenRow, str, dict[DeviceId, str]]:
        """Create a token within the caller's rights. Return its row, its text, and the names of its devices.

        Raises:
            CodedError: the caller has not all of these rights, a device is unknown, or a limit is reached.
        """
        granted = scopes_of(role, scopes)
        check_within_rights(role, granted, scopes, caller)
        find = partial(pairings.device_named, user_id=self.user_id, at=self._now, only=caller.limits.devices)
        limits = limits or LimitsView()
        limited = TokenLimits(
            tuple([(await self._store.read(find, name)).id for name in dict.fromkeys(limits.devices)]),
            limits.tables,
            limits.roots,
        )
        if beyond := caller.limits.beyond(limited):
            message = f"you may not hand out what you do not have: all {', '.join(beyond)}"
            raise CodedError(
                ErrorCode.FORBIDDEN, message, hint="GET /v1/me has your limits: name some of them"
            )
        rights: dict[str, Any] = {"scopes": sorted(granted)}
        if limited.kinds or granted & AT_DEVICES or create is not None:  # see OperatorTokenRow
            rights = {"scopes": [], "limits": asdict(limited) | rights}
        owned = await self._owned_by(caller, granted)
        await self._check_room("operator_tokens", "tokens of operators that count")
        lasts_s = self.limits.operator_token_days * DAY_S if ttl_s is None else ttl_s
        row, token = await self._create(
            lasts_s,
            create,
            kind=kind,
            name=name.strip(),
            role=role,
            **rights,
            user_id=self.user_id if owned is None else owned.user_id,
            actor=caller.actor,
        )
        return row, token, dict(zip(limited.devices, limits.devices, strict=False))

    @route("DELETE", "/{token_id}", Scope.TOKENS)
    @audited("operator_token.revoked")
    async def revoke(self, token_id: str, actor: Actor) -> OperatorTokenView:
        """Revoke a token; doing it twice is no error."""
        row = await self._revoke(token_id, actor)
        log.info("operator_token.revoked", token_id=row.id)
        return _operator_view(row, await self._store.read(devices.names_of_devices, row.limited_to.devices))


def check_within_rights(
    role: Role, granted: frozenset[Scope], requested: Collection[Scope], caller: Principal
) -> None:
    """Raise CodedError if the role lacks a requested scope, or the caller a granted one."""
    if foreign := sorted(set(requested) - granted):
        raise CodedError(ErrorCode.FORBIDDEN, f"the role {role} does not bring {', '.join(foreign)}")
    if beyond := sorted(granted - caller.scopes):
        raise CodedError(
            ErrorCode.FORBIDDEN, f"you may not hand out what you do not have: {', '.join(beyond)}"
        )


def _operator_view(row: OperatorTokenRow, names: Mapping[DeviceId, str]) -> OperatorTokenView:
    return OperatorTokenView.from_row(
        row,
        role=Role(row.role),
        scopes=tuple(sorted(map(Scope, row.granted))),
        limits=LimitsView.of(row.limited_to, names),
    )


class AgentTokenView(IssuedSecretView, kw_only=True):
    """An agent's token without its secret, of which *last4* are the last characters."""

    agent: str
    user: str = ""


class NewAgentToken(AgentTokenView, kw_only=True):
    """A created token of an agent. No other response contains *token*."""

    token: str


class AgentTokensResource(SecretsOfKind[AgentTokenRow], Resource):
    """Tokens of agents."""

    name, path, list_key = "agent_tokens", "", "tokens"
    kind, stored = TokenKind.AGENT, AGENT_TOKENS
    unknown = ErrorCode.UNKNOWN_TOKEN, "there is no token {!r} of an agent"

    @command(
        "agents tokens NAME",
        example="hub agents tokens notes",
        json="agent_tokens",
        table=(
            "id|id as token",
            "last4 as ends in",
            "created_by",
            "last_used_at|at as used",
            "expires_at|at as expires",
            "revoked_at|at as revoked",
        ),
        empty="agent {name} has no tokens; create one: hub agents token {name}",
    )
    @listed(
        "/v1/agents/{name}/tokens",
        Scope.DEVICES,
        key=lambda token: (epoch_ms(token.created_at), token.id),
        errors=[ErrorCode.UNKNOWN_AGENT],
    )
    async def all(self, name: str, part: ListPart = ALL) -> list[AgentTokenView]:
        """List the tokens of an agent, including revoked ones, the oldest first."""
        _, rows = await self._store.read(
            agents.with_agent,
            name,
            self.user_id,
            list_agent_tokens,
            limit=part.limit,
            after=part.after,
        )
        return list(map(AgentTokenView.from_row, rows))

    @command(
        "agents token NAME",
        help="Create a token for an agent, valid only under /v1/agent. It is printed once.",
        example="hub agents token notes --expires 90d",
        json="agent_token",
        options={"ttl_s": "--ttl,--expires: Lifetime of the token, as in 90d or 12h."},
        prints="token",
        message="The token is shown only once; it expires {expires_at|moment}. Give it to {name} alone: keep"
        " it out of messages and shared files. Use: Authorization: Bearer TOKEN, at /v1/agent and the routes"
        " below.",
    )
    @route(
        "POST",
        "/v1/agents/{name}/tokens",
        Scope.DEVICES,
        errors=[ErrorCode.UNKNOWN_AGENT, ErrorCode.LIMIT_REACHED],
        status=201,
        is_secret=True,
    )
    @audited("agent_token.created")
    async def create(
        self,
        name: str,
        actor: Actor,
        ttl_s: Annotated[
            Lifetime | None,
            BodyField("AgentTokenRequest", "An agent's token to create. *ttl_s*: 90 days by default."),
        ] = None,
    ) -> NewAgentToken:
        """Create a token for an agent, valid only under ``/v1/agent``. Only this response has the secret."""
        agent = await self._agent_called(name)
        lasts_s = self.limits.agent_token_days * DAY_S if ttl_s is None else ttl_s
        try:
            row, token = await self._create(
                lasts_s,
                create_agent_token,
                agent_id=agent.id,
                most=self.limits.agent_tokens_per_agent,
                actor=actor,
            )
        except TooManyAgentTokens:
            self._metrics.limits_reached.labels("agent_tokens_per_agent").inc()
            raise
        log.info("agent_token.created", token_id=row.id, agent_id=row.agent_id)
        return NewAgentToken.from_row(row, token=token)

    @route("DELETE", "/v1/agent-tokens/{token_id}", Scope.DEVICES, errors=[ErrorCode.UNKNOWN_TOKEN])
    @audited("agent_token.revoked")
    async def revoke(self, token_id: str, actor: Actor) -> AgentTokenView:
        """Revoke a token; doing it twice is no error."""
        row = await self._revoke(token_id, actor)
        log.info("agent_token.revoked", token_id=row.id, agent_id=row.agent_id)
        return AgentTokenView.from_row(row)


class InvitationView(View, kw_only=True):
    """An invitation without its secret. *uses_left*: how many more devices may use it."""

    id: str
    user: str
    device: str | None = None  # the name that the device gets; its own label by default
    uses_left: int
    last4: str
    created_by: str
    created_at: Instant
    expires_at: Instant
    revoked_at: Instant | None = None


class NewInvitation(InvitationView, kw_only=True):
    """A created invitation. No other response contains *token*."""

    token: str


_INVITATION_REQUEST: Final = BodyField(
    "InvitationRequest",
    "An invitation to create: for one device of this name, or for several with names of their own.",
)


class InvitationsResource(SecretsOfKind[InvitationRow], Resource):
    """Invitations of devices."""

    name, path = "invitations", "/v1/invitations"
    kind, stored = TokenKind.INVITATION, INVITATIONS
    unknown = ErrorCode.UNKNOWN_INVITATION, "there is no invitation {!r}"
    errors = (ErrorCode.UNKNOWN_INVITATION, ErrorCode.LIMIT_REACHED)

    @command(
        "pair invitations",
        example="hub pair invitations",
        json="invitations",
        help="List the invitations without their secrets.",
        table=(
            "id as invitation",
            "user",
            "device",
            "uses_left",
            "last4 as ends in",
            "expires_at|moment as expires",
            "revoked_at|moment as revoked",
        ),
        empty="no invitations; create one: hub pair invite",
    )
    @listed("", Scope.DEVICES, key=lambda invitation: (epoch_ms(invitation.created_at), invitation.id))
    async def all(self, part: ListPart = ALL) -> list[InvitationView]:
        """List the invitations, the oldest first."""
        return list(map(InvitationView.from_row, await self._page(part)))

    @command(
        "pair invite",
        example="hub pair invite --device desk --ttl 1h",
        json="invitation",
        help="Create an invitation, which admits a device without approval. It is printed once.\n\n"
        "With --user, as that user's devices.",
        options={
            "device": "Name of the device [default: the name that it proposes].",
            "uses": "Number of devices.",
            "ttl_s": "--ttl: Lifetime of the invitation, as in 10m or 2h.",
        },
        prints="token",
        message="The invitation is shown only once, and expires {expires_at|moment}."
        " On the device, put it into a file that only you can read, then:\n"
        "  hub connect URL --root DIR{device|as_name} --invitation-file FILE\n"
        "For its owner: agents of this hub read the files in DIR, which this hub and its models get."
        " Nothing outside of DIR is read.\n"
        "Tasks and notes that agents suggest are stored on the device, and its owner decides about them.",
    )
    @route("POST", "", Scope.DEVICES, status=201, is_secret=True)
    @audited("invitation.created")
    async def create(
        self,
        actor: Actor,
        device: Annotated[Name | None, _INVITATION_REQUEST] = None,
        uses: Annotated[int, Meta(ge=1, le=1_000), _INVITATION_REQUEST] = 1,
        ttl_s: Annotated[
            Annotated[float, Meta(ge=10.0, le=YEAR_S, examples=[600])] | None, _INVITATION_REQUEST
        ] = None,
    ) -> NewInvitation:
        """Create an invitation; with ``user``, for that user. Only this response has the secret."""
        if device is not None and uses != 1:
            raise CodedError(
                ErrorCode.BAD_PARAMS, "uses: an invitation that names a device is for one device"
            )
        await self._check_room("invitations", "open invitations")
        lasts_s = self.limits.invitation_ttl_s if ttl_s is None else ttl_s
        row, token = await self._create(
            lasts_s,
            user_id=self.user_id or self._owner_id,
            device_name=device,
            uses_left=uses,
            actor=actor,
        )
        log.info("invitation.created", invitation_id=row.id, user_id=row.user_id)
        return NewInvitation.from_row(row, token=token)

    @command(
        "pair uninvite INVITATION_ID",
        example="hub pair uninvite 4e21a9",
        json="invitation",
        help="Revoke an invitation. Devices that it admitted stay.",
        message="the invitation that ends in {last4} is revoked",
    )
    @route("DELETE", "/{invitation_id}", Scope.DEVICES)
    @audited("invitation.revoked")
    async def revoke(self, invitation_id: str, actor: Actor) -> InvitationView:
        """Revoke an invitation; doing it twice is no error."""
        row = await self._revoke(invitation_id, actor)
        log.info("invitation.revoked", invitation_id=row.id, user_id=row.user_id)
        return InvitationView.from_row(row)


LINK_S: Final = 60.0  # between making a link and opening it
OWNERS_LINK_S: Final = 600.0  # of one printed in the owner's terminal, below what is read there first


class PagesAt(msgspec.Struct, frozen=True):
    """Address of the pages for browsers. *host*: empty, if that is any address of the hub's machine."""

    host: str
    port: int
    is_encrypted: bool


class SessionView(OperatorTokenView, kw_only=True):
    """A browser's session without its secret, of which *last4* are the last characters.

    *opened_at*: null, if it is a link that was not opened yet. *user*: the only user whose things it sees;
    null: everybody's.
    """

    opened_at: Instant | None = None


class NewLink(SessionView, kw_only=True):
    """A created link. *path*: what a browser opens at this hub; no other response contains it."""

    path: str


_LINK_REQUEST: Final = BodyField("LinkRequest", "A link to create, with the rights of the caller, or fewer.")


class SessionsResource(SecretsOfKind[BrowserSessionRow], Resource):
    """Sessions of browsers."""

    name, path = "sessions", "/v1/sessions"
    kind, stored = TokenKind.LINK, SESSIONS
    unknown = ErrorCode.UNKNOWN_TOKEN, "there is no session {!r}"
    errors = (ErrorCode.UNKNOWN_TOKEN, ErrorCode.LIMIT_REACHED)

    def __init__(self, *, pages_at: Callable[[], PagesAt | None] = lambda: None, **common: Any) -> None:
        """Create the resource. *pages_at*: returns where the pages are; None: nothing listens yet."""
        super().__init__(**common)
        self._pages_at = pages_at

    @listed("", Scope.TOKENS, key=lambda session: (epoch_ms(session.created_at), session.id))
    async def all(self, part: ListPart = ALL) -> list[SessionView]:
        """List the sessions of browsers and the links to open one, the oldest first, ended ones for a day."""
        return list(map(_view, await self._page(part)))

    @route("POST", "/links", Scope.TOKENS, status=201, is_secret=True)
    @audited("session.created")
    async def link(
        self,
        caller: Caller,
        role: Annotated[Role | None, _LINK_REQUEST] = None,
        scopes: Annotated[tuple[Scope, ...], _LINK_REQUEST] = (),
        owner_of: Annotated[Name | None, _LINK_REQUEST] = None,
    ) -> NewLink:
        """Create a link that signs a browser in, once and within a minute. Only this response has it.

        With ``user``, the session sees only that user's things. With ``owner_of``, the session decides in the
        name of that device's owner: with all rights while the owner is the only user, then as that user. The
        only user of a hub makes such a link over its Unix socket; it lasts ten minutes.
        """
        is_same = not scopes and role is None
        owned = None if owner_of is None else await self._device_of_only_user(caller, owner_of)
        role = role or caller.role or Role.VIEWER
        granted = caller.scopes if is_same else scopes_of(role, scopes)
        check_within_rights(role, granted, scopes, caller)
        device = owned or await self._owned_by(caller, granted)
        await self._check_room("browser_sessions", "sessions of browsers")
        row, code = await self._create(
            LINK_S if owned is None else OWNERS_LINK_S,
            name=caller.name if owned is None else owned.name,
            role=role,
            scopes=sorted(granted - AT_DEVICES if owned is None else granted),
            user_id=self.user_id,
            token_id=_token_of(caller.actor),
            device_id=None if device is None else device.id,
            actor=caller.actor,
        )
        log.info("session.link_created", session_id=row.id)
        return NewLink.from_row(_view(row), path=f"/login#{code}")

    async def _device_of_only_user(self, caller: Principal, name: str) -> DeviceRow:
        """Return a device of the hub's only user. Raises CodedError if others are users, too."""

        def read(c: Connection) -> DeviceRow | None:
            (first, *others) = users.list_users(c, limit=2)
            return None if others else devices.find_device(c, name, user_id=first.id)

        is_here = caller.actor.startswith(OPERATOR) and self.user_id is None
        found = await self._store.read(read) if is_here else None
        if found is None or found.revoked_at is not None:
            message = f"the session of the owner of {name!r} is for the only user of a hub, on its machine"
            raise CodedError(ErrorCode.FORBIDDEN, message, hint="on the device: hub open")
        return found

    @device(Method.SESSIONS_LINK, "what its user sees", Grant.COORDINATION)
    @audited("session.created")
    async def link_for_owner(self, link: Link) -> dict[str, Any]:
        """Create a link for the owner of a device, whose session sees their things only.

        The session ends with the device.
        """
        at = self._pages_at()
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
    async def open(self, caller: Caller, call: RequestContext, head: ResponseHead) -> SessionView:
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
                raise CodedError(ErrorCode.AUTH_FAILED, "this link was used in this moment", hint=NEW_LINK)
        elif kind == "token":
            await self._check_room("browser_sessions", "sessions of browsers")
            row, secret = await self._create(
                IDLE_MS / 1_000,
                kind=TokenKind.SESSION,
                name=caller.name,
                role=caller.role,
                scopes=sorted(caller.scopes - AT_DEVICES),
                user_id=self.user_id,
                token_id=TokenId(id),
                device_id=None,
                opened_at=self._now,
                actor=caller.actor,
            )
        else:
            raise CodedError(
                ErrorCode.FORBIDDEN, "a session is opened with a link or an operator's token", hint=NEW_LINK
            )
        head.headers["set-cookie"] = spelled_cookie(call.scope, secret, LONGEST_MS // 1_000)
        log.info("session.opened", session_id=row.id)
        return _view(row)

    @route("DELETE", "/current", Scope.READ)
    @audited("session.revoked")
    async def sign_out(self, caller: Caller, call: RequestContext, head: ResponseHead) -> SessionView:
        """End the session of the cookie, and remove the cookie."""
        kind, _, id = caller.actor.partition(":")
        if kind != "session":
            raise CodedError(ErrorCode.UNKNOWN_TOKEN, "this request has no session: it bears no cookie")
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
