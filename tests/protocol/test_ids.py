"""How ids are spelled, and how a call's is derived."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.ids import CHANCE_BYTES, AgentId, CallId, derive_call_id, spell_id


@given(now_ms=st.integers(0, 2**48 - 1), chance=st.binary(min_size=CHANCE_BYTES, max_size=CHANCE_BYTES))
def test_a_fresh_id_is_a_uuid_of_version_seven(now_ms: int, chance: bytes) -> None:
    spelled = UUID(spell_id(now_ms, chance))
    assert spelled.version == 7
    assert spelled.variant == "specified in RFC 4122"
    assert spelled.int >> 80 == now_ms


@given(early=st.integers(0, 2**47), later=st.integers(1, 2**20), chance=st.binary(min_size=20, max_size=20))
def test_fresh_ids_sort_by_the_time_they_were_made(early: int, later: int, chance: bytes) -> None:
    assert spell_id(early, chance[:10]) < spell_id(early + later, chance[10:])


def test_an_id_takes_exactly_ten_bytes_of_chance() -> None:
    with pytest.raises(ValueError, match="10 random bytes, not 9"):
        spell_id(0, bytes(9))


def derive(
    agent: str = "a", unit: str = "u", content: str = "h", fingerprint: str = "f", ordinal: int = 0
) -> CallId:
    return derive_call_id(
        agent_id=AgentId(agent),
        unit_key=unit,
        content_hash=content,
        config_fingerprint=fingerprint,
        ordinal=ordinal,
    )


def test_the_same_item_has_the_same_call_id_for_ever() -> None:
    # Devices keep these for years: this spelling may never change.
    assert derive() == "c-079a8fb3fff977d24b7f3b2bf9a085a0"


def test_whatever_differs_in_an_item_differs_in_its_call_id() -> None:
    others = {derive("b"), derive(unit="v"), derive(content="i"), derive(fingerprint="g"), derive(ordinal=1)}
    assert len(others | {derive()}) == 6


def test_parts_do_not_run_into_each_other() -> None:
    assert derive("a", "bc") != derive("ab", "c")


def test_a_path_that_is_no_proper_text_has_a_call_id_as_well() -> None:
    assert derive(unit="\udcff.md") != derive(unit="?.md")
