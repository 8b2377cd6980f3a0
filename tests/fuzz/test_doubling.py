"""Twice the text costs a reader of documents about twice the CPU time."""

import pytest

from tests.fuzz.doubling import READERS, SHAPES, growth

pytestmark = pytest.mark.slow

# Each once took up to four times as long for twice the text.
_ONCE_SLOW = (
    ("iCalendar", "zones"),
    ("todo.txt", "projects in a line"),
    ("Markdown", "people in a line"),
    ("HTML", "open formats"),
)
_MAX_RATIO = 3.0  # between the double and the fourfold work


def test_reader_time_grows_at_most_2_2_times_for_double_text() -> None:
    READERS["prose"].read_file("Anna must pay by Friday.")
    ratios = {pair: growth(READERS[pair[0]].read_file, SHAPES[pair[1]]).ratio for pair in _ONCE_SLOW}
    assert {pair: ratio for pair, ratio in ratios.items() if ratio > _MAX_RATIO} == {}
