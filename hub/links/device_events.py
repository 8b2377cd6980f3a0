"""Events to devices: what a device subscribed to, or can do something with, told over its connection.

Each connection has numbers of its own. An event that could not be sent takes its number with
it, so that the device sees the gap and asks for the state again: nothing is repeated, nothing
is kept for a device that is away. A device that does not read loses events, never its connection.
"""

from collections import deque
from collections.abc import Collection, Mapping
from typing import Final

import anyio
from anyio.abc import TaskStatus

from hub.clock import Clock
from hub.links.link import DeviceLink
from hub.links.roster import Roster
from hub.log import Channel
from hub.metrics import Metrics
from hub.turns import Turns
from protocol.coordination import Event, EventName
from protocol.errors import DeliveryError, DeviceGone, ErrorCode, HubError, LocalProtocolError
from protocol.frame import Parameters
from protocol.ids import DeviceId, UserId

log = Channel(__name__)

WAITING_EVENTS: Final = 256  # of one device, for the end of one loop turn; [limits] device_events
UNSENT_BYTES: Final = 256 * 1024  # of one device, beyond which it gets no events: calls need the rest
EVERYTHING: Final = "*"
ALL_OF: Final = ".*"  # at the end of a name: every event that begins so


class UnknownEvent(HubError):
    """There is no event of that name."""

    code = ErrorCode.BAD_PARAMS

    def __init__(self, name: str) -> None:
        known = ", ".join(sorted(EventName))
        super().__init__(
            f"events: there is no event {name!r}; there are {known}, all of one kind as in run.*"
        )
        self.name = name


class _Hearer:
    """What one connection of a device hears."""

    __slots__ = ("link", "seq", "waiting", "wanted")

    def __init__(self, link: DeviceLink) -> None:
        self.link = link
        self.seq = 0  # of the last event that was told, or lost
        self.wanted: set[EventName] = set()
        self.waiting: deque[Event] = deque()


