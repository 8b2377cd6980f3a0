"""Estimate of how many items a model misses, by length of the text.

A model may overlook more in a longer text. The share found is fitted by the highest likelihood of all
observations as ``base * exp(-(length / scale) ** power)``. With a large scale the length does not matter; the
power tells a gradual decline from a sudden one. So each length that was measured contributes to all others.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

_BIN: Final = 1.1  # ratio of the lengths that are counted together


_POWERS: Final = (0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0, 9.0)


_SCALES: Final = tuple(100 * 1.3**step for step in range(50))  # tokens; the last is so large that none matter


_FINE: Final = 1.05  # ratio of the scales that are tried around the best one


_FINE_STEPS: Final = range(-5, 6)


_STEPS: Final = 20  # of the search for the base


_EQUALLY: Final = 1e-6  # likely


_MIN_SHARE: Final = 1e-9  # of a label that was found nonetheless


class Observation(NamedTuple):
    """Label in a text of *length* tokens that a model read."""

    length: int
    is_found: bool


class Curve(NamedTuple):
    """Fitted share of labels found."""

    base: float
    scale: float
    power: float

    def share(self, length: float) -> float:
        """Return the share found in texts of this length."""
        return self.base * _fading(length, self.scale, self.power)


class _Bin(NamedTuple):
    length: float
    found: int
    overlooked: int


def fit(observations: Iterable[Observation]) -> Curve:
    """Return the most likely curve. Without observations, everything is found."""
    bins = _binned(observations)
    if not bins:
        return Curve(1.0, _SCALES[-1], 1.0)
    # The largest scale comes first: of equally likely curves, that without an influence of the length counts.
    coarse = _best(bins, reversed(_SCALES), _POWERS)
    scales = (coarse.scale * _FINE**step for step in reversed(_FINE_STEPS))
    return _best(bins, scales, [power for power in _POWERS if 0.5 <= power / coarse.power <= 2])


def _best(bins: Sequence[_Bin], scales: Iterable[float], powers: Sequence[float]) -> Curve:
    """Return the most likely of the curves with these scales and powers."""
    best, highest = Curve(0.0, 1.0, 1.0), -math.inf
    for scale in scales:
        for power in powers:
            fading = [_fading(bin_.length, scale, power) for bin_ in bins]
            base = _best_base(bins, fading)
            likelihood = _likelihood(bins, fading, base)
            if likelihood > highest + _EQUALLY:
                best, highest = Curve(base, scale, power), likelihood
    return best


def _fading(length: float, scale: float, power: float) -> float:
    return math.exp(-((length / scale) ** power))


def _binned(observations: Iterable[Observation]) -> list[_Bin]:
    counts: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
    for length, is_found in observations:
        count = counts[round(math.log(max(length, 1), _BIN))]
        count[0] += length
        count[1 if is_found else 2] += 1
    return [_Bin(total / (yes + no), yes, no) for _, (total, yes, no) in sorted(counts.items())]


def _best_base(bins: Sequence[_Bin], fading: Sequence[float]) -> float:
    """Return the most likely base for a given decline; the likelihood has one maximum."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        slope = sum(
            bin_.found / max(middle, _MIN_SHARE)
            - bin_.overlooked * share / max(1 - middle * share, _MIN_SHARE)
            for bin_, share in zip(bins, fading, strict=True)
        )
        low, high = (middle, high) if slope > 0 else (low, middle)
    return (low + high) / 2


def _likelihood(bins: Sequence[_Bin], fading: Sequence[float], base: float) -> float:
    return sum(
        bin_.found * math.log(max(base * share, _MIN_SHARE))
        + bin_.overlooked * math.log(max(1 - base * share, _MIN_SHARE))
        for bin_, share in zip(bins, fading, strict=True)
    )
