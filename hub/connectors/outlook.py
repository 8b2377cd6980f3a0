"""Outlook connector: mail folders by Microsoft Graph, and their change cursors.

A meeting request and a signed mail are read as the mail that was sent, since its fields lack the calendar and
the text.

A message is identified by its Message-ID, not by Outlook's id: a moved mail is removed in one folder and may
not be reported as added in the other. Immutable ids are requested anyway, so that a listed mail can be read
after a move. Nothing is marked as read. Attachments are always listed, and fetched only if the filter asks
for them. Folders are found by Outlook's well-known names, by displayed names, or by id.

A folder is followed by rounds of delta queries. A round is a sequence of pages; each page links to the next
one, and the last to the start of the next round. Microsoft may forget a link at any time. A lost page is
recovered by repeating its round, a lost start by going back one day. Messages then appear again, and are
recognized by their keys.

``changeType=created`` is not used. It would skip messages that were only read or flagged, which are cheap.
But a mail moved into the folder may not count as "created" there, and would be lost.

The first round is filtered by date. Such a round ends after 5,000 messages without notice. If it has about as
many, the folder is also listed by date from the start.
"""

import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from pydantic import Field, StringConstraints

from hub.base.clock import Clock
from hub.connectors import graph as graph_rules
from hub.connectors.calling import (
    CursorLost,
    MessageUnreadable,
    Misconfigured,
    PermissionMissing,
    ProviderQuota,
    Unavailable,
    Unread,
)
from hub.connectors.connector import (
    Account,
    Address,
    Attachment,
    Context,
    Cursor,
    Filter,
    Message,
    OAuth,
    Page,
    Words,
    read_cursor,
)
from hub.connectors.graph import (
    Graph,
    GraphConnector,
    GraphPage,
    GraphSettings,
    Person,
    inner,
    read_address,
    read_time,
    spell_time,
    text_field,
    web_link,
    with_marks,
)
from hub.connectors.mime import (
    BULK_HEADERS,
    HEADER,
    MAX_RECIPIENTS,
    MICROSOFT,
    headers_of,
    is_verified,
    message_key,
)
from hub.document import Document
from hub.text.files import HTML, MAIL
from hub.text.letter_text import Enclosure, Letter, LetterBody, LetterOptions
from hub.text.mime import is_bulk
from protocol.similar_names import did_you_mean

SELECT: Final = (
    "id,internetMessageId,subject,from,toRecipients,ccRecipients,receivedDateTime,sentDateTime"
    ",hasAttachments,isRead,isDraft,importance,categories,webLink,internetMessageHeaders"
)
MAX_FILTERED: Final = 4_500  # of 5,000: messages removed meanwhile may count, too
OVERLAP: Final = timedelta(days=1)  # before the last complete round, when its end was forgotten
_MAX_LOSSES: Final = 4  # in succession; more have another cause


