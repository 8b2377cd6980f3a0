"""Debian's cron as a model: a daemon that wakes up every minute and looks at the clock on the wall.

Written from the daemon's rule and sharing nothing with ``hub.schedules``. Slow, and meant to
be read beside the rule:

- the daemon has a *virtual* clock, the minute up to which everything has been run;
- the wall clock is one minute ahead: all jobs of that minute are run;
- it is further ahead, clocks having been put forward: wildcard jobs of the new minute are run,
  and fixed-time jobs of every minute that was skipped, all of them now;
- it is behind by less than three hours, clocks having been put back: only wildcard jobs are run,
  and the virtual clock waits;
- it is behind by more: the virtual clock is put back too.

A job is a wildcard job if its minute or its hour field begins with ``*``. Two things are decided
otherwise for the hub: what is run several times in one minute counts as one fire, and minutes
skipped are made up for even if they are more than three hours. And one thing is left out: fewer
than five skipped minutes are taken by the daemon for having overslept; no zone skips so few.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

_MONTHS = ["", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_THREE_HOURS = 180


class Job:
    """What stands in the table: an expression, asked about one moment at a time."""

    def __init__(self, expression: str) -> None:
        minute, hour, self._day, month, weekday = _MACROS.get(expression.strip(), expression).split()
        self.is_wildcard = minute.startswith("*") or hour.startswith("*")
        hours = [h for h in range(24) if _lists(hour, h, 0, 23)]
        minutes = [m for m in range(60) if _lists(minute, m, 0, 59)]
        self._times = {60 * h + m for h in hours for m in minutes}
        self._months = {m for m in range(1, 13) if _lists(_numbered(month, _MONTHS), m, 1, 12)}
        self._needs_both = any(field.startswith(("*", "+")) for field in (self._day, weekday))
        self._weekday = _numbered(weekday.removeprefix("+"), _WEEKDAYS)
        self._fits: dict[int, bool] = {}

    def matches(self, shown: int) -> bool:
        """Return True if the schedule is due when the wall clock shows *shown*, in minutes since 1970."""
        day, minute = divmod(shown, 24 * 60)
        if minute not in self._times:
            return False
        if day not in self._fits:
            self._fits[day] = self.fits_day(date(1970, 1, 1) + timedelta(days=day))
        return self._fits[day]

    def fits_day(self, day: date) -> bool:
        """Return True if the schedule is due at some time of that day."""
        by_day = any(_day_is(item, day) for item in self._day.split(","))
        by_weekday = any(_weekday_is(item, day) for item in self._weekday.split(","))
        fits = (by_day and by_weekday) if self._needs_both else (by_day or by_weekday)
        return day.month in self._months and fits


def fires(job: Job, shown: Sequence[int]) -> list[int]:
    """The minutes in which the daemon runs *job*, as positions in *shown*.

    *shown* is what the wall clock shows in each minute that passes; the daemon has been up since before
    the first, and has run that.
    """
    virtual = shown[0]
    ran = []
    for minute in range(1, len(shown)):
        wall = shown[minute]
        ahead = wall - virtual
        if ahead == 1:
            virtual = wall
            runs = job.matches(wall)
        elif ahead > 1:
            due_now = [wall] if job.is_wildcard else range(virtual + 1, wall + 1)
            runs = any(job.matches(due) for due in due_now)
            virtual = wall
        elif ahead > -_THREE_HOURS:
            runs = job.is_wildcard and job.matches(wall)
        else:
            virtual = wall
            runs = job.matches(wall)
        if runs:
            ran.append(minute)
    return ran


def wall_clock(zone: ZoneInfo, start: int, minutes: int) -> list[int]:
    """What clocks on the wall show in each of so many minutes from *start* on (minutes since the epoch)."""
    shown = []
    for minute in range(start, start + minutes):
        offset = datetime.fromtimestamp(minute * 60, zone).utcoffset()
        assert offset is not None
        shown.append(minute + offset // timedelta(minutes=1))
    return shown


def _numbered(field: str, names: list[str]) -> str:
    """The field with numbers for names."""
    field = field.lower()
    for number, name in enumerate(names):
        if name:
            field = field.replace(name, str(number))
    return field


def _lists(field: str, value: int, low: int, high: int) -> bool:
    """Return True if a list of ``*``, ``a``, ``a-b``, each perhaps with ``/n``, contains *value*."""
    for item in field.split(","):
        span, _, step = item.partition("/")
        first, _, last = (f"{low}-{high}" if span == "*" else span).partition("-")
        if int(first) <= value <= int(last or first) and (value - int(first)) % int(step or 1) == 0:
            return True
    return False


def _day_is(item: str, day: date) -> bool:
    end_of_month = (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    if item == "L":
        return day == end_of_month
    if item.endswith("W"):
        target = day.replace(day=min(int(item[:-1]), end_of_month.day))
        near = [target + timedelta(days=away) for away in (0, -1, 1, -2, 2)]
        return day == next(d for d in near if d.month == day.month and d.isoweekday() <= 5)
    return _lists(item, day.day, 1, 31)


def _weekday_is(item: str, day: date) -> bool:
    weekday = day.isoweekday() % 7
    if item.endswith("l"):  # lower case since names have become numbers
        a_week_on = day + timedelta(days=7)
        return weekday == int(item[0]) % 7 and a_week_on.month != day.month
    if "#" in item:
        number, _, nth = item.partition("#")
        return weekday == int(number) % 7 and (day.day + 6) // 7 == int(nth)
    names_sunday = weekday == 0 and item != "*" and not item.startswith("*/") and _lists(item, 7, 0, 7)
    return names_sunday or _lists(item, weekday, 0, 6)
