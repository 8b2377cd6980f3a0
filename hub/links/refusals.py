"""Sampling of refusals for the audit log: one per network, reason and minute, with a count.

Otherwise unauthorized peers could fill the disk. The first refusal is recorded at once. Later ones are
counted, and recorded with the first refusal after the minute.
"""

from typing import Final

from hub.clock import Clock

EVERY_S: Final = 60.0
ENTRIES: Final = 100  # per minute, over all networks; above this, the network is recorded as "others"
REMEMBERED: Final = 10_000
OTHERS: Final = "others"


class RefusalSamples:
    """Selects the refusals to record, with the number of refusals that each represents."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told_at: dict[tuple[str, str], float] = {}
        self._untold: dict[tuple[str, str], int] = {}
        self._minute = 0.0
        self._in_minute = 0

    def take(self, network: str, reason: str) -> tuple[str, int] | None:
        """Count a refusal. Return the network and count to record, or None to record nothing now."""
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
        self._told_at[of] = now  # reinserted at the end, so the first entry is the oldest
        if len(self._told_at) > REMEMBERED:
            oldest = next(iter(self._told_at))
            del self._told_at[oldest]
            self._untold.pop(oldest, None)
        self._in_minute += 1
        return of[0], count
