"""A mail as a mailbox hands it over, and what is made of it.

A provider gives either the mail as it travels, or its parts: headers, bodies, and a list of what hangs on to
it, mostly without the contents. Both come together in a ``Letter``; ``letters`` makes its text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal

from hub.text.converted import MIB, Converted
from hub.text.kinds import PLAIN, media_type_of

MOST_BYTES: Final = 25 * MIB  # of one mail; no large provider takes a larger one
MOST_HTML_CHARS: Final = MIB  # of one page in it
MOST_TEXT_CHARS: Final = 64 * 1024  # of one body, as text
MOST_PARTS: Final = 100
MOST_DEPTH: Final = 20  # of parts in parts
CONTEXT_CHARS: Final = 2_000  # of what is quoted
FEW_CHARS: Final = 40  # "ok, do it": not to be understood without what it answers

_UNSAID: Final = ("", "application/octet-stream")


@dataclass(frozen=True, kw_only=True)
class Body:
    """One way in which a mail says its words.

    Attributes:
        data: text, or bytes in *charset* (as its header names it) and *transfer_encoding* (if not undone).
        media_type: ``text/html``; anything else is read as plain words.
        is_normalised: the provider turns bodies into UTF-8, and may leave the old charset in the header:
            UTF-8 is tried first, then the charset. Else the charset is tried first.
    """

    data: bytes | str
    media_type: str = PLAIN
    charset: str | None = None
    transfer_encoding: str = ""
    is_normalised: bool = False


@dataclass(frozen=True, kw_only=True)
class Enclosure:
    """What hangs on to a mail.

    Attributes:
        size_bytes: ``None``: not known.
        is_inline: it is shown in the page; without a name, and no text, it is left out.
        content: decoded; only of one that ``LetterOptions.wants``.
        why_not: it was wanted, and there is no content: the reason, for the text.
        letter: of a mail inside the mail. It is part of what was sent, and always read.
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
    """A mail in parts.

    Attributes:
        headers: as they are spelled, encoded words (RFC 2047) or not; the first of a name counts. Subject,
            From, To, Cc and Date are shown.
        bodies: in their order.
        are_alternatives: plain words and a page say the same: the plain ones are taken where they say
            anything. Else all bodies are taken.
        notes: what could not be had of it, for the text.
    """

    headers: Mapping[str, str] | Sequence[tuple[str, str]] = ()
    bodies: tuple[Body, ...] = ()
    enclosures: tuple[Enclosure, ...] = ()
    are_alternatives: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LetterOptions:
    """What is wanted of a mail.

    Attributes:
        quoted: what becomes of quoted mail: ``context`` keeps at most 2,000 characters of it, labelled;
            ``drop`` none, ``keep`` all. Where its author wrote fewer than 40 characters, or forwards it, it
            is all kept.
        max_chars: of its words and the texts of what hangs on to it; its head, names and notes come on top.
        fetch: read what hangs on to it.
        types: of that, these media types alone; ``image/*`` is possible; none: all that text can be had from.
        max_attachment_bytes: larger ones are only named.
    """

    quoted: Literal["context", "drop", "keep"] = "context"
    max_chars: int = 12_000
    fetch: bool = False
    types: tuple[str, ...] = ()
    max_attachment_bytes: int = 10 * MIB

    def wants(self, media_type: str, size_bytes: int | None = None, *, name: str = "") -> bool:
        """Whether the content of an attachment is to be fetched."""
        if not self.fetch or (size_bytes is not None and size_bytes > self.max_attachment_bytes):
            return False
        kind = kind_of_enclosure(media_type, name)
        return not self.types or any(fnmatchcase(kind, wanted.strip().lower()) for wanted in self.types)


@dataclass(frozen=True)
class LetterText(Converted):
    """The text of a mail in the form that ``mail`` describes.

    Attributes:
        new_text: what its author wrote now, without signature; empty where that cannot be told apart.
        is_cut: it has more words than were wanted.
        is_forward: what is quoted in it is what it was sent for.
    """

    new_text: str = ""
    is_cut: bool = False
    is_forward: bool = False


def kind_of_enclosure(media_type: str, name: str) -> str:
    """The media type of an attachment; by its name where its sender said nothing."""
    kind = media_type.partition(";")[0].strip().lower()
    return media_type_of(name) if kind in _UNSAID and "." in name else kind
