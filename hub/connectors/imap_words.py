"""IMAP syntax (RFC 9051, RFC 3501): folder names, strings, dates, sets of numbers. Pure functions."""

import binascii
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Final

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SHIFTED: Final = re.compile(r"&([^-]*)-")
_NOT_PRINTED: Final = re.compile(r"&|[^\x20-\x7e]+")


def quoted(text: str) -> bytes:
    """Encode *text* as a quoted string.

    Raises:
        ValueError: line ends or non-ASCII characters.
    """
    if not text.isascii() or any(char in text for char in "\r\n\0"):
        raise ValueError("no line ends and only ASCII letters in a quoted string")
    return b'"' + text.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'


def folder_word(name: str) -> bytes:
    """Encode a folder's name: modified UTF-7, quoted (RFC 3501, 5.1.3)."""

    def shifted(match: re.Match[str]) -> str:
        if match[0] == "&":
            return "&-"
        encoded = binascii.b2a_base64(match[0].encode("utf-16-be", "replace"), newline=False)
        return f"&{encoded.decode().rstrip('=').replace('/', ',')}-"

    return quoted(_NOT_PRINTED.sub(shifted, name))


def folder_name(word: bytes) -> str:
    """Decode a folder's name; invalid sequences are kept."""

    def unshifted(match: re.Match[str]) -> str:
        if not match[1]:
            return "&"
        padded = match[1].replace(",", "/") + "=" * (-len(match[1]) % 4)
        try:
            return binascii.a2b_base64(padded, strict_mode=True).decode("utf-16-be")
        except ValueError:
            return match[0]

    return _SHIFTED.sub(unshifted, word.decode("utf-8", "replace"))


def day(of: date) -> bytes:
    """Format a date for SEARCH, in English for any locale."""
    return f"{of.day}-{_MONTHS[of.month - 1]}-{of.year}".encode()


def set_of(uids: Sequence[int]) -> bytes:
    """Format sorted numbers as a set: ``1:3,7``."""
    return b",".join(
        str(first).encode() if first == last else f"{first}:{last}".encode() for first, last in _runs(uids)
    )


def numbers(word: bytes) -> Iterator[int]:
    """Yield the numbers of a set such as ``1:3,7``. Raises ValueError."""
    for piece in word.split(b","):
        first, colon, last = piece.partition(b":")
        ends = sorted((int(first), int(last if colon else first)))
        yield from range(ends[0], ends[1] + 1)


def _runs(uids: Iterable[int]) -> Iterator[tuple[int, int]]:
    first = last = None
    for uid in uids:
        if last is not None and first is not None and uid == last + 1:
            last = uid
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = uid
    if first is not None and last is not None:
        yield first, last
