"""Change stream of one folder of a mailbox: rounds of delta queries, and recovery from lost links.

A round is a sequence of pages; each page links to the next one, and the last to the start of the next round.
Microsoft may forget a link at any time. A lost page is recovered by repeating its round, a lost start by
going back one day. Messages then appear again, and are recognized by their keys.

``changeType=created`` is not used. It would skip messages that were only read or flagged, which are cheap.
But a mail moved into the folder may not count as "created" there, and would be lost.

The first round is filtered by date. Such a round ends after 5,000 messages without notice. If it has about as
many, the folder is also listed by date from the start.
"""

from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from hub.clock import Clock
from hub.connectors.failures import CursorLost, Unavailable
from hub.connectors.graph import Graph, GraphPage, read_time, spell_time

SELECT: Final = (
    "id,internetMessageId,subject,from,toRecipients,ccRecipients,receivedDateTime,sentDateTime,conversationId"
    ",hasAttachments,isRead,isDraft,importance,categories,webLink,internetMessageHeaders"
)
MOST_FILTERED: Final = 4_500  # of 5,000: messages removed meanwhile may count, too
OVERLAP: Final = timedelta(days=1)  # before the last complete round, when its end was forgotten
_MOST_LOSSES: Final = 4  # in succession; more have another cause


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


class Step(msgspec.Struct, frozen=True):
    """Page, and the progress once all of its messages are settled."""

    items: tuple[dict[str, Any], ...]
    state: FolderState
    is_backfill: bool


class FolderStream:
    """Reader of one folder's changes."""

    def __init__(self, graph: Graph, clock: Clock) -> None:
        self._graph = graph
        self._clock = clock

    async def steps(self, state: FolderState, since: datetime) -> AsyncGenerator[Step]:
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
                if losses > _MOST_LOSSES:
                    raise Unavailable("Microsoft forgets each time how far we were") from lost
                state = _after_loss(state, since)
                continue
            state = self._after(state, page)
            is_ended = page.delta is not None
            yield Step(page.items, state, is_backfill)
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
            is_cut = listed >= MOST_FILTERED
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

    async def _filled(self, state: FolderState, since: str) -> AsyncGenerator[Step]:
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
            yield Step(page.items, state, True)
            url = page.next


def _after_loss(state: FolderState, since: datetime) -> FolderState:
    """Return the state to continue with after the link of *state* was lost."""
    if state.next is not None:  # the round starts anew
        return msgspec.structs.replace(state, next=None, began_at=None, listed=0)
    begin = since if state.good_at is None else min(since, state.good_at - OVERLAP)
    return FolderState(id=state.id, since=spell_time(begin))
