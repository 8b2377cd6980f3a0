"""Reading of documents with a structured format: iCalendar, captions, mbox and others. Pure functions.

Rules come first: they are exact, free and deterministic. Text that no rule handles is returned as prose; a
completely structured file leaves none.

iCalendar (RFC 5545): to-dos become tasks, events timelines, journals notes. Each component is parsed
separately, so that a broken one is left to the model without affecting the others. A recurring event yields
one item, on its first day.

The mails of an mbox are separate passages, each with its subject.

Captions (WebVTT, SubRip) have no items, but their spoken text without cue times is prose. A sentence may span
several cues, so the model reads only the words. To preserve positions in the file, all other text is replaced
by the same number of invisible characters.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

import msgspec

from hub.clock import epoch_ms
from hub.document import Document
from hub.extraction.blocks import view_of_rst
from hub.extraction.chunk import Passage
from hub.extraction.folding import asides, shown
from hub.extraction.items import ExtractionOptions, Form, Item, lines_of, make_item, merged
from hub.extraction.spreadsheets import read_pipe_tables, read_spreadsheet
from hub.extraction.task_lists import read_markdown, read_org, read_taskpaper, read_todo_txt
from hub.extraction.when.resolve import date_ms
from hub.text.archives import Message, messages_in
from hub.text.calendars import reading_calendar
from hub.text.excerpt import CUE
from hub.text.files import CHAT, MBOX
from protocol.frame import Field
from protocol.tables import TableName

if TYPE_CHECKING:
    from icalendar.cal import Component

_COVER: Final = "\u2060"  # "word joiner": invisible, and not a blank
_BLOCK: Final = re.compile(
    r"(?:\A\ufeff?WEBVTT|(?<=\n)(?:NOTE|STYLE|REGION)(?=[ \t\r\n]))(?:[^\n]*\S[^\n]*\n?)*"
)
_TURN: Final = re.compile(r"[^\W\d_](?:[^\W_]|[ .'\u2019-]){0,40}:[ \t]")  # a cue that names its speaker
_VOICE: Final = re.compile(r"<v(?:\.[^\s<>]*+)?[ \t]++(?P<who>[^<>\r\n]{1,60})>")

_BEGIN: Final = re.compile(
    r"^BEGIN:(VTODO|VEVENT|VJOURNAL|VTIMEZONE)[ \t]*+\r?\n", re.MULTILINE | re.IGNORECASE
)
_END: Final = re.compile(
    r"^END:(VTODO|VEVENT|VJOURNAL|VTIMEZONE)[ \t]*+(?=\r?$)", re.MULTILINE | re.IGNORECASE
)
_ITEM_KINDS: Final = frozenset({"VTODO", "VEVENT", "VJOURNAL"})
_BORDER: Final = re.compile(
    r"^(BEGIN|END):(VCALENDAR|VTODO|VEVENT|VJOURNAL)[ \t]*+(?=\r?$)", re.MULTILINE | re.IGNORECASE
)
_PROPERTY: Final = re.compile(
    r"^(?:(?P<telling>DTSTART|DTEND|DUE|ATTENDEE|ORGANIZER)|[A-Z][A-Z0-9-]{0,40})(?:;(?:[^:\"\r\n]|\"[^\"\r\n]*\")*)?:",
    re.MULTILINE | re.IGNORECASE,
)
_ZONE_KINDS: Final = frozenset({"VTIMEZONE"})
_SUMMARY: Final = re.compile(
    r"^SUMMARY(?:;(?:[^:\"\r\n]|\"[^\"\r\n]*\")*)?:(?P<value>[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)",
    re.MULTILINE | re.IGNORECASE,
)
# Exceptions of the parser for invalid input, raised at once or on access to an invalid property.
# OverflowError: a time outside of the range of UTC. OSError: a zone name that is a folder of zones.
_BROKEN: Final = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, OSError),
    RecursionError,  # a time zone with many dots in its name is looked for in as many packages
)
_TEXT_PROPERTIES: Final = ("summary", "description", "location", "comment")  # properties that contain text
_STATUS: Final = {"NEEDS-ACTION": "todo", "IN-PROCESS": "in_progress", "COMPLETED": "done"}
_GIVEN_UP: Final = "CANCELLED"
_ENCLOSED: Final = "BEGIN:VCALENDAR\r\n{}\r\nEND:VCALENDAR"


def read_calendar(document: Document, options: ExtractionOptions) -> Form | None:
    """Extract the items of a calendar; return ``None`` for other text."""
    text = document.text
    if "BEGIN:VCALENDAR" not in text[:1000].upper():
        return None
    with reading_calendar() as parse:
        return _read_calendar(document, options, parse)


def _read_calendar(
    document: Document, options: ExtractionOptions, parse: Callable[[str], "Component"]
) -> Form:
    text = document.text
    # Parsed once, as each component may refer to them.
    zones = "\r\n".join(text[start:end] for _, start, end in _blocks(text, _ZONE_KINDS))
    has_zones = True
    try:
        parse(_ENCLOSED.format(zones))
    except _BROKEN:
        has_zones = False
    items: list[Item] = []
    prose: list[Passage] = []
    blocks: list[Passage] = []
    for kind, start, end in _blocks(text, _ITEM_KINDS):
        blocks.append(Passage(start, end))
        try:
            if not has_zones:
                raise ValueError("its times cannot be known")
            component = parse(_ENCLOSED.format(text[start:end])).subcomponents[-1]
            if _text(component, "status").upper() == _GIVEN_UP:
                continue
            table, fields = _component_fields(kind, component, options)
            has_text = any(_text(component, name).strip() for name in _TEXT_PROPERTIES)
        except _BROKEN:
            prose.append(Passage(start, end))
            continue
        summary = _SUMMARY.search(text, start, end)
        item = make_item(table, fields, text, *(summary.span("value") if summary else (start, end)), options)
        if item is not None:
            when = component.get("due" if kind == "VTODO" else "dtstart")
            at = getattr(when, "dt", None)
            is_floating = isinstance(at, datetime) and at.tzinfo is None
            items.append(
                msgspec.structs.replace(
                    item,
                    is_exact=True,
                    has_time=isinstance(at, datetime),
                    is_floating=is_floating,
                    unresolved=_in_unknown_zone(item, at, when) if is_floating else {},
                )
            )
        elif table in options.data_types and has_text:  # for example without a title, which a model may find
            prose.append(Passage(start, end))
    authored = _without_names(text, blocks)
    return Form(
        items=items,
        prose=prose,
        date=document.modified_at,
        view=authored if prose else None,
        authored=authored,
        apart=[(block.start, block.end) for block in blocks],
        is_cut_off=_lacks_end(text),
    )


def _in_unknown_zone(item: Item, at: object, when: object) -> dict[str, str]:
    """Return, by field, a time whose zone is unknown: its moment is that of the agent's zone, a guess."""
    zone = shown(str(getattr(when, "params", {}).get("TZID", ""))).strip()
    field = "dueDate" if item.table == TableName.TASKS else "date"
    return {field: f"{at:%Y-%m-%d %H:%M} {zone}"} if zone and field in item.data else {}


