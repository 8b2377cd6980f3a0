"""Token buckets: so much in one go, and from then on so much a second."""

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

REMEMBERED: Final = 10_000  # the one that was used longest ago is forgotten for a new one
_NOTHING_S: Final = 1e-9  # what a sum of fractions may be off by


class Buckets(Generic[Key]):
    """One bucket for each key, full at first."""

    def __init__(self, *, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._full_at: dict[Key, float] = {}  # when each is full again; the one used last comes last

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Key, now: float, *, at_once: int, per_s: float) -> float:
        """Take one out of the bucket of *key*; 0.0, or for how many seconds there is none.

        Args:
            at_once: what a bucket holds.
            per_s: what comes back into it in a second.
        """
        full_at = max(self._full_at.pop(key, now), now)
        # A bucket out of which n were taken is full again in n / per_s.
        missing_s = full_at - now - (at_once - 1) / per_s
        if missing_s > _NOTHING_S:
            self._full_at[key] = full_at
            return missing_s
        self._full_at[key] = full_at + 1 / per_s
        if len(self._full_at) > self._remembered:
            del self._full_at[next(iter(self._full_at))]
        return 0.0
