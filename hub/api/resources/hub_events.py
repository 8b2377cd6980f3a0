"""Route of the stream of log events: which levels and fields it shows, and how many it remembers.

The id of an event names the start of the hub. So a stream that goes on after a restart begins with ``reset``,
as that of ``changes`` does.
"""

from collections.abc import AsyncGenerator, Collection, Mapping
from typing import Annotated, Any, Final

from msgspec import Meta

from hub.api.binding import FromHeader
from hub.api.events import EventStream
from hub.api.resource import (
    Instant,
    OpenStreams,
    Resource,
    View,
    route,
)
from hub.base.clock import Clock
from hub.base.log import LogEntry, Ring
from hub.base.roles import Scope
from protocol.errors import ErrorCode
from protocol.ids import AgentId, BootId, UserId
from storage.agents import agents
from storage.devices import users
from storage.store import Store

OPEN, RESET = "open", "reset"


# The first word of an event's name; the others are about the hub's own workings.
SHOWN: Final = frozenset(
    (
        "agent",
        "agents",
        "board",
        "broadcast",
        "checkpoint",
        "device",
        "fire",
        "gateway",
        "hub",
        "invitation",
        "lock",
        "memory",
        "message",
        "pairing",
        "question",
        "run",
        "runs",
        "schedule",
        "settings",
        "soul",
        "template",
        "wake",
    )
)


EVENT_LEVELS: Final = frozenset(("info", "warning", "error"))


COUNTED: Final = "log.suppressed"


HIDDEN_FIELDS: Final = frozenset(("traceback",))


REMEMBERED: Final = 10_000  # owners, which never change


Kinds = Annotated[
    str,
    Meta(
        max_length=500,
        description="Names, or all of a kind, as in ``agent.moved,run.*``; ``run`` means the same.",
    ),
]


class EventView(View):
    """Event of a stream.

    *id*: for ``Last-Event-ID``. *event*: its stable name; ``open`` comes first on every stream, ``reset``
    means that some events are lost, so that the reader has to read the state again.
    *fields* are plain values, and ids.
    """

    id: str
    event: str
    at: Instant
    fields: dict[str, Any]


class EventsResource(Resource):
    """Events, as the log's ring has them."""

    name, path = "events", "/v1/events"

    def __init__(self, *, store: Store, ring: Ring, clock: Clock, boot_id: BootId) -> None:
        self._store = store
        self._ring = ring
        self._clock = clock
        self._boot = boot_id[-12:]  # numbers begin anew with each start of the hub
        self._owners: dict[tuple[str, str], UserId | None] = {}

    @route("GET", "", Scope.READ, errors=[ErrorCode.UNKNOWN_AGENT])
    async def stream(
        self,
        streams: OpenStreams,
        last_event_id: Annotated[
            Annotated[str, Meta(max_length=100)] | None, FromHeader("last-event-id")
        ] = None,
        events: Kinds = "",
        agent: Annotated[str, Meta(max_length=200, description="Only events of this agent.")] | None = None,
    ) -> EventStream:
        """Send server-sent events from now on, or after ``Last-Event-ID``; ``reset``: read the state again.

        Open the stream first, then read the state, so that no event is lost between the two. Events are
        those in the log: with ``[log] level = "warning"`` there are few.
        """
        kinds = {kind.strip().removesuffix(".*") for kind in events.split(",") if kind.strip()} - {""}
        if "*" in kinds:
            kinds = set()
        agent_id = (
            None if agent is None else (await self._store.read(agents.agent_called, agent, self.user_id)).id
        )
        found = self.follow(last_event_id, kinds=kinds, agent_id=agent_id)
        return EventStream(found, streams=streams)

    async def follow(
        self, after: str | None, *, kinds: Collection[str] = (), agent_id: AgentId | None = None
    ) -> AsyncGenerator[EventView]:
        """Yield events from now on, or those after the one with the id *after*.

        The first one is ``open``, or ``reset`` if the events after *after* are lost; ``reset`` comes again
        when a reader is so slow that it loses some.

        Args:
            kinds: names of events, or their first words, as ``agent`` or ``run.finished``; none: all events.
            agent_id: only events of this agent.
        """
        seq = self._ring.last if after is None else self._resumed(after)
        if seq is None:
            seq = self._ring.last
            yield self._about_the_stream(RESET, seq)
        else:
            yield self._about_the_stream(OPEN, seq)
        while True:
            await self._ring.wait(seq)
            entries = self._ring.since(seq)
            if entries[0].seq > seq + 1:  # the reader is too slow
                seq = self._ring.last
                yield self._about_the_stream(RESET, seq)
                continue
            for entry in entries:
                seq = entry.seq
                if _hides_some(entry):
                    yield self._about_the_stream(RESET, seq)
                elif _is_requested(entry, kinds, agent_id) and await self._is_shown(entry):
                    yield self._view(entry)

    def _resumed(self, after: str) -> int | None:
        """Return the number of the event *after*; None: later ones are lost, or it is of another start."""
        boot, _, number = after.rpartition("-")
        if boot != self._boot or not (number.isascii() and number.isdigit()) or len(number) > 18:
            return None
        seq = int(number)
        return seq if self._ring.first - 1 <= seq <= self._ring.last else None

    async def _is_shown(self, entry: LogEntry) -> bool:
        if entry.event.partition(".")[0] not in SHOWN or entry.level not in EVENT_LEVELS:
            return False
        return self.user_id is None or await self._is_theirs(entry.fields, self.user_id)

    async def _is_theirs(self, fields: Mapping[str, object], user_id: UserId) -> bool:
        """Return whether the event concerns things, all of which are this user's."""
        things = [(kind, str(fields[kind])) for kind in users.KINDS if fields.get(kind) is not None]
        for kind, id in things:
            if await self._owner(kind, id) != user_id:
                return False
        return bool(things)

    async def _owner(self, kind: str, id: str) -> UserId | None:
        thing = (kind, id)
        if thing not in self._owners:
            found = await self._store.read(users.find_owner, kind, id)
            if found is None:
                return None  # its row may not be written yet
            if len(self._owners) >= REMEMBERED:
                self._owners.clear()
            self._owners[thing] = found
        return self._owners[thing]

    def _view(self, entry: LogEntry) -> EventView:
        fields = {name: value for name, value in entry.fields.items() if name not in HIDDEN_FIELDS}
        return EventView.from_row(entry, id=self._id(entry.seq), fields=fields)

    def _about_the_stream(self, event: str, seq: int) -> EventView:
        return EventView(id=self._id(seq), event=event, at=self._clock.now(), fields={})

    def _id(self, seq: int) -> str:
        return f"{self._boot}-{seq}"


def _is_requested(entry: LogEntry, kinds: Collection[str], agent_id: AgentId | None) -> bool:
    if agent_id is not None and entry.fields.get("agent_id") != agent_id:
        return False
    return not kinds or any(entry.event == kind or entry.event.startswith(f"{kind}.") for kind in kinds)


def _hides_some(entry: LogEntry) -> bool:
    """Return whether the entry replaces events that were so many that the log only counted them."""
    return entry.event == COUNTED and str(entry.fields.get("of")).partition(".")[0] in SHOWN
