"""Connected devices, and whether each has been connected long enough for background work.

A device that keeps reconnecting would start and drop a run each time. A thousand devices that connect at once
would all start in the same moment. So each device has a settling time of a few seconds. It is longer after
several connections in a row, and has a random part if many devices connect together.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from hub.clock import Chance, Clock
from protocol.ids import DeviceId

# connections within a window after which a device settles for longer
FLAPS, FLAP_WINDOW_S, FLAP_SETTLE_S = 3, 120.0, 60.0
CROWD_WINDOW_S: Final = 10.0
# random settling time per device that connected in the same window, and its upper limit
SPREAD_EACH_S, SPREAD_CAP_S = 0.5, 60.0
REMEMBERED: Final = 100_000  # devices whose recent connections are kept; the oldest entries are dropped first


class Connected(Protocol):
    """Attributes of a device link that this module needs."""

    @property
    def device_id(self) -> DeviceId: ...

    @property
    def epoch(self) -> int: ...


@dataclass(slots=True)
class _Arrival:
    epoch: int
    since: datetime
    settles_at: float  # monotonic, in seconds


class Arrivals:
    """Connected devices with their settling times, updated from snapshots of the device links."""

    def __init__(self, *, clock: Clock, chance: Chance, settle_s: float) -> None:
        self._clock = clock
        self._chance = chance
        self.settle_s = settle_s
        self._connected: dict[DeviceId, _Arrival] = {}
        self._visits: OrderedDict[DeviceId, deque[float]] = OrderedDict()
        # monotonic time of an update, and number of new connections in it
        self._crowd: deque[tuple[float, int]] = deque()

    def update(self, links: Iterable[Connected]) -> None:
        """Update the connected devices from a snapshot of *links*. A new epoch is a new connection."""
        now = self._clock.monotonic()
        current = {link.device_id: link for link in links}
        for lost in self._connected.keys() - current.keys():
            del self._connected[lost]
        arrived = [
            link
            for device_id, link in current.items()
            if (known := self._connected.get(device_id)) is None or known.epoch != link.epoch
        ]
        if not arrived:
            return
        crowd = self._crowd_with(len(arrived), now)
        spread_s = min(SPREAD_CAP_S, SPREAD_EACH_S * (crowd - 1))
        for link in arrived:
            settle_s = self.settle_s + self._chance.uniform(0.0, spread_s)
            if self._flaps(link.device_id, now):
                settle_s = max(settle_s, FLAP_SETTLE_S)
            self._connected[link.device_id] = _Arrival(link.epoch, self._clock.now(), now + settle_s)

    @property
    def online(self) -> frozenset[DeviceId]:
        """Ids of the devices that were connected at the last update."""
        return frozenset(self._connected)

    def settled(self) -> frozenset[DeviceId]:
        """Return the connected devices whose settling time is over."""
        now = self._clock.monotonic()
        return frozenset(device for device, arrival in self._connected.items() if arrival.settles_at <= now)

    def settles_in_s(self) -> float | None:
        """Return the seconds until the next device has settled, or None if no device is settling."""
        now = self._clock.monotonic()
        waits = [arrival.settles_at - now for arrival in self._connected.values() if arrival.settles_at > now]
        return min(waits, default=None)

    def since(self, device_id: DeviceId) -> datetime | None:
        """Return when the device's current connection was first seen, or None if it is not connected."""
        arrival = self._connected.get(device_id)
        return None if arrival is None else arrival.since

    def settles_at(self, device_id: DeviceId) -> datetime | None:
        """Return when the device will have settled; None if it has, or is not connected."""
        arrival = self._connected.get(device_id)
        rest_s = 0.0 if arrival is None else arrival.settles_at - self._clock.monotonic()
        return self._clock.now() + timedelta(seconds=rest_s) if rest_s > 0 else None

    def _crowd_with(self, arrived: int, now: float) -> int:
        self._crowd.append((now, arrived))
        while self._crowd[0][0] < now - CROWD_WINDOW_S:
            self._crowd.popleft()
        return sum(count for _, count in self._crowd)

    def _flaps(self, device_id: DeviceId, now: float) -> bool:
        """Record a connection. Return True if the device has connected too often within the window."""
        visits = self._visits.pop(device_id, None) or deque(maxlen=FLAPS)
        self._visits[device_id] = visits  # reinserted at the end, so the first entry is the oldest
        if len(self._visits) > REMEMBERED:
            self._visits.popitem(last=False)
        is_full = len(visits) == FLAPS and visits[0] > now - FLAP_WINDOW_S
        visits.append(now)
        return is_full
