"""Mails over IMAP: parsing of FETCH answers, selection of the parts to fetch, and conversion to a document.

A part is named as in BODY[...] ("1.2"). Bodies and attachments are distinguished by the tree of parts alone,
so that nothing else must be fetched. Text parts are fetched up to the length that is ever read, attachments
only if the filter asks for them.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from email.utils import collapse_rfc2231_value, decode_params, unquote
from functools import lru_cache
from typing import Any, Final

import msgspec

from hub.connectors.connector import Message
from hub.connectors.imap_wire import Answer, Lost, Value, number_of, set_of, values
from hub.connectors.mime import headers_of
from hub.text.files import HTML, MAIL, MIB, PLAIN, NotConvertible
from hub.text.letter_text import Body, Enclosure, Letter, LetterOptions, is_tame, letter_of_mail
from hub.text.mime import date_in, file_name, header_text, undone

MOST_PARTS: Final = 100  # examined in one mail
_MOST_DEPTH: Final = 20
# Shorter plain text may be empty, or only point to the page.
_TOO_FEW: Final = 200
_NOTHING: Final[list[Value]] = [None] * 7


class Part(msgspec.Struct, frozen=True, array_like=True):
    """Leaf of the tree of parts. *size*: octets in encoded form."""

    number: str
    media_type: str
    charset: str = ""
    encoding: str = ""
    size: int = 0
    name: str = ""
    is_attached: bool = False
    way: int = 0  # parts with the same non-zero number are alternatives


class Fetched(msgspec.Struct, frozen=True):
    """Data of one message in a FETCH answer.

    Attributes:
        sections: content by the name in the brackets of BODY[...].
        is_whole: True if no section was NIL.
        fault: parse error, because of which no other data are known.
    """

    uid: int
    flags: frozenset[str] = frozenset()
    received_at: datetime | None = None
    size: int | None = None
    parts: tuple[Part, ...] = ()
    sections: dict[str, bytes] = {}
    is_whole: bool = True
    fault: str = ""

    @classmethod
    def faulty(cls, uid: int, fault: str) -> "Fetched | str":
        """Return a message that cannot be parsed."""
        return cls(uid, fault=fault)


UNKNOWN: Final = 0  # in place of a UID: no message has it (RFC 9051, 2.3.1.1)


def fetched(answer: Answer) -> Iterator[Fetched]:
    """Yield the messages of an answer that have a UID; other data of the server are skipped.

    A parse error yields ``UNKNOWN`` with a fault, because senders control the content.
    """
    for pieces in answer.untagged:
        if b" FETCH (" not in pieces[0][:24].upper():
            continue
        try:
            response = values(pieces)
            if len(response) > 3 and isinstance(response[3], list) and (one := _one(response[3])) is not None:
                yield one
        except Lost as error:
            yield Fetched(UNKNOWN, fault=str(error))


def _one(items: list[Value]) -> Fetched | None:
    uid: int | None = None
    flags: frozenset[str] = frozenset()
    received_at = None
    size = None
    parts: tuple[Part, ...] = ()
    sections: dict[str, bytes] = {}
    is_whole = True
    for name, value in zip(items[::2], items[1::2], strict=False):
        word = name.upper() if isinstance(name, bytes) else b""
        if word == b"UID":
            uid = number_of(value)
        elif word == b"FLAGS" and isinstance(value, list):
            flags = frozenset(_text(flag).lower() for flag in value)
        elif word == b"INTERNALDATE":
            received_at = date_in(_text(value))
        elif word == b"RFC822.SIZE":
            size = number_of(value)
        elif word == b"BODYSTRUCTURE" and isinstance(value, list):
            parts = parts_of(value)
        elif word.startswith(b"BODY["):
            section = word[5:].partition(b"]")[0].decode("ascii", "replace")
            is_whole = is_whole and isinstance(value, bytes)
            sections["HEADER" if section.startswith("HEADER") else section] = (
                value if isinstance(value, bytes) else b""
            )
    return None if uid is None else Fetched(uid, flags, received_at, size, parts, sections, is_whole)


def parts_of(structure: list[Value]) -> tuple[Part, ...]:
    """Return the leaves of a BODYSTRUCTURE in order, up to the limits."""
    found: list[Part] = []
    _walk(structure, "", 0, 0, found)
    return tuple(found)


def chosen(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Return the bodies of a mail: of alternatives, only the plain text.

    If the plain text is so short that it may be empty, all alternatives are chosen, to decide by their
    content.
    """
    words = [part for part in parts if _is_words(part)]
    plain = {part.way for part in words if part.way and part.media_type == PLAIN and part.size >= _TOO_FEW}
    return tuple(part for part in words if part.way not in plain or part.media_type == PLAIN)


