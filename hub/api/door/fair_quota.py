"""A limited number of places, shared fairly between users.

A user gets at most half of the places over TCP, however many tokens it has. All users together leave a
quarter free, which is reserved for the Unix socket: a hub that is overloaded over TCP still answers on its
own machine.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_MOST_OF_ONE: Final = 2  # half
_KEPT: Final = 4  # a quarter

STRANGER: Final = ""  # a caller over TCP that is not authenticated yet
UNIX: Final = None  # a caller over a Unix socket


class Shares:
    """Counters of the taken places out of *limit*, in total and by user."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken = 0
        self._over_tcp: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._taken

    def lack(self, who: str | None) -> str | None:
        """Return why *who*, a ``Principal.share``, gets no place, as text; None: a place is free."""
        if self._taken >= self.limit:
            return f"all {self.limit} are taken"
        if who is UNIX:
            return None
        most = self.limit - self.limit // _KEPT
        if self._over_tcp.total() >= most:
            return f"all {most} are taken that are not kept for the hub's own machine"
        half = max(1, self.limit // _MOST_OF_ONE)
        if who != STRANGER and self._over_tcp[who] >= half:
            return f"{half} are yours already, and nobody gets more"
        return None

    @contextmanager
    def taken(self, who: str | None) -> Iterator[None]:
        """Hold a place for *who*, without checking whether a place is free."""
        self._taken += 1
        if who is not UNIX:
            self._over_tcp[who] += 1
        try:
            yield
        finally:
            self._taken -= 1
            if who is not UNIX:
                self._over_tcp[who] -= 1
                if not self._over_tcp[who]:
                    del self._over_tcp[who]
