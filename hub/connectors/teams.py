"""Teams connector: chats and channels of a work account by Microsoft Graph.

Microsoft permits such polling once a day: polling a chat more often violates its terms. Chats are read in the
order of their last message, newest first, down to the first one without a new message. So an edit in a chat
without new messages is not seen. Channels are read by delta queries.

Graph silently ignores a filter by date unless the list is ordered by the same date, newest first. So both are
requested together, and older messages end the list in any case.
"""

import hashlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, ClassVar, Final, Literal, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from hub.connectors.calling import CursorLost, Misconfigured, ProviderQuota, Unavailable, Unread
from hub.connectors.connector import (
    Account,
    Address,
    Context,
    Cursor,
    Filter,
    Message,
    OAuth,
    Page,
    read_cursor,
)
from hub.connectors.graph import (
    GraphConnector,
    GraphSettings,
    inner,
    read_time,
    spell_time,
    text_field,
    web_link,
)
from hub.connectors.mime import headers_of, message_key
from hub.connectors.teams_text import NotReadable, text_of_chat
from hub.document import Document
from hub.text.letter_text import Letter, LetterBody

_NEVER: Final = datetime.min.replace(tzinfo=UTC)
OVERLAP: Final = timedelta(minutes=5)  # clocks of Microsoft's machines differ
AT_ONCE: Final = 2  # concurrent requests
_PAGE: Final = 50  # the maximum
_MAX_CHATS: Final = 2_000  # examined in one round
_MAX_PAGES: Final = 400  # of one chat in one round
_CACHED: Final = 300  # bodies from lists, cached for ``read`` within one run

Id = Annotated[str, StringConstraints(min_length=1, max_length=200)]

MAX_DONE = 300  # chats stored in a round; a forgotten chat is read again


class ChannelState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Progress in a channel. *link*: next page; *after*: start of reading; *newest*: last message read."""

    after: datetime
    newest: datetime
    link: str | None = None


class TeamsState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Progress in all chats and channels.

    Attributes:
        first: earlier changes are ignored.
        floor: all chats were read up to this time.
        top: floor after the current round.
        done: time up to which each chat was read in the current round.
    """

    first: datetime
    floor: datetime
    top: datetime | None = None
    done: dict[str, datetime] = {}
    channels: dict[str, ChannelState] = {}

    @classmethod
    def read(cls, cursor: Cursor | None, since: datetime) -> Self:
        """Decode the cursor. Raises CursorLost if it is foreign."""
        return cls(first=since, floor=since) if cursor is None else read_cursor(cursor, cls)

    def spelled(self) -> Cursor:
        cursor: Cursor = msgspec.to_builtins(self)
        return cursor

    def with_chat(self, chat: str, until: datetime) -> Self:
        """Record that the chat was read up to *until*."""
        done = {name: at for name, at in self.done.items() if name != chat} | {chat: until}
        return msgspec.structs.replace(self, done=dict(list(done.items())[-MAX_DONE:]))

    def ended(self, *, keep_done: bool) -> Self:
        """Record the end of a round. *keep_done*: each chat continues from its own time."""
        floor = self.floor if self.top is None else max(self.floor, self.top)
        done = self.done if keep_done else {}
        return msgspec.structs.replace(self, floor=floor, top=None, done=done)


class TeamsSettings(GraphSettings):
    """Addresses of Microsoft, the account's tenant, and the requested permissions."""

    tenant: str = Field(
        default="organizations",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,127}$",
        description='The tenant\'s name or id; "organizations" for any. Personal accounts have no chats.',
    )
    channels: bool = Field(
        default=False,
        description="Ask for the right to read channels, too: an administrator has to consent to it.",
    )


