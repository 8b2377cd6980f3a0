"""Syntax of IMAP: folder names, strings, dates, numbers, sets of numbers, and values of a response. Pure.

The parser of ``imaplib`` does not support literals in answers, so commands are formatted and answers parsed
here (RFC 9051, RFC 3501).
"""

import binascii
import re
from collections.abc import Sequence
from datetime import date
from itertools import groupby
from typing import Final

_MAX_DEPTH: Final = 60  # of parentheses; a valid mail is not nested deeper
_MAX_DIGITS: Final = 18  # below 2**63
_TOKEN: Final = re.compile(
    rb'([()])|"((?>(?:[^"\\]++|\\.)*))(?:"|\\?\Z)|((?:BODY|BINARY)\[[^\[\]]*+\](?:<\d+>)?|[^\s()"]+)',
    re.IGNORECASE,
)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
Value = bytes | None | list["Value"]  # an atom or string, NIL, or a parenthesized list
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SHIFTED: Final = re.compile(r"&([^&-]*+)-")
_NOT_PRINTED: Final = re.compile(r"&|[^\x20-\x7e]+")


class Lost(Exception):
    """Unusable connection: closed, or its data cannot be parsed."""


def values(pieces: Sequence[bytes]) -> list[Value]:
    """Parse a response with its literals.

    Raises:
        Lost: parentheses do not match, or are nested too deeply.
    """
    top: list[Value] = []
    stack = [top]
    for at, piece in enumerate(pieces):
        if at % 2:
            stack[-1].append(piece)
            continue
        for sign, string, atom in _TOKEN.findall(piece):
            if atom:
                stack[-1].append(None if atom in (b"NIL", b"nil") else atom)
            elif sign == b"(":
                inner: list[Value] = []
                stack[-1].append(inner)
                stack.append(inner)
                if len(stack) > _MAX_DEPTH:
                    raise Lost(f"the server's answer nests deeper than {_MAX_DEPTH} levels")
            elif sign:
                stack.pop()
                if not stack:
                    raise Lost("the server's answer cannot be understood")
            else:
                stack[-1].append(_ESCAPED.sub(rb"\1", string) if b"\\" in string else string)
    if len(stack) > 1:
        raise Lost("the server's answer cannot be understood")
    return top


def number_of(value: Value) -> int | None:
    """Parse a number of at most 63 bits (RFC 9051, 9); None for a value that is no text.

    Raises:
        Lost: the text is no such number.
    """
    if not isinstance(value, bytes):
        return None
    if not value.isdigit() or len(value) > _MAX_DIGITS:
        raise Lost("the server's answer cannot be understood")
    return int(value)


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


def iso_of(internal: str) -> str:
    """Spell an INTERNALDATE as ISO 8601, which is parsed much faster; return other texts as they are."""
    if len(internal) != len("17-Jul-1996 02:44:25 -0700") or internal[3:6] not in _MONTHS:
        return internal
    month = f"{_MONTHS.index(internal[3:6]) + 1:02}"
    date = f"{internal[7:11]}-{month}-{internal[:2].replace(' ', '0')}"
    return f"{date}T{internal[12:20]}{internal[21:24]}:{internal[24:]}"


def set_of(uids: Sequence[int]) -> bytes:
    """Format sorted numbers as a set: ``1:3,7``."""
    pieces = []
    # Consecutive numbers have the same distance to their index.
    for _, run in groupby(enumerate(uids), lambda pair: pair[1] - pair[0]):
        ends = [uid for _, uid in run]
        pieces.append(f"{ends[0]}:{ends[-1]}" if len(ends) > 1 else str(ends[0]))
    return ",".join(pieces).encode()
