"""How often a provider may be asked, in its own units: a bucket that fills steadily, and places.

One for each account, shared by all runs that read it. Cautious: it takes less than the provider allows.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
import msgspec

from hub.clock import Clock

MINUTE_S: Final = 60.0
SHARE: Final = 0.8  # of what a provider allows: others use the account, too
BURST_S: Final = 6.0  # what comes in so long may be spent at once


class Quota(msgspec.Struct, frozen=True):
    """What a provider allows one account: units in a minute, and requests at once."""

    units_per_min: float = 6_000.0
    at_once: int = 4


class Throttle:
    """Keeps to a quota."""

    def __init__(self, quota: Quota, clock: Clock) -> None:
        self.quota = quota
        self._clock = clock
        self._places = anyio.Semaphore(quota.at_once)
        self._rate = quota.units_per_min * SHARE / MINUTE_S
        # When the bucket would be full again: who asks may go BURST_S before it, and moves it on (GCRA).
        self._full_at = clock.monotonic()
        self._held_until = self._full_at

    @asynccontextmanager
    async def place(self, units: float = 1.0) -> AsyncIterator[None]:
        """Wait for a place and for *units*; the place is held inside the block."""
        async with self._places:
            now = self._clock.monotonic()
            self._full_at = max(self._full_at, now) + units / self._rate
            goes_at = self._full_at - max(BURST_S, units / self._rate)
            while (wait_s := max(goes_at, self._held_until) - now) > 0:
                await self._clock.sleep(wait_s)
                now = self._clock.monotonic()
            yield

    def hold(self, seconds: float) -> None:
        """Let nobody through for so long: one was told to wait, and the others would be told the same."""
        self._held_until = max(self._held_until, self._clock.monotonic() + seconds)
