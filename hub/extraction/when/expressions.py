"""Parsed words about time, independent of a calendar. Pure functions."""

from collections.abc import Iterable
from typing import Literal

import msgspec

Unit = Literal["minute", "hour", "day", "week", "month", "quarter", "year"]
Edge = Literal["start", "middle", "end"]
Pick = Literal["coming", "this", "last", "second", "weekend"]
Half = Literal["am", "pm", "morning", "noon", "afternoon", "evening", "night", "midnight", "close"]
# Year (or None), month, day.
Figures = tuple[int | None, int, int]


class Ambiguous(Exception):
    """Words with several readings, none of which is preferred."""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """Parts of a saying; each is None unless it was said.

    Attributes:
        weekday: 0 is Monday.
        pick: selects among the weekdays of that name; ``weekend`` is a Saturday.
        nth: "first Monday"; -1 is the last.
        week: number of an ISO week.
        days: distance from the anchor in days ("tomorrow" is 1).
        span: "next month" is ``("month", 1)``.
        edge: of a span, a month, a quarter or a year.
        shift: "in two weeks" is ``(2, "week")``.
        figures: all readings of a date in figures.
        less: minutes before the hour ("quarter to ten").
        is_sure: the hour is of the 24-hour clock, even if it is small.
        half: the part of the day that contains the hour.
        zone: IANA name, or an offset such as ``+02:00``.
        is_due: the date is a deadline.
        is_to: not a part, but the word between the two ends of an interval.
    """

    year: int | None = None
    month: int | None = None
    day: int | None = None
    weekday: int | None = None
    pick: Pick | None = None
    nth: int | None = None
    week: int | None = None
    quarter: int | None = None
    days: int | None = None
    span: tuple[Unit, int] | None = None
    edge: Edge | None = None
    shift: tuple[int, Unit] | None = None
    figures: tuple[Figures, ...] | None = None
    hour: int | None = None
    minute: int | None = None
    less: int | None = None
    is_sure: bool | None = None
    half: Half | None = None
    zone: str | None = None
    is_due: bool | None = None
    is_to: bool | None = None

    @property
    def about_day(self) -> frozenset[str]:
        """Names of the parts about a day."""
        return self._names - _OF_TIME - {"is_due"}

    @property
    def about_time(self) -> frozenset[str]:
        """Names of the parts about a time of day."""
        return self._names & _OF_TIME

    @property
    def _names(self) -> frozenset[str]:
        return frozenset(name for name in self.__struct_fields__ if getattr(self, name) is not None)


_OF_TIME = frozenset({"hour", "minute", "less", "is_sure", "half", "zone"})


def together(parts: Iterable[Said]) -> Said | None:
    """Merge all parts of a saying; of an interval, return the start. ``None`` for contradictory parts."""
    ends: list[list[Said]] = [[]]
    is_told = False  # this end has a part already
    for part in parts:
        if part.is_to and is_told:
            ends.append([])
        else:  # nothing precedes it: "until Friday"
            ends[-1].append(Said(is_due=True) if part.is_to else part)
        is_told = not part.is_to and (is_told or part.is_due is None)
    merged = [_merged(end) for end in ends if end]
    match merged:
        case [Said() as only]:
            return only
        case [Said() as start, Said() as end]:
            return _start_of(start, end)
    return None


def _merged(parts: list[Said]) -> Said | None:
    told: dict[str, object] = {}
    for part in parts:
        for name in part.__struct_fields__:
            value = getattr(part, name)
            if value is None:
                continue
            if told.setdefault(name, value) != value:
                return None
    return msgspec.convert(told, Said)


def _start_of(start: Said, end: Said) -> Said | None:
    """Return the start of an interval; for "Friday until 3 pm", the time belongs to the day."""
    if not start.about_time and not end.about_day:
        return _merged([start, end])
    lent: dict[str, object] = {}
    if not start.about_day:  # "9 to 11 tomorrow"
        lent = {name: getattr(end, name) for name in end.about_day}
    if start.about_day == {"weekday"} and end.weekday is not None:
        lent["span"] = end.span
    if start.about_day == {"day"} and end.day is not None:
        lent |= {"month": end.month, "year": end.year, "span": end.span}
    elif start.month is not None and start.year is None and end.year is not None:
        lent["year"] = end.year - (end.month is not None and start.month > end.month)
    if start.figures and end.figures and len(end.figures) == 1:
        lent["figures"] = tuple((year or end.figures[0][0], month, day) for year, month, day in start.figures)
    if start.hour is not None and end.hour is not None:
        lent["zone"] = start.zone or end.zone
        if start.half is None and start.hour % 12 <= end.hour % 12:  # "9 - 5 pm" does not start at night
            lent["half"] = end.half
    return msgspec.structs.replace(start, **lent)
