"""Webhooks: posts of other systems, read from the inbox in which the hub stores them.

Nothing is requested from a provider. No cursor exists: settled posts are removed from the inbox, and the key
identifies a delivery. Title, text, link and sender are extracted by pure functions.
"""

import hashlib
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, urlsplit

import msgspec
from pydantic import Field, StringConstraints

from hub.connectors.connector import (
    Account,
    Address,
    Auth,
    Connector,
    Cursor,
    Inbox,
    Message,
    Page,
    Posted,
    ProviderSettings,
    Unread,
)
from hub.connectors.failures import Misconfigured
from hub.connectors.filters import Filter, Words
from hub.connectors.signatures import Source
from hub.document import Document
from protocol.json_bounds import read_json

PAGE: Final = 20  # posts held at once, with their bodies

Path = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\s.]+(\.[^\s.]+)*$")]

MOST_LINES: Final = 500  # of a post without a known text field
MOST_DEPTH: Final = 12
MOST_FIELDS: Final = 1_000
TITLE_CHARS: Final = 500
LINK_CHARS: Final = 2_000

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
        for path in usual[field] if configured is None else (configured,):
            if value := _words(_at(found, path)):
                return value
        return ""

    text = at("text") or "\n".join(_lines(found))
    title = at("title").replace("\n", " ")[:TITLE_CHARS]
    whole = f"{title}\n\n{text}" if title and title not in text else text
    return Content(title, whole, _link(at("link")), at("sender")[:TITLE_CHARS], at("event")[:TITLE_CHARS])


def value_of(body: bytes, media_type: str) -> Any:
    """Decode a JSON body of any declared type, or a form; otherwise return the text."""
    kind = media_type.partition(";")[0].strip().lower()
    text = body.decode("utf-8-sig", "replace")
    found = _json(text, otherwise=text)
    if found is not text or kind != "application/x-www-form-urlencoded":
        return found
    try:
        fields = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS))
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


def _at(found: Any, path: str) -> Any:
    for step in path.split("."):
        if isinstance(found, dict):
            found = found.get(step)
        elif isinstance(found, list) and step.isdecimal() and len(step) < 6 and int(step) < len(found):
            found = found[int(step)]
        else:
            return None
    return found


def _words(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _lines(found: Any) -> Iterator[str]:
    """Yield ``path: value`` for all values with text, up to a limit."""
    waiting: list[tuple[str, Any, int]] = [("", found, 0)]
    count = looked = 0
    while waiting and count < MOST_LINES and looked < 20 * MOST_LINES:
        path, value, depth = waiting.pop()
        looked += 1
        if isinstance(value, dict | list):
            inner = value.items() if isinstance(value, dict) else enumerate(value)
            parts = [(f"{path}.{name}" if path else str(name), one, depth + 1) for name, one in inner]
            if depth < MOST_DEPTH:
                waiting += reversed(parts)
        elif words := _words(value):
            count += 1
            yield f"{path}: {words}"


def _link(text: str) -> str | None:
    try:
        is_web = urlsplit(text).scheme in ("http", "https")
    except ValueError:
        return None
    return text if is_web and len(text) <= LINK_CHARS and not any(char.isspace() for char in text) else None


class WebhookSettings(ProviderSettings):
    """Signature scheme of the sender, and paths of the parts of a post."""

    source: Source = Field(
        default=Source.STANDARD,
        description='How it is signed: "standard" (Standard Webhooks), "github", "slack", or "generic":'
        " Authorization: Bearer and the secret.",
    )
    title: Path | None = Field(default=None, description='Where the title stands, as in "issue.title".')
    text: Path | None = Field(default=None, description="Where the text stands; else all of it is told.")
    link: Path | None = Field(default=None, description="Where the address of the original stands.")
    sender: Path | None = Field(default=None, description="Where it is told who wrote it.")
    event: Path | None = Field(default=None, description="Where it is told what it is about.")

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
        waiting = await self._inbox.waiting("", PAGE)
        more = "or more " if len(waiting) == PAGE else ""
        return Account(name=self.context.account, detail=f"{len(waiting)} {more}posts wait")

    async def pages(self, cursor: Cursor | None, since: datetime) -> AsyncGenerator[Page]:
        after = ""
        while posts := await self._inbox.waiting(after, PAGE):
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
            yield (
                message,
                Document(
                    unit_key=message.key,
                    text=content.text[: self.filter.max_chars],
                    content_hash=hashlib.sha256(post.body).hexdigest(),
                    media_type="text/markdown",
                    modified_at=post.received_at,
                    link=content.link,
                    title=content.title or None,
                ),
            )

    @property
    def _inbox(self) -> Inbox:
        if self.context.inbox is None:
            raise Misconfigured(f"{self.context.account}: nothing listens for webhooks")
        return self.context.inbox

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
