"""Resolution of words about time to a moment, relative to the document's date. Pure functions.

All languages in which the words may be written parse them, and must agree: "mar 4" is a Tuesday in one and a
day of March in another, so it is not resolved. Ambiguous words stay unresolved.

An hour from 1 to 7 is ambiguous without a part of the day ("at 3"): then only the day is resolved, without a
time. It is a 24-hour time if it is written so ("03:30"), or in a language without a 12-hour clock. Noon is
12:00. Midnight is no time, because it may be the start or the end of its day. A part of the day alone ("in
the morning") is no time, either.

An ISO 8601 date without an offset is local; a day without a time starts at midnight. At a change of the
clock, a local reading may not correspond to exactly one instant. A *skipped* reading (the clock goes forward
over it) is moved forward by the same amount. Of a *repeated* reading (the clock goes back), the first instant
is used. Python's ``fold=0`` does both (PEP 495).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from datetime import timezone as fixed_zone
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from hub.clock import epoch_ms
from hub.extraction.when.calendar import find_day
from hub.extraction.when.language import (
    Ambiguous,
    DateParts,
    Language,
    fold,
    has_cyrillic,
    has_han,
    has_latin,
    together,
)
from hub.extraction.when.languages import CHINESE, ENGLISH, FRENCH, GERMAN, RUSSIAN, SPANISH

ClockChange = Literal["skipped", "repeated"]

_ISO: Final = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?) ?(Z|[+-]\d{2}:?\d{2})?)?",
    re.IGNORECASE | re.ASCII,
)


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """Resolved words about time.

    Attributes:
        at: aware UTC; for a day without a time, its start in the owner's time zone.
        has_time: True if the words have a time of day.
        words: the words that were parsed.
        change: kind of clock change that affects the reading, or None.
    """

    at: datetime
    has_time: bool
    words: str
    change: ClockChange | None = None

    @property
    def at_ms(self) -> int:
        """Moment in UTC epoch milliseconds; negative before 1970."""
        return epoch_ms(self.at)


def local_day(at: datetime, zone: ZoneInfo) -> date:
    """Return the local day of *at* in *zone*; the day in UTC if it is outside the calendar there."""
    try:
        return at.astimezone(zone).date()
    except OverflowError:  # the last hours of the year 9999
        return at.date()


def instant_of(reading: datetime, zone: ZoneInfo) -> tuple[datetime, ClockChange | None]:
    """Return the UTC instant of a naive *reading* in *zone*, and how a clock change affects it.

    Raises:
        OverflowError: outside the range of datetime.
    """
    first = reading.replace(tzinfo=zone, fold=0)
    second = first.replace(fold=1)
    at = first.astimezone(UTC)
    if first.utcoffset() == second.utcoffset():
        return at, None
    # Skipped readings do not survive the round trip.
    is_skipped = at.astimezone(zone).replace(tzinfo=None) != reading
    return at, "skipped" if is_skipped else "repeated"


def read_iso(text: str, timezone: str) -> Moment | None:
    """Parse *text* as a whole to a moment; return ``None`` if it is not ISO 8601."""
    match = _ISO.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day, at, offset = match.groups()
    try:
        reading = datetime.fromisoformat(f"{year}-{month}-{day}T{at or '00:00'}{(offset or '').upper()}")
        if reading.tzinfo:
            return Moment(at=reading.astimezone(UTC), has_time=True, words=text)
        instant, change = instant_of(reading, ZoneInfo(timezone))
    except (ValueError, OverflowError):  # no such day, or outside the range of datetime
        return None
    return Moment(at=instant, has_time=at is not None, words=text, change=change)


def read_date(text: str, timezone: str) -> datetime | None:
    """Parse *text* as a whole to an aware UTC datetime, or return ``None``."""
    read = read_iso(text, timezone)
    return read.at if read else None


def date_ms(text: str, timezone: str) -> int | None:
    """Parse a date to epoch milliseconds; ``None`` also for dates before 1970."""
    read = read_date(text, timezone)
    return epoch_ms(read) if read is not None and read.year >= 1970 else None


Anchor = datetime | date  # aware; a plain date is a day in the reader's time zone
MOST_CHARS: Final = 120  # longer than any informal date; bounds the cost of hostile text
_LATIN: Final = (ENGLISH, GERMAN, FRENCH, SPANISH)
_ALL: Final = (*_LATIN, RUSSIAN, CHINESE)
MOST_SENTENCE_CHARS: Final = 400
_SUFFICIENT: Final = frozenset({"weekday", "days", "shift", "figures"})
_SHORT: Final = 3  # "in the sun", "el mar": such short names of days have other meanings
_SECONDS: Final[Mapping[str, int]] = {"hour": 3600, "minute": 60}

_MOST_UNSURE_HOUR: Final = 7
_NOON: Final = 12
# Possible hours of the 12-hour clock in a part of the day, and the number to add.
_HALVES: Final[Mapping[str, tuple[range, int]]] = {
    "am": (range(1, 12), 0),
    "pm": (range(1, 12), 12),
    "morning": (range(1, 12), 0),
    "afternoon": (range(1, 8), 12),
    "evening": (range(4, 12), 12),
    "night": (range(8, 12), 12),
    "noon": (range(1, 3), 12),
}
_OFFSET: Final = re.compile(r"(?:utc|gmt)? ?([+-]) ?(\d{1,2}):?(\d\d)?")
# Common names of a place's time, in summer or winter.
_ZONES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("utc", "gmt", "z"), "UTC"),
    **dict.fromkeys(("cet", "cest", "mez", "mesz"), "Europe/Berlin"),
    **dict.fromkeys(("et", "est", "edt"), "America/New_York"),
    **dict.fromkeys(("pt", "pst", "pdt"), "America/Los_Angeles"),
    "cdt": "America/Chicago",
    "bst": "Europe/London",
    **dict.fromkeys(("msk", "мск"), "Europe/Moscow"),
    "jst": "Asia/Tokyo",
    "北京时间": "Asia/Shanghai",
}


class DateWords(NamedTuple):
    """Folded words of a text for a day.

    Attributes:
        before: folded words before them in the text; likewise *after*.
        parts: parsed words.
        is_full: True if they contain year, month and day.
    """

    words: str
    before: str
    after: str
    parts: DateParts
    is_full: bool


def resolve(words: str, *, anchor: Anchor | None, timezone: str, is_due: bool = False) -> Moment | None:
    """Resolve *words* to a moment; return ``None`` if they are ambiguous.

    Supports ISO 8601 and English, German, French, Spanish, Russian and Chinese. Words around a date ("by",
    "bis") are ignored, an interval is its start, and a day without a time starts at midnight in *timezone*.
    The rules of the calendar are in ``hub.extraction.when.calendar``, those of the clock in
    ``hub.extraction.when.resolve``.

    Args:
        anchor: time of writing: an aware moment, or a local day, from which hours cannot be counted; without
            it, only words with a year are resolved.
        is_due: True if the words are a deadline, even without a word such as "by".
        timezone: IANA name, for words without a time zone.

    Raises:
        zoneinfo.ZoneInfoNotFoundError: the time zone is unknown.
    """
    if len(words) > MOST_CHARS:
        return None
    if moment := read_iso(words, timezone):
        return moment
    text, zone = fold(words), ZoneInfo(timezone)
    try:
        read = [_read(language, text, words, anchor, zone, is_due) for language in _languages_of(text)]
    # OverflowError, ValueError: outside the range of the calendar.
    except (Ambiguous, OverflowError, ValueError):
        return None
    moments = {moment.at_ms: moment for moment in read if moment}
    return next(iter(moments.values())) if len(moments) == 1 else None


def days_in(text: str, *, anchor: Anchor | None, timezone: str, is_due: bool = False) -> list[Moment]:
    """Return the unambiguous moments in *text*, a sentence or two; each day once.

    Stricter than ``resolve``: "the second draft" and "sat down" are no days, so a day needs a name, a number
    with a month, or a distance.
    """
    found: dict[date, Moment] = {}
    for run, _ in _expressions_in(fold(text[:MOST_SENTENCE_CHARS])):
        if moment := resolve(run, anchor=anchor, timezone=timezone, is_due=is_due):
            found.setdefault(local_day(moment.at, ZoneInfo(timezone)), moment)
    return list(found.values())


def dates_in(text: str) -> list[DateWords]:
    """Return the words for days in *text*, a line or some sentences, in any of its languages."""
    folded = fold(text[:MOST_SENTENCE_CHARS])
    found: dict[str, DateWords] = {}
    for run, parts in _expressions_in(folded):
        before, _, after = folded.partition(run)
        found.setdefault(run, DateWords(run, before.strip(), after.strip(), parts, _is_full(parts)))
    return list(found.values())


def _expressions_in(folded: str) -> Iterator[tuple[str, DateParts]]:
    """Yield the parts of a folded text that denote a day, with their parsed form."""
    for language in _languages_of(folded):
        for run in language.runs(folded):
            found = language.parts(run)
            try:
                parts = together(found) if found else None
            except ValueError:  # no date
                continue
            if parts is not None and _denotes_day(parts, run):
                yield run, parts


def _is_full(parts: DateParts) -> bool:
    return parts.about_day >= {"year", "month", "day"} or (
        parts.figures is not None and all(figures[0] is not None for figures in parts.figures)
    )


def _denotes_day(parts: DateParts, run: str) -> bool:
    if parts.about_day == {"weekday"} and not has_han(run):
        return any(len(word) > _SHORT for word in run.split())
    return bool(parts.about_day & _SUFFICIENT) or parts.about_day >= {"day", "month"}


def _languages_of(text: str) -> Sequence[Language]:
    if has_han(text):
        return (CHINESE,)
    if has_cyrillic(text):
        return (RUSSIAN,)
    return _LATIN if has_latin(text) else _ALL


def _read(
    language: Language, text: str, words: str, anchor: Anchor | None, zone: ZoneInfo, is_due: bool
) -> Moment | None:
    """Resolve *text* in one language."""
    found = language.parts(text)
    parts = together([*found, DateParts(is_due=True)] if is_due else found) if found else None
    if parts is None:
        return None
    if parts.shift and parts.shift[1] in _SECONDS:
        return _elapsed(parts, words, anchor)
    if parts.hour is not None and not parts.about_day and find_time(parts) is None:
        raise Ambiguous  # "at 3", without a day that would still be resolved
    day = find_day(parts, anchor.astimezone(zone).date() if isinstance(anchor, datetime) else anchor)
    return _moment(parts, day, words, zone) if day else None


def _elapsed(parts: DateParts, words: str, anchor: Anchor | None) -> Moment | None:
    """Resolve "in two hours" on a clock without changes; no other part is permitted."""
    if parts.shift is None or parts.about_day != {"shift"} or parts.about_time:
        return None
    if not isinstance(anchor, datetime):  # a day has no hour to count from
        return None
    count, unit = parts.shift
    at = anchor.astimezone(UTC) + timedelta(seconds=count * _SECONDS[unit])
    return Moment(at=at, has_time=True, words=words)


def _moment(parts: DateParts, day: date, words: str, zone: ZoneInfo) -> Moment | None:
    minutes = find_time(parts)
    if minutes is None:
        at, change = instant_of(datetime(day.year, day.month, day.day), zone)  # noqa: DTZ001 - local
        # A clock change at the start of a day does not make the day ambiguous.
        return Moment(at=at, has_time=False, words=words, change=change)
    reading = datetime(day.year, day.month, day.day) + timedelta(minutes=minutes)  # noqa: DTZ001 - local
    own_zone = find_zone(parts.zone) if parts.zone else zone
    if isinstance(own_zone, ZoneInfo):
        at, change = instant_of(reading, own_zone)
        return Moment(at=at, has_time=True, words=words, change=change)
    return Moment(at=reading.replace(tzinfo=own_zone).astimezone(UTC), has_time=True, words=words)


def find_time(parts: DateParts) -> int | None:
    """Return the minutes since midnight, at most 24 hours; ``None`` without a definite time."""
    hour, minute = parts.hour, parts.minute or 0
    if hour is None or (hour == 24 and minute):
        return None
    if parts.half is not None:
        hour = _hour_in(parts.half, hour)
    elif 1 <= hour - bool(parts.less) <= _MOST_UNSURE_HOUR and not parts.is_sure:
        hour = None
    return None if hour is None else 60 * hour + minute - (parts.less or 0)


def find_zone(name: str) -> ZoneInfo | fixed_zone:
    """Return the time zone of a name that occurs in texts, as in ``CET`` or ``UTC+2``.

    Raises:
        Ambiguous: the name is used in several parts of the world, as IST is.
        ValueError: its offset is a day or more.
    """
    if match := _OFFSET.fullmatch(name):
        sign, hours, minutes = match.groups()
        east = timedelta(hours=int(hours), minutes=int(minutes or 0))
        return fixed_zone(east if sign == "+" else -east)
    if name not in _ZONES:
        raise Ambiguous
    return ZoneInfo(_ZONES[name])


def _hour_in(half: str, hour: int) -> int | None:
    """Return the hour of the 24-hour clock; ``None`` if that part of the day has no such hour."""
    if half == "am" and hour == _NOON:
        return 0
    if hour == _NOON and half in ("pm", "noon", "afternoon"):
        return _NOON
    hours, added = _HALVES.get(half, (range(0), 0))
    if hour in hours:
        return hour + added
    if hour in (11,) and half == "noon":
        return hour
    return hour if hour > _NOON and added and hour - added in hours else None
