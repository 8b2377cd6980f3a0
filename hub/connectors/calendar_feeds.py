"""Division of an iCalendar feed into separate entries. Pure functions.

A calendar is divided by its lines, so that a broken entry breaks no other. Each entry is a calendar of its
own, with the time zones of the feed.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from hub.connectors.calling import Unavailable
from hub.text.calendars import unfold_names

_BEGINS: Final = frozenset(
    f"BEGIN:{kind}" for kind in ("VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY", "VTIMEZONE")
)
MAX_ZONE_CHARS: Final = 32 * 1024


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
