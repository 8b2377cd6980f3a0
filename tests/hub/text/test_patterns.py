"""An owner's patterns: found like anywhere else, and never at a price that a text can name."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.text.patterns import BadPattern, Pattern, pattern_of
from tests.support.families import each


def found(source: str, text: str) -> list[str]:
    return [text[start:end] for start, end in Pattern(source).find(text)]


@pytest.mark.parametrize(
    ("source", "text", "matches"),
    [
        (r"KD-\d{4,6}", "KD-1234, kd-1234, KD-12 and KD-1234567", ["KD-1234", "KD-123456"]),
        (r"(?i)kd-\d+", "KD-1 kd-22", ["KD-1", "kd-22"]),
        (r"\bAkte (?:A|AB|ABC)\b", "Akte AB, Akte ABC, Akte ABCD", ["Akte AB", "Akte ABC"]),
        (r"^Kunde: .+$", "Kunde: Anna\r\nan Kunde: Bob\nKunde: Eve", ["Kunde: Anna", "Kunde: Eve"]),
        (r"[\w.+-]+@[\w-]+(\.[\w-]+)+", "to anna.b@mail.example.org.", ["anna.b@mail.example.org"]),
        (r"[^\s,]+\.pdf|\d\d", "a.pdf, b.txt 1234", ["a.pdf", "12", "34"]),
        (r"x{2,3}", "xxxxx", ["xxx", "xx"]),
        (r"\.\*\t[\]]", ".*\t]", [".*\t]"]),
        ("№ ?\\d+", "№ 17, №4", ["№ 17", "№4"]),
    ],
)
def test_pattern_finds_the_longest_of_all_matches_at_a_position(
    source: str, text: str, matches: list[str]
) -> None:
    assert found(source, text) == matches


@each(
    ("source", "wrong"),
    [
        (r"(a)\1", "\\1 is not known here (character 4)"),
        ("a(?=b)", "looking ahead or back is not possible"),
        ("(a", "the ( at character 1 is never closed"),
        ("a)", "for the sign itself (character 2)"),
        ("[a", "a [ that is never closed"),
        ("[z-a]", "bad character range z-a"),
        ("[[a]", "write \\ before"),
        ("*a", "a * that counts nothing"),
        ("a**", "one count after the other"),
        ("a{3,2}", "the smaller first"),
        ("a{1000}", "from 0 to 200"),
        ("((a{100}){100}){100}", "too large"),
        ("a*", "it has to match at least one character"),
        ("a\\", "nothing behind it"),
        ("^*", "an edge cannot be repeated"),
        ("a" * 1_001, "longer than 1000 characters"),
    ],
)
def test_unusable_redaction_pattern_is_refused_with_the_reason(source: str, wrong: str) -> None:
    with pytest.raises(BadPattern) as caught:
        Pattern(source)
    assert wrong in str(caught.value)


@each("source", ["(a+)+b", "(a|a)*b", "(a|aa)+b", "a*a*a*a*a*b", "(.*)*x"])
def test_redaction_pattern_runs_without_exponential_backtracking(source: str) -> None:
    pattern = Pattern(source)  # Python's own would take years for each of these
    assert list(pattern.find("a" * 200)) == []


ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\w"])
SOURCES = st.recursive(
    ATOMS,
    lambda inner: (
        st.tuples(inner, inner).map("".join)
        | st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})")
        | st.tuples(inner, st.sampled_from(["+", "?", "*", "{2}", "{1,2}"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        )
    ),
    max_leaves=6,
)


@given(SOURCES, st.text(alphabet="abc", max_size=8))
def test_redaction_pattern_matches_like_the_standard_re_module(source: str, text: str) -> None:
    elsewhere = re.compile(source)
    try:
        pattern = pattern_of(source)
    except BadPattern:
        assert elsewhere.fullmatch("") is not None
        return
    at = 0
    expected = []
    while at < len(text):
        ends = [end for end in range(len(text), at, -1) if elsewhere.fullmatch(text, at, end)]
        if ends:
            expected.append((at, ends[0]))
        at = ends[0] if ends else at + 1
    assert list(pattern.find(text)) == expected
