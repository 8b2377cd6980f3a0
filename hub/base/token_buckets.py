"""Rate limiter by token buckets: a burst, then a rate per second, for each key."""

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
BUCKETS: Final = 10_000  # keys; the least recently used one is dropped for a new one
_NOTHING_S: Final = 1e-9  # tolerance for rounding errors


class Buckets(Generic[Key]):
    """Token buckets by key, full at first."""

    def __init__(self, *, remembered: int = BUCKETS) -> None:
        self._remembered = remembered
        self._full_at: dict[Key, float] = {}  # when each bucket is full again, least recently used first

    def __len__(self) -> int:
        return len(self._full_at)

    def acquire(self, key: Key, now: float, *, at_once: int, per_s: float) -> float:
        """Take a token from the bucket of *key*. Return 0.0, or the seconds until a token is available.

        Args:
            at_once: capacity of a bucket.
            per_s: tokens added per second.
        """
        full_at = max(self._full_at.pop(key, now), now)
        # With n tokens taken, a bucket is full again in n / per_s.
        missing_s = full_at - now - (at_once - 1) / per_s
        if missing_s > _NOTHING_S:
            self._full_at[key] = full_at
            return missing_s
        self._full_at[key] = full_at + 1 / per_s
        if len(self._full_at) > self._remembered:
            del self._full_at[next(iter(self._full_at))]
        return 0.0
