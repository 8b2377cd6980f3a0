"""Ids and fingerprints of device keys, detection of typing errors, and the text signed at a replacement.

Pure: bytes and text in and out. Signing and verifying (Ed25519, RFC 8032) happen where keys are stored.
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
_CHECKED: Final = 13  # characters covered by one check character
_ID_LENGTH: Final = 4 * _CHECKED  # 256 bits in base32, without padding
# not in the alphabet, and easily confused with letters that are
_MISREAD: Final = str.maketrans("018", "OIB")


def key_id(public_key: bytes) -> KeyId:
    """Return the id of a key: base32 of its SHA-256 without padding, 52 characters."""
    return KeyId(b32encode(hashlib.sha256(public_key).digest()).rstrip(b"=").decode())


def shown(id: KeyId) -> str:
    """Return the id in the form that people compare: with four check characters, in eight groups of seven.

    Raises:
        ValueError: it is no id of a key.
    """
    if len(id) != _ID_LENGTH or not set(id) <= set(_ALPHABET):
        raise ValueError("not the id of a key")
    parts = (id[start : start + _CHECKED] for start in range(0, _ID_LENGTH, _CHECKED))
    text = "".join(part + _check_character(part) for part in parts)
    return "-".join(text[start : start + GROUP] for start in range(0, len(text), GROUP))


def read(text: str) -> KeyId:
    """Parse a typed key id: with or without dashes and spaces, in any case.

    Raises:
        ValueError: wrong length, or a check character does not match; the message names the group.
    """
    letters = "".join(text.split()).replace("-", "").upper().translate(_MISREAD)
    step = _CHECKED + 1
    if len(letters) != _ID_LENGTH // _CHECKED * step or not set(letters) <= set(_ALPHABET):
        raise ValueError("expected eight groups of seven letters and digits")
    parts = [letters[start : start + step] for start in range(0, len(letters), step)]
    for number, part in enumerate(parts):
        if _check_character(part[:-1]) != part[-1]:
            raise ValueError(f"something is mistyped in the groups {2 * number + 1} and {2 * number + 2}")
    return KeyId("".join(part[:-1] for part in parts))


def rotation_text(hub_id: str, device_id: DeviceId, *, old_key: bytes, new_key: bytes) -> bytes:
    """Return the text that both keys sign for a replacement: five lines, joined by newlines.

    The header, hub_id, the device's id from its welcome, then the old and the new public key in base64url
    without padding.

    Raises:
        ValueError: an id contains a line break.
    """
    return signed_lines(ROTATION_HEADER, hub_id, device_id, encode(old_key), encode(new_key))


def signed_lines(*parts: str) -> bytes:
    """Return a text to sign: the parts, joined by newlines. Raises ValueError: one contains a line break."""
    if any("\n" in part for part in parts):
        raise ValueError("a signed part must not contain a line break")
    return "\n".join(parts).encode()


def encode(data: bytes) -> str:
    """Encode a key or signature for the wire: base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str, size: int) -> bytes:
    """Decode *size* bytes of a key or signature from the wire.

    Raises:
        ValueError: *text* is not base64url of *size* bytes.
    """
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:  # includes binascii.Error
        raise ValueError("not base64url") from error
    if len(data) != size or encode(data) != text:  # the decoder skips unknown characters
        raise ValueError(f"not {size} bytes in base64url without padding")
    return data


def _check_character(text: str) -> str:
    """Compute Luhn's check character over 32 characters: detects a wrong one, and two swapped ones."""
    total = 0
    for place, character in enumerate(reversed(text)):
        value = _ALPHABET.index(character) * (2 if place % 2 == 0 else 1)
        total += value // len(_ALPHABET) + value % len(_ALPHABET)
    return _ALPHABET[-total % len(_ALPHABET)]
