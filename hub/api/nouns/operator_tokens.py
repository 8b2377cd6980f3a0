"""Tokens of operators, with a subset of the rights of their creator. The hub keeps only their hashes."""

from collections.abc import Collection
from typing import Annotated

from msgspec import Meta, structs

from hub import tokens
from hub.api.deps import Actor, Caller
from hub.api.door.roles import Principal, Role, Scope, scopes_of
from hub.api.identity import IdentityLimits
from hub.api.noun import ALL, Noun, Part, listed, route
from hub.api.nouns.tokens import DAY_S, Lifetime, TooManyTokens, UnknownToken
from hub.api.view import Instant, View
from hub.clock import Chance, Clock, IdFactory, epoch_ms
from hub.log import Channel
from hub.metrics import Metrics
from hub.tokens import TokenKind
from protocol.errors import ErrorCode, HubError
from protocol.ids import TokenId
from storage.devices import operator_tokens
from storage.devices.operator_tokens import OperatorTokenRow
from storage.store import Store

log = Channel(__name__)

# Spaces around it are stripped.
Label = Annotated[
    str, Meta(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$(?!\n)")
]


class BeyondOwnRights(HubError):
    """The requested scopes exceed those of the role or of the caller."""

    code = ErrorCode.FORBIDDEN


class OperatorTokenView(View, kw_only=True):
    """An operator's token without its secret.

    *user*: the only user whose things it sees; None: everybody's. *scopes*: those of its role that it has.
    """

    id: str
    name: str
    role: Role
    scopes: tuple[Scope, ...]
    user: str | None = None
    last4: str
    created_by: str
    created_at: Instant
    expires_at: Instant
    last_used_at: Instant | None = None
    revoked_at: Instant | None = None


class NewOperatorToken(OperatorTokenView, kw_only=True):
    """A created token of an operator. No other response contains *token*."""

    token: str


class OperatorTokenRequest(View):
    """An operator's token to create, with all scopes of its role or with some of them."""

    name: Label
    role: Role
    scopes: tuple[Scope, ...] = ()  # none: every scope of the role
    ttl_s: Lifetime | None = None  # None: 90 days


class OperatorTokens(Noun):
    """Tokens of operators."""

    name, path, list_key = "operator_tokens", "/v1/operator-tokens", "tokens"
    errors = (ErrorCode.UNKNOWN_TOKEN, ErrorCode.LIMIT_REACHED)

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        ids: IdFactory,
        chance: Chance,
        metrics: Metrics,
        limits: IdentityLimits,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._chance = chance
        self._metrics = metrics
        self.limits = limits

    @listed("", Scope.TOKENS, key=lambda token: (epoch_ms(token.created_at), token.id))
    async def all(self, part: Part = ALL) -> list[OperatorTokenView]:
        """List the tokens of operators, including revoked ones, the oldest first."""
        rows = await self._store.read(
            operator_tokens.list_operator_tokens, user_id=self.user_id, limit=part.limit, after=part.after
        )
        return [_view(row) for row in rows]

    @route("POST", "", Scope.TOKENS, status=201, is_secret=True)
    async def create(self, requested: OperatorTokenRequest, caller: Caller) -> NewOperatorToken:
        """Create a token within the caller's own rights. Only this response has the secret.

        With ``user``, the token sees only that user's things.
        """
        granted = scopes_of(requested.role, requested.scopes)
        _check_within_rights(requested.role, granted, requested.scopes, caller)
        at = epoch_ms(self._clock.now())
        most = self.limits.operator_tokens
        if await self._store.read(operator_tokens.count_live, at) >= most:
            raise self._too_many(most, "operator_tokens")
        if self.user_id is not None:
            most = self.limits.operator_tokens_per_user
            if await self._store.read(operator_tokens.count_live, at, user_id=self.user_id) >= most:
                raise self._too_many(most, "operator_tokens_per_user")
        token = tokens.make(TokenKind.OPERATOR, self._chance)
        lasts_s = self.limits.operator_token_days * DAY_S if requested.ttl_s is None else requested.ttl_s
        row = await self._store.write(
            operator_tokens.create_operator_token,
            id=TokenId(self._ids.fresh()),
            token_hash=tokens.hash_token(token),
            name=requested.name.strip(),
            role=requested.role,
            scopes=sorted(granted),
            user_id=self.user_id,
            last4=tokens.last4(token),
            actor=caller.actor,
            at=at,
            expires_at=at + round(lasts_s * 1_000),
        )
        log.info("operator_token.created", token_id=row.id)
        return NewOperatorToken(**structs.asdict(_view(row)), token=token)

    @route("DELETE", "/{token_id}", Scope.TOKENS)
    async def revoke(self, token_id: str, actor: Actor) -> OperatorTokenView:
        """Revoke a token; doing it twice is no error."""
        found = await self._find(token_id)
        at = epoch_ms(self._clock.now())
        await self._store.write(operator_tokens.revoke_operator_token, found.id, at=at, actor=actor)
        log.info("operator_token.revoked", token_id=found.id)
        return _view(await self._find(token_id))

    def _too_many(self, most: int, limit: str) -> TooManyTokens:
        self._metrics.limits_reached.labels(limit).inc()
        return TooManyTokens(f"there are {most} tokens of operators ({limit}) that count")

    async def _find(self, token_id: str) -> OperatorTokenRow:
        row = await self._store.read(operator_tokens.find_operator_token_by_id, TokenId(token_id))
        if row is None or self.user_id not in (None, row.user_id):
            raise UnknownToken(f"there is no token {token_id!r} of an operator")
        return row


def _check_within_rights(
    role: Role, granted: frozenset[Scope], requested: Collection[Scope], caller: Principal
) -> None:
    """Raise BeyondOwnRights if the role lacks a requested scope, or the caller a granted one."""
    if foreign := sorted(set(requested) - granted):
        raise BeyondOwnRights(f"the role {role} does not bring {', '.join(foreign)}")
    if beyond := sorted(granted - caller.scopes):
        raise BeyondOwnRights(f"you may not hand out what you do not have: {', '.join(beyond)}")


def _view(row: OperatorTokenRow) -> OperatorTokenView:
    return OperatorTokenView.from_row(
        row, role=Role(row.role), scopes=tuple(sorted(map(Scope, row.scopes))), user=row.user_name
    )
