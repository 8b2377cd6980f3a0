"""Mail in parts, and the options of its conversion.

A mail is either raw, as in a file, or a provider delivers its parts: headers, bodies, and a list of
attachments, mostly without their content. Both become a ``Letter``, which ``letter_text`` converts to text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal

from hub.text.files import MAX_BYTES, MIB, PLAIN, Converted, media_type_of

MOST_BYTES: Final = 25 * MIB  # of one mail; no large provider accepts more
MOST_PARTS: Final = 100
MOST_DEPTH: Final = 20  # of nested parts
CONTEXT_CHARS: Final = 2_000  # of quoted text
FEW_CHARS: Final = 40  # "ok, do it": incomprehensible without the mail that it answers

_UNSAID: Final = ("", "application/octet-stream")

Attached = Callable[[bytes, str], Converted]  # converts an attachment of a media type; raises NotConvertible


@dataclass(frozen=True, kw_only=True)
class Body:
    """Body of a mail, in one of its alternative forms.

    Attributes:
        data: text, or bytes in *charset* (as its header names it) and *transfer_encoding* (if not decoded).
        media_type: ``text/html``; any other type is read as plain text.
        is_normalised: the provider converts bodies to UTF-8, but may leave the old charset in the header:
            UTF-8 is tried first, then the charset. Otherwise the charset is tried first.
    """

    data: bytes | str
    media_type: str = PLAIN
    charset: str | None = None
    transfer_encoding: str = ""
    is_normalised: bool = False


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
    """

    headers: Mapping[str, str] | Sequence[tuple[str, str]] = ()
    bodies: tuple[Body, ...] = ()
    enclosures: tuple[Enclosure, ...] = ()
    are_alternatives: bool = True
    notes: tuple[str, ...] = ()


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
        """Return True if the content of an attachment is to be fetched."""
        if not self.fetch or (size_bytes is not None and size_bytes > self.max_attachment_bytes):
            return False
        kind = kind_of_enclosure(media_type, name)
        return not self.types or any(fnmatchcase(kind, pattern.strip().lower()) for pattern in self.types)


# A mail in a file is converted completely.
WHOLE: Final = LetterOptions(
    quoted="whole", max_chars=MAX_BYTES, max_body_chars=MAX_BYTES, fetch=True, max_attachment_bytes=MAX_BYTES
)


def kind_of_enclosure(media_type: str, name: str) -> str:
    """Return the media type of an attachment, by its name if its sender declared none."""
    kind = media_type.partition(";")[0].strip().lower()
    return media_type_of(name) if kind in _UNSAID and "." in name else kind
