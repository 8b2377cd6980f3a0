"""What a device signs, and which version two peers speak."""

import pytest

from protocol.errors import ErrorCode
from protocol.handshake import (
    ALWAYS_ALLOWED,
    CAPABILITY_OF,
    SPOKEN,
    CapabilityName,
    Client,
    DeviceHello,
    VersionMismatch,
    VersionRange,
    agree,
    challenge_text,
    signed_text,
    skew_of,
)
from protocol.work import Action
from tests.support.protocol_examples import CHALLENGE as PROVED
from tests.support.script import CHALLENGE


def test_the_text_of_a_device_that_knows_its_hub_ends_in_the_hubs_key_and_address() -> None:
    assert PROVED.proof is not None
    older = signed_text(PROVED, DeviceHello(), 5, address=None).decode().split("\n")
    lines = signed_text(PROVED, DeviceHello(), 5, address="hub.example:1").decode().split("\n")
    assert lines == ["hub-device-hello-v2", *older[1:], PROVED.proof.public_key, "hub.example:1"]
    with pytest.raises(ValueError, match="proves the hub"):
        signed_text(CHALLENGE, DeviceHello(), 5, address="hub.example:1")


def test_the_text_of_a_hub_has_one_line_for_each_part() -> None:
    text = challenge_text(CHALLENGE, public_key="k", address="hub.example", device_nonce="n")
    lines = ["hub-challenge-v1", "hub-1", CHALLENGE.nonce, str(CHALLENGE.ts_ms), "k", "hub.example", "n"]
    assert text.decode().split("\n") == lines
    with pytest.raises(ValueError, match="line break"):
        challenge_text(CHALLENGE, public_key="k", address="a\nb", device_nonce="n")


def test_the_older_signed_text_has_one_line_for_each_part() -> None:
    hello = DeviceHello(
        device_id="device-1",
        protocol=VersionRange(min=1, max=2),
        client=Client(name="desk", version="3.1", platform="linux"),
    )
    assert signed_text(CHALLENGE, hello, 1_767_603_600_500, address=None).decode().split("\n") == [
        "hub-device-hello-v1",
        "hub-1",
        CHALLENGE.nonce,
        "device-1",
        "desk",
        "3.1",
        "1",
        "2",
        "1767603600500",
    ]


def test_missing_fields_of_a_hello_are_empty_lines_and_version_one() -> None:
    lines = signed_text(CHALLENGE, DeviceHello(), 5, address=None).decode().split("\n")
    assert lines[3:] == ["", "", "", "1", "1", "5"]


@pytest.mark.parametrize(
    "hello",
    [
        DeviceHello(device_id="a\nb"),
        DeviceHello(client=Client(name="a\nb")),
        DeviceHello(client=Client(version="\n")),
    ],
    ids=["device_id", "name", "version"],
)
def test_two_hellos_cannot_share_a_text_by_a_line_break(hello: DeviceHello) -> None:
    with pytest.raises(ValueError, match="line break"):
        signed_text(CHALLENGE, hello, 5, address=None)


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
        (SPOKEN, None, 1),  # a peer without a range
    ],
)
def test_two_peers_speak_the_highest_version_that_both_know(
    ours: VersionRange, theirs: VersionRange | None, agreed: int
) -> None:
    assert agree(ours, theirs) == agreed


@pytest.mark.parametrize(
    ("hub", "device", "newest", "older"),
    [
        (spoken(1, 1), spoken(1, 1), "", ""),
        (spoken(2, 3), spoken(1, 3), "", ""),
        (spoken(1, 1), None, "", ""),
        (spoken(1, 2), None, "version 2, the device up to 1", "device"),
        (spoken(1, 2), spoken(1, 3), "version 2, the device up to 3", "hub"),
    ],
)
def test_sentence_names_the_older_of_two_peers(
    hub: VersionRange, device: VersionRange | None, newest: str, older: str
) -> None:
    said = f"the hub speaks the protocol up to {newest}: update the {older}" if newest else ""
    assert skew_of(hub, device) == said


@pytest.mark.parametrize("theirs", [spoken(0, 0), spoken(2, 9), spoken(5, 1)])
def test_peers_without_a_common_version_get_both_ranges(theirs: VersionRange) -> None:
    with pytest.raises(VersionMismatch, match=f"1 to 1.* {theirs.min} to {theirs.max}") as caught:
        agree(spoken(1, 1), theirs)
    assert caught.value.code is ErrorCode.VERSION_UNSUPPORTED
    assert (caught.value.ours, caught.value.theirs) == (spoken(1, 1), theirs)


def test_every_action_has_its_capability() -> None:
    assert (set(CAPABILITY_OF), len(set(CAPABILITY_OF.values()))) == (set(Action), len(Action))
    assert set(CapabilityName) >= set(CAPABILITY_OF.values())


def test_the_actions_of_the_oldest_devices_need_not_be_listed() -> None:
    assert {CAPABILITY_OF[action].partition(".")[0] for action in ALWAYS_ALLOWED} == {"tool"}