class DeviceEvents:
    """Tells the devices that are connected what they want to hear."""

    def __init__(self, roster: Roster, *, clock: Clock, metrics: Metrics) -> None:
        self.turns = Turns(clock)
        self.most = WAITING_EVENTS  # that may wait for one device
        self._roster = roster
        self._metrics = metrics
        self._hearers: dict[DeviceId, _Hearer] = {}  # of each device that anybody asked about
        self._wanting: dict[EventName, set[DeviceId]] = {event: set() for event in EventName}
        self._due: deque[_Hearer] = deque()
        self._arrived = anyio.Event()

    def tell(self, device_id: DeviceId, event: EventName, data: Parameters) -> bool:
        """Tell a device of *event*. Returns at once; to be called after the commit of what it tells.

        Returns:
            Whether it will be sent: the device is connected and wants to hear it. One that is
            not, or that has too many waiting, is told nothing; nobody need look.
        """
        hearer = self._hearer(device_id)
        if hearer is None or event not in hearer.wanted:
            return False
        hearer.seq += 1
        if len(hearer.waiting) >= self.most:
            self._lose(hearer, event, f"{self.most} wait already (device_events)")
            return False
        if not hearer.waiting:
            self._due.append(hearer)
        hearer.waiting.append(Event(event=event, seq=hearer.seq, data=data))
        self._arrived.set()
        return True

    def skip(self, device_id: DeviceId, event: EventName) -> None:
        """Let the device see a gap: something of this name happened that nobody can tell any more."""
        hearer = self._hearer(device_id)
        if hearer is not None and event in hearer.wanted:
            hearer.seq += 1

    def subscribe(self, link: DeviceLink, names: Collection[str]) -> tuple[EventName, ...]:
        """Let the connection hear these events too: names, ``run.*`` or ``*``. All that it hears now.

        Raises:
            UnknownEvent: one of them does not exist; nothing was changed.
        """
        found = {event for name in names for event in _named(name)}
        hearer = self._hearer(link.device_id)
        if hearer is None or hearer.link is not link:
            return ()  # the connection has ended meanwhile
        self._want(hearer, hearer.wanted | found)
        return tuple(sorted(hearer.wanted))

    def unsubscribe(self, link: DeviceLink, names: Collection[str]) -> tuple[EventName, ...]:
        """Let the connection no longer hear these events, or none for ``*``. All that it hears now.

        Raises:
            UnknownEvent: one of them does not exist; nothing was changed.
        """
        found = {event for name in names for event in _named(name)}
        hearer = self._hearer(link.device_id)
        if hearer is None or hearer.link is not link:
            return ()
        self._want(hearer, hearer.wanted - found)
        return tuple(sorted(hearer.wanted))

    def wanted(self, event: EventName) -> list[DeviceId]:
        """The connected devices that hear *event*; of those alone that somebody asked about before."""
        return [device_id for device_id in sorted(self._wanting[event]) if self.hears(device_id, event)]

    def user_of(self, device_id: DeviceId) -> UserId | None:
        """Whose a connected device is."""
        hearer = self._hearer(device_id)
        return None if hearer is None else hearer.link.user_id

    def hears(self, device_id: DeviceId, event: EventName) -> bool:
        """Whether the device is connected and wants to hear *event*."""
        hearer = self._hearer(device_id)
        return hearer is not None and event in hearer.wanted

    def has_room(self, device_id: DeviceId) -> bool:
        """Whether the device reads what it is sent, and one more may wait: it would not be lost just now."""
        hearer = self._hearer(device_id)
        waiting = 0 if hearer is None else len(hearer.waiting)
        return waiting < self.most and self._reads(device_id)

    def _reads(self, device_id: DeviceId) -> bool:
        return self._roster.unsent_bytes(device_id) <= UNSENT_BYTES

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Send what was told until cancelled."""
        task_status.started()
        while True:
            self.turns.wait()
            await self._arrived.wait()
            self._arrived = anyio.Event()
            while self._due:
                self.turns.work()
                await self._send_all(self._due.popleft())

    async def _send_all(self, hearer: _Hearer) -> None:
        while hearer.waiting:
            event = hearer.waiting.popleft()
            if not self._reads(hearer.link.device_id):
                self._lose(hearer, event.event, f"more than {UNSENT_BYTES} bytes are unsent")
                continue
            try:
                await hearer.link.send(event)
            except DeviceGone:
                hearer.waiting.clear()  # nobody is there to miss it
            except (DeliveryError, LocalProtocolError) as exc:  # the queue is full, or it is too large
                self._lose(hearer, event.event, str(exc))

    def _lose(self, hearer: _Hearer, event: str, why: str) -> None:
        self._metrics.limits_reached.labels("device_events").inc()
        log.warning("event.lost", of=event, why=why, device_id=hearer.link.device_id)

    def _hearer(self, device_id: DeviceId) -> _Hearer | None:
        """Of the device's connection; one that has ended is forgotten."""
        link = self._roster.find(device_id)
        hearer = self._hearers.get(device_id)
        if hearer is not None and hearer.link is link:
            return hearer
        self._forget(device_id)
        if link is None:
            return None
        if len(self._hearers) >= 2 * len(self._roster) + 64:  # most of them have gone
            for gone in [id for id in self._hearers if self._roster.find(id) is None]:
                self._forget(gone)
        hearer = self._hearers[device_id] = _Hearer(link)
        self._want(hearer, {event for event in EventName if event in link.capabilities})
        return hearer

    def _forget(self, device_id: DeviceId) -> None:
        hearer = self._hearers.pop(device_id, None)
        if hearer is not None:
            self._want(hearer, set())

    def _want(self, hearer: _Hearer, wanted: set[EventName]) -> None:
        for event in hearer.wanted - wanted:
            self._wanting[event].discard(hearer.link.device_id)
        for event in wanted - hearer.wanted:
            self._wanting[event].add(hearer.link.device_id)
        hearer.wanted = wanted


_BY_PREFIX: Final[Mapping[str, tuple[EventName, ...]]] = {
    prefix: tuple(event for event in EventName if event.partition(".")[0] == prefix)
    for prefix in {event.partition(".")[0] for event in EventName}
}


def _named(name: str) -> tuple[EventName, ...]:
    if name == EVERYTHING:
        return tuple(EventName)
    if name.endswith(ALL_OF) and name.removesuffix(ALL_OF) in _BY_PREFIX:
        return _BY_PREFIX[name.removesuffix(ALL_OF)]
    if name not in set(EventName):
        raise UnknownEvent(name)
    return (EventName(name),)
