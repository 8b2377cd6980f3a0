"""Pure: whether what was posted to a webhook comes from who shares its secret, and which delivery it is.

Four ways of saying so: Standard Webhooks 1.0, GitHub's, Slack's, and a plain bearer token. A look costs the
same whether a post is good, forged, or for a webhook that is not there: nobody learns which there are.

A delivery is told from others by something that is signed: an id in a header that no signature covers is what
whoever replays a post would change first.
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

WINDOW: Final = timedelta(minutes=5)  # between their clock and ours; also between two that may be one
LEAST_SECRET_CHARS: Final = 16
SECRETS: Final = 2  # that are tried each time, whether there are two, one or none
MOST_SIGNATURES: Final = 8  # in one header
_EVENT_CHARS: Final = 200
_PREFIX: Final = "whsec_"


class Source(StrEnum):
    """Who posts, by how it signs."""

    STANDARD = "standard"
    GITHUB = "github"
    SLACK = "slack"
    GENERIC = "generic"


class Delivery(msgspec.Struct, frozen=True):
    """A post that is good.

    Attributes:
        keys: what it is known by; the first is its own.
        since: only what was posted since then under one of them is the same; ``None``: whenever it was.
        event: what it tells of, where a header says so.
    """

    keys: tuple[str, ...]
    since: datetime | None = None
    event: str = ""


class _Told(msgspec.Struct):
    """What a post says of itself, and nothing of it is believed yet."""

    signed: bytes
    shown: Sequence[bytes]  # each would have to be the MAC of *signed*
    key: str
    at: datetime | None = None  # when they signed it
    is_timed: bool = False
    token: str | None = None
    event: str = ""


def problem_of(source: Source, secret: str) -> str | None:
    """What is wrong with a secret, without any of it; ``None``: it is good."""
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
    """The delivery that a post is; ``None``: it is not believed.

    Args:
        source: ``None``: there is no such webhook, and the same is done in vain.
        headers: those that are there once, names in small letters.
        secrets: of which one has to fit; ``SECRETS`` at most.
    """
    told = _READERS[source or Source.STANDARD](headers, body)
    digest = hashlib.sha256(body).hexdigest()
    tried = [*secrets[:SECRETS], *[""] * SECRETS][:SECRETS]
    is_good = False
    for number, secret in enumerate(tried):
        fits = _fits(source, secret, told)
        is_good |= fits and number < len(secrets)
    if told.is_timed:
        is_good &= told.at is not None and abs(now - told.at) <= WINDOW
    if source is None or not is_good:
        return None
    event = told.event[:_EVENT_CHARS]
    if told.key:
        return Delivery((f"id:{hashlib.sha256(told.key.encode()).hexdigest()}",), event=event)
    if source is not Source.GENERIC:
        return Delivery((f"body:{digest}",), event=event)
    # Nothing says whether the same words a day later are another delivery; minutes later they are a retry.
    span = int(now.timestamp() // WINDOW.total_seconds())
    return Delivery((f"body:{digest}:{span}", f"body:{digest}:{span - 1}"), now - WINDOW, event)


def _fits(source: Source | None, secret: str, told: _Told) -> bool:
    made = hmac.new(_key(source, secret), told.signed, hashlib.sha256).digest()
    fits = False
    for shown in told.shown[:MOST_SIGNATURES]:
        fits |= hmac.compare_digest(made, shown)
    if source is Source.GENERIC:
        ours, theirs = (hashlib.sha256(text.encode()).digest() for text in (secret, told.token or ""))
        return hmac.compare_digest(ours, theirs) and told.token is not None
    return fits


def _key(source: Source | None, secret: str) -> bytes:
    if source is Source.STANDARD and secret.startswith(_PREFIX):
        return base64.b64decode(secret.removeprefix(_PREFIX))
    return secret.encode()


def _standard(headers: Mapping[str, str], body: bytes) -> _Told:
    id, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    shown = [
        _bytes_of(text, base64.b64decode)
        for version, _, text in (
            one.partition(",") for one in headers.get("webhook-signature", "").split(" ")
        )
        if version == "v1"
    ]
    signed = b".".join((id.encode(), at.encode(), body))
    return _Told(signed, shown if id else [], id, _instant(at), is_timed=True)


def _github(headers: Mapping[str, str], body: bytes) -> _Told:
    way, _, text = headers.get("x-hub-signature-256", "").partition("=")
    shown = [_bytes_of(text, binascii.unhexlify)] if way == "sha256" else []
    return _Told(body, shown, "", event=headers.get("x-github-event", ""))


def _slack(headers: Mapping[str, str], body: bytes) -> _Told:
    at = headers.get("x-slack-request-timestamp", "")
    version, _, text = headers.get("x-slack-signature", "").partition("=")
    shown = [_bytes_of(text, binascii.unhexlify)] if version == "v0" else []
    # Its body has the event's id in it, and is the same when it is posted again under another timestamp.
    return _Told(b":".join((b"v0", at.encode(), body)), shown, "", _instant(at), is_timed=True)


def _generic(headers: Mapping[str, str], body: bytes) -> _Told:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    id = headers.get("idempotency-key") or headers.get("webhook-id") or ""
    shown = token.strip() if scheme.lower() == "bearer" and token.strip() else None
    return _Told(body, [], id, token=shown, event=headers.get("x-event", ""))


_READERS: Final[Mapping[Source, Callable[[Mapping[str, str], bytes], _Told]]] = {
    Source.STANDARD: _standard,
    Source.GITHUB: _github,
    Source.SLACK: _slack,
    Source.GENERIC: _generic,
}


def _bytes_of(text: str, decode: Callable[[bytes], bytes]) -> bytes:
    try:
        return decode(text.encode())
    except ValueError:  # binascii.Error is one
        return b""


def _instant(seconds: str) -> datetime | None:
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) <= 11):
        return None
    return datetime.fromtimestamp(int(seconds), UTC)
