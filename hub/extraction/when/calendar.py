"""Resolution of a parsed date on the calendar. Pure functions.

The rules hold in all languages. The *anchor* is the day of the document.

- Without a year: the year that puts the day nearest to the anchor; the later one at a tie. A deadline ("by 24
  December") is never more than a month in the past: then the next year applies.
- A weekday alone, or a "coming" one: the first such day after the anchor.
- "This Friday": the first on or after the anchor. "Last Friday": the last one before it.
- A weekday of a week ("Friday next week"): in that week; weeks begin on Monday (ISO 8601).
- A day of the month alone ("the 15th"): the first such day on or after the anchor.
- A weekday next to a date must match. If a year or a month is missing, it helps to determine it.
- A span or an interval is its start ("in May", "next week", "3 to 5 May"). A current span such as "this week"
  is not a day, and neither is a past edge of it.
- Start, middle and end of a month are its first, its 15th and its last day (section 192 of the German civil
  code). Those of a week are Monday, Wednesday and Friday.
- Months and years are added on the calendar; if the month is too short, its last day applies.
- Days are counted on the calendar, hours and minutes on a clock without changes.
"""

import calendar
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Final

import msgspec

from hub.extraction.when.language import Ambiguous, DateParts, Edge, Unit, day_of

Rule = Callable[[DateParts, date], date | None]
_LEAP_YEARS_APART: Final = 8  # at most, around 1900 and 2100
_DAY: Final = timedelta(days=1)
_LATE: Final = timedelta(days=31)  # a deadline may just have passed


def find_day(parts: DateParts, anchor: date | None) -> date | None:
    """Return the day of the date *parts*; ``None`` if they contradict each other, or need an *anchor* day.

    Raises:
        Ambiguous: several days are possible.
        OverflowError, ValueError: the day is outside the years 1 to 9999.
    """
    names = parts.about_day
    if rule := _WITHOUT_ANCHOR.get(names):
        return rule(parts, date.min)
    if parts.figures and all(figures[0] is not None for figures in parts.figures):
        anchor = anchor or date.min  # figures with a year need no anchor
    if anchor is not None and (rule := _WITH_ANCHOR.get(names)):
        return rule(parts, anchor)
    return None


def _date(parts: DateParts, _: date) -> date | None:
    return _fitting(parts, [_safe(parts.year or 0, parts.month or 0, parts.day or 0)])


def _part_of(parts: DateParts, year: int) -> date | None:
    """Return the month, quarter or n-th weekday of *year*, or an edge of the whole year."""
    if parts.quarter is not None:
        return _edge(date(year, 3 * parts.quarter - 2, 1), "quarter", parts.edge)
    if parts.month is None:
        return _edge(date(year, 1, 1), "year", parts.edge)
    month = date(year, parts.month, 1)
    return _nth(parts, month) if parts.nth else _edge(month, "month", parts.edge)


def _part_of_year(parts: DateParts, _: date) -> date | None:
    return _part_of(parts, parts.year or 0)


def _week_of_year(parts: DateParts, _: date) -> date | None:
    monday = date.fromisocalendar(parts.year or 0, parts.week or 0, 1)
    if parts.weekday is not None:
        return monday + parts.weekday * _DAY
    return _edge(monday, "week", parts.edge)


def _day_of_month(parts: DateParts, anchor: date) -> date | None:
    """Return the day in the year nearest to the anchor."""
    month, day = parts.month or 0, parts.day or 0
    days = [_safe(year, month, day) for year in _years_around(anchor, month, day)]
    return _nearest(parts, _fitting_all(parts, days), anchor)


def _years_around(anchor: date, month: int, day: int) -> range:
    """Return the years of which one has the nearest such day."""
    far = _LEAP_YEARS_APART if (month, day) == (2, 29) else 1
    return range(max(1, anchor.year - far), anchor.year + far + 1)


def _date_of_span(parts: DateParts, anchor: date) -> date | None:
    """Resolve "3 May next year", "the 15th of next month"."""
    start = _span_start(parts, anchor)
    match parts.span:
        case ("year", _) if parts.month:
            return _fitting(parts, [_safe(start.year, parts.month, parts.day or 0)])
        case ("month", _) if not parts.month:
            return _fitting(parts, [_safe(start.year, start.month, parts.day or 0)])
    return None


