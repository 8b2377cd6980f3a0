"""What a device signs, and which version two peers speak."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from protocol import keys
from protocol.capabilities import ALWAYS_ALLOWED, CAPABILITY_OF, CapabilityName
from protocol.errors import ErrorCode
from protocol.handshake import (
    SPOKEN,
    Client,
    DeviceHello,
    VersionMismatch,
    VersionRange,
    agree,
    challenge_text,
    signed_text,
    skew_of,
)
from protocol.ids import DeviceId, KeyId
from protocol.receipts import receipt_text
from protocol.tool_calls import Action
from tests.support.protocol_examples import CHALLENGE as PROVED
from tests.support.protocol_examples import (
    DEVICE_NONCE,
    HELLO,
    HUB_KEY,
    KEY,
    NEXT_KEY,
    PROOF,
    RECEIPT,
    ROTATION_PROOF,
    ROTATION_SIGNATURE,
    SIGNATURE,
    WELCOME,
)
from tests.support.script import CHALLENGE


def test_signed_text_with_hub_proof_ends_in_hub_key_and_address() -> None:
    assert PROVED.proof is not None
    older = signed_text(PROVED, DeviceHello(), 5, address=None).decode().split("\n")
    lines = signed_text(PROVED, DeviceHello(), 5, address="hub.example:1").decode().split("\n")
    assert lines == ["hub-device-hello-v2", *older[1:], PROVED.proof.public_key, "hub.example:1"]
    with pytest.raises(ValueError, match="proves the hub"):
        signed_text(CHALLENGE, DeviceHello(), 5, address="hub.example:1")


def test_challenge_text_of_a_hub_has_a_line_for_each_part() -> None:
    text = challenge_text(CHALLENGE, public_key="k", address="hub.example", device_nonce="n")
    lines = ["hub-challenge-v1", "hub-1", CHALLENGE.nonce, str(CHALLENGE.ts_ms), "k", "hub.example", "n"]
    assert text.decode().split("\n") == lines
    with pytest.raises(ValueError, match="line break"):
        challenge_text(CHALLENGE, public_key="k", address="a\nb", device_nonce="n")


def test_older_signed_text_has_a_line_for_each_part() -> None:
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


def test_missing_fields_of_a_hello_are_empty_lines_and_version_1() -> None:
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
def test_two_peers_speak_the_highest_version_known_to_both(
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


def test_each_action_has_a_distinct_capability() -> None:
    assert (set(CAPABILITY_OF), len(set(CAPABILITY_OF.values()))) == (set(Action), len(Action))
    assert set(CapabilityName) >= set(CAPABILITY_OF.values())


def test_the_actions_of_the_oldest_devices_need_not_be_listed() -> None:
    assert {CAPABILITY_OF[action].partition(".")[0] for action in ALWAYS_ALLOWED} == {"tool"}


# --- ids of keys as people compare them, and what is signed when one is replaced ---


ID = keys.key_id(KEY)
public_keys = st.binary(min_size=32, max_size=32)


def verify(key: bytes, signature: str, text: bytes) -> None:
    Ed25519PublicKey.from_public_bytes(key).verify(keys.decode(signature, 64), text)


def test_the_signatures_of_the_page_are_over_the_texts_of_the_page() -> None:
    verify(KEY, SIGNATURE, signed_text(PROVED, HELLO, PROVED.ts_ms, address="hub.example"))
    text = challenge_text(
        PROVED, public_key=keys.encode(HUB_KEY), address="hub.example", device_nonce=DEVICE_NONCE
    )
    verify(HUB_KEY, PROOF, text)
    text = keys.rotation_text(WELCOME.hub_id, DeviceId(WELCOME.device_id), old_key=KEY, new_key=NEXT_KEY)
    verify(KEY, ROTATION_SIGNATURE, text)
    verify(NEXT_KEY, ROTATION_PROOF, text)
    verify(HUB_KEY, RECEIPT.signature, receipt_text(RECEIPT))


def test_rotation_text_has_a_line_for_each_part() -> None:
    text = keys.rotation_text("hub-1", DeviceId("d-1"), old_key=bytes(32), new_key=b"\xff" * 32)
    assert text.decode().split("\n") == [
        "hub-key-rotation-v1",
        "hub-1",
        "d-1",
        "A" * 43,
        "_" * 42 + "8",
    ]
    with pytest.raises(ValueError, match="line break"):
        keys.rotation_text("hub\n1", DeviceId("d-1"), old_key=KEY, new_key=NEXT_KEY)


def test_an_id_is_shown_in_eight_groups_of_seven() -> None:
    assert [len(group) for group in keys.shown(ID).split("-")] == [7] * 8


@given(public_key=public_keys)
def test_shown_key_id_is_read_in_any_case_and_with_similar_digits(public_key: bytes) -> None:
    id = keys.key_id(public_key)
    assert keys.read(keys.shown(id)) == id
    assert keys.read(f" {keys.shown(id).lower().replace('-', ' ')} ") == id
    assert keys.read(keys.shown(id).replace("O", "0").replace("I", "1")) == id


@given(
    public_key=public_keys,
    place=st.integers(0, 55),
    other=st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
)
def test_single_mistyped_character_is_found(public_key: bytes, place: int, other: str) -> None:
    letters = keys.shown(keys.key_id(public_key)).replace("-", "")
    typed = letters[:place] + other + letters[place + 1 :]
    if typed == letters:
        assert keys.read(typed)
    else:
        with pytest.raises(ValueError, match=f"groups {place // 14 * 2 + 1} and"):
            keys.read(typed)


@pytest.mark.parametrize("text", ["", "A" * 55, "A" * 57, "É" * 56, keys.shown(ID)[:-1] + "9"])
def test_invalid_key_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="eight groups"):
        keys.read(text)


def test_shown_refuses_an_invalid_key_id() -> None:
    with pytest.raises(ValueError, match="not the id"):
        keys.shown(KeyId("device-1"))


@given(data=public_keys)
def test_public_key_survives_encoding_and_decoding(data: bytes) -> None:
    assert keys.decode(keys.encode(data), 32) == data


@pytest.mark.parametrize(
    "text",
    ["", "A" * 42, "A" * 44, "A" * 43 + "=", "A" * 42 + "B", " " + "A" * 43, "é" * 43, "A" * 41 + "+/"],
)
def test_key_has_a_single_spelling(text: str) -> None:
    with pytest.raises(ValueError):
        keys.decode(text, 32)
