"""Webhook connector: signature checks of received posts, and reading of stored posts.

Four signature schemes: Standard Webhooks 1.0, GitHub's, Slack's, and a plain bearer token. Verification takes
the same time for a valid post, a forged one, and an unknown webhook, so that existing webhooks cannot be
detected. A delivery is identified by signed data: an attacker who replays a post could change an unsigned id
in a header.

Nothing is requested from a provider. No cursor exists: settled posts are removed from the inbox, and the key
identifies a delivery. Title, text, link and sender are extracted by pure functions.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from pydantic import Field

from hub.connectors.calling import Misconfigured, Unread
from hub.connectors.connector import (
    Account,
    Address,
    Auth,
    Connector,
    Cursor,
    Filter,
    JsonPath,
    Message,
    Page,
    Posted,
    ProviderSettings,
    Words,
)
from hub.connectors.sdk.json_paths import link_of, row_key_in, text_at, text_of, with_row_key
from hub.document import Document
from protocol.frame import read_json
from protocol.items import ProvenanceOrigin

# Between the sender's clock and the hub's; also between two possible copies.
WINDOW: Final = timedelta(minutes=5)
MIN_SECRET_CHARS: Final = 16
SECRETS: Final = 2  # tried each time, even if fewer exist
MAX_SIGNATURES: Final = 8  # in one header
_EVENT_CHARS: Final = 200
_PREFIX: Final = "whsec_"


class Source(StrEnum):
    """Signature scheme of a sender."""

    STANDARD = "standard"
    GITHUB = "github"
    SLACK = "slack"
    GENERIC = "generic"


class VerifiedPost(msgspec.Struct, frozen=True):
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
    if len(secret) < MIN_SECRET_CHARS:
        return f"a webhook's secret has {MIN_SECRET_CHARS} characters at least"
    if source is Source.STANDARD and secret.startswith(_PREFIX):
        try:
            base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            return f"the text after {_PREFIX} is not base64"
    return None


def judge(
    source: Source | None, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime
) -> VerifiedPost | None:
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
        return VerifiedPost((f"id:{hashlib.sha256(claim.key.encode()).hexdigest()}",), event=event)
    if source is not Source.GENERIC:
        return VerifiedPost((f"body:{digest}",), event=event)
    # An equal body may be a new delivery a day later, but is a retry within minutes.
    span = int(now.timestamp() // WINDOW.total_seconds())
    return VerifiedPost((f"body:{digest}:{span}", f"body:{digest}:{span - 1}"), now - WINDOW, event)


def _fits(source: Source | None, secret: str, claim: _Claim) -> bool:
    made = [hmac.new(key, claim.signed, hashlib.sha256).digest() for key in _keys(source, secret)]
    fits = False
    for shown in claim.shown[:MAX_SIGNATURES]:
        for known in made:
            fits |= hmac.compare_digest(known, shown)
    if source is Source.GENERIC:
        ours, theirs = (hashlib.sha256(text.encode()).digest() for text in (secret, claim.token or ""))
        return hmac.compare_digest(ours, theirs) and claim.token is not None
    return fits


def _keys(source: Source | None, secret: str) -> Sequence[bytes]:
    """Return the keys of a secret; of Standard Webhooks also as base64, with its prefix or without."""
    if source not in (None, Source.STANDARD):
        return (secret.encode(),)
    decoded = _bytes_of(secret.removeprefix(_PREFIX), partial(base64.b64decode, validate=True))
    return decoded or secret.encode(), secret.encode()


def _standard(headers: Mapping[str, str], body: bytes) -> _Claim:
    id, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    shown = [
        _bytes_of(text, base64.b64decode)
        for version, _, text in (
            signature.partition(",") for signature in headers.get("webhook-signature", "").split(" ")
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


PAGE: Final = 20  # posts held at once, with their bodies

MAX_LINES: Final = 500  # of a post without a known text field
MAX_DEPTH: Final = 12
MAX_FIELDS: Final = 1_000
TITLE_CHARS: Final = 500

Paths = Mapping[
    str, Sequence[str]
]  # title, text, link, sender, event -> dotted paths; the first existing path counts

USUAL: Final[Mapping[Source, Paths]] = {
    Source.GITHUB: {
        "title": ("issue.title", "pull_request.title", "discussion.title", "release.name"),
        "text": (
            *("comment.body", "review.body", "issue.body", "pull_request.body", "discussion.body"),
            *("release.body", "head_commit.message"),
        ),
        "link": (
            *("comment.html_url", "review.html_url", "issue.html_url", "pull_request.html_url"),
            *("discussion.html_url", "release.html_url", "head_commit.url"),
        ),
        "sender": ("sender.login",),
        "event": ("action",),
    },
    Source.SLACK: {
        "title": ("command",),
        "text": ("event.text", "text", "message.text"),
        "link": (),
        "sender": ("event.user", "user_name", "user.name"),
        "event": ("event.type", "type", "command"),
    },
}
PLAIN: Final[Paths] = {
    "title": ("title", "subject", "data.title", "data.subject"),
    "text": ("text", "message", "body", "description", "data.text", "data.message", "data.description"),
    "link": ("link", "url", "data.link", "data.url"),
    "sender": ("sender", "from", "data.sender"),
    "event": ("type", "event"),
}


class Content(msgspec.Struct, frozen=True):
    """Content of a post."""

    title: str
    text: str
    link: str | None
    sender: str
    event: str


def read(body: bytes, media_type: str, source: Source, paths: Mapping[str, str | None]) -> Content:
    """Extract the content of any *body*. Never raises.

    Args:
        paths: configured path of each field; ``None``: the usual paths.
    """
    found = value_of(body, media_type)
    if isinstance(found, str):
        first = next((line.strip() for line in found.splitlines() if line.strip()), "")
        return Content(first[:TITLE_CHARS], found, None, "", "")
    usual = USUAL.get(source, PLAIN)

    def at(field: str) -> str:
        configured = paths.get(field)
        return text_at(found, usual[field] if configured is None else (configured,))

    text = at("text") or "\n".join(_lines(found))
    title = at("title").replace("\n", " ")[:TITLE_CHARS]
    whole = f"{title}\n\n{text}" if title and title not in text else text
    whole = with_row_key(whole, row_key_in(found, [text]))
    return Content(title, whole, link_of(at("link")), at("sender")[:TITLE_CHARS], at("event")[:TITLE_CHARS])


def value_of(body: bytes, media_type: str) -> Any:
    """Decode a JSON body of any declared type, or a form; otherwise return the text."""
    kind = media_type.partition(";")[0].strip().lower()
    text = body.decode("utf-8-sig", "replace")
    found = _json(text, otherwise=text)
    if found is not text or kind != "application/x-www-form-urlencoded":
        return found
    try:
        fields = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError:
        return text
    if not any(fields.values()):  # not a form, but text from a program that declares all bodies as forms
        return text
    inner = fields.get("payload")
    return fields if inner is None else _json(inner, otherwise=fields)


def _json(text: str, *, otherwise: Any) -> Any:
    try:
        found = read_json(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return otherwise
    return found if isinstance(found, dict | list) else otherwise


def _lines(found: Any) -> Iterator[str]:
    """Yield ``path: value`` for all values with text, up to a limit."""
    waiting: list[tuple[str, Any, int]] = [("", found, 0)]
    count = looked = 0
    while waiting and count < MAX_LINES and looked < 20 * MAX_LINES:
        path, value, depth = waiting.pop()
        looked += 1
        if isinstance(value, dict | list):
            inner = value.items() if isinstance(value, dict) else enumerate(value)
            parts = [(f"{path}.{name}" if path else str(name), child, depth + 1) for name, child in inner]
            if depth < MAX_DEPTH:
                waiting += reversed(parts)
        elif words := text_of(value).strip():
            count += 1
            yield f"{path}: {words}"


class WebhookSettings(ProviderSettings):
    """Signature scheme of the sender, and paths of the parts of a post."""

    source: Source = Field(
        default=Source.STANDARD,
        description='How it is signed: "standard" (Standard Webhooks), "github", "slack", or "generic":'
        " Authorization: Bearer and the secret.",
    )
    title: JsonPath | None = Field(default=None, description='Path of the title, as in "issue.title".')
    text: JsonPath | None = Field(default=None, description="Path of the text; by default the whole post.")
    link: JsonPath | None = Field(default=None, description="Path of the address of the original.")
    sender: JsonPath | None = Field(default=None, description="Path of the author.")
    event: JsonPath | None = Field(default=None, description="Path of the event.")

    def paths(self) -> dict[str, str | None]:
        """Return the configured path of each field."""
        return self.model_dump(include={"title", "text", "link", "sender", "event"})


class WebhookFilter(Filter):
    """Table ``filter`` of the agent that reads a webhook."""

    events: Words = Field(
        default=(), description='What it has to be about, as in "issues" or "issues.opened"; none: anything.'
    )


class Webhook(Connector):
    """Reader of the posts to one webhook."""

    provider = "webhook"
    auth = Auth.SECRET
    settings_model = WebhookSettings
    filter_model = WebhookFilter

    _here: dict[str, tuple[Posted, Content]] = {}  # noqa: RUF012 - replaced with each page

    async def check(self) -> Account:
        waiting = await self._waiting("")
        more = "or more " if len(waiting) == PAGE else ""
        return Account(name=self.context.account, detail=f"{len(waiting)} {more}posts wait")

    async def pages(self, cursor: Cursor | None, since: datetime) -> AsyncGenerator[Page]:
        after = ""
        while posts := await self._waiting(after):
            after = posts[-1].id
            self._here = {post.key: (post, self._content(post)) for post in posts}
            yield Page(messages=tuple(_message(post, content) for post, content in self._here.values()))

    async def read(self, messages: Sequence[Message]) -> AsyncGenerator[tuple[Message, Document | Unread]]:
        for message in messages:
            if message.key not in self._here:
                yield message, Unread(reason="it is not in the inbox any more", is_removed=True)
                continue
            post, content = self._here[message.key]
            if not _is_selected(message.labels, self.filter.events):
                yield message, Unread(reason="it is about something else", is_removed=True)
                continue
            digest, most = hashlib.sha256(post.body).hexdigest(), self.filter.max_chars
            yield (
                message,
                message.document(
                    content.text,
                    digest,
                    media_type="text/markdown",
                    origin=ProvenanceOrigin.WEB,
                    max_chars=most,
                ),
            )

    async def _waiting(self, after: str) -> Sequence[Posted]:
        if self.context.inbox is None:
            raise Misconfigured(f"{self.context.account}: there is no listener for webhooks")
        return await self.context.inbox(after, PAGE)

    def _content(self, post: Posted) -> Content:
        return read(post.body, post.media_type, self.settings.source, self.settings.paths())


def _message(post: Posted, content: Content) -> Message:
    return Message(
        key=post.key,
        place=post.id,
        received_at=post.received_at,
        sender=Address("", content.sender) if content.sender else None,
        subject=content.title,
        labels=_labels(post.event, content.event),
        size_bytes=len(post.body),
        link=content.link,
    )


def _labels(header: str, inside: str) -> tuple[str, ...]:
    """Return the event labels of header, body, and both: ``issues``, ``opened``, ``issues.opened``."""
    both = f"{header}.{inside}" if header and inside else ""
    return tuple(dict.fromkeys(word for word in (header, inside, both) if word))


def _is_selected(labels: Sequence[str], events: Sequence[str]) -> bool:
    folded = {label.casefold() for label in labels}
    return not events or any(event.casefold() in folded for event in events)
