"""Document: a text with its origin and its fingerprint, created by sources for the extraction."""

from bisect import bisect_right
from datetime import datetime
from typing import IO, Final

import msgspec

from protocol.work import Provenance, ProvenanceOrigin

_ENCLOSED: Final = "\n[attachment: "  # begins the texts of a mail's attachments, which follow its own


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """Text with an origin.

    Attributes:
        unit_key: key of the unit in a run: a file's path, or a message's id.
        text: the whole text; offsets of items count its code points.
        content_hash: SHA-256 (hex) of the original bytes, before conversion.
        media_type: media type of the original, if known.
        modified_at: time of the original, aware, UTC; dates in the text are resolved relative to it.
        hidden_parts: number of parts that a reader of the original cannot see, and that were removed.
        began_at: when the first piece of the original arrived, in epoch milliseconds, if known.
        link: address that opens the original; *title* is its name there.
        provenance: who wrote the text, if known.
        authors: authors of the text by the place where their part begins, in order; None: unknown. Empty if
            the text has one author.
        recording: content of a file of speech, whose text is not known yet.
    """

    unit_key: str
    text: str
    content_hash: str
    media_type: str | None = None
    modified_at: datetime | None = None
    hidden_parts: int = 0
    began_at: int | None = None
    link: str | None = None
    title: str | None = None
    provenance: Provenance | None = None
    authors: tuple[tuple[int, str | None], ...] = ()
    recording: IO[bytes] | None = None

    def provenance_at(self, place: int) -> Provenance | None:
        """Return who wrote the text at *place*; what a trusted mail quotes or encloses is by others."""
        known = self.provenance
        if known is not None and known.trusted and known.origin is ProvenanceOrigin.MAIL:
            line = self.text.rfind("\n", 0, place) + 1
            is_quoted = self.text.startswith(">", line)
            if is_quoted or self.text.find(_ENCLOSED, 0, place + 1) >= 0:
                return msgspec.structs.replace(known, author=None, trusted=False)
        nth = bisect_right(self.authors, place, key=lambda part: part[0]) - 1
        if self.provenance is None or nth < 0:
            return self.provenance
        return msgspec.structs.replace(self.provenance, author=self.authors[nth][1])
