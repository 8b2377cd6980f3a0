"""Parsed words about time, independent of a calendar, and dates in figures. Pure functions.

All languages write dates in figures similarly. With points, the day comes first everywhere. With slashes or
dashes, the order differs by country: then both readings are candidates, and the date counts only if a single
reading is valid.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Final, Literal

import msgspec

Unit = Literal["minute", "hour", "day", "week", "month", "quarter", "year"]
Edge = Literal["start", "middle", "end"]
Pick = Literal["coming", "this", "last", "second", "weekend"]
Half = Literal["am", "pm", "morning", "noon", "afternoon", "evening", "night", "midnight", "close"]
# Year (or None), month, day.
Figures = tuple[int | None, int, int]

# Sayings of all languages. The placeholders are those of ``hub.extraction.when.language``.
_ZONE: Final = (
    r"(?P<zone>(?:utc|gmt)(?: ?[+-] ?\d{1,2}(?::?[0-5]\d)?)?|z|[+]\d\d:?[0-5]\d|-\d\d[0-5]\d"
    r"|cest|cet|mesz|mez|bst|est|edt|et|cdt|pst|pdt|pt|jst|ist|msk|мск)"
)
SAYINGS: Final[tuple[tuple[str, Mapping[str, object]], ...]] = (
    (r"(?P<a>[12]\d{3})(?P<s>[-./])(?P<b>\d{1,2})(?P=s)(?P<c>\d{1,2})", {}),
    (r"(?P<a>\d{1,2})(?P<s>[./-])(?P<b>\d{1,2})(?P=s)(?P<c>[12]\d{3}|\d{2})\.?", {}),
    (r"(?P<a>\d{1,2})(?P<s>/)(?P<b>\d{1,2})", {}),
    (r"(?P<a>\d{1,2})(?P<s>\.) ?(?P<b>\d{1,2})\.", {}),
    # 3.-5.5.2025
    (r"(?P<a>\d{1,2})\.? ?- ?\d{1,2}(?P<s>\.)(?P<b>\d{1,2})\.(?P<c>[12]\d{3}|\d{2})?\.?", {}),
    (r"(?P<mo>1[0-2]|0?[1-9])[./]{y}", {}),
    (r"{y}-(?P<mo>1[0-2]|0[1-9])", {}),
    (r"{y}-?w(?P<w>5[0-3]|[1-4]\d|0[1-9])", {}),
    (rf"{{h}}:{{min}}(?::[0-5]\d(?:\.\d{{1,6}})?)?(?: ?{_ZONE})?", {}),
    (_ZONE, {}),
    ("-", {"is_to": True}),
)
_CENTURY: Final = 2000  # of a year with two digits


class Ambiguous(Exception):
    """Words with several readings, none of which is preferred."""


class DateParts(msgspec.Struct, frozen=True, kw_only=True):
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


def together(parts: Iterable[DateParts]) -> DateParts | None:
    """Merge all parts of a saying; of an interval, return the start. ``None`` for contradictory parts."""
    ends: list[list[DateParts]] = [[]]
    has_part = False  # this end has a part already
    for part in parts:
        if part.is_to and has_part:
            ends.append([])
        else:  # nothing precedes it: "until Friday"
            ends[-1].append(DateParts(is_due=True) if part.is_to else part)
        has_part = not part.is_to and (has_part or part.is_due is None)
    merged = [_merged(end) for end in ends if end]
    match merged:
        case [DateParts() as only]:
            return only
        case [DateParts() as start, DateParts() as end]:
            return _start_of(start, end)
    return None


def _merged(parts: list[DateParts]) -> DateParts | None:
    merged: dict[str, object] = {}
    for part in parts:
        for name in part.__struct_fields__:
            value = getattr(part, name)
            if value is None:
                continue
            if merged.setdefault(name, value) != value:
                return None
    return msgspec.convert(merged, DateParts)


def _start_of(start: DateParts, end: DateParts) -> DateParts | None:
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


def candidates(match: re.Match[str], is_day_first: bool | None) -> tuple[Figures, ...]:
    """Return all readings of a date in figures, valid or not."""
    a, b, c = (match.groupdict().get(place) for place in "abc")
    assert a is not None  # by the patterns above
    assert b is not None
    if len(a) == 4:
        return ((int(a), int(b), int(c or 0)),)
    year = None if c is None else int(c) if len(c) == 4 else _CENTURY + int(c)
    day_first, month_first = (year, int(b), int(a)), (year, int(a), int(b))
    if match["s"] == "." or is_day_first:
        return (day_first,)
    if is_day_first is False:
        return (month_first,)
    year_first = [(_CENTURY + int(a), int(b), int(c))] if c is not None and len(c) == 2 else []
    return (day_first, month_first, *year_first)


def day_of(figures: Figures, default_year: int) -> date | None:
    """Return the day, in *default_year* if the figures have no year; ``None`` if it is invalid."""
    year, month, day = figures
    try:
        return date(year or default_year, month, day)
    except ValueError:
        return None