def _without_names(text: str, blocks: Sequence[Passage]) -> str:
    """Return *text* with blanks over the names of properties in *blocks*: a name is no word of its author.

    Names of times and people, which say what their value is, lose only the signs after them.
    """
    view: list[str] = []
    at = 0
    for passage in blocks:
        for match in _PROPERTY.finditer(text, passage.start, passage.end):
            blank = re.sub("[:;]", " ", match[0]) if match["telling"] else " " * len(match[0])
            view += (text[at : match.start()], blank)
            at = match.end()
    return "".join([*view, text[at:]])


def _lacks_end(text: str) -> bool:
    """Return True if a calendar, or an entry of it, has a beginning and no end."""
    counts = Counter[str]()
    for match in _BORDER.finditer(text):
        counts[match[2].upper()] += 1 if match[1].upper() == "BEGIN" else -1
    return any(count > 0 for count in counts.values())


def _blocks(text: str, kinds: frozenset[str]) -> Iterator[tuple[str, int, int]]:
    """Yield kind, start and end of the components of these *kinds*; unclosed ones are skipped.

    All beginnings and ends are searched once: a separate search for the end of each component would be
    quadratic for a file with unclosed components.
    """
    ends: dict[str, list[tuple[int, int]]] = {kind: [] for kind in kinds}
    for match in _END.finditer(text):
        if match[1].upper() in kinds:
            ends[match[1].upper()].append(match.span())
    after = 0
    for match in _BEGIN.finditer(text):
        kind = match[1].upper()
        if kind in kinds and match.start() >= after:
            place = bisect_left(ends[kind], (match.end(), 0))
            if place < len(ends[kind]):
                after = ends[kind][place][1]
                yield kind, match.start(), after


def _component_fields(
    kind: str, component: "Component", options: ExtractionOptions
) -> tuple[TableName, dict[str, Field]]:
    title, more = _text(component, "summary"), _text(component, "description")
    match kind:
        case "VTODO":
            return TableName.TASKS, {
                "title": title,
                "description": more,
                "status": _task_status(component),
                "priority": _priority(component),
                "assignee": list(_attendees(component)),
                "dueDate": _date_ms(component, "due", options),
            }
        case "VEVENT":
            return TableName.TIMELINES, {"title": title, "date": _date_ms(component, "dtstart", options)}
        case _:
            return TableName.NOTES, {"title": title, "content": more}


def _text(component: "Component", name: str) -> str:
    value = component.get(name)
    return str(value[0] if isinstance(value, list) and value else value or "")


def _task_status(component: "Component") -> str | None:
    if "completed" in component or _text(component, "percent-complete") == "100":
        return "done"
    return _STATUS.get(_text(component, "status").upper())


def _priority(component: "Component") -> str | None:
    """Return the priority by RFC 5545, 3.8.1.9: 1 to 4 is high, 5 medium, 6 to 9 low, 0 undefined."""
    value = _text(component, "priority")
    if not value.isdecimal() or not 1 <= int(value) <= 9:
        return None
    return "high" if int(value) < 5 else "medium" if int(value) == 5 else "low"


