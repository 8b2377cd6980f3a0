"""The change stream of one folder of a mailbox: rounds of delta queries, and what to do when one is lost.

A round is a row of pages; each but the last one leads to the next, the last one to where the next round
begins. Microsoft may forget either at any time: a page in the middle is got again by the round before it,
a beginning by going back a day behind it. Messages come again then, and are known by their keys.

``changeType=created`` is not asked for. It would spare us messages that were only read or flagged, which are
cheap; but a mail that is moved into the folder need not be "created" there, and would be lost.

A first round is filtered by date, and such a round ends after 5,000 messages without saying so. After one
of about as many the folder is gone through by date as well, from the beginning.
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
MOST_FILTERED: Final = 4_500  # of 5,000: messages that were removed meanwhile may count as well
OVERLAP: Final = timedelta(days=1)  # behind the last good round, when its end was forgotten
_MOST_LOSSES: Final = 4  # in one go: then something else is wrong


class FolderState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How far a folder was read.

    Attributes:
        id: of the folder.
        since: what the first round began with, as Graph's filters spell it.
        delta: where the next round begins; ``None``: the first one has not ended.
        next: the next page of the round that is under way.
        began_at: when that round began; *good_at*: when the last one that came to its end did.
        listed: by the first round until now.
        fill: from when on the folder is still to be gone through by date.
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
    """One page, and how far the folder is read when all on it are settled."""

    items: tuple[dict[str, Any], ...]
    state: FolderState
    is_backfill: bool


class FolderStream:
    """Reads on in one folder."""

    def __init__(self, graph: Graph, clock: Clock) -> None:
        self._graph = graph
        self._clock = clock

    async def steps(self, state: FolderState, since: datetime) -> AsyncGenerator[Step]:
        """From *state* to the end of what there is.

        Args:
            since: how far it goes back at least when the beginning was forgotten.

        Raises:
            ConnectorFailure: but never ``CursorLost``, which is mended here.
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
        """All messages of the folder from *since* on, oldest first."""
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
    """Where to go on when the link that *state* goes on with was forgotten."""
    if state.next is not None:  # the round is begun anew
        return msgspec.structs.replace(state, next=None, began_at=None, listed=0)
    begin = since if state.good_at is None else min(since, state.good_at - OVERLAP)
    return FolderState(id=state.id, since=spell_time(begin))
