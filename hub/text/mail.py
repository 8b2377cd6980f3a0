"""A mail to text: who wrote to whom and when, what they wrote, and what was attached.

The form is always the same, and whoever cuts it into chunks may build on it::

    Subject: Rent
    From: Ana <ana@example.org>
    To: Bob <bob@example.org>
    Date: Tue, 3 Jun 2025 10:00:00 +0200

    What she wrote; quoted lines, and all that stands below a forwarded mail's head,
    begin with "> ".

    [attachment: plan.csv]
    its text

An attachment without text is named alike, with the reason where it should have had one.
Mail in the wild is malformed as often as not, so the headers are read by the old,
lenient rules of ``email`` (its new ones raise on a stray comma, and take quadratic time
over a long address), and a charset that nobody knows is guessed, never fatal.
"""

import binascii
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.errors import HeaderParseError, MessageError
from email.header import decode_header
from email.message import Message
from email.utils import collapse_rfc2231_value, parsedate_to_datetime
from typing import Final

from hub.text import quoting
from hub.text.converted import Converted, NotConvertible
from hub.text.decoding import decode
from hub.text.html import TooTangled, text_of_html
from hub.text.kinds import HTML, MAIL, PLAIN, is_named, media_type_of

_SHOWN: Final = ("Subject", "From", "To", "Cc", "Date")
_MOST_HEADER_CHARS: Final = 1_000  # a hundred addressees; nobody reads more
_MOST_RAW_CHARS: Final = 20 * _MOST_HEADER_CHARS  # as it is spelled; decoding takes the square of it
_MOST_NAME_CHARS: Final = 120
_MOST_PARTS: Final = 200  # looked at in one mail, those of mails inside it included
_MOST_READ: Final = 20  # attachments that are turned into text
_MOST_DEPTH: Final = 3  # of mails in mails
_UNSAID: Final = "application/octet-stream"
_SPACE: Final = re.compile(r"\s+")

Part = Message
Attached = Callable[[bytes, str], Converted]


@dataclass(frozen=True)
class MailText:
    """What a mail says: *dropped* counts hidden parts left out; *date* is aware, where it names one."""

    text: str
    dropped: int
    date: datetime | None


def text_of_mail(data: bytes, *, attached: Attached) -> MailText:
    """The text of a mail, in the form above.

    Args:
        data: the mail as it travels (RFC 5322).
        attached: reads an attachment, by its bytes and media type; raises ``NotConvertible``.

    Raises:
        NotConvertible: it is no mail, or one of nothing but bytes.
    """
    reading = _Reading(attached)
    try:
        message = message_from_bytes(data)
        text = reading.mail(message, depth=0)
    except (MessageError, RecursionError) as error:
        raise NotConvertible("damaged, or not really a mail") from error
    return MailText(text, reading.dropped, _date(message))


