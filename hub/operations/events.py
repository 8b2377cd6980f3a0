"""Events, as operators follow them: those of the log that tell of what operators see."""

from collections.abc import AsyncGenerator, Collection, Mapping
from typing import Final

from hub.api.views.events import OPEN, RESET, EventView
from hub.clock import Clock, from_epoch_ms
from hub.log import LogEntry, Ring
from hub.operations.seen import Seen
from protocol.ids import AgentId, BootId, UserId
from storage.devices import owners
from storage.store import Store

# The first word of an event's name; the others are about the hub's own workings.
TOLD: Final = frozenset(
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
LEVELS: Final = frozenset(("info", "warning", "error"))
COUNTED: Final = "log.suppressed"
UNTOLD_FIELDS: Final = frozenset(("traceback",))
REMEMBERED: Final = 10_000  # owners; a thing never changes hands


class EventOperations(Seen):
    """Implements ``api.facades.events.EventFacade`` over the log's ring."""

    def __init__(self, *, store: Store, ring: Ring, clock: Clock, boot_id: BootId) -> None:
        self._store = store
        self._ring = ring
        self._clock = clock
        self._boot = boot_id[-12:]  # numbers begin anew with each start of the hub
        self._owners: dict[tuple[str, str], UserId | None] = {}

    async def follow(
        self, after: str | None, *, kinds: Collection[str] = (), agent_id: AgentId | None = None
    ) -> AsyncGenerator[EventView]:
        """Events from now on, or after that one."""
        seq = self._ring.last if after is None else self._resumed(after)
        if seq is None:
            seq = self._ring.last
            yield self._about_the_stream(RESET, seq)
        else:
            yield self._about_the_stream(OPEN, seq)
        while True:
            await self._ring.wait(seq)
            entries = self._ring.since(seq)
            if entries[0].seq > seq + 1:  # slower than what happens
                seq = self._ring.last
                yield self._about_the_stream(RESET, seq)
                continue
            for entry in entries:
                seq = entry.seq
                if _hides_some(entry):
                    yield self._about_the_stream(RESET, seq)
                elif _is_wanted(entry, kinds, agent_id) and await self._is_told(entry):
                    yield self._view(entry)

    def _resumed(self, after: str) -> int | None:
        """The number to go on from; None: what came after it is not here, or it was never told."""
        boot, _, number = after.rpartition("-")
        if boot != self._boot or not (number.isascii() and number.isdigit()) or len(number) > 18:
            return None
        seq = int(number)
        return seq if self._ring.first - 1 <= seq <= self._ring.last else None

    async def _is_told(self, entry: LogEntry) -> bool:
        if entry.event.partition(".")[0] not in TOLD or entry.level not in LEVELS:
            return False
        return self.user_id is None or await self._is_theirs(entry.fields, self.user_id)

    async def _is_theirs(self, fields: Mapping[str, object], user_id: UserId) -> bool:
        """Whether the event is about things, and all of them are this user's."""
        things = [(kind, str(fields[kind])) for kind in owners.KINDS if fields.get(kind) is not None]
        for kind, id in things:
            if await self._owner(kind, id) != user_id:
                return False
        return bool(things)

    async def _owner(self, kind: str, id: str) -> UserId | None:
        thing = (kind, id)
        if thing not in self._owners:
            found = await self._store.read(owners.find_owner, kind, id)
            if found is None:
                return None  # it may be made in this moment
            if len(self._owners) >= REMEMBERED:
                self._owners.clear()
            self._owners[thing] = found
        return self._owners[thing]

    def _view(self, entry: LogEntry) -> EventView:
        fields = {name: value for name, value in entry.fields.items() if name not in UNTOLD_FIELDS}
        return EventView(id=self._id(entry.seq), event=entry.event, at=from_epoch_ms(entry.at), fields=fields)

    def _about_the_stream(self, event: str, seq: int) -> EventView:
        return EventView(id=self._id(seq), event=event, at=self._clock.now(), fields={})

    def _id(self, seq: int) -> str:
        return f"{self._boot}-{seq}"


def _is_wanted(entry: LogEntry, kinds: Collection[str], agent_id: AgentId | None) -> bool:
    if agent_id is not None and entry.fields.get("agent_id") != agent_id:
        return False
    return not kinds or any(entry.event == kind or entry.event.startswith(f"{kind}.") for kind in kinds)


def _hides_some(entry: LogEntry) -> bool:
    """Whether it stands for events that came so often that the log only counted them."""
    return entry.event == COUNTED and str(entry.fields.get("of")).partition(".")[0] in TOLD
