"""Rules for iCalendar files: which to-dos, events and journals become items. Pure functions.

Each component is parsed separately, with or without a calendar around it. Of a broken time, the words stay
for a person. An event without a time is left to a model, and its texts to the rules for prose: the names and
values of other properties are words of no author. A recurring event yields one item, on its first day; a
yearly one that began before 1970, where no date can be stored, on its first day since. Each date that differs
from its series is an item of its own.
"""

import quopri
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import copy
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from hub.base.clock import epoch_ms
from hub.document import Document
from hub.extraction.chunk import Passage
from hub.extraction.items import Dropped, Evidence, ExtractionOptions, RowItems, RulesForm
from hub.extraction.when.resolve import date_ms
from hub.text.calendars import BORDER, BROKEN, is_calendar, reading_calendar, unfold_names
from hub.text.folding import shown
from hub.text.parts import part_key
from hub.text.places import Place
from hub.text.rows.marks import MARK
from protocol.frame import Field, Record
from protocol.tables import TableName

if TYPE_CHECKING:
    from icalendar.cal import Component

_MORE: Final = r"[^\r\n]*(?:[\r\n]++[ \t][^\r\n]*)*"  # of a line that goes on below
_BEGIN: Final = re.compile(
    r"^BEGIN:(VTODO|VEVENT|VJOURNAL|VTIMEZONE)[ \t]*+\r?\n", re.MULTILINE | re.IGNORECASE
)
_END: Final = re.compile(
    r"^END:(VTODO|VEVENT|VJOURNAL|VTIMEZONE)[ \t]*+(?=\r?$)", re.MULTILINE | re.IGNORECASE
)
_ITEM_KINDS: Final = frozenset({"VTODO", "VEVENT", "VJOURNAL"})
_VOID: Final = re.compile(  # or the end of its calendar
    r"^(?:END:VCALENDAR|(?P<method>METHOD:(?:CANCEL|REPLY|REFRESH|COUNTER|DECLINECOUNTER)))[ \t]*+(?=\r?$)",
    re.MULTILINE | re.IGNORECASE,
)
_OTHERS: Final = re.compile(
    r"^BEGIN:(VFREEBUSY|VAVAILABILITY|VPOLL)[ \t]*+(?=\r?$)", re.MULTILINE | re.IGNORECASE
)
_PROPERTY: Final = re.compile(
    r"^(?:(?P<telling>DTSTART|DTEND|DUE|ATTENDEE|ORGANIZER)|(?P<text>SUMMARY|DESCRIPTION|LOCATION|COMMENT)"
    rf"|[A-Z][A-Z0-9-]{{0,40}})(?:;(?:[^:\"\r\n]|\"[^\"\r\n]*\")*)?:(?>(?:[\r\n]++[ \t])*)(?P<value>{_MORE})",
    re.MULTILINE | re.IGNORECASE,
)
_TIMES: Final = re.compile(rf"^(?:DTSTART|DTEND|DUE|RRULE)[;:]{_MORE}\r?\n", re.MULTILINE | re.IGNORECASE)
# In a calendar of version 1.0, a line goes on after a sign at its end.
_QUOTED: Final = re.compile(
    r"^[^:\r\n]*;ENCODING=QUOTED-PRINTABLE[^\r\n]*(?:(?<==)\r?\n[^\r\n]*)*", re.MULTILINE | re.IGNORECASE
)
_STATUS: Final = {
    "NEEDS-ACTION": "todo",
    "IN-PROCESS": "in_progress",
    "COMPLETED": "done",
    "CANCELLED": "cancelled",
}
CANCELLED: Final = "Cancelled: "  # begins the title of an event that was called off
_ENCLOSED: Final = "BEGIN:VCALENDAR\r\n{}\r\nEND:VCALENDAR"
_TITLES: Final = ("SUMMARY", "DESCRIPTION", "COMMENT", "LOCATION")  # the first that an entry has
_DATES: Final = {TableName.TASKS: "dueDate", TableName.TIMELINES: "date"}
_REPEATS: Final = re.compile(r"FREQ=(?P<unit>DAILY|WEEKLY|MONTHLY|YEARLY)(?:;INTERVAL=(?P<times>\d{1,3}))?")
_FIRST_YEAR: Final = 1970  # of the dates that can be stored

