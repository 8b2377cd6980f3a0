"""Gmail: a mailbox at Google, followed by its history.

Without a cursor, the mailbox is **back-filled**: its history id is recorded first, then all ids of the
requested time are listed and read, oldest first. Then the **history** is followed from the recorded id. So
messages that arrive in between are listed twice, but never missed. History ids are opaque and never compared.
Messages excluded by labels are removed before they are read, because listing costs a hundredth of reading.

A message has the same quota cost with or without its body, so it is fetched once: messages fetched by
``pages`` are cached for ``read``, up to a size. Nothing is marked as read.
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from contextlib import aclosing
from datetime import datetime
from difflib import get_close_matches
from typing import Any, ClassVar, Final, Literal
from urllib.parse import quote

import msgspec
from pydantic import Field

from hub.clock import Clock, epoch_ms, from_epoch_ms
from hub.connectors import gmail_api
from hub.connectors.authentication import GOOGLE
from hub.connectors.calling import Quota, each, origin_of
from hub.connectors.connector import (
    Account,
    Auth,
    Connector,
    Context,
    Cursor,
    Filter,
    Message,
    OAuth,
    Page,
    Unread,
    Words,
    read_cursor,
)
from hub.connectors.failures import (
    CursorLost,
    MessageUnreadable,
    Misconfigured,
    Unavailable,
)
from hub.connectors.gmail_api import (
    AT_ONCE,
    Api,
    GmailMessage,
    GmailSettings,
    Profile,
    Record,
    Ref,
    attachments,
    fingerprint,
    letter_of,
    read_message,
    to_fetch,
)
from hub.connectors.mime import Letters, message_key
from hub.document import Document
from hub.text.files import MIB

CHUNK: Final = 50  # messages on one page of the connector
_REMEMBERED: Final = 10  # ids that mark a back-fill's progress: any of them may be removed meanwhile
DAY_S: Final = 86_400
INDEXED_S: Final = 600  # delay after which a new message is certainly indexed for search
_POINTS: Final = 12
_ASKED: Final = 5  # messages queried for their history ids
NEVER: Final = frozenset(("SPAM", "TRASH", "DRAFT", "CHAT"))


class Labels(msgspec.Struct, frozen=True):
    """Label rules of a filter, by label ids. *sent*: include the owner's own mail."""

    any: frozenset[str] = frozenset()
    none: frozenset[str] = frozenset()
    sent: bool = False

    def selects(self, labels: Collection[str]) -> bool:
        """Return True if the filter selects a message with these labels."""
        return (
            not NEVER.intersection(labels)
            and not self.none.intersection(labels)
            and (self.sent or not is_own(labels))
            and (not self.any or not self.any.isdisjoint(labels))
        )


def is_own(labels: Collection[str]) -> bool:
    """Return True if the owner sent the message to others: a note to oneself is in the inbox, too."""
    return "SENT" in labels and "INBOX" not in labels


class Point(msgspec.Struct, frozen=True, array_like=True):
    """History id with the time of its retrieval (epoch seconds)."""

    history_id: str
    at: int


class Backfill(msgspec.Struct, frozen=True):
    """Progress of a back-fill. *after*: epoch milliseconds; *done_to*: last ids that were read."""

    h0: str | None
    at: int
    after: int
    done_to: tuple[str, ...] = ()


class _State(msgspec.Struct, frozen=True, omit_defaults=True):
    """Decoded cursor. *behind*: older points, from which a search is repeated (``_begin``)."""

    backfill: Backfill | None = None
    history_id: str | None = None
    at: int = 0
    behind: tuple[Point, ...] = ()


class Step(msgspec.Struct, frozen=True):
    """Chunk of ids. *after*: epoch milliseconds; older messages are skipped."""

    ids: tuple[str, ...]
    cursor: Cursor | None
    is_backfill: bool = False
    after: int | None = None


