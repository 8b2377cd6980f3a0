"""Bodies of mails over IMAP: selection of the parts to fetch, and conversion to a document.

Text parts are fetched up to the length that is ever read, attachments only if the filter asks for them.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final

import msgspec
from anyio import from_thread

from hub.connectors.connector import Address, Message
from hub.connectors.filters import Filter
from hub.connectors.imap_parts import HTML, PLAIN, Part, attached, chosen
from hub.connectors.imap_wire import set_of
from hub.document import Document
from hub.text.files import MAIL, MIB, NotConvertible
from hub.text.letter import Body, Enclosure, Letter, LetterOptions
from hub.text.letter_text import is_tame, letter_of_mail
from hub.text.letters import read_letter
from hub.text.mime import undone

# Of one encoded part: the maximum text of a mail (64 KiB, for a page 1 MiB), in base64.
_MOST_TEXT_BYTES: Final = 96 * 1024
_MOST_PAGE_BYTES: Final = 1408 * 1024
_MOST_MAIL_BYTES: Final = 512 * 1024  # of an attached mail
_MOST_NAMED: Final = 50  # attachments of one mail
_ROUND_BYTES: Final = 8 * MIB  # held at once
_OF_FOUR: Final = 0.73  # ratio of a file's size to its base64 form with line ends
_CREDIBLE: Final = timedelta(days=30)  # maximum difference between the sender's date and the server's


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Location of a message and its parts to fetch; plain JSON inside a ``Message``."""

    folder: str
    uidvalidity: int
    uid: int
    texts: tuple[Part, ...] = ()
    files: tuple[Part, ...] = ()


def place(folder: str, uidvalidity: int, uid: int, parts: Sequence[Part]) -> Any:
    """Create a message's ``place``."""
    return msgspec.to_builtins(Place(folder, uidvalidity, uid, chosen(parts), attached(parts)[:_MOST_NAMED]))


def place_of(message: Message) -> Place:
    """Decode a message's ``place``. Raises msgspec.ValidationError."""
    return msgspec.convert(message.place, Place)


class Order(msgspec.Struct, frozen=True):
    """Single FETCH for messages with equal parts."""

    parts: tuple[Part, ...]
    uids: tuple[int, ...]

    def words(self) -> list[bytes]:
        """Return the arguments of UID FETCH."""
        sections = b" ".join(_section(part) for part in self.parts)
        return [set_of(self.uids), b"(UID %b)" % sections if sections else b"(UID)"]


def options_of(filter: Filter) -> LetterOptions:
    """Return the options for the conversion of mails."""
    return LetterOptions(
        quoted=filter.quoted,
        max_chars=filter.max_chars,
        fetch=filter.attachments.fetch,
        types=filter.attachments.types,
        max_attachment_bytes=int(filter.attachments.max_mb * MIB),
    )


def rounds(places: Sequence[Place], options: LetterOptions) -> Iterator[list[Order]]:
    """Yield the FETCH commands of each round trip, so that the answers of a round fit the memory limit."""
    alike: dict[tuple[Part, ...], list[int]] = {}
    held = 0
    for at in places:
        parts = (*at.texts, *_selected_files(at, options))
        size = sum(min(part.size, _most(part)) for part in parts)
        if alike and held + size > _ROUND_BYTES:
            yield _orders(alike)
            alike, held = {}, 0
        same = tuple(_as_asked(part) for part in parts)
        alike.setdefault(same, []).append(at.uid)
        held += size
    if alike:
        yield _orders(alike)


def document(message: Message, at: Place, sections: Mapping[str, bytes], options: LetterOptions) -> Document:
    """Convert a message to a document. Only in a worker thread: a large mail may take seconds.

    Args:
        sections: fetched content by part number.

    Raises:
        NotConvertible: the mail cannot be converted; the message says why.
    """
    letter = Letter(
        headers=_headers(message),
        bodies=tuple(_body(part, sections[part.number]) for part in _ways(at.texts, sections)),
        enclosures=tuple(_enclosure(part, sections, options) for part in at.files),
        are_alternatives=False,  # one part of each alternative was chosen
    )
    made = read_letter(letter, options, check=from_thread.check_cancelled)
    return Document(
        unit_key=message.key,
        text=made.text,
        content_hash=_fingerprint(message, at, sections),
        media_type=MAIL,
        modified_at=_written_at(message),
        hidden_parts=made.dropped,
        link=message.link,
        title=message.subject or None,
    )


