"""Webhooks: posts of other systems, read from the inbox in which the hub stores them.

Nothing is requested from a provider. No cursor exists: settled posts are removed from the inbox, and the key
identifies a delivery.
"""

import hashlib
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Annotated, Final

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
from hub.connectors.webhook_text import Said, read
from hub.document import Document

PAGE: Final = 20  # posts held at once, with their bodies

Path = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\s.]+(\.[^\s.]+)*$")]


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

    _here: dict[str, tuple[Posted, Said]] = {}  # noqa: RUF012 - replaced with each page

    async def check(self) -> Account:
        waiting = await self._inbox.waiting("", PAGE)
        more = "or more " if len(waiting) == PAGE else ""
        return Account(name=self.context.account, detail=f"{len(waiting)} {more}posts wait")

    async def pages(self, cursor: Cursor | None, since: datetime) -> AsyncGenerator[Page]:
        after = ""
        while posts := await self._inbox.waiting(after, PAGE):
            after = posts[-1].id
            self._here = {post.key: (post, self._said(post)) for post in posts}
            yield Page(messages=tuple(_message(post, said) for post, said in self._here.values()))

    async def read(self, messages: Sequence[Message]) -> AsyncGenerator[tuple[Message, Document | Unread]]:
        for message in messages:
            if message.key not in self._here:
                yield message, Unread(reason="it is not in the inbox any more", is_gone=True)
                continue
            post, said = self._here[message.key]
            if not _is_wanted(message.labels, self.filter.events):
                yield message, Unread(reason="it is about something else", is_gone=True)
                continue
            yield (
                message,
                Document(
                    unit_key=message.key,
                    text=said.text[: self.filter.max_chars],
                    content_hash=hashlib.sha256(post.body).hexdigest(),
                    media_type="text/markdown",
                    modified_at=post.received_at,
                    link=said.link,
                    title=said.title or None,
                ),
            )

    @property
    def _inbox(self) -> Inbox:
        if self.context.inbox is None:
            raise Misconfigured(f"{self.context.account}: nothing listens for webhooks")
        return self.context.inbox

    def _said(self, post: Posted) -> Said:
        return read(post.body, post.media_type, self.settings.source, self.settings.paths())


def _message(post: Posted, said: Said) -> Message:
    return Message(
        key=post.key,
        place=post.id,
        received_at=post.received_at,
        sender=Address("", said.sender) if said.sender else None,
        subject=said.title,
        labels=_labels(post.event, said.event),
        size_bytes=len(post.body),
        link=said.link,
    )


def _labels(header: str, inside: str) -> tuple[str, ...]:
    """Return the event labels of header, body, and both: ``issues``, ``opened``, ``issues.opened``."""
    both = f"{header}.{inside}" if header and inside else ""
    return tuple(dict.fromkeys(word for word in (header, inside, both) if word))


def _is_wanted(labels: Sequence[str], events: Sequence[str]) -> bool:
    told = {label.casefold() for label in labels}
    return not events or any(event.casefold() in told for event in events)
