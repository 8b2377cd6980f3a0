"""Sending of events to connected devices: subscriptions, numbering, and limits of unsent ones.

Each connection numbers its events. An event that could not be sent leaves a gap in the numbers, so that the
device detects the loss and requests the state again. Events are neither repeated nor kept for a disconnected
device. A device that does not read loses events, but keeps its connection. ``hub.app.device_news`` decides
which devices an event is for.
"""

import math
import operator
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Final

import anyio
from anyio.abc import TaskStatus

from hub.base.clock import Clock
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.periodic_loop import PeriodicLoop
from hub.links.device_link import DeviceLink
from hub.links.roster import Roster
from protocol.coordination import Event, EventName
from protocol.errors import CodedError, DeliveryError, ErrorCode, LinkLost, LocalProtocolError
from protocol.frame import Parameters
from protocol.ids import DeviceId, UserId

log = Channel(__name__)

WAITING_EVENTS: Final = 256  # per device, until the end of one turn of the event loop
# per device; above this it gets no events, because calls need the rest of the buffer
UNSENT_BYTES: Final = 256 * 1024
EVERYTHING: Final = "*"
ALL_OF: Final = ".*"  # suffix of a name: all events with this prefix


class _Subscriber:
    """Event subscriptions and queue of one connection."""

    __slots__ = ("events", "link", "seq", "waiting")

    def __init__(self, link: DeviceLink) -> None:
        self.link = link
        self.seq = 0  # of the last event, sent or lost
        self.events: set[EventName] = set()
        self.waiting: deque[Event] = deque()


