"""Archives of many messages (mbox, chat exports): detection, and division into messages.

Both are converted to one text (``mbox``, ``chats``) in which each message begins with a line that no message
can contain. So authors and dates can be read from the text alone, wherever it was converted.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from hub.text.files import CHAT, JSON, MAIL, MARKDOWN, MBOX, PLAIN
from hub.text.header_values import CHAT_MESSAGE

HEAD_BYTES: Final = 64 * 1024  # examined to detect the kind of a file

_MBOX_HEAD: Final = re.compile(rb"From [^\r\n]{0,400}\r?\n[!-9;-~]{1,80}:[ \t]")
_MAY_BE_ARCHIVE: Final = frozenset((PLAIN, MARKDOWN, JSON))  # Markdown of a mail, but not of a copied chat
_MAIL_FIELD: Final = re.compile(rb"([!-9;-~]{1,80}):(?:[ \t]|$)")
_LENGTH: Final = re.compile(rb"\d{1,10}[ \t]*\r?\n(?=[!-9;-~]{1,80}:)")
_TRANSPORT_FIELDS: Final = frozenset(
    (b"message-id", b"mime-version", b"received", b"return-path", b"delivered-to")
)
_MAIL_BEGINS: Final = re.compile(r"^From [^\n]*\n", re.MULTILINE)
_FIELD: Final = re.compile(r"^([A-Z][a-z]+): ([^\n]*)\n", re.MULTILINE)


class ArchivedMessage(NamedTuple):
    """Message of an archive.

    Attributes:
        start: start of its text, without the line that separates it from the message before.
        body: start of its content, after headers or name.
        author: author by the message's own account; None if it names none.
        written: date as written: of a mail's header, else ISO 8601 if its order is known.
    """

    start: int
    body: int
    end: int
    author: str | None
    written: str
    subject: str = ""


def kind_in(head: bytes, kind: str) -> str:
    """Return MBOX, MAIL or CHAT if the first HEAD_BYTES of a file of text show that, else *kind*."""
    if kind not in _MAY_BE_ARCHIVE:
        return kind
    from hub.text import chats  # not by a rules process, which has texts alone
    from hub.text.decoding import from_first_letter

    head = from_first_letter(head)
    if kind != JSON and _MBOX_HEAD.match(head):
        return MBOX
    if kind != JSON and _is_mail(mail_in(head)):
        return MAIL
    if kind in (PLAIN, JSON) and chats.is_export(head.decode("utf-8", "replace"), is_json=kind == JSON):
        return CHAT
    return kind


def mail_in(data: bytes) -> bytes:
    """Return the mail in a file of Apple Mail, which is between its length and a property list, or *data*."""
    length = _LENGTH.match(data)
    return data[length.end() : length.end() + int(length[0])] if length else data


def _is_mail(head: bytes) -> bool:
    """Return True for the fields of a mail at the start, of which at least one was added in transport."""
    fields = set[bytes]()
    for line in head.splitlines():
        if (field := _MAIL_FIELD.match(line)) is not None:
            fields.add(field[1].lower())
        elif not line.startswith((b" ", b"\t")):
            break
    return {b"from", b"date"} <= fields and not _TRANSPORT_FIELDS.isdisjoint(fields)


def messages_in(text: str, kind: str | None) -> list[ArchivedMessage]:
    """Return the messages of a converted archive in their order; none for other kinds of files."""
    if kind == MBOX:
        return list(_mails(text))
    if kind == CHAT:
        return list(_chat(text))
    return []


def mails_in(text: str, kind: str | None) -> list[ArchivedMessage]:
    """Return the mails of a converted mbox, or the one of a converted mail."""
    return list(_mails(text)) if kind == MBOX else [_mail(text, 0, len(text))]


def _mails(text: str) -> Iterator[ArchivedMessage]:
    borders = [match.span() for match in _MAIL_BEGINS.finditer(text)]
    for (_, start), (end, _) in pairwise([*borders, (len(text), 0)]):
        yield _mail(text, start, end)


def _mail(text: str, start: int, end: int) -> ArchivedMessage:
    fields, at = _head(text, start, end)
    return ArchivedMessage(
        start, at, end, fields.get("From"), fields.get("Date", ""), fields.get("Subject", "")
    )


def author_of_mail(text: str) -> str | None:
    """Return the sender that the head of one converted mail names; None if it names none."""
    fields, _ = _head(text, 0, len(text))
    return fields.get("From")


def _head(text: str, start: int, end: int) -> tuple[dict[str, str], int]:
    """Return the headers of a converted mail, the first of each name, and where they end."""
    fields: dict[str, str] = {}
    at = start
    while field := _FIELD.match(text, at, end):
        fields.setdefault(field[1], field[2])
        at = field.end()
    return fields, at


def _chat(text: str) -> Iterator[ArchivedMessage]:
    begins = list(CHAT_MESSAGE.finditer(text))
    ends = [*(match.start() for match in begins[1:]), len(text)]
    for match, end in zip(begins, ends, strict=False):  # one end without a beginning, of a text that is none
        yield ArchivedMessage(match.start(), match.end(), end, match["author"], match["at"])
