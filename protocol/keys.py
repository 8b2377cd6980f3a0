"""The key of a device: its id, how people compare it, and what is signed when it is replaced.

Pure: bytes and text in and out. Signing and verifying (Ed25519, RFC 8032) stand where keys are held.
"""

import hashlib
from base64 import b32encode, urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from protocol.ids import DeviceId, KeyId

PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
ROTATION_HEADER: Final = "hub-key-rotation-v1"
GROUP: Final = 7  # characters between two dashes

_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"  # RFC 4648, 6
_CHECKED: Final = 13  # characters that one check character stands for
_ID_LENGTH: Final = 4 * _CHECKED  # 256 bits in base32, without padding
_MISREAD: Final = str.maketrans("018", "OIB")  # not in the alphabet, and easily mistaken for what is


def key_id(public_key: bytes) -> KeyId:
    """The id of a key: base32 of its SHA-256 without padding, 52 characters."""
    return KeyId(b32encode(hashlib.sha256(public_key).digest()).rstrip(b"=").decode())


def shown(id: KeyId) -> str:
    """The id as people compare it: four check characters among the others, in eight groups of seven.

    Raises:
        ValueError: it is no id of a key.
    """
    if len(id) != _ID_LENGTH or not set(id) <= set(_ALPHABET):
        raise ValueError("not the id of a key")
    parts = (id[start : start + _CHECKED] for start in range(0, _ID_LENGTH, _CHECKED))
    text = "".join(part + _check_character(part) for part in parts)
    return "-".join(text[start : start + GROUP] for start in range(0, len(text), GROUP))


def read(text: str) -> KeyId:
    """The id in what somebody typed: with or without dashes and spaces, in any case.

    Raises:
        ValueError: it is too short or too long, or a check character does not fit; says which group.
    """
    letters = "".join(text.split()).replace("-", "").upper().translate(_MISREAD)
    step = _CHECKED + 1
    if len(letters) != _ID_LENGTH // _CHECKED * step or not set(letters) <= set(_ALPHABET):
        raise ValueError("the id of a key has eight groups of seven letters and digits")
    parts = [letters[start : start + step] for start in range(0, len(letters), step)]
    for number, part in enumerate(parts):
        if _check_character(part[:-1]) != part[-1]:
            raise ValueError(f"something is mistyped in the groups {2 * number + 1} and {2 * number + 2}")
    return KeyId("".join(part[:-1] for part in parts))


def rotation_text(hub_id: str, device_id: DeviceId, *, old_key: bytes, new_key: bytes) -> bytes:
    """What both keys sign when a device replaces one by the other: five lines, joined by newlines.

    The header, hub_id, the device's id as its welcome told it, then the old and the
    new public key in base64url without padding.

    Raises:
        ValueError: an id has a line break in it.
    """
    parts = (ROTATION_HEADER, hub_id, device_id, encode(old_key), encode(new_key))
    if any("\n" in part for part in parts):
        raise ValueError("a signed part must not contain a line break")
    return "\n".join(parts).encode()


def encode(data: bytes) -> str:
    """A key or signature as it travels: base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str, size: int) -> bytes:
    """*size* bytes of a key or signature, as they travel.

    Raises:
        ValueError: that is not what *text* is.
    """
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:  # binascii.Error is one
        raise ValueError("not base64url") from error
    if len(data) != size or encode(data) != text:  # the decoder skips what it does not know
        raise ValueError(f"not {size} bytes in base64url without padding")
    return data


def _check_character(text: str) -> str:
    """Luhn's algorithm over 32 characters: finds a wrong one, and two that changed places."""
    total = 0
    for place, character in enumerate(reversed(text)):
        value = _ALPHABET.index(character) * (2 if place % 2 == 0 else 1)
        total += value // len(_ALPHABET) + value % len(_ALPHABET)
    return _ALPHABET[-total % len(_ALPHABET)]
