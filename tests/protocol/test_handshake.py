"""What a device signs."""

import pytest

from protocol.handshake import Client, DeviceHello, VersionRange, challenge_text, signed_text
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


def test_what_a_hello_leaves_out_is_an_empty_line_and_version_one() -> None:
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
