"""Tokens of operators: made within the rights of who makes them, listed, revoked."""

from collections.abc import Collection
from typing import Final

from hub import tokens
from hub.api.door.roles import Principal, Role, Scope, scopes_of
from hub.api.facades.tokens import BeyondOwnRights, TooManyTokens, UnknownToken
from hub.api.views.identity import NewOperatorToken, OperatorTokenView
from hub.clock import Chance, Clock, IdFactory, epoch_ms, from_epoch_ms
from hub.log import Channel
from hub.metrics import Metrics
from hub.operations.limits import IdentityLimits
from hub.operations.moments import moment
from hub.operations.seen import Seen
from hub.tokens import TokenKind
from protocol.ids import TokenId
from storage.devices import operator_tokens
from storage.devices.operator_tokens import OperatorTokenRow
from storage.store import Store

log = Channel(__name__)

DAY_S: Final = 86_400.0


class OperatorTokenOperations(Seen):
    """Implements ``api.facades.tokens.OperatorTokenFacade``."""

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

    async def create(
        self,
        name: str,
        *,
        role: Role,
        scopes: Collection[Scope] = (),
        ttl_s: float | None = None,
        by: Principal,
    ) -> NewOperatorToken:
        """A token with the scopes of its role, or those of them that are given."""
        borne = scopes_of(role, scopes)
        _check_within_rights(role, borne, scopes, by)
        at = epoch_ms(self._clock.now())
        most = self.limits.operator_tokens
        if await self._store.read(operator_tokens.count_live, at) >= most:
            raise self._too_many(most, "operator_tokens")
        if self.user_id is not None:
            most = self.limits.operator_tokens_per_user
            if await self._store.read(operator_tokens.count_live, at, user_id=self.user_id) >= most:
                raise self._too_many(most, "operator_tokens_per_user")
        token = tokens.make(TokenKind.OPERATOR, self._chance)
        lasts_s = self.limits.operator_token_days * DAY_S if ttl_s is None else ttl_s
        row = await self._store.write(
            operator_tokens.create_operator_token,
            id=TokenId(self._ids.fresh()),
            token_hash=tokens.hash_token(token),
            name=name,
            role=role,
            scopes=sorted(borne),
            user_id=self.user_id,
            last4=tokens.last4(token),
            actor=by.actor,
            at=at,
            expires_at=at + round(lasts_s * 1_000),
        )
        log.info("operator_token.created", token_id=row.id)
        return NewOperatorToken(**_view(row).model_dump(), token=token)

    async def all(self) -> list[OperatorTokenView]:
        """All tokens, the oldest first."""
        rows = await self._store.read(operator_tokens.list_operator_tokens, user_id=self.user_id)
        return [_view(row) for row in rows]

    async def revoke(self, token_id: str, *, actor: str) -> OperatorTokenView:
        """It opens nothing any more."""
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
    role: Role, borne: frozenset[Scope], wanted: Collection[Scope], by: Principal
) -> None:
    """Raises BeyondOwnRights: a role does not bring what is wanted of it, or *by* does not have it."""
    if foreign := sorted(set(wanted) - borne):
        raise BeyondOwnRights(f"the role {role} does not bring {', '.join(foreign)}")
    if beyond := sorted(borne - by.scopes):
        raise BeyondOwnRights(f"you may not hand out what you do not have: {', '.join(beyond)}")


def _view(row: OperatorTokenRow) -> OperatorTokenView:
    return OperatorTokenView(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        scopes=tuple(sorted(map(Scope, row.scopes))),
        user=row.user_name,
        last4=row.last4,
        created_by=row.created_by,
        created_at=from_epoch_ms(row.created_at),
        expires_at=from_epoch_ms(row.expires_at),
        last_used_at=moment(row.last_used_at),
        revoked_at=moment(row.revoked_at),
    )