_Parse = Callable[[str], "Component"]


def read_calendar(document: Document, options: ExtractionOptions) -> RulesForm | None:
    """Extract the items of a calendar, or of its entries alone; return ``None`` for other text."""
    if not is_calendar(document.text):
        return None
    text = unfold_names(document.text)
    with reading_calendar() as parse:
        return _read_calendar(document, text, options, parse)


def _read_calendar(document: Document, text: str, options: ExtractionOptions, parse: _Parse) -> RulesForm:
    has_zones = _parse_zones(text, parse)
    dates = set(document.dates)
    is_cancelled = document.effect == "cancel"
    voids = [(-1, False), *((match.start(), bool(match["method"])) for match in _VOID.finditer(text))]
    parts = Counter(part_key(match[1].upper(), "no text") for match in _OTHERS.finditer(text))
    found, prose, dropped = RowItems(document.text, options), list[Passage](), list[Dropped]()
    blocks = list(_blocks(text, _ITEM_KINDS))
    for kind, start, end in blocks:
        texts = _own_texts(text, start, end)
        component = _parsed(parse, text[start:end], has_zones=has_zones)
        date_of = date_of_series(component) if document.event and kind == "VEVENT" else None
        table, fields = _component_fields(kind, component, options)
        is_off = is_cancelled or bool(date_of and fields["status"] == "cancelled")
        is_known = date_of is not None and date_of not in dates
        is_void = document.effect == "none" or (
            voids[bisect_left(voids, (start,)) - 1][1] and not is_cancelled
        )
        is_off_before = fields["status"] == "cancelled" and not is_off
        if not document.event and _was_over(kind, component, document.modified_at):
            parts[part_key(kind, "past")] += 1
            continue
        if is_void or is_known or is_off_before or not texts:
            name = part_key(kind, "cancelled" if is_void or is_off_before else "no text")
            parts[name] += not is_known and document.effect != "none"  # which its mail has counted
            continue
        dates.discard(date_of or "")
        if is_off:
            fields["title"] = f"{CANCELLED}{fields['title']}"
        title = next((texts[name] for name in _TITLES if name in texts), (start, end))
        evidence = Evidence(mark="form", rule=f"calendar.{kind.lower()}")
        when = component.get("due" if kind == "VTODO" else _begin(component))
        at = _moment(when)
        floating = at if isinstance(at, datetime) and at.tzinfo is None else None
        is_item = found.add(
            table,
            fields,
            title,
            evidence,
            is_exact=True,
            has_time=isinstance(at, datetime),
            is_floating=floating is not None,
            unresolved=_unresolved(table, fields, floating, when),
            date_of_series=date_of,
            marks=tuple(filter(MARK.fullmatch, [_repetition(component)])),
        )
        if not is_item and table in options.data_types:
            prose.append(Passage(start, end))
            dropped.append(Dropped(table=table, reason="unresolved_date", start=start, end=end))
            parts[part_key(kind, "unreadable")] += component.is_empty()
    is_cut_off = _lacks_end(text)
    if not (blocks or parts or is_cut_off):
        parts[part_key("text/calendar", "empty")] += 1
    apart = [(start, end) for _, start, end in blocks]
    authored = _without_names(text, apart)
    return RulesForm(
        items=found.found,
        prose=prose,
        date=document.modified_at,
        view=authored if prose else None,
        authored=authored,
        apart=apart,
        is_cut_off=is_cut_off,
        parts=parts,
        dropped=dropped,
    )


def _own_texts(text: str, start: int, end: int) -> dict[str, tuple[int, int]]:
    """Return the places of the texts of a component by their names, without those of its alarms."""
    texts: dict[str, tuple[int, int]] = {}
    depth = 0
    for match in _PROPERTY.finditer(text, start, end):
        depth += {"BEGI": 1, "END:": -1}.get(match[0][:4].upper(), 0)
        if depth == 1 and match["text"] and match["value"].strip():
            texts.setdefault(match["text"].upper(), match.span("value"))
    return texts


