"""Document: a text with its origin, and which parts of a trusted mail (quotations) are not trusted."""

import re
from bisect import bisect_right
from datetime import datetime
from functools import cached_property
from operator import itemgetter
from typing import IO, Final, Literal

import msgspec

from hub.base.mail_subjects import is_of_forward
from protocol.items import Provenance, ProvenanceOrigin

# Begins the text of an attachment of a mail, which follows its own.
_ENCLOSED: Final = re.compile(r"(?<=\n)\[attachment: [^\n]*")
_IS_CALENDAR: Final = re.compile(r"[ ](?:text/calendar|application/ics)[,\]]")
_SUBJECT: Final = re.compile(r"Subject: ([^\n]*)")
_QUOTED: Final = re.compile(r"^>[^\n]*", re.MULTILINE)


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
        """Return who wrote the text at *place*; what a trusted mail quotes or encloses is by others.

        The calendar of the event that it is about is its own.
        """
        known = self.provenance
        if known is not None and known.trusted and known.origin is ProvenanceOrigin.MAIL:
            nth = bisect_right(self._quoted, (place, len(self.text))) - 1
            is_quoted = nth >= 0 and place <= self._quoted[nth][1]
            nth = bisect_right(self._enclosed, place, key=itemgetter(0)) - 1
            if is_quoted or (nth >= 0 and not self._enclosed[nth][1]):
                return msgspec.structs.replace(known, author=None, trusted=False)
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

    @cached_property
    def _quoted(self) -> list[tuple[int, int]]:
        """Lines of a mail that quote another one. Found once, as a text has many items.

        All of a forwarded mail without such lines: nothing tells whose its words are.
        """
        subject = _SUBJECT.match(self.text)
        places = [match.span() for match in _QUOTED.finditer(self.text)]
        is_unmarked = not places and subject is not None and is_of_forward(subject[1])
        return [(0, len(self.text))] if is_unmarked else places

    @cached_property
    def _enclosed(self) -> list[tuple[int, bool]]:
        """Places at which the attachments of a mail begin; True for the calendar that its event is from."""
        notes = list(_ENCLOSED.finditer(self.text))
        calendars = (note for note in notes if _IS_CALENDAR.search(note[0]))
        of_event = next(calendars, None) if self.event else None
        return [(note.start(), note is of_event) for note in notes]
