"""Pure: a moment that words stand for, and how a reading of the local clock becomes one.

Two nights a year the clock of a zone does not tell one instant for each reading. A
reading that is *skipped* (the clock goes forward over it) is moved forward by as much
as the clock is. One that comes *twice* (the clock goes back) is the first of the two.
Python's ``fold=0`` does both (PEP 495).
"""

from datetime import UTC, date, datetime
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from hub.clock import epoch_ms

ClockChange = Literal["skipped", "repeated"]


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What words about time come to.

    Attributes:
        at: aware UTC; of a day without a time, its beginning where the owner is.
        has_time: a time of day was told, not only a day.
        words: what was read.
        change: the reading fell into a night when the clock changes, and how.
    """

    at: datetime
    has_time: bool
    words: str
    change: ClockChange | None = None

    @property
    def at_ms(self) -> int:
        """``at`` in UTC epoch milliseconds; negative before 1970."""
        return epoch_ms(self.at)


def local_day(at: datetime, zone: ZoneInfo) -> date:
    """The day on which *at* is there; of one beyond the calendar of that place, the day in UTC."""
    try:
        return at.astimezone(zone).date()
    except OverflowError:  # the last hours of the year 9999
        return at.date()


def instant_of(reading: datetime, zone: ZoneInfo) -> tuple[datetime, ClockChange | None]:
    """The UTC instant of a naive *reading* of the clock in *zone*, and what the night did to it.

    Raises:
        OverflowError: it lies beyond what a datetime can hold.
    """
    first = reading.replace(tzinfo=zone, fold=0)
    second = first.replace(fold=1)
    at = first.astimezone(UTC)
    if first.utcoffset() == second.utcoffset():
        return at, None
    # Skipped readings do not come back as they went out.
    is_skipped = at.astimezone(zone).replace(tzinfo=None) != reading
    return at, "skipped" if is_skipped else "repeated"
