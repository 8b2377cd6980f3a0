"""Metadata of an iCalendar object, by which connectors list and filter it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from pydantic import StringConstraints

from hub.connectors.calling import Unavailable
from hub.connectors.sdk.json_paths import link_of
from hub.text import webdav
from hub.text.calendars import BROKEN, reading_calendar
from hub.text.webdav import NotWebDav

if TYPE_CHECKING:
    from icalendar.cal import Component

KINDS: Final = ("VTODO", "VEVENT")
_DONE: Final = frozenset({"COMPLETED", "CANCELLED"})
_LEEWAY: Final = timedelta(days=1)  # margin for all-day values and times without a zone
_TITLE_CHARS: Final = 500


@contextmanager
def as_unavailable() -> Iterator[None]:
    """Raise Unavailable for an answer that is no WebDAV."""
    try:
        yield
    except NotWebDav as error:
        raise Unavailable(str(error)) from error


def joined(base: str, href: str) -> str:
    """Resolve *href* of an answer relative to *base*.

    Raises:
        Unavailable: it is not a URL.
    """
    with as_unavailable():
        return webdav.joined(base, href)


class ObjectMetadata(msgspec.Struct, frozen=True, kw_only=True):
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


def read_metadata(text: str) -> ObjectMetadata:
    """Extract the metadata of the first to-do or event in *text* (iCalendar). Never raises."""
    with reading_calendar() as parse:
        try:
            parts = [part for part in parse(text).walk() if part.name in KINDS]
            if not parts:
                return ObjectMetadata(kind="")
            return _of(next((part for part in parts if "RECURRENCE-ID" not in part), parts[0]), len(parts))
        except BROKEN:
            return ObjectMetadata()


def _of(part: "Component", number: int) -> ObjectMetadata:
    start = _instant(part, "dtstart")
    return ObjectMetadata(
        uid=_text(part, "uid"),
        kind=part.name,
        title=_text(part, "summary")[:_TITLE_CHARS],
        organizer=re.sub("^mailto:", "", _text(part, "organizer"), flags=re.IGNORECASE),
        labels=_labels(part),
        link=link_of(_text(part, "url")),
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
    categories: Any = part.get("categories") or []
    lists = categories if isinstance(categories, list) else [categories]
    return tuple(str(word) for component in lists for word in getattr(component, "cats", ()))[:20]


def _instant(part: "Component", name: str) -> datetime | None:
    found = part.get(name)
    value = None if isinstance(found, str) else getattr(found, "dt", None)  # a string: what is broken
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return datetime(value.year, value.month, value.day, tzinfo=UTC) if isinstance(value, date) else None


MAX_CHARS: Final = 256 * 1024  # of one object
Line = Annotated[str, StringConstraints(min_length=1, max_length=1_000, pattern=r"^[^\r\n\x00]+$")]
