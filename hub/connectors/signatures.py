"""Verification of posts to webhooks by a shared secret, and identification of deliveries. Pure functions.

Four schemes: Standard Webhooks 1.0, GitHub's, Slack's, and a plain bearer token. Verification takes the same
time for a valid post, a forged one, and an unknown webhook, so that existing webhooks cannot be detected.

A delivery is identified by signed data: an attacker who replays a post could change an unsigned id in a
header.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec

# Between the sender's clock and the hub's; also between two possible copies.
WINDOW: Final = timedelta(minutes=5)
LEAST_SECRET_CHARS: Final = 16
SECRETS: Final = 2  # tried each time, even if fewer exist
MOST_SIGNATURES: Final = 8  # in one header
_EVENT_CHARS: Final = 200
_PREFIX: Final = "whsec_"


class Source(StrEnum):
    """Signature scheme of a sender."""

    STANDARD = "standard"
    GITHUB = "github"
    SLACK = "slack"
    GENERIC = "generic"


class Delivery(msgspec.Struct, frozen=True):
    """Verified post.

    Attributes:
        keys: identifying keys; the first is its own.
        since: only an earlier post since then with one of the keys is the same delivery; ``None``: at any
            time.
        event: event type in a header, if any.
    """

    keys: tuple[str, ...]
    since: datetime | None = None
    event: str = ""


class _Claim(msgspec.Struct):
    """Unverified data of a post."""

    signed: bytes
    shown: Sequence[bytes]  # candidates for the MAC of *signed*
    key: str
    at: datetime | None = None  # time of signing
    is_timed: bool = False
    token: str | None = None
    event: str = ""


def problem_of(source: Source, secret: str) -> str | None:
    """Return the problem of a secret without quoting it, or None if it is valid."""
    if len(secret) < LEAST_SECRET_CHARS:
        return f"a webhook's secret has {LEAST_SECRET_CHARS} characters at least"
    if source is Source.STANDARD and secret.startswith(_PREFIX):
        try:
            base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            return f"what stands behind {_PREFIX} is no base64"
    return None


def judge(
    source: Source | None, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime
) -> Delivery | None:
    """Return the delivery if the post is authentic, else None.

    Args:
        source: ``None`` for an unknown webhook; the same work is done in vain.
        headers: headers that occur once, names in lower case.
        secrets: at most ``SECRETS`` secrets, one of which must match.
    """
    claim = _READERS[source or Source.STANDARD](headers, body)
    digest = hashlib.sha256(body).hexdigest()
    tried = [*secrets[:SECRETS], *[""] * SECRETS][:SECRETS]
    is_good = False
    for number, secret in enumerate(tried):
        fits = _fits(source, secret, claim)
        is_good |= fits and number < len(secrets)
    if claim.is_timed:
        is_good &= claim.at is not None and abs(now - claim.at) <= WINDOW
    if source is None or not is_good:
        return None
    event = claim.event[:_EVENT_CHARS]
    if claim.key:
        return Delivery((f"id:{hashlib.sha256(claim.key.encode()).hexdigest()}",), event=event)
    if source is not Source.GENERIC:
        return Delivery((f"body:{digest}",), event=event)
    # An equal body may be a new delivery a day later, but is a retry within minutes.
    span = int(now.timestamp() // WINDOW.total_seconds())
    return Delivery((f"body:{digest}:{span}", f"body:{digest}:{span - 1}"), now - WINDOW, event)


def _fits(source: Source | None, secret: str, claim: _Claim) -> bool:
    made = hmac.new(_key(source, secret), claim.signed, hashlib.sha256).digest()
    fits = False
    for shown in claim.shown[:MOST_SIGNATURES]:
        fits |= hmac.compare_digest(made, shown)
    if source is Source.GENERIC:
        ours, theirs = (hashlib.sha256(text.encode()).digest() for text in (secret, claim.token or ""))
        return hmac.compare_digest(ours, theirs) and claim.token is not None
    return fits


def _key(source: Source | None, secret: str) -> bytes:
    if source is Source.STANDARD and secret.startswith(_PREFIX):
        return base64.b64decode(secret.removeprefix(_PREFIX))
    return secret.encode()


def _standard(headers: Mapping[str, str], body: bytes) -> _Claim:
    id, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    shown = [
        _bytes_of(text, base64.b64decode)
        for version, _, text in (
            one.partition(",") for one in headers.get("webhook-signature", "").split(" ")
        )
        if version == "v1"
    ]
    signed = b".".join((id.encode(), at.encode(), body))
    return _Claim(signed, shown if id else [], id, _instant(at), is_timed=True)


def _github(headers: Mapping[str, str], body: bytes) -> _Claim:
    way, _, text = headers.get("x-hub-signature-256", "").partition("=")
    shown = [_bytes_of(text, binascii.unhexlify)] if way == "sha256" else []
    return _Claim(body, shown, "", event=headers.get("x-github-event", ""))


def _slack(headers: Mapping[str, str], body: bytes) -> _Claim:
    at = headers.get("x-slack-request-timestamp", "")
    version, _, text = headers.get("x-slack-signature", "").partition("=")
    shown = [_bytes_of(text, binascii.unhexlify)] if version == "v0" else []
    # The body contains the event's id; a retry has the same body with another timestamp.
    return _Claim(b":".join((b"v0", at.encode(), body)), shown, "", _instant(at), is_timed=True)


def _generic(headers: Mapping[str, str], body: bytes) -> _Claim:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    id = headers.get("idempotency-key") or headers.get("webhook-id") or ""
    shown = token.strip() if scheme.lower() == "bearer" and token.strip() else None
    return _Claim(body, [], id, token=shown, event=headers.get("x-event", ""))


_READERS: Final[Mapping[Source, Callable[[Mapping[str, str], bytes], _Claim]]] = {
    Source.STANDARD: _standard,
    Source.GITHUB: _github,
    Source.SLACK: _slack,
    Source.GENERIC: _generic,
}


def _bytes_of(text: str, decode: Callable[[bytes], bytes]) -> bytes:
    try:
        return decode(text.encode())
    except ValueError:  # includes binascii.Error
        return b""


def _instant(seconds: str) -> datetime | None:
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) <= 11):
        return None
    return datetime.fromtimestamp(int(seconds), UTC)
