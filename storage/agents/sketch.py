"""Sketch of many values for percentiles with a known relative error.

The magnitude of a value selects its bin: bin *i* holds values in ``(BASE**(i-1), BASE**i]``. So the middle of
a bin differs by at most ``ERROR`` of the value, however many values there are and however they spread.
Negative values have separate bins. Merging two sketches adds their bins, in any order, with the same result.

A sketch has at most ``MOST_BINS`` bins. A sketch that would need more joins all its bins in pairs and becomes
coarser: its ``level`` grows, and ``error`` returns the new bound. That happens only for values that lie
densely over seven powers of ten.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, Self

ERROR: Final = 1 / 128  # relative, at level 0
BASE: Final = (1 + ERROR) / (1 - ERROR)
MOST_BINS: Final = 1_024  # a row of about 8 kB at worst
TINY: Final = 1e-100  # smaller magnitudes count as zero

_LOG_BASE: Final = math.log(BASE)


class Sketch:
    """Histogram of values over the bins."""

    def __init__(self, level: int = 0) -> None:
        self.level = level  # each level joins the bins of the previous level in pairs
        self._zeros = 0
        self._positive: Counter[int] = Counter()
        self._negative: Counter[int] = Counter()

    def __len__(self) -> int:
        """Return the number of bins."""
        return len(self._positive) + len(self._negative) + bool(self._zeros)

    @property
    def error(self) -> float:
        """Maximum relative error of a percentile."""
        return math.tanh(_LOG_BASE * 2**self.level / 2)  # (base - 1) / (base + 1)

    def add(self, value: float) -> None:
        """Count a value."""
        if abs(value) < TINY:
            self._zeros += 1
            return
        bins = self._positive if value > 0 else self._negative
        bins[_joined(math.ceil(math.log(abs(value)) / _LOG_BASE), self.level)] += 1
        self._fit()

    def merge(self, other: "Sketch") -> None:
        """Add all counts of *other*."""
        self._coarsen(other.level)
        joins = self.level - other.level
        for mine, theirs in ((self._positive, other._positive), (self._negative, other._negative)):
            for bin, count in theirs.items():
                mine[_joined(bin, joins)] += count
        self._zeros += other._zeros
        self._fit()

    def percentile(self, percent: float) -> float | None:
        """Return the value below or at which *percent* (0 to 100) of all values lie; None if empty.

        It approximates the sorted value at position ``percent / 100 * (n - 1)``, rounded down, of all *n*
        values.
        """
        total = self._zeros + self._positive.total() + self._negative.total()
        place = math.floor(percent / 100 * max(0, total - 1))
        for value, count in self._in_order():
            if place < count:
                return value
            place -= count
        return None

    def document(self) -> dict[str, Any]:
        """Return the stored form, without empty parts.

        A bin is stored as its distance from the previous one, followed by its count.
        """
        document = {
            "level": self.level,
            "zeros": self._zeros,
            "positive": _packed(self._positive),
            "negative": _packed(self._negative),
        }
        return {name: value for name, value in document.items() if value}

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Self:
        """Restore a sketch from ``document``."""
        sketch = cls(document.get("level", 0))
        sketch._zeros = document.get("zeros", 0)
        sketch._positive = _unpacked(document.get("positive", ()))
        sketch._negative = _unpacked(document.get("negative", ()))
        return sketch

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Build a sketch of these values."""
        sketch = cls()
        for value in values:
            sketch.add(value)
        return sketch

    def _in_order(self) -> Iterator[tuple[float, int]]:
        """Iterate over the representative value of each bin, ascending, with its count."""
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
    """Return the bin that holds *bin* after joining in pairs *times* times."""
    return -(-bin >> times)  # rounded up: bins exclude their lower bound


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
