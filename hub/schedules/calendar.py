"""The minutes named by a cron expression, as readings of a wall clock.

A *reading* is a wall-clock time in whole minutes since 1970-01-01 00:00. It has no time zone:
``hub.schedules.trigger`` decides whether and when a reading occurs.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import pairwise
from typing import Final

DAY: Final = 24 * 60  # minutes

_EPOCH: Final = date(1970, 1, 1).toordinal()
_THURSDAY: Final = 4  # weekday of 1970-01-01, counted from Sunday
_SEARCH_MONTHS: Final = 40 * 12 + 1  # 29 February falls on a given weekday at least every 40 years
_LENGTHS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_SATURDAY: Final = 6


@dataclass(frozen=True)
class DayRule:
    """Rule that selects days of a month. Weekdays count from Sunday, 0.

    Attributes:
        days: days of the month, from 1.
        has_last_day: True to include the month's last day (``L``).
        nearest: selects the weekday nearest to this day, or to the last day of a shorter month (``15W``);
            never in another month.
        weekdays: plain weekdays.
        nth: (weekday, k): the month's k-th of that weekday (``1#2``).
        last: weekdays of which the month's last is selected (``5L``).
        both: True if both date and weekday must match; False if either suffices.
    """

    days: frozenset[int] = frozenset()
    has_last_day: bool = False
    nearest: int | None = None
    weekdays: frozenset[int] = frozenset()
    nth: frozenset[tuple[int, int]] = frozenset()
    last: frozenset[int] = frozenset()
    both: bool = True

    def in_month(self, first_weekday: int, length: int) -> tuple[int, ...]:
        """Return the matching days, ascending, of a month with this first weekday and length."""
        nearest = None if self.nearest is None else _nearest_workday(self.nearest, first_weekday, length)
        fitting = []
        for day in range(1, length + 1):
            weekday = (first_weekday + day - 1) % 7
            by_date = day in self.days or day == nearest or (self.has_last_day and day == length)
            by_weekday = (
                weekday in self.weekdays
                or (weekday, (day - 1) // 7 + 1) in self.nth
                or (weekday in self.last and day > length - 7)
            )
            if (by_date and by_weekday) if self.both else (by_date or by_weekday):
                fitting.append(day)
        return tuple(fitting)


class Calendar:
    """Readings with the given minutes, hours, months and days."""

    def __init__(
        self, minutes: Iterable[int], hours: Iterable[int], months: Iterable[int], days: DayRule
    ) -> None:
        self._minutes = tuple(sorted(minutes))
        self._hours = tuple(sorted(hours))
        self._months = frozenset(months)
        self._days = days
        self._shapes: dict[
            tuple[int, int], tuple[int, ...]
        ] = {}  # at most 28 shapes: first weekday and length of a month

    def next_after(self, reading: int) -> int | None:
        """Return the first matching reading after *reading*, or None within 40 years."""
        day_number, minute_of_day = divmod(reading, DAY)
        today = date.fromordinal(_EPOCH + day_number)
        first_of_month = day_number - today.day + 1
        days = self._days_of(today.year, today.month, first_of_month)
        index = bisect_left(days, today.day)
        if index < len(days) and days[index] == today.day:
            later = self._later_that_day(*divmod(minute_of_day, 60))
            if later is not None:
                return day_number * DAY + later
            index += 1
        if index < len(days):
            return (first_of_month + days[index] - 1) * DAY + self._first_of_day
        return self._in_a_later_month(today.year, today.month, first_of_month)

    @cached_property
    def smallest_gap(self) -> int:
        """Minutes between the two closest readings, over 40 years."""
        times = [hour * 60 + minute for hour in self._hours for minute in self._minutes]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        gaps.append(self._smallest_day_gap() * DAY - (times[-1] - times[0]))
        return min(gaps)

    @property
    def _first_of_day(self) -> int:
        return self._hours[0] * 60 + self._minutes[0]

    def _later_that_day(self, hour: int, minute: int) -> int | None:
        """Return the first matching minute of the day after hour:minute, or None."""
        index = bisect_left(self._hours, hour)
        if index == len(self._hours):
            return None
        if self._hours[index] == hour:
            later = bisect_right(self._minutes, minute)
            if later < len(self._minutes):
                return hour * 60 + self._minutes[later]
            index += 1
            if index == len(self._hours):
                return None
        return self._hours[index] * 60 + self._minutes[0]

    def _in_a_later_month(self, year: int, month: int, first_of_month: int) -> int | None:
        for _ in range(_SEARCH_MONTHS):
            first_of_month += _length(year, month)
            year, month = (year + 1, 1) if month == 12 else (year, month + 1)
            days = self._days_of(year, month, first_of_month)
            if days:
                return (first_of_month + days[0] - 1) * DAY + self._first_of_day
        return None

    def _days_of(self, year: int, month: int, first_of_month: int) -> tuple[int, ...]:
        if month not in self._months:
            return ()
        shape = (first_of_month + _THURSDAY) % 7, _length(year, month)
        days = self._shapes.get(shape)
        if days is None:
            days = self._shapes[shape] = self._days.in_month(*shape)
        return days

    def _smallest_day_gap(self) -> int:
        smallest = 40 * 365
        year, month, first_of_month = 2026, 1, date(2026, 1, 1).toordinal() - _EPOCH
        before = None
        for _ in range(_SEARCH_MONTHS):
            for day in self._days_of(year, month, first_of_month):
                if before is not None:
                    smallest = min(smallest, first_of_month + day - before)
                before = first_of_month + day
            if smallest == 1:
                break
            first_of_month += _length(year, month)
            year, month = (year + 1, 1) if month == 12 else (year, month + 1)
        return smallest


def _length(year: int, month: int) -> int:
    """Return the number of days in a month."""
    if month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0):
        return 29
    return _LENGTHS[month - 1]


def _nearest_workday(day: int, first_weekday: int, length: int) -> int:
    """Return the day from Monday to Friday nearest to *day* in the same month."""
    day = min(day, length)
    weekday = (first_weekday + day - 1) % 7
    if weekday == _SATURDAY:
        return day - 1 if day > 1 else day + 2
    if weekday == 0:
        return day + 1 if day < length else day - 2
    return day
