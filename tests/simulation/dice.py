"""Chance from a seed: every draw of a simulation, the hub's own included, comes from here."""

import hashlib
from collections.abc import MutableSequence, Sequence
from typing import TypeVar

T = TypeVar("T")

_MASK = 2**64 - 1


class Dice:
    """A stream of numbers that is the same for the same seed. Also a ``hub.clock.Chance``.

    ``fork`` gives a stream of its own, so that one more draw in one place does not
    change what falls in another.
    """

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._state = int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=8).digest(), "big")

    def fork(self, name: str) -> "Dice":
        """Another stream, known by *name*."""
        return Dice(f"{self._seed}/{name}")

    def bits(self) -> int:
        """Sixty-four of them."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK  # splitmix64
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return mixed ^ (mixed >> 31)

    def below(self, count: int) -> int:
        """A whole number from 0 to *count* - 1."""
        return self.bits() % count

    def between(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return low + self.bits() % (high - low + 1)

    def uniform(self, low: float, high: float) -> float:
        """A number between *low* and *high*."""
        return low + (high - low) * ((self.bits() >> 11) / 2**53)

    def says(self, share: float) -> bool:
        """Yes in *share* of all cases."""
        return self.bits() >> 11 < share * 2**53

    def choice(self, values: Sequence[T]) -> T:
        """One of *values*."""
        return values[self.bits() % len(values)]

    def shuffle(self, values: MutableSequence[T]) -> None:
        """Bring *values* into another order, in place."""
        for last in range(len(values) - 1, 0, -1):
            other = self.bits() % (last + 1)
            values[last], values[other] = values[other], values[last]

    def token_bytes(self, count: int) -> bytes:
        """Bytes for an id."""
        return b"".join(self.bits().to_bytes(8, "big") for _ in range(-(-count // 8)))[:count]
