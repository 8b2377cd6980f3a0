"""Moment in time, and its conversion from local clock readings. Pure functions.

At a change of the clock, a local reading may not correspond to exactly one instant. A *skipped* reading (the
clock goes forward over it) is moved forward by the same amount. Of a *repeated* reading (the clock goes
back), the first instant is used. Python's ``fold=0`` does both (PEP 495).
"""

from datetime import UTC, date, datetime
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from hub.clock import epoch_ms

ClockChange = Literal["skipped", "repeated"]


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
