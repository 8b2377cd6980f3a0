"""Times of day inside a sentence: as short as they can be and still say when."""

from datetime import datetime, timedelta, tzinfo
from typing import Final

NEAR: Final = timedelta(minutes=2)  # nearer than this, the seconds matter


def told_time(at: datetime, now: datetime, zone: tzinfo | None = None) -> str:
    """``09:14 CET``; with seconds where it is near ahead, with the date where it is another day's.

    Args:
        zone: whose time of day is meant; this machine's own by default.
    """
    here, today = at.astimezone(zone), now.astimezone(zone).date()
    if here.date() != today:
        return f"{here:%Y-%m-%d %H:%M %Z}"
    return f"{here:%H:%M:%S %Z}" if timedelta() <= at - now < NEAR else f"{here:%H:%M %Z}"
