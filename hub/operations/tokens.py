"""Tokens of devices: made, listed, revoked. What is kept of one is its hash."""

from hub import tokens
from hub.api.facades.tokens import TooManyTokens, UnknownToken
from hub.api.views.identity import NewToken, TokenView
from hub.clock import Chance, Clock, IdFactory, epoch_ms, from_epoch_ms
from hub.links.roster import Roster
from hub.log import Channel
from hub.metrics import Metrics
from hub.operations.limits import IdentityLimits
from hub.operations.moments import moment
from hub.operations.names import user_names
from hub.operations.seen import Seen
from hub.tokens import TokenKind
from protocol.ids import DeviceId, TokenId, UserId
from storage.devices import device_replacement, devices
from storage.devices.devices import TokenRow
from storage.store import Store

log = Channel(__name__)


class TokenOperations(Seen):
    """Implements ``api.facades.tokens.TokenFacade``."""

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
        """*owner_id*: whose a device is that was made by somebody who sees everybody's."""
        self._store = store
        self._roster = roster
        self._clock = clock
        self._ids = ids
        self._chance = chance
        self._metrics = metrics
        self._owner_id = owner_id
        self.limits = limits

    async def create(self, device_name: str, *, ttl_s: float | None = None, actor: str) -> NewToken:
        """A token for the device of that name, which is made too where it is new."""
        at, most = epoch_ms(self._clock.now()), self.limits.device_tokens
        if await self._store.read(devices.count_tokens, at) >= most:
            raise self._too_many(most, "device_tokens")
        if self.user_id is not None:
            most = self.limits.device_tokens_per_user
            if await self._store.read(devices.count_tokens, at, user_id=self.user_id) >= most:
                raise self._too_many(most, "device_tokens_per_user")
        fresh_id = DeviceId(self._ids.fresh())
        device = await self._store.write(
            device_replacement.ensure_device,
            id=fresh_id,
            user_id=self.user_id or self._owner_id,
            name=device_name,
            at=at,
            actor=actor,
        )
        token = tokens.make(TokenKind.DEVICE, self._chance)
        row = await self._store.write(
            devices.create_token,
            id=TokenId(self._ids.fresh()),
            device_id=device.id,
            token_hash=tokens.hash_token(token),
            at=at,
            expires_at=None if ttl_s is None else at + round(ttl_s * 1_000),
            last4=tokens.last4(token),
            actor=actor,
        )
        log.info("token.created", token_id=row.id, device_id=device.id)
        return NewToken(
            id=row.id,
            device=device.name,
            is_new_device=device.id == fresh_id,
            user=(await user_names(self._store))[row.user_id],
            token=token,
            created_at=from_epoch_ms(at),
            expires_at=moment(row.expires_at),
        )

    async def all(self) -> list[TokenView]:
        """All tokens, the oldest first."""
        names = await user_names(self._store)
        rows = await self._store.read(devices.list_tokens, user_id=self.user_id)
        return [token_view(row, names[row.user_id]) for row in rows]

    async def revoke(self, token_id: str, *, actor: str) -> TokenView:
        """Revoke a token and close the connection that it opened."""
        found = await self._find(token_id)
        await self._store.write(devices.revoke_token, found.id, epoch_ms(self._clock.now()), actor=actor)
        self._roster.end_revoked(found.device_id, f"token:{found.id}")
        log.info("token.revoked", token_id=found.id, device_id=found.device_id)
        names = await user_names(self._store)
        return token_view(await self._find(token_id), names[found.user_id])

    def _too_many(self, most: int, limit: str) -> TooManyTokens:
        self._metrics.limits_reached.labels(limit).inc()
        return TooManyTokens(f"there are {most} tokens of devices ({limit}) that count")

    async def _find(self, token_id: str) -> TokenRow:
        row = await self._store.read(devices.find_token_by_id, TokenId(token_id))
        if row is None or self.user_id not in (None, row.user_id):
            raise UnknownToken(f"there is no token {token_id!r}")
        return row


def token_view(row: TokenRow, user: str) -> TokenView:
    """A token of a device of *user*'s."""
    return TokenView(
        id=row.id,
        device=row.device_name,
        user=user,
        last4=row.last4,
        created_by=row.created_by,
        created_at=from_epoch_ms(row.created_at),
        expires_at=moment(row.expires_at),
        last_used_at=moment(row.last_used_at),
        revoked_at=moment(row.revoked_at),
    )