def _part_of_span(parts: DateParts, anchor: date) -> date | None:
    """Resolve "May next year"; not "May of next week"."""
    if parts.span is None or parts.span[0] != "year":
        return None
    return _part_of(parts, _span_start(parts, anchor).year)


def _figures(parts: DateParts, anchor: date) -> date | None:
    """Return the day if all readings of the figures agree."""
    ways = {_figured(parts, figures, anchor) for figures in parts.figures or ()} - {None}
    if len(ways) > 1:
        raise Ambiguous
    return next(iter(ways), None)


def _figured(parts: DateParts, figures: tuple[int | None, int, int], anchor: date) -> date | None:
    if figures[0] is not None:
        return _fitting(parts, [day_of(figures, 0)])
    days = [day_of(figures, year) for year in _years_around(anchor, *figures[1:])]
    return _nearest(parts, _fitting_all(parts, days), anchor)


def _day(parts: DateParts, anchor: date) -> date | None:
    """Return the first such day on or after the anchor; with a weekday, in one of the nearby months."""
    months = [_add_months(anchor.replace(day=1), steps) for steps in range(-1, 3)]
    days = _fitting_all(parts, [_safe(month.year, month.month, parts.day or 0) for month in months])
    if parts.weekday is not None:
        return _nearest(parts, days, anchor)
    return next((day for day in days if day >= anchor), None)


def _nearest_part(parts: DateParts, anchor: date) -> date | None:
    years = (anchor.year - 1, anchor.year, anchor.year + 1)
    return _nearest(parts, [_part_of(parts, year) for year in years], anchor)


def _week(parts: DateParts, anchor: date) -> date | None:
    year = anchor.isocalendar().year
    weeks = []
    for nearby in (year - 1, year, year + 1):
        try:
            weeks.append(_week_of_year(msgspec.structs.replace(parts, year=nearby), anchor))
        except ValueError:  # most years have no week 53
            continue
    return _nearest(parts, filter(None, weeks), anchor)


def _days(parts: DateParts, anchor: date) -> date | None:
    """Resolve "tomorrow", and check additional parts: its weekday, its date."""
    day = anchor + (parts.days or 0) * _DAY
    if parts.shift:
        return _shifted(day, parts.shift)
    is_consistent = (
        (parts.year in (None, day.year)) and parts.month in (None, day.month) and parts.day in (None, day.day)
    )
    return _fitting(parts, [day]) if is_consistent else None


def _weekday(parts: DateParts, anchor: date) -> date | None:
    weekday = parts.weekday or 0
    ahead = (weekday - anchor.weekday()) % 7
    match parts.pick:
        case "this":
            return anchor + ahead * _DAY
        case "last":
            return anchor - ((anchor.weekday() - weekday - 1) % 7 + 1) * _DAY
        case "weekend":
            return None if anchor.weekday() == 6 else anchor + ahead * _DAY
    coming = anchor + (ahead or 7) * _DAY
    if parts.pick == "second":
        coming += 7 * _DAY
    return _shifted(coming, parts.shift) if parts.shift else coming


def _weekday_of_span(parts: DateParts, anchor: date) -> date | None:
    start = _span_start(parts, anchor)
    if parts.span is None:
        return None
    if parts.nth:
        return _nth(parts, start) if parts.span[0] == "month" else None
    return start + (parts.weekday or 0) * _DAY if parts.span[0] == "week" else None


def _span(parts: DateParts, anchor: date) -> date | None:
    if parts.span is None:
        return None
    unit, steps = parts.span
    if steps == 0 and parts.edge is None:
        return None
    day = _edge(_span_start(parts, anchor), unit, parts.edge)
    return None if day is None or (steps == 0 and day < anchor) else day


def _shift(parts: DateParts, anchor: date) -> date | None:
    return _shifted(anchor, parts.shift) if parts.shift else None


def _today(parts: DateParts, anchor: date) -> date | None:
    return anchor if parts.hour is not None or parts.half == "close" else None


