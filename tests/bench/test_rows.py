"""Tests of the verdict about a row that is compared with the last release."""

import pytest

from tests.bench.rounds import Figure, interval_of, ratio
from tests.bench.rows import NOT_SLOWER, Row, Verdict, at_least


def row(*ratios: float, others: float = 0.0) -> Row:
    rounds = [{"hub": Figure(2 * value, others), "release": Figure(2.0, others)} for value in ratios]
    return Row("29", "CPU", NOT_SLOWER, ratio(rounds, "hub", "release"), is_timed=False)


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ((0.7, 0.72, 0.69, 0.71, 0.7), Verdict.OK),
        ((1.0, 1.02, 0.99, 1.01, 1.0), Verdict.OK),
        ((1.09, 1.08, 1.09, 1.08, 1.09), Verdict.OK),
        ((1.12, 1.13, 1.12, 1.13, 1.12), Verdict.FAIL),
        ((2.2, 2.7, 2.3, 2.4, 2.5), Verdict.FAIL),
        # The median is beyond the bound, and the pairs do not exclude that the truth is not.
        ((1.12, 1.0, 1.3, 1.15, 1.05), Verdict.BELOW_GOAL),
        ((2.0,), Verdict.BELOW_GOAL),
    ],
)
def test_row_fails_when_the_whole_interval_is_a_tenth_above_the_release(
    ratios: tuple[float, ...], verdict: Verdict
) -> None:
    assert row(*ratios).verdict is verdict
    assert row(*ratios, others=0.9).verdict is verdict  # CPU time is judged on a busy machine, too


def test_row_of_a_ratio_prints_an_interval_and_row_of_a_median_prints_none() -> None:
    compared = row(1.2, 1.3, 1.25)
    assert compared.interval_text == "95 % in 1.13 to 1.38"
    assert compared._replace(goal=at_least(1.0)).interval_text == ""


def test_interval_of_pairs_contains_the_mean_and_narrows_with_more_pairs() -> None:
    few, many = interval_of([1.0, 1.1]), interval_of([1.0, 1.1] * 6)
    assert few is not None and many is not None
    assert few[0] < many[0] < 1.05 < many[1] < few[1]
    assert interval_of([1.0, 0.0]) is None
