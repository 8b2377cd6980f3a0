import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.links.auth import ALPHABET, BadCode, hash_code, make, read
from tests.support.clock import SeededChance
from tests.support.families import each


@given(seed=st.integers(0, 10_000))
def test_a_code_reads_back_however_it_is_typed(seed: int) -> None:
    code = make(SeededChance(seed))
    assert len(code) == 9
    assert set(code) <= set(ALPHABET) | {"-"}
    for typed in (code, code.lower(), code.replace("-", ""), f" {code.replace('-', ' - ')}\n"):
        assert read(typed) == code


def test_no_two_symbols_look_alike() -> None:
    assert len(ALPHABET) == len(set(ALPHABET)) == 30
    assert not set("0O1ILU") & set(ALPHABET)


@each(
    ("typed", "told"),
    [
        ("K7QF-2M9", "has 8 letters and digits, as in K7QF-2M9X; this has 7"),
        ("", "this has 0"),
        ("K7QF-2M90", "never has '0' in it"),
        ("K7QF-2M9é", "never has 'É' in it"),
    ],
)
def test_an_invalid_pairing_code_is_refused(typed: str, told: str) -> None:
    with pytest.raises(BadCode, match=told):
        read(typed)


def test_codes_are_kept_as_hashes() -> None:
    assert hash_code("K7QF-2M9X") != hash_code("K7QF-2M9Y")
