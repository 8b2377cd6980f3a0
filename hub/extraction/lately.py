"""Sliding window over recent amounts. No I/O."""

from collections import deque


class Lately:
    """Count and sum of the amounts within the last *seconds*."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: deque[tuple[float, float]] = deque()
        self._total = 0.0

    def add(self, amount: float, now: float) -> None:
        """Add an amount at time *now*."""
        self._forget(now)
        self._seen.append((now, amount))
        self._total += amount

    def count(self, now: float) -> int:
        """Return the number of amounts."""
        self._forget(now)
        return len(self._seen)

    def total(self, now: float) -> float:
        """Return the sum of the amounts."""
        self._forget(now)
        return self._total

    def _forget(self, now: float) -> None:
        while self._seen and now - self._seen[0][0] >= self._seconds:
            self._total -= self._seen.popleft()[1]
