"""What the parts of a mail say of themselves: headers, names, charsets, dates. Nothing here raises.

Mail in the wild is malformed as often as not, so the headers are read by the old,
lenient rules of ``email`` (its new ones raise on a stray comma, and take quadratic time
over a long address), and a charset that nobody knows is guessed, never fatal.
"""

import binascii
import quopri
import re
import unicodedata
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.utils import collapse_rfc2231_value, parsedate_to_datetime
from typing import Final

from hub.text.converted import NotConvertible
from hub.text.decoding import decode

MOST_HEADER_CHARS: Final = 1_000  # a hundred addressees; nobody reads more
MOST_RAW_CHARS: Final = 20 * MOST_HEADER_CHARS  # as it is spelled; decoding takes the square of it
MOST_NAME_CHARS: Final = 120
_SPACE: Final = re.compile(r"\s+")
_ISO_DATE: Final = re.compile(r"\d{4}-\d\d-\d\dT")


def undone(data: bytes, transfer_encoding: str) -> bytes:
    """*data* without its transfer encoding (RFC 2045, 6); what is broken in it is passed over.

    Args:
        transfer_encoding: ``base64``, ``quoted-printable``, or anything else, which changes nothing.
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
    """Text of a body that a provider hands over as UTF-8, mostly, and under the charset that it once had."""
    is_shifting = bool(charset) and (b"\x1b" in data or b"\0" in data)  # ISO-2022 and UTF-16 are UTF-8, too
    if not is_shifting:
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            pass
    return in_charset(data, charset)


def header(message: Message, name: str) -> str:
    """The first header of that name: decoded, on one line, without what cannot be seen."""
    wanted = name.lower()
    raw = next((value for key, value in message.raw_items() if key.lower() == wanted), "")
    return header_text(raw)


def header_text(raw: str) -> str:
    """A header as people read it, from how it is spelled: decoded, on one line, with an end."""
    return on_one_line(decoded(raw), MOST_HEADER_CHARS)


def decoded(raw: str) -> str:
    """Encoded words (RFC 2047) and bare 8-bit letters, as text; of a header without end, its beginning."""
    raw = raw[:MOST_RAW_CHARS]
    if not raw.isascii():  # the parser keeps bytes that are no ASCII as lone surrogates
        raw = guessed(raw.encode("utf-8", "surrogateescape"))
    if "=?" not in raw:
        return raw
    try:
        pieces = decode_header(raw)
    except (HeaderParseError, ValueError):
        return raw
    return "".join(piece if isinstance(piece, str) else _piece(piece, charset) for piece, charset in pieces)


def _piece(data: bytes, charset: str | None) -> str:
    if charset is None:  # what stands between encoded words, and how decode_header spells it
        return data.decode("raw-unicode-escape", "replace")
    return in_charset(data, charset)


def on_one_line(text: str, most_chars: int) -> str:
    """*text* without line ends and without what cannot be seen; of a longer one, its beginning."""
    seen = "".join(
        char for char in _SPACE.sub(" ", text) if unicodedata.category(char) not in ("Cc", "Cf", "Cs")
    ).strip()
    return seen if len(seen) <= most_chars else f"{seen[:most_chars]}…"


def name_of(part: Message) -> str:
    """What the sender calls an attachment; empty where it has no name."""
    given = part.get_param("filename", None, "content-disposition") or part.get_param("name", None)
    if not given:
        return ""
    try:
        name = collapse_rfc2231_value(given)
    except (LookupError, ValueError):
        name = given if isinstance(given, str) else given[2]
    return file_name(decoded(name))


def file_name(given: str) -> str:
    """A name as it may stand in the text between square brackets: short, on one line."""
    return on_one_line(given, MOST_NAME_CHARS).replace("[", "(").replace("]", ")")


def bytes_of(part: Message) -> bytes:
    """What a part holds, its transfer encoding undone; nothing where that fails."""
    try:
        payload = part.get_payload(decode=True)
    except (ValueError, binascii.Error):
        return b""
    return payload if isinstance(payload, bytes) else b""


def text_of(part: Message) -> str:
    """The text of a part, by the charset that it names where that fits."""
    try:
        charset = part.get_content_charset()
    except (LookupError, ValueError, AttributeError):
        charset = None
    return in_charset(bytes_of(part), charset)


def in_charset(data: bytes, charset: str | None) -> str:
    """*data* by what it was said to be, else by what it seems to be, else with marks where it is neither."""
    if charset and charset.lower() not in ("us-ascii", "ascii", "unknown-8bit"):
        try:
            return data.decode(charset)
        except (LookupError, ValueError):
            pass
    return guessed(data)


def guessed(data: bytes) -> str:
    """Text of bytes that nobody named a charset for, with marks where none fits."""
    try:
        return decode(data)
    except NotConvertible:
        return data.decode("utf-8", "replace")


def date_of(message: Message) -> datetime | None:
    """When it says that it was sent; aware UTC."""
    return date_in(header(message, "Date"))


def date_in(spelled: str) -> datetime | None:
    """A date as mails (RFC 5322) or providers (ISO 8601) spell it, in UTC; ``None`` where it is none."""
    try:
        date = datetime.fromisoformat(spelled) if _ISO_DATE.match(spelled) else parsedate_to_datetime(spelled)
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
