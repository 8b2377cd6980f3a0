"""Tolerant parsing of mail parts: headers, names, charsets, dates; and decoding of unknown encodings.

Real mail is often malformed. So headers are parsed by the legacy, lenient rules of ``email``. Its new rules
raise on a stray comma, and take quadratic time for a long address. An unknown charset is guessed, never
fatal. Only ``decode`` raises: for a file, ambiguous content is refused, because a wrong guess would end up in
a user's task. Its text is not normalized: line ends are preserved, only a byte order mark is removed.
"""

import binascii
import codecs
import quopri
import re
import unicodedata
from contextlib import suppress
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.quoprimime import header_decode
from email.utils import collapse_rfc2231_value, parsedate_to_datetime
from typing import Final

from hub.text.files import NotConvertible

# Longer marks first: UTF-32 LE starts with the mark of UTF-16 LE.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_CONTROLS: Final = frozenset(range(32)) - frozenset(b"\t\n\f\r\x1b")
_MOST_HIGH_BYTES: Final = 0.3  # share in a text of an 8-bit Western encoding; real texts stay below 0.1


def decode(data: bytes) -> str:
    """Decode bytes by their mark, else as UTF-8, else as Windows-1252 if that is plausible.

    Raises:
        NotConvertible: no encoding fits, or NUL bytes show that the data is binary.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(encoding)
            except UnicodeDecodeError as error:
                raise NotConvertible(f"marked as {encoding}, but is not") from error
    if b"\0" in data:
        raise NotConvertible("binary: it contains NUL bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        high = sum(data.count(byte) for byte in range(128, 256))
        if high <= len(data) * _MOST_HIGH_BYTES and not any(byte in data for byte in _CONTROLS):
            with suppress(UnicodeDecodeError):  # five byte values are undefined
                return data.decode("cp1252")
        raise NotConvertible("in no encoding that could be detected with confidence") from error


MOST_HEADER_CHARS: Final = 1_000  # about a hundred addressees
MOST_RAW_CHARS: Final = 20 * MOST_HEADER_CHARS  # before decoding, which takes quadratic time
MOST_NAME_CHARS: Final = 120
_MOST_DATE_CHARS: Final = 200
_SPACE: Final = re.compile(r"\s+")
# Fast path: a field that is a single encoded word.
_WORD: Final = re.compile(r"=\?([A-Za-z0-9_.:-]+)\?([bBqQ])\?([^?\s]*)\?=")
_ISO_DATE: Final = re.compile(r"\d{4}-\d\d-\d\dT")


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


def normalised_text(data: bytes, charset: str | None) -> str:
    """Decode a body that a provider usually converts to UTF-8 without changing its charset header."""
    # ISO-2022 and UTF-16 text may also be valid UTF-8.
    is_shifting = bool(charset) and (b"\x1b" in data or b"\0" in data)
    if not is_shifting:
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            pass
    return in_charset(data, charset)


def header_text(raw: str) -> str:
    """Decode a raw header to one line of limited length."""
    return on_one_line(decoded(raw))


def decoded(raw: str) -> str:
    """Decode encoded words (RFC 2047) and bare 8-bit characters; a long header is cut."""
    raw = letters(raw[:MOST_RAW_CHARS])
    if (word := _WORD.fullmatch(raw)) is not None:
        return _word(word[1], word[2], word[3])
    if "=?" not in raw:
        return raw
    try:
        pieces = decode_header(raw)
    except (HeaderParseError, ValueError, LookupError, TypeError):
        return raw
    return "".join(piece if isinstance(piece, str) else _piece(piece, charset) for piece, charset in pieces)


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


def _word(charset: str, way: str, text: str) -> str:
    """Decode one encoded word; return the raw text if it is invalid."""
    try:
        if way in "qQ":
            data = header_decode(text).encode("latin-1")
        else:
            data = binascii.a2b_base64(text + "=" * (-len(text) % 4))
    except ValueError:
        return text
    return in_charset(data, charset)


def _piece(data: bytes, charset: str | None) -> str:
    if charset is None:  # text between encoded words, in the form decode_header returns
        return data.decode("raw-unicode-escape", "replace")
    return in_charset(data, charset)


def on_one_line(text: str, most_chars: int = MOST_HEADER_CHARS) -> str:
    """Remove line ends and invisible characters from *text*, and cut it to *most_chars*."""
    if not (text.isascii() and text.isprintable() and "  " not in text):
        text = "".join(
            char for char in _SPACE.sub(" ", text) if unicodedata.category(char) not in ("Cc", "Cf", "Cs")
        )
    text = text.strip()
    return text if len(text) <= most_chars else f"{text[:most_chars]}…"


def name_of(part: Message) -> str:
    """Return the name of an attachment, or an empty string."""
    try:
        given = part.get_param("filename", None, "content-disposition") or part.get_param("name", None)
    except TypeError:  # the library cannot join a whole parameter with parts of it (name*=a; name*0=b)
        return ""
    if not given:
        return ""
    try:
        name = collapse_rfc2231_value(given)
    except (LookupError, ValueError):
        name = given if isinstance(given, str) else given[2]
    return file_name(decoded(name))


def file_name(given: str) -> str:
    """Make a name safe for use in square brackets: short, on one line."""
    return on_one_line(given, MOST_NAME_CHARS).replace("[", "(").replace("]", ")")


def bytes_of(part: Message) -> bytes:
    """Return a part's content without its transfer encoding; empty if decoding fails."""
    try:
        payload = part.get_payload(decode=True)
    except (ValueError, binascii.Error):
        return b""
    return payload if isinstance(payload, bytes) else b""


def text_of(part: Message) -> str:
    """Return the text of a part, decoded by its declared charset if possible."""
    try:
        charset = part.get_content_charset()
    except (LookupError, ValueError, AttributeError, TypeError):
        charset = None
    return in_charset(bytes_of(part), charset)


def in_charset(data: bytes, charset: str | None) -> str:
    """Decode *data* by its declared charset, else by a guess, else with replacement characters."""
    if charset and charset.lower() not in ("us-ascii", "ascii", "unknown-8bit"):
        try:
            return data.decode(charset)
        except (LookupError, ValueError):
            pass
    try:
        return decode(data)
    except NotConvertible:
        return data.decode("utf-8", "replace")


def date_in(spelled: str) -> datetime | None:
    """Parse a date of a mail (RFC 5322) or a provider (ISO 8601) to UTC; ``None`` if it is invalid."""
    spelled = spelled[:_MOST_DATE_CHARS].strip()
    try:
        date = datetime.fromisoformat(spelled) if _ISO_DATE.match(spelled) else parsedate_to_datetime(spelled)
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (TypeError, ValueError, LookupError, OverflowError, AttributeError):
        return None
