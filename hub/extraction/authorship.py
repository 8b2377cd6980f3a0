"""Authors of texts: the rank of the words at each position of a document. Pure functions.

A saved mail, chat or web page is by others wherever it is stored. So is a page that was clipped into a note,
or an invitation. In a note of the owner, quoted lines are by others; of a mail that was pasted without
signs, nothing tells the end, so that it is the owner's. What a mail of a known sender quotes, forwards or
encloses is by others.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from hub.base.mail_subjects import has_forward
from hub.document import Document
from hub.text.files import CHAT, HTML, MAIL, MBOX, is_named, media_type_of
from hub.text.places import Place, merged, place_at
from hub.text.quotations import kind_of_others, quoted_lines
from protocol.items import Provenance, ProvenanceOrigin, Rank

_FROM_OTHERS: Final[Mapping[str | None, ProvenanceOrigin]] = {
    MAIL: ProvenanceOrigin.MAIL,
    MBOX: ProvenanceOrigin.MAIL,
    CHAT: ProvenanceOrigin.CHAT,
    HTML: ProvenanceOrigin.WEB,
}
# Begins the text of an attachment of a mail, which follows its own.
_ENCLOSED: Final = re.compile(r"(?<=\n)\[attachment: [^\n]*")
_IS_CALENDAR: Final = re.compile(r"[ ](?:text/calendar|application/ics)[,\]]")
_SUBJECT: Final = re.compile(r"Subject: ([^\n]*)")


def origin_of(media_type: str | None, path: str) -> ProvenanceOrigin:
    """Return the origin of a file: by its media type, else by its name."""
    found = _FROM_OTHERS.get(media_type) or _FROM_OTHERS.get(media_type_of(path))
    return found or ProvenanceOrigin.OWN


def rank_of_unit(unit_key: str) -> Rank:
    """Return the rank of the words of a unit of which nothing but its key is known."""
    folder, slash, _ = unit_key.partition("/")
    is_file = ":" not in folder and (is_named(unit_key) or bool(folder and slash))  # no "teams:a/b"
    return Rank.OWN if is_file and origin_of(None, unit_key) is ProvenanceOrigin.OWN else Rank.OTHERS


def rank_of_document(document: Document) -> Rank:
    """Return the rank of the words of a document, apart from those that it quotes."""
    known = document.provenance
    rank = rank_of_unit(document.unit_key) if known is None else known.rank
    return Rank.OTHERS if rank is Rank.OWN and kind_of_others(document.text) else rank


def ranks_in(document: Document) -> Callable[[int], Rank]:
    """Return a function that returns the rank of the words at a place of a document."""
    whole = rank_of_document(document)
    places = quoted_lines(document.text) if whole is Rank.OWN else []
    if whole is Rank.TRUSTED and document.provenance and document.provenance.origin is ProvenanceOrigin.MAIL:
        places = _places_of_others(document)
    return lambda place: whole if not places or place_at(places, place) is None else Rank.OTHERS


def _places_of_others(document: Document) -> list[Place]:
    """Return what a trusted mail quotes or encloses, without the calendar of the event that it is about.

    All of a forwarded mail without signs: nothing tells whose its words are.
    """
    text, subject = document.text, _SUBJECT.match(document.text)
    quoted = quoted_lines(text, has_own=False)
    if not quoted and subject and has_forward(subject[1]):
        return [(0, len(text))]
    notes = list(_ENCLOSED.finditer(text))
    calendars = (note for note in notes if _IS_CALENDAR.search(note[0]))
    of_event = next(calendars, None) if document.event else None
    ends = [*(note.start() for note in notes[1:]), len(text)]
    enclosed = zip(notes, ends, strict=False)
    return merged([*quoted, *((note.start(), end) for note, end in enclosed if note is not of_event)])


def text_of_rank(document: Document, rank: int) -> str:
    """Return the text of a document without the lines in words of a lower rank."""
    if rank == Rank.OTHERS:
        return document.text
    rank_at, lines, start = ranks_in(document), list[str](), 0
    for line in document.text.splitlines(keepends=True):
        lines += [line] if rank_at(start) >= rank else []
        start += len(line)
    return "".join(lines)


def authors_in(document: Document) -> Callable[[int], tuple[Rank, Provenance | None]]:
    """Return a function that returns the rank of the words at a place of a document, and their author.

    The author is None if it is not known. In a file of the owner, a page, a mail and a quotation have the
    origin of what they were copied from.
    """
    rank_at = ranks_in(document)

    def author_at(place: int) -> tuple[Rank, Provenance | None]:
        rank, known = rank_at(place), document.provenance_at(place)
        if known is None or known.rank <= rank:
            return rank, known
        kind = kind_of_others(document.text) if rank_of_document(document) is Rank.OTHERS else MAIL
        return rank, Provenance(origin=_FROM_OTHERS.get(kind, ProvenanceOrigin.CALENDAR), trusted=False)

    return author_at
