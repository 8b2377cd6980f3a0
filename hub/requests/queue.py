"""Requests of devices that wait for their answer: each device's in their order, the devices in turns."""

from collections import OrderedDict, deque
from typing import Final

from hub.links.roster import RequestReceived
from protocol.ids import DeviceId

WAITING: Final = 16  # of one device; its session takes no more than 64 that are open


class RequestQueue:
    """A device that asks a lot waits for itself; all others wait for one of its requests at most."""

    def __init__(self) -> None:
        self.most = WAITING  # of one device
        self._waiting: OrderedDict[DeviceId, deque[RequestReceived]] = OrderedDict()  # the next in turn first

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put(self, event: RequestReceived) -> bool:
        """Add a request; false, and nothing added, where as many of its device wait as may."""
        mine = self._waiting.setdefault(event.link.device_id, deque())
        if len(mine) >= self.most:
            return False
        mine.append(event)
        return True

    def take(self) -> RequestReceived:
        """Take the next request, devices in turn.

        Raises:
            KeyError: no request waits.
        """
        device_id, mine = self._waiting.popitem(last=False)
        event = mine.popleft()
        if mine:
            self._waiting[device_id] = mine
        return event
