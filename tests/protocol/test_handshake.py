"""What a device signs."""

import pytest

from protocol.handshake import Client, DeviceHello, VersionRange, signed_text
from tests.support.script import CHALLENGE


def test_the_signed_text_has_one_line_for_each_part() -> None:
    hello = DeviceHello(
        device_id="device-1",
        protocol=VersionRange(min=1, max=2),
        client=Client(name="desk", version="3.1", platform="linux"),
    )
    assert signed_text(CHALLENGE, hello, 1_767_603_600_500).decode().split("\n") == [
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
    lines = signed_text(CHALLENGE, DeviceHello(), 5).decode().split("\n")
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
        signed_text(CHALLENGE, hello, 5)
