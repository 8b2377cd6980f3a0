"""Times of day inside sentences, in the shortest form that is unambiguous."""

from datetime import datetime, timedelta, tzinfo
from typing import Final

NEAR: Final = timedelta(minutes=2)  # below this, seconds are shown


def told_time(at: datetime, now: datetime, zone: tzinfo | None = None) -> str:
    """Return the time as ``09:14 CET``; with seconds if near ahead, with the date if on another day.

    Args:
        zone: time zone of the result; by default this machine's.
    """
    here, today = at.astimezone(zone), now.astimezone(zone).date()
    if here.date() != today:
        return f"{here:%Y-%m-%d %H:%M %Z}"
    return f"{here:%H:%M:%S %Z}" if timedelta() <= at - now < NEAR else f"{here:%H:%M %Z}"
