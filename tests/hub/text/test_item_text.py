"""Titles of items are one line of characters that people see; what is compared of them stays the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.text.folding import fold
from hub.text.item_text import plain_lines, title_line, with_clean_title
from protocol.frame import Record
from protocol.tables import TABLES
from tests.support.written_forms import active_texts, obeyed_by_a_terminal


@given(st.text())
def test_title_is_a_single_line_with_the_same_words(text: str) -> None:
    check_title(text)


def test_generated_titles_are_a_single_line_with_the_same_words() -> None:
    for one in active_texts():
        check_title(one.text)


def check_title(text: str) -> None:
    title = title_line(text)
    assert len(title.splitlines()) <= 1
    assert "\t" not in title
    assert obeyed_by_a_terminal(title) == []
    assert title_line(title) == title
    assert fold(title) == fold(text)  # its item has the same identity as before


@pytest.mark.parametrize(
    "title",
    [
        "Call Ana",
        "\U0001f469\u200d\U0001f52c called",  # a joiner in an emoji
        "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # one in a word of Persian
        "\u845b\U000e0100\u57ce",  # a variant in a name
        "10\xa0km",
        "\u5c71\u7530\u3000\u592a\u90ce",
        "\u2764\ufe0f",
    ],
)
def test_characters_of_scripts_and_emoji_stay_in_a_title(title: str) -> None:
    assert title_line(title) == title


@pytest.mark.parametrize(
    "end", ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
)
def test_each_end_of_a_line_is_a_blank_in_a_title_and_a_line_feed_in_a_text(end: str) -> None:
    assert (title_line(f"a{end}{end} b"), plain_lines(f"a{end}b\t\x07")) == ("a b", "a\nb\t")


def test_long_text_naming_the_row_keeps_line_breaks() -> None:
    said: Record = {"content": "one\r\ntwo\x1b", "author": "Ana"}
    assert with_clean_title(TABLES["taskComments"], said) == {"content": "one\ntwo", "author": "Ana"}
