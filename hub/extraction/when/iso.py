"""Parsing of ISO 8601 dates, which are unambiguous. Pure functions.

A date without an offset is local; a day without a time starts at midnight.
"""

import re
from datetime import UTC, date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from hub.clock import epoch_ms
from hub.extraction.when.moment import Moment, instant_of

_ISO: Final = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?) ?(Z|[+-]\d{2}:?\d{2})?)?",
    re.IGNORECASE | re.ASCII,
)


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
