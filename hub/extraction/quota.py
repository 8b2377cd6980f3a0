"""So many requests or tokens in a span of time, and how many of them are there now.

Pure; times are monotonic. What is used comes back all the time, as most endpoints do it; one that
gives everything back at once, at the end of a window, is known by what it tells and waited for.
"""

from typing import Final

from hub.extraction.headers import Told

MINUTE_S: Final = 60.0

_PERIODS_S: Final = (MINUTE_S, 3_600.0, 86_400.0)  # some endpoints tell a quota of requests for a day
_TELLING_SHARE: Final = 0.02  # of the limit must be used before its way back tells anything
_ROUNDED: Final = 0.15  # so far a told time may be off: seconds are rounded, levels cut
_SAME: Final = 0.02  # so little a store's size changes from one answer to the next, rounded
_NEARLY: Final = 1e-6  # rounding of floats, not tokens


class Quota:
    """A store that is full at the beginning, gets smaller with each question and fills up again.

    Attributes:
        limit: what comes back in its period, a minute unless the endpoint tells otherwise.
    """

    def __init__(self, limit: float, now: float) -> None:
        self.limit = limit
        self._size = limit  # when it is full; some endpoints let nobody save up a whole minute
        self._level = limit  # below nothing: more was taken than was there
        self._at = now
        self._period_s = MINUTE_S
        self._full_at: float | None = None  # of a window: nothing comes back before its end
        self._told_size: float | None = None  # as the last answer had it
        self._taken = 0.0  # since the last answer

    def wait_s(self, amount: float, now: float, pace: float) -> float:
        """How long until *amount* is there; 0.0 when it is. More than fits counts as all that fits.

        Args:
            pace: above 0 and up to 1; the share of what comes back that is counted on.
        """
        self._refill(now, pace)
        missing = min(amount, self._size) - self._level
        if missing <= _NEARLY:
            return 0.0
        if self._full_at is not None:
            return max(0.0, self._full_at - now)
        return missing / (self._rate * pace)

    def take(self, amount: float) -> None:
        """Use *amount*, whether it is there or not."""
        amount = min(amount, self._size)
        self._level -= amount
        self._taken += amount

    def give_back(self, taken: float, used: float) -> None:
        """Of *taken* only *used* was used; or more."""
        self._level = min(self._size, self._level + min(taken, self._size) - used)

    def hear(self, told: Told, *, later: float, now: float) -> None:
        """Believe the endpoint.

        Args:
            later: what was taken after the question that *told* came with was sent, and is not counted in it.
        """
        # What came back while the answer was under way is left out: too little believed costs a
        # standing reserve, too much costs a refusal.
        self.limit = told.limit
        self._level = told.remaining - later
        self._at, self._taken = now, 0.0
        used = told.limit - told.remaining
        if told.reset_s is None or used < max(2.0, _TELLING_SHARE * told.limit):
            return
        for period_s in _PERIODS_S:
            if _is_near(told.reset_s * told.limit / period_s, used, _ROUNDED):
                self._size, self._period_s, self._full_at = told.limit, period_s, None
                return
        size, before = told.remaining + told.reset_s * told.limit / MINUTE_S, self._told_size
        self._told_size = size
        self._size = min(size, told.limit)  # of a window this is too little, until the next answer
        if before is not None and size < told.limit and _is_near(size, before, _SAME):
            self._period_s, self._full_at = MINUTE_S, None
        else:
            self._full_at = now + told.reset_s

    def hear_refusal(self, amount: float, after_s: float, now: float, pace: float) -> None:
        """There will be room for *amount* in *after_s* seconds, and not before."""
        self._refill(now, pace)
        self._level = min(self._level, min(amount, self._size) - after_s * self._rate * pace)

    @property
    def _rate(self) -> float:
        """What comes back in a second."""
        return self.limit / self._period_s

    def _refill(self, now: float, pace: float) -> None:
        if self._full_at is None:
            self._level = min(self._size, self._level + max(0.0, now - self._at) * self._rate * pace)
        elif now >= self._full_at:
            self._level, self._full_at = self._size - self._taken, None
        self._at = max(self._at, now)


def _is_near(number: float, other: float, share: float) -> bool:
    return abs(number - other) <= share * other
