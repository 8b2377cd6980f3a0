"""Authors of texts: the rank of the words at each place of a document. Pure functions.

A saved mail, chat or web page is by others wherever it is stored. So is a page that was clipped into a note,
or an invitation. In a note of the owner, quoted lines are by others; of a mail that was pasted without
signs, nothing tells the end, so that it is the owner's.
"""

from collections.abc import Callable, Mapping
from typing import Final

from hub.document import Document
from hub.text.files import CHAT, HTML, MAIL, MBOX, is_named, media_type_of
from hub.text.quotations import is_of_others, kind_of_others, others_at
from protocol.items import Provenance, ProvenanceOrigin, Rank

_FROM_OTHERS: Final[Mapping[str | None, ProvenanceOrigin]] = {
    MAIL: ProvenanceOrigin.MAIL,
    MBOX: ProvenanceOrigin.MAIL,
    CHAT: ProvenanceOrigin.CHAT,
    HTML: ProvenanceOrigin.WEB,
}


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
    return Rank.OTHERS if rank is Rank.OWN and is_of_others(document.text) else rank


def ranks_in(document: Document) -> Callable[[int], Rank]:
    """Return a function that returns the rank of the words at a place of a document."""
    whole = rank_of_document(document)
    if whole is Rank.TRUSTED:
        return lambda place: getattr(document.provenance_at(place), "rank", whole)
    is_by_others = others_at(document.text) if whole is Rank.OWN else None
    if is_by_others is None:
        return lambda place: whole
    return lambda place: Rank.OTHERS if is_by_others(place) else whole


def text_of_rank(document: Document, rank: int) -> str:
    """Return the text of a document without the lines in words of a lower rank."""
    if rank == Rank.OTHERS:
        return document.text
    rank_at, lines, start = ranks_in(document), list[str](), 0
    for line in document.text.splitlines(keepends=True):
        lines += [line] if rank_at(start) >= rank else []
        start += len(line)
    return "".join(lines)


def provenances_in(document: Document) -> Callable[[int], Provenance | None]:
    """Return a function that returns who wrote the text at a place of a document, if known.

    In a file of the owner, a page, a mail and a quotation have the origin of what they were copied from.
    """
    rank_at, is_by_others = ranks_in(document), rank_of_document(document) is Rank.OTHERS
    whole = _FROM_OTHERS.get(kind_of_others(document.text), ProvenanceOrigin.CALENDAR)
    copied = Provenance(origin=whole if is_by_others else ProvenanceOrigin.MAIL, trusted=False)

    def provenance_at(place: int) -> Provenance | None:
        known = document.provenance_at(place)
        return copied if known is not None and known.rank > rank_at(place) else known

    return provenance_at
