"""Queue of requests: first in, first out for each device, and round-robin over the devices."""

from collections import OrderedDict, deque
from typing import Final

from hub.links.roster import RequestReceived
from protocol.ids import DeviceId

WAITING: Final = 16  # of one device; its session takes no more than 64 that are open


class RequestQueue:
    """Fair queue of requests: other devices wait for at most one request of a busy device."""

    def __init__(self) -> None:
        self.most = WAITING  # of one device
        self._waiting: OrderedDict[DeviceId, deque[RequestReceived]] = OrderedDict()  # the next in turn first

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put(self, event: RequestReceived) -> bool:
        """Add a request. Return False, without adding it, if the device has reached its limit."""
        mine = self._waiting.setdefault(event.link.device_id, deque())
        if len(mine) >= self.most:
            return False
        mine.append(event)
        return True

    def take(self) -> RequestReceived:
        """Remove and return the next request; the devices take turns.

        Raises:
            KeyError: the queue is empty.
        """
        device_id, mine = self._waiting.popitem(last=False)
        event = mine.popleft()
        if mine:
            self._waiting[device_id] = mine
        return event
