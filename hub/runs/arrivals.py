"""Which connected devices have been there long enough for work that nobody waits for.

A device that comes and goes would begin and drop a run each time; a thousand that
come at once would all begin in the same moment. So each settles first: for a few
seconds, longer after several connections in a row, and in a crowd by lot.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from hub.clock import Chance, Clock
from protocol.ids import DeviceId

SETTLE_S: Final = 5.0
FLAPS, FLAP_WINDOW_S, FLAP_SETTLE_S = 3, 120.0, 60.0  # so many connections in so short a time: so long
CROWD_WINDOW_S: Final = 10.0
SPREAD_EACH_S, SPREAD_CAP_S = 0.5, 60.0  # of a crowd, for each that came with it
REMEMBERED: Final = 100_000  # devices whose last connections are known; the oldest are forgotten first


class Connected(Protocol):
    """What is looked at of a link."""

    @property
    def device_id(self) -> DeviceId: ...

    @property
    def epoch(self) -> int: ...


@dataclass(slots=True)
class _Arrival:
    epoch: int
    since: datetime
    settles_at: float  # monotonic


class Arrivals:
    """Devices as they come and go, found by looking at who is there."""

    def __init__(self, *, clock: Clock, chance: Chance, settle_s: float = SETTLE_S) -> None:
        self._clock = clock
        self._chance = chance
        self.settle_s = settle_s
        self._there: dict[DeviceId, _Arrival] = {}
        self._visits: OrderedDict[DeviceId, deque[float]] = OrderedDict()
        self._crowd: deque[tuple[float, int]] = deque()  # when, and how many came then

    def look(self, links: Iterable[Connected]) -> None:
        """See who is there now. A greater epoch is a new arrival."""
        now = self._clock.monotonic()
        there = {link.device_id: link for link in links}
        for gone in self._there.keys() - there.keys():
            del self._there[gone]
        came = [
            link
            for device_id, link in there.items()
            if (known := self._there.get(device_id)) is None or known.epoch != link.epoch
        ]
        if not came:
            return
        crowd = self._crowd_with(len(came), now)
        spread_s = min(SPREAD_CAP_S, SPREAD_EACH_S * (crowd - 1))
        for link in came:
            settle_s = self.settle_s + self._chance.uniform(0.0, spread_s)
            if self._flaps(link.device_id, now):
                settle_s = max(settle_s, FLAP_SETTLE_S)
            self._there[link.device_id] = _Arrival(link.epoch, self._clock.now(), now + settle_s)

    @property
    def online(self) -> frozenset[DeviceId]:
        """All that were there at the last look."""
        return frozenset(self._there)

    def settled(self) -> frozenset[DeviceId]:
        """Those of them that have been there for long enough."""
        now = self._clock.monotonic()
        return frozenset(device for device, arrival in self._there.items() if arrival.settles_at <= now)

    def settles_in_s(self) -> float | None:
        """Until the next one has been there for long enough."""
        now = self._clock.monotonic()
        waits = [arrival.settles_at - now for arrival in self._there.values() if arrival.settles_at > now]
        return min(waits, default=None)

    def since(self, device_id: DeviceId) -> datetime | None:
        """When the device's connection was first seen."""
        arrival = self._there.get(device_id)
        return None if arrival is None else arrival.since

    def settles_at(self, device_id: DeviceId) -> datetime | None:
        """When it will have been there for long enough; ``None`` if it has, or is not there."""
        arrival = self._there.get(device_id)
        rest_s = 0.0 if arrival is None else arrival.settles_at - self._clock.monotonic()
        return self._clock.now() + timedelta(seconds=rest_s) if rest_s > 0 else None

    def _crowd_with(self, came: int, now: float) -> int:
        self._crowd.append((now, came))
        while self._crowd[0][0] < now - CROWD_WINDOW_S:
            self._crowd.popleft()
        return sum(count for _, count in self._crowd)

    def _flaps(self, device_id: DeviceId, now: float) -> bool:
        """Whether this is one connection too many in a short time; remembers it."""
        visits = self._visits.pop(device_id, None) or deque(maxlen=FLAPS)
        self._visits[device_id] = visits  # at the end: the others are older
        if len(self._visits) > REMEMBERED:
            self._visits.popitem(last=False)
        is_full = len(visits) == FLAPS and visits[0] > now - FLAP_WINDOW_S
        visits.append(now)
        return is_full
