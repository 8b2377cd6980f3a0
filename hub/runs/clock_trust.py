"""Trust in the wall clock, because a wrong wall clock would end runs before their deadline."""

from typing import Final

from hub.clock import Clock

JUMP_S: Final = 2.0  # seconds of drift from the monotonic clock between two checks
STEADY_S: Final = 600.0  # seconds without a jump, initially counted from the start


class ClockTrust:
    """Compares the wall clock with the monotonic clock at each check."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._apart_s = self._now_apart_s()
        self._steady_at = clock.monotonic() + STEADY_S

    def is_steady(self) -> bool:
        """Return True if the wall clock has not jumped for the last ten minutes."""
        apart_s = self._now_apart_s()
        if abs(apart_s - self._apart_s) > JUMP_S:
            self._steady_at = self._clock.monotonic() + STEADY_S
        self._apart_s = apart_s
        return self._clock.monotonic() >= self._steady_at

    def _now_apart_s(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()
