"""Tokens: their shape, and the typos that are found without asking a hub."""

from hypothesis import given
from hypothesis import strategies as st

from hub.base.tokens import LENGTH, TokenKind, check, hash_token, last4, make
from tests.support.clock import SeededChance
from tests.support.families import each

kinds = st.sampled_from(list(TokenKind))
TOKEN = make(TokenKind.DEVICE, SeededChance())


@given(kind=kinds, seed=st.integers(0, 10_000))
def test_token_starts_with_the_kind_and_has_47_characters(kind: TokenKind, seed: int) -> None:
    token = make(kind, SeededChance(seed))
    assert token.startswith(kind)
    assert len(token) == LENGTH == 47
    assert token.replace("_", "").isalnum()
    assert check(token) is None
    assert check(token, kind) is None


@given(kind=kinds, place=st.integers(8, 46), other=st.sampled_from("0aZ_-"))
def test_token_with_a_single_wrong_character_fails_the_check(kind: TokenKind, place: int, other: str) -> None:
    token = make(kind, SeededChance())
    typed = token[:place] + other + token[place + 1 :]
    assert (check(typed) is None) == (typed == token)


def test_thousand_generated_tokens_are_all_different() -> None:
    chance = SeededChance()
    assert len({make(TokenKind.OPERATOR, chance) for _ in range(1_000)}) == 1_000


@each(
    ("token", "told"),
    [
        (TOKEN[:-1], "it has 46 characters, not 47: was all of it copied?"),
        (TOKEN[:-1] + "\ud800", "a character in it is wrong: copy it again"),
        (
            "password",
            "it does not begin with hub_dev_ or hub_op_ or hub_inv_ or hub_agt_ or hub_lnk_ or hub_ses_"
            " or hub_mcp_ or hub_ref_",
        ),
        (
            "",
            "it does not begin with hub_dev_ or hub_op_ or hub_inv_ or hub_agt_ or hub_lnk_ or hub_ses_"
            " or hub_mcp_ or hub_ref_",
        ),
    ],
)
def test_invalid_token_is_refused_with_the_fault(token: str, told: str) -> None:
    assert check(token) == told


def test_token_of_another_kind_fails_the_check() -> None:
    assert check(TOKEN, TokenKind.INVITATION) == "it does not begin with hub_inv_"
    assert check(TOKEN, TokenKind.INVITATION, TokenKind.DEVICE) is None


def test_tokens_of_the_first_releases_still_pass_the_check() -> None:
    assert check("hub_dev_" + "A-_z" * 10 + "abc") is None


def test_stored_token_is_a_hash_and_the_last_four_characters() -> None:
    assert (last4(TOKEN), len(hash_token(TOKEN))) == (TOKEN[-4:], 32)
