"""The minutes that a cron expression names, as readings of a clock on the wall.

A *reading* is what such a clock shows, in whole minutes since 1970-01-01 00:00. It
has no zone: whether and when a reading happens is decided in ``hub.schedules.trigger``.
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
_THURSDAY: Final = 4  # 1970-01-01, counted from Sunday
_SEARCH_MONTHS: Final = 40 * 12 + 1  # 29 February falls on a given weekday again after 40 years at most
_LENGTHS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_SATURDAY: Final = 6


@dataclass(frozen=True)
class DayRule:
    """Which days of a month fit. Weekdays count from Sunday, 0.

    Attributes:
        days: days of the month, from 1.
        has_last_day: whether the month's last day is among them (``L``).
        nearest: the weekday nearest to this day, or to the last if the month is shorter (``15W``); never in
            another month.
        weekdays: plain weekdays.
        nth: (weekday, k): the month's k-th of that weekday (``1#2``).
        last: a weekday's last one in the month (``5L``).
        both: whether a day must fit by its date *and* by its weekday; otherwise either will do.
    """

    days: frozenset[int] = frozenset()
    has_last_day: bool = False
    nearest: int | None = None
    weekdays: frozenset[int] = frozenset()
    nth: frozenset[tuple[int, int]] = frozenset()
    last: frozenset[int] = frozenset()
    both: bool = True

    def in_month(self, first_weekday: int, length: int) -> tuple[int, ...]:
        """The fitting days of a month that begins on *first_weekday* and has *length* days, ascending."""
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
    """Every reading whose minute, hour, month and day are among those given."""

    def __init__(
        self, minutes: Iterable[int], hours: Iterable[int], months: Iterable[int], days: DayRule
    ) -> None:
        self._minutes = tuple(sorted(minutes))
        self._hours = tuple(sorted(hours))
        self._months = frozenset(months)
        self._days = days
        self._shapes: dict[
            tuple[int, int], tuple[int, ...]
        ] = {}  # at most 28: where it begins, how long it is

    def next_after(self, reading: int) -> int | None:
        """The first reading named after *reading*; None if there is none within 40 years."""
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
        """Minutes between the two readings that lie closest together, over 40 years at most."""
        times = [hour * 60 + minute for hour in self._hours for minute in self._minutes]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        gaps.append(self._smallest_day_gap() * DAY - (times[-1] - times[0]))
        return min(gaps)

    @property
    def _first_of_day(self) -> int:
        return self._hours[0] * 60 + self._minutes[0]

    def _later_that_day(self, hour: int, minute: int) -> int | None:
        """The first minute of the day named after hour:minute."""
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
    """Days in a month."""
    if month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0):
        return 29
    return _LENGTHS[month - 1]


def _nearest_workday(day: int, first_weekday: int, length: int) -> int:
    """Monday to Friday nearest to *day* that lies in the same month."""
    day = min(day, length)
    weekday = (first_weekday + day - 1) % 7
    if weekday == _SATURDAY:
        return day - 1 if day > 1 else day + 2
    if weekday == 0:
        return day + 1 if day < length else day - 2
    return day