def attached(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Return the attachments of a mail."""
    return tuple(part for part in parts if not _is_words(part))


def _is_words(part: Part) -> bool:
    return part.media_type in (PLAIN, HTML) and not part.is_attached and not part.name


def _walk(body: list[Value], number: str, way: int, depth: int, found: list[Part]) -> None:
    if len(found) >= MOST_PARTS or not body:
        return
    if not isinstance(body[0], list):
        found.append(_leaf(body, number or "1", way))
        return
    if depth == _MOST_DEPTH:
        return
    subtype = next((_text(part).lower() for part in body if not isinstance(part, list)), "")
    if subtype == "alternative":
        way = len(found) + 1  # unique number
    for at, part in enumerate(body, 1):
        if not isinstance(part, list):  # the subtype, after which lists are parameters
            break
        _walk(part, f"{number}.{at}" if number else str(at), way, depth + 1, found)


@lru_cache(maxsize=1_024)  # nearly all parts are of a few types
def _kind(kind: bytes, subtype: bytes) -> str:
    return f"{_text(kind)}/{_text(subtype)}".lower()[:100]


def _leaf(body: list[Value], number: str, way: int) -> Part:
    kind, subtype, given, _, _, encoding, size = [*body, *_NOTHING][:7]
    parameters = _parameters(given)
    disposition, shown = "", dict[str, str]()
    for value in body[7:]:
        match value:
            case [bytes(word), None | list() as more] if word.lower() in (b"attachment", b"inline"):
                disposition, shown = _text(word).lower(), _parameters(more)
                break
    return Part(
        number=number,
        media_type=_kind(_bytes(kind), _bytes(subtype)),
        charset=parameters.get("charset", "")[:60],
        encoding=_text(encoding).lower()[:30],
        size=number_of(size) or 0,
        name=_name(shown, "filename") or _name(parameters, "name"),
        is_attached=disposition == "attachment",
        way=way,
    )


def _parameters(given: Value) -> dict[str, str]:
    if not isinstance(given, list):
        return {}
    pairs = zip(given[::2], given[1::2], strict=False)
    return {_text(name).lower(): _text(value) for name, value in pairs}


def _name(parameters: dict[str, str], key: str) -> str:
    """Return a file's name, decoded (RFC 2231, RFC 2047)."""
    if key in parameters:
        return file_name(header_text(parameters[key]))
    pieces = [(name, value) for name, value in parameters.items() if name.startswith(f"{key}*")]
    try:
        extended = decode_params([("", ""), *pieces])[1:]
    except (TypeError, ValueError):  # numbers of pieces that do not fit each other
        return ""
    value = next((value for name, value in extended if name == key), "")
    return file_name(header_text(unquote(collapse_rfc2231_value(value, fallback_charset="utf-8"))))


def _text(value: Value) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _bytes(value: Value) -> bytes:
    return value if isinstance(value, bytes) else b""


# Of one encoded part: the maximum text of a mail (64 KiB, for a page 1 MiB), in base64.
_MOST_TEXT_BYTES: Final = 96 * 1024
_MOST_PAGE_BYTES: Final = 1408 * 1024
_MOST_MAIL_BYTES: Final = 512 * 1024  # of an attached mail
_MOST_NAMED: Final = 50  # attachments of one mail
_ROUND_BYTES: Final = 8 * MIB  # held at once
_OF_FOUR: Final = 0.73  # ratio of a file's size to its base64 form with line ends


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


class Order(msgspec.Struct, frozen=True):
    """Single FETCH for messages with equal parts."""

    parts: tuple[Part, ...]
    uids: tuple[int, ...]

    def words(self) -> list[bytes]:
        """Return the arguments of UID FETCH."""
        sections = b" ".join(
            b"BODY.PEEK[%b]<0.%d>" % (part.number.encode(), part.size) for part in self.parts
        )
        return [set_of(self.uids), b"(UID %b)" % sections if sections else b"(UID)"]


def rounds(places: Sequence[Place], options: LetterOptions) -> Iterator[list[Order]]:
    """Yield the FETCH commands of each round trip, so that the answers of a round fit the memory limit."""
    alike: dict[tuple[Part, ...], list[int]] = {}
    held = 0
    for at in places:
        # Attached mails are always read, as they are part of the message.
        files = [part for part in at.files if part.media_type == MAIL or _is_selected(part, options)]
        parts = (*at.texts, *files)
        size = sum(min(part.size, _most(part)) for part in parts)
        if alike and held + size > _ROUND_BYTES:
            yield _orders(alike)
            alike, held = {}, 0
        same = tuple(Part(part.number, "", size=_most(part)) for part in parts)
        alike.setdefault(same, []).append(at.uid)
        held += size
    if alike:
        yield _orders(alike)


def letter_of(message: Message, at: Place, sections: Mapping[str, bytes], options: LetterOptions) -> Letter:
    """Return the letter of a message. Only in a worker thread: decoding takes long.

    Args:
        sections: fetched content by part number.
    """
    return Letter(
        headers=headers_of(message),
        bodies=tuple(
            Body(
                data=sections[part.number],
                media_type=part.media_type,
                charset=part.charset or None,
                transfer_encoding=part.encoding,
            )
            for part in _ways(at.texts, sections)
        ),
        enclosures=tuple(_enclosure(part, sections, options) for part in at.files),
        are_alternatives=False,  # one part of each alternative was chosen
    )


def _is_selected(part: Part, options: LetterOptions) -> bool:
    return bool(part.name) and options.selects(part.media_type, _file_size(part), name=part.name)


def _file_size(part: Part) -> int:
    return int(part.size * _OF_FOUR) if part.encoding == "base64" else part.size


def _orders(alike: dict[tuple[Part, ...], list[int]]) -> list[Order]:
    return [Order(parts, tuple(sorted(set(uids)))) for parts, uids in alike.items()]


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


def fingerprint(message: Message, at: Place, sections: Mapping[str, bytes]) -> str:
    """Return a digest of the content, independent of the folder."""
    digest = hashlib.sha256(message.subject.encode("utf-8", "replace"))
    for part in at.texts:
        digest.update(b"\1" + sections.get(part.number, b""))
    for part in at.files:
        digest.update(f"\2{part.name}\0{part.size}".encode("utf-8", "replace"))
    return digest.hexdigest()
