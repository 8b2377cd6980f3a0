"""Entries of RSS, Atom and iCalendar feeds, as the engine of manifests reads them. Pure functions.

A feed is parsed without document types, and thus without entities. A calendar is divided by its lines, so
that a broken entry breaks no other; each entry is a calendar of its own, with the time zones of the feed.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final
from xml.etree.ElementTree import Element, tostring  # used on elements of the parser below

import msgspec

from hub.connectors.calling import Unavailable
from hub.text import webdav
from hub.text.calendars import unfold_names
from hub.text.html import text_of_html

_BEGINS: Final = frozenset(
    f"BEGIN:{kind}" for kind in ("VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY", "VTIMEZONE")
)
MAX_HTML_CHARS: Final = 1024 * 1024  # of one entry
MAX_ZONE_CHARS: Final = 32 * 1024
_SPACES: Final = {  # namespaces whose elements are read, by the prefix that feeds write
    "http://purl.org/rss/1.0/modules/content/": "content:",
    "http://purl.org/dc/elements/1.1/": "dc:",
}


class CalendarEntry(msgspec.Struct, frozen=True):
    """Entry of a calendar, such as an event, with its exceptions.

    Attributes:
        zones: definitions of the time zones that it names.
        version: digest that ignores the time of the download.
    """

    uid: str
    zones: tuple[str, ...]
    parts: tuple[str, ...]
    version: str

    @property
    def text(self) -> str:
        """Return the entry as a calendar of its own."""
        zones = "".join(self.zones)
        zones = zones if len(zones) <= MAX_ZONE_CHARS else ""  # they are parsed with each entry
        return f"BEGIN:VCALENDAR\nVERSION:2.0\n{zones}{''.join(self.parts)}END:VCALENDAR\n"


def plain(html: str) -> tuple[str, int]:
    """Return the visible text of *html*, and the number of hidden parts. Raises TooTangled."""
    if "<" not in html and "&" not in html:
        return html.strip(), 0
    page = text_of_html(html[:MAX_HTML_CHARS])
    return page.text, page.dropped


def feed_entries(body: bytes) -> list[dict[str, Any]]:
    """Return the entries of an RSS (0.9 to 2.0) or Atom feed; their texts are HTML.

    Raises:
        Unavailable: the answer is truncated, or no feed.
    """
    try:
        root = webdav.read(body)
    except webdav.NotWebDav as error:
        raise Unavailable(f"the answer is no feed: {error}") from error
    if _local(root) not in ("rss", "RDF", "feed"):
        raise Unavailable(f"the answer is no feed: its first element is <{_local(root)[:40]}>")
    return [_entry(one) for one in root.iter() if _local(one) in ("item", "entry")]


def _entry(item: Element) -> dict[str, Any]:
    parts: dict[str, list[Element]] = {}
    own = item.tag.rpartition("}")[0]
    for part in item:
        space = part.tag.rpartition("}")[0]
        prefix = "" if space == own else _SPACES.get(space.removeprefix("{"))
        if prefix is not None:
            parts.setdefault(prefix + _local(part), []).append(part)

    def first(*names: str) -> str:
        return next((text for name in names for one in parts.get(name, ()) if (text := _html(one))), "")

    links = parts.get("link", [])
    hrefs = [link.get("href") for link in links if link.get("rel", "alternate") == "alternate"]
    authors = [name for one in parts.get("author", ()) if (name := _author(one))]
    return {
        "id": first("id", "guid"),
        "title": first("title"),
        "text": first("content:encoded", "content", "description", "summary"),
        "author": next(iter(authors), first("dc:creator")),
        "created": first("published", "pubDate", "dc:date"),
        "modified": first("updated"),
        "link": next((href for href in hrefs if href), first("link")),
        "labels": [one.get("term") or _html(one) for one in parts.get("category", ())],
    }


def _author(element: Element) -> str:
    """Return the name of an author: Atom has it in an element, RSS after the address."""
    name = next(((one.text or "").strip() for one in element if _local(one) == "name"), "")
    return name or (element.text or "").strip()


def _html(element: Element) -> str:
    """Return the content of an element as HTML; XHTML is an element inside, and plain text is escaped."""
    if len(element):
        for one in element.iter():
            one.tag = _local(one)
        return "".join(tostring(one, encoding="unicode", method="html") for one in element)
    text = (element.text or "").strip()
    return text.replace("&", "&amp;").replace("<", "&lt;") if element.get("type") == "text" else text


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def calendar_entries(body: bytes) -> list[CalendarEntry]:
    """Return the entries of a calendar by their UIDs, in the order of the calendar.

    Raises:
        Unavailable: the answer is no calendar.
    """
    text = unfold_names(body.decode("utf-8-sig", "replace")).replace("\r\n", "\n")
    if not text.lstrip()[:15].upper().startswith("BEGIN:VCALENDAR"):
        raise Unavailable("the answer is no calendar: it does not begin with BEGIN:VCALENDAR")
    zones: dict[str, str] = {}
    groups: dict[str, list[str]] = {}
    for number, part in enumerate(_components(text)):
        if part[:15].upper() == "BEGIN:VTIMEZONE":
            zones[_value(part, "TZID")] = part
        else:
            groups.setdefault(_value(part, "UID") or f"#{number}", []).append(part)
    return [
        CalendarEntry(
            "" if uid.startswith("#") else uid,
            tuple(zones[id] for id in _zone_ids(parts) if id in zones),
            tuple(parts),
            hashlib.sha256("".join(map(_lasting, parts)).encode("utf-8", "replace")).hexdigest(),
        )
        for uid, parts in groups.items()
    ]


def _components(text: str) -> Iterator[str]:
    """Yield the components that are read; one without an end ends where the next begins."""
    kind, lines = "", list[str]()
    for line in text.split("\n"):
        word = line.strip().upper()
        if word in _BEGINS:
            if kind:
                yield "".join(lines)
            kind, lines = word.removeprefix("BEGIN:"), []
        if kind:
            lines.append(f"{line}\n")
            if word == f"END:{kind}":
                yield "".join(lines)
                kind = ""
    if kind:
        yield "".join(lines)


def _unfolded(part: str) -> list[str]:
    return part.replace("\n ", "").replace("\n\t", "").split("\n")


def _value(part: str, name: str) -> str:
    """Return the value of the first property with that name."""
    lines = (line for line in _unfolded(part) if line.upper().startswith((f"{name}:", f"{name};")))
    return next((line.partition(":")[2].strip() for line in lines), "")


def _zone_ids(parts: Sequence[str]) -> dict[str, None]:
    """Return the time zones that an entry names."""
    named = (line.partition("TZID=")[2] for part in parts for line in _unfolded(part) if "TZID=" in line)
    return dict.fromkeys(words.partition(":")[0].partition(";")[0].strip('"') for words in named)


def _lasting(part: str) -> str:
    """Return a component without the time at which a server wrote it, which some servers set anew."""
    return "\n".join(line for line in _unfolded(part) if line[:7].upper() != "DTSTAMP")