class Stream:
    """Stream of one mailbox with one filter. *q*: a Gmail search; may be empty."""

    def __init__(self, api: Api, clock: Clock, labels: Labels, q: str = "") -> None:
        self._api = api
        self._clock = clock
        self._labels = labels
        self._q = f"({q})" if " OR " in q else q

    async def steps(self, cursor: Cursor | None, since: datetime) -> AsyncGenerator[Step]:
        """Yield all new messages in chunks.

        Raises:
            CursorLost: Gmail's history does not reach back far enough.
        """
        state = _State() if cursor is None else read_cursor(cursor, _State)
        if cursor is not None and state.backfill is None and state.history_id is None:
            raise CursorLost("the cursor is not one of this release")
        now = int(self._clock.now().timestamp())
        points: tuple[Point, ...]
        if state.history_id is not None:
            points = (*state.behind, Point(state.history_id, state.at))
        else:
            begun = state.backfill or Backfill(await self._newest(), now, epoch_ms(since))
            async for step in self._backfill(begun):
                yield step
            if begun.h0 is None:
                return
            points = (Point(begun.h0, begun.at),)
        async for step in self._history(points, now):
            yield step

    async def _newest(self) -> str | None:
        """Return the mailbox's history id, else the largest of its newest messages.

        None: the mailbox is empty.
        """
        profile = await self._api.profile()
        if profile is not None and profile.history_id is not None:
            return str(profile.history_id)
        answers = [await self._api.message(ref.id, "minimal") for ref in await self._api.listed(most=_ASKED)]
        shown = [read_message(answer, dict[str, Any]) for answer in answers if answer is not None]
        ids = [str(one["historyId"]) for one in shown if one.get("historyId")]
        # An id that is too small only causes duplicates.
        return max(ids, key=lambda one: (len(one), one), default=None)

    async def _backfill(self, begun: Backfill) -> AsyncGenerator[Step]:
        # One second earlier, as Gmail does not document whether after: includes the second itself. The exact
        # time is checked in each message.
        listed = await self._search(begun.after // 1_000 - 1)
        last = max((at for at, id in enumerate(listed) if id in begun.done_to), default=-1)
        ids = listed[last + 1 :]
        done = begun.done_to
        for start in range(0, len(ids), CHUNK):
            chunk = tuple(ids[start : start + CHUNK])
            done = (*done, *chunk)[-_REMEMBERED:]
            state = _State(backfill=msgspec.structs.replace(begun, done_to=done))
            cursor = None if begun.h0 is None else msgspec.to_builtins(state)
            yield Step(chunk, cursor, is_backfill=True, after=begun.after)
        if begun.h0 is not None:
            yield Step((), msgspec.to_builtins(_State(history_id=begun.h0, at=begun.at)), is_backfill=True)

    async def _search(self, after_s: int) -> list[str]:
        """Return the ids of messages that the filter selects, oldest first."""
        q = f"after:{after_s} {self._q}".rstrip()
        when = f"after:{after_s}"
        listed = await self._api.listed(q=q)
        if not listed:
            return []
        left_out: set[str] = set()
        for label in sorted(self._labels.none | {"DRAFT", "CHAT"}):
            left_out |= _ids(await self._api.listed(q=when, labels=(label,)))
        if not self._labels.sent:
            sent = _ids(await self._api.listed(q=when, labels=("SENT",)))
            left_out |= sent and sent - _ids(await self._api.listed(q=when, labels=("SENT", "INBOX")))
        selected: set[str] | None = None
        for label in sorted(self._labels.any):
            selected = (selected or set()) | _ids(await self._api.listed(q=when, labels=(label,)))
        ids = dict.fromkeys(ref.id for ref in reversed(listed))
        return [id for id in ids if id not in left_out and (selected is None or id in selected)]

    async def _history(self, points: Sequence[Point], now: int) -> AsyncGenerator[Step]:
        begin = self._begin(points, now)
        reached = begin.history_id
        token: str | None = None
        reported: str | None = None
        while True:
            page = await self._api.history(begin.history_id, token)
            if page is None:
                if token is None:
                    raise CursorLost("Gmail's history does not reach back so far any more")
                raise Unavailable("Gmail lost its place in a list")  # the next run resumes here
            if page.history:
                reported = None
            elif token is None and page.history_id is not None:
                reported = str(page.history_id)  # an empty history so far
            async for ids, at in self._chunks(page.history, begin):
                reached = at
                # With a search, messages already passed are checked again, as this point cannot be resumed.
                cursor = None if self._q else msgspec.to_builtins(_State(history_id=at, at=begin.at))
                yield Step(ids, cursor)
            token = page.next_page_token
            if not token:
                break
        recent = tuple(one for one in points if one.at >= begin.at) if self._q else ()
        behind = recent if len(recent) < _POINTS else (recent[0], *recent[2 - _POINTS :])
        yield Step((), msgspec.to_builtins(_State(history_id=reported or reached, at=now, behind=behind)))

    def _begin(self, points: Sequence[Point], now: int) -> Point:
        """Return the start of the history: with a search, a point whose messages are all indexed."""
        if not self._q:
            return points[-1]
        return next((one for one in reversed(points) if one.at <= now - INDEXED_S), points[0])

    async def _chunks(
        self, records: Sequence[Record], begin: Point
    ) -> AsyncGenerator[tuple[tuple[str, ...], str]]:
        """Yield selected ids in chunks, each with the id of the last history record in it."""
        selected = [
            [
                ref
                for ref in (one.message for one in record.messages_added)
                if ref.label_ids is None or self._labels.selects(ref.label_ids)
            ]
            for record in records
        ]
        if self._q and any(selected):
            matching = _ids(await self._api.listed(q=f"after:{begin.at - DAY_S} {self._q}"))
            selected = [[ref for ref in refs if ref.id in matching] for refs in selected]
        chunk: dict[str, None] = {}
        for record, refs in zip(records, selected, strict=True):
            chunk |= dict.fromkeys(ref.id for ref in refs)
            if len(chunk) >= CHUNK:
                yield tuple(chunk), str(record.id)
                chunk = {}
        if records:
            yield tuple(chunk), str(records[-1].id)


def _ids(refs: Iterable[Ref]) -> set[str]:
    return {ref.id for ref in refs}


_CACHED_BYTES: Final = 16 * MIB  # of answers cached from the listing
_REMOVED: Final = Unread(reason="it was removed from the mailbox", is_removed=True)

Category = Literal["promotions", "social", "forums", "updates"]


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
        self._letters = Letters(filter)

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

    judge = staticmethod(gmail_api.judge)

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
        if not self._me and (profile := await self._api.profile()) is not None:
            self._me = profile.email_address
        stream = Stream(self._api, self.context.clock, labels, self._filter.q.strip())
        async with aclosing(stream.steps(cursor, since)) as steps:
            async for step in steps:
                found = [one async for _, one in each(step.ids, self._got)]
                messages = [
                    self._message(one, names)
                    for one in found
                    if one is not None
                    and labels.selects(one.label_ids)
                    and (step.after is None or one.internal_date is None or one.internal_date >= step.after)
                ]
                yield Page(messages=tuple(messages), cursor=step.cursor, is_backfill=step.is_backfill)

    async def read(self, messages: Sequence[Message]) -> AsyncGenerator[tuple[Message, Document | Unread]]:
        for start in range(0, len(messages), AT_ONCE):
            async for message, outcome in each(messages[start : start + AT_ONCE], self._document):
                yield message, outcome

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
            is_verified=head.is_verified(GOOGLE),
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
                for part in dict.fromkeys(to_fetch(one.payload, self._letters.options))
            }
        except MessageUnreadable as error:
            return Unread(reason=str(error))
        letter = letter_of(one.payload, self._letters.options, fetched)
        return await self._letters.document(message, letter, fingerprint(letter))

    async def _part(self, message: str, id: str) -> str | None:
        try:
            return await self._api.attachment(message, id)
        except MessageUnreadable:
            return None


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
