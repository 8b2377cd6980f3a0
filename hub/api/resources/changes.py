"""Route of the change stream: which rows changed, on whichever node.

The id of a change names the start of the hub. So a stream that goes on after a restart begins with ``reset``,
as that of ``hub_events`` does.
"""

from collections.abc import AsyncGenerator
from typing import Annotated, Final

from msgspec import Meta

from hub.api.binding import FromHeader
from hub.api.events import EventStream
from hub.api.resource import (
    OpenStreams,
    Resource,
    View,
    route,
)
from hub.base.clock import Clock
from hub.base.roles import Scope
from protocol.ids import BootId
from storage import changes
from storage.store import Store

OPEN, RESET, CHANGE = "open", "reset", "changed"


EVERY_S: Final = 0.25  # between two looks of a reader; a subject that changes more often is sent once


AT_ONCE: Final = 500


class ChangeView(View):
    """Change of a thing: the route of its *kind* and *id* shows it as it is now, or no longer.

    *version* grows with each change, and is the same for things that changed together.
    """

    kind: str
    id: str
    version: int


class ChangesView(View):
    """Event of a stream of changes.

    *id*: for ``Last-Event-ID``. *event*: ``open`` comes first, ``reset`` instead if changes may be
    missing, so that everything has to be read again; ``changed`` bears *changes*, each thing once.
    """

    id: str
    event: str
    changes: list[ChangeView] = []


class ChangesResource(Resource):
    """Changes of agents, runs, items, devices and so on, whichever node made them."""

    name, path = "changes", "/v1/changes"

    def __init__(self, *, store: Store, clock: Clock, boot_id: BootId) -> None:
        self._store = store
        self._clock = clock
        self._boot = boot_id[-12:]  # after a restore of the database its numbers are given again

    @route("GET", "", Scope.READ)
    async def stream(
        self,
        streams: OpenStreams,
        last_event_id: Annotated[
            Annotated[str, Meta(max_length=100)] | None, FromHeader("last-event-id")
        ] = None,
    ) -> EventStream:
        """Send server-sent events about what changes from now on, or has changed after ``Last-Event-ID``.

        Open the stream first, then read what you show, and read a thing again when it has changed. Of a thing
        that changed more than once there is the last change only. A change is sent when it is committed, at
        most four times a second.
        """
        return EventStream(self.follow(last_event_id), streams=streams)

    async def follow(self, after: str | None) -> AsyncGenerator[ChangesView]:
        """Yield the changes from now on, or those behind the event *after*; see ``ChangesView``."""
        number = None if after is None else self._number(after)
        is_lost = after is not None and number is None
        if number is None:
            number = await self._store.read(changes.newest)
        yield self._view(RESET if is_lost else OPEN, number)
        while True:
            found = await self._store.read(changes.changes_after, number, user_id=self.user_id, limit=AT_ONCE)
            number = found.upto
            if not found.is_gapless:
                yield self._view(RESET, number)
            if found.changes:
                yield self._view(
                    CHANGE,
                    number,
                    [ChangeView(change.kind, change.subject, change.version) for change in found.changes],
                )
            if not found.has_more:
                await self._clock.sleep(EVERY_S)

    def _number(self, after: str) -> int | None:
        """Return the number in the id of an event; None: it is of another start of the hub."""
        boot, _, number = after.rpartition("-")
        if boot != self._boot or not (number.isascii() and number.isdigit()) or len(number) > 18:
            return None
        return int(number)

    def _view(self, event: str, number: int, found: list[ChangeView] | None = None) -> ChangesView:
        return ChangesView(id=f"{self._boot}-{number}", event=event, changes=found or [])
