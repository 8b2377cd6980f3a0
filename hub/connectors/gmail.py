"""Gmail: a mailbox at Google, followed by its history.

A message has the same quota cost with or without its body, so it is fetched once: messages fetched by
``pages`` are cached for ``read``, up to a size. Nothing is marked as read, and requests are not batched
(``gmail_api`` explains why).
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from difflib import get_close_matches
from functools import partial
from typing import ClassVar, Final, Literal, TypeVar
from urllib.parse import quote

import anyio
from anyio import from_thread, to_thread
from pydantic import Field

from hub.clock import from_epoch_ms
from hub.connectors import gmail_api
from hub.connectors.calling import Answer, Quota, origin_of
from hub.connectors.connector import Account, Auth, Connector, Context, Cursor, Message, OAuth, Page, Unread
from hub.connectors.failures import ConnectorFailure, MessageUnreadable, Misconfigured
from hub.connectors.filters import Filter, Words
from hub.connectors.gmail_api import AT_ONCE, Api, GmailSettings, Profile, read_message
from hub.connectors.gmail_parts import GmailMessage, attachments, fingerprint, letter_of, to_fetch
from hub.connectors.gmail_stream import Labels, Stream, is_own
from hub.connectors.mime import message_key
from hub.document import Document
from hub.text.files import MAIL, MIB, NotConvertible
from hub.text.letter import LetterOptions
from hub.text.letters import read_letter

_CACHED_BYTES: Final = 16 * MIB  # of answers cached from the listing
_CREDIBLE: Final = timedelta(days=30)  # maximum difference between the sender's date and Google's
_REMOVED: Final = Unread(reason="it was removed from the mailbox", is_removed=True)

Category = Literal["promotions", "social", "forums", "updates"]
T = TypeVar("T")
R = TypeVar("R")


class GmailFilter(Filter):
    """Filter of a Gmail mailbox."""

    labels_any: Words = Field(default=(), description='Only mail with one of these labels: "INBOX", "Bills".')
    labels_none: Words = Field(default=(), description="Mail with one of these labels is left out.")
    q: str = Field(
        default="", max_length=500, description='A search in Gmail\'s own words: "from:ana has:attachment".'
    )
    exclude_categories: tuple[Category, ...] = Field(
        default=("promotions", "social", "forums"), description="Tabs of the inbox that are left out."
    )


class Gmail(Connector):
    """Mailbox at Google."""

    provider: ClassVar[str] = "gmail"
    auth: ClassVar[Auth] = Auth.OAUTH2
    settings_model: ClassVar[type[GmailSettings]] = GmailSettings
    filter_model: ClassVar[type[Filter]] = GmailFilter

    def __init__(self, context: Context, settings: GmailSettings, filter: GmailFilter) -> None:
        super().__init__(context, settings, filter)
        self._filter = filter
        self._api = Api(context.caller, settings.base_url)
        self._cached: OrderedDict[str, tuple[GmailMessage, int]] = OrderedDict()
        self._cached_bytes = 0
        self._me = context.identity
        attached = filter.attachments
        self._options = LetterOptions(
            quoted=filter.quoted,
            max_chars=filter.max_chars,
            fetch=attached.fetch,
            types=attached.types,
            max_attachment_bytes=int(attached.max_mb * MIB),
        )

    @classmethod
    def oauth(cls, settings: GmailSettings) -> OAuth:
        return settings.oauth()

    @classmethod
    def origin(cls, settings: GmailSettings) -> str:
        return f"{cls.provider} {settings.base_url}"

    @classmethod
    def origins(cls, settings: GmailSettings) -> frozenset[str]:
        return frozenset((origin_of(settings.base_url),))

    @classmethod
    def quota(cls, settings: GmailSettings) -> Quota:
        return Quota(settings.units_per_min, AT_ONCE)

    @staticmethod
    def judge(answer: Answer) -> ConnectorFailure | None:
        return gmail_api.judge(answer)

    async def check(self) -> Account:
        profile = await self._api.profile()
        if profile is None:
            await self._api.listed(most=1)
            profile = Profile()
        await self._labels()
        total = profile.messages_total
        return Account(
            name=profile.email_address or self._me or self.context.account,
            detail="" if total is None else f"{total:,} messages",
        )

    async def pages(self, cursor: Cursor | None, since: datetime) -> AsyncGenerator[Page]:
        labels, names = await self._labels()
        await self._find_me()
        stream = Stream(self._api, self.context.clock, labels, self._filter.q.strip())
        async with aclosing(stream.steps(cursor, since)) as steps:
            async for step in steps:
                found = await _each(step.ids, self._got)
                messages = [
                    self._message(one, names)
                    for one in found
                    if one is not None and labels.selects(one.label_ids) and _is_since(one, step.after)
                ]
                yield Page(messages=tuple(messages), cursor=step.cursor, is_backfill=step.is_backfill)

    async def read(self, messages: Sequence[Message]) -> AsyncGenerator[tuple[Message, Document | Unread]]:
        for start in range(0, len(messages), AT_ONCE):
            batch = messages[start : start + AT_ONCE]
            for message, outcome in zip(batch, await _each(batch, self._document), strict=True):
                yield message, outcome

    async def _find_me(self) -> None:
        if not self._me and (profile := await self._api.profile()) is not None:
            self._me = profile.email_address

    async def _labels(self) -> tuple[Labels, dict[str, str]]:
        """Return the label rules of the filter, and the names of labels by id."""
        selection = self._filter
        hidden = frozenset(f"CATEGORY_{one.upper()}" for one in selection.exclude_categories)
        if not selection.labels_any and not selection.labels_none:
            return Labels(none=hidden, sent=selection.include_sent), {}
        found = await self._api.labels()
        ids = {label.name.casefold(): label.id for label in found}
        ids |= {label.id.casefold(): label.id for label in found}
        some, none = (
            frozenset(_id_of(name, ids) for name in n) for n in (selection.labels_any, selection.labels_none)
        )
        # A label selected by name is read, even if it is excluded by default.
        rules = Labels(any=some, none=(hidden - some) | none, sent=selection.include_sent or "SENT" in some)
        return rules, {label.id: label.name for label in found if label.name}

    # --- metadata ---

    async def _got(self, id: str) -> GmailMessage | None:
        """Fetch a message and cache it for ``read``; None if it was removed after it was listed."""
        try:
            answer = await self._api.message(id, "full")
            message = None if answer is None else read_message(answer, GmailMessage)
        except MessageUnreadable:  # too large, for example; the metadata alone are small
            answer = await self._api.message(id, "metadata")
            return None if answer is None else read_message(answer, GmailMessage)
        if answer is None or message is None:
            return None
        self._cache(message, len(answer.body))
        return message

    def _cache(self, message: GmailMessage, size: int) -> None:
        self._take(message.id)
        self._cached[message.id] = (message, size)
        self._cached_bytes += size
        while self._cached_bytes > _CACHED_BYTES:
            _, (_, freed) = self._cached.popitem(last=False)
            self._cached_bytes -= freed

    def _take(self, id: str) -> GmailMessage | None:
        message, size = self._cached.pop(id, (None, 0))
        self._cached_bytes -= size
        return message

    def _message(self, one: GmailMessage, names: dict[str, str]) -> Message:
        head = one.head()
        fields = head.fields()
        if one.thread_id:
            fields["thread"] = one.thread_id
        return Message(
            key=message_key(head.message_id, f"gmail:{one.id}"),
            copy=one.id,
            place=one.id,
            received_at=_received_at(one),
            labels=tuple(names.get(label, label) for label in one.label_ids),
            attachments=attachments(one.payload),
            size_bytes=one.size_estimate,
            is_sent=is_own(one.label_ids),
            is_unread="UNREAD" in one.label_ids,
            link=self._link(one.id),
            **fields,
        )

    def _link(self, id: str) -> str:
        me = f"?authuser={quote(self._me)}" if self._me else ""
        return f"https://mail.google.com/mail/{me}#all/{quote(id, safe='')}"

    # --- bodies ---

    async def _document(self, message: Message) -> Document | Unread:
        id = str(message.place)
        try:
            one = self._take(id)
            if one is None:
                answer = await self._api.message(id, "full")
                if answer is None:
                    return _REMOVED
                one = read_message(answer, GmailMessage)
            fetched = {
                part: await self._part(id, part)
                for part in dict.fromkeys(to_fetch(one.payload, self._options))
            }
        except MessageUnreadable as error:
            return Unread(reason=str(error))
        letter = letter_of(one.payload, self._options, fetched)
        try:
            made = await to_thread.run_sync(
                partial(read_letter, letter, self._options, check=from_thread.check_cancelled)
            )
        except NotConvertible as error:
            return Unread(reason=str(error))
        return Document(
            unit_key=message.key,
            text=made.text,
            content_hash=fingerprint(letter),
            media_type=MAIL,
            modified_at=_written_at(message),
            hidden_parts=made.dropped,
            link=message.link,
            title=message.subject or None,
        )

    async def _part(self, message: str, id: str) -> str | None:
        try:
            return await self._api.attachment(message, id)
        except MessageUnreadable:
            return None


async def _each(items: Sequence[T], ask: Callable[[T], Awaitable[R]]) -> list[R]:
    """Apply *ask* to all items concurrently, limited by the throttle; return results in order.

    Raises:
        ConnectorFailure: the first failure; the other calls are cancelled.
    """
    found: dict[int, R] = {}
    failed: list[ConnectorFailure] = []

    async def one(at: int, item: T) -> None:
        try:
            found[at] = await ask(item)
        except ConnectorFailure as failure:
            failed.append(failure)
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for at, item in enumerate(items):
            tasks.start_soon(one, at, item)
    if failed:
        raise failed[0]
    return [found[at] for at in range(len(items))]


def _id_of(name: str, ids: dict[str, str]) -> str:
    id = ids.get(name.casefold())
    if id is None:
        near = get_close_matches(name.casefold(), ids, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise Misconfigured(f"there is no label {name!r} in this mailbox{hint}")
    return id


def _received_at(one: GmailMessage) -> datetime | None:
    try:
        return None if one.internal_date is None else from_epoch_ms(one.internal_date)
    except (ValueError, OverflowError, OSError):
        return None


def _is_since(one: GmailMessage, after: int | None) -> bool:
    return after is None or one.internal_date is None or one.internal_date >= after


def _written_at(message: Message) -> datetime | None:
    """Return the reference date for dates in the text: the sender's date, if it is plausible."""
    sent, received = message.sent_at, message.received_at
    if sent is not None and received is not None and abs(sent - received) > _CREDIBLE:
        return received
    return sent or received
