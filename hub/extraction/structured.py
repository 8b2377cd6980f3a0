"""Reading of documents with a structured format: CSV, iCalendar, captions and mbox. Pure functions.

Rules come first: they are exact, free and deterministic. Text that no rule handles is returned as prose; a
completely structured file leaves none.

A header of CSV counts only if it is unambiguous: each field has one column, and one table matches more
columns than any other. Rows with content that yield no item are left to the model, with the header.

iCalendar (RFC 5545): to-dos become tasks, events timelines, journals notes. Each component is parsed
separately, so that a broken one is left to the model without affecting the others. A recurring event yields
one item, on its first day.

The mails of an mbox are separate passages, each with its subject.

Captions (WebVTT, SubRip) have no items, but their spoken text without cue times is prose. A sentence may span
several cues, so the model reads only the words. To preserve positions in the file, all other text is replaced
by the same number of invisible characters.
"""

import csv
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

import msgspec

from hub.clock import epoch_ms
from hub.document import Document
from hub.extraction.chunk import Passage
from hub.extraction.folding import CUE, asides
from hub.extraction.items import ExtractionOptions, Form, Item, lines_of, make_item, merged
from hub.extraction.task_lists import read_markdown, read_taskpaper, read_todo_txt
from hub.extraction.when.resolve import date_ms, day_ms, resolve
from hub.text.archives import Message, messages_in
from hub.text.files import MBOX
from protocol.frame import Field
from protocol.tables import TABLES, Column, DeviceTable, Filler, Kind, TableName, plain_choice

if TYPE_CHECKING:
    from icalendar.cal import Component

_DELIMITERS: Final = (",", ";", "\t", "|")

# Usual column names by field; compared without case, blanks and signs.
_TITLES: Final = ("title", "name", "summary", "subject")
_TASK_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "title": (*_TITLES, "task", "todo", "action", "actionitem", "taskname"),
    "description": ("description", "details", "notes", "note", "comment", "comments"),
    "status": ("status", "state", "done", "completed"),
    "priority": ("priority", "prio", "importance"),
    "assignee": ("assignee", "assignees", "assignedto", "owner", "responsible", "who"),
    "dueDate": ("due", "duedate", "dueon", "dueby", "deadline"),
}
_EVENT_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "title": (*_TITLES, "event", "milestone"),
    "date": ("date", "when", "start", "starts", "startdate", "startsat"),
}
_NOTE_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "title": (*_TITLES, "topic"),
    "content": ("content", "note", "notes", "text", "body"),
}
_TABLES: Final = (
    (TableName.TASKS, _TASK_COLUMNS, ("status", "priority", "assignee", "dueDate")),
    (TableName.TIMELINES, _EVENT_COLUMNS, ("date",)),
    (TableName.NOTES, _NOTE_COLUMNS, ("content",)),
)
_MOST_DATES: Final = 1_000  # different words for dates in one file that are parsed, 2 ms each
_CELL_STATUS: Final[dict[str, str]] = {
    **dict.fromkeys(("todo", "open", "new", "notstarted", "pending", "backlog", "no", "false"), "todo"),
    **dict.fromkeys(("inprogress", "doing", "started", "wip", "active"), "in_progress"),
    **dict.fromkeys(("done", "complete", "completed", "closed", "finished", "yes", "true", "x"), "done"),
}
_CELL_PRIORITY: Final[dict[str, str]] = {
    **dict.fromkeys(("high", "urgent", "critical", "highest", "p1"), "high"),
    **dict.fromkeys(("medium", "normal", "p2"), "medium"),
    **dict.fromkeys(("low", "lowest", "minor", "p3"), "low"),
}


class _Columns(msgspec.Struct, frozen=True):
    """Interpretation of a header: the table, and the column of each field."""

    table: DeviceTable
    fields: dict[str, int]


