"""Moment in time, its conversion from local clock readings, and the parsing of ISO 8601. Pure functions.

At a change of the clock, a local reading may not correspond to exactly one instant. A *skipped* reading (the
clock goes forward over it) is moved forward by the same amount. Of a *repeated* reading (the clock goes
back), the first instant is used. Python's ``fold=0`` does both (PEP 495).

An ISO 8601 date without an offset is local; a day without a time starts at midnight.
"""

import re
from datetime import UTC, date, datetime
from typing import Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from hub.clock import epoch_ms

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


def day_ms(day: date, timezone: str) -> int | None:
    """Return midnight at the start of a local day in epoch milliseconds."""
    return date_ms(day.isoformat()[:10], timezone)
