"""Seeded random numbers: the source of every draw of a simulation, including the hub's own."""

import hashlib
from collections.abc import MutableSequence, Sequence
from typing import TypeVar

T = TypeVar("T")

_MASK = 2**64 - 1


class Dice:
    """Deterministic stream of random numbers; implements ``hub.base.clock.Chance``.

    ``fork`` returns an independent stream, so that an additional draw in one place does not change the draws
    in another.
    """

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._state = int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=8).digest(), "big")

    def fork(self, name: str) -> "Dice":
        """Return an independent stream for *name*."""
        return Dice(f"{self._seed}/{name}")

    def bits(self) -> int:
        """Return 64 random bits."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK  # splitmix64
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return mixed ^ (mixed >> 31)

    def below(self, count: int) -> int:
        """Return an integer from 0 to *count* - 1."""
        return self.bits() % count

    def between(self, low: int, high: int) -> int:
        """Return an integer from *low* to *high*, both included."""
        return low + self.bits() % (high - low + 1)

    def uniform(self, low: float, high: float) -> float:
        """Return a number between *low* and *high*."""
        return low + (high - low) * ((self.bits() >> 11) / 2**53)

    def says(self, share: float) -> bool:
        """Return True with the probability *share*."""
        return self.bits() >> 11 < share * 2**53

    def choice(self, values: Sequence[T]) -> T:
        """Return one of *values*."""
        return values[self.bits() % len(values)]

    def shuffle(self, values: MutableSequence[T]) -> None:
        """Reorder *values* in place."""
        for last in range(len(values) - 1, 0, -1):
            other = self.bits() % (last + 1)
            values[last], values[other] = values[other], values[last]

    def token_bytes(self, count: int) -> bytes:
        """Return random bytes for an id."""
        return b"".join(self.bits().to_bytes(8, "big") for _ in range(-(-count // 8)))[:count]
