"""Removal of a secret, in any encoding, from a server's answer before a program reads it."""

import re
import zlib
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

import anyio.lowlevel

_SLICE_BYTES: Final = 16 * 1024  # decoded at once; the worst of them takes some 5 ms of the event loop
_MAX_HIDDEN: Final = 10_000  # places in one answer
_MAX_UNPACKED: Final = 2 * 1024 * 1024
_MAX_NESTED: Final = 3  # encodings one in the other
_MAX_GROWTH: Final = 12  # bytes of a byte's longest spelling
# Of JSON and JavaScript, addresses (also twice), quoted-printable, HTML; or a backslash before a sign. Ends
# of lines go, which are in the middle of words of quoted-printable and of base64 in JSON.
_ESCAPE: Final = re.compile(
    rb"=\r?\n|\\[rn]|(?:\\u00|\\u\{0*|\\x|%(?:25)*|=|&#x0*)([0-9a-f]{2})[;}]?|&#0*([0-9]{2,3});?|\\(.)",
    re.IGNORECASE,
)


class SecretSpellings:
    """Usual spellings of some secrets.

    Args:
        secrets: texts that a program must not see.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        # A text that has another one in it is hidden with that one.
        plain = [text.encode() for text in secrets if not any(other in text for other in {*secrets} - {text})]
        self._plain = [secret.lower() for secret in plain]
        self._dense = [core.lower() for secret in plain for core in _cores_in_base64(secret)]
        self._hex = [secret.hex().encode() for secret in plain]
        self._reach = _MAX_GROWTH * max(map(len, plain), default=0)

    def hide(self, data: bytes) -> bytes:
        """Replace the secrets in upper and lower case, up to a number of times."""
        for secret in self._plain:
            pieces: list[bytes] = []
            found, begin = data.lower(), 0
            while (at := found.find(secret, begin)) >= 0 and len(pieces) < _MAX_HIDDEN:
                pieces.append(data[begin:at])
                begin = at + len(secret)
            data = b"[secret]".join([*pieces, data[begin:]])
        return data

    async def are_in(self, data: bytes) -> bool:
        """Return True if data has a secret in escapes of JSON, addresses or HTML, in base64 or in hex."""
        if data[:2] == b"\x1f\x8b" or data[:1] == b"\x78":
            with suppress(zlib.error):
                data += zlib.decompressobj(47).decompress(data, _MAX_UNPACKED)
        for begin in range(0, len(data), _SLICE_BYTES):
            if any(map(self._is_in, _decoded(data[begin : begin + _SLICE_BYTES + self._reach]))):
                return True
            await anyio.lowlevel.checkpoint()
        return False

    def _is_in(self, part: bytes) -> bool:
        dense = part.translate(None, b" \t\r\n")
        digits = dense.translate(None, b":-")
        return (
            any(secret in part for secret in self._plain)
            or any(core in dense for core in self._dense)
            or any(code in digits for code in self._hex)
        )


def _decoded(part: bytes) -> Iterator[bytes]:
    """Yield *part* in lower case, and again after each decoding of its escapes."""
    for _ in range(_MAX_NESTED):
        part = part.replace(b"\0", b"")  # of UTF-16
        yield part.lower()
        before, part = part, _ESCAPE.sub(_sign, part)
        if part == before:
            return
    yield part.lower()


def _sign(escape: re.Match[bytes]) -> bytes:
    digits, number, sign = escape.groups()
    if digits or number:
        return bytes([int(digits, 16) if digits else int(number) & 0xFF])
    return sign or b""


def _cores_in_base64(secret: bytes) -> Iterator[bytes]:
    """Yield what is in base64 of any text with the secret in it, in both alphabets."""
    for shift, start in ((0, 0), (1, 2), (2, 3)):
        coded = b64encode(bytes(shift) + secret).rstrip(b"=")
        last = len(coded) - ((shift + len(secret)) % 3 > 0)
        yield coded[start:last]
        yield coded[start:last].translate(bytes.maketrans(b"+/", b"-_"))
