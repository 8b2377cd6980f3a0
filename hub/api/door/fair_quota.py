"""Places of which nobody may take all: a bounded number, and what each may have of it.

Whoever comes with a token gets at most half of the places, a user with many tokens
no more than one; all of them together leave a quarter free, which is the Unix socket's. So
a hub that is kept busy over TCP still answers whoever sits at its machine.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_MOST_OF_ONE: Final = 2  # half
_KEPT: Final = 4  # a quarter

STRANGER: Final = ""  # whoever came over TCP and is not known yet
UNIX: Final = None  # whoever came over a Unix socket


class Shares:
    """How many of *limit* places are taken, and by whom."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken = 0
        self._over_tcp: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._taken

    def lack(self, who: str | None) -> str | None:
        """Why *who*, a ``Principal.share``, gets no place, in words for a person; None: there is one."""
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
        """A place of *who*'s, whether or not there is one."""
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
