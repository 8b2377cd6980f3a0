"""Structure of a Gmail message: headers, bodies and attachments.

Gmail converts bodies to UTF-8, but keeps the old charset in their headers. Large parts are not included; they
are fetched by an id that is valid only for this answer.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from hub.connectors.connector import Attachment
from hub.connectors.mime import Head, read_head
from hub.text.files import HTML, MAIL, PLAIN
from hub.text.letter import MOST_BYTES, MOST_DEPTH, MOST_PARTS, Body, Enclosure, Letter, LetterOptions
from hub.text.mime import header_text

_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?([^\"';\s]+)", re.IGNORECASE)
_MOST_MAILS: Final = 3  # nested in each other
_NOT_FETCHED: Final = "it could not be had from Gmail"


class Header(msgspec.Struct, frozen=True):
    name: str = ""
    value: str = ""


class PartBody(msgspec.Struct, frozen=True, rename="camel"):
    attachment_id: str = ""
    size: int = 0
    data: str = ""


class Part(msgspec.Struct, frozen=True, rename="camel"):
    """Part in Gmail's format; *filename* is decoded."""

    part_id: str = ""
    mime_type: str = ""
    filename: str = ""
    headers: tuple[Header, ...] = ()
    body: PartBody = PartBody()
    parts: tuple["Part", ...] = ()

    @property
    def kind(self) -> str:
        return self.mime_type.lower()

    def header(self, name: str) -> str:
        return next((one.value for one in self.headers if one.name.lower() == name), "")

    @property
    def is_inline(self) -> bool:
        shown = self.header("content-disposition").strip().lower()
        return shown.startswith("inline") or (not shown and bool(self.header("content-id")))


class GmailMessage(msgspec.Struct, frozen=True, rename="camel"):
    """Message in the form full or metadata. *internal_date*: time of receipt, epoch milliseconds."""

    id: str
    thread_id: str = ""
    label_ids: tuple[str, ...] = ()
    internal_date: int | None = None
    size_estimate: int | None = None
    payload: Part = Part()

    def head(self) -> Head:
        return read_head([(one.name, one.value) for one in self.payload.headers])


@dataclass
class Sorted:
    """Parts of a mail by role: bodies, attached files, and attached mails."""

    bodies: list[Part] = field(default_factory=list)
    files: list[Part] = field(default_factory=list)
    mails: list[Part] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def sort(payload: Part) -> Sorted:
    """Sort the parts of a mail by role, in order; parts of attached mails are not included."""
    found = Sorted()
    todo: list[tuple[Part, int, bool]] = [(payload, 0, True)]
    seen = 0
    while todo:
        part, depth, is_shown = todo.pop()
        seen += 1
        if seen > MOST_PARTS or depth > MOST_DEPTH:
            found.notes.append("parts of this mail were left out: there are too many")
            break
        if part.kind == MAIL:
            found.mails.append(part)
        elif part.parts:
            chosen = _chosen(part) if part.kind == "multipart/alternative" else part.parts
            todo += [(one, depth + 1, is_shown and one in chosen) for one in reversed(part.parts)]
        elif _is_words(part):
            if is_shown:
                found.bodies.append(part)
        elif not part.kind.startswith("multipart/"):
            found.files.append(part)
    return found


def attachments(payload: Part) -> tuple[Attachment, ...]:
    """Return the metadata of a message's attachments."""
    parted = sort(payload)
    return tuple(
        Attachment(
            id=part.body.attachment_id or part.part_id,
            name=header_text(part.filename),
            media_type=part.kind or "application/octet-stream",
            size_bytes=part.body.size,
            is_inline=part.is_inline,
        )
        for part in (*parted.files, *parted.mails)
    )


def to_fetch(payload: Part, options: LetterOptions, depth: int = 0) -> Iterator[str]:
    """Yield the ids of parts to fetch: large bodies, and selected attachments."""
    parted = sort(payload)
    for part in parted.bodies:
        if part.body.attachment_id and not part.body.data and part.body.size <= MOST_BYTES:
            yield part.body.attachment_id
    for part in parted.files:
        if part.body.attachment_id and not part.body.data and _is_selected(part, options):
            yield part.body.attachment_id
    for part in parted.mails:
        if part.parts and depth < _MOST_MAILS:
            yield from to_fetch(part.parts[0], options, depth + 1)


