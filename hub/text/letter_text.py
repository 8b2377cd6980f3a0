"""Conversion of a mail to text: headers, body, attachments, and how much quoted text is kept.

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

Mail in parts, and the options of its conversion.

A mail is either raw, as in a file, or a provider delivers its parts: headers, bodies, and a list of
attachments, mostly without their content. Both become a ``Letter``, which ``letter_text`` converts to text.

Quotations in a mail: which lines its author wrote, which are of another mail, which a program added.

Quoted lines are kept, because an answer is often incomprehensible without them; they start with ``> ``.
Quotations that a mail program marked itself stay unchanged. If it only wrote a line above them ("On Monday
Ana wrote:", "From: ... Sent: ..."), as most programs do, the mark is added. No line is moved or lost.
``separate`` selects how much of them a reader gets: all below an answer of fewer than ``FEW_CHARS``.

The passages of a marked mail are never empty: a mail that seems to be all signature keeps it, and a short
answer keeps the mail that it answers. Pure functions.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from email import message_from_bytes
from email.errors import (
    CloseBoundaryNotFoundDefect,
    InvalidBase64CharactersDefect,
    InvalidBase64LengthDefect,
    MessageError,
    StartBoundaryNotFoundDefect,
)
from email.message import Message
from fnmatch import fnmatchcase
from itertools import compress, groupby
from typing import Final, Literal

from hub.text.files import (
    CALENDARS,
    HTML,
    MAIL,
    MAX_BYTES,
    MIB,
    PLAIN,
    Converted,
    NotConvertible,
    is_named,
    media_type_of,
)
from hub.text.header_values import date_in
from hub.text.html import TooTangled, text_of_html
from hub.text.mail_wrappers import (
    ENCRYPTED,
    PGP_NOTE,
    SIGNATURES,
    SMIME,
    NotSigned,
    flow_of,
    signed_content,
    unarmoured,
    unflowed,
)
from hub.text.mime import (
    BULK_HEADERS,
    Decoded,
    bytes_of,
    file_name,
    header_text,
    in_charset_or_guess,
    is_broken,
    is_bulk,
    name_of,
    parameter_of,
    text_of,
    undone,
)
from hub.text.parts import MAX_NAMED, part_key
from hub.text.quotations import BULK, FEW_CHARS, are_signed_below, is_forward, lines_above

MAX_LETTER_BYTES: Final = 25 * MIB  # of one mail; no large provider accepts more
MAX_PARTS: Final = 100
MAX_DEPTH: Final = 20  # of nested parts
CONTEXT_CHARS: Final = 2_000  # of quoted text

_UNSAID: Final = ("", "application/octet-stream")

Attached = Callable[[bytes, str], Converted]  # converts an attachment of a media type; raises NotConvertible


@dataclass(frozen=True, kw_only=True)
class LetterBody:
    """Body of a mail, in one of its alternative forms.

    Attributes:
        data: text, or bytes in *charset* (as its header names it) and *transfer_encoding* (if not decoded).
        media_type: ``text/html``; any other type is read as plain text.
        is_normalised: the provider converts bodies to UTF-8, but may leave the old charset in the header:
            UTF-8 is tried first, then the charset. Otherwise the charset is tried first.
        guessed: encoding in which text was read, if nothing tells it.
        flow: how its program wrapped plain text, see ``flow_of``.
        is_damaged: its transfer encoding was broken, and is undone.
    """

    data: bytes | str
    media_type: str = PLAIN
    charset: str | None = None
    transfer_encoding: str = ""
    is_normalised: bool = False
    guessed: str | None = None
    flow: str = ""
    is_damaged: bool = False


@dataclass(frozen=True, kw_only=True)
class Enclosure:
    """Attachment of a mail.

    Attributes:
        size_bytes: ``None`` if unknown.
        is_inline: shown in the page; without a name and text, it is left out.
        content: decoded content, present only if ``LetterOptions.selects`` it.
        why_not: reason for a requested content that is missing, for the text.
        letter: mail inside the mail, which is always read.
    """

    name: str = ""
    media_type: str = "application/octet-stream"
    size_bytes: int | None = None
    is_inline: bool = False
    content: bytes | None = None
    why_not: str = ""
    letter: "Letter | None" = None


@dataclass(frozen=True, kw_only=True)
class Letter:
    """Mail in parts.

    Attributes:
        headers: raw headers, with or without encoded words (RFC 2047); the first of each name counts.
            Subject, From, To, Cc and Date are shown.
        bodies: bodies in their order.
        are_alternatives: plain text and page have the same content: the plain text is used unless it is a
            stub. Otherwise all bodies are used.
        notes: remarks on missing parts, for the text.
        others: media types of bodies that were left out, as another form of a body has their text.
    """

    headers: Mapping[str, str] | Sequence[tuple[str, str]] = ()
    bodies: tuple[LetterBody, ...] = ()
    enclosures: tuple[Enclosure, ...] = ()
    are_alternatives: bool = True
    notes: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LetterOptions:
    """Options for the conversion of a mail.

    Attributes:
        quoted: treatment of quoted mail: ``context`` keeps at most 2,000 characters of it, labelled; ``drop``
            none, ``keep`` all. If the author wrote fewer than 40 characters, or forwards the mail, all is
            kept. ``whole`` changes nothing, and keeps signatures, too.
        max_chars: limit of the mail's text and its attachments' texts; headers, names and notes do not count.
        max_body_chars: limit of one body before quoted mail is removed; of a page, sixteen times as much.
        fetch: read the attachments.
        types: media types of attachments to read; ``image/*`` is possible; empty: all that can be converted.
        max_attachment_bytes: larger attachments are only named.
    """

    quoted: Literal["context", "drop", "keep", "whole"] = "context"
    max_chars: int = 12_000
    max_body_chars: int = 64 * 1024
    fetch: bool = False
    types: tuple[str, ...] = ()
    max_attachment_bytes: int = 10 * MIB

    def selects(self, media_type: str, size_bytes: int | None = None, *, name: str = "") -> bool:
        """Return True if the content of an attachment is to be fetched; of some types, it is the mail."""
        kind = kind_of_enclosure(media_type, name)
        if size_bytes is not None and size_bytes > self.max_attachment_bytes:
            return False
        if not self.fetch or kind in PARTS:
            return kind in PARTS
        return not self.types or any(fnmatchcase(kind, pattern.strip().lower()) for pattern in self.types)


# A mail in a file is converted completely.
WHOLE: Final = LetterOptions(
    quoted="whole",
    max_chars=MAX_BYTES,
    max_body_chars=MAX_BYTES,
    fetch=True,
    max_attachment_bytes=MAX_BYTES,
)


# Attachments that are part of what a mail program shows: signed text, and invitations.
PARTS: Final = SMIME | CALENDARS


def kind_of_enclosure(media_type: str, name: str) -> str:
    """Return the media type of an attachment, by its name if its sender declared none."""
    kind = media_type.partition(";")[0].strip().lower()
    if kind in _UNSAID and name.lower().endswith(".p7m"):
        return min(SMIME)
    return media_type_of(name) if kind in _UNSAID and "." in name else kind


_MAX_MAILS: Final = 3  # nested in each other
_MAX_READ: Final = 20  # attachments whose content is read
_MAX_FIELD_BYTES: Final = 8 * 1024  # of a header with parameters; a file name of 255 characters takes 3 KB
_TAME_FIELDS: Final = 2 * MAX_PARTS

# Matches in bodies do no harm. The library parses parameters in quadratic time.
_FIELD: Final = re.compile(rb"^content-(?:type|disposition)[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*", re.M | re.I)
_NOT_WHOLE: Final = {"message/external-body": "elsewhere", "message/partial": "cut off"}
_DAMAGED: Final = (InvalidBase64CharactersDefect, InvalidBase64LengthDefect)
_CUT_OFF: Final = (CloseBoundaryNotFoundDefect, StartBoundaryNotFoundDefect)
_READ_HEADERS: Final = frozenset(("subject", "from", "to", "cc", "date", *BULK_HEADERS))


def is_tame(data: bytes) -> bool:
    """Return True if a linear scan of a mail finds no sign of an attack on its parser."""
    nests = 0
    for fields, field in enumerate(_FIELD.finditer(data), start=1):
        nests += b"multipart/" in field.group()[:200].lower()
        if fields > _TAME_FIELDS or nests > 10 or len(field.group()) > _MAX_FIELD_BYTES:
            return False
    return True


def letter_of_mail(data: bytes, options: LetterOptions) -> Letter:
    """Parse a raw mail.

    Raises:
        NotConvertible: not a mail, or too damaged.
    """
    if any(len(field.group()) > _MAX_FIELD_BYTES for field in _FIELD.finditer(data)):
        raise NotConvertible(f"damaged: a Content header of more than {_MAX_FIELD_BYTES >> 10} KiB")
    try:
        return _Taking(options).apart(message_from_bytes(data), depth=0)
    except RecursionError as error:
        raise NotConvertible(f"parts in parts, more than {MAX_DEPTH} deep") from error
    except (MessageError, TypeError) as error:  # a TypeError for parameters that ``name_of`` knows
        raise NotConvertible("damaged, or not really a mail") from error


class _Taking:
    """State of parsing one mail with its nested mails: the resources used."""

    def __init__(self, options: LetterOptions) -> None:
        self._options = options
        self._most_parts = 2 * MAX_PARTS if options.quoted == "whole" else MAX_PARTS
        self._parts = 0
        self._read = 0

    def apart(self, message: Message, *, depth: int) -> Letter:
        bodies: list[LetterBody] = []
        enclosures: list[Enclosure] = []
        notes: list[str] = []
        others: list[str] = []
        todo = [(message, 0)]
        while todo:
            part, level = todo.pop()
            self._parts += 1
            if self._parts > self._most_parts:
                notes.append(_omitted(self._options, f"the mail has more than {self._most_parts} parts"))
                break
            if level > MAX_DEPTH:
                notes.append(_omitted(self._options, f"parts in parts, more than {MAX_DEPTH} deep"))
                continue
            kind = part.get_content_type()
            # a part that is no list would be decoded here, by a charset that may be no text at all
            inner = part.get_payload() if part.is_multipart() else None
            if kind == MAIL:
                enclosures.append(self._mail_inside(part, depth))
            elif kind in ENCRYPTED or kind in _NOT_WHOLE:  # of both types of PGP, mailboxes know one
                enclosures.append(Enclosure(media_type=min(ENCRYPTED) if kind in ENCRYPTED else kind))
            elif isinstance(inner, list):
                if any(isinstance(defect, _CUT_OFF) for defect in part.defects):
                    enclosures.append(Enclosure(media_type=kind))
                children = [child for child in inner if isinstance(child, Message)]
                ways = _chosen(children) if kind == "multipart/alternative" else children
                todo += [(child, level + 1) for child in reversed(ways)]
                is_left = [all(child is not way for way in ways) for child in children]
                others += [child.get_content_type() for child in compress(children, is_left)]
            elif _is_body(part, kind):
                text, guessed = text_of(part)
                flow = flow_of(*(parameter_of(part, name) for name in ("format", "delsp")))
                is_damaged = any(isinstance(defect, _DAMAGED) for defect in part.defects)
                bodies.append(
                    LetterBody(data=text, media_type=kind, guessed=guessed, flow=flow, is_damaged=is_damaged)
                )
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
            others=tuple(others),
        )

    def _enclosure(self, part: Message, kind: str) -> Enclosure:
        name = name_of(part)
        size_bytes = len(bytes_of(part))
        content = None
        why_not = ""
        if self._options.selects(kind, size_bytes, name=name) and _is_readable(
            kind_of_enclosure(kind, name), name
        ):
            if self._read < _MAX_READ:
                content = bytes_of(part)
            else:
                why_not = f"the mail has more than {_MAX_READ}"
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
        if not isinstance(message, Message) or depth == _MAX_MAILS:
            return Enclosure(name=name, media_type=MAIL, why_not="mails inside mails, too deep")
        return Enclosure(name=name, media_type=MAIL, letter=self.apart(message, depth=depth + 1))


def _omitted(options: LetterOptions, what: str) -> str:
    """Return the note about an omission. Raises NotConvertible for a mail that is to be read completely."""
    if options.quoted == "whole":
        raise NotConvertible(what)
    return f"{what}; the rest was left out"


def _is_readable(kind: str, name: str) -> bool:
    return kind.startswith("text/") or kind in SMIME or is_named(name)


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
    meaningful = [part for part in plain if not is_stub(text_of(part)[0], has_page=bool(pages))]
    return [*(meaningful[:1] or pages[-1:] or plain[:1]), *others]


_SHOWN: Final = ("Subject", "From", "To", "Cc", "Date")
_MIN_ROOM_CHARS: Final = 100  # for the text of an attachment; shorter texts are useless
_NO_ROOM: Final = "the mail is long enough without it"
_MAX_COUNTED: Final = 20  # kinds of parts with different outcomes in one mail

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
        if at == 1_000 and len(found) > 0:  # headers examined; only an attack has more
            break
        found.setdefault(name.strip().lower(), value)
    values = ((name, header_text(found.get(name.lower(), ""))) for name in _SHOWN)
    return [(name, value) for name, value in values if value]


def _is_bulk(letter: Letter) -> bool:
    given = letter.headers
    fields = given.items() if isinstance(given, Mapping) else given
    return is_bulk({name.lower(): value for name, value in reversed([*fields])})


def is_stub(text: str, *, has_page: bool) -> bool:
    """Return True if a plain body only says that the mail must be read as a page."""
    text = text.strip()
    return not text or (has_page and len(text) < 300 and _STUB.search(text) is not None)


class _Writing:
    """State of rendering one mail: remaining space, and notes collected on the way."""

    def __init__(self, options: LetterOptions, attached: Attached) -> None:
        self._options = options
        self._attached = attached
        self._room = options.max_chars
        self._dropped = 0
        self._guessed: str | None = None
        self._notes: list[str] = []
        self._parts = Counter[str]()

    def text(self, letter: Letter) -> Converted:
        headers = shown_headers(letter)
        by_name = dict(headers)
        letter = self._unwrapped(letter)
        marked = "\n\n".join(filter(None, map(self._words, letter.bodies)))
        if not (headers or marked or letter.enclosures or letter.notes or self._notes):
            raise NotConvertible("not a mail: no headers and no text")
        if self._options.quoted != "whole":
            subject = by_name.get("Subject", "")
            marked = separate(marked, subject=subject, quoted=self._options.quoted)
        head = [f"{name}: {value}" for name, value in headers]
        head += [BULK] if self._options.quoted == "whole" and _is_bulk(letter) else []
        sections = ["\n".join(head), self._fitted(marked)]
        sections += map(self._enclosure, letter.enclosures[:MAX_PARTS])
        if (more := len(letter.enclosures) - MAX_PARTS) > 0:
            sections.append(f"[{more} more attachments]")
        for kind in (*letter.others, *(enclosure.media_type for enclosure in letter.enclosures[MAX_PARTS:])):
            self._count(kind, "other form" if kind in letter.others else "too many")
        notes = dict.fromkeys((*letter.notes, *self._notes))
        sections += [f"[{note}]" for note in notes]
        for _ in notes:
            self._count(MAIL, "cut off")
        text = "\n\n".join(filter(None, sections)) + "\n"
        return Converted(
            # Databases reject lone surrogates and NULs.
            text=_SURROGATES.sub("\ufffd", text).replace("\0", ""),
            media_type=MAIL,
            dropped=self._dropped,
            date=date_in(by_name.get("Date", "")),
            author=_SURROGATES.sub("\ufffd", by_name.get("From", "")).replace("\0", "") or None,
            guessed=self._guessed,
            parts={}
            if all(name.endswith(" read") for name in self._parts)
            else dict(self._parts.most_common(MAX_NAMED)),
        )

    def _count(self, kind: str, outcome: str) -> None:
        """Count a part of the mail by its type, which its sender chose, and what became of it."""
        name = part_key(kind, outcome)
        has_room = name in self._parts or len(self._parts) < _MAX_COUNTED
        self._parts[name if has_room else part_key("", outcome)] += 1

    def _unwrapped(self, letter: Letter) -> Letter:
        """Return a letter with one form of its bodies, and with the mail inside of signed data (S/MIME)."""
        bodies, others = list(letter.bodies), list(letter.others)
        if letter.are_alternatives:
            pages = [body for body in bodies if body.media_type == HTML]
            plain = [body for body in bodies if body.media_type != HTML]
            text = "\n".join(_decoded(body)[0] for body in plain)
            bodies = pages if pages and is_stub(text, has_page=True) else plain
            others += [body.media_type for body in letter.bodies if body not in bodies]
        enclosures: list[Enclosure] = []
        notes = list(letter.notes)
        todo = list(letter.enclosures[::-1])
        left = _MAX_MAILS
        while todo:
            enclosure = todo.pop()
            kind = kind_of_enclosure(enclosure.media_type, enclosure.name)
            if kind not in SMIME or enclosure.content is None or not left:
                enclosures.append(enclosure)
                continue
            left -= 1
            try:
                content = signed_content(enclosure.content)
                if not is_tame(content):
                    raise NotConvertible("it has too many parts")
                inner = letter_of_mail(content, self._options)
            except (NotSigned, NotConvertible) as error:
                enclosures.append(replace(enclosure, content=None, why_not=str(error)))
                continue
            bodies += inner.bodies
            others += inner.others
            notes += inner.notes
            todo += inner.enclosures[::-1]
        return replace(
            letter,
            bodies=tuple(bodies),
            enclosures=tuple(enclosures),
            notes=tuple(notes),
            others=tuple(others),
            are_alternatives=False,
        )

    def _words(self, body: LetterBody) -> str:
        """Return the text of one body, with quoted lines marked."""
        text, guessed = _decoded(body)
        self._guessed = self._guessed or guessed
        text = self._page(text) if body.media_type == HTML else unarmoured(unflowed(text, body.flow))
        outcome = "encrypted" if text.strip() == PGP_NOTE else "read" if text.strip() else "empty"
        data = body.data if isinstance(body.data, bytes) else b""
        if body.is_damaged or is_broken(data, body.transfer_encoding):
            outcome = "damaged"
        self._count(body.media_type, outcome)
        text = text.strip("\r\n")
        most = self._options.max_body_chars
        if len(text) > most:
            text = cut(text, most)
            self._notes.append(f"of a part of the mail only the first {most >> 10} KB were read")
        return mark(text).strip("\n")

    def _page(self, page: str) -> str:
        page = _DATA.sub("", page)
        most = self._options.max_body_chars * 16  # of the limit of a body, because markup is not text
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
        shown = cut(text, self._room)
        self._room -= len(shown)
        if len(shown) == len(text):
            return shown
        self._count(MAIL, "cut off")
        return f"{shown}\n\n[cut here: {len(text) - len(shown):,} more characters were left out]".lstrip("\n")

    def _enclosure(self, enclosure: Enclosure) -> str:
        name = file_name(header_text(enclosure.name))
        kind = kind_of_enclosure(enclosure.media_type, name)
        if kind in SIGNATURES:
            self._count(kind, "signature")
            return ""
        if not name and kind.startswith("image/"):  # embedded in the page
            self._count(kind, "not shown")
            return ""
        shown = name or ("a mail" if kind == MAIL else "")
        label = ", ".join(filter(None, (shown, "" if kind == MAIL else kind, _size(enclosure.size_bytes))))
        if enclosure.letter is not None:
            return self._mail_inside(enclosure.letter, label)
        why_not = enclosure.why_not or ("encrypted" if kind in ENCRYPTED else _NOT_WHOLE.get(kind, ""))
        if not why_not and not name and kind.startswith("multipart/"):
            why_not = "cut off"  # a list of parts whose end is missing, or beyond a limit
        if why_not:
            outcome = why_not if why_not in ("encrypted", "elsewhere", "cut off") else "unreadable"
            return self._unread(kind, label, outcome, why_not)
        if enclosure.content is None:
            most = self._options.max_attachment_bytes
            if (enclosure.size_bytes or 0) > most and self._options.selects(kind, name=name):
                return self._unread(kind, label, "too large", f"larger than {_size(most)}")
            is_asked = self._options.selects(kind, name=name)
            return self._unread(kind, label, "no text" if is_asked else "not requested")
        if not _is_readable(kind, name):
            return self._unread(kind, label, "no text")
        if self._room < _MIN_ROOM_CHARS:
            return self._unread(kind, label, "no room", _NO_ROOM)
        try:
            read = self._attached(enclosure.content, kind)
        except NotConvertible as error:
            return self._unread(kind, label, "unreadable", str(error))
        text = unarmoured(read.text) if kind == PLAIN else read.text
        return f"[attachment: {label}]\n{self._fitted(self._taken(read, kind, text).strip())}".rstrip()

    def _taken(self, read: Converted, kind: str, text: str) -> str:
        """Count a part that was read, and return its *text*."""
        self._dropped += read.dropped
        self._guessed = self._guessed or read.guessed
        self._count(kind, "read")
        self._parts.update(read.parts)
        return text

    def _unread(self, kind: str, label: str, outcome: str, why: str = "") -> str:
        self._count(kind, outcome)
        return f"[attachment: {label}{f', not read: {why}' if why else ''}]"

    def _mail_inside(self, letter: Letter, label: str) -> str:
        if self._room < _MIN_ROOM_CHARS:
            return self._unread(MAIL, label, "no room", _NO_ROOM)
        quoted: Final = "whole" if self._options.quoted == "whole" else "keep"
        options = replace(self._options, quoted=quoted, max_chars=self._room)
        try:
            read = text_of_letter(letter, options, attached=self._attached)
        except NotConvertible as error:
            return self._unread(MAIL, label, "unreadable", str(error))
        self._room -= min(self._room, len(read.text))
        lines = self._taken(read, MAIL, read.text).rstrip("\n").split("\n")
        return "\n".join([f"[attachment: {label}]", *(f"> {line}".rstrip() for line in lines)])


def _decoded(body: LetterBody) -> Decoded:
    if isinstance(body.data, str):
        return body.data, body.guessed
    data = undone(body.data, body.transfer_encoding)
    is_page = body.media_type == HTML
    return in_charset_or_guess(data, body.charset, is_page=is_page, is_utf8=body.is_normalised)


def _size(size_bytes: int | None) -> str:
    if size_bytes is None:
        return ""
    for unit, size in (("MB", 1 << 20), ("KB", 1 << 10)):
        if size_bytes >= size:
            return f"{size_bytes / size:.3g} {unit}"
    return f"{size_bytes} bytes"


MARK: Final = "> "


def mark(text: str) -> str:
    """Mark all quoted lines of *text*; line ends become ``\\n``."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    marked = list(lines)
    done = 0  # lines that are already classified
    for first, last in lines_above(lines):
        if first < done:
            continue
        end = last + 1 if are_signed_below(lines, first, last) else len(lines)
        for at in range(first, end):
            if not marked[at].startswith(">"):
                marked[at] = f"{MARK}{marked[at]}".rstrip()
        done = end
    return "\n".join(marked)


CONTEXT: Final = "[quoted from an earlier mail, as context]"
ANSWERED: Final = "[the mail that is answered]"
FORWARDED: Final = "[the mail that is forwarded]"

_LEFT_OUT: Final = "> […]"
_MIN_SHARE_CHARS: Final = 120  # of a quoted passage between two answers: the question
_EXAMINED_CHARS: Final = 160  # examined in a line
_SIGNATURE_CHARS: Final = 1_500

_DELIMITER: Final = re.compile(r"--[ \t]?")  # RFC 3676, 4.3; pages lose the trailing space
_FOOTER: Final = re.compile(r"_{5,}|-{10,}|={10,}")
_OF_A_LIST: Final = re.compile(
    "mailing list|unsubscribe|listinfo|abbestell|abmelde|отписат|désinscri|darse de baja", re.IGNORECASE
)
_LINK: Final = re.compile(r"(?:(?<![<\[(])[<\[(]++)?https?://\S+|[\[\]*_<>]")
_REST: Final = r"[^:;?!]{0,60}"
_APP: Final = (
    r"(?:outlook|yahoo|proton ?mail|samsung|gmail|i ?phone|i ?pad|android|blackberry|windows|thunderbird|k-9"
    r"|spark|aol|huawei|xiaomi|mail\b|e-?mail|gmx|web\.de|galaxy)"
)
# Lines that mail programs add below a mail: English, German, Russian, French, Spanish.
_SIGNED_BY_PROGRAM: Final = re.compile(
    "|".join(
        (
            rf"sent (?:from my|from a|from the) {_REST}",
            rf"sent (?:from|via|using|with) (?:my |the )?{_APP}{_REST}",
            rf"get (?:outlook|yahoo mail|proton ?mail) (?:for|on) {_REST}",
            rf"(?:diese (?:nachricht|mail) wurde )?(?:von|mit|aus) (?:meine[mr]|der|dem|{_APP}){_REST}"
            r" (?:gesendet|verschickt|versendet)",
            rf"(?:gesendet|verschickt|versendet) (?:von|vom|mit|über|aus) (?:mein|der|dem|{_APP}){_REST}",
            rf"(?:holen sie sich |laden sie )?outlook für {_REST}",
            rf"отправлено (?:с|со|из|через) (?:мо|устройств|мобильн|почт|яндекс|айфон|телефон|{_APP}){_REST}",  # noqa: RUF001
            rf"(?:скачать|получить|загрузить) outlook для {_REST}",
            r"envoyé (?:de|depuis|à partir de|avec|via|par) (?:mon |ma |l['\u2019]|la |le )?"
            rf"(?:appareil|application|mobile|t[ée]l[ée]phone|{_APP}){_REST}",
            rf"(?:obtenir|obtenez|télécharger|téléchargez) outlook pour {_REST}",
            rf"provenance : courrier {_REST}",
            r"enviado (?:desde|con|por) (?:mi |el |la )?"
            rf"(?:móvil|dispositivo|tel[ée]fono|correo|aplicaci|{_APP}){_REST}",
            rf"(?:obtener|obtenga|descargar) outlook para {_REST}",
        )
    ),
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Passage:
    lines: tuple[str, ...]
    is_quoted: bool

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def separate(marked: str, *, subject: str, quoted: Literal["context", "drop", "keep"]) -> str:
    """Return a mail without signatures, and with as much of its quotations as requested.

    Args:
        marked: text of a mail; quoted lines start with ``>``.
        subject: subject, which reveals a forwarded mail.
        quoted: see ``LetterOptions``.
    """
    signed = _unsigned(_passages(marked))
    new_text = "\n\n".join(passage.text for passage in signed if not passage.is_quoted)
    others = [passage for passage in signed if passage.is_quoted]
    if not others:
        return new_text
    is_forwarded = is_forward(subject, others[0].lines)
    is_whole = is_forwarded or len(new_text) < FEW_CHARS
    if quoted == "drop" and not is_whole:
        return new_text
    if quoted == "context" and not is_whole:
        signed = _shortened(signed)
    label = FORWARDED if is_forwarded else ANSWERED if is_whole else CONTEXT
    return _put_together(signed, "" if quoted == "keep" else label)


def cut(text: str, most_chars: int) -> str:
    """Cut *text* at the end of a paragraph, line or word within *most_chars*; return a shorter text whole."""
    if len(text) <= most_chars:
        return text
    for border in ("\n\n", "\n", " "):
        at = text.rfind(border, most_chars // 2, most_chars + 1)
        if at > 0:
            return text[:at].rstrip()
    return text[: max(0, most_chars)]


def _passages(marked: str) -> list[_Passage]:
    """Split into passages, in order; blank lines belong to the passage before and end nothing."""
    lines = marked.split("\n")
    kinds: list[bool] = []
    for line in lines:
        kinds.append(line.startswith(">") if line.strip() or not kinds else kinds[-1])
    found = []
    for is_quoted, group in groupby(zip(lines, kinds, strict=True), key=lambda pair: pair[1]):
        if bare := _bare([line for line, _ in group]):
            found.append(_Passage(bare, is_quoted))
    return found


def _bare(lines: Sequence[str]) -> tuple[str, ...]:
    """Strip blank lines from both ends."""
    start, end = 0, len(lines)
    while start < end and not lines[start].strip():
        start += 1
    while end > start and not lines[end - 1].strip():
        end -= 1
    return tuple(lines[start:end])


def _unsigned(passages: list[_Passage]) -> list[_Passage]:
    """Remove signatures, unless no text would remain."""
    left = []
    for passage in passages:
        lines = passage.lines if passage.is_quoted else _without_signature(passage.lines)
        if lines:
            left.append(_Passage(lines, passage.is_quoted))
    return left or passages


def _without_signature(lines: tuple[str, ...]) -> tuple[str, ...]:
    for at in range(max(0, len(lines) - 21), len(lines)):
        if _begins_signature(lines[at], lines[at + 1 :]):
            lines = lines[:at]
            break
    # Programs add their signature at the end of a passage.
    filled = [at for at, line in enumerate(lines) if line.strip()][-8:]
    signed = {at for at in filled if _is_a_programs(lines[at])}
    left = [line for at, line in enumerate(lines) if at not in signed]
    # Lines that Outlook draws above the mail it answers.
    while left and (not left[-1].strip() or _FOOTER.fullmatch(left[-1].strip())):
        left.pop()
    return _bare(left)


def _begins_signature(line: str, below: Sequence[str]) -> bool:
    if sum(map(len, below)) > _SIGNATURE_CHARS:
        return False
    if _DELIMITER.fullmatch(line):
        return True
    return _FOOTER.fullmatch(line.strip()) is not None and any(
        _OF_A_LIST.search(other[:_EXAMINED_CHARS]) for other in below
    )


def _is_a_programs(line: str) -> bool:
    if len(line) > _EXAMINED_CHARS * 2:
        return False
    words = " ".join(_LINK.sub(" ", line[:_EXAMINED_CHARS]).split())
    return _SIGNED_BY_PROGRAM.fullmatch(words.rstrip(".")) is not None


def _shortened(passages: list[_Passage]) -> list[_Passage]:
    """Shorten quotations to 2,000 characters: keep the end before an answer, else the beginning."""
    sizes = [len(passage.text) for passage in passages if passage.is_quoted]
    if sum(sizes) <= CONTEXT_CHARS:
        return passages
    share = max(_MIN_SHARE_CHARS, CONTEXT_CHARS // len(sizes))
    room = CONTEXT_CHARS
    left = []
    for at, passage in enumerate(passages):
        if not passage.is_quoted:
            left.append(passage)
            continue
        lines = _some(passage.lines, min(share, room), from_end=at + 1 < len(passages))
        room -= sum(len(line) + 1 for line in lines if line != _LEFT_OUT)
        left.append(_Passage(lines, is_quoted=True))
    return left


def _some(lines: tuple[str, ...], most_chars: int, *, from_end: bool) -> tuple[str, ...]:
    """Keep whole lines from one end of a passage, and mark the omission."""
    chosen: list[str] = []
    for line in reversed(lines) if from_end else lines:
        if len(line) + 1 > most_chars:
            if not chosen and most_chars > _MIN_SHARE_CHARS // 2:
                chosen.append(f"{line[: most_chars - 2]}…")
            break
        most_chars -= len(line) + 1
        chosen.append(line)
    if len(chosen) == len(lines) and chosen[-1] == (lines[0] if from_end else lines[-1]):
        return lines
    return (_LEFT_OUT, *reversed(chosen)) if from_end else (*chosen, _LEFT_OUT)


def _put_together(passages: list[_Passage], label: str) -> str:
    texts = []
    for passage in passages:
        if passage.is_quoted and label:
            texts.append(f"{label}\n{passage.text}")
            label = ""
        else:
            texts.append(passage.text)
    return "\n\n".join(texts)