class TeamsChannel(BaseModel):
    """Channel with Microsoft's ids: both are in the link that Teams copies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    team: Id = Field(description="groupId in the channel's link.")
    channel: Id = Field(description="19:...@thread.tacv2, in the channel's link.")


class TeamsFilter(Filter):
    """Filter of chats and channels."""

    chats: Literal["all", "direct", "group", "none"] | Annotated[tuple[Id, ...], Field(max_length=100)] = (
        Field(
            default="all",
            description='"all", "direct" (of two), "group" (meetings, too), "none", or their ids.',
        )
    )
    channels: Annotated[tuple[TeamsChannel, ...], Field(max_length=10)] = Field(
        default=(), description="Channels: { team = ..., channel = ... }."
    )
    mentions_me_only: bool = Field(default=False, description="Only messages that name the owner.")


class Teams(GraphConnector):
    """Chats and channels at Microsoft."""

    provider: ClassVar[str] = "teams"
    settings_model: ClassVar[type[TeamsSettings]] = TeamsSettings
    filter_model: ClassVar[type[Filter]] = TeamsFilter

    _filter: TeamsFilter

    def __init__(self, context: Context, settings: TeamsSettings, filter: TeamsFilter) -> None:
        super().__init__(context, settings, filter)
        self._cached: OrderedDict[tuple[str, str], dict[str, Any]] = OrderedDict()

    @classmethod
    def oauth(cls, settings: TeamsSettings) -> OAuth:
        return settings.oauth("Chat.Read", *(("ChannelMessage.Read.All",) if settings.channels else ()))

    @classmethod
    def quota(cls, settings: TeamsSettings) -> ProviderQuota:
        return ProviderQuota(units_per_min=240.0, at_once=AT_ONCE)  # one team allows four per second

    async def check(self) -> Account:
        self._may_read_channels()
        me = await self._signed_in()
        if self._filter.chats != "none":
            await self._graph.page(self._graph.url("me", "chats", query={"$top": "1"}))
        count = len(self._filter.channels)
        chats = self._filter.chats if isinstance(self._filter.chats, str) else len(self._filter.chats)
        return Account(name=me.name, detail=f"chats: {chats}; channels: {count}")

    async def pages(self, cursor: Cursor | None, since: datetime) -> AsyncGenerator[Page]:
        self._may_read_channels()
        state = TeamsState.read(cursor, since.astimezone(UTC))
        await self._signed_in()
        is_first = cursor is None
        async with aclosing(self._chats(state)) as steps:
            async for state, messages in steps:
                yield Page(messages=messages, cursor=state.spelled(), is_backfill=is_first)
        for channel in self._filter.channels:
            name = f"{channel.team}/{channel.channel}"
            async with aclosing(self._channel(state, name, channel)) as found:
                async for state, messages, is_backfill, is_whole in found:
                    yield Page(
                        messages=messages,
                        cursor=state.spelled() if is_whole else None,
                        is_backfill=is_backfill,
                    )

    def read(self, messages: Sequence[Message]) -> AsyncGenerator[tuple[Message, Document | Unread]]:
        return self.refusals.each(messages, self._document, at_once=AT_ONCE)

    def _may_read_channels(self) -> None:
        if self._filter.channels and not self.settings.channels:
            raise Misconfigured(
                "the filter names channels: write channels = true in the connector's settings, then sign in"
            )

    # --- chats ---

    async def _chats(self, state: TeamsState) -> AsyncGenerator[tuple[TeamsState, tuple[Message, ...]]]:
        """Yield the pages of all chats, each with the state after it."""
        chats = await self._speaking(state)
        if state.top is None:
            spoken = [at for _, at in chats if at is not None]
            state = msgspec.structs.replace(state, top=max(spoken, default=state.floor))
        since = {chat: state.done.get(chat) for chat, _ in chats}
        new = [chat for chat, at in reversed(chats) if at is None or at > (since[chat] or _NEVER)]
        ask = partial(self._changed_since, since, state.floor)
        for begin in range(0, len(new), AT_ONCE):
            async for chat, items in self.refusals.each(new[begin : begin + AT_ONCE], ask):
                if isinstance(items, Unread):
                    yield state, (Message.refused(f"teams:chats/{chat}", items),)
                    continue
                for start in range(0, len(items), _PAGE):
                    piece = items[start : start + _PAGE]
                    until = read_time(piece[-1].get("lastModifiedDateTime"))
                    state = state if until is None else state.with_chat(chat, until)
                    yield state, self._messages(piece, state.first, ("chats", chat))
        yield state.ended(keep_done=not isinstance(self._filter.chats, str)), ()

    async def _speaking(self, state: TeamsState) -> list[tuple[str, datetime | None]]:
        """Return the chats with new messages and the times of their last messages, newest first."""
        selected = self._filter.chats
        if selected == "none":
            return []
        if not isinstance(selected, str):
            return [(chat, None) for chat in selected]
        query = {
            "$expand": "lastMessagePreview",
            "$orderby": "lastMessagePreview/createdDateTime desc",
            "$top": str(_PAGE),
        }
        url: str | None = self._graph.url("me", "chats", query=query)
        found: list[tuple[str, datetime | None]] = []
        while url is not None and len(found) < _MAX_CHATS:
            page = await self._graph.page(url)
            spoke = [
                (item, at)
                for item in page.items
                if (at := read_time(inner(item, "lastMessagePreview").get("createdDateTime"))) is not None
            ]
            new = [(item, at) for item, at in spoke if at > state.floor - OVERLAP]
            found += [(item["id"], at) for item, at in new if _is_selected(item, selected)]
            # The whole page is examined, because chats with nearly equal times may be out of order.
            url = page.next if new or not spoke else None
        return sorted(found, key=lambda one: one[1] or _NEVER, reverse=True)

    async def _changed_since(
        self, since: Mapping[str, datetime | None], floor: datetime, chat: str
    ) -> list[dict[str, Any]]:
        return await self._changed(chat, (since[chat] or floor) - OVERLAP)

    async def _changed(self, chat: str, after: datetime) -> list[dict[str, Any]]:
        """Return the messages of a chat that changed after a time, oldest change first."""
        query = {
            "$top": str(_PAGE),
            "$orderby": "lastModifiedDateTime desc",
            "$filter": f"lastModifiedDateTime gt {spell_time(after)}",
        }
        url: str | None = self._graph.url("chats", chat, "messages", query=query)
        found: list[dict[str, Any]] = []
        for _ in range(_MAX_PAGES):
            if url is None:
                break
            page = await self._graph.page(url)
            url = page.next
            for item in page.items:
                at = read_time(item.get("lastModifiedDateTime"))
                if at is not None and at <= after:
                    url = None
                else:
                    found.append(item)
        else:
            raise Unavailable("a chat has more messages than can be read at once: look less far back")
        return found[::-1]

    # --- channels ---

    async def _channel(
        self, state: TeamsState, name: str, channel: TeamsChannel
    ) -> AsyncGenerator[tuple[TeamsState, tuple[Message, ...], bool, bool]]:
        """Yield a channel's pages: state, messages, if it is a backfill, and if the state may be stored."""
        here = state.channels.get(name) or ChannelState(after=state.first, newest=state.first)
        is_backfill = name not in state.channels
        is_ended = False
        losses = 0
        while not is_ended:
            try:
                url = here.link or self._first_of(channel, here)
                page = await self._graph.page(url, is_stream=True)
            except CursorLost as lost:
                losses += 1
                if here.link is None or losses > 2:
                    raise Unavailable("Microsoft forgets each time how far we were") from lost
                here = ChannelState(after=here.newest - OVERLAP, newest=here.newest)
                is_backfill = True
                continue
            items = [message for item in page.items async for message in self._with_replies(channel, item)]
            items.sort(key=_changed_at)
            link = page.delta or page.next
            if link is None:
                raise Unavailable("Microsoft Graph's page leads nowhere")
            is_ended = page.delta is not None
            newest = max([here.newest, *map(_changed_at, items)])
            here = msgspec.structs.replace(here, link=link, newest=newest)
            state = msgspec.structs.replace(state, channels=state.channels | {name: here})
            place = ("teams", channel.team, "channels", channel.channel)
            for start in range(0, max(1, len(items)), _PAGE):
                messages = self._messages(items[start : start + _PAGE], here.after, place)
                yield state, messages, is_backfill, start + _PAGE >= len(items)

    def _first_of(self, channel: TeamsChannel, here: ChannelState) -> str:
        query = {
            "$top": str(_PAGE),
            "$expand": "replies",
            # "gt" with whole seconds: one second less includes messages of that very second
            "$filter": f"lastModifiedDateTime gt {spell_time(here.after - timedelta(seconds=1))}",
        }
        path = ("teams", channel.team, "channels", channel.channel, "messages", "delta")
        return self._graph.url(*path, query=query)

    async def _with_replies(
        self, channel: TeamsChannel, item: dict[str, Any]
    ) -> AsyncIterator[dict[str, Any]]:
        yield item
        replies = item.get("replies")
        for reply in replies if isinstance(replies, list) else []:
            if isinstance(reply, dict):
                yield {**reply, "replyToId": item.get("id")}
        url = item.get("replies@odata.nextLink")
        for _ in range(_MAX_PAGES):
            if not isinstance(url, str):
                return
            page = await self._graph.page(url)
            for reply in page.items:
                yield {**reply, "replyToId": item.get("id")}
            url = page.next

    # --- messages ---

    def _messages(
        self, items: Iterable[dict[str, Any]], first: datetime, place: tuple[str, ...]
    ) -> tuple[Message, ...]:
        found = [self._message(item, first, place) for item in items]
        return tuple(message for message in found if message is not None)

    def _message(self, item: dict[str, Any], first: datetime, place: tuple[str, ...]) -> Message | None:
        """Convert an item to a message; None if no person wrote it, or the filter excludes it."""
        id = item.get("id")
        if not isinstance(id, str) or not id or "@removed" in item:
            return None
        if item.get("messageType") != "message" or item.get("deletedDateTime") is not None:
            return None
        if _changed_at(item) < first:
            return None
        assert self._me is not None
        user = inner(item, "from", "user")
        is_mine = bool(self._me.id) and user.get("id") == self._me.id
        if self._filter.mentions_me_only and not _names(item, self._me.id):
            return None
        root = item.get("replyToId")
        where = (*place, "messages", *((root, "replies") if isinstance(root, str) and root else ()), id)
        message = Message(
            key=message_key(None, f"teams:{'/'.join(where)}"),
            version=text_field(item, "lastEditedDateTime"),  # unchanged by reactions
            place=list(where),
            received_at=read_time(item.get("createdDateTime")),
            sent_at=read_time(item.get("createdDateTime")),
            sender=Address("", text_field(user, "displayName")) if user else None,
            subject=text_field(item, "subject"),
            is_sent=is_mine,
            link=web_link(item.get("webUrl")),
        )
        self._cached[message.key, message.version] = item
        while len(self._cached) > _CACHED:
            self._cached.popitem(last=False)
        return message

    async def _document(self, message: Message) -> Document | Unread:
        item = self._cached.get((message.key, message.version))
        if item is None:
            answer = await self._graph.ask(self._graph.url(*message.place), accept=(200, 404))
            item = answer.json() if answer.status == 200 else None
        if not isinstance(item, dict) or item.get("deletedDateTime") is not None:
            return Unread(reason="it was removed from Teams", is_removed=True)
        try:
            text = text_of_chat(item)
        except NotReadable as error:
            return Unread(reason=str(error))
        letter = Letter(headers=headers_of(message), bodies=(LetterBody(data=text),))
        content_hash = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
        return await self._letters.document(message, letter, content_hash)


def _is_selected(chat: Mapping[str, Any], kind: str) -> bool:
    is_direct = chat.get("chatType") == "oneOnOne"
    return isinstance(chat.get("id"), str) and (kind == "all" or (kind == "direct") is is_direct)


def _changed_at(item: Mapping[str, Any]) -> datetime:
    changed_at = read_time(item.get("lastModifiedDateTime")) or read_time(item.get("createdDateTime"))
    return changed_at or _NEVER


def _names(item: Mapping[str, Any], me: str) -> bool:
    mentions = item.get("mentions")
    return any(
        isinstance(mention, dict) and bool(me) and inner(mention, "mentioned", "user").get("id") == me
        for mention in (mentions if isinstance(mentions, list) else [])
    )
