"""Rules for iCalendar (RFC 5545): to-dos become tasks, events timelines, journals notes. Pure functions.

Each component is parsed separately, so that a broken one is left to the model without affecting the others. A
recurring event yields one item, on its first day.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from hub.clock import epoch_ms
from hub.document import Document
from hub.extraction.chunk import Passage
from hub.extraction.forms import Form, make_item
from hub.extraction.items import Item, Wanted
from hub.extraction.when import date_ms, day_ms
from protocol.frame import Field
from protocol.tables import TableName

if TYPE_CHECKING:
    from icalendar.cal import Component

_BEGIN: Final = re.compile(
    r"^BEGIN:(VTODO|VEVENT|VJOURNAL|VTIMEZONE)[ \t]*+\r?\n", re.MULTILINE | re.IGNORECASE
)
_END: Final = re.compile(
    r"^END:(VTODO|VEVENT|VJOURNAL|VTIMEZONE)[ \t]*+(?=\r?$)", re.MULTILINE | re.IGNORECASE
)
_ITEM_KINDS: Final = frozenset({"VTODO", "VEVENT", "VJOURNAL"})
_ZONE_KINDS: Final = frozenset({"VTIMEZONE"})
_SUMMARY: Final = re.compile(
    r"^SUMMARY(?:;(?:[^:\"\r\n]|\"[^\"\r\n]*\")*)?:(?P<said>[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)",
    re.MULTILINE | re.IGNORECASE,
)
# Exceptions of the parser for invalid input, raised at once or on access to an invalid property.
# OverflowError: a time outside of the range of UTC. OSError: a zone name that is a folder of zones.
_BROKEN: Final = (ValueError, TypeError, KeyError, IndexError, OverflowError, OSError)
_TELLING: Final = ("summary", "description", "location", "comment")  # properties that contain text
_STATUS: Final = {"NEEDS-ACTION": "todo", "IN-PROCESS": "in_progress", "COMPLETED": "done"}
_GIVEN_UP: Final = "CANCELLED"


def read(document: Document, wanted: Wanted) -> Form | None:
    """Extract the items of a calendar; return ``None`` for other text."""
    text = document.text
    if "BEGIN:VCALENDAR" not in text[:1000].upper():
        return None
    zones = "\r\n".join(text[start:end] for _, start, end in _blocks(text, _ZONE_KINDS))
    items: list[Item] = []
    prose: list[Passage] = []
    for kind, start, end in _blocks(text, _ITEM_KINDS):
        try:
            component = _component(text[start:end], zones)
            if _text(component, "status").upper() == _GIVEN_UP:
                continue
            table, said = _fields(kind, component, wanted)
            is_telling = any(_text(component, name).strip() for name in _TELLING)
        except _BROKEN:
            prose.append(Passage(start, end))
            continue
        summary = _SUMMARY.search(text, start, end)
        item = make_item(table, said, text, *(summary.span("said") if summary else (start, end)), wanted)
        if item is not None:
            date_property = component.get("due" if kind == "VTODO" else "dtstart")
            has_time = isinstance(getattr(date_property, "dt", None), datetime)
            items.append(msgspec.structs.replace(item, is_exact=True, has_time=has_time))
        elif table in wanted.data_types and is_telling:  # for example without a title, which a model may find
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


def _component(source: str, zones: str) -> "Component":
    """Parse one component with the time zones of its calendar; raises one of ``_BROKEN``."""
    import icalendar  # imported here: takes 100 ms, and only calendars need it

    calendar = icalendar.Calendar.from_ical(f"BEGIN:VCALENDAR\r\n{zones}\r\n{source}\r\nEND:VCALENDAR\r\n")
    return calendar.subcomponents[-1]


def _fields(kind: str, component: "Component", wanted: Wanted) -> tuple[TableName, dict[str, Field]]:
    title, more = _text(component, "summary"), _text(component, "description")
    match kind:
        case "VTODO":
            return TableName.TASKS, {
                "title": title,
                "description": more,
                "status": _task_status(component),
                "priority": _priority(component),
                "assignee": list(_attendees(component)),
                "dueDate": _date_ms(component, "due", wanted),
            }
        case "VEVENT":
            return TableName.TIMELINES, {"title": title, "date": _date_ms(component, "dtstart", wanted)}
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
    told = _text(component, "priority")
    if not told.isdecimal() or not 1 <= int(told) <= 9:
        return None
    return "high" if int(told) < 5 else "medium" if int(told) == 5 else "low"


def _attendees(component: "Component") -> Iterator[str]:
    told = component.get("attendee") or []
    for attendee in told if isinstance(told, list) else [told]:
        yield str(attendee.params.get("CN") or str(attendee).removeprefix("mailto:"))


def _date_ms(component: "Component", name: str, wanted: Wanted) -> int | None:
    value = getattr(component.get(name), "dt", None)
    if isinstance(value, datetime):
        if value.tzinfo is None:  # "floating" time: local time of any reader
            return date_ms(value.isoformat(), wanted.timezone)
        return epoch_ms(value.astimezone(UTC)) if value.year >= 1970 else None
    return day_ms(value, wanted.timezone) if isinstance(value, date) else None
