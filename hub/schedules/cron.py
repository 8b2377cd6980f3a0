"""Cron expressions: accepted syntax, refused ambiguities, and matching minutes.

Five fields or an ``@name``, by the rules of Debian's cron. An accepted expression is expanded once into a
``CronCalendar``. ``hub.schedules.trigger`` decides when its readings occur in a time zone.

The minutes named by a cron expression, as readings of a wall clock.

A *reading* is a wall-clock time in whole minutes since 1970-01-01 00:00. It has no time zone:
``hub.schedules.trigger`` decides whether and when a reading occurs.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from itertools import pairwise
from typing import Final, NamedTuple

from protocol.errors import ErrorCode, HubError

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


class CronCalendar:
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


MAX_LENGTH: Final = 256  # generous for people; a field of 40 kB is an attack
YEARS_AHEAD: Final = 8  # maximum distance of 29 February, across 2100

# A fixed date, so that the same expression is always accepted or always refused.
_FROM: Final = (date(2026, 1, 1) - date(1970, 1, 1)).days * DAY

_NAMED: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_ITEM: Final = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>\d+))?", re.ASCII)
_NEAREST_WEEKDAY: Final = re.compile(r"(\d+)W", re.ASCII)
_NTH_WEEKDAY: Final = re.compile(r"(\w+)#([1-5])", re.ASCII)
_LAST_WEEKDAY: Final = re.compile(r"(\w+?)#?L", re.ASCII)
_LAST_WEEKDAY_REVERSED: Final = re.compile(r"L(\w+)", re.ASCII)
_EVERY: Final = re.compile(r"@every\s+(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,6})s)?", re.ASCII)


class BadSchedule(HubError):
    """The expression is refused. *reason* is a stable word, *hint* a suggestion."""

    code = ErrorCode.BAD_SCHEDULE

    def __init__(self, reason: str, message: str, hint: str = "") -> None:
        super().__init__(f"{message} - {hint}" if hint else message)
        self.reason = reason
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Cron:
    """A validated expression.

    Attributes:
        text: five fields in croniter's notation. Do not store it, because it lacks ``+``.
        day_or: True if a match of either day field suffices (cron's rule); False if both must match (``+``).
        warning: a hint about surprising behaviour.
        follows_wall: True to fire at every occurrence of a reading: twice for a repeated hour, and not in a
            skipped hour. False for fixed times, which are made up for and not repeated. As in Debian's cron,
            a minute or hour field that begins with ``*`` follows the wall clock.
        calendar: the matching readings.
    """

    text: str
    day_or: bool
    warning: str | None
    follows_wall: bool
    calendar: CronCalendar = field(repr=False, compare=False)


class _CronPart(NamedTuple):
    """Item of a field."""

    spelled: str
    values: frozenset[int] = frozenset()
    nearest: int | None = None
    nth: tuple[int, int] | None = None
    last_weekday: int | None = None


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()  # of the values from *low* on
    examples: str = "*, 5, 5-7 or */2"

    @property
    def all(self) -> range:
        """Values of ``*``."""
        return range(self.low, self.low + len(self.names)) if self.names else range(self.low, self.high + 1)

    def number(self, word: str) -> int:
        if word.isdigit() and self.low <= int(word) <= self.high:
            return int(word)
        if word.lower() in self.names:
            return self.low + self.names.index(word.lower())
        if word in ("H", "R"):
            raise BadSchedule(
                "use_jitter",
                f"{self.name}: '{word}' is not a value",
                f"write {self.low + 17 % len(self.all)}, say; the schedule's jitter spreads starts apart",
            )
        raise self.refusal(f"'{word}' is not a value", f"allowed is {self._allowed()}")

    def unreadable(self, item: str) -> BadSchedule:
        return self.refusal(f"'{item}' cannot be read", f"write {self.examples}, say")

    def refusal(self, message: str, hint: str, reason: str = "bad_field") -> BadSchedule:
        return BadSchedule(reason, f"{self.name}: {message}", hint)

    def _allowed(self) -> str:
        return f"{self.low}-{self.high}" + (f" or {self.names[0]}-{self.names[-1]}" if self.names else "")


_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MINUTE: Final = _Field("minute", 0, 59)
_HOUR: Final = _Field("hour", 0, 23)
_DAY: Final = _Field(
    "day of month", 1, 31, examples="*, 5, 5-7, */2, L (the last) or 15W (the weekday nearest to it)"
)
_MONTH: Final = _Field("month", 1, 12, _MONTHS)
_WEEKDAY: Final = _Field(  # 7 is Sunday too
    "weekday", 0, 7, _WEEKDAYS, "*, 5, 1-5, 5#1 to 5#5 (the month's first to fifth) or 5L (its last)"
)
_FIELDS: Final = (_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY)


def parse_cron(text: str) -> Cron:
    """Parse and check a cron expression.

    Raises:
        BadSchedule: it is malformed, is interpreted differently by other cron parsers, or never fires.
    """
    if len(text) > MAX_LENGTH:
        raise BadSchedule(
            "too_long", f"longer than {MAX_LENGTH} characters", "write ranges and steps, as in 0-30/2"
        )
    fields = _split(text.strip(" \t"))
    day_or = not fields[4].startswith("+")
    fields[4] = fields[4].removeprefix("+")
    minutes, hours, days, months, weekdays = (
        [_part(field, item) for item in written.split(",")]
        for field, written in zip(_FIELDS, fields, strict=True)
    )
    _must_stand_alone(days, weekdays)
    warning = _judge_days(fields[2], fields[4]) if day_or else None
    # In Debian's cron, a field that begins with * counts as unrestricted, and then both must match.
    both = not day_or or fields[2].startswith("*") or fields[4].startswith("*")
    cron = Cron(
        " ".join(
            ",".join(part.spelled for part in parts) for parts in (minutes, hours, days, months, weekdays)
        ),
        day_or,
        warning,
        fields[0].startswith("*") or fields[1].startswith("*"),
        CronCalendar(_values(minutes), _values(hours), _values(months), _day_rule(days, weekdays, both=both)),
    )
    _must_fire(cron.calendar)
    return cron


def _split(text: str) -> list[str]:
    if text.startswith("@every"):
        raise BadSchedule(
            "use_interval_trigger",
            "'@every' is not a time of day",
            f"write schedule = {{ every_s = {_every_seconds(text)} }}",
        )
    if text.startswith("@"):
        if text not in _NAMED:
            known = ", ".join(_NAMED)
            raise BadSchedule("unsupported_macro", f"'{text.split()[0]}' is not known", f"known are {known}")
        text = _NAMED[text]
    if re.match(r"(CRON_)?TZ=", text):
        raise BadSchedule("use_timezone_setting", "a time zone does not stand here", "set timezone instead")
    fields = re.split(r"[ \t]+", text)
    if len(fields) != len(_FIELDS) or not text:
        count = len(fields) if text else 0
        seconds = "; there are no seconds, for those write schedule = { every_s = 10 }, say"
        raise BadSchedule(
            "field_count",
            f"{count} fields instead of five",
            "write minute hour day-of-month month weekday, as in 0 7 * * 1-5"
            + (seconds if count > 5 else ""),
        )
    return fields


def _every_seconds(text: str) -> int:
    """Return the seconds of ``@every 1h30m``, or five minutes if it is malformed."""
    found = _EVERY.fullmatch(text)
    hours, minutes, seconds = (int(number or 0) for number in found.groups()) if found else (0, 0, 0)
    return hours * 3_600 + minutes * 60 + seconds or 300


def _part(field: _Field, item: str) -> _CronPart:
    if field is _DAY and item == "L":
        return _CronPart("L")
    if field is _DAY and (found := _NEAREST_WEEKDAY.fullmatch(item)):
        day = field.number(found[1])
        return _CronPart(f"{day}W", nearest=day)
    if field is _WEEKDAY and (found := _NTH_WEEKDAY.fullmatch(item)):
        weekday, nth = field.number(found[1]) % 7, int(found[2])
        return _CronPart(f"{weekday}#{nth}", nth=(weekday, nth))
    if field is _WEEKDAY and (found := _LAST_WEEKDAY_REVERSED.fullmatch(item)):
        raise field.refusal(f"'{item}' is read differently elsewhere", f"write {found[1]}L")
    if field is _WEEKDAY and (found := _LAST_WEEKDAY.fullmatch(item)):
        weekday = field.number(found[1]) % 7
        return _CronPart(f"L{weekday}", last_weekday=weekday)
    found = _ITEM.fullmatch(item)
    if found is None:
        raise field.unreadable(item)
    values = _range(field, item, found["first"], found["last"], found["step"])
    step = int(found["step"] or 1)
    if step == 0:
        raise field.refusal(f"'{item}' has a step of 0", "a step is at least 1")
    if step > len(values):
        raise field.refusal(
            f"'{item}' steps over its whole range", f"a step is at most {len(values)} here", "step_too_large"
        )
    stepped = values[::step]
    return _CronPart(
        item, frozenset(value % 7 for value in stepped) if field is _WEEKDAY else frozenset(stepped)
    )


def _range(field: _Field, item: str, first: str, last: str | None, step: str | None) -> range:
    """Return the values from *first* to *last*, before stepping."""
    if first == "*":
        if last is not None:
            raise field.unreadable(item)
        return field.all
    low = field.number(first)
    if last is None:
        if step is not None:
            instead = f"{first}-{field.all[-1]}/{step}" if low < field.all[-1] else first
            raise field.refusal(
                f"'{item}' is read differently elsewhere", f"write {instead}", "bare_start_step"
            )
        return range(low, low + 1)
    high = field.number(last)
    if low == high:
        raise field.refusal(f"'{item}' is one value", f"write {first}", "equal_range")
    if low > high:
        until_end = f"{first}-{field.all[-1]}" if low < field.all[-1] else first
        from_start = f"{field.low}-{last}" if high > field.low else last
        raise field.refusal(
            f"'{item}' runs backwards", f"write two parts, as in {until_end},{from_start}", "wrapping_range"
        )
    return range(low, high + 1)


def _must_stand_alone(days: list[_CronPart], weekdays: list[_CronPart]) -> None:
    """Refuse combinations of day fields that cron parsers interpret differently."""
    if len(days) > 1 and any(part.nearest for part in days):
        raise _DAY.refusal("'W' in a list is read differently elsewhere", "write one day, as in 15W")
    if len({bool(part.values) for part in weekdays}) > 1:
        raise _WEEKDAY.refusal(
            "plain weekdays beside '#' or 'L' are read differently elsewhere",
            "make two schedules of it, or write each with '#'",
        )


def _judge_days(day: str, weekday: str) -> str | None:
    """Return a warning if both day fields are restricted; cron then fires when either matches."""
    if "*" in (day, weekday):
        return None
    if any(written.startswith("*") or re.search(r"[#L]|\dW", written) for written in (day, weekday)):
        raise BadSchedule(
            "ambiguous_day_fields",
            "day of month and weekday together are read differently elsewhere",
            "leave one of them *, or put + before the weekday if both must fit",
        )
    return "day-of-month and day-of-week are OR-ed: either will do; put + before the weekday if both must fit"


def _values(parts: list[_CronPart]) -> frozenset[int]:
    return frozenset[int]().union(*(part.values for part in parts))


def _day_rule(days: list[_CronPart], weekdays: list[_CronPart], *, both: bool) -> DayRule:
    return DayRule(
        days=_values(days),
        has_last_day=any(part.spelled == "L" for part in days),
        nearest=days[0].nearest,
        weekdays=_values(weekdays),
        nth=frozenset(part.nth for part in weekdays if part.nth is not None),
        last=frozenset(part.last_weekday for part in weekdays if part.last_weekday is not None),
        both=both,
    )


def _must_fire(calendar: CronCalendar) -> None:
    first = calendar.next_after(_FROM - 1)
    if first is None or first >= _FROM + YEARS_AHEAD * 366 * DAY:
        raise BadSchedule(
            "never_fires",
            f"never fires within {YEARS_AHEAD} years",
            "choose a day that the month has; L is its last day",
        )