def letter_of(
    payload: Part, options: LetterOptions, fetched: Mapping[str, str | None], depth: int = 0
) -> Letter:
    """Convert a message to a letter.

    Args:
        fetched: fetched parts in base64url by id; ``None`` for a part that could not be fetched.
    """
    parted = sort(payload)
    bodies = []
    for part in parted.bodies:
        data = _data(part, fetched)
        if data is None:
            parted.notes.append("a part of this mail could not be had from Gmail")
            continue
        charset = _CHARSET.search(part.header("content-type"))
        bodies.append(
            Body(
                data=data,
                media_type=part.kind,
                charset=charset[1] if charset else None,
                is_normalised=True,
            )
        )
    enclosures = [_file(part, options, fetched) for part in parted.files]
    enclosures += [_mail(part, options, fetched, depth) for part in parted.mails]
    return Letter(
        headers=[(one.name, one.value) for one in payload.headers],
        bodies=tuple(bodies),
        enclosures=tuple(enclosures),
        are_alternatives=False,  # one of the alternatives was chosen above
        notes=tuple(parted.notes),
    )


def fingerprint(letter: Letter) -> str:
    """Return the SHA-256 (hex) of a mail's content; Gmail's part ids differ between answers."""
    digest = hashlib.sha256()
    for name, value in letter.headers if not isinstance(letter.headers, Mapping) else letter.headers.items():
        if name.lower() in ("subject", "message-id", "date", "from"):
            digest.update(f"{name.lower()}:{value}\0".encode("utf-8", "replace"))
    for body in letter.bodies:
        digest.update(b"\1" + (body.data if isinstance(body.data, bytes) else body.data.encode()))
    for file in letter.enclosures:
        digest.update(f"\2{file.name}\0{file.size_bytes}".encode("utf-8", "replace"))
    return digest.hexdigest()


def _chosen(part: Part) -> tuple[Part, ...]:
    """Choose among alternatives: non-empty plain text, else the richest."""
    for one in part.parts:
        if (
            one.kind == PLAIN
            and not one.filename
            and (one.body.attachment_id or (_undone(one.body.data) or b"").strip())
        ):
            return (one,)
    return part.parts[-1:]


def _is_words(part: Part) -> bool:
    is_attached = part.header("content-disposition").strip().lower().startswith("attachment")
    return part.kind in (PLAIN, HTML) and not part.filename and not is_attached


def _is_selected(part: Part, options: LetterOptions) -> bool:
    named = bool(part.filename) or not part.is_inline
    return named and options.selects(part.kind, part.body.size, name=part.filename)


def _file(part: Part, options: LetterOptions, fetched: Mapping[str, str | None]) -> Enclosure:
    is_selected = _is_selected(part, options)
    content = _data(part, fetched) if is_selected else None
    return Enclosure(
        name=part.filename,
        media_type=part.kind or "application/octet-stream",
        size_bytes=part.body.size,
        is_inline=part.is_inline,
        content=content,
        why_not=_NOT_FETCHED if is_selected and content is None else "",
    )


def _mail(part: Part, options: LetterOptions, fetched: Mapping[str, str | None], depth: int) -> Enclosure:
    inside = (
        letter_of(part.parts[0], options, fetched, depth + 1) if part.parts and depth < _MOST_MAILS else None
    )
    return Enclosure(
        name=part.filename,
        media_type=MAIL,
        size_bytes=part.body.size,
        letter=inside,
        why_not="" if inside else "a mail inside a mail that cannot be read",
    )


def _data(part: Part, fetched: Mapping[str, str | None]) -> bytes | None:
    if part.body.data or not part.body.attachment_id:
        return _undone(part.body.data)
    encoded = fetched.get(part.body.attachment_id)
    return None if encoded is None else _undone(encoded)


def _undone(data: str) -> bytes | None:
    """Decode base64url, with or without padding; None if it is invalid."""
    try:
        return base64.urlsafe_b64decode(data.rstrip("=") + "=" * (-len(data.rstrip("=")) % 4))
    except (binascii.Error, ValueError):
        return None
