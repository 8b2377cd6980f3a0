"""Share of a text's labels that a model finds, by the length of the text."""

import math
from collections.abc import Callable

import pytest

from hub.lab.miss_rate import Observation, fit

LENGTHS = (300, 500, 800, 1_300, 2_100, 3_400, 5_500, 9_000)


def observations(share: Callable[[float], float], *, each: int = 200) -> list[Observation]:
    """So many labels of each length, of which exactly that share is found."""
    return [
        Observation(length, number < round(each * share(length)))
        for length in LENGTHS
        for number in range(each)
    ]


@pytest.mark.parametrize(
    "share",
    [
        lambda length: 1.0,
        lambda length: 0.9,
        lambda length: 0.97 * math.exp(-length / 8_000),
        lambda length: math.exp(-((length / 4_000) ** 2)),
        lambda length: max(0.0, 0.99 - length / 12_000),
    ],
    ids=["all", "ninety", "exponential", "late", "linear"],
)
def test_found_share_is_interpolated_for_unobserved_lengths(share: Callable[[float], float]) -> None:
    curve = fit(observations(share))
    for length in (400, 700, 1_000, 1_700, 3_000, 7_000):
        assert curve.share(length) == pytest.approx(share(length), abs=0.03)


def test_fitted_share_is_1_without_observations_and_constant_for_constant_data() -> None:
    curve = fit(observations(lambda length: 0.85))
    assert (curve.share(9_000) / curve.share(300), fit([]).share(10_000)) == pytest.approx((1, 1), abs=0.001)
    assert fit(observations(lambda length: 0.0)).share(300) < 0.001