def _span_start(parts: DateParts, anchor: date) -> date:
    unit, steps = parts.span or ("day", 0)
    match unit:
        case "week":
            return anchor + (7 * steps - anchor.weekday()) * _DAY
        case "month":
            return _add_months(anchor.replace(day=1), steps)
        case "quarter":
            return _add_months(date(anchor.year, 3 * ((anchor.month - 1) // 3) + 1, 1), 3 * steps)
        case "year":
            return date(anchor.year + steps, 1, 1)
        case "day":
            return anchor + steps * _DAY
    raise ValueError("hours are not on a calendar")


def _edge(start: date, unit: Unit, edge: Edge | None) -> date | None:
    """Return a day of the span of *unit* that begins on *start*; the first if no edge is named."""
    match edge, unit:
        case None | "start", _:
            return start
        case "middle", "week":
            return start + 2 * _DAY
        case "end", "week":
            return start + 4 * _DAY
        case "middle", "month":
            return start.replace(day=15)
        case "end", "month":
            return start.replace(day=calendar.monthrange(start.year, start.month)[1])
        case "end", "quarter":
            return _edge(_add_months(start, 2), "month", "end")
        case "end", "year":
            return start.replace(month=12, day=31)
    return None  # the middle of a year is not a day


def _nth(parts: DateParts, month: date) -> date | None:
    """Return the n-th weekday of a month."""
    weekday, nth = parts.weekday or 0, parts.nth or 0
    first = month + ((weekday - month.weekday()) % 7) * _DAY
    days = [day for week in range(5) if (day := first + 7 * week * _DAY).month == month.month]
    if nth < 0:
        return days[-1]
    return days[nth - 1] if nth <= len(days) else None


def _shifted(day: date, shift: tuple[int, Unit]) -> date | None:
    count, unit = shift
    match unit:
        case "day":
            return day + count * _DAY
        case "week":
            return day + 7 * count * _DAY
        case "month":
            return _add_months(day, count)
        case "quarter":
            return _add_months(day, 3 * count)
        case "year":
            return _add_months(day, 12 * count)
    return None  # hours and minutes are not days


def _add_months(day: date, count: int) -> date:
    year, month = divmod(12 * day.year + day.month - 1 + count, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def _safe(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:  # no such day
        return None


def _fitting_all(parts: DateParts, days: Iterable[date | None]) -> list[date]:
    return [day for day in days if day and parts.weekday in (None, day.weekday())]


def _fitting(parts: DateParts, days: Iterable[date | None]) -> date | None:
    return next(iter(_fitting_all(parts, days)), None)


def _nearest(parts: DateParts, days: Iterable[date | None], anchor: date) -> date | None:
    valid = [day for day in days if day and not (parts.is_due and anchor - day > _LATE)]
    return min(valid, key=lambda day: (abs(day - anchor), anchor - day), default=None)


def _table(rules: Mapping[Rule, Sequence[str]]) -> Mapping[frozenset[str], Rule]:
    return {frozenset(names.split()): rule for rule, sets in rules.items() for names in sets}


# The set of parts determines the rule; a set that is not listed is meaningless.
_WITHOUT_ANCHOR: Final = _table(
    {
        _date: ("year month day", "year month day weekday"),
        _part_of_year: (
            *("year month", "year month edge", "year month weekday nth"),
            *("year quarter", "year quarter edge", "year edge"),
        ),
        _week_of_year: ("year week", "year week weekday", "year week edge"),
    }
)
_WITH_ANCHOR: Final = _table(
    {
        _day_of_month: ("month day", "month day weekday"),
        _date_of_span: ("month day span", "month day span weekday", "day span", "day span weekday"),
        _part_of_span: (
            *("month span", "month span edge", "month span weekday nth"),
            *("quarter span", "quarter span edge"),
        ),
        _figures: ("figures", "figures weekday"),
        _day: ("day", "day weekday"),
        _nearest_part: ("month", "month edge", "month weekday nth", "quarter", "quarter edge"),
        _week: ("week", "week weekday", "week edge"),
        _days: (
            *("days", "days shift", "days weekday", "days month day", "days month day weekday"),
            *("days year month day", "days year month day weekday"),
        ),
        _weekday: ("weekday", "weekday pick", "weekday shift"),
        _weekday_of_span: ("weekday span", "weekday span nth"),
        _span: ("span", "span edge"),
        _shift: ("shift",),
        _today: ("",),
    }
)
