"""Conversion of rows to iCalendar to-dos, events and journal entries, and back.

A table with a status becomes to-dos, another with a date events, all else journal entries. Properties of
others in a component stay; other components of a file are not touched.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from hub.base.clock import epoch_ms, from_epoch_ms
from hub.text.calendars import BROKEN, reading_calendar
from hub.text.item_text import plain_lines, title_line
from hub.text.rows.row import LateFields, Put, shape_of
from hub.text.rows.row_format import Format, Piece, with_line
from protocol.tables import DeviceTable

if TYPE_CHECKING:
    from icalendar.cal import Component

_BORDER: Final = re.compile(
    r"^(?P<border>BEGIN|END):(?P<kind>VTODO|VEVENT|VJOURNAL)[ \t]*+(?:\n|\Z)", re.MULTILINE | re.IGNORECASE
)
_KEY: Final = re.compile(r"^UID(?:;[^:\n]*)?:(hub-[a-z0-9]*)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_CHANGED: Final = re.compile(
    r"^(LAST-MODIFIED|DTSTAMP)(?:;[^:\n]*)?:([0-9]{8}T[0-9]{6})", re.MULTILINE | re.IGNORECASE
)
# Properties of a to-do that say whether it is done, with the lines that go on.
_DONE: Final = re.compile(
    r"^(?:STATUS|COMPLETED|PERCENT-COMPLETE)[;:][^\n]*+(?>(?:\n[ \t][^\n]*+)*)(?:\n|\Z)",
    re.MULTILINE | re.IGNORECASE,
)
_END: Final = re.compile(r"^END:VCALENDAR[ \t]*$", re.MULTILINE | re.IGNORECASE)
_APART: Final = "\x1a"  # a character that no text of an item has
_TAIL: Final = 200  # characters of a file in which its end is, as a rule
_HEAD: Final = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//device-hub//sinks//EN\n"
_STATES: Final = {"todo": "NEEDS-ACTION", "in_progress": "IN-PROCESS", "done": "COMPLETED"}
_NAMES: Final = {"NEEDS-ACTION": "todo", "IN-PROCESS": "in_progress", "COMPLETED": "done"}
_PRIORITIES: Final = {"high": 1, "medium": 5, "low": 9}


class CalendarFormat(Format):
    """Components of a calendar file."""

    kind = "ics"
    newline = "\r\n"

    def pieces(self, text: str, tables: Mapping[str, DeviceTable]) -> Iterator[Piece]:
        for start, end in _components(text):
            key = _KEY.search(text, start, end)
            if key is not None and (table := tables.get(key[1])) is not None:
                fields = LateFields(partial(fields_in, text[start:end], table))
                yield Piece(key[1], start, end, fields)

    def rendered(self, put: Put, text: str, piece: Piece | None) -> str:
        before = None if piece is None else component_of(text[piece.start : piece.end])
        return text_of(put, before).replace("\r\n", "\n")

    def insert(self, text: str, put: Put) -> str:
        if not text.strip("\ufeff \n"):
            return f"{_HEAD}{self.rendered(put, text, None)}END:VCALENDAR\n"
        tail = len(text) - _TAIL
        ends = list(_END.finditer(text, tail) if tail > 0 else ()) or list(_END.finditer(text))
        at = ends[-1].start() if ends else len(text)
        return with_line(text[:at], self.rendered(put, text, None)) + text[at:]


def component_of(text: str) -> "Component | None":
    """Return the only component of a text; None if there is none, or it is broken."""
    text = text.replace("\r\n", "\n")
    for start, end in _components(text):
        with reading_calendar() as parse, suppress(*BROKEN):
            return next(
                iter(parse(f"{_HEAD}{text[start:end].rstrip()}\nEND:VCALENDAR\n").subcomponents), None
            )
        break
    return None


def _components(text: str) -> Iterator[tuple[int, int]]:
    """Yield the places of to-dos, events and journal entries, with their line ends."""
    begin: re.Match[str] | None = None
    for border in _BORDER.finditer(text):
        if border["border"].upper() == "BEGIN":
            begin = border
        elif begin is not None and begin["kind"].upper() == border["kind"].upper():
            yield begin.start(), border.end()
            begin = None


def place_of_to_do(text: str, at: int) -> tuple[int, int] | None:
    """Return the place of the to-do that is at a place."""
    begin, end = (
        text.rfind("\nBEGIN:VTODO\n", 0, at) + 1,
        text.find("\nEND:VTODO\n", at) + len("\nEND:VTODO\n"),
    )
    is_whole = [*_components(text[begin:end])] == [(0, end - begin)]
    return (begin, end) if is_whole else None


def with_other_state(text: str, at_ms: int) -> tuple[bool, str]:
    """Return whether a to-do is done, and its text as an open one, or as one done at *at_ms*."""
    is_done = any("COMPLETED" in found[0].upper() for found in _DONE.finditer(text))
    head, line_end, rest = _DONE.sub("", text).partition("\n")
    done = f"STATUS:COMPLETED\nCOMPLETED:{from_epoch_ms(at_ms):%Y%m%dT%H%M%SZ}\nPERCENT-COMPLETE:100\n"
    return is_done, head + line_end + ("STATUS:NEEDS-ACTION\n" if is_done else done) + rest


def fields_in(text: str, table: DeviceTable) -> dict[str, str]:
    """Return the fields of a row from the text of its component; none if it is broken."""
    component = component_of(text)
    if component is not None:
        with suppress(*BROKEN):
            return _fields_of(component, table)
    return {}


def changed_ms(text: str) -> int:
    """Return when the component of a text was changed last, in epoch ms; 0 if it does not say."""
    times = {name.upper(): at for name, at in _CHANGED.findall(text)}
    with suppress(ValueError):
        at = times.get("LAST-MODIFIED") or times.get("DTSTAMP", "")
        return epoch_ms(datetime.fromisoformat(at).replace(tzinfo=UTC))
    return 0


def _fields_of(component: "Component", table: DeviceTable) -> dict[str, str]:
    shape = shape_of(table)
    fields = {shape.title: " ".join(" ".join(_texts_of(component, "SUMMARY")).split())}
    if not fields[shape.title]:
        fields = {}
    if shape.text is not None:
        fields[shape.text] = "\n".join(_texts_of(component, "DESCRIPTION")).strip("\n")
    if shape.has_status:
        state = _NAMES.get(next(iter(_texts_of(component, "STATUS")), "NEEDS-ACTION").upper())
        fields |= {"status": state} if state else {}
        if "COMPLETED" in component:
            fields["status"] = "done"
    if shape.has_priority:
        fields["priority"] = _level_in(component)
    if shape.date is not None:
        found = next(iter(_values_of(component, _date_of(table))), None)
        fields[shape.date] = "" if found is None else _moment(getattr(found, "dt", None))
    return fields


def _level_in(component: "Component") -> str:
    number = int(next(iter(_texts_of(component, "PRIORITY")), "") or 0)
    return "high" if 1 <= number <= 4 else "low" if number >= 6 else "medium"


def _values_of(component: "Component", name: str) -> list[Any]:
    """Return the values of a property, which a component may have several times."""
    found = component.get(name, [])
    return found if isinstance(found, list) else [found]


def _texts_of(component: "Component", name: str) -> list[str]:
    return [str(value) for value in _values_of(component, name)]


def text_of(put: Put, before: "Component | None") -> str:
    """Return the component of a row, with the other properties of the one *before*.

    A property that says the same as the row, perhaps more exactly, stays: a priority of 3, a zone of a time.
    """
    import icalendar

    kind = component_kind(put.table)
    with reading_calendar():
        classes = {"VTODO": icalendar.Todo, "VEVENT": icalendar.Event, "VJOURNAL": icalendar.Journal}
        component: Any = classes[kind]() if before is None else before
        shape, fields = shape_of(put.table), put.fields
        changed = from_epoch_ms(put.at_ms).replace(microsecond=0)
        was = {} if before is None else _fields_of(before, put.table)
        values: dict[str, Any] = {
            "UID": put.key,
            "SUMMARY": _literal(title_line(fields.get(shape.title, ""))),
        }
        if shape.text is not None:
            values["DESCRIPTION"] = _literal(plain_lines(fields.get(shape.text, ""))) or None
        if shape.has_status:
            state = fields.get("status", "todo")
            values["STATUS"] = _STATES.get(state, _STATES["todo"])
            if state != was.get("status"):
                is_done = state == "done"
                values |= {
                    "COMPLETED": changed if is_done else None,
                    "PERCENT-COMPLETE": 100 if is_done else None,
                }
        if shape.has_priority and fields.get("priority", "") != was.get("priority"):
            values["PRIORITY"] = _PRIORITIES.get(fields.get("priority", ""), 5)
        if shape.date is not None and (text := fields.get(shape.date, "")) != was.get(shape.date):
            values[_date_of(put.table)] = _read(text) if text else None
        for name, value in (values | {"DTSTAMP": changed, "LAST-MODIFIED": changed}).items():
            component.pop(name, None)
            if value is not None:
                component.add(name, value)
        written: bytes = component.to_ical()
    return written.decode().replace(_APART, "")


def _literal(text: str) -> str:
    """Return a text in which the library takes no backslash before an N for the end of a line."""
    return text.replace("\\N", f"\\{_APART}N")


def component_kind(table: DeviceTable) -> str:
    """Return the name of the component that is a row of a table."""
    shape = shape_of(table)
    return "VTODO" if shape.has_status else "VEVENT" if shape.date else "VJOURNAL"


def _date_of(table: DeviceTable) -> str:
    return "DUE" if shape_of(table).has_status else "DTSTART"


def _read(text: str) -> date | datetime:
    """Return the day or the time of a typed text; a time is that of this machine."""
    if len(text) == len("2027-02-03"):
        return date.fromisoformat(text)
    return datetime.fromisoformat(text).astimezone(UTC)


def _moment(value: object) -> str:
    if isinstance(value, datetime):
        local = value.astimezone() if value.tzinfo else value
        return local.strftime("%Y-%m-%d %H:%M").removesuffix(" 00:00")  # a day begins then
    return value.isoformat() if isinstance(value, date) else ""
