"""Parsing of a raw mail into a ``Letter``, and rendering of a ``Letter`` as text.

The format is always the same; the chunker relies on it::

    Subject: Rent
    From: Ana <ana@example.org>
    To: Bob <bob@example.org>
    Date: Tue, 3 Jun 2025 10:00:00 +0200

    What she wrote; quoted lines, and everything below a forwarded mail's head,
    begin with "> ".

    [attachment: plan.csv, text/csv, 2 KB]
    its text

All unbounded properties of a mail are limited here: parts, depth, nested mails, and the length of headers for
which ``email`` takes quadratic time. Omitted, cut or unreadable parts are noted in the text in square
brackets, for both the reader and the model. ``mime`` handles malformed headers and unknown charsets. Pure
functions.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from email import message_from_bytes
from email.errors import MessageError
from email.message import Message
from typing import Final

from hub.text import quoting
from hub.text.files import HTML, MAIL, PLAIN, Converted, NotConvertible, is_named
from hub.text.html import TooTangled, text_of_html
from hub.text.letter import (
    MOST_DEPTH,
    MOST_PARTS,
    Attached,
    Body,
    Enclosure,
    Letter,
    LetterOptions,
    kind_of_enclosure,
)
from hub.text.mime import (
    bytes_of,
    date_in,
    file_name,
    header_text,
    in_charset,
    name_of,
    normalised_text,
    text_of,
    undone,
)

_MOST_MAILS: Final = 3  # nested in each other
_MOST_READ: Final = 20  # attachments whose content is read
_MOST_FIELD_BYTES: Final = 8 * 1024  # of a header with parameters; a file name of 255 characters takes 3 KB
_TAME_FIELDS: Final = 2 * MOST_PARTS
_TAME_NESTS: Final = 10

# Matches in bodies do no harm. The library parses parameters in quadratic time.
_FIELD: Final = re.compile(rb"^content-(?:type|disposition)[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*", re.M | re.I)
_READ_HEADERS: Final = frozenset(("subject", "from", "to", "cc", "date"))


def is_tame(data: bytes) -> bool:
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
        NotConvertible: not a mail, or too damaged.
    """
    if any(len(field.group()) > _MOST_FIELD_BYTES for field in _FIELD.finditer(data)):
        raise NotConvertible(f"damaged: a Content header of more than {_MOST_FIELD_BYTES >> 10} KiB")
    try:
        return _Taking(options).apart(message_from_bytes(data), depth=0)
    except RecursionError as error:
        raise NotConvertible(f"parts in parts, more than {MOST_DEPTH} deep") from error
    except (MessageError, TypeError) as error:  # a TypeError for parameters that ``name_of`` knows
        raise NotConvertible("damaged, or not really a mail") from error


class _Taking:
    """State of parsing one mail with its nested mails: the resources used."""

    def __init__(self, options: LetterOptions) -> None:
        self._options = options
        self._most_parts = 2 * MOST_PARTS if options.quoted == "whole" else MOST_PARTS
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
            if self._parts > self._most_parts:
                notes.append(_omitted(self._options, f"the mail has more than {self._most_parts} parts"))
                break
            if level > MOST_DEPTH:
                notes.append(_omitted(self._options, f"parts in parts, more than {MOST_DEPTH} deep"))
                continue
            kind = part.get_content_type()
            # a part that is no list would be decoded here, by a charset that may be no text at all
            inner = part.get_payload() if part.is_multipart() else None
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
            headers=[
                (name, str(value)) for name, value in message.raw_items() if name.lower() in _READ_HEADERS
            ],
            bodies=tuple(bodies),
            enclosures=tuple(enclosures),
            are_alternatives=False,
            notes=tuple(dict.fromkeys(notes)),
        )

    def _enclosure(self, part: Message, kind: str) -> Enclosure:
        name = name_of(part)
        size_bytes = len(bytes_of(part))
        content = None
        why_not = ""
        if self._options.selects(kind, size_bytes, name=name) and _is_readable(
            kind_of_enclosure(kind, name), name
        ):
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
        inner = part.get_payload() if part.is_multipart() else None
        message = inner[0] if isinstance(inner, list) and inner else None
        name = name_of(part) or "a mail"
        if not isinstance(message, Message) or depth == _MOST_MAILS:
            return Enclosure(name=name, media_type=MAIL, why_not="mails inside mails, too deep")
        return Enclosure(name=name, media_type=MAIL, letter=self.apart(message, depth=depth + 1))


