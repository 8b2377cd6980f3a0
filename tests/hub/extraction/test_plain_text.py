"""Plain ASCII, which takes a short way through folding, is folded like any other text."""

from hypothesis import given
from hypothesis import strategies as st

from hub.extraction.folding import fold, is_hidden, shown

lines = st.text(st.characters(max_codepoint=0x7F), max_size=40)


@given(line=lines)
def test_a_line_is_folded_alike_whatever_word_stands_beside_it(line: str) -> None:
    assert fold(f"{line} \u00e9") == f"{fold(line)} \u00e9".strip()


@given(line=lines)
def test_a_line_is_shown_alike_whatever_word_stands_beside_it(line: str) -> None:
    assert shown(f"{line}\u00e9") == shown(line) + "\u00e9"
    assert shown(line) == "".join(char for char in line if not is_hidden(char))
