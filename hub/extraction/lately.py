"""What happened within the last so many seconds. Pure."""

from collections import deque


class Lately:
    """How many there were, and how much they came to; what is older than *seconds* is forgotten."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: deque[tuple[float, float]] = deque()
        self._total = 0.0

    def add(self, amount: float, now: float) -> None:
        """One more, at *now*."""
        self._forget(now)
        self._seen.append((now, amount))
        self._total += amount

    def count(self, now: float) -> int:
        """How many there were."""
        self._forget(now)
        return len(self._seen)

    def total(self, now: float) -> float:
        """What they came to."""
        self._forget(now)
        return self._total

    def _forget(self, now: float) -> None:
        while self._seen and now - self._seen[0][0] >= self._seconds:
            self._total -= self._seen.popleft()[1]
