"""Rounds: everything that is compared is measured once in each of them, in an order that changes.

A ratio is formed inside a round. Its spread over the rounds, and how many of the
rounds were quiet, is all that the rows judge.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from math import exp, log, sqrt
from statistics import fmean, median, stdev
from typing import Final, NamedTuple

from hub.base.clock import SystemChance
from tests.bench.machine import Load

ROUNDS = 5
EXTRA_ROUNDS = 2  # to make up for noisy ones
NOISY = 0.15  # share of the CPU that others used; above it a figure is no evidence

_T: Final = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)  # of Student, 95 %, for 2 rounds to 10


class Figure(NamedTuple):
    """What one measurement gave, and the share of the CPU that others used meanwhile."""

    value: float
    others: float


class Spread(NamedTuple):
    """Smallest, median and largest of several figures."""

    least: float
    middle: float
    most: float


class Ratio(NamedTuple):
    """A ratio over rounds. *is_quiet*: at least ROUNDS rounds without noise are in *spread*."""

    spread: Spread
    is_quiet: bool
    others: float  # the worst share that others used, over all the rounds
    interval: tuple[float, float] | None = None  # see ``interval_of``; none of a single round


Rounds = list[dict[str, Figure]]


def play(
    measurements: Mapping[str, Callable[[], float]],
    *,
    echo: Callable[[str], None],
    rounds: int = ROUNDS,
    extra: int = EXTRA_ROUNDS,
) -> Rounds:
    """Measure everything once a round, in a new order each time, until *rounds* rounds were quiet.

    Args:
        measurements: what to measure, by name.
        echo: gets a line about each round.
        extra: so many rounds are added at most, because of noise.
    """
    chance = SystemChance()
    played: Rounds = []
    quiet = 0
    while quiet < rounds and len(played) < rounds + extra:
        figures: dict[str, Figure] = {}
        for name in sorted(measurements, key=lambda _: chance.uniform(0, 1)):
            load = Load()
            value = measurements[name]()
            figures[name] = Figure(value, load.others())
        played.append(figures)
        worst = max(figure.others for figure in figures.values())
        quiet += worst <= NOISY
        echo(f"round {len(played)}: others used {worst:.0%} of the CPU at worst")
    return played


def ratio(rounds: Rounds, above: str, below: str) -> Ratio:
    """*above* over *below*, formed in each round; noisy rounds are left out where enough are quiet."""
    return _judge([(r[above].value / r[below].value, max(r[above].others, r[below].others)) for r in rounds])


def alone(rounds: Rounds, name: str) -> Ratio:
    """A figure that is a goal by itself."""
    return _judge([(r[name].value, r[name].others) for r in rounds])


def _judge(values: list[tuple[float, float]]) -> Ratio:
    quiet = [value for value, others in values if others <= NOISY]
    is_quiet = len(quiet) >= min(ROUNDS, len(values))
    taken = quiet if is_quiet else [value for value, _ in values]
    return Ratio(spread_of(taken), is_quiet, max(others for _, others in values), interval_of(taken))


def interval_of(ratios: Sequence[float]) -> tuple[float, float] | None:
    """Return the ends between which the true ratio is with 95 %: Student's t of the pairs' logarithms."""
    if len(ratios) < 2 or min(ratios) <= 0:
        return None
    logs = [log(ratio) for ratio in ratios]
    half = _T[min(len(logs) - 2, len(_T) - 1)] * stdev(logs) / sqrt(len(logs))
    return exp(fmean(logs) - half), exp(fmean(logs) + half)


def spread_of(values: Collection[float]) -> Spread:
    """Of at least one value."""
    return Spread(min(values), median(values), max(values))
