# ruff: noqa: RUF001 - letters of other alphabets
"""Titles of items: what is left of a sentence, and what never is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.extraction.titles import MAX_CHARS, closed_span, title_of
from tests.support.families import each

TITLES = {
    "**Paint** the door": "Paint the door",
    "Call *Ann* about the _roof_": "Call Ann about the roof",
    "run `make test` and ~~fix~~ mend it": "run make test and fix mend it",
    "keep snake_case and 2 * 3": "keep snake_case and 2 * 3",
    "(mind. 3) chairs, ": "(mind. 3) chairs",
    "pay the rent ( )": "pay the rent",
    "bring the keys (of the hall": "bring the keys of the hall",
    "the keys) of the hall": "the keys of the hall",
    "„Der Zaun“ streichen!": "„Der Zaun“ streichen",
    'read "The Sea" aloud': 'read "The Sea" aloud',
    'read "The Sea aloud': "read The Sea aloud",
    "把《手册》（新版）寄出。": "把《手册》（新版）寄出",
    "put the bins out before .": "put the bins out before",
}


@each(("words", "title"), TITLES.items())
def test_title_has_no_marks_and_no_half_pairs(words: str, title: str) -> None:
    assert title_of(words) == title


@pytest.mark.parametrize(
    ("sentence", "part", "whole"),
    [
        ("Call Ann (the roofer) today", "Call Ann (the roofer", "Call Ann (the roofer)"),
        ("Sing (and play) it", "and play)", "(and play)"),
        ('Read "The Sea, part 2" aloud', 'Read "The Sea', 'Read "The Sea, part 2"'),
        ("Call Ann (the roofer", "Call Ann (the", "Call Ann (the"),
    ],
)
def test_part_of_a_sentence_grows_to_the_brackets_it_opens(sentence: str, part: str, whole: str) -> None:
    start = sentence.index(part)
    assert sentence[slice(*closed_span(sentence, start, start + len(part)))] == whole


@given(st.text(alphabet='ab ()[]"*_`„“«».,', max_size=300))
def test_title_of_any_text_is_short_closed_and_stable(words: str) -> None:
    title = title_of(words)
    assert len(title) <= MAX_CHARS
    assert title.count("(") == title.count(")") and title.count('"') % 2 == 0
    assert set(re.findall(r"\w", title)) <= set(re.findall(r"\w", words))
