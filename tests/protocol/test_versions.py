"""Which version two peers speak."""

import pytest

from protocol.errors import ErrorCode
from protocol.handshake import (
    ALWAYS_ALLOWED,
    CAPABILITY_OF,
    SPOKEN,
    CapabilityName,
    VersionMismatch,
    VersionRange,
    agree,
)
from protocol.work import Action


def spoken(least: int, most: int) -> VersionRange:
    return VersionRange(min=least, max=most)


@pytest.mark.parametrize(
    ("ours", "theirs", "agreed"),
    [
        (spoken(1, 1), spoken(1, 1), 1),
        (spoken(1, 3), spoken(2, 5), 3),
        (spoken(2, 5), spoken(1, 3), 3),
        (spoken(1, 9), spoken(4, 6), 6),
        (spoken(3, 4), spoken(4, 8), 4),
    ],
)
def test_two_peers_speak_the_highest_version_that_both_know(
    ours: VersionRange, theirs: VersionRange, agreed: int
) -> None:
    assert agree(ours, theirs) == agreed


def test_a_peer_without_a_range_speaks_version_one() -> None:
    assert agree(SPOKEN, None) == 1


@pytest.mark.parametrize("theirs", [spoken(0, 0), spoken(2, 9), spoken(5, 1)])
def test_peers_without_a_common_version_get_both_ranges(theirs: VersionRange) -> None:
    with pytest.raises(VersionMismatch, match=f"1 to 1.* {theirs.min} to {theirs.max}") as caught:
        agree(spoken(1, 1), theirs)
    assert caught.value.code is ErrorCode.VERSION_UNSUPPORTED
    assert (caught.value.ours, caught.value.theirs) == (spoken(1, 1), theirs)


def test_every_action_has_its_capability() -> None:
    assert set(CAPABILITY_OF) == set(Action)
    assert len(set(CAPABILITY_OF.values())) == len(Action)
    assert set(CapabilityName) >= set(CAPABILITY_OF.values())


def test_the_actions_of_the_oldest_devices_need_not_be_listed() -> None:
    assert {CAPABILITY_OF[action].partition(".")[0] for action in ALWAYS_ALLOWED} == {"tool"}
