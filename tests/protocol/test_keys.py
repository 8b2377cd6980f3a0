"""Ids of keys as people compare them, and what is signed when one is replaced."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from protocol import keys
from protocol.handshake import challenge_text, signed_text
from protocol.ids import DeviceId, KeyId
from protocol.receipts import receipt_text
from tests.support.protocol_examples import (
    CHALLENGE,
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

ID = keys.key_id(KEY)
public_keys = st.binary(min_size=32, max_size=32)


def verify(key: bytes, signature: str, text: bytes) -> None:
    Ed25519PublicKey.from_public_bytes(key).verify(keys.decode(signature, 64), text)


def test_the_signatures_of_the_page_are_over_the_texts_of_the_page() -> None:
    verify(KEY, SIGNATURE, signed_text(CHALLENGE, HELLO, CHALLENGE.ts_ms, address="hub.example"))
    text = challenge_text(
        CHALLENGE, public_key=keys.encode(HUB_KEY), address="hub.example", device_nonce=DEVICE_NONCE
    )
    verify(HUB_KEY, PROOF, text)
    text = keys.rotation_text(WELCOME.hub_id, DeviceId(WELCOME.device_id), old_key=KEY, new_key=NEXT_KEY)
    verify(KEY, ROTATION_SIGNATURE, text)
    verify(NEXT_KEY, ROTATION_PROOF, text)
    verify(HUB_KEY, RECEIPT.signature, receipt_text(RECEIPT))


def test_the_rotation_text_has_one_line_for_each_part() -> None:
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
def test_one_mistyped_character_is_found(public_key: bytes, place: int, other: str) -> None:
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


def test_only_the_id_of_a_key_is_shown() -> None:
    with pytest.raises(ValueError, match="not the id"):
        keys.shown(KeyId("device-1"))


@given(data=public_keys)
def test_a_key_travels_and_arrives(data: bytes) -> None:
    assert keys.decode(keys.encode(data), 32) == data


@pytest.mark.parametrize(
    "text",
    ["", "A" * 42, "A" * 44, "A" * 43 + "=", "A" * 42 + "B", " " + "A" * 43, "é" * 43, "A" * 41 + "+/"],
)
def test_a_key_has_one_spelling(text: str) -> None:
    with pytest.raises(ValueError):
        keys.decode(text, 32)