class FolderState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Progress in a folder.

    Attributes:
        id: id of the folder.
        since: start of the first round, as Graph's filters spell it.
        delta: link to the next round; ``None`` until the first round is complete.
        next: link to the next page of the current round.
        began_at: start of the current round; *good_at*: start of the last complete round.
        listed: number of items that the first round has listed.
        fill: time from which the folder is still to be listed by date.
    """

    id: str
    since: str
    delta: str | None = None
    next: str | None = None
    began_at: datetime | None = None
    good_at: datetime | None = None
    listed: int = 0
    fill: str | None = None


class OutlookStep(msgspec.Struct, frozen=True):
    """Page, and the progress once all of its messages are settled."""

    items: tuple[dict[str, Any], ...]
    state: FolderState
    is_backfill: bool


class FolderStream:
    """Reader of one folder's changes."""

    def __init__(self, graph: Graph, clock: Clock) -> None:
        self._graph = graph
        self._clock = clock

    async def steps(self, state: FolderState, since: datetime) -> AsyncGenerator[OutlookStep]:
        """Yield all pages after *state*.

        Args:
            since: minimum period to list again if the start was forgotten.

        Raises:
            ConnectorFailure: any failure except ``CursorLost``, which is handled here.
        """
        losses = 0
        is_ended = False
        while not is_ended:
            is_backfill = state.delta is None
            try:
                url = state.next or state.delta or self._first(state)
                page = await self._graph.page(url, is_stream=True)
            except CursorLost as lost:
                losses += 1
                if losses > _MAX_LOSSES:
                    raise Unavailable("Microsoft forgets each time how far we were") from lost
                if state.next is not None:  # the round starts anew
                    state = msgspec.structs.replace(state, next=None, began_at=None, listed=0)
                else:
                    begin = since if state.good_at is None else min(since, state.good_at - OVERLAP)
                    state = FolderState(id=state.id, since=spell_time(begin))
                continue
            state = self._after(state, page)
            is_ended = page.delta is not None
            yield OutlookStep(page.items, state, is_backfill)
        if state.fill is not None:
            async for step in self._filled(state, state.fill):
                yield step

    def _first(self, state: FolderState) -> str:
        query = {"$select": SELECT, "$filter": f"receivedDateTime ge {state.since}"}
        return self._graph.url("me", "mailFolders", state.id, "messages", "delta", query=query)

    def _after(self, state: FolderState, page: GraphPage) -> FolderState:
        began_at = state.began_at if state.next is not None else self._clock.now()
        listed = state.listed + len(page.items) if state.delta is None else 0
        if page.delta is not None:
            is_cut = listed >= MAX_FILTERED
            return msgspec.structs.replace(
                state,
                delta=page.delta,
                next=None,
                began_at=None,
                good_at=began_at,
                listed=0,
                fill=state.since if is_cut else state.fill,
            )
        if page.next is None:
            raise Unavailable("Microsoft Graph's page leads nowhere")
        return msgspec.structs.replace(state, next=page.next, began_at=began_at, listed=listed)

    async def _filled(self, state: FolderState, since: str) -> AsyncGenerator[OutlookStep]:
        """Yield all messages of the folder from *since* on, oldest first."""
        query = {
            "$select": SELECT,
            "$filter": f"receivedDateTime ge {since}",
            "$orderby": "receivedDateTime",
            "$top": "50",
        }
        url: str | None = self._graph.url("me", "mailFolders", state.id, "messages", query=query)
        while url is not None:
            page = await self._graph.page(url)
            times = [at for item in page.items if (at := read_time(item.get("receivedDateTime"))) is not None]
            since = spell_time(max(times)) if times else since
            state = msgspec.structs.replace(state, fill=since if page.next else None)
            yield OutlookStep(page.items, state, True)
            url = page.next


_MAX_HEADER_CHARS: Final = 10_000
AT_ONCE: Final = 4  # concurrent requests that a mailbox allows an application
_PREFER: Final = ("odata.maxpagesize=50", 'outlook.body-content-type="text"', 'IdType="ImmutableId"')
_UNNAMED: Final = Attachment(id="", name="", media_type="application/octet-stream", size_bytes=0)

Folder = Annotated[str, StringConstraints(min_length=1, max_length=500)]

_MOST: Final = 20  # fetched of one mail
_MAIL_INSIDE: Final = "#microsoft.graph.itemAttachment"
_FILE: Final = "#microsoft.graph.fileAttachment"
_SIGNED: Final = "multipart/signed"  # an attachment that is all of the mail

WELL_KNOWN: Final = frozenset(
    (
        *("archive", "clutter", "conversationhistory", "deleteditems", "drafts", "inbox", "junkemail"),
        *("msgfolderroot", "outbox", "recoverableitemsdeletions", "sentitems"),
    )
)
_ID_CHARS: Final = 80  # ids are longer than folder names
_MAX_PAGES: Final = 20  # of 100 folders each


class OutlookFilter(Filter):
    """Filter of an Outlook mailbox."""

    folders: Annotated[tuple[Folder, ...], Field(min_length=1, max_length=10)] = Field(
        default=("inbox",),
        description='Folders: "inbox", "archive", "sentitems", or as they are called: "Projects/Alpha".',
    )
    importance: Literal["low", "normal", "high"] | None = Field(
        default=None, description="Only mail that its sender marked so."
    )
    categories_any: Words = Field(default=(), description="Only mail with one of these categories.")


