"""Tolerant parser of mail headers and parts: names, charsets, dates, and bulk mail.

Real mail is often malformed, and may be an attack. So headers are parsed leniently, each in one pass: the
parsers of ``email`` raise on a stray comma, or take quadratic time. An unknown charset is guessed, never
fatal.
"""

import binascii
import quopri
import re
from collections.abc import Mapping
from email.message import Message
from email.quoprimime import header_decode
from email.utils import unquote
from typing import Final

from hub.text.decoding import decode_or_guess
from hub.text.files import HTML, NotConvertible
from hub.text.header_values import MAX_HEADER_CHARS, on_one_line

MAX_RAW_CHARS: Final = 20 * MAX_HEADER_CHARS  # before decoding
MAX_NAME_CHARS: Final = 120
# Encoded word, which ends before the next one begins: no text is scanned twice.
_WORD: Final = re.compile(r"=\?([^\s?=]{1,60})\?([bBqQ])\?((?>(?:[^?=]++|=(?!\?(?!=))|\?(?!=))*))\?=")
Decoded = tuple[str, str | None]  # text, and its encoding if that was guessed


def undone(data: bytes, transfer_encoding: str) -> bytes:
    """Decode a transfer encoding (RFC 2045, 6); invalid parts are skipped.

    Args:
        transfer_encoding: ``base64`` or ``quoted-printable``; for any other, *data* is returned unchanged.
    """
    match transfer_encoding.strip().lower():
        case "base64":
            clean = re.sub(rb"[^A-Za-z0-9+/]", b"", data)
            clean = clean[: len(clean) - (len(clean) % 4 == 1)]
            return binascii.a2b_base64(clean + b"=" * (-len(clean) % 4))
        case "quoted-printable":
            return quopri.decodestring(data)
        case _:
            return data


def is_broken(data: bytes, transfer_encoding: str) -> bool:
    """Return True for base64 with foreign characters, or whose last group is not whole."""
    text = b"".join(data.split()).rstrip(b"=")
    is_base64 = transfer_encoding.strip().lower() == "base64"
    return is_base64 and (len(text) % 4 == 1 or re.search(rb"[^A-Za-z0-9+/]", text) is not None)


def header_text(raw: str) -> str:
    """Decode a raw header to one line of limited length."""
    return on_one_line(decoded(raw))


def decoded(raw: str) -> str:
    """Decode encoded words (RFC 2047) and bare 8-bit characters; a long header is cut."""
    raw = letters(raw[:MAX_RAW_CHARS])
    if "=?" not in raw:
        return raw
    pieces: list[str | tuple[str, bytes]] = []
    end = 0
    for match in _WORD.finditer(raw):
        between = raw[end : match.start()]
        if between and (not pieces or not between.isspace()):
            pieces.append(between)
        end = match.end()
        charset, data = match[1].partition("*")[0], _word(match[2], match[3])
        if data is None:
            pieces.append(match[0])
        elif pieces and pieces[-1][0] == charset and not isinstance(pieces[-1], str):
            pieces[-1] = charset, pieces[-1][1] + data  # a character may be split between two words
        else:
            pieces.append((charset, data))
    pieces.append(raw[end:])
    return "".join(piece if isinstance(piece, str) else in_charset(piece[1], piece[0]) for piece in pieces)


def letters(raw: str) -> str:
    """Decode bytes that the parser represents as lone surrogates."""
    if raw.isascii():
        return raw
    try:
        data = raw.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate without a byte
        data = raw.encode("utf-8", "replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _word(way: str, text: str) -> bytes | None:
    """Decode the text of an encoded word; return None if it is invalid."""
    try:
        if way in "qQ":
            return header_decode(text).encode("latin-1")
        return binascii.a2b_base64(text + "=" * (-len(text) % 4))
    except ValueError:
        return None


def name_of(part: Message) -> str:
    """Return the name of an attachment, or an empty string."""
    try:
        given = part.get_param("filename", None, "content-disposition") or part.get_param("name", None)
    except TypeError:  # the library cannot join a whole parameter with parts of it (name*=a; name*0=b)
        return ""
    if not given:
        return ""
    return file_name(decoded(parameter(given)))


def parameter_of(part: Message, name: str) -> str:
    """Return a parameter of the content type of *part*, or an empty string."""
    try:
        return parameter(part.get_param(name, ""))
    except TypeError:  # as in ``name_of``
        return ""


def parameter(value: str | tuple[str | None, str | None, str]) -> str:
    """Decode the value of a parameter (RFC 2231), as ``email`` gives it."""
    if isinstance(value, str):
        return unquote(value)
    return unquote(in_charset(value[2].encode("raw-unicode-escape"), value[0] or "utf-8"))


def file_name(given: str) -> str:
    """Make a name safe for use in square brackets: short, on one line."""
    return on_one_line(given, MAX_NAME_CHARS).replace("[", "(").replace("]", ")")


def bytes_of(part: Message) -> bytes:
    """Return a part's content without its transfer encoding; empty if decoding fails."""
    try:
        payload = part.get_payload(decode=True)
    except (ValueError, binascii.Error):
        return b""
    return payload if isinstance(payload, bytes) else b""


def text_of(part: Message) -> Decoded:
    """Return the text of a part, decoded by its declared charset if possible."""
    return in_charset_or_guess(
        bytes_of(part), parameter_of(part, "charset"), is_page=part.get_content_type() == HTML
    )


def in_charset(data: bytes, charset: str | None) -> str:
    """Decode *data* by its declared charset, else by a guess, else with replacement characters."""
    return in_charset_or_guess(data, charset)[0]


def in_charset_or_guess(
    data: bytes, charset: str | None, *, is_page: bool = False, is_utf8: bool = False
) -> Decoded:
    """Decode *data* as ``decode_or_guess`` does, and where it cannot, with replacement characters."""
    try:
        return decode_or_guess(data, charset, is_page=is_page, is_utf8=is_utf8)
    except NotConvertible:
        return data.decode("utf-8", "replace"), None


BULK_HEADERS: Final = ("list-id", "list-unsubscribe", "auto-submitted", "precedence", "content-type")


def is_bulk(headers: Mapping[str, str]) -> bool:
    """Return True for mail from a list or a machine (RFC 2919, RFC 3834). Names are in lower case."""
    automatic = headers.get("auto-submitted", "").partition(";")[0].strip().lower()
    return (
        "list-id" in headers
        or "list-unsubscribe" in headers
        or headers.get("content-type", "").strip().lower().startswith("multipart/report")
        or automatic not in ("", "no")
        or headers.get("precedence", "").strip().lower() in ("bulk", "list", "junk")
    )
