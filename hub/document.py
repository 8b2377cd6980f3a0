"""Document: a text with its origin."""

import re
from bisect import bisect_right
from datetime import datetime
from functools import cached_property
from typing import IO, Literal

import msgspec

from protocol.items import Provenance


class Document(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Text with an origin.

    Attributes:
        unit_key: key of the unit in a run: a file's path, or a message's id.
        text: the whole text; offsets of items count its code points.
        content_hash: SHA-256 (hex) of the original bytes, before conversion.
        media_type: media type of the original, if known.
        modified_at: time of the original, aware, UTC; dates in the text are resolved relative to it.
        hidden_parts: number of parts that a reader of the original cannot see, and that were removed.
        guessed: encoding in which the original was read, if nothing in it tells one.
        parts: number of parts of a mail by type and outcome; empty if all were read.
        event: version of the event that the unit is about, as a mail invites to it; else empty.
        dates: dates of its series that the mail changes (``hub.extraction.calendars.date_of_series``).
        effect: of the mail on the event: ``none``, or ``cancel`` if its organizer calls it off.
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
    guessed: str | None = None
    parts: dict[str, int] = {}
    event: str = ""
    dates: tuple[str, ...] = ()
    effect: Literal["", "none", "cancel"] = ""
    began_at: int | None = None
    link: str | None = None
    title: str | None = None
    provenance: Provenance | None = None
    authors: tuple[tuple[int, str | None], ...] = ()
    recording: IO[bytes] | None = None

    def provenance_at(self, place: int) -> Provenance | None:
        """Return who wrote the part of the text at *place*, apart from what the part quotes."""
        known = self.provenance
        if known is None or not self.authors:  # the usual case
            return known
        nth = bisect_right(self.authors, place, key=lambda part: part[0]) - 1
        if nth < 0:
            return known
        return msgspec.structs.replace(known, author=self.authors[nth][1])

    def line_at(self, place: int) -> int:
        """Return the number of the line that has *place*; the first is 1."""
        return bisect_right(self._line_feeds, place - 1) + 1

    @cached_property
    def _line_feeds(self) -> list[int]:
        """Places of the line feeds, found once likewise."""
        return [match.start() for match in re.finditer("\n", self.text)]
