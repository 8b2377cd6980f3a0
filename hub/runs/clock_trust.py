"""Whether the wall clock may be believed: one look at a wrong one would end runs that have time left."""

from typing import Final

from hub.clock import Clock

JUMP_S: Final = 2.0  # apart from the monotonic clock, between two looks
STEADY_S: Final = 600.0  # without a jump, from the start on


class ClockTrust:
    """Compares the wall clock with the monotonic one at each look."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._apart_s = self._now_apart_s()
        self._steady_at = clock.monotonic() + STEADY_S

    def is_steady(self) -> bool:
        """Whether the wall clock has gone on evenly for a while."""
        apart_s = self._now_apart_s()
        if abs(apart_s - self._apart_s) > JUMP_S:
            self._steady_at = self._clock.monotonic() + STEADY_S
        self._apart_s = apart_s
        return self._clock.monotonic() >= self._steady_at

    def _now_apart_s(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()
