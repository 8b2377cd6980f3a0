import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.agents.measurements import ERROR, MOST_BINS, Sketch

PERCENTS = (0, 1, 25, 50, 75, 90, 95, 99, 99.9, 100)
VALUES = st.lists(st.floats(-1e100, 1e100).filter(lambda x: x == 0 or abs(x) >= 1e-100), min_size=1)


def exact(values: list[float], percent: float) -> float:
    return sorted(values)[math.floor(percent / 100 * (len(values) - 1))]


def error_of(sketch: Sketch, values: list[float], percent: float) -> float:
    """How far the sketch is from the exact percentile, as a part of it."""
    told, is_so = sketch.percentile(percent), exact(values, percent)
    assert told is not None
    return abs(told - is_so) / abs(is_so) if is_so else abs(told)


def spread(n: int, *, decades: float) -> list[float]:
    """So many values, as dense everywhere, from 1 on."""
    return [10 ** (decades * k / n) for k in range(n)]


@given(VALUES)
def test_a_percentile_is_within_one_part_in_a_hundred_of_the_exact_one(values: list[float]) -> None:
    sketch = Sketch.of(values)
    assert max(error_of(sketch, values, percent) for percent in PERCENTS) <= ERROR + 1e-9


@given(VALUES, VALUES, VALUES)
def test_sketches_are_merged_in_any_order(one: list[float], two: list[float], three: list[float]) -> None:
    left, right = Sketch.of(one), Sketch.of(three)
    left.merge(Sketch.of(two))
    right.merge(Sketch.of(two))
    left.merge(Sketch.of(three))
    right.merge(Sketch.of(one))
    assert left.document() == right.document() == Sketch.of(one + two + three).document()


@given(VALUES)
def test_a_sketch_is_kept_as_json_and_comes_back(values: list[float]) -> None:
    kept = Sketch.of(values).document()
    assert Sketch.of_document(json.loads(json.dumps(kept))).document() == kept


def test_seven_powers_of_ten_fit_at_full_precision() -> None:
    values = spread(5_000, decades=6.9)
    sketch = Sketch.of(values)
    assert sketch.level == 0
    assert sketch.error == pytest.approx(ERROR)
    assert max(error_of(sketch, values, percent) for percent in PERCENTS) <= ERROR + 1e-9


def test_values_that_spread_further_have_coarser_percentiles_of_a_known_error() -> None:
    values = spread(9_000, decades=20)
    sketch = Sketch.of(values)
    assert len(sketch) <= MOST_BINS
    assert sketch.level == 2
    assert ERROR * 3.9 < sketch.error < ERROR * 4.1
    assert max(error_of(sketch, values, percent) for percent in PERCENTS) <= sketch.error + 1e-9


def test_a_coarse_sketch_and_a_fine_one_are_merged_as_coarse_ones() -> None:
    wide, narrow = spread(9_000, decades=20), [3.0] * 20_000
    fine = Sketch.of(narrow)
    fine.merge(Sketch.of(wide))
    coarse = Sketch.of(wide)
    coarse.merge(Sketch.of(narrow))
    assert fine.document() == coarse.document() == Sketch.of(wide + narrow).document()


def test_below_zero_and_zero_have_their_places() -> None:
    sketch = Sketch.of([-100.0, -1.0, 0.0, 0.0, 1.0, 100.0])
    told = [sketch.percentile(percent) for percent in (0, 20, 40, 60, 80, 100)]
    assert told == pytest.approx([-100, -1, 0, 0, 1, 100], rel=ERROR)


def test_nothing_has_no_percentile() -> None:
    assert Sketch().percentile(50) is None