def _parse_zones(text: str, parse: _Parse) -> bool:
    """Parse the time zones of a calendar, to which its components may refer. Return False if broken."""
    zones = "\r\n".join(text[start:end] for _, start, end in _blocks(text, frozenset({"VTIMEZONE"})))
    try:
        parse(_ENCLOSED.format(zones))
    except BROKEN:
        return False
    return True


def events_in(text: str) -> list[tuple[str, str]]:
    """Return the text of each event of a calendar, and which date of its series the event is about."""
    with reading_calendar() as parse:
        has_zones = _parse_zones(text, parse)
        events = [text[start:end] for kind, start, end in _blocks(text, _ITEM_KINDS) if kind == "VEVENT"]
        return [(event, date_of_series(_parsed(parse, event, has_zones=has_zones))) for event in events]


def date_of_series(component: "Component") -> str:
    """Return which date of its series an event is about, the same in each time zone; empty for all of it."""
    when = component.get("recurrence-id")
    at = _moment(when)
    if isinstance(at, datetime) and at.tzinfo is not None:
        with suppress(*BROKEN):
            return str(epoch_ms(at.astimezone(UTC)))
    return at.isoformat() if isinstance(at, date) else str(when or "")[:40]  # of a date that cannot be read


def _was_over(kind: str, component: "Component", written_at: datetime | None) -> bool:
    """Return True for a single event that began on a day before the one of its file."""
    at = _moment(component.get("dtstart"))
    if kind != "VEVENT" or written_at is None or "rrule" in component or "rdate" in component:
        return False
    day = at.date() if isinstance(at, datetime) else at
    return isinstance(day, date) and day < written_at.date()


def _begin(component: "Component") -> str:
    """Return the name of the time of an event; one that is called off may only have that of its series."""
    return "dtstart" if "dtstart" in component else "recurrence-id"


def _parsed(parse: _Parse, text: str, *, has_zones: bool) -> "Component":
    """Parse a component, without its times if these are broken or their zones unknown."""
    text = _QUOTED.sub(lambda match: re.sub(r"=\r?\n", "", match[0]), text)
    for variant in (text, _TIMES.sub("", text), "BEGIN:VTODO\r\nEND:VTODO")[not has_zones :]:
        with suppress(*BROKEN):
            return _with_due(parse(_ENCLOSED.format(variant)).subcomponents[-1])
    raise AssertionError("an empty component is sound")


def _with_due(component: "Component") -> "Component":
    """Add the due time of a to-do that has a start and a duration in its place (RFC 5545, 3.6.2).

    Days are those of the calendar, and hours those of a clock. Other durations stay words for a person.
    """
    start, duration = component.get("dtstart"), component.get("duration")
    if component.name != "VTODO" or "due" in component or start is None or duration is None:
        return component
    at, span = _moment(start), _moment(duration)
    if isinstance(at, date) and isinstance(span, timedelta) and span >= timedelta():
        with suppress(OverflowError):
            due: Any = copy(start)  # with its zone
            due.dt = _after(at, span)
            component["due"] = due
            return component
    component["due"] = " ".join(
        value if isinstance(value, str) else value.to_ical().decode() for value in (start, duration)
    )
    return component


def _after(at: date, span: timedelta) -> date:
    if not isinstance(at, datetime) or at.tzinfo is None:
        return at + span
    day = at + timedelta(days=span.days)
    return (day.astimezone(UTC) + timedelta(seconds=span.seconds)).astimezone(at.tzinfo)


def _unresolved(table: TableName, fields: Record, floating: datetime | None, when: object) -> dict[str, str]:
    """Return, by field, a time without a moment, or whose zone is unknown, so that its moment is a guess."""
    zone = shown(str(getattr(when, "params", {}).get("TZID", ""))).strip()
    field = _DATES.get(table, "")
    if fields.get(field) is not None:
        return {field: f"{floating:%Y-%m-%d %H:%M} {zone}"} if zone and floating else {}
    return {field: shown(str(when))} if isinstance(when, str) and when.strip("0TZ ") else {}