class DeviceEvents:
    """Events for the connected devices that subscribed to them."""

    def __init__(self, roster: Roster, *, clock: Clock, metrics: Metrics) -> None:
        self.loop = PeriodicLoop(clock)
        self.most = WAITING_EVENTS  # queued events per device
        self._roster = roster
        self._metrics = metrics
        # devices that were queried since their connection
        self._subscribers: dict[DeviceId, _Subscriber] = {}
        self._by_event: dict[EventName, set[DeviceId]] = {event: set() for event in EventName}
        self._due: deque[_Subscriber] = deque()

    def queue(self, device_id: DeviceId, event: EventName, data: Parameters) -> bool:
        """Queue *event* for a device without waiting. Call it after the commit of the change.

        Returns:
            True if the event will be sent: the device is connected and subscribed, and its queue has room.
        """
        subscriber = self._subscriber(device_id)
        if subscriber is None or event not in subscriber.events:
            return False
        subscriber.seq += 1
        if len(subscriber.waiting) >= self.most:
            self._lose(subscriber, event, f"{self.most} wait already (device_events)")
            return False
        if not subscriber.waiting:
            self._due.append(subscriber)
        subscriber.waiting.append(Event(event=event, seq=subscriber.seq, data=data))
        self.loop.wake()
        return True

    def skip(self, device_id: DeviceId, event: EventName) -> None:
        """Skip a number, so that the device detects a lost event whose data is no longer available."""
        subscriber = self._subscriber(device_id)
        if subscriber is not None and event in subscriber.events:
            subscriber.seq += 1

    def subscribe(self, link: DeviceLink, names: Collection[str]) -> tuple[EventName, ...]:
        """Subscribe the connection to events: names, ``run.*`` or ``*``. Return all its subscriptions.

        Raises:
            CodedError (BAD_PARAMS): a name does not exist; no subscription was changed.
        """
        return self._change(link, names, operator.or_)

    def unsubscribe(self, link: DeviceLink, names: Collection[str]) -> tuple[EventName, ...]:
        """Remove subscriptions of the connection: names, ``run.*`` or ``*``. Return those that are left.

        Raises:
            CodedError (BAD_PARAMS): a name does not exist; no subscription was changed.
        """
        return self._change(link, names, operator.sub)

    def _change(
        self,
        link: DeviceLink,
        names: Collection[str],
        combine: Callable[[set[EventName], set[EventName]], set[EventName]],
    ) -> tuple[EventName, ...]:
        found = {event for name in names for event in _named(name)}
        subscriber = self._subscriber(link.device_id)
        if subscriber is None or subscriber.link is not link:
            return ()  # the connection has ended meanwhile
        self._set_events(subscriber, combine(subscriber.events, found))
        return tuple(sorted(subscriber.events))

    def subscribers(self, event: EventName) -> list[DeviceId]:
        """Return the connected devices subscribed to *event*, out of those queried since they connected."""
        return [
            device_id for device_id in sorted(self._by_event[event]) if self.is_subscribed(device_id, event)
        ]

    def user_of(self, device_id: DeviceId) -> UserId | None:
        """Return the user of a connected device, or None."""
        subscriber = self._subscriber(device_id)
        return None if subscriber is None else subscriber.link.user_id

    def is_subscribed(self, device_id: DeviceId, event: EventName) -> bool:
        """Return True if the device is connected and subscribed to *event*."""
        subscriber = self._subscriber(device_id)
        return subscriber is not None and event in subscriber.events

    def has_room(self, device_id: DeviceId) -> bool:
        """Return True if an event for the device would not be lost: it reads, and its queue has room."""
        subscriber = self._subscriber(device_id)
        waiting = 0 if subscriber is None else len(subscriber.waiting)
        return waiting < self.most and self._reads(device_id)

    def _reads(self, device_id: DeviceId) -> bool:
        return self._roster.unsent_bytes(device_id) <= UNSENT_BYTES

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Send queued events until cancelled."""
        task_status.started()
        await self.loop.serve(self._send_due, of="device events", every_s=math.inf)

    async def _send_due(self) -> None:
        while self._due:
            self.loop.work()
            await self._send_all(self._due.popleft())

    async def _send_all(self, subscriber: _Subscriber) -> None:
        while subscriber.waiting:
            event = subscriber.waiting.popleft()
            if not self._reads(subscriber.link.device_id):
                self._lose(subscriber, event.event, f"more than {UNSENT_BYTES} bytes are unsent")
                continue
            try:
                await subscriber.link.send(event)
            except LinkLost:
                subscriber.waiting.clear()  # no recipient is left
            except (DeliveryError, LocalProtocolError) as exc:  # the queue is full, or the event is too large
                self._lose(subscriber, event.event, str(exc))

    def _lose(self, subscriber: _Subscriber, event: str, why: str) -> None:
        self._metrics.limits_reached.labels("device_events").inc()
        log.warning("event.lost", of=event, why=why, device_id=subscriber.link.device_id)

    def _subscriber(self, device_id: DeviceId) -> _Subscriber | None:
        """Return the subscriptions of the device's current connection, or None if it is not connected."""
        link = self._roster.find(device_id)
        subscriber = self._subscribers.get(device_id)
        if subscriber is not None and subscriber.link is link:
            return subscriber
        self._forget(device_id)
        if link is None:
            return None
        if len(self._subscribers) >= 2 * len(self._roster) + 64:  # most of them are disconnected
            for disconnected in [id for id in self._subscribers if self._roster.find(id) is None]:
                self._forget(disconnected)
        subscriber = self._subscribers[device_id] = _Subscriber(link)
        self._set_events(subscriber, {event for event in EventName if event in link.capabilities})
        return subscriber

    def _forget(self, device_id: DeviceId) -> None:
        subscriber = self._subscribers.pop(device_id, None)
        if subscriber is not None:
            self._set_events(subscriber, set())

    def _set_events(self, subscriber: _Subscriber, events: set[EventName]) -> None:
        for event in subscriber.events - events:
            self._by_event[event].discard(subscriber.link.device_id)
        for event in events - subscriber.events:
            self._by_event[event].add(subscriber.link.device_id)
        subscriber.events = events


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
        raise CodedError(
            ErrorCode.BAD_PARAMS,
            f"events: there is no event {name!r}; there are {', '.join(sorted(EventName))},"
            " all of one kind as in run.*",
        )
    return (EventName(name),)
