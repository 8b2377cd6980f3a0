"""Conversion of a mail to text: sender, recipients, date, bodies and attachments.

The format is always the same; the chunker relies on it::

    Subject: Rent
    From: Ana <ana@example.org>
    To: Bob <bob@example.org>
    Date: Tue, 3 Jun 2025 10:00:00 +0200

    What she wrote; quoted lines, and everything below a forwarded mail's head,
    begin with "> ".

    [attachment: plan.csv]
    its text

An attachment without text has the same line, with the reason if it should have text. ``mime`` handles
malformed headers and unknown charsets. ``convert`` converts mails of a mailbox and separates new from quoted
text.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes
from email.errors import MessageError
from email.message import Message
from typing import Final

from hub.text import quoting
from hub.text.files import HTML, MAIL, PLAIN, Converted, NotConvertible, is_named, media_type_of
from hub.text.html import TooTangled, text_of_html
from hub.text.mime import bytes_of, date_of, header, name_of, text_of

_SHOWN: Final = ("Subject", "From", "To", "Cc", "Date")
_MOST_PARTS: Final = 200  # examined in one mail, including nested mails
_MOST_READ: Final = 20  # attachments that are converted to text
_MOST_DEPTH: Final = 3  # of nested mails
_UNSAID: Final = "application/octet-stream"

Part = Message
Attached = Callable[[bytes, str], Converted]


@dataclass(frozen=True)
class MailText:
    """Text of a mail: *dropped* counts the hidden parts left out; *date* is aware, or None."""

    text: str
    dropped: int
    date: datetime | None


def text_of_mail(data: bytes, *, attached: Attached) -> MailText:
    """Convert a mail to text, in the format described above.

    Args:
        data: raw mail (RFC 5322).
        attached: converts an attachment, given its bytes and media type; raises ``NotConvertible``.

    Raises:
        NotConvertible: not a mail, damaged, or a body that cannot be converted.
    """
    reading = _Reading(attached)
    try:
        message = message_from_bytes(data)
        text = reading.mail(message, depth=0)
    except (MessageError, RecursionError) as error:
        raise NotConvertible("damaged, or not really a mail") from error
    return MailText(text, reading.dropped, date_of(message))


class _Reading:
    """State of reading one mail with its nested mails: the resources used."""

    def __init__(self, attached: Attached) -> None:
        self.dropped = 0
        self._attached = attached
        self._parts = 0
        self._read = 0

    def mail(self, message: Part, *, depth: int) -> str:
        head = [f"{name}: {value}" for name in _SHOWN if (value := header(message, name))]
        bodies, others = self._sort(message)
        if not head and not others and not bodies:
            raise NotConvertible("not a mail: no headers and no text")
        sections = ["\n".join(head)] if head else []
        sections += [self._body(part) for part in bodies]
        sections += [self._attachment(part, depth) for part in others]
        return "\n\n".join(section for section in sections if section) + "\n"

    def _sort(self, message: Part) -> tuple[list[Part], list[Part]]:
        """Separate a mail's bodies from its attachments, without recursion."""
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
                bodies.append(part)  # a multipart without parts: its boundary does not occur
            elif (
                kind in (PLAIN, HTML) and part.get_content_disposition() != "attachment" and not name_of(part)
            ):
                bodies.append(part)
            else:
                others.append(part)
        return bodies, others

    def _chosen(self, ways: list[Part]) -> list[Part]:
        """Choose among alternatives: non-empty plain text, else the richest."""
        for part in ways:
            if part.get_content_type() == PLAIN and not name_of(part) and bytes_of(part).strip():
                return [part, *(other for other in ways if name_of(other))]
        return ways[-1:]

    def _body(self, part: Part) -> str:
        text = text_of(part)
        if part.get_content_type() == HTML:
            try:
                page = text_of_html(text, marks_quotes=True)
            except TooTangled as error:
                raise NotConvertible(str(error)) from error
            self.dropped += page.dropped
            text = page.text
        return quoting.mark(text.strip("\r\n"))

    def _attachment(self, part: Part, depth: int) -> str:
        name = name_of(part)
        kind = part.get_content_type()
        if kind == MAIL:
            return self._mail_inside(part, name or "a mail", depth)
        if kind == _UNSAID and name and is_named(name):
            kind = media_type_of(name)
        is_readable = kind.startswith("text/") or bool(name and is_named(name))
        if not name and not is_readable:
            return ""  # an embedded image or signature without a name
        shown = name or kind
        if not is_readable:
            return f"[attachment: {shown}]"
        if self._read == _MOST_READ:
            return f"[attachment: {shown}, not read: the mail has more than {_MOST_READ}]"
        self._read += 1
        try:
            read = self._attached(bytes_of(part), kind)
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
