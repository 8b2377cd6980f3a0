"""Tokens of devices: made, listed, revoked. What is kept of one is its hash."""

import base64
import hashlib
from typing import Final

from hub.clock import Chance, Clock, IdFactory, epoch_ms, from_epoch_ms
from hub.links.roster import Roster
from hub.ops.facade import UnknownToken
from hub.ops.views import NewToken, TokenView
from protocol.errors import CloseCode, ErrorCode
from protocol.handshake import Goodbye
from protocol.ids import DeviceId, TokenId, UserId
from storage.store import Store, TokenRow, devices

TOKEN_BYTES: Final = 32  # nobody guesses 256 bits, so a plain hash of it may be kept
TOKEN_PREFIX: Final = "hub_dev_"  # secret scanners find it


class TokenOperations:
    """Implements ``ops.facade.TokenFacade``."""

    def __init__(
        self,
        *,
        store: Store,
        roster: Roster,
        clock: Clock,
        ids: IdFactory,
        chance: Chance,
        user_id: UserId,
    ) -> None:
        self._store = store
        self._roster = roster
        self._clock = clock
        self._ids = ids
        self._chance = chance
        self._user_id = user_id

    async def create(self, device_name: str) -> NewToken:
        """A token for the device of that name, which is made too where it is new."""
        at = epoch_ms(self._clock.now())
        device = await self._store.write(
            devices.ensure_device,
            id=DeviceId(self._ids.fresh()),
            user_id=self._user_id,
            name=device_name,
            at=at,
        )
        secret = base64.urlsafe_b64encode(self._chance.token_bytes(TOKEN_BYTES)).decode().rstrip("=")
        token = TOKEN_PREFIX + secret
        row = await self._store.write(
            devices.create_token,
            id=TokenId(self._ids.fresh()),
            device_id=device.id,
            token_hash=hashlib.sha256(token.encode()).digest(),
            at=at,
        )
        return NewToken(id=row.id, device=device.name, token=token, created_at=from_epoch_ms(at))

    async def all(self) -> list[TokenView]:
        """All tokens, newest first."""
        return [_view(row) for row in await self._store.read(devices.list_tokens)]

    async def revoke(self, token_id: str) -> TokenView:
        """Revoke a token and close the connections of its device."""
        found = await self._find(token_id)
        await self._store.write(devices.revoke_token, found.id, epoch_ms(self._clock.now()))
        self._roster.end(found.device_id, Goodbye(reason=ErrorCode.REVOKED), CloseCode.REVOKED)
        return _view(await self._find(token_id))

    async def _find(self, token_id: str) -> TokenRow:
        for row in await self._store.read(devices.list_tokens):
            if row.id == token_id:
                return row
        raise UnknownToken(f"there is no token {token_id!r}")


def _view(row: TokenRow) -> TokenView:
    return TokenView(
        id=row.id,
        device=row.device_name,
        created_at=from_epoch_ms(row.created_at),
        expires_at=None if row.expires_at is None else from_epoch_ms(row.expires_at),
        revoked_at=None if row.revoked_at is None else from_epoch_ms(row.revoked_at),
    )
