"""Tokens with which devices connect. The hub keeps only their hashes."""

from typing import Annotated, Final

from msgspec import Meta

from hub import tokens
from hub.api.deps import Actor
from hub.api.door.roles import Scope
from hub.api.identity import IdentityLimits
from hub.api.noun import ALL, Noun, Part, listed, route
from hub.api.view import Instant, Name, View, moment
from hub.clock import Chance, Clock, IdFactory, epoch_ms, from_epoch_ms
from hub.links.roster import Roster
from hub.log import Channel
from hub.metrics import Metrics
from hub.tokens import TokenKind
from protocol.errors import ErrorCode, HubError
from protocol.ids import DeviceId, TokenId, UserId
from storage.devices import device_keys, devices
from storage.devices.devices import TokenRow
from storage.store import Store

log = Channel(__name__)

DAY_S: Final = 86_400.0
YEAR_S: Final = 366 * DAY_S

Lifetime = Annotated[
    float, Meta(ge=60.0, le=YEAR_S, description="How long it counts, in seconds.", examples=[7_776_000])
]


class UnknownToken(HubError):
    """A token id that does not exist."""

    code = ErrorCode.UNKNOWN_TOKEN


class TooManyTokens(HubError):
    """The limit on valid tokens of this kind is reached."""

    code = ErrorCode.LIMIT_REACHED


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
    """A created token. No other response contains *token*."""

    id: str
    device: str
    is_new_device: bool = False  # the request created the device too
    user: str = ""
    token: str
    created_at: Instant
    expires_at: Instant | None = None


class TokenRequest(View):
    """A token to create, for the device of this name."""

    device: Name
    ttl_s: Lifetime | None = None  # None: it never expires


class Tokens(Noun):
    """Tokens of devices."""

    name, path = "tokens", "/v1/tokens"
    errors = (ErrorCode.UNKNOWN_TOKEN, ErrorCode.LIMIT_REACHED)

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
        """Create the noun. *owner_id*: owner of a device that an unscoped operator creates."""
        self._store = store
        self._roster = roster
        self._clock = clock
        self._ids = ids
        self._chance = chance
        self._metrics = metrics
        self._owner_id = owner_id
        self.limits = limits

    @listed("", Scope.DEVICES, key=lambda token: (epoch_ms(token.created_at), token.id))
    async def all(self, part: Part = ALL) -> list[TokenView]:
        """List the tokens of devices, including revoked ones, the oldest first."""
        rows = await self._store.read(
            devices.list_tokens, user_id=self.user_id, limit=part.limit, after=part.after
        )
        return [token_view(row) for row in rows]

    @route("POST", "", Scope.DEVICES, status=201, is_secret=True)
    async def create(self, requested: TokenRequest, actor: Actor) -> NewToken:
        """Create a token for a device, and the device if it is new; with ``user``, as that user's.

        Only this response has the secret.
        """
        at, most = epoch_ms(self._clock.now()), self.limits.device_tokens
        if await self._store.read(devices.count_tokens, at) >= most:
            raise self._too_many(most, "device_tokens")
        if self.user_id is not None:
            most = self.limits.device_tokens_per_user
            if await self._store.read(devices.count_tokens, at, user_id=self.user_id) >= most:
                raise self._too_many(most, "device_tokens_per_user")
        fresh_id = DeviceId(self._ids.fresh())
        device = await self._store.write(
            device_keys.ensure_device,
            id=fresh_id,
            user_id=self.user_id or self._owner_id,
            name=requested.device,
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
            expires_at=None if requested.ttl_s is None else at + round(requested.ttl_s * 1_000),
            last4=tokens.last4(token),
            actor=actor,
        )
        log.info("token.created", token_id=row.id, device_id=device.id)
        return NewToken(
            id=row.id,
            device=device.name,
            is_new_device=device.id == fresh_id,
            user=row.user_name,
            token=token,
            created_at=from_epoch_ms(at),
            expires_at=moment(row.expires_at),
        )

    @route("DELETE", "/{token_id}", Scope.DEVICES)
    async def revoke(self, token_id: str, actor: Actor) -> TokenView:
        """Revoke a token and close the connection that uses it; doing it twice is no error."""
        found = await self._find(token_id)
        await self._store.write(devices.revoke_token, found.id, epoch_ms(self._clock.now()), actor=actor)
        self._roster.end_revoked(found.device_id, f"token:{found.id}")
        log.info("token.revoked", token_id=found.id, device_id=found.device_id)
        return token_view(await self._find(token_id))

    def _too_many(self, most: int, limit: str) -> TooManyTokens:
        self._metrics.limits_reached.labels(limit).inc()
        return TooManyTokens(f"there are {most} tokens of devices ({limit}) that count")

    async def _find(self, token_id: str) -> TokenRow:
        row = await self._store.read(devices.find_token_by_id, TokenId(token_id))
        if row is None or self.user_id not in (None, row.user_id):
            raise UnknownToken(f"there is no token {token_id!r}")
        return row


def token_view(row: TokenRow) -> TokenView:
    """Return the view of a device's token."""
    return TokenView.from_row(row, device=row.device_name, user=row.user_name)
