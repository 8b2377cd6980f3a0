"""Resolution of a parsed time of day. Pure functions.

An hour from 1 to 7 is ambiguous without a part of the day ("at 3"): then only the day is resolved, without a
time. It is a 24-hour time if it is written so ("03:30"), or in a language without a 12-hour clock. Noon is
12:00. Midnight is no time, because it may be the start or the end of its day. A part of the day alone ("in
the morning") is no time, either.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from datetime import timezone as fixed_zone
from typing import Final
from zoneinfo import ZoneInfo

from hub.extraction.when.expressions import Said

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
    **dict.fromkeys(("msk", "мск"), "Europe/Moscow"),
    "jst": "Asia/Tokyo",
    "北京时间": "Asia/Shanghai",
}


def find_time(said: Said) -> int | None:
    """Return the minutes since midnight, at most 24 hours; ``None`` without a definite time."""
    hour, minute = said.hour, said.minute or 0
    if hour is None or (hour == 24 and minute):
        return None
    if said.half is not None:
        hour = _hour_in(said.half, hour)
    elif 1 <= hour - bool(said.less) <= _MOST_UNSURE_HOUR and not said.is_sure:
        hour = None
    return None if hour is None else 60 * hour + minute - (said.less or 0)


def find_zone(name: str) -> ZoneInfo | fixed_zone:
    """Return the time zone for one of the names in the sayings.

    Raises:
        ValueError: its offset is a day or more.
    """
    if match := _OFFSET.fullmatch(name):
        sign, hours, minutes = match.groups()
        east = timedelta(hours=int(hours), minutes=int(minutes or 0))
        return fixed_zone(east if sign == "+" else -east)
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
