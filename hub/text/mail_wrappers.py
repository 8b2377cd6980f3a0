"""Unwrapping of mail text: flowed lines, OpenPGP armour and S/MIME signatures. Pure functions.

A signature is removed and not verified, as it proves nothing about what a person sees. Encrypted text is
named.
"""

from collections.abc import Iterator
from typing import Final

SMIME: Final = frozenset(("application/pkcs7-mime", "application/x-pkcs7-mime"))
ENCRYPTED: Final = frozenset(("application/pgp-encrypted", "multipart/encrypted"))
SIGNATURES: Final = frozenset(
    ("application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature")
)

_SIGNATURE_LINE: Final = "-- "  # RFC 3676, 4.3


def unflowed(text: str, flow: str) -> str:
    """Join the lines that a program wrapped (RFC 3676); see ``flow_of``.

    With ``delsp``, the blank at the end of a line only marks that it goes on.
    """
    if not flow:
        return text
    lines: list[str] = []
    parts: list[str] = []  # of a line that goes on
    before = 0  # depth of its quotation
    for line in text.replace("\r\n", "\n").split("\n"):
        content = line.lstrip(">")
        depth = len(line) - len(content)
        content = content.removeprefix(" ")
        if parts and (depth != before or content == _SIGNATURE_LINE):
            lines.append(_quoted("".join(parts), before))
            parts = []
        is_soft = content.endswith(" ") and content != _SIGNATURE_LINE
        parts.append(content[:-1] if is_soft and flow == "delsp" else content)
        before = depth
        if not is_soft:
            lines.append(_quoted("".join(parts), depth))
            parts = []
    return "\n".join([*lines, *([_quoted("".join(parts), before)] if parts else ())])


def _quoted(line: str, depth: int) -> str:
    return f"{'>' * depth} {line}" if depth else line


_ARMOUR: Final = "-----BEGIN PGP "
_SIGNED: Final = "-----BEGIN PGP SIGNED MESSAGE-----"
_END: Final = "-----END PGP "
_MESSAGE: Final = f"{_ARMOUR}MESSAGE"
PGP_NOTE: Final = "[encrypted with PGP: not read]"


def unarmoured(text: str) -> str:
    """Return *text* without the armour of OpenPGP (RFC 9580, 6 and 7); an encrypted message is named."""
    return "\n".join(_unarmoured(text.split("\n"))) if _ARMOUR in text else text


def _unarmoured(lines: list[str]) -> Iterator[str]:
    last = max((nth for nth, line in enumerate(lines) if line.startswith(_END)), default=-1)
    state = ""  # the part of the armour: "head", "text" that is signed, or "data"
    for nth, line in enumerate(lines):
        if line.startswith(_ARMOUR) and nth < last:
            state = "head" if line.startswith(_SIGNED) else "data"
            if line.startswith(_MESSAGE):
                yield PGP_NOTE
        elif state == "head":
            state = state if line.strip() else "text"
        elif state == "data":
            state = "" if line.startswith(_END) else state
        else:
            yield line.removeprefix("- ") if state == "text" else line


def flow_of(format: str, delsp: str) -> str:
    """Return the ``Body.flow`` for the parameters of a content type."""
    if format.strip().lower() != "flowed":
        return ""
    return "delsp" if delsp.strip().lower() == "yes" else "flowed"


_SIGNED_DATA: Final = bytes.fromhex("2a864886f70d010702")  # 1.2.840.113549.1.7.2
_SEQUENCE, _OCTETS, _EXPLICIT = 0x30, 0x04, 0xA0
_CONSTRUCTED: Final = 0x20
_MAX_DEPTH: Final = 16


class NotSigned(ValueError):
    """Data of S/MIME without a content that can be read; ``str()`` is the reason."""


def signed_content(data: bytes) -> bytes:
    """Return the content of signed data (CMS, RFC 5652, 5), whose signature is not verified.

    Raises:
        NotSigned: encrypted, without a content, or damaged.
    """
    try:
        oid, content = _children(_only_child(data, _SEQUENCE), 2)
        if oid[1] != _SIGNED_DATA:
            raise NotSigned("encrypted")
        fields = _children(_only_child(content[1], _SEQUENCE))
        enclosed = _children(next(value for tag, value in fields if tag == _SEQUENCE))
        if len(enclosed) < 2:
            raise NotSigned("signature")
        return b"".join(_octets(enclosed[1][1], 0))
    except (IndexError, StopIteration, ValueError) as error:
        raise error if isinstance(error, NotSigned) else NotSigned("damaged") from error


_Value = tuple[int, bytes]


def _only_child(data: bytes, tag: int) -> bytes:
    found = next(_values(data, 0))
    if found[0] != tag:
        raise NotSigned("damaged")
    return found[1]


def _children(data: bytes, most: int = 10) -> list[_Value]:
    return [value for _, value in zip(range(most), _values(data, 0), strict=False)]


def _octets(data: bytes, depth: int) -> Iterator[bytes]:
    """Yield the pieces of an octet string, which may be in pieces (BER)."""
    for nth, (tag, value) in enumerate(_values(data, 0)):
        if depth > _MAX_DEPTH or nth > 100_000:  # of a content that its program wrote while it was read
            raise NotSigned("damaged")
        if tag & _CONSTRUCTED:
            yield from _octets(value, depth + 1)
        elif tag == _OCTETS:
            yield value


def _values(data: bytes, depth: int) -> Iterator[_Value]:
    """Yield tags and contents of the values in *data* (BER); the end of an open one is found by its parts."""
    at = 0
    while at < len(data):
        tag, start, end, after = _span(data, at, depth)
        if tag == 0:
            return
        yield tag, data[start:end]
        at = after


def _span(data: bytes, at: int, depth: int) -> tuple[int, int, int, int]:
    """Return the tag of a value, the start and end of its content, and the place after it."""
    if depth > _MAX_DEPTH:
        raise NotSigned("damaged")
    tag, length, start = data[at], data[at + 1], at + 2
    if length == 0x80:
        end = start
        while data[end] or data[end + 1]:
            end = _span(data, end, depth + 1)[3]
        return tag, start, end, end + 2
    if length > 0x80:
        size = length & 0x7F
        length, start = int.from_bytes(data[start : start + size], "big"), start + size
    if start + length > len(data):
        raise NotSigned("damaged")
    return tag, start, start + length, start + length
