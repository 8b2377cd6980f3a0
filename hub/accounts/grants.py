"""OAuth client of an account: grants by authorization code or device code, refresh and revocation.

RFC 6749, 7636 (S256), 8628 and 7009, over the hub's outbound client. Error messages depend on the provider's
error code, never on its text, and contain no sent data.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlencode

import anyio
import anyio.to_thread
import msgspec

from hub.base.clock import Chance, Clock, epoch_ms
from hub.base.outbound.client import AnswerTooLarge, OutboundClient, TransportError, was_never_sent
from hub.base.outbound.rules import AddressRefused, bounded
from hub.connectors.calling import (
    Misconfigured,
    PermissionMissing,
    ProviderBusy,
    SignInNeeded,
    Unavailable,
)
from hub.connectors.connector import Auth, Connector, OAuth, ProviderSettings
from hub.connectors.microsoft_sign_in import sign_in_codes, sign_in_failure
from protocol.frame import NO_JSON, read_json
from protocol.keys import encode

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


class TokenGrant(msgspec.Struct, frozen=True, kw_only=True):
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
    ) -> TokenGrant:
        """Exchange an authorization code for a grant; a code is valid once."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        return await self._grant(account, form | {"code_verifier": verifier})

    async def refresh(self, account: AccountConfig, refresh_token: str) -> TokenGrant:
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

    async def ask_device(self, account: AccountConfig, device_code: str) -> TokenGrant:
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

    async def _grant(self, account: AccountConfig, form: Mapping[str, str]) -> TokenGrant:
        response = await self._post(account, account.oauth().token_url, form)
        token = response.get("access_token")
        if not isinstance(token, str) or not token:
            raise Unavailable("the provider's answer has no token in it")
        refresh, life, scope = (
            response.get("refresh_token"),
            response.get("expires_in"),
            response.get("scope"),
        )
        return TokenGrant(
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
