"""Metadata of a calendar object, extracted before it is read. Pure functions."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

if TYPE_CHECKING:
    from icalendar.cal import Component

KINDS: Final = ("VTODO", "VEVENT")
_DONE: Final = frozenset({"COMPLETED", "CANCELLED"})
_LEEWAY: Final = timedelta(days=1)  # margin for all-day values and times without a zone
_TITLE_CHARS: Final = 500
# Exceptions of the parser for invalid input, raised at once or on access to an invalid property.
_BROKEN: Final = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, OSError)


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """Metadata of an object.

    Attributes:
        kind: empty for neither a to-do nor an event; ``None`` if rules cannot read the object.
        start, end: of an event, aware UTC; ``None`` if missing or repeated.
        repeats: the object has several dates, or may have.
        is_done: the object is completed or cancelled.
    """

    uid: str = ""
    kind: str | None = None
    title: str = ""
    organizer: str = ""
    labels: tuple[str, ...] = ()
    link: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    changed_at: datetime | None = None
    repeats: bool = False
    is_done: bool = False

    def touches(self, since: datetime, until: datetime) -> bool:
        """Return True if the object may have a date between two instants; always for a to-do."""
        if self.kind != "VEVENT" or self.repeats or self.start is None:
            return True
        # The margin is applied to the window, as dates near year 1 or 9999 would overflow.
        return self.start <= until + _LEEWAY and (self.end or self.start) >= since - _LEEWAY


def look(text: str) -> Known:
    """Extract the metadata of the first to-do or event in *text* (iCalendar). Never raises."""
    import icalendar  # imported here: takes 100 ms, and only calendars need it

    try:
        calendar = icalendar.Calendar.from_ical(text)
        parts = [part for part in calendar.walk() if part.name in KINDS]
        if not parts:
            return Known(kind="")
        return _of(next((part for part in parts if "RECURRENCE-ID" not in part), parts[0]), len(parts))
    except _BROKEN:
        return Known()


def _of(part: "Component", number: int) -> Known:
    start = _instant(part, "dtstart")
    return Known(
        uid=_text(part, "uid"),
        kind=part.name,
        title=_text(part, "summary")[:_TITLE_CHARS],
        organizer=re.sub("^mailto:", "", _text(part, "organizer"), flags=re.IGNORECASE),
        labels=_labels(part),
        link=_link(_text(part, "url")),
        start=start,
        end=_instant(part, "dtend"),
        changed_at=_instant(part, "last-modified") or _instant(part, "dtstamp"),
        repeats=number > 1 or any(name in part for name in ("RRULE", "RDATE", "DURATION")),
        is_done=_text(part, "status").upper() in _DONE or "COMPLETED" in part,
    )


def _text(part: "Component", name: str) -> str:
    value = part.get(name)
    return str(value[0] if isinstance(value, list) and value else value or "")


def _labels(part: "Component") -> tuple[str, ...]:
    told: Any = part.get("categories") or []
    lists = told if isinstance(told, list) else [told]
    return tuple(str(word) for one in lists for word in getattr(one, "cats", ()))[:20]


def _link(url: str) -> str | None:
    return url if urlsplit(url).scheme in ("http", "https") and len(url) <= 2_000 else None


def _instant(part: "Component", name: str) -> datetime | None:
    value = getattr(part.get(name), "dt", None)
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return datetime(value.year, value.month, value.day, tzinfo=UTC) if isinstance(value, date) else None
