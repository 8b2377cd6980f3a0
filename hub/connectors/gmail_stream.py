"""New messages of a Gmail mailbox: ids in order of arrival, with a cursor after each chunk.

Without a cursor, the mailbox is **back-filled**: its history id is recorded first, then all ids of the
requested time are listed and read, oldest first. Then the **history** is followed from the recorded id. So
messages that arrive in between are listed twice, but never missed. History ids are opaque and never compared.

Messages excluded by labels are removed here, because listing costs a hundredth of reading.
"""

from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from hub.clock import Clock, epoch_ms
from hub.connectors.connector import Cursor
from hub.connectors.failures import CursorLost, Unavailable
from hub.connectors.gmail_api import Api, Record, Ref, read_message

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
        state = _state(cursor)
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
        ids = [await self._history_id(ref.id) for ref in await self._api.listed(most=_ASKED)]
        # An id that is too small only causes duplicates.
        return max((one for one in ids if one), key=lambda one: (len(one), one), default=None)

    async def _history_id(self, id: str) -> str | None:
        answer = await self._api.message(id, "minimal")
        value = read_message(answer, dict[str, Any]).get("historyId") if answer is not None else None
        return str(value) if value else None

    async def _backfill(self, begun: Backfill) -> AsyncGenerator[Step]:
        # One second earlier, as Gmail does not document whether after: includes the second itself. The exact
        # time is checked in each message.
        listed = await self._search(begun.after // 1_000 - 1)
        ids = _behind(listed, begun.done_to)
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
        behind = self._points_behind(points, begin)
        yield Step((), msgspec.to_builtins(_State(history_id=reported or reached, at=now, behind=behind)))

    def _begin(self, points: Sequence[Point], now: int) -> Point:
        """Return the start of the history: with a search, a point whose messages are all indexed."""
        if not self._q:
            return points[-1]
        return next((one for one in reversed(points) if one.at <= now - INDEXED_S), points[0])

    def _points_behind(self, points: Sequence[Point], begin: Point) -> tuple[Point, ...]:
        if not self._q:
            return ()
        recent = tuple(one for one in points if one.at >= begin.at)
        return recent if len(recent) < _POINTS else (recent[0], *recent[2 - _POINTS :])

    async def _chunks(
        self, records: Sequence[Record], begin: Point
    ) -> AsyncGenerator[tuple[tuple[str, ...], str]]:
        """Yield selected ids in chunks, each with the id of the last history record in it."""
        selected = [
            [one.message for one in record.messages_added if self._may_match(one.message)]
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

    def _may_match(self, ref: Ref) -> bool:
        return ref.label_ids is None or self._labels.selects(ref.label_ids)


def _state(cursor: Cursor | None) -> _State:
    """Decode the cursor. Raises CursorLost if it is foreign."""
    if cursor is None:
        return _State()
    try:
        state = msgspec.convert(cursor, _State)
    except msgspec.ValidationError as error:
        raise CursorLost("the cursor is not one of this release") from error
    if state.backfill is None and state.history_id is None:
        raise CursorLost("the cursor is not one of this release")
    return state


def _behind(ids: Sequence[str], done: Sequence[str]) -> Sequence[str]:
    """Return the ids after the last one in *done*; all of them if none is found."""
    places = [at for at, id in enumerate(ids) if id in set(done)]
    return ids[max(places) + 1 :] if places else ids


def _ids(refs: Iterable[Ref]) -> set[str]:
    return {ref.id for ref in refs}
