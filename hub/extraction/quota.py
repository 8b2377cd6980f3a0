"""Model of a quota: requests or tokens per period, and the amount available now.

No I/O; times are monotonic. Usage is assumed to be refilled continuously, as at most endpoints; a quota that
is refilled at once at the end of a window is detected by its headers, and awaited.
"""

from typing import Final

from hub.extraction.headers import Told

MINUTE_S: Final = 60.0

_PERIODS_S: Final = (MINUTE_S, 3_600.0, 86_400.0)  # some endpoints report a daily quota of requests
_TELLING_SHARE: Final = 0.02  # minimum used share of the limit from which the refill can be inferred
_ROUNDED: Final = 0.15  # tolerance for reported times, as seconds are rounded and levels truncated
_SAME: Final = 0.02  # tolerance for a constant size in successive answers
_NEARLY: Final = 1e-6  # float rounding


class Quota:
    """Store that is initially full, decreases with each question and is refilled.

    Attributes:
        limit: refill per period, which is a minute unless the endpoint reports another.
    """

    def __init__(self, limit: float, now: float) -> None:
        self.limit = limit
        self._size = limit  # capacity; some endpoints do not permit to save up a whole minute
        self._level = limit  # negative after an overdraft
        self._at = now
        self._period_s = MINUTE_S
        self._full_at: float | None = None  # end of a window, before which nothing is refilled
        self._told_size: float | None = None  # from the last answer
        self._taken = 0.0  # since the last answer

    def wait_s(self, amount: float, now: float, pace: float) -> float:
        """Return the seconds until *amount* is available; an amount above the capacity needs a full store.

        Args:
            pace: share of the refill to use, above 0 and at most 1.
        """
        self._refill(now, pace)
        missing = min(amount, self._size) - self._level
        if missing <= _NEARLY:
            return 0.0
        if self._full_at is not None:
            return max(0.0, self._full_at - now)
        return missing / (self._rate * pace)

    def take(self, amount: float) -> None:
        """Use *amount*, whether it is available or not."""
        amount = min(amount, self._size)
        self._level -= amount
        self._taken += amount

    def give_back(self, taken: float, used: float) -> None:
        """Correct a usage: of *taken*, only *used* was used, or more."""
        self._level = min(self._size, self._level + min(taken, self._size) - used)

    def hear(self, told: Told, *, later: float, now: float) -> None:
        """Set the level by the endpoint's report.

        Args:
            later: amount used after the question of this report was sent, which is not counted in it.
        """
        # Refill during the answer's transport is ignored: an underestimate leaves a small reserve, an
        # overestimate causes a refusal.
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
        self._size = min(size, told.limit)  # too small for a window, until the next answer
        if before is not None and size < told.limit and _is_near(size, before, _SAME):
            self._period_s, self._full_at = MINUTE_S, None
        else:
            self._full_at = now + told.reset_s

    def hear_refusal(self, amount: float, after_s: float, now: float, pace: float) -> None:
        """Set the level so that *amount* is available in *after_s* seconds, and not before."""
        self._refill(now, pace)
        self._level = min(self._level, min(amount, self._size) - after_s * self._rate * pace)

    @property
    def _rate(self) -> float:
        """Refill per second."""
        return self.limit / self._period_s

    def _refill(self, now: float, pace: float) -> None:
        if self._full_at is None:
            self._level = min(self._size, self._level + max(0.0, now - self._at) * self._rate * pace)
        elif now >= self._full_at:
            self._level, self._full_at = self._size - self._taken, None
        self._at = max(self._at, now)


def _is_near(number: float, other: float, share: float) -> bool:
    return abs(number - other) <= share * other