class Outlook(GraphConnector):
    """Mailbox at Microsoft."""

    provider: ClassVar[str] = "outlook"
    settings_model: ClassVar[type[GraphSettings]] = GraphSettings
    filter_model: ClassVar[type[Filter]] = OutlookFilter

    _filter: OutlookFilter

    def __init__(self, context: Context, settings: GraphSettings, filter: OutlookFilter) -> None:
        super().__init__(context, settings, filter, prefer=_PREFER)
        self._stream = FolderStream(self._graph, context.clock)

    @classmethod
    def oauth(cls, settings: GraphSettings) -> OAuth:
        return settings.oauth("Mail.Read")

    @classmethod
    def quota(cls, settings: GraphSettings) -> ProviderQuota:
        return ProviderQuota(1_000.0, AT_ONCE)  # 10,000 in ten minutes

    async def check(self) -> Account:
        me = await self._signed_in()
        counts = []
        for name in self._filter.folders:
            folder = await find_folder(self._graph, name)
            query = {"$select": "id,displayName,totalItemCount,unreadItemCount"}
            found = await self._graph.get(self._graph.url("me", "mailFolders", folder, query=query))
            count = found.get("totalItemCount")
            counts.append(
                f"{text_field(found, 'displayName') or name}: {count if isinstance(count, int) else '?'}"
            )
        return Account(name=me.name, detail=f"messages in {', '.join(counts)}")

    async def pages(self, cursor: Cursor | None, since: datetime) -> AsyncGenerator[Page]:
        before = _states(cursor)
        states = {name: before[name] for name in self._filter.folders if name in before}
        me = await self._signed_in()
        for name in self._filter.folders:
            begun = states.get(name)
            if begun is None:
                folder = await find_folder(self._graph, name)
                begun = FolderState(id=folder, since=spell_time(since))
            async with aclosing(self._stream.steps(begun, since)) as steps:
                async for step in steps:
                    states[name] = step.state
                    first = read_time(step.state.since)
                    items, refused = await self._whole(step.items)
                    found = [*(self._message(item, me, first) for item in items), *refused]
                    yield Page(
                        messages=_in_order(message for message in found if message is not None),
                        cursor={
                            "folders": {key: msgspec.to_builtins(state) for key, state in states.items()}
                        },
                        is_backfill=step.is_backfill,
                    )

    def read(self, messages: Sequence[Message]) -> AsyncGenerator[tuple[Message, Document | Unread]]:
        return self.refusals.each(messages, self._document, at_once=AT_ONCE)

    # --- metadata ---

    async def _whole(self, items: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Message]]:
        """Return *items* with all selected fields, and messages for those that Microsoft refuses.

        For a message that was only changed, for example marked as read, a round contains only the changed
        fields, without the Message-ID. Such messages are fetched individually, unless the filter excludes
        them.
        """
        heads = [item for item in items if not _is_part(item)]
        parts = [item for item in items if _is_part(item)]
        if self._filter.unread_only:
            parts = [item for item in parts if item.get("isRead") is not True]
        refused: list[Message] = []
        async for part, found in self.refusals.each(parts, self._head_of):
            if isinstance(found, Unread):
                id = str(part.get("id"))
                refused.append(Message.refused(f"outlook:{id}", found, copy=id, place=id))
            else:
                heads += found
        return heads, refused

    async def _head_of(self, part: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Fetch the metadata of a message; empty if it was removed."""
        url = self._graph.url("me", "messages", str(part.get("id")), query={"$select": SELECT})
        answer = await self._graph.ask(url, accept=(200, 404))
        item = answer.json() if answer.status == 200 else None
        return [item] if isinstance(item, dict) else []

    def _message(self, item: Mapping[str, Any], me: Person, first: datetime | None) -> Message | None:
        """Convert an item to a message; None if it is removed, a draft, or excluded by this filter."""
        id = item.get("id")
        if not isinstance(id, str) or not id or "@removed" in item or item.get("isDraft") is True:
            return None
        received_at = read_time(item.get("receivedDateTime"))
        if received_at is not None and first is not None and received_at < first:
            return None  # Graph did not apply the filter
        categories = tuple(category for category in _list(item, "categories") if isinstance(category, str))
        if not self._is_chosen(item, categories):
            return None
        headers = _headers(item)
        sender = read_address(item.get("from"))
        message_id = item.get("internetMessageId")
        is_read = item.get("isRead")
        return Message(
            key=message_key(message_id if isinstance(message_id, str) else None, f"outlook:{id}"),
            copy=id,
            place=id,
            received_at=received_at,
            sent_at=read_time(item.get("sentDateTime")),
            sender=sender,
            recipients=_recipients(item),
            subject=text_field(item, "subject"),
            labels=categories,
            attachments=(_UNNAMED,) if item.get("hasAttachments") is True else (),
            headers={name: value for name, value in headers.items() if name in BULK_HEADERS},
            is_bulk=is_bulk(headers),
            is_sent=sender is not None and sender.email in me.addresses,
            is_verified=sender is not None and is_verified(headers.get(HEADER, ""), MICROSOFT, sender.email),
            is_unread=not is_read if isinstance(is_read, bool) else None,
            link=web_link(item.get("webLink")),
        )

    def _is_chosen(self, item: Mapping[str, Any], categories: Sequence[str]) -> bool:
        filter = self._filter
        if filter.importance is not None and item.get("importance") != filter.importance:
            return False
        asked = {category.casefold() for category in filter.categories_any}
        return not asked or any(category.casefold() in asked for category in categories)

    # --- bodies ---

    async def _document(self, message: Message) -> Document | Unread:
        try:
            return await self._read_one(message)
        except MessageUnreadable as error:
            return Unread(reason=str(error))

    async def _read_one(self, message: Message) -> Document | Unread:
        query = {"$select": "id,body,uniqueBody,internetMessageHeaders"}
        url = self._graph.url("me", "messages", str(message.place), query=query)
        answer = await self._graph.ask(url, accept=(200, 404))
        if answer.status == 404:
            failure = graph_rules.judge(answer)
            if isinstance(failure, PermissionMissing):
                raise failure
            return Unread(reason="it was removed from the mailbox", is_removed=True)
        item = answer.json()
        if not isinstance(item, dict):
            return Unread(reason="Microsoft gave something else than a message")
        # The listing may have lacked the headers.
        if not self.filter.include_bulk and is_bulk(_headers(item)):
            return Unread(reason="a list, a newsletter or an automatic answer", is_removed=True)
        text = _content(item, "body")
        if inner(item, "body").get("contentType") == "html":
            body = LetterBody(data=text, media_type=HTML)
        else:
            body = LetterBody(data=with_marks(text, _content(item, "uniqueBody")))
        enclosures: tuple[Enclosure, ...] = ()
        if message.attachments:
            enclosures = await attachments_of(self._graph, str(message.place), self._letters.options)
        letter = Letter(headers=headers_of(message), bodies=(body,), enclosures=enclosures)
        is_meeting = str(item.get("@odata.type")).startswith("#microsoft.graph.eventMessage")
        if is_meeting or any(enclosure.media_type == _SIGNED for enclosure in enclosures):
            letter = Letter(
                headers=letter.headers
            )  # only the mail has the calendar, or the text that was signed
        content_hash = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
        whole = partial(self._as_sent, str(message.place))
        return await self._letters.document(message, letter, content_hash, whole=whole)

    async def _as_sent(self, id: str) -> bytes | None:
        url = self._graph.url("me", "messages", id, "$value")
        answer = await self._graph.ask(url, accept=(200, 404), expects_json=False)
        return answer.body if answer.status == 200 else None


def _states(cursor: Cursor | None) -> dict[str, FolderState]:
    """Decode the cursor. Raises CursorLost if it is foreign."""
    return {} if cursor is None else read_cursor(cursor.get("folders"), dict[str, FolderState])


def _in_order(messages: Any) -> tuple[Message, ...]:
    """Sort messages by time of receipt; those without a time come last."""
    return tuple(sorted(messages, key=lambda one: (one.received_at is None, one.received_at or 0, one.key)))


def _is_part(item: Mapping[str, Any]) -> bool:
    return not ("@removed" in item or "receivedDateTime" in item or "internetMessageId" in item)


def _list(item: Mapping[str, Any], name: str) -> list[Any]:
    value = item.get(name)
    return value if isinstance(value, list) else []


def _recipients(item: Mapping[str, Any]) -> tuple[Address, ...]:
    entries = _list(item, "toRecipients") + _list(item, "ccRecipients")
    found = [read_address(entry) for entry in entries[:MAX_RECIPIENTS]]
    return tuple(message for message in found if message is not None)


def _headers(item: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for header in _list(item, "internetMessageHeaders"):
        if isinstance(header, dict):
            found.setdefault(
                str(header.get("name") or "").lower(), str(header.get("value") or "")[:_MAX_HEADER_CHARS]
            )
    return found


def _content(item: Mapping[str, Any], name: str) -> str:
    content = inner(item, name).get("content")
    return content if isinstance(content, str) else ""


async def attachments_of(graph: Graph, id: str, options: LetterOptions) -> tuple[Enclosure, ...]:
    """Return the attachments of the message *id*.

    Raises:
        ConnectorFailure: the request failed.
    """
    query = {"$select": "id,name,contentType,size,isInline"}
    page = await graph.page(graph.url("me", "messages", id, "attachments", query=query))
    found = []
    fetched = 0
    for item in page.items:
        size = item.get("size")
        kind = MAIL if item.get("@odata.type") == _MAIL_INSIDE else text_field(item, "contentType")
        enclosure = Enclosure(
            name=text_field(item, "name"),
            media_type=kind or "application/octet-stream",
            size_bytes=size if isinstance(size, int) else None,
            is_inline=item.get("isInline") is True,
        )
        found.append(enclosure)
        if not _is_selected(item, enclosure, options):
            continue
        fetched += 1
        if fetched > _MOST:
            found[-1] = replace(enclosure, why_not=f"the mail has more than {_MOST}")
            continue
        at = graph.url("me", "messages", id, "attachments", str(item.get("id")), "$value")
        answer = await graph.ask(at, accept=(200, 404), expects_json=False)
        if answer.status == 200:
            found[-1] = replace(enclosure, content=answer.body)
        else:
            found[-1] = replace(enclosure, why_not="it was removed meanwhile")
    return tuple(found)


def _is_selected(item: Mapping[str, Any], one: Enclosure, options: LetterOptions) -> bool:
    """Return True if an attachment is to be fetched; links to files elsewhere are never followed."""
    if one.is_inline or item.get("@odata.type", _FILE) not in (_FILE, _MAIL_INSIDE):
        return False
    return options.selects(one.media_type, one.size_bytes, name=one.name)


async def find_folder(graph: Graph, name: str) -> str:
    """Return the id of a folder, or its well-known name.

    Args:
        name: a well-known name such as "inbox", a displayed path such as "Projects/Alpha", or an id.

    Raises:
        Misconfigured: the folder does not exist; the message lists the existing ones.
    """
    if name.lower() in WELL_KNOWN:
        return name.lower()
    if len(name) >= _ID_CHARS and " " not in name:
        return name
    parent: str | None = None
    for step in name.split("/"):
        folders = await _children(graph, parent)
        found = next((id for shown, id in folders if shown.casefold() == step.strip().casefold()), None)
        if found is None:
            names = [shown for shown, _ in folders]
            listed = ", ".join(sorted(names)[:20]) or "none"
            hint = did_you_mean(step.strip(), names) or f"there are {listed}"
            raise Misconfigured(f"there is no folder {name!r} in the mailbox: {hint}")
        parent = found
    assert parent is not None  # a name has at least one segment
    return parent


async def _children(graph: Graph, parent: str | None) -> list[tuple[str, str]]:
    """Return names and ids of the folders in *parent*, or of the top-level folders."""
    path = ("me", "mailFolders") if parent is None else ("me", "mailFolders", parent, "childFolders")
    url: str | None = graph.url(*path, query={"$select": "id,displayName", "$top": "100"})
    found: list[tuple[str, str]] = []
    for _ in range(_MAX_PAGES):
        if url is None:
            break
        page = await graph.page(url)
        found += [(text_field(item, "displayName"), str(item.get("id") or "")) for item in page.items]
        url = page.next
    return found
