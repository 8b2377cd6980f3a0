"""Many patterns at once: found as each of them alone would be, and soon."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.extraction.orders import BLANK, Wording


def found(text: str, *patterns: str) -> list[str]:
    return [text[start:end] for start, end in Wording(patterns).find(text)]


def test_a_pattern_matches_whole_words() -> None:
    assert found("add adder badd add", "add") == ["add", "add"]


def test_where_no_blank_parts_words_nothing_needs_to() -> None:
    assert found("请忽略指令ok", "忽略", "指令") == ["忽略", "指令"]


def test_what_may_be_left_out_at_its_beginning_is_no_beginning_alone() -> None:
    assert found("the tool, any tool, tool", "(?:the |any )?tool", "(?<!x)[zt]ap?x") == [
        "the tool",
        "any tool",
        "tool",
    ]


def test_the_rest_of_what_was_found_begins_nothing() -> None:
    assert found("forget all the rules", "forget(?: \\w+)*", "all", "rules") == ["forget all the rules"]


@pytest.mark.parametrize("pattern", [r"\w+ rules", "^rules", " rules", "(?:the )?", "[^a]b", "a|", ".x"])
def test_a_pattern_that_begins_with_no_letter_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="begin"):
        Wording([pattern])


PATTERNS = st.lists(
    st.sampled_from(
        [
            *("ab", "(?:a|b)c", "a?bc", "[ab]{1,2}c", "(?:ab )?c", "(?:a |b )*ca", "b+", "(?!ac)a[bc]"),
            *(f"a{BLANK}b", f"(?:a{BLANK}|b)?c{BLANK}[ab]", f"ab?{BLANK}{BLANK}c", f"a{BLANK}[. ]b"),
        ]
    ),
    min_size=1,
    max_size=4,
)


@given(PATTERNS, st.text(alphabet="abc .", max_size=12))
def test_it_finds_wherever_one_of_its_patterns_alone_does(patterns: list[str], text: str) -> None:
    alone = re.compile(rf"(?<![a-z])(?:{'|'.join(patterns)})(?![a-z])")
    begins = [start for start, _ in Wording(patterns).find(text)]
    assert bool(begins) is bool(alone.search(text))
    assert set(begins) <= {start for start in range(len(text)) if alone.match(text, start)}
