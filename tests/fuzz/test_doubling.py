"""Twice the text costs a reader of documents about twice the CPU time."""

import asyncio

import pytest

from tests.fuzz.doubling import READERS, SHAPES, growth, read

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
    asyncio.run(read(READERS["prose"], "Anna must pay by Friday."))
    ratios = {pair: growth(READERS[pair[0]], SHAPES[pair[1]]).ratio for pair in _ONCE_SLOW}
    assert {pair: ratio for pair, ratio in ratios.items() if ratio > _MAX_RATIO} == {}