def _attendees(component: "Component") -> Iterator[str]:
    attendees = component.get("attendee") or []
    for attendee in attendees if isinstance(attendees, list) else [attendees]:
        yield str(attendee.params.get("CN") or str(attendee).removeprefix("mailto:"))


def _date_ms(component: "Component", name: str, options: ExtractionOptions) -> int | None:
    value = getattr(component.get(name), "dt", None)
    if isinstance(value, datetime):
        if value.tzinfo is None:  # "floating" time: local time of any reader
            return date_ms(value.isoformat(), options.timezone)
        return epoch_ms(value.astimezone(UTC)) if value.year >= 1970 else None
    return date_ms(value.isoformat(), options.timezone) if isinstance(value, date) else None


def read_rst(document: Document, options: ExtractionOptions) -> Form:
    """Return reStructuredText as prose without its code."""
    text = document.text
    view = view_of_rst(text, list(lines_of(text)))
    return Form(prose=[Passage(0, len(text))], date=document.modified_at, view=view)


def read_captions(document: Document, options: ExtractionOptions) -> Form | None:
    """Return the text of captions as prose; ``None`` if the text has no cue."""
    text = document.text
    if CUE.search(text) is None:
        return None
    places = [match.span() for match in _BLOCK.finditer(text)]
    places += [place for place in asides(text) if text[place[0]] not in "*_~`=>"]
    places += [match.span() for match in re.finditer(r"[\r\n][\s]*", text)]
    view: list[str] = []
    at, speaker = 0, ""
    for start, end in merged(places):
        voices = [voice["who"].strip() for voice in _VOICE.finditer(text, start, end)]
        name = f"{voices[-1]}: " if voices and voices[-1] != speaker else ""
        speaker = voices[-1] if voices else speaker
        is_turn = bool(name) or _TURN.match(text, end) is not None
        view += (text[at:start], _covered(f"\n{name}" if is_turn else " ", end - start))
        at = end
    return Form(prose=[Passage(0, len(text))], date=document.modified_at, view="".join([*view, text[at:]]))


def _covered(text: str, length: int) -> str:
    """Pad *text* with invisible characters, or cut it, to *length*."""
    return text[:length] + _COVER * (length - len(text))


def read_mbox(document: Document, options: ExtractionOptions) -> Form | None:
    """Return each mail as a passage of its own; None if the text has no mail."""
    mails = messages_in(document.text, MBOX)
    prose = [Passage(mail.start, mail.end, tuple(filter(None, _headings_of(mail)))) for mail in mails]
    return Form(prose=prose, date=document.modified_at) if prose else None


def read_chat(document: Document, options: ExtractionOptions) -> Form | None:
    """Return a chat as prose; what its people write one after the other are texts of their own."""
    turns = groupby(messages_in(document.text, CHAT), key=lambda message: message.author)
    apart = [(some[0].start, some[-1].end) for _, turn in turns if (some := list(turn))]
    return Form(prose=[Passage(0, len(document.text))], date=document.modified_at, apart=apart)


def _headings_of(mail: Message) -> tuple[str, str]:
    return mail.subject, f"From: {mail.author}" if mail.author else ""


_Reader = Callable[[Document, ExtractionOptions], Form | None]
_BY_SUFFIX: Final[dict[str, _Reader]] = {
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".ics": read_calendar,
    ".ical": read_calendar,
    ".taskpaper": read_taskpaper,
    ".org": read_org,
    ".rst": read_rst,
    ".csv": read_spreadsheet,
    ".tsv": read_spreadsheet,
    ".vtt": read_captions,
    ".srt": read_captions,
}
_BY_MEDIA_TYPE: Final[dict[str, _Reader]] = {
    "text/markdown": read_markdown,
    "text/x-markdown": read_markdown,
    "text/calendar": read_calendar,
    "text/csv": read_spreadsheet,
    "text/tab-separated-values": read_spreadsheet,
    "text/vtt": read_captions,
    "application/x-subrip": read_captions,
    MBOX: read_mbox,
    CHAT: read_chat,
}
_TODO_NAMES: Final = frozenset({"todo.txt", "done.txt"})


def read(document: Document, options: ExtractionOptions) -> Form:
    """Extract items by rules, and return the remaining prose. Never raises, for any text."""
    name = PurePosixPath(document.unit_key.replace("\\", "/")).name.lower()
    media_type = (document.media_type or "").split(";")[0].strip().lower()
    if name in _TODO_NAMES or name.endswith(".todo.txt"):
        reader: _Reader | None = read_todo_txt
    else:
        reader = _BY_SUFFIX.get(PurePosixPath(name).suffix) or _BY_MEDIA_TYPE.get(media_type)
    form = reader(document, options) if reader else None
    form = form or Form(prose=[Passage(0, len(document.text))], date=document.modified_at)
    return read_pipe_tables(document, form, options)