def _selected_files(at: Place, options: LetterOptions) -> tuple[Part, ...]:
    """Return the attachments to read; attached mails always, as they are part of the message."""
    return tuple(part for part in at.files if part.media_type == MAIL or _is_selected(part, options))


def _is_selected(part: Part, options: LetterOptions) -> bool:
    return bool(part.name) and options.selects(part.media_type, _file_size(part), name=part.name)


def _file_size(part: Part) -> int:
    return int(part.size * _OF_FOUR) if part.encoding == "base64" else part.size


def _orders(alike: dict[tuple[Part, ...], list[int]]) -> list[Order]:
    return [Order(parts, tuple(sorted(set(uids)))) for parts, uids in alike.items()]


def _as_asked(part: Part) -> Part:
    """Return a part in the form that makes equal requests equal."""
    return Part(part.number, "", size=_most(part))


def _section(part: Part) -> bytes:
    return b"BODY.PEEK[%b]<0.%d>" % (part.number.encode(), part.size)


def _most(part: Part) -> int:
    if part.media_type == MAIL:
        return _MOST_MAIL_BYTES
    if part.is_attached or part.name or part.media_type not in (PLAIN, HTML):
        return max(1, part.size)
    return _MOST_PAGE_BYTES if part.media_type == HTML else _MOST_TEXT_BYTES


def _ways(texts: Sequence[Part], sections: Mapping[str, bytes]) -> Iterator[Part]:
    """Choose among alternatives: non-empty plain text, else the page."""
    present = [part for part in texts if part.number in sections]
    plain = {part.way for part in present if part.media_type == PLAIN and sections[part.number].strip()}
    pages = {part.way for part in present if part.media_type == HTML}
    for part in present:
        is_plain = part.media_type == PLAIN
        if part.way == 0 or (is_plain if part.way in plain or part.way not in pages else not is_plain):
            yield part


def _body(part: Part, data: bytes) -> Body:
    return Body(
        data=data,
        media_type=part.media_type,
        charset=part.charset or None,
        transfer_encoding=part.encoding,
    )


def _enclosure(part: Part, sections: Mapping[str, bytes], options: LetterOptions) -> Enclosure:
    data = sections.get(part.number)
    enclosure = Enclosure(
        name=part.name,
        media_type=part.media_type,
        size_bytes=_file_size(part),
        is_inline=not part.is_attached,
    )
    if data is None:
        return enclosure
    if part.media_type != MAIL:
        return replace(enclosure, content=undone(data, part.encoding))
    try:
        if not is_tame(data):
            raise NotConvertible("too tangled")
        return replace(enclosure, letter=letter_of_mail(data, options))
    except NotConvertible as error:
        return replace(enclosure, why_not=str(error))


def _headers(message: Message) -> dict[str, str]:
    head = {"Subject": message.subject, "To": ", ".join(map(_shown, message.recipients))}
    if message.sender is not None:
        head["From"] = _shown(message.sender)
    if message.sent_at is not None:
        head["Date"] = format_datetime(message.sent_at)
    return {name: value for name, value in head.items() if value}


def _shown(address: Address) -> str:
    return f"{address.name} <{address.email}>" if address.name else address.email


def _written_at(message: Message) -> datetime | None:
    """Return the reference date for dates in the text: the sender's date, if it is plausible."""
    sent, received = message.sent_at, message.received_at
    if sent is not None and received is not None and abs(sent - received) > _CREDIBLE:
        return received
    return sent or received


def _fingerprint(message: Message, at: Place, sections: Mapping[str, bytes]) -> str:
    """Return a digest of the content, independent of the folder."""
    digest = hashlib.sha256(message.subject.encode("utf-8", "replace"))
    for part in at.texts:
        digest.update(b"\1" + sections.get(part.number, b""))
    for part in at.files:
        digest.update(f"\2{part.name}\0{part.size}".encode("utf-8", "replace"))
    return digest.hexdigest()


__all__ = ["NotConvertible", "Order", "Place", "document", "options_of", "place", "place_of", "rounds"]
