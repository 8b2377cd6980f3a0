"""Rules for mails: which parts of a mail yield items (own text, quotations, invitations). Pure functions.

The view of the rules has no headers, legal remarks or names of attachments. Of a subject and of a quoted mail
only events count, and of a mail that an answer with a day ahead quotes nothing. A mail that was forwarded, or
whose answer is too short to be understood alone, counts as a whole. Mail of lists and machines has no prose,
nor has the text of an attached invitation.
``hub.text.letter_text`` decides which answer is too short.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Final

import msgspec

from hub.document import Document
from hub.extraction.calendars import events_in, read_calendar
from hub.extraction.chunk import Passage
from hub.extraction.items import DocumentLine, Dropped, ExtractionOptions, Item, RulesForm, blanked, lines_of
from hub.extraction.when.resolve import dates_in, resolve
from hub.extraction.wording.recognition import TextLanguages
from hub.text.archives import ArchivedMessage, mails_in
from hub.text.calendars import unfold_names
from hub.text.files import CALENDARS, MBOX, OFFICE
from hub.text.header_values import date_in
from hub.text.parts import part_key
from hub.text.places import Place
from hub.text.quotations import BULK, FEW_CHARS, fields_below, is_forward, lines_above
from protocol.tables import TableName

_NOTE: Final = re.compile(r"^\[(?:attachment: (?P<label>[^\n]*)|\d+ more attachments)\]$", re.MULTILINE)
_LEGAL: Final = re.compile(
    r"[\W_]*(?:this (?:e-?mail|message|communication) (?:and|is|may|contains)|you (?:are )?receiv\w* this"
    r"|diese (?:e-?mail|nachricht) (?:und|ist|kann|enthält)|sie erhalten diese"
    r"|ce (?:message|courriel|mail) (?:et|est|peut|contient)|vous recevez ce"
    r"|este (?:mensaje|correo) (?:y|es|puede|contiene|va)|(?:usted )?recibe este"
    r"|(?:это|данное) (?:сообщение|письмо) (?:и|может|содержит|является)|вы получили это"
    r"|本邮件(?:及|可能|包含)|您收到(?:此|这封))",
    re.IGNORECASE,
)
_INVITATION: Final = re.compile(
    r"^[ \t>*]*(?:when|wann|quand|cuándo|cuando|когда|时间|時間)[*\t ]*[:\uff1a]",
    re.MULTILINE | re.IGNORECASE,
)
# The header of a mail inside of a mail, below its note.
_INSIDE: Final = re.compile(r"\n(?>(?:> [^\n]++\n)+)>\n")
_NOTE_INSIDE: Final = re.compile(r"^> \[attachment: ", re.MULTILINE)
_TEXTS: Final = frozenset({"text/plain", "text/markdown", "text/html"}) | OFFICE
_MAX_ANSWER: Final = 50  # lines of an answer in which days are looked for
_ALL_BUT_EVENTS: Final = frozenset(TableName) - {TableName.TIMELINES}


_FOLD: Final = re.compile(r"\r?\n[ \t]")
_OF_EVENT: Final = re.compile(
    r"^(UID|SEQUENCE|DTSTAMP|ORGANIZER)(?:;[^:\r\n]*)?:([^\r\n]*)", re.MULTILINE | re.IGNORECASE
)
_METHOD: Final = re.compile(r"^METHOD:(REQUEST|CANCEL)[ \t]*+(?=\r?$)", re.MULTILINE | re.IGNORECASE)
_BEGIN: Final = re.compile(r"^BEGIN:VEVENT[ \t]*+(?=\r?$)", re.MULTILINE | re.IGNORECASE)
_END: Final = "END:VCALENDAR"
MAX_DATES: Final = 500  # of one event; more of them are no invitation


class Invitation(msgspec.Struct, frozen=True):
    """Message of an organizer about an event, or about dates of its series (iTIP, RFC 5546).

    Attributes:
        is_cancel: they are called off.
        key: of the event of this organizer.
        stamps: order of the messages about each date, which compares as text; the key "" is the whole series.
        organizer: address in lower case.
    """

    is_cancel: bool
    key: str
    stamps: dict[str, str]
    organizer: str


def invitation_in(text: str) -> Invitation | None:
    """Return what the first calendar in a mail is about; None for anything but an invitation to one event."""
    notes = (note for note in _NOTE.finditer(text) if set((note["label"] or "").split(", ")) & CALENDARS)
    start = next((note.end() for note in notes), len(text))
    calendar = unfold_names(text[start:])
    calendar = calendar[: calendar.find(_END) + 1]
    method = _METHOD.search(calendar)
    if method is None or not 0 < len(_BEGIN.findall(calendar)) <= MAX_DATES:
        return None
    stamps: dict[str, str] = {}
    about = set[tuple[str, str]]()
    for event, date in events_in(calendar):
        found: dict[str, str] = {}
        for match in _OF_EVENT.finditer(_FOLD.sub("", event)):
            found.setdefault(match[1].upper(), match[2].strip())
        sequence, organizer = found.get("SEQUENCE", ""), found.get("ORGANIZER", "")
        about.add((found.get("UID", ""), organizer.lower().rpartition("mailto:")[2]))
        stamp = f"{sequence if sequence.isdecimal() else '':0>10.10} {found.get('DTSTAMP', ''):.20}"
        stamps[date] = max(stamp, stamps.get(date, ""))
    ((uid, organizer),) = about if len(about) == 1 else [("", "")]
    if not uid:
        return None
    key = hashlib.sha256("\n".join((uid, organizer)).encode("utf-8", "replace")).hexdigest()
    return Invitation(method[1].upper() == "CANCEL", f"series:{key}", stamps, organizer)


def read_mail(document: Document, options: ExtractionOptions) -> RulesForm:
    """Read a mail, or those of an mbox: a model reads all of it, the rules what its author wrote."""
    text, is_archive = document.text, document.media_type == MBOX
    mails = mails_in(text, document.media_type)
    read = [_Mail(document, options, mail) for mail in mails]
    hidden = [place for mail in read for place in mail.hidden]
    by_rules = RulesForm(
        prose=[passage for mail in read for passage in mail.prose],
        view=blanked(text, hidden),
        date=document.modified_at,
        excluded=[place for mail in read for place in mail.excluded],
    )
    return RulesForm(
        items=[item for mail in read for item in mail.items],
        prose=[
            Passage(start, end, _headings_of(mail) if is_archive else ())
            for mail, contents in zip(mails, read, strict=True)
            for start, end in contents.without_calendars
        ],
        date=document.modified_at,
        parts=sum((mail.parts for mail in read), Counter[str]()),
        dropped=[note for mail in read for note in mail.dropped],
        by_rules=by_rules,
    )


def _headings_of(mail: ArchivedMessage) -> tuple[str, ...]:
    return tuple(filter(None, (mail.subject, f"From: {mail.author}" if mail.author else "")))


class _Mail:
    """Mail with what is to be read of it.

    Attributes:
        hidden: places of what is no prose.
        parts: entries of its calendars of which nothing is read, by type and outcome.
        dropped: entries of its calendars that are no items.
        without_calendars: places of all but the calendars that rules have read.
        excluded: places with the tables that do not count there.
    """

    def __init__(self, document: Document, options: ExtractionOptions, mail: ArchivedMessage) -> None:
        self._text = text = document.text
        self._at, self._timezone = date_in(mail.written) or document.modified_at, options.timezone
        self.items: list[Item] = []
        self.parts = Counter[str]()
        self.dropped: list[Dropped] = []
        self.prose: list[Passage] = []
        self.hidden: list[Place] = []
        self.excluded: list[tuple[int, int, frozenset[str]]] = []
        self._headings = _headings_of(mail)
        notes = list(_NOTE.finditer(text, mail.body, mail.end))
        ends = [*(note.start() for note in notes[1:]), mail.end]
        is_bulk = BULK in text[mail.start : mail.body]
        self.without_calendars: list[Place] = [(mail.start, mail.end)]
        has_calendar = False
        for note, end in zip(notes, ends, strict=bool(notes)):
            kinds = set((note["label"] or "").split(", "))
            if kinds & _TEXTS and not is_bulk:
                self.prose.append(Passage(note.end(), end, self._headings))
                self.hidden.append(note.span())
            elif (inside := _INSIDE.match(text, note.end(), end)) is not None and not is_bulk:
                more = _NOTE_INSIDE.search(text, inside.end(), end)
                stop = more.start() if more else end
                self.hidden += (note.start(), inside.end()), (stop, end)
                self._read_body(mail, inside.end(), stop)
            else:
                self.hidden.append((note.start(), end))
            if kinds & CALENDARS and not (document.event and has_calendar):  # a copy of the same
                alone = blanked(text, [(0, note.end()), (end, len(text))])
                form = read_calendar(msgspec.structs.replace(document, text=alone), options)
                self.parts[part_key("text/calendar", "unreadable")] += form is None
                if form is not None:
                    self.dropped += form.dropped
                    self.parts.update(form.parts)
                    self.parts[part_key("text/calendar", "cut off")] += form.is_cut_off
                    self.items += form.items
                    self.without_calendars[-1:] = (self.without_calendars[-1][0], note.end()), (end, mail.end)
                has_calendar = True
        body = notes[0].start() if notes else mail.end
        is_form = has_calendar and (not self.items or _INVITATION.search(text, mail.body, body))
        if is_bulk or is_form:
            self.hidden.append((mail.body, body))
        else:
            self._read_body(mail, mail.body, body)
            subject = max(text.find(mail.subject, mail.start, mail.body), mail.start)
            self.prose.append(Passage(subject, subject + len(mail.subject)))
            self.excluded.append((mail.start, mail.body, _ALL_BUT_EVENTS))
        if has_calendar:
            self.excluded.append((mail.start, body, frozenset({TableName.TIMELINES})))

    def _read_body(self, mail: ArchivedMessage, begin: int, end: int) -> None:
        lines = [
            DocumentLine(line.text, begin + line.start, begin + line.end, begin + line.after)
            for line in lines_of(self._text[begin:end])
        ]
        texts = [line.text for line in lines]
        for first, last in lines_above(texts):
            self._hide(lines[first : last + 1 + len(fields_below(texts, last))])
        own = sum(len(line.text.strip()) for line in lines if not line.text.startswith(">"))
        quoted = [text for text in texts if text.startswith(">")]
        counts = is_forward(mail.subject, quoted) or own < FEW_CHARS
        answer = [text for text in texts if text.strip() and not text.startswith(">")][:_MAX_ANSWER]
        # An answer with a day of its own is newer than what it quotes; else it may agree to that.
        out = frozenset(TableName) if self._names_day_ahead(answer) else _ALL_BUT_EVENTS
        for is_blank, group in groupby(lines, key=lambda line: not line.text.strip()):
            some = list(group)
            if not is_blank and _LEGAL.match(some[0].text):
                self._hide(some)
        for is_quoted, group in groupby(lines, key=lambda line: line.text.startswith(">")):
            some = list(group)
            start, stop = some[0].start, some[-1].after
            self.prose.append(Passage(start, stop, self._headings[: 1 if is_quoted else 2]))
            if is_quoted and not counts:
                self.excluded.append((start, stop, out))

    def _names_day_ahead(self, lines: Sequence[str]) -> bool:
        language = TextLanguages.of("\n".join(lines), self._at and self._at.date()).whole
        found = (
            resolve(day.words, self._at, self._timezone, language=language)
            for line in lines
            for day in dates_in(line, language=language)
        )
        return any(moment and (self._at is None or moment.at > self._at) for moment in found)

    def _hide(self, lines: Sequence[DocumentLine]) -> None:
        if lines:
            self.hidden.append((lines[0].start, lines[-1].end))
