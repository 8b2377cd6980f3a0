"""Accounts for runs: opening a connector with its credential, and the account state that people see."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import anyio
import anyio.to_thread
from pydantic import ValidationError

from hub.accounts.access_tokens import AccountTokens, TokenBook
from hub.accounts.grants import AccountConfig, Grants, TokenGrant
from hub.accounts.sealing_keys import BadKeys, Key, Keyring, KeyStore, NotOpened
from hub.base.clock import Chance, Clock, IdFactory, epoch_ms, from_epoch_ms
from hub.base.log import Channel
from hub.base.outbound.client import OutboundClient
from hub.connectors.calling import (
    NEEDS_A_PERSON,
    ConnectorFailure,
    FileUnusable,
    Misconfigured,
    NeedsOtherNode,
    ProviderCaller,
    SignInNeeded,
    Throttle,
)
from hub.connectors.connector import Auth, Connector, Context, Inbox, Posted
from storage.connectors import connectors, seen_messages
from storage.connectors.connectors import DETAIL_CHARS, ConnectorRow
from storage.runs import excerpts as runs_excerpts
from storage.store import Connection, Store

__all__ = ["AccountConfig", "Accounts"]

log = Channel(__name__)


class Accounts:
    """Accounts of the hub, with their connectors.

    Args:
        owner: lease owner, unique to this process.
        on_change: called after the commit with each connector that starts or stops waiting for a person.
        inbox: returns the inbox of a webhook, by its connector's id.
    """

    def __init__(
        self,
        store: Store,
        *,
        client: OutboundClient,
        keys: KeyStore,
        clock: Clock,
        chance: Chance,
        ids: IdFactory,
        owner: str,
        on_change: Callable[[ConnectorRow], object] | None = None,
        inbox: Callable[[str], Inbox] | None = None,
    ) -> None:
        self.keys = keys
        self.grants = Grants(client, clock)
        self._on_change = on_change or (lambda row: None)
        self.book = TokenBook(
            store,
            keys=keys,
            grants=self.grants,
            clock=clock,
            chance=chance,
            owner=owner,
            on_dead=self.refused,
        )
        self._store = store
        self._client = client
        self._clock = clock
        self._chance = chance
        self._ids = ids
        self._inbox = inbox
        self._configs: dict[str, AccountConfig] = {}
        self._throttles: dict[str, Throttle] = {}

    def apply(self, configs: Sequence[AccountConfig]) -> None:
        """Apply the configuration of hub.toml. Open connectors keep their settings."""
        self._configs = {config.name: config for config in configs}

    async def account(self, given: str) -> tuple[ConnectorRow, AccountConfig]:
        """Return the connector with this name or id, and its configuration.

        Raises:
            UnknownConnector: no connector has this name or id.
            Misconfigured: the configuration of the connector is missing or invalid.
        """
        row = await self._store.read(connectors.get_connector, given)
        config = self._configs.get(row.name)
        if config is None:
            raise Misconfigured(row.detail or f"{row.name}: hub.toml does not say how to open it")
        return row, config

    async def open(self, connector_id: str, filter: Mapping[str, Any]) -> Connector:
        """Open a connector for one run. The caller closes it.

        Raises:
            UnknownConnector, Misconfigured: the connector is unknown, or its configuration invalid.
            SignInNeeded: a person has to sign in first.
        """
        row, config = await self.account(connector_id)
        kind = config.kind
        tokens, secret = None, config.secret
        if config.needs_password:
            password = await self.book.password(row.id)
            secret = lambda: password  # noqa: E731
        elif kind.auth is Auth.OAUTH2 or kind.oauth(config.settings) is not None:
            config.oauth()
            if row.state == "sign_in":
                raise SignInNeeded(row.detail or "sign in again")
            tokens = AccountTokens(self.book, row.id, config)
        try:
            chosen = kind.filter_model.model_validate(dict(filter))
        except ValidationError as error:
            where = ".".join(map(str, error.errors(include_input=False)[0]["loc"]))
            raise Misconfigured(f"{row.name}: its agent's filter does not fit: {where}") from None
        caller = ProviderCaller(
            self._client,
            tokens=tokens,
            throttle=self._throttle(row.id, config),
            origins=kind.origins(config.settings),
            clock=self._clock,
            chance=self._chance,
            judge=kind.judge,
        )
        context = Context(
            account=row.name,
            clock=self._clock,
            chance=self._chance,
            caller=caller,
            tokens=tokens,
            secret=secret,
            inbox=None if self._inbox is None else self._inbox(row.id),
            identity=row.account or "",
        )
        return kind(context, config.settings, chosen)

    async def refused(self, connector_id: str, failure: ConnectorFailure) -> bool:
        """Hold the connector's runs until a person acts, if *failure* requires that.

        Returns:
            True if this call changed the state; only then people are notified.
        """
        if not isinstance(failure, NEEDS_A_PERSON):
            return False
        state: Literal["sign_in", "blocked"] = "sign_in" if isinstance(failure, SignInNeeded) else "blocked"
        row = await self._store.write(
            partial(
                connectors.refuse_connector,
                credential_version=failure.version if isinstance(failure, SignInNeeded) else 0,
                state=state,
                reason=failure.code,
                detail=str(failure)[:DETAIL_CHARS],
                at=self._now(),
                activity_id=self._ids.fresh(),
            ),
            connector_id,
        )
        if row is None:
            return False
        log.warning("connector.refused", connector=row.name, state=state, code=failure.code)
        self._on_change(row)
        return True

    async def judged(self, failure: ConnectorFailure) -> ConnectorFailure:
        """Return the failure, as Elsewhere if a file is unusable here that another node may have."""
        if isinstance(failure, FileUnusable) and await self.book.has_others():
            return NeedsOtherNode(f"node {self.keys.node_label}: {failure}")
        return failure

    async def unusable_files(self) -> dict[str, str]:
        """Return why this node cannot use files that settings of connectors name, by connector."""

        def find() -> dict[str, str]:
            found = {name: config.settings.problem_of_files() for name, config in self._configs.items()}
            return {name: problem for name, problem in sorted(found.items()) if problem is not None}

        return await anyio.to_thread.run_sync(find)

    async def test_failed(self, connector_id: str, failure: ConnectorFailure) -> None:
        """Record why a test of the connector failed; its runs wait if a person has to act first."""
        failure = await self.judged(failure)
        if isinstance(failure, NeedsOtherNode):  # another node can read it
            return
        if isinstance(failure, NEEDS_A_PERSON):
            await self.refused(connector_id, failure)
            return
        await self._store.write(
            connectors.note_failure,
            connector_id,
            reason=failure.code,
            detail=str(failure),
            at=self._now(),
        )

    async def granted(
        self, connector_id: str, granted: TokenGrant, *, actor: str, sign_in_id: str | None = None
    ) -> bool:
        """Store a grant and complete the sign-in. Return False if the connector was deleted."""
        key_id, sealed = await self.book.seal(connector_id, granted)
        row = await self._store.write(
            partial(
                connectors.grant_connector,
                sealed=sealed,
                key_id=key_id,
                scopes=granted.scopes,
                expires_at=granted.expires_at,
                at=self._now(),
                actor=actor,
                activity_id=self._ids.fresh(),
                sign_in_id=sign_in_id,
            ),
            connector_id,
        )
        if row is None:
            return False
        log.info("connector.signed_in", connector=row.name)
        self._on_change(row)
        return True

    async def set_password(self, given: str, password: str, *, actor: str) -> None:
        """Store the password that a person gave, sealed.

        Raises:
            UnknownConnector: no connector has this name or id.
            Misconfigured: the connector takes no password here.
            BadKeys: this node lacks a key that another node may have.
        """
        row, config = await self.account(given)
        if not config.needs_password:
            place = "with a browser" if config.secret is None else "by the secret that hub.toml names"
            raise Misconfigured(f"{row.name} takes no password here: it signs in {place}")
        await self.check_keys()
        await self.granted(row.id, TokenGrant(access_token=password), actor=actor)

    def way_in(self, name: str) -> Literal["browser", "password"] | None:
        """Return how a person signs in; None: hub.toml has the secret, or the connector needs none."""
        config = self._configs.get(name)
        if config is None:
            return None
        if config.needs_password:
            return "password"
        return None if config.kind.oauth(config.settings) is None else "browser"

    async def forget(self, connector_id: str, *, actor: str) -> bool:
        """Revoke a grant at its provider, then delete it.

        Returns:
            True if the provider revoked it. The grant is deleted here in any case.
        """
        row, config = await self.account(connector_id)
        held = await self._store.read(connectors.find_credential, row.id)
        is_revoked = False
        if held is not None and not config.needs_password:
            try:
                tokens = await self.book.open(held)
                token = tokens.refresh_token or tokens.access_token
                is_revoked = await self.grants.revoke(config, token)
            except ConnectorFailure as failure:
                log.warning("connector.not_revoked", connector=row.name, code=failure.code)
        await self._store.write(partial(connectors.forget_grant, at=self._now(), actor=actor), row.id)
        return is_revoked

    async def list_keys(self) -> list[tuple[Key, int, int]]:
        """Return the keys, newest first, with the numbers of sign-ins and excerpts sealed by each.

        Raises:
            BadKeys: the keys cannot be read.
        """
        ring = await self.keys.ring()
        used, excerpted = await self._store.read(_keys_in_use)
        return [(key, used.get(key.id, 0), excerpted.get(key.id, 0)) for key in ring.keys]

    async def missing_keys(self) -> dict[str, int]:
        """Return the keys that are not here, with the number of sign-ins sealed by each. Raises BadKeys."""
        used = await self._store.read(connectors.keys_in_use)
        here = {key.id for key in (await self.keys.ring()).keys}
        return {key_id: rows for key_id, rows in used.items() if key_id not in here}

    async def check_keys(self) -> None:
        """Check that what this node seals can be opened by the others.

        Raises:
            BadKeys: this node lacks a key, and another node may have it.
        """
        missing = await self.missing_keys()
        if missing and await self.book.has_others():
            raise BadKeys(self.keys.missing(next(iter(missing))))

    async def rotate(self) -> int:
        """Seal everything with a new key, without blocking concurrent users. Return the number of sign-ins.

        Keys from systemd or the environment are changed outside the hub; the rows are then sealed with the
        newest of them.

        Raises:
            BadKeys: a new key cannot be stored, or this node lacks a key that another node may have.
            NotOpened: the key of a row is missing; no row was changed.
        """
        await self.check_keys()
        if self.keys.is_ours:
            await self.keys.add()
        ring = await self.keys.ring()
        count = await self._store.write(connectors.reseal_all, ring.reseal)
        await self._reseal_excerpts(ring)
        log.info("keys.rotated", key=ring.newest.id, rows=count)
        return count

    async def _reseal_excerpts(self, ring: Keyring) -> None:
        """Seal the excerpts with the newest key, some at a time; delete those that do not open."""

        def reseal(row: str, owner: str, key_id: str, sealed: bytes) -> tuple[str, bytes] | None:
            try:
                return ring.reseal(row, owner, key_id, sealed)
            except NotOpened:
                return None

        others = (await self._store.read(runs_excerpts.keys_of_excerpts)).keys() - {ring.newest.id}
        if await self.book.has_others():  # which may have the other keys
            others &= {key.id for key in ring.keys}
        for key_id in sorted(others):
            while await self._store.write(runs_excerpts.reseal_excerpts, key_id, reseal):
                await self._clock.sleep(0)

    async def remove_key(self, key_id: str) -> None:
        """Delete a key that seals no row. Raises BadKeys."""
        count = sum(used.get(key_id, 0) for used in await self._store.read(_keys_in_use))
        if count:
            raise BadKeys(f"the key {key_id} seals {count} rows: 'hub keys rotate' seals them anew")
        await self.keys.remove(key_id)
        log.info("keys.removed", key=key_id)

    def _throttle(self, connector_id: str, config: AccountConfig) -> Throttle:
        quota = config.kind.quota(config.settings)
        known = self._throttles.get(connector_id)
        if known is None or known.quota != quota:
            known = self._throttles[connector_id] = Throttle(quota, self._clock)
        return known

    def _now(self) -> int:
        return epoch_ms(self._clock.now())


def _keys_in_use(c: Connection) -> tuple[dict[str, int], dict[str, int]]:
    """Return the numbers of sign-ins and of excerpts that each key seals, by key id."""
    return connectors.keys_in_use(c), runs_excerpts.keys_of_excerpts(c)


async def waiting_posts(
    store: Store, clock: Clock, connector_id: str, after: str, most: int
) -> Sequence[Posted]:
    """Return unsettled posts to one connector; the bodies of settled posts are deleted. See ``Inbox``."""
    rows = await store.write(
        seen_messages.settle_and_list, connector_id, after=after, most=most, at=epoch_ms(clock.now())
    )
    return [
        Posted(
            id=row.id,
            key=seen_messages.message_key_of(row.key),
            received_at=from_epoch_ms(row.received_at),
            media_type=row.media_type,
            event=row.event,
            body=row.body,
        )
        for row in rows
    ]
