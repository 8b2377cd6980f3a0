"""Accounts of the hub: opening connectors for runs, OAuth grants, access tokens, refusals and revocation.

OAuth client of an account: grants by authorization code or device code, refresh and revocation.

RFC 6749, 7636 (S256), 8628 and 7009, over the hub's outbound client. Error messages depend on the provider's
error code, never on its text, and contain no sent data.

Access tokens, each refreshed by one process for all waiting callers.

Strict providers revoke a grant when a refresh token is used twice. So the refreshing process holds a lease of
the row. The result is stored before its use, by compare-and-set on the row's version. If a person has signed
in meanwhile, the new grant is kept, and a refusal of the old grant is ignored.

A refresh that was sent is not cancelled. A gap remains: a process that dies between the provider's answer and
the write loses a rotated token. At a strict provider, a person then has to sign in again.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, Final, Literal
from urllib.parse import urlencode

import anyio
import anyio.to_thread
import msgspec
from pydantic import ValidationError

from hub.accounts.keys import BadKeys, Key, KeyMissing, Keyring, KeyStore, NotOpened
from hub.base.clock import Chance, Clock, IdFactory, epoch_ms, from_epoch_ms
from hub.base.log import Channel
from hub.base.outbound.client import AnswerTooLarge, OutboundClient, TransportError, was_never_sent
from hub.base.outbound.rules import AddressRefused, bounded
from hub.connectors.calling import (
    NEEDS_A_PERSON,
    Caller,
    ConnectorFailure,
    Elsewhere,
    FileUnusable,
    Misconfigured,
    PermissionMissing,
    ProviderBusy,
    SignInNeeded,
    Throttle,
    Unavailable,
)
from hub.connectors.connector import Auth, Connector, Context, Inbox, OAuth, Posted, ProviderSettings
from hub.connectors.graph import sign_in_codes, sign_in_failure
from protocol.frame import NO_JSON, read_json
from protocol.ids import BootId
from protocol.keys import encode
from storage import leases
from storage.connectors import connectors, seen_messages
from storage.connectors.connectors import DETAIL_CHARS, ConnectorRow, CredentialRow, GrantSight
from storage.kernel.database import StorageError
from storage.runs import items
from storage.store import Connection, Store

ANSWER_S: Final = 20.0  # less than the duration of a token lease
_SECRET_BYTES: Final = 32

_ENDED: Final = frozenset(
    {"invalid_grant", "interaction_required", "consent_required", "login_required", "expired_token"}
)
_CLIENT: Final = frozenset({"invalid_client", "unauthorized_client", "unsupported_grant_type"})


@dataclass(frozen=True, kw_only=True)
class AccountConfig:
    """An entry of ``[[connectors]]``.

    Attributes:
        kind: connector class of the provider.
        secret, previous_secret, client_secret: return the current secret on each call; never part of a
        ``repr``.
    """

    name: str
    provider: str
    kind: type[Connector]
    settings: ProviderSettings
    secret: Callable[[], str] | None = None
    previous_secret: Callable[[], str] | None = None
    client_id: str | None = None
    client_secret: Callable[[], str] | None = None

    @property
    def needs_password(self) -> bool:
        """True if a person gives the hub a password, because hub.toml has none."""
        is_password = self.kind.auth is Auth.PASSWORD and self.kind.oauth(self.settings) is None
        return is_password and self.secret is None

    def oauth(self) -> OAuth:
        """Return the OAuth parameters. Raises Misconfigured if the provider or configuration has none."""
        found = self.kind.oauth(self.settings)
        if found is None:
            raise Misconfigured(f"{self.name}: {self.provider} has no sign-in with a browser")
        if self.client_id is None:
            raise Misconfigured(f"{self.name}: write client_id, the OAuth client that you registered")
        return found


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """A grant from a provider. *expires_at* is in epoch milliseconds, or None if unknown."""

    access_token: str
    refresh_token: str | None = None
    expires_at: int | None = None
    scopes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "Granted(...)"


class DeviceGrant(msgspec.Struct, frozen=True, kw_only=True):
    """A device code for a person to type. *interval_s* is the pause between two polls."""

    device_code: str
    user_code: str
    verification_url: str
    interval_s: float
    expires_s: float

    def __repr__(self) -> str:
        return "DeviceGrant(...)"


class Pending(Exception):
    """The device code was not typed yet. *slower* is True if the provider requires longer pauses."""

    def __init__(self, *, slower: bool) -> None:
        super().__init__()
        self.slower = slower


def fresh_secret(chance: Chance) -> str:
    """Return a random state or verifier of 43 characters."""
    return encode(chance.token_bytes(_SECRET_BYTES))


def authorize_url(account: AccountConfig, *, redirect_uri: str, state: str, verifier: str) -> str:
    """Return the authorization URL for the person's browser. Raises Misconfigured."""
    oauth = account.oauth()
    query = {
        "response_type": "code",
        "client_id": account.client_id or "",
        "redirect_uri": redirect_uri,
        "scope": " ".join(oauth.scopes),
        "state": state,
        "code_challenge": encode(sha256(verifier.encode()).digest()),
        "code_challenge_method": "S256",
        **dict(oauth.authorize),
    }
    joint = "&" if "?" in oauth.authorize_url else "?"
    return f"{oauth.authorize_url}{joint}{urlencode(query)}"


