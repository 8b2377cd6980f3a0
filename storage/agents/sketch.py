"""A sketch of many values from which their percentiles are told, by a known relative error.

The magnitude of a value says which bin it falls into: bin *i* holds those in
``(BASE**(i-1), BASE**i]``, so that the middle of a bin is off by ``ERROR`` of the value at most,
however many there are and however they spread. Negative values have bins of their own. Two
sketches are merged by adding up their bins, in any order, with the same result.

A sketch keeps ``MOST_BINS`` bins. One that would need more joins its bins in pairs, all of them,
and is that much coarser: its ``level`` grows, and ``error`` says by how much. Values have to
spread over seven powers of ten, and lie dense there, for that to happen.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, Self

ERROR: Final = 1 / 128  # of a value, at level 0
BASE: Final = (1 + ERROR) / (1 - ERROR)
MOST_BINS: Final = 1_024  # a row of some 8 kB at worst
TINY: Final = 1e-100  # what is closer to zero is taken for zero

_LOG_BASE: Final = math.log(BASE)


class Sketch:
    """How often values fell into each bin."""

    def __init__(self, level: int = 0) -> None:
        self.level = level  # each one joins the bins of the one before in pairs
        self._zeros = 0
        self._positive: Counter[int] = Counter()
        self._negative: Counter[int] = Counter()

    def __len__(self) -> int:
        """How many bins it has."""
        return len(self._positive) + len(self._negative) + bool(self._zeros)

    @property
    def error(self) -> float:
        """How far a percentile may be from the value that it stands for, as a part of that value."""
        return math.tanh(_LOG_BASE * 2**self.level / 2)  # (base - 1) / (base + 1)

    def add(self, value: float) -> None:
        """Count one more value."""
        if abs(value) < TINY:
            self._zeros += 1
            return
        bins = self._positive if value > 0 else self._negative
        bins[_joined(math.ceil(math.log(abs(value)) / _LOG_BASE), self.level)] += 1
        self._fit()

    def merge(self, other: "Sketch") -> None:
        """Count all that *other* has counted."""
        self._coarsen(other.level)
        joins = self.level - other.level
        for mine, theirs in ((self._positive, other._positive), (self._negative, other._negative)):
            for bin, count in theirs.items():
                mine[_joined(bin, joins)] += count
        self._zeros += other._zeros
        self._fit()

    def percentile(self, percent: float) -> float | None:
        """The value that *percent* of all, 0 to 100, are not above; None: it has counted nothing.

        It stands for the value at the place ``percent / 100 * (n - 1)``, rounded down, of all *n*
        in their order.
        """
        total = self._zeros + self._positive.total() + self._negative.total()
        place = math.floor(percent / 100 * max(0, total - 1))
        for value, count in self._in_order():
            if place < count:
                return value
            place -= count
        return None

    def document(self) -> dict[str, Any]:
        """As it is kept, without what is empty: bins, as distances from the last, and counts in turn."""
        told = {
            "level": self.level,
            "zeros": self._zeros,
            "positive": _packed(self._positive),
            "negative": _packed(self._negative),
        }
        return {name: value for name, value in told.items() if value}

    @classmethod
    def of_document(cls, kept: Mapping[str, Any]) -> Self:
        """What ``document`` has told."""
        sketch = cls(kept.get("level", 0))
        sketch._zeros = kept.get("zeros", 0)
        sketch._positive = _unpacked(kept.get("positive", ()))
        sketch._negative = _unpacked(kept.get("negative", ()))
        return sketch

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """A sketch of these values."""
        sketch = cls()
        for value in values:
            sketch.add(value)
        return sketch

    def _in_order(self) -> Iterator[tuple[float, int]]:
        """The value that each bin stands for, from the least to the greatest, and how often."""
        log_base = _LOG_BASE * 2**self.level
        middle = 2 / (1 + math.exp(log_base))
        for bin in sorted(self._negative, reverse=True):
            yield -math.exp(bin * log_base) * middle, self._negative[bin]
        yield 0.0, self._zeros
        for bin in sorted(self._positive):
            yield math.exp(bin * log_base) * middle, self._positive[bin]

    def _fit(self) -> None:
        while len(self) > MOST_BINS:
            self._coarsen(self.level + 1)

    def _coarsen(self, level: int) -> None:
        """Join the bins in pairs until this level is reached."""
        if level <= self.level:
            return
        self._positive = _all_joined(self._positive, level - self.level)
        self._negative = _all_joined(self._negative, level - self.level)
        self.level = level


def _joined(bin: int, times: int) -> int:
    """Where *bin* is once the bins have been joined in pairs so many times."""
    return -(-bin >> times)  # rounded up: bins are open below


def _all_joined(bins: Mapping[int, int], times: int) -> Counter[int]:
    joined: Counter[int] = Counter()
    for bin, count in bins.items():
        joined[_joined(bin, times)] += count
    return joined


def _packed(bins: Mapping[int, int]) -> list[int]:
    packed: list[int] = []
    before = 0
    for bin in sorted(bins):
        packed += (bin - before, bins[bin])
        before = bin
    return packed


def _unpacked(packed: Sequence[int]) -> Counter[int]:
    bins = accumulate(packed[::2])
    return Counter(dict(zip(bins, packed[1::2], strict=True)))