def _omitted(options: LetterOptions, what: str) -> str:
    """Return the note about an omission. Raises NotConvertible for a mail that is to be read completely."""
    if options.quoted == "whole":
        raise NotConvertible(what)
    return f"{what}; the rest was left out"


def _is_readable(kind: str, name: str) -> bool:
    return kind.startswith("text/") or is_named(name)


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
    others = [part for part in ways if not any(part is chosen for chosen in (*plain, *pages))]
    meaningful = [part for part in plain if not is_stub(text_of(part), has_page=bool(pages))]
    return [*(meaningful[:1] or pages[-1:] or plain[:1]), *others]


_SHOWN: Final = ("Subject", "From", "To", "Cc", "Date")
_MOST_FIELDS: Final = 1_000  # headers examined; only an attack has more
_STUB_CHARS: Final = 300
_PAGE_SHARE: Final = 16  # of the limit of a body, because markup is not text
_LEAST_ROOM_CHARS: Final = 100  # for the text of an attachment; shorter texts are useless

_STUB: Final = re.compile(
    r"html|browser|online|web ?version|webseite|onlineversion|brows|navegador|navigateur|браузер", re.I
)
# Images embedded in the page: most of its length, but not text.
_DATA: Final = re.compile(r"data:[^\"'<>\s]{200,}")
# Invisible padding that newsletters put after their preview line.
_FILLER: Final = re.compile(r"(?:[\u00ad\u034f\u061c\u180e\u200b-\u200f\u2007\u2060\ufeff][ \u00a0]*){3,}")
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


def text_of_letter(letter: Letter, options: LetterOptions, *, attached: Attached) -> Converted:
    """Convert a letter to text.

    Args:
        attached: converts an attachment, given its bytes and media type; raises ``NotConvertible``.

    Raises:
        NotConvertible: the letter has no headers, text or attachments.
    """
    return _Writing(options, attached).text(letter)


def shown_headers(letter: Letter) -> list[tuple[str, str]]:
    """Return the first header of each shown name, decoded, in display order."""
    given = letter.headers
    found: dict[str, str] = {}
    for at, (name, value) in enumerate(given.items() if isinstance(given, Mapping) else given):
        if at == _MOST_FIELDS and len(found) > 0:
            break
        found.setdefault(name.strip().lower(), value)
    values = ((name, header_text(found.get(name.lower(), ""))) for name in _SHOWN)
    return [(name, value) for name, value in values if value]


def is_stub(text: str, *, has_page: bool) -> bool:
    """Return True if a plain body only says that the mail must be read as a page."""
    text = text.strip()
    return not text or (has_page and len(text) < _STUB_CHARS and _STUB.search(text) is not None)


