"""What a test lets go wrong with requests, and the requests that came."""

from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

When = Literal["before", "after", "never", "refused", "answered"]


@dataclass
class Fault:
    """What goes wrong with the next request of a method.

    *when*: "before": the socket breaks and nothing was done; "after": it was done, and the socket breaks
    instead of the answer; "never": it was done, and no answer comes; "refused" and "answered": it was not
    done, and *error* is the error or the payload of the answer.
    """

    when: When
    error: Any = None


class Faults:
    """What is to go wrong, in its order, by method."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Fault]] = {}

    def add(self, method: str, *faults: Fault) -> None:
        self._queues.setdefault(method, deque()).extend(faults)

    def next(self, method: str) -> Fault | None:
        """What goes wrong with this request, once."""
        for name in (method, "*"):
            if queue := self._queues.get(name):
                return queue.popleft()
        return None


@dataclass
class Asked:
    """A request that came."""

    method: str
    params: dict[str, Any]
    traceparent: str | None
    boot_id: str
