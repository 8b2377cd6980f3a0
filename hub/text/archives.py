"""Files of many messages, mbox and exports of chats: detection, conversion, and the messages in their text.

Both are converted to one text (``mbox``, ``chats``) in which each message begins with a line that no message
can contain. So authors and dates can be read from the text alone, wherever it was converted.

Conversion of an mbox, a file of many mails, to text.

Each mail begins with the separator line of the file ("From ana@example.org Tue Jun 3 10:00:00 2025"). Its
text follows, in the format of a single mail. Lines of a mail that look like a separator are indented by a
blank. A mail that cannot be read is replaced by the reason; the others are not affected.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from hub.text import chats
from hub.text.files import CHAT, JSON, MAIL, MBOX, PLAIN, Converted, NotConvertible
from hub.text.letter_text import (
    WHOLE,
    Attached,
    is_tame,
    letter_of_mail,
    shown_headers,
    text_of_letter,
)
from hub.text.mime import letters, on_one_line
from hub.text.parts import MAX_NAMED, part_key

HEAD_BYTES: Final = 64 * 1024  # examined to detect the kind of a file

_MBOX_HEAD: Final = re.compile(rb"(?:\xef\xbb\xbf)?From [^\r\n]{0,400}\r?\n[!-9;-~]{1,80}:[ \t]")
_MAIL_BEGINS: Final = re.compile(r"^From [^\n]*\n", re.MULTILINE)
_FIELD: Final = re.compile(r"^([A-Z][a-z]+): ([^\n]*)\n", re.MULTILINE)


class Message(NamedTuple):
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
    """Return MBOX or CHAT if the first HEAD_BYTES of a file of text show that, else *kind*."""
    if kind == PLAIN and _MBOX_HEAD.match(head):
        return MBOX
    if kind in (PLAIN, JSON) and chats.is_export(head.decode("utf-8", "replace"), is_json=kind == JSON):
        return CHAT
    return kind


def messages_in(text: str, kind: str | None) -> list[Message]:
    """Return the messages of a converted archive in their order; none for other kinds of files."""
    if kind == MBOX:
        return list(_mails(text))
    if kind == CHAT:
        return list(_chat(text))
    return []


def mails_in(text: str, kind: str | None) -> list[Message]:
    """Return the mails of a converted mbox, or the one of a converted mail."""
    return list(_mails(text)) if kind == MBOX else [_mail(text, 0, len(text))]


def _mails(text: str) -> Iterator[Message]:
    borders = [match.span() for match in _MAIL_BEGINS.finditer(text)]
    ends = [start for start, _ in borders[1:]]
    for (_, start), end in zip(borders, [*ends, len(text)], strict=True):
        yield _mail(text, start, end)


def _mail(text: str, start: int, end: int) -> Message:
    fields, at = _head(text, start, end)
    return Message(start, at, end, fields.get("From"), fields.get("Date", ""), fields.get("Subject", ""))


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


def _chat(text: str) -> Iterator[Message]:
    begins = list(chats.BEGINNING.finditer(text))
    ends = [match.start() for match in begins[1:]]
    for match, end in zip(begins, [*ends, len(text)], strict=True):
        yield Message(match.start(), match.end(), end, match["author"], match["at"])


MAX_MAILS: Final = 100_000

# A blank line, the separator, and a header field: "From here on ..." in a mail is no separator.
_SEPARATOR: Final = re.compile(
    rb"(?:\A(?:\xef\xbb\xbf)?|(?<=\n\n)|(?<=\n\r\n))From ([^\r\n]*)\r?\n(?=[!-9;-~]+:)"
)
_ESCAPED: Final = re.compile(rb"^>(?=>*From )", re.MULTILINE)
_ALIKE: Final = re.compile(r"^(?=From )", re.MULTILINE)


def text_of_mbox(data: bytes, *, attached: Attached) -> Converted:
    """Return the text of an mbox, with the first encoding that was guessed.

    Args:
        attached: converts an attachment, given its bytes and media type; raises ``NotConvertible``.

    Raises:
        NotConvertible: no mail in it can be read.
    """
    parts: list[str] = []
    dropped = read = 0
    unread = Counter[str]()
    guessed: str | None = None
    reason = "not an mbox: it does not begin with a mail"
    for nth, (line, mail) in enumerate(_parsed_mails(data)):
        if nth == MAX_MAILS:
            unread[part_key(MAIL, "too many")] += 1
            parts.append(f"[not read: the mails after the first {MAX_MAILS:,}]\n\n")
            break
        try:
            converted = _converted(mail, attached)
            text, guessed = converted.text, guessed or converted.guessed
            dropped += converted.dropped
            unread.update(converted.parts)
            read += 1
        except NotConvertible as error:
            reason = str(error)
            unread[part_key(MAIL, "unreadable")] += 1
            text = f"\n[a mail that was not read: {reason}]\n"
        parts += (f"From {line}".rstrip(), "\n", text, "\n")
    if not read:
        raise NotConvertible(reason)
    return Converted(
        "".join(parts), MBOX, dropped, guessed=guessed, parts=dict(unread.most_common(MAX_NAMED))
    )


def _converted(mail: bytes, attached: Attached) -> Converted:
    if not is_tame(mail):
        raise NotConvertible("it has too many parts; save it as a file of its own (.eml)")
    letter = letter_of_mail(_ESCAPED.sub(b"", mail), WHOLE)
    converted = text_of_letter(letter, WHOLE, attached=attached)
    text = _ALIKE.sub(" ", converted.text)
    # An empty line ends the headers, so that a mail without headers cannot pretend to have some.
    return replace(converted, text=text if shown_headers(letter) else f"\n{text}")


def _parsed_mails(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the content of each separator line, and the mail after it."""
    before: re.Match[bytes] | None = None
    for match in _SEPARATOR.finditer(data):
        if before is not None:
            yield _line(before), data[before.end() : match.start()]
        before = match
    if before is not None:
        yield _line(before), data[before.end() :]


def _line(separator: re.Match[bytes]) -> str:
    return on_one_line(letters(separator[1][:200].decode("utf-8", "surrogateescape")))