def read_spreadsheet(document: Document, options: ExtractionOptions) -> Form | None:
    """Convert the rows of a table to items; ``None`` if its header is not understood."""
    text = document.text
    first = next((line.text for line in lines_of(text) if line.text.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        rows = list(_rows(text, delimiter))
    except csv.Error:
        return None
    columns = _columns(rows[0].cells, options) if rows else None
    if columns is None or any(len(row.cells) > len(rows[0].cells) for row in rows):
        return None
    header = (text[rows[0].start : rows[0].end],)
    dates = _Dates(document, options)
    items: list[Item] = []
    prose: list[Passage] = []
    for row in rows[1:]:
        fields, name = _row_fields(columns, row, dates), columns.table.name
        item = None if fields is None else make_item(name, fields, text, row.start, row.end, options)
        if item is not None:
            items.append(item)
        elif name in options.data_types:  # for example without a title, or with an informal date
            # Adjacent rows are merged, because each passage needs a question.
            is_next = bool(prose) and not text[prose[-1].end : row.start].strip()
            prose.append(Passage(prose.pop().start if is_next else row.start, row.end, header))
    return Form(items=items, prose=prose, date=document.modified_at)


class _Row(msgspec.Struct, frozen=True):
    cells: list[str]
    start: int
    end: int


def _rows(text: str, delimiter: str) -> Iterator[_Row]:
    """Yield the non-empty rows with their places; a quoted cell may span several lines."""
    lines = list(lines_of(text))
    reader = csv.reader((text[line.start : line.after] for line in lines), delimiter=delimiter, strict=True)
    taken = 0
    for cells in reader:
        first, last = lines[taken], lines[reader.line_num - 1]
        taken = reader.line_num
        if any(cell.strip() for cell in cells):
            source = text[first.start : last.end]
            start = first.start + len(source) - len(source.lstrip())
            yield _Row([cell.strip() for cell in cells], start, first.start + len(source.rstrip()))


def _columns(header: list[str], options: ExtractionOptions) -> _Columns | None:
    """Return the table that matches more of *header* than any other; ``None`` if it is ambiguous."""
    names = [_plain(name) for name in header]
    fitting: list[_Columns] = []
    own = [(table, *_own_spellings(table)) for table in options.own_tables]
    built_in = [(options.tables[name], spelled, marks) for name, spelled, marks in _TABLES]
    for table, spellings, significant in (*built_in, *own):
        found = {
            field: [place for place, name in enumerate(names) if name in known]
            for field, known in spellings.items()
        }
        is_clear = all(len(places) <= 1 for places in found.values())
        if is_clear and found[table.title] and any(found[field] for field in significant):
            fitting.append(_Columns(table, {field: places[0] for field, places in found.items() if places}))
    for one in fitting:
        used = set(one.fields.values())
        if all(one is other or used > set(other.fields.values()) for other in fitting):
            return one
    return None


class _Dates:
    """Dates in cells: in figures, or in words that count from the date of the file."""

    def __init__(self, document: Document, options: ExtractionOptions) -> None:
        self._anchor = document.modified_at
        self._timezone = options.timezone
        self._known: dict[tuple[str, bool], int | None] = {}

    def at_ms(self, cell: str, *, is_due: bool) -> int | None:
        """Return the date of a cell, or None if its words do not tell a day."""
        in_figures = date_ms(cell, self._timezone)
        key = (cell, is_due)
        if in_figures is not None or not cell or (key not in self._known and len(self._known) >= _MOST_DATES):
            return in_figures
        if key not in self._known:
            moment = resolve(cell, anchor=self._anchor, timezone=self._timezone, is_due=is_due)
            self._known[key] = moment.at_ms if moment is not None else None
        return self._known[key]


def _own_spellings(table: DeviceTable) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Return the spellings of the columns of an operator's table, and the columns besides its title."""
    names = [column.name for column in table.columns if column.filler is Filler.MODEL]
    return {name: (_plain(name),) for name in names}, tuple(name for name in names if name != table.title)


def _row_fields(columns: _Columns, row: _Row, dates: _Dates) -> dict[str, Field] | None:
    """Return the row's cells by field; invalid values of a task are appended to its description.

    The result is None for invalid values of an operator's table.
    """
    values: dict[str, Field] = {}
    unread: list[str] = []
    for field, place in columns.fields.items():
        cell = row.cells[place] if place < len(row.cells) else ""
        column = columns.table.column(field)
        if column is not None and columns.table.name not in TABLES:
            values[field] = _own_value(column, cell, dates)
        else:
            values[field] = _value(field, cell, dates)
        if cell and values[field] is None:
            unread.append(f"{field}: {cell}")
    if unread and columns.table.name not in TABLES:
        return None
    if unread and columns.table.name == TableName.TASKS:
        values["description"] = "\n".join([*filter(None, [str(values.get("description") or "")]), *unread])
    return values


_YES: Final = frozenset(("yes", "true", "x", "1"))
_NO: Final = frozenset(("no", "false", "0"))
_PLAIN_NUMBER: Final = re.compile(r"[+-]?\d{1,15}(?:\.\d{1,15})?")


def _own_value(column: Column, cell: str, dates: _Dates) -> Field:
    """Return the value of a cell by the type of its column; None if it is empty or of another type."""
    match column.kind:
        case Kind.NUMBER:
            return float(cell) if _PLAIN_NUMBER.fullmatch(cell) else None
        case Kind.FLAG:
            word = cell.lower()
            return 1 if word in _YES else 0 if word in _NO else None
        case Kind.NAMES:
            return [name.strip() for name in cell.split(";") if name.strip()] or None
        case Kind.EPOCH_MS:
            return dates.at_ms(cell, is_due=False)
        case _ if column.choices:
            return next((one for one in column.choices if plain_choice(one) == plain_choice(cell)), None)
        case _:
            return cell or None


def _value(field: str, cell: str, dates: _Dates) -> Field:
    match field:
        case "status":
            return _CELL_STATUS.get(_plain(cell))
        case "priority":
            return _CELL_PRIORITY.get(_plain(cell))
        case "assignee":
            return [name.strip() for name in re.split(r"[;/]", cell) if name.strip()]
        case "dueDate" | "date":
            return dates.at_ms(cell, is_due=field == "dueDate")
        case _:
            return cell


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())


_COVER: Final = "\u2060"  # "word joiner": invisible, and not a blank
_BLOCK: Final = re.compile(
    r"(?:\A\ufeff?WEBVTT|(?<=\n)(?:NOTE|STYLE|REGION)(?=[ \t\r\n]))(?:[^\n]*\S[^\n]*\n?)*"
)
_TURN: Final = re.compile(r"[^\W\d_](?:[^\W_]|[ .'\u2019-]){0,40}:[ \t]")  # a cue that names its speaker
_VOICE: Final = re.compile(r"<v(?:\.[^ >]*)?[ \t]+(?P<who>[^<>\r\n]{1,60})>")

_BEGIN: Final = re.compile(
    r"^BEGIN:(VTODO|VEVENT|VJOURNAL|VTIMEZONE)[ \t]*+\r?\n", re.MULTILINE | re.IGNORECASE
)
_END: Final = re.compile(
    r"^END:(VTODO|VEVENT|VJOURNAL|VTIMEZONE)[ \t]*+(?=\r?$)", re.MULTILINE | re.IGNORECASE
)
_ITEM_KINDS: Final = frozenset({"VTODO", "VEVENT", "VJOURNAL"})
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


def read_calendar(document: Document, options: ExtractionOptions) -> Form | None:
    """Extract the items of a calendar; return ``None`` for other text."""
    text = document.text
    if "BEGIN:VCALENDAR" not in text[:1000].upper():
        return None
    import icalendar  # imported here: takes 100 ms, and only calendars need it

    zones = "\r\n".join(text[start:end] for _, start, end in _blocks(text, _ZONE_KINDS))
    items: list[Item] = []
    prose: list[Passage] = []
    for kind, start, end in _blocks(text, _ITEM_KINDS):
        try:
            source = f"BEGIN:VCALENDAR\r\n{zones}\r\n{text[start:end]}\r\nEND:VCALENDAR\r\n"
            component = icalendar.Calendar.from_ical(source).subcomponents[-1]
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
            at = getattr(component.get("due" if kind == "VTODO" else "dtstart"), "dt", None)
            has_time = isinstance(at, datetime)
            is_floating = isinstance(at, datetime) and at.tzinfo is None
            items.append(
                msgspec.structs.replace(item, is_exact=True, has_time=has_time, is_floating=is_floating)
            )
        elif table in options.data_types and has_text:  # for example without a title, which a model may find
            prose.append(Passage(start, end))
    return Form(items=items, prose=prose, date=document.modified_at)


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
    return day_ms(value, options.timezone) if isinstance(value, date) else None


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


def _headings_of(mail: Message) -> tuple[str, str]:
    return mail.subject, f"From: {mail.author}" if mail.author else ""


_Reader = Callable[[Document, ExtractionOptions], Form | None]
_BY_SUFFIX: Final[dict[str, _Reader]] = {
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".ics": read_calendar,
    ".ical": read_calendar,
    ".taskpaper": read_taskpaper,
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
    return form or Form(prose=[Passage(0, len(document.text))], date=document.modified_at)