class _Reading:
    """One mail being read, with the mails inside it: what is spent of its limits."""

    def __init__(self, attached: Attached) -> None:
        self.dropped = 0
        self._attached = attached
        self._parts = 0
        self._read = 0

    def mail(self, message: Part, *, depth: int) -> str:
        head = [f"{name}: {value}" for name in _SHOWN if (value := _header(message, name))]
        bodies, others = self._sort(message)
        if not head and not others and not bodies:
            raise NotConvertible("not a mail: no headers and no text")
        sections = ["\n".join(head)] if head else []
        sections += [self._body(part) for part in bodies]
        sections += [self._attachment(part, depth) for part in others]
        return "\n\n".join(section for section in sections if section) + "\n"

    def _sort(self, message: Part) -> tuple[list[Part], list[Part]]:
        """The parts that are the mail's own words, and those that hang on to it; without recursion."""
        bodies: list[Part] = []
        others: list[Part] = []
        todo = [message]
        while todo:
            part = todo.pop()
            self._parts += 1
            if self._parts > _MOST_PARTS:
                raise NotConvertible(f"a mail of more than {_MOST_PARTS} parts")
            kind = part.get_content_type()
            inner = part.get_payload()
            if kind == MAIL:
                others.append(part)
            elif isinstance(inner, list):
                children = [child for child in inner if isinstance(child, Message)]
                chosen = self._chosen(children) if kind == "multipart/alternative" else children
                todo += reversed(chosen)
            elif kind.startswith("multipart/"):
                bodies.append(part)  # said to have parts, and has none: its border is nowhere to be found
            elif kind in (PLAIN, HTML) and part.get_content_disposition() != "attachment" and not _name(part):
                bodies.append(part)
            else:
                others.append(part)
        return bodies, others

    def _chosen(self, ways: list[Part]) -> list[Part]:
        """Of several ways to say the same: plain words if there are any, else the richest."""
        for part in ways:
            if part.get_content_type() == PLAIN and not _name(part) and _bytes(part).strip():
                return [part, *(other for other in ways if _name(other))]
        return ways[-1:]

    def _body(self, part: Part) -> str:
        text = _text(part)
        if part.get_content_type() == HTML:
            try:
                page = text_of_html(text, marks_quotes=True)
            except TooTangled as error:
                raise NotConvertible(str(error)) from error
            self.dropped += page.dropped
            text = page.text
        return quoting.mark(text.strip("\r\n"))

    def _attachment(self, part: Part, depth: int) -> str:
        name = _name(part)
        kind = part.get_content_type()
        if kind == MAIL:
            return self._mail_inside(part, name or "a mail", depth)
        if kind == _UNSAID and name and is_named(name):
            kind = media_type_of(name)
        is_readable = kind.startswith("text/") or bool(name and is_named(name))
        if not name and not is_readable:
            return ""  # a picture in the page, a signature: nobody gave it a name
        shown = name or kind
        if not is_readable:
            return f"[attachment: {shown}]"
        if self._read == _MOST_READ:
            return f"[attachment: {shown}, not read: the mail has more than {_MOST_READ}]"
        self._read += 1
        try:
            read = self._attached(_bytes(part), kind)
        except NotConvertible as error:
            return f"[attachment: {shown}, not read: {error}]"
        self.dropped += read.dropped
        return f"[attachment: {shown}]\n{read.text.strip()}".rstrip()

    def _mail_inside(self, part: Part, name: str, depth: int) -> str:
        inner = part.get_payload()
        message = inner[0] if isinstance(inner, list) and inner else None
        if not isinstance(message, Message) or depth == _MOST_DEPTH:
            return f"[attachment: {name}, not read: mails inside mails, too deep]"
        lines = self.mail(message, depth=depth + 1).rstrip("\n").split("\n")
        return "\n".join([f"[attachment: {name}]", *(f"> {line}".rstrip() for line in lines)])


def _header(message: Part, name: str) -> str:
    """The first header of that name: decoded, on one line, without what cannot be seen."""
    wanted = name.lower()
    raw = next((value for key, value in message.raw_items() if key.lower() == wanted), "")
    return _on_one_line(_decoded(raw), _MOST_HEADER_CHARS)


def _decoded(raw: str) -> str:
    """Encoded words (RFC 2047) and bare 8-bit letters, as text; of a header without end, its beginning."""
    raw = raw[:_MOST_RAW_CHARS]
    if not raw.isascii():  # the parser keeps bytes that are no ASCII as lone surrogates
        raw = _guessed(raw.encode("utf-8", "surrogateescape"))
    if "=?" not in raw:
        return raw
    try:
        pieces = decode_header(raw)
    except (HeaderParseError, ValueError):
        return raw
    return "".join(
        _in_charset(piece, charset) if isinstance(piece, bytes) else piece for piece, charset in pieces
    )


def _on_one_line(text: str, most_chars: int) -> str:
    seen = "".join(
        char for char in _SPACE.sub(" ", text) if unicodedata.category(char) not in ("Cc", "Cf", "Cs")
    ).strip()
    return seen if len(seen) <= most_chars else f"{seen[:most_chars]}…"


def _name(part: Part) -> str:
    """What the sender calls an attachment; empty where it has no name."""
    given = part.get_param("filename", None, "content-disposition") or part.get_param("name", None)
    if not given:
        return ""
    try:
        name = collapse_rfc2231_value(given)
    except (LookupError, ValueError):
        name = given if isinstance(given, str) else given[2]
    return _on_one_line(_decoded(name), _MOST_NAME_CHARS).replace("[", "(").replace("]", ")")


def _bytes(part: Part) -> bytes:
    try:
        payload = part.get_payload(decode=True)
    except (ValueError, binascii.Error):
        return b""
    return payload if isinstance(payload, bytes) else b""


def _text(part: Part) -> str:
    try:
        charset = part.get_content_charset()
    except (LookupError, ValueError, AttributeError):
        charset = None
    return _in_charset(_bytes(part), charset)


def _in_charset(data: bytes, charset: str | None) -> str:
    """*data* by what it was said to be, else by what it seems to be, else with marks where it is neither."""
    if charset and charset.lower() not in ("us-ascii", "ascii", "unknown-8bit"):
        try:
            return data.decode(charset)
        except (LookupError, ValueError):
            pass
    return _guessed(data)


def _guessed(data: bytes) -> str:
    try:
        return decode(data)
    except NotConvertible:
        return data.decode("utf-8", "replace")


def _date(message: Part) -> datetime | None:
    try:
        date = parsedate_to_datetime(_header(message, "Date"))
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
