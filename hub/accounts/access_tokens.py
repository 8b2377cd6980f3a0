"""Access tokens of accounts: when a token is refreshed, and by which process, while other callers wait.

Strict providers revoke a grant when a refresh token is used twice. So the refreshing process holds a lease of
the row. The result is stored before its use, by compare-and-set on the row's version. If a person has signed
in meanwhile, the new grant is kept, and a refusal of the old grant is ignored.

A refresh that was sent is not cancelled. A gap remains: a process that dies between the provider's answer and
the write loses a rotated token. At a strict provider, a person then has to sign in again.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import anyio
import anyio.to_thread
import msgspec

from hub.accounts.grants import ANSWER_S, AccountConfig, Grants, TokenGrant
from hub.accounts.sealing_keys import KeyMissing, KeyStore, NotOpened
from hub.base.clock import Chance, Clock, epoch_ms
from hub.base.log import Channel
from hub.connectors.calling import ConnectorFailure, Misconfigured, NeedsOtherNode, SignInNeeded, Unavailable
from protocol.ids import BootId
from storage import leases
from storage.connectors import connectors
from storage.connectors.connectors import CredentialRow, GrantSight
from storage.kernel.database import StorageError
from storage.store import Store

log = Channel(__name__)

LEASE_MS: Final = 30_000  # longer than a refresh may take

PATIENCE_S: Final = 40.0  # longer than a lease

POLL_S: Final = 0.1

EARLY_MS: Final = 300_000

EARLY_SHARE: Final = 0.1  # of the token's lifetime, if that is less

ENOUGH_MS: Final = 30_000  # remaining lifetime that suffices while another process refreshes

WRITES: Final = 5

NO_GRANT: Final = "not signed in yet"


class SealedTokens(msgspec.Struct, frozen=True):
    """Sealed content of the row."""

    access_token: str
    refresh_token: str | None = None

    def __repr__(self) -> str:
        return "SealedTokens(...)"


class TokenBook:
    """Tokens of all accounts.

    Args:
        owner: lease owner, unique to this process.
        on_dead: called with a revoked grant before another caller can try it.
    """

    def __init__(
        self,
        store: Store,
        *,
        keys: KeyStore,
        grants: Grants,
        clock: Clock,
        chance: Chance,
        owner: str,
        on_dead: Callable[[str, SignInNeeded], Awaitable[object]],
    ) -> None:
        self.grants = grants
        self._store = store
        self._keys = keys
        self._clock = clock
        self._chance = chance
        self._owner = owner
        self._on_dead = on_dead
        self._locks: dict[str, anyio.Lock] = {}

    async def token(self, connector_id: str, account: AccountConfig, rejected: str | None = None) -> str:
        """Return a token that is valid for a while; see ``Tokens``."""
        async with self._locks.setdefault(connector_id, anyio.Lock()):
            until = self._clock.monotonic() + PATIENCE_S
            while True:
                seen, row, tokens = await self._find_grant(connector_id)
                left_ms, early_ms = float("inf"), 0.0  # without a known end, a 401 reveals an expired token
                if row.expires_at is not None:
                    left_ms = row.expires_at - epoch_ms(self._clock.now())
                    early_ms = min(EARLY_MS, EARLY_SHARE * max(0, row.expires_at - row.refreshed_at))
                is_good = tokens.access_token != rejected
                if is_good and left_ms > early_ms:
                    return tokens.access_token
                if seen.is_leased:
                    if is_good and left_ms > ENOUGH_MS:
                        return tokens.access_token
                elif await self._lease(row):
                    try:
                        fresh = await self._refresh(row, tokens, account)
                    except Unavailable:
                        if is_good and left_ms > ENOUGH_MS:
                            return tokens.access_token  # the refresh was early: the next call tries again
                        raise
                    if fresh is not None:
                        return fresh
                    continue  # a person signed in meanwhile: use the new grant
                if self._clock.monotonic() >= until:
                    raise Unavailable("another process refreshes the sign-in, and does not come to an end")
                await self._clock.sleep(POLL_S * self._chance.uniform(0.5, 1.5))

    async def password(self, connector_id: str) -> str:
        """Return the password that a person gave for the connector. Raises like ``open``."""
        row = await self._store.read(connectors.find_credential, connector_id)
        if row is None:
            raise SignInNeeded(NO_GRANT)
        return (await self.open(row)).access_token

    async def open(self, row: CredentialRow) -> SealedTokens:
        """Return the tokens of the row.

        Raises:
            SignInNeeded: it cannot be opened.
            Elsewhere: this node lacks the key of it, and another node may have the key.
        """
        ring = await self._keys.ring()
        id = row.connector_id
        try:
            return ring.open(row.sealed, SealedTokens, row=id, owner=id, key_id=row.key_id)
        except NotOpened as error:
            if isinstance(error, KeyMissing) and await self.has_others():
                raise NeedsOtherNode(self._keys.missing(error.key_id)) from error
            raise SignInNeeded(str(error), version=row.version) from error

    async def has_others(self) -> bool:
        """Return True if another node of this database lives, which may have other keys."""
        return await self._store.read(leases.has_others, BootId(self._owner))

    async def seal(self, connector_id: str, granted: TokenGrant) -> tuple[str, bytes]:
        """Seal a grant for the row of a connector. Return the key's id and the sealed data."""
        ring = await self._keys.ring()
        tokens = SealedTokens(granted.access_token, granted.refresh_token)
        return ring.seal(tokens, row=connector_id, owner=connector_id)

    async def _find_grant(self, connector_id: str) -> tuple[GrantSight, CredentialRow, SealedTokens]:
        seen = await self._store.read(connectors.find_grant_state, connector_id)
        if seen is None:
            raise Misconfigured("the connector is gone")
        if seen.row is None:
            raise SignInNeeded(NO_GRANT)
        if seen.state == "sign_in":
            raise SignInNeeded(seen.detail or NO_GRANT, version=seen.row.version)
        return seen, seen.row, await self.open(seen.row)

    async def _lease(self, row: CredentialRow) -> bool:
        lease = partial(connectors.lease_credential, version=row.version, owner=self._owner, ttl_ms=LEASE_MS)
        asked_at = self._clock.uptime_s()
        is_leased = await self._store.write(lease, row.connector_id)
        # An answer that came late leaves no time for a refresh; then the lease ends by itself.
        return is_leased and self._clock.uptime_s() - asked_at < LEASE_MS / 1_000 - ANSWER_S

    async def _refresh(self, row: CredentialRow, tokens: SealedTokens, account: AccountConfig) -> str | None:
        """Return the new token after storing it, or None if another grant was stored meanwhile."""
        # a sent refresh is awaited to its end: a rotated token exists only in the answer
        with anyio.CancelScope(shield=True):
            try:
                if tokens.refresh_token is None:
                    raise SignInNeeded("the provider gave no refresh token, and the access token is over")
                granted = await self.grants.refresh(account, tokens.refresh_token)
                is_stored = await self._keep(row, granted)
            except SignInNeeded as failure:
                dead = SignInNeeded(str(failure), version=row.version)
                await self._on_dead(row.connector_id, dead)
                raise dead from None
            except ConnectorFailure as failure:
                log.warning("connector.refresh_failed", connector_id=row.connector_id, code=failure.code)
                raise
            finally:
                await self._store.write(
                    partial(connectors.release_credential, owner=self._owner), row.connector_id
                )
        log.info("connector.refreshed", connector_id=row.connector_id, stored=is_stored)
        return granted.access_token if is_stored else None

    async def _keep(self, row: CredentialRow, granted: TokenGrant) -> bool:
        key_id, sealed = await self.seal(row.connector_id, granted)
        save = partial(
            connectors.save_refreshed,
            version=row.version,
            sealed=sealed,
            key_id=key_id,
            scopes=granted.scopes or row.scopes,
            expires_at=granted.expires_at,
            at=epoch_ms(self._clock.now()),
        )
        for attempt in range(1, WRITES + 1):
            try:
                return await self._store.write(save, row.connector_id)
            except StorageError:
                if attempt == WRITES:  # a rotated token has no other copy
                    raise
                await self._clock.sleep(POLL_S * 2**attempt)
        raise AssertionError("unreachable")


class AccountTokens:
    """Tokens of one account, for its connector."""

    def __init__(self, book: TokenBook, connector_id: str, account: AccountConfig) -> None:
        self._book = book
        self._id = connector_id
        self._account = account

    async def token(self, rejected: str | None = None) -> str:
        return await self._book.token(self._id, self._account, rejected)