class _Writing:
    """State of rendering one mail: remaining space, and notes collected on the way."""

    def __init__(self, options: LetterOptions, attached: Attached) -> None:
        self._options = options
        self._attached = attached
        self._room = options.max_chars
        self._dropped = 0
        self._notes: list[str] = []

    def text(self, letter: Letter) -> Converted:
        headers = shown_headers(letter)
        by_name = dict(headers)
        marked = "\n\n".join(filter(None, (self._words(body) for body in self._bodies(letter))))
        if not (headers or marked or letter.enclosures or letter.notes or self._notes):
            raise NotConvertible("not a mail: no headers and no text")
        if self._options.quoted != "whole":
            subject = by_name.get("Subject", "")
            marked = quoting.separate(marked, subject=subject, quoted=self._options.quoted)
        sections = ["\n".join(f"{name}: {value}" for name, value in headers), self._fitted(marked)]
        sections += map(self._enclosure, letter.enclosures[:MOST_PARTS])
        if (more := len(letter.enclosures) - MOST_PARTS) > 0:
            sections.append(f"[{more} more attachments]")
        sections += [f"[{note}]" for note in dict.fromkeys((*letter.notes, *self._notes))]
        text = "\n\n".join(filter(None, sections)) + "\n"
        return Converted(
            # Databases reject lone surrogates and NULs.
            text=_SURROGATES.sub("\ufffd", text).replace("\0", ""),
            media_type=MAIL,
            dropped=self._dropped,
            date=date_in(by_name.get("Date", "")),
            author=_SURROGATES.sub("\ufffd", by_name.get("From", "")).replace("\0", "") or None,
        )

    def _bodies(self, letter: Letter) -> list[Body]:
        if not letter.are_alternatives:
            return list(letter.bodies)
        pages = [body for body in letter.bodies if body.media_type == HTML]
        plain = [body for body in letter.bodies if body.media_type != HTML]
        text = "\n".join(_decoded(body) for body in plain)
        return pages if pages and is_stub(text, has_page=True) else plain

    def _words(self, body: Body) -> str:
        """Return the text of one body, with quoted lines marked."""
        text = _decoded(body)
        if body.media_type == HTML:
            text = self._page(text)
        text = text.strip("\r\n")
        most = self._options.max_body_chars
        if len(text) > most:
            text = quoting.cut(text, most)
            self._notes.append(f"of a part of the mail only the first {most >> 10} KB were read")
        return quoting.mark(text).strip("\n")

    def _page(self, page: str) -> str:
        page = _DATA.sub("", page)
        most = self._options.max_body_chars * _PAGE_SHARE
        if len(page) > most:
            page = page[:most]
            self._notes.append("of a page in the mail only the first MB was read")
        try:
            read = text_of_html(page, marks_quotes=True)
        except TooTangled as error:
            self._notes.append(_omitted(self._options, f"a page in the mail is {error}"))
            return ""
        self._dropped += read.dropped
        return _FILLER.sub("", read.text)

    def _fitted(self, text: str) -> str:
        """Cut *text* to the remaining space."""
        shown = quoting.cut(text, self._room)
        self._room -= len(shown)
        if len(shown) == len(text):
            return shown
        return f"{shown}\n\n[cut here: {len(text) - len(shown):,} more characters were left out]".lstrip("\n")

    def _enclosure(self, enclosure: Enclosure) -> str:
        name = file_name(header_text(enclosure.name))
        kind = kind_of_enclosure(enclosure.media_type, name)
        if not name and kind != MAIL and not kind.startswith("text/"):
            return ""  # an embedded image or signature without a name
        shown = name or ("a mail" if kind == MAIL else "")
        label = ", ".join(filter(None, (shown, "" if kind == MAIL else kind, _size(enclosure.size_bytes))))
        if enclosure.letter is not None:
            return self._mail_inside(enclosure.letter, label)
        if enclosure.why_not:
            return f"[attachment: {label}, not read: {enclosure.why_not}]"
        if enclosure.content is None:
            most = self._options.max_attachment_bytes
            if (enclosure.size_bytes or 0) > most and self._options.selects(kind, name=name):
                label += f", not read: larger than {_size(most)}"
            return f"[attachment: {label}]"
        if not _is_readable(kind, name):
            return f"[attachment: {label}]"
        if self._room < _LEAST_ROOM_CHARS:
            return f"[attachment: {label}, not read: the mail is long enough without it]"
        try:
            read = self._attached(enclosure.content, kind)
        except NotConvertible as error:
            return f"[attachment: {label}, not read: {error}]"
        self._dropped += read.dropped
        return f"[attachment: {label}]\n{self._fitted(read.text.strip())}".rstrip()

    def _mail_inside(self, letter: Letter, label: str) -> str:
        if self._room < _LEAST_ROOM_CHARS:
            return f"[attachment: {label}, not read: the mail is long enough without it]"
        quoted: Final = "whole" if self._options.quoted == "whole" else "keep"
        options = replace(self._options, quoted=quoted, max_chars=self._room)
        try:
            read = text_of_letter(letter, options, attached=self._attached)
        except NotConvertible as error:
            return f"[attachment: {label}, not read: {error}]"
        self._room -= min(self._room, len(read.text))
        self._dropped += read.dropped
        lines = read.text.rstrip("\n").split("\n")
        return "\n".join([f"[attachment: {label}]", *(f"> {line}".rstrip() for line in lines)])


def _decoded(body: Body) -> str:
    if isinstance(body.data, str):
        return body.data
    data = undone(body.data, body.transfer_encoding)
    return (normalised_text if body.is_normalised else in_charset)(data, body.charset)


def _size(size_bytes: int | None) -> str:
    if size_bytes is None:
        return ""
    for unit, size in (("MB", 1 << 20), ("KB", 1 << 10)):
        if size_bytes >= size:
            return f"{size_bytes / size:.3g} {unit}"
    return f"{size_bytes} bytes"
