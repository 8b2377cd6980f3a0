"""Throttle of requests to a provider in its quota units: a token bucket, and a concurrency limit.

Each account has one, shared by all of its runs. It uses less than the provider allows.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
import msgspec

from hub.clock import Clock

MINUTE_S: Final = 60.0
SHARE: Final = 0.8  # of a provider's limit, because other clients use the account, too
BURST_S: Final = 6.0  # seconds whose units may be spent at once


class Quota(msgspec.Struct, frozen=True):
    """Provider's limits for one account: units per minute, and concurrent requests."""

    units_per_min: float = 6_000.0
    at_once: int = 4


class Throttle:
    """Limiter that enforces a quota."""

    def __init__(self, quota: Quota, clock: Clock) -> None:
        self.quota = quota
        self._clock = clock
        self._places = anyio.Semaphore(quota.at_once)
        self._rate = quota.units_per_min * SHARE / MINUTE_S
        # Time at which the bucket would be full again. A request may start BURST_S earlier, and advances it
        # (GCRA).
        self._full_at = clock.monotonic()
        self._held_until = self._full_at

    @asynccontextmanager
    async def place(self, units: float = 1.0) -> AsyncIterator[None]:
        """Wait for a free place and for *units*; hold the place inside the block."""
        async with self._places:
            now = self._clock.monotonic()
            self._full_at = max(self._full_at, now) + units / self._rate
            goes_at = self._full_at - max(BURST_S, units / self._rate)
            while (wait_s := max(goes_at, self._held_until) - now) > 0:
                await self._clock.sleep(wait_s)
                now = self._clock.monotonic()
            yield

    def hold(self, seconds: float) -> None:
        """Block all requests for some seconds: after one request was asked to wait, others would be, too."""
        self._held_until = max(self._held_until, self._clock.monotonic() + seconds)
