"""Parsing of a raw mail into a ``Letter``: separates bodies from attachments.

All unbounded properties of a mail are limited here: parts, depth, nested mails, and the length of headers for
which ``email`` takes quadratic time.
"""

import re
from email import message_from_bytes
from email.errors import MessageError
from email.message import Message
from typing import Final

from hub.text.converted import NotConvertible
from hub.text.kinds import HTML, MAIL, PLAIN
from hub.text.letter import (
    MOST_BYTES,
    MOST_DEPTH,
    MOST_PARTS,
    Body,
    Enclosure,
    Letter,
    LetterOptions,
    kind_of_enclosure,
)
from hub.text.letter_text import is_stub
from hub.text.mime import bytes_of, name_of, text_of

_MOST_MAILS: Final = 3  # nested in each other
_MOST_READ: Final = 20  # attachments whose content is read
_MOST_FIELD_BYTES: Final = 8 * 1024  # of a header with parameters; a file name of 255 characters takes 3 KB
_TAME_FIELDS: Final = 2 * MOST_PARTS
_TAME_NESTS: Final = 10

# Matches in bodies do no harm. The library parses parameters in quadratic time.
_FIELD: Final = re.compile(rb"^content-(?:type|disposition)[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*", re.M | re.I)
_SHOWN: Final = frozenset(("subject", "from", "to", "cc", "date"))


def looks_tame(data: bytes) -> bool:
    """Return True if a linear scan of a mail finds no sign of an attack on its parser."""
    nests = 0
    for fields, field in enumerate(_FIELD.finditer(data), start=1):
        nests += b"multipart/" in field.group()[:200].lower()
        if fields > _TAME_FIELDS or nests > _TAME_NESTS or len(field.group()) > _MOST_FIELD_BYTES:
            return False
    return True


def letter_of_mail(data: bytes, options: LetterOptions) -> Letter:
    """Parse a raw mail.

    Raises:
        NotConvertible: larger than 25 MiB, not a mail, or too damaged.
    """
    if len(data) > MOST_BYTES:
        raise NotConvertible(f"a mail of more than {MOST_BYTES >> 20} MiB")
    if any(len(field.group()) > _MOST_FIELD_BYTES for field in _FIELD.finditer(data)):
        raise NotConvertible(f"damaged: a Content header of more than {_MOST_FIELD_BYTES >> 10} KiB")
    try:
        return _Taking(options).apart(message_from_bytes(data), depth=0)
    except RecursionError as error:
        raise NotConvertible(f"parts in parts, more than {MOST_DEPTH} deep") from error
    except MessageError as error:
        raise NotConvertible("damaged, or not really a mail") from error


class _Taking:
    """State of parsing one mail with its nested mails: the resources used."""

    def __init__(self, options: LetterOptions) -> None:
        self._options = options
        self._parts = 0
        self._read = 0

    def apart(self, message: Message, *, depth: int) -> Letter:
        bodies: list[Body] = []
        enclosures: list[Enclosure] = []
        notes: list[str] = []
        todo = [(message, 0)]
        while todo:
            part, level = todo.pop()
            self._parts += 1
            if self._parts > MOST_PARTS:
                notes.append(f"the mail has more than {MOST_PARTS} parts; the others were left out")
                break
            if level > MOST_DEPTH:
                notes.append(f"parts in parts, more than {MOST_DEPTH} deep, were left out")
                continue
            kind = part.get_content_type()
            inner = part.get_payload()
            if kind == MAIL:
                enclosures.append(self._mail_inside(part, depth))
            elif isinstance(inner, list):
                children = [child for child in inner if isinstance(child, Message)]
                ways = _chosen(children) if kind == "multipart/alternative" else children
                todo += [(child, level + 1) for child in reversed(ways)]
            elif _is_body(part, kind):
                bodies.append(Body(data=text_of(part), media_type=kind))
            else:
                enclosures.append(self._enclosure(part, kind))
        return Letter(
            headers=[(name, str(value)) for name, value in message.raw_items() if name.lower() in _SHOWN],
            bodies=tuple(bodies),
            enclosures=tuple(enclosures),
            are_alternatives=False,
            notes=tuple(dict.fromkeys(notes)),
        )

    def _enclosure(self, part: Message, kind: str) -> Enclosure:
        name = name_of(part)
        size_bytes = _size(part)
        content = None
        why_not = ""
        if self._options.wants(kind, size_bytes, name=name) and (name or kind.startswith("text/")):
            if self._read < _MOST_READ:
                content = bytes_of(part)
            else:
                why_not = f"the mail has more than {_MOST_READ}"
            self._read += 1
        return Enclosure(
            name=name,
            media_type=kind_of_enclosure(kind, name),
            size_bytes=size_bytes,
            is_inline=part.get_content_disposition() != "attachment",
            content=content,
            why_not=why_not,
        )

    def _mail_inside(self, part: Message, depth: int) -> Enclosure:
        inner = part.get_payload()
        message = inner[0] if isinstance(inner, list) and inner else None
        name = name_of(part) or "a mail"
        if not isinstance(message, Message) or depth == _MOST_MAILS:
            return Enclosure(name=name, media_type=MAIL, why_not="mails inside mails, too deep")
        return Enclosure(name=name, media_type=MAIL, letter=self.apart(message, depth=depth + 1))


def _is_body(part: Message, kind: str) -> bool:
    if kind.startswith("multipart/"):
        return True  # a multipart without parts: its boundary does not occur
    return kind in (PLAIN, HTML) and part.get_content_disposition() != "attachment" and not name_of(part)


def _chosen(ways: list[Message]) -> list[Message]:
    """Choose among alternatives: plain text unless it is a stub, else the richest page; keep all others."""
    kinds = [part.get_content_type() for part in ways]
    plain = [part for part, kind in zip(ways, kinds, strict=True) if kind == PLAIN and _is_body(part, kind)]
    pages = [
        part
        for part, kind in zip(ways, kinds, strict=True)
        if (kind == HTML and _is_body(part, kind)) or kind.startswith("multipart/")
    ]
    others = [part for part in ways if not any(part is told for told in (*plain, *pages))]
    says_it = [part for part in plain if not is_stub(text_of(part), has_page=bool(pages))]
    return [*(says_it[:1] or pages[-1:] or plain[:1]), *others]


def _size(part: Message) -> int:
    """Return the size of a part's decoded content without decoding it."""
    payload = part.get_payload()
    if not isinstance(payload, str):
        return 0
    if str(part.get("Content-Transfer-Encoding", "")).strip().lower() != "base64":
        return len(payload)
    letters = len(payload) - payload.count("\n") - payload.count("\r")
    return letters * 3 // 4 - payload[-4:].count("=")
