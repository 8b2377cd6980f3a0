"""Data of CalDAV: XML of WebDAV (RFC 4918), parsed without entities, and metadata of calendar objects.

Pure functions.
"""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from html import escape
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit
from xml.etree.ElementTree import Element, TreeBuilder  # used to build elements; the parser is below
from xml.parsers import expat  # document types are refused, and thus all entities

import msgspec

from hub.connectors.failures import Unavailable
from hub.text.calendars import reading_calendar

if TYPE_CHECKING:
    from icalendar.cal import Component

DAV: Final = "{DAV:}"
CAL: Final = "{urn:ietf:params:xml:ns:caldav}"
MOST_DEPTH: Final = 32
MOST_ELEMENTS: Final = 500_000
_HEAD: Final = '<?xml version="1.0" encoding="utf-8"?>'
_NAMES: Final = 'xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"'

KINDS: Final = ("VTODO", "VEVENT")
_DONE: Final = frozenset({"COMPLETED", "CANCELLED"})
_LEEWAY: Final = timedelta(days=1)  # margin for all-day values and times without a zone
_TITLE_CHARS: Final = 500
# Exceptions of the parser for invalid input, raised at once or on access to an invalid property.
_BROKEN: Final = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, OSError),
    RecursionError,  # a time zone with many dots in its name is looked for in as many packages
)


class Resource(msgspec.Struct, frozen=True):
    """Element ``response`` of a multistatus.

    Attributes:
        status: status of the whole resource, or None.
        found: existing properties.
    """

    href: str
    status: int | None
    found: dict[str, Element]  # by name

    def text(self, name: str) -> str:
        """Return the text of a property, or an empty string."""
        element = self.found.get(name)
        return "" if element is None else (element.text or "").strip()

    def hrefs(self, name: str) -> list[str]:
        """Return the URLs in a property."""
        element = self.found.get(name)
        elements = [] if element is None else element.findall(f"{DAV}href")
        return [one.text.strip() for one in elements if one.text]

    def has(self, name: str, inner: str) -> bool:
        """Return True if the property *name* contains an element *inner*."""
        element = self.found.get(name)
        return element is not None and element.find(inner) is not None


class Multistatus(msgspec.Struct, frozen=True):
    """Answer with status 207. *sync_token*: of a sync-collection report."""

    resources: list[Resource]
    sync_token: str


def read(body: bytes) -> Element:
    """Parse a document and return its root.

    Raises:
        Unavailable: the document is truncated or not XML, has a document type, or is nested too deep.
    """
    builder = TreeBuilder()
    depth = elements = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        depth, elements = depth + 1, elements + 1
        if depth > MOST_DEPTH or elements > MOST_ELEMENTS:
            raise Unavailable("the provider's answer is nested too deep, or too long")
        builder.start(_spelled(name), attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_spelled(name))

    def refuse(*_: object) -> None:
        raise Unavailable("the provider's answer defines a document type, which is not allowed")

    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # expat does not know the encoding
        raise Unavailable("the provider's answer is cut off, or no XML") from error
    return builder.close()


def joined(base: str, href: str) -> str:
    """Resolve *href* of an answer relative to *base*.

    Raises:
        Unavailable: it is not a URL.
    """
    try:
        return urljoin(base, href)
    except ValueError as error:
        raise Unavailable("the provider points to something that is no address") from error


def multistatus(body: bytes) -> Multistatus:
    """Return the resources of an answer with status 207.

    Raises:
        Unavailable: it is not a multistatus.
    """
    root = read(body)
    if root.tag != f"{DAV}multistatus":
        raise Unavailable("the provider's answer is no multistatus")
    token = root.findtext(f"{DAV}sync-token") or ""
    return Multistatus([_resource(one) for one in root.findall(f"{DAV}response")], token.strip())


def is_token_refused(body: bytes) -> bool:
    """Return True if an error says that the sync token is unknown (RFC 6578, 3.2)."""
    try:
        return read(body).find(f".//{DAV}valid-sync-token") is not None
    except Unavailable:
        return False


def propfind(*names: str) -> bytes:
    """Create a request for properties, named like ``d:getetag``."""
    asked = "".join(f"<{name}/>" for name in names)
    return f"{_HEAD}<d:propfind {_NAMES}><d:prop>{asked}</d:prop></d:propfind>".encode()


def sync_collection(token: str) -> bytes:
    """Create a request for the changes since *token*."""
    asked = f"<d:sync-token>{escape(token)}</d:sync-token><d:sync-level>1</d:sync-level>"
    prop = "<d:prop><d:getetag/></d:prop>"
    return f"{_HEAD}<d:sync-collection {_NAMES}>{asked}{prop}</d:sync-collection>".encode()


def query(kind: str, start: str | None = None, end: str | None = None) -> bytes:
    """Create a request for the objects of a *kind*; for events, those between two instants."""
    span = "" if start is None else f'<c:time-range start="{start}" end="{end}"/>'
    inner = (
        f'<c:comp-filter name="VCALENDAR"><c:comp-filter name="{kind}">{span}</c:comp-filter></c:comp-filter>'
    )
    prop = "<d:prop><d:getetag/></d:prop>"
    return f"{_HEAD}<c:calendar-query {_NAMES}>{prop}<c:filter>{inner}</c:filter></c:calendar-query>".encode()


def multiget(hrefs: Sequence[str]) -> bytes:
    """Create a request for several objects."""
    prop = "<d:prop><d:getetag/><c:calendar-data/></d:prop>"
    asked = "".join(f"<d:href>{escape(href)}</d:href>" for href in hrefs)
    return f"{_HEAD}<c:calendar-multiget {_NAMES}>{prop}{asked}</c:calendar-multiget>".encode()


def _resource(response: Element) -> Resource:
    found: dict[str, Element] = {}
    for part in response.findall(f"{DAV}propstat"):
        if _status(part) in (None, 200):
            for prop in part.findall(f"{DAV}prop"):
                found |= {element.tag: element for element in prop}
    return Resource((response.findtext(f"{DAV}href") or "").strip(), _status(response), found)


def _status(element: Element) -> int | None:
    """Return the number in ``HTTP/1.1 404 Not Found``."""
    words = (element.findtext(f"{DAV}status") or "").split()
    return int(words[1]) if len(words) > 1 and words[1].isdecimal() and len(words[1]) == 3 else None


def _spelled(name: str) -> str:
    return f"{{{name}" if "}" in name else name


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


def read_metadata(text: str) -> Known:
    """Extract the metadata of the first to-do or event in *text* (iCalendar). Never raises."""
    with reading_calendar() as parse:
        try:
            parts = [part for part in parse(text).walk() if part.name in KINDS]
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
    categories: Any = part.get("categories") or []
    lists = categories if isinstance(categories, list) else [categories]
    return tuple(str(word) for one in lists for word in getattr(one, "cats", ()))[:20]


def _link(url: str) -> str | None:
    return url if urlsplit(url).scheme in ("http", "https") and len(url) <= 2_000 else None


def _instant(part: "Component", name: str) -> datetime | None:
    value = getattr(part.get(name), "dt", None)
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return datetime(value.year, value.month, value.day, tzinfo=UTC) if isinstance(value, date) else None
