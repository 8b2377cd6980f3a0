"""Which refusals are told to the audit: of one network and one reason at most one a minute, with a count.

Whoever knocks without a right could otherwise fill the disk. The first is told at
once; those that follow are counted and told with the next one after the minute.
"""

from typing import Final

from hub.clock import Clock

EVERY_S: Final = 60.0
ENTRIES: Final = 100  # a minute, of all networks; a crowd is told of in the name of all others
REMEMBERED: Final = 10_000
OTHERS: Final = "others"


class RefusalSamples:
    """Says of each refusal whether it is to be told, and for how many it stands."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told_at: dict[tuple[str, str], float] = {}
        self._untold: dict[tuple[str, str], int] = {}
        self._minute = 0.0
        self._in_minute = 0

    def take(self, network: str, reason: str) -> tuple[str, int] | None:
        """One more refusal. What to tell: the network and how many; ``None``: nothing now."""
        now = self._clock.monotonic()
        if now - self._minute >= EVERY_S:
            self._minute, self._in_minute = now, 0
        is_crowded = self._in_minute >= ENTRIES
        of = (OTHERS, reason) if is_crowded else (network, reason)
        count = self._untold.pop(of, 0) + 1
        told_at = self._told_at.get(of)
        if told_at is not None and now - told_at < EVERY_S:
            self._untold[of] = count
            return None
        self._told_at.pop(of, None)
        self._told_at[of] = now  # at the end: the others are older
        if len(self._told_at) > REMEMBERED:
            oldest = next(iter(self._told_at))
            del self._told_at[oldest]
            self._untold.pop(oldest, None)
        self._in_minute += 1
        return of[0], count