def _without_names(text: str, blocks: Sequence[Place]) -> str:
    """Return *text* with blanks over the properties in *blocks*, but for the words of their author.

    Names of times and people, which say what their value is, lose only the signs after them.
    """
    view: list[str] = []
    at = 0
    for block in blocks:
        for match in _PROPERTY.finditer(text, *block):
            value = (
                match["value"]
                if match["telling"] or match["text"]
                else re.sub(r"[^\r\n]", " ", match["value"])
            )
            name = match[0][: match.start("value") - match.start()]
            blank = re.sub("[:;]", " ", name) if match["telling"] else " " * len(name)
            view += (text[at : match.start()], blank, value)
            at = match.end()
    return "".join([*view, text[at:]])


def _lacks_end(text: str) -> bool:
    """Return True if a calendar, or an entry of it, has a beginning and no end."""
    counts = Counter[str]()
    for match in BORDER.finditer(text):
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
    more = _text(component, "description")
    titles = (_text(component, name).strip().partition("\n")[0] for name in _TITLES[1:])
    title = _text(component, "summary").strip() or next(filter(None, titles), "")
    status = _status(component)
    match kind:
        case "VTODO":
            about = (more.strip(), _text(component, "location").strip())
            words = [*(text for text in about if text != title), _repetition(component)]
            return TableName.TASKS, {
                "title": title,
                "description": "\n".join(filter(None, words)),
                "status": status,
                "priority": _priority(component),
                "assignee": list(_attendees(component)),
                "dueDate": _date_ms(component, "due", options),
            }
        case "VEVENT":
            date_at = _date_ms(component, _begin(component), options)
            return TableName.TIMELINES, {"title": title, "date": date_at, "status": status}
        case _:
            return TableName.NOTES, {"title": title, "content": more, "status": status}


def _repetition(component: "Component") -> str:
    """Return how a to-do repeats, as a mark of a task list if one can say so."""
    rule = component.get("rrule") if component.name == "VTODO" else None
    if not rule or isinstance(rule, (str, list)):
        return ""
    words = rule.to_ical().decode()
    found = _REPEATS.fullmatch(words)
    return f"rec:+{found['times'] or 1}{found['unit'][0].lower()}" if found else f"RRULE:{words}"


def _text(component: "Component", name: str) -> str:
    value = component.get(name)
    value = value[0] if isinstance(value, list) and value else value
    params = getattr(value, "params", {})
    if str(params.get("ENCODING", "")).upper() == "QUOTED-PRINTABLE":
        from hub.text.mime import in_charset  # imported here: most documents are no calendars

        return in_charset(quopri.decodestring(str(value).encode()), params.get("CHARSET"))
    return str(value or "")


def _status(component: "Component") -> str | None:
    if "completed" in component or _text(component, "percent-complete") == "100":
        return "done"
    return _STATUS.get(_text(component, "status").strip().upper().replace(" ", "-"))


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


def _moment(when: object) -> object:
    return None if isinstance(when, str) else getattr(when, "dt", None)  # a string: what is broken


def _date_ms(component: "Component", name: str, options: ExtractionOptions) -> int | None:
    when = component.get(name)
    value = _moment(when)
    try:
        if isinstance(value, date):
            if value.year < _FIRST_YEAR and "YEARLY" in str(component.get("rrule")):
                is_leap_day = (value.month, value.day) == (2, 29)
                value = value.replace(year=1972 if is_leap_day else _FIRST_YEAR)
            if isinstance(value, datetime) and value.tzinfo is not None:
                return epoch_ms(value.astimezone(UTC)) if value.year >= _FIRST_YEAR else None
        # A "floating" time is the local time of any reader, and so is a broken one that is clear.
        return date_ms(value.isoformat() if isinstance(value, date) else str(when), options.timezone)
    except BROKEN:
        return None