class Grants:
    """Client of token endpoints. All methods raise ``ConnectorFailure`` only."""

    def __init__(self, client: OutboundClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    async def exchange(
        self, account: AccountConfig, *, code: str, verifier: str, redirect_uri: str
    ) -> Granted:
        """Exchange an authorization code for a grant; a code is valid once."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        return await self._grant(account, form | {"code_verifier": verifier})

    async def refresh(self, account: AccountConfig, refresh_token: str) -> Granted:
        """Refresh an access token. The refresh token is kept if the provider returns no new one."""
        granted = await self._grant(account, {"grant_type": "refresh_token", "refresh_token": refresh_token})
        return msgspec.structs.replace(granted, refresh_token=granted.refresh_token or refresh_token)

    async def begin_device(self, account: AccountConfig) -> DeviceGrant:
        """Request a device code (RFC 8628)."""
        oauth = account.oauth()
        if oauth.device_url is None:
            raise Misconfigured(f"{account.provider} has no sign-in by a code for what is asked")
        response = await self._post(account, oauth.device_url, {"scope": " ".join(oauth.scopes)})
        try:
            return DeviceGrant(
                device_code=str(response["device_code"]),
                user_code=str(response["user_code"]),
                verification_url=str(response.get("verification_uri") or response["verification_url"]),
                interval_s=bounded(response.get("interval"), least=1.0, most=120.0, default=5.0),
                expires_s=bounded(response.get("expires_in"), least=60.0, most=86_400.0, default=900.0),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Unavailable("the provider's answer lacks what a sign-in by a code needs") from error

    async def ask_device(self, account: AccountConfig, device_code: str) -> Granted:
        """Poll for the grant of a device code. Must not be called again after success.

        A further call makes some providers end the grant.

        Raises:
            Pending: the code was not typed yet.
        """
        return await self._grant(
            account,
            {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": device_code},
        )

    async def revoke(self, account: AccountConfig, token: str) -> bool:
        """Revoke a grant. Return False if the provider does not support revocation."""
        url = account.oauth().revoke_url
        if url is None:
            return False
        await self._post(account, url, {"token": token})
        return True

    async def _grant(self, account: AccountConfig, form: Mapping[str, str]) -> Granted:
        response = await self._post(account, account.oauth().token_url, form)
        token = response.get("access_token")
        if not isinstance(token, str) or not token:
            raise Unavailable("the provider's answer has no token in it")
        refresh, life, scope = (
            response.get("refresh_token"),
            response.get("expires_in"),
            response.get("scope"),
        )
        return Granted(
            access_token=token,
            refresh_token=refresh if isinstance(refresh, str) and refresh else None,
            expires_at=_until(life, epoch_ms(self._clock.now())),
            scopes=tuple(scope.split()) if isinstance(scope, str) else (),
        )

    async def _post(self, account: AccountConfig, url: str, form: Mapping[str, str]) -> dict[str, Any]:
        sent = {**form, "client_id": account.client_id or ""}
        if account.client_secret is not None:
            sent["client_secret"] = account.client_secret()
        try:
            with anyio.fail_after(ANSWER_S):
                status, body = await self._sent(url, sent)
        except TimeoutError:
            raise Unavailable(f"the provider did not answer within {ANSWER_S:.0f} s") from None
        if status == 200 and not body:
            return {}
        try:
            document = read_json(body)
        except NO_JSON:
            document = None
        if status == 200 and isinstance(document, dict):
            return document
        raise failure_of(status, document if isinstance(document, dict) else {})

    async def _sent(self, url: str, form: Mapping[str, str]) -> tuple[int, bytes]:
        """Post a form; repeat it once only if the first request was certainly not sent."""
        for is_last in (False, True):
            try:
                answer = await self._client.post(url, data=dict(form), headers={"Accept": "application/json"})
            except AddressRefused as error:
                raise Misconfigured(str(error)) from None
            except AnswerTooLarge:
                raise Unavailable("the provider's answer is too long") from None
            except TransportError as error:
                if is_last or not was_never_sent(error):
                    # Without its cause, which may contain the request with its secrets.
                    raise Unavailable(f"the provider cannot be reached: {error}") from None
            else:
                return answer.status_code, answer.content
        raise AssertionError("unreachable")


def failure_of(status: int, document: Mapping[str, Any]) -> Exception:
    """Return the error for an answer without a grant."""
    word = document.get("error")
    word = word if isinstance(word, str) and re.fullmatch(r"[a-z_]{1,40}", word) else ""
    codes = document.get("error_codes")
    listed = [code for code in codes if isinstance(code, int)] if isinstance(codes, list) else []
    failure = sign_in_failure(listed + sign_in_codes(str(document.get("error_description", ""))[:2_000]))
    if failure is not None and word not in ("authorization_pending", "slow_down"):
        return failure
    if word in ("authorization_pending", "slow_down"):
        return Pending(slower=word == "slow_down")
    if word in _ENDED:
        return SignInNeeded(f"the provider ended the sign-in ({word})")
    if word in ("access_denied", "authorization_declined"):
        return SignInNeeded(f"it was not allowed ({word})")
    if word in _CLIENT:
        return Misconfigured(f"the provider does not know the OAuth client ({word}): look at client_id")
    if word == "invalid_scope":
        return PermissionMissing(
            "the provider does not give what is asked for to this client (invalid_scope)"
        )
    if status == 429:
        return ProviderBusy("the provider wants us to ask less often")
    if status >= 500 or status in (200, 408, 425) or not word:
        return Unavailable(f"the provider answered {status} {word}".rstrip())
    return Misconfigured(f"the provider does not take what it is asked: {status} {word}")


def _until(life: Any, now_ms: int) -> int | None:
    try:
        seconds = float(life)
    except (TypeError, ValueError):
        return None
    return now_ms + round(seconds * 1_000) if 0 < seconds < 1e9 else None


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
                raise Elsewhere(self._keys.missing(error.key_id)) from error
            raise SignInNeeded(str(error), version=row.version) from error

    async def has_others(self) -> bool:
        """Return True if another node of this database lives, which may have other keys."""
        return await self._store.read(leases.has_others, BootId(self._owner))

    async def seal(self, connector_id: str, granted: Granted) -> tuple[str, bytes]:
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

    async def _keep(self, row: CredentialRow, granted: Granted) -> bool:
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
        self.on_change = on_change or (lambda row: None)
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
        caller = Caller(
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
        self.on_change(row)
        return True

    async def judged(self, failure: ConnectorFailure) -> ConnectorFailure:
        """Return the failure, as Elsewhere if a file is unusable here that another node may have."""
        if isinstance(failure, FileUnusable) and await self.book.has_others():
            return Elsewhere(f"node {self.keys.node_label}: {failure}")
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
        if isinstance(failure, Elsewhere):  # another node can read it
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
        self, connector_id: str, granted: Granted, *, actor: str, sign_in_id: str | None = None
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
        self.on_change(row)
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
        await self.granted(row.id, Granted(access_token=password), actor=actor)

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

        others = (await self._store.read(items.keys_of_excerpts)).keys() - {ring.newest.id}
        if await self.book.has_others():  # which may have the other keys
            others &= {key.id for key in ring.keys}
        for key_id in sorted(others):
            while await self._store.write(items.reseal_excerpts, key_id, reseal):
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
    return connectors.keys_in_use(c), items.keys_of_excerpts(c)


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
