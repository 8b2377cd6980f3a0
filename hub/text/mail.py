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
How malformed heads and unknown charsets are read stands in ``mime``; a mail as a mailbox hands it over,
with what is new in it told from what is quoted, in ``letters``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes
from email.errors import MessageError
from email.message import Message
from typing import Final

from hub.text import quoting
from hub.text.converted import Converted, NotConvertible
from hub.text.html import TooTangled, text_of_html
from hub.text.kinds import HTML, MAIL, PLAIN, is_named, media_type_of
from hub.text.mime import bytes_of, date_of, header, name_of, text_of

_SHOWN: Final = ("Subject", "From", "To", "Cc", "Date")
_MOST_PARTS: Final = 200  # looked at in one mail, those of mails inside it included
_MOST_READ: Final = 20  # attachments that are turned into text
_MOST_DEPTH: Final = 3  # of mails in mails
_UNSAID: Final = "application/octet-stream"

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
    return MailText(text, reading.dropped, date_of(message))


class _Reading:
    """One mail being read, with the mails inside it: what is spent of its limits."""

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
            elif (
                kind in (PLAIN, HTML) and part.get_content_disposition() != "attachment" and not name_of(part)
            ):
                bodies.append(part)
            else:
                others.append(part)
        return bodies, others

    def _chosen(self, ways: list[Part]) -> list[Part]:
        """Of several ways to say the same: plain words if there are any, else the richest."""
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
            return ""  # a picture in the page, a signature: nobody gave it a name
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
