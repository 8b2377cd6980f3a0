"""Pure: what was said of the time of day.

An hour from 1 to 7 may be either of two when nothing beside it says which ("at 3"): then
no time is told, only the day. It is one of the 24-hour clock when it is written so ("03:30"),
or in a language that writes no other. Noon is 12:00. Midnight is no time, for it may
be the beginning or the end of its day; neither is a part of the day by itself ("in the morning").
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from datetime import timezone as fixed_zone
from typing import Final
from zoneinfo import ZoneInfo

from hub.extraction.when.said import Said

_MOST_UNSURE_HOUR: Final = 7
_NOON: Final = 12
# Hours of the 12-hour clock that a part of the day can have, and how many are to be added.
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
# What people call the clock on the wall of a place, summer or winter.
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
    """Minutes from the midnight at which the day begins, at most 24 hours; ``None`` when no time is told."""
    hour, minute = said.hour, said.minute or 0
    if hour is None or (hour == 24 and minute):
        return None
    if said.half is not None:
        hour = _hour_in(said.half, hour)
    elif 1 <= hour - bool(said.less) <= _MOST_UNSURE_HOUR and not said.is_sure:
        hour = None
    return None if hour is None else 60 * hour + minute - (said.less or 0)


def find_zone(name: str) -> ZoneInfo | fixed_zone:
    """The zone that a text names, as one of the spellings that the sayings know.

    Raises:
        ValueError: its offset is a day or more.
    """
    if match := _OFFSET.fullmatch(name):
        sign, hours, minutes = match.groups()
        east = timedelta(hours=int(hours), minutes=int(minutes or 0))
        return fixed_zone(east if sign == "+" else -east)
    return ZoneInfo(_ZONES[name])


def _hour_in(half: str, hour: int) -> int | None:
    """The hour of the 24-hour clock; ``None`` when that part of the day has no such hour."""
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
