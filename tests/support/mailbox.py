"""A mailbox that is a list: a ``Connector`` whose messages, pages and failures a test decides."""

import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from typing import Any

from hub.base.clock import Clock
from hub.connectors.calling import ConnectorFailure, CursorLost, FileUnusable, NeedsOtherNode, Unread
from hub.connectors.connector import (
    Account,
    Auth,
    Connector,
    Context,
    Cursor,
    Filter,
    Message,
    Page,
    ProviderSettings,
)
from hub.document import Document


class Mailbox:
    """What lies in it, oldest first, and how it behaves.

    Attributes:
        page: messages on one page.
        failures: raised in turn, before the page (a number, from 0) or the message (its key) they stand for.
        unreadable: keys of messages that cannot be read.
        busy: keys of messages at which the provider asks for a pause.
        listed: how often each message was listed; *read*: how often its text was asked for.
    """

    def __init__(self, *keys: str, page: int = 2) -> None:
        self.messages: list[Message] = []
        self.page = page
        self.failures: dict[int | str, list[ConnectorFailure]] = {}
        self.unreadable: set[str] = set()
        self.busy: set[str] = set()
        self.gone: set[str] = set()
        self.texts: dict[str, str] = {}
        self.media_type = "text/markdown"
        self.listed: list[str] = []
        self.read: list[str] = []
        self.cursors: list[Cursor | None] = []
        self.asked_since: list[datetime] = []
        self.has_lost_cursor = False
        self.opened = self.closed = 0
        for key in keys:
            self.add(key)

    def add(self, key: str, text: str | None = None, **said: Any) -> None:
        """Another message, newest of all; ``t1`` has one open check box, so one task comes of it."""
        self.messages.append(Message(key=key, **{"subject": key, **said}))
        self.texts[key] = f"- [ ] {key}\n" if text is None else text

    def fail(self, at: int | str) -> None:
        """Raise what stands for *at*, if anything does."""
        if waiting := self.failures.get(at):
            raise waiting.pop(0)


class ListedMailbox(Connector):
    """Reads a ``Mailbox``. Its cursor is how many messages lie behind it."""

    provider = "listed"
    auth = Auth.NONE

    def __init__(self, mailbox: Mailbox, filter: Filter, clock: Clock) -> None:
        context = Context(account="work", clock=clock, chance=None, caller=None)  # type: ignore[arg-type]
        super().__init__(context, ProviderSettings(), filter)
        self._mailbox = mailbox

    async def check(self) -> Account:
        return Account(name="me")

    async def pages(self, cursor: Cursor | None, since: datetime) -> AsyncGenerator[Page]:
        box = self._mailbox
        box.cursors.append(cursor)
        box.asked_since.append(since)
        if cursor is not None and box.has_lost_cursor:
            box.has_lost_cursor = False
            raise CursorLost("too old")
        at = 0 if cursor is None else cursor["at"]
        number = 0
        while at < len(box.messages):
            box.fail(number)
            some = tuple(box.messages[at : at + box.page])
            at += len(some)
            box.listed += [message.key for message in some]
            yield Page(messages=some, cursor={"at": at}, is_backfill=cursor is None)
            number += 1

    async def read(self, messages: Sequence[Message]) -> AsyncGenerator[tuple[Message, Document | Unread]]:
        box = self._mailbox
        for message in messages:
            box.fail(message.key)
            if message.key in box.gone:
                yield message, Unread(reason="it was removed", is_removed=True)
                continue
            box.read.append(message.key)
            if message.key in box.unreadable:
                yield message, Unread(reason="it cannot be read")
                continue
            if message.key in box.busy:
                yield message, Unread(reason="it wants a pause", is_busy=True)
                continue
            text = box.texts[message.key]
            digest = hashlib.sha256(text.encode()).hexdigest()
            yield (
                message,
                Document(
                    unit_key=message.key,
                    text=text,
                    content_hash=digest,
                    media_type=box.media_type,
                    link=f"https://mail.example/{message.key}",
                    title=message.subject,
                    provenance=message.document(text, digest).provenance,
                ),
            )

    async def aclose(self) -> None:
        self._mailbox.closed += 1


class ListDesk:
    """A ``mailbox_visit.Desk`` of one mailbox."""

    def __init__(self, mailbox: Mailbox, clock: Clock) -> None:
        self.mailbox = mailbox
        self.clock = clock
        self.refusals: list[ConnectorFailure] = []
        self.failures: list[ConnectorFailure] = []
        self.moved: Any = None
        self.has_others = False

    async def open(self, connector_id: str, filter: Mapping[str, Any]) -> Connector:
        if self.failures:
            raise self.failures.pop(0)
        self.mailbox.opened += 1
        return ListedMailbox(self.mailbox, Filter.model_validate(dict(filter)), self.clock)

    async def judged(self, failure: ConnectorFailure) -> ConnectorFailure:
        return (
            NeedsOtherNode(str(failure)) if isinstance(failure, FileUnusable) and self.has_others else failure
        )

    async def refused(self, connector_id: str, failure: ConnectorFailure) -> bool:
        self.refusals.append(failure)
        if self.moved is not None:
            await self.moved(connector_id, failure)
        return True
