"""Times of a schedule: cron in a time zone (also at clock changes), interval of at least 5 s, instant.

A trigger computes fires: nominal instants in UTC epoch milliseconds. It has no state. A zone is read as
stretches of constant offset, in whole minutes since the epoch, UTC. Since 1973, no zone has changed its
offset by a fraction of a minute; before, the seconds of an offset are dropped.
"""

import hashlib
import math
import zoneinfo
from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Final, NamedTuple, Protocol
from zoneinfo import ZoneInfo

import msgspec

from hub.schedules.cron import DAY, BadSchedule, Cron, parse_cron

MINUTE_MS: Final = 60_000
SHORTEST_INTERVAL_MS: Final = 5_000  # half of it is the shortest delay that can be recognized as late

# As in Debian's cron: a larger setback is not a change of season, and the day starts over.
_MAX_REPEATED: Final = 180  # minutes
_MAX_TRIGGERS: Final = 16_384  # more than the 10,000 schedules that must be supported
# In the year 9889, so that a search over 40 years stays within datetime's range.
_LAST_MS: Final = 249_900_000_000_000

_PAGE: Final = 400 * DAY  # computed together: 0.3 ms
_MAX_PAGES: Final = 4_096  # enough for all zones over a few years
_ONE_MINUTE: Final = timedelta(minutes=1)

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - a reading has no zone


class Trigger(Protocol):
    """Schedule of fires. Pure: the same arguments give the same result in every process."""

    def next_after(self, after_ms: int) -> int | None:
        """Return the first fire strictly after *after_ms*, or None if the trigger has ended."""
        ...

    def period_ms(self) -> int:
        """Return the minimum time between two fires, ignoring clock changes. Jitter stays below its half."""
        ...


@dataclass(frozen=True)
class CronTrigger:
    """A cron expression in a time zone, by the rules of Debian's cron.

    When clocks go forward, a job with fixed times in the gap fires once, at the first instant after the gap.
    When clocks go back, it fires the first time only. A job that follows the wall clock (see ``Cron``) skips
    a gap and repeats repeated readings.

    Debian's cron drops skipped times in gaps over three hours. Here they are made up for after any gap, so
    that a daily job fires even if a zone skips a whole day.
    """

    cron: Cron
    zone: ZoneInfo

    def next_after(self, after_ms: int) -> int | None:
        if after_ms >= _LAST_MS:
            return None
        find = self._next_on_the_wall if self.cron.follows_wall else self._next_fixed
        fire = find(after_ms // MINUTE_MS)
        return None if fire is None else fire * MINUTE_MS

    def period_ms(self) -> int:
        return self.cron.calendar.smallest_gap * MINUTE_MS

    def _next_fixed(self, minute: int) -> int | None:
        """Return the next fire of fixed times: readings of a clock that is never set back."""
        calendar = self.cron.calendar
        stretch = stretch_at(self.zone, minute)
        reading = minute + stretch.offset
        if -_MAX_REPEATED <= stretch.jump < 0:
            last_shown = stretch.starts_at - 1 + stretch.offset - stretch.jump
            reading = max(reading, last_shown)
        found = calendar.next_after(reading)
        while found is not None:
            if found - stretch.offset < stretch.ends_at:
                # Skipped readings fire when the clocks go forward.
                return max(found - stretch.offset, stretch.starts_at)
            border = stretch.ends_at
            stretch = stretch_at(self.zone, border)
            if stretch.jump < -_MAX_REPEATED:
                found = calendar.next_after(border + stretch.offset - 1)
        return None

    def _next_on_the_wall(self, minute: int) -> int | None:
        """Return the next fire by the wall clock, with each stretch read from its first minute on."""
        calendar = self.cron.calendar
        stretch = stretch_at(self.zone, minute)
        found = calendar.next_after(minute + stretch.offset)
        while found is not None:
            if found - stretch.offset < stretch.ends_at:
                return found - stretch.offset
            border = stretch.ends_at
            stretch = stretch_at(self.zone, border)
            found = calendar.next_after(border + stretch.offset - 1)
        return None


@dataclass(frozen=True)
class EveryTrigger:
    """Fires at *anchor_ms* and every *every_ms* after it, independent of time zones.

    Raises:
        BadSchedule: the interval is shorter than five seconds.
    """

    every_ms: int
    anchor_ms: int

    def __post_init__(self) -> None:
        if self.every_ms < SHORTEST_INTERVAL_MS:
            raise BadSchedule(
                "interval_too_short",
                f"every {self.every_ms} ms is too often",
                f"at least {SHORTEST_INTERVAL_MS // 1_000} seconds apart",
            )

    def next_after(self, after_ms: int) -> int | None:
        if after_ms < self.anchor_ms:
            return self.anchor_ms
        return after_ms + self.every_ms - (after_ms - self.anchor_ms) % self.every_ms

    def period_ms(self) -> int:
        return self.every_ms


@dataclass(frozen=True)
class AtTrigger:
    """A trigger that fires once."""

    at_ms: int

    def next_after(self, after_ms: int) -> int | None:
        return self.at_ms if after_ms < self.at_ms else None

    def period_ms(self) -> int:
        return DAY * MINUTE_MS  # a single fire has no period; this bounds jitter to half a day


def trigger_of(
    *, kind: str, expr: str | None, every_ms: int | None, at_ms: int | None, tz: str, anchor_ms: int
) -> Trigger:
    """Return the trigger of a schedule's row; *kind* selects the field that must be set.

    Raises:
        BadSchedule: the kind, expression, interval or zone is invalid.
    """
    match kind, expr, every_ms, at_ms:
        case "cron", str(text), None, None:
            return _cron_trigger(text, tz)
        case "every", None, int(interval_ms), None:
            return EveryTrigger(interval_ms, anchor_ms)
        case "at", None, None, int(instant_ms):
            return AtTrigger(instant_ms)
    raise BadSchedule(
        "bad_trigger", f"'{kind}' without its own field", "cron has expr, every every_ms, at at_ms"
    )


def offset_ms(schedule_id: str, jitter_ms: int) -> int:
    """Return the delay of a schedule's fires: 0..*jitter_ms*, the same in every process."""
    digest = hashlib.blake2b(schedule_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % (jitter_ms + 1)


@lru_cache(maxsize=_MAX_TRIGGERS)
def _cron_trigger(expr: str, tz: str) -> CronTrigger:
    try:
        zone = ZoneInfo(tz)
    except (LookupError, ValueError, OSError, RecursionError) as error:  # the last one for many slashes
        raise BadSchedule("unknown_timezone", f"no time zone '{tz}'", 'as in "Europe/Berlin"') from error
    return CronTrigger(parse_cron(expr), zone)


class Stretch(NamedTuple):
    """A period without a clock change in a zone.

    Attributes:
        starts_at: its first minute.
        ends_at: the first minute after it.
        offset: local time minus UTC, in minutes.
        jump: minutes by which the clocks went forward at *starts_at*; negative if they went back; 0 if a page
            begins without a change.
    """

    starts_at: int
    ends_at: int
    offset: int
    jump: int


def stretch_at(zone: ZoneInfo, minute: int) -> Stretch:
    """Return the stretch that contains *minute*.

    It may be shortened at a page's end, but always shows a change less than a day before *minute*.
    """
    stretches = _page(zone, minute // _PAGE)
    return next(stretch for stretch in stretches if minute < stretch.ends_at)


@cache
def tzdata_digest() -> str:
    """Return a digest of the installed zone files. If it changes, stored instants must be recomputed.

    Reads some 600 small files, once per process.
    """
    digest = hashlib.blake2b(digest_size=16)
    for key in sorted(zoneinfo.available_timezones()):
        digest.update(key.encode() + b"\0" + _zone_file(key))
    return digest.hexdigest()


@lru_cache(maxsize=_MAX_PAGES)
def _page(zone: ZoneInfo, number: int) -> tuple[Stretch, ...]:
    """Return the stretches of a page and of the day before it."""
    starts_at, end = number * _PAGE - DAY, (number + 1) * _PAGE
    offset, jump = _offset(zone, starts_at), 0
    stretches = []
    # One probe per day is enough: since 1970, no zone has changed its clocks twice within six days.
    for probe in (*range(starts_at + DAY, end, DAY), end - 1):
        if (new := _offset(zone, probe)) != offset:
            change = _first_minute_of(zone, new, probe - DAY, probe)
            stretches.append(Stretch(starts_at, change, offset, jump))
            starts_at, jump, offset = change, new - offset, new
    return (*stretches, Stretch(starts_at, end, offset, jump))


def _first_minute_of(zone: ZoneInfo, offset: int, low: int, high: int) -> int:
    """Return the first minute in (low, high] with the given offset."""
    return low + bisect_left(range(low, high), True, key=lambda minute: _offset(zone, minute) == offset)


def _offset(zone: ZoneInfo, minute: int) -> int:
    offset = datetime.fromtimestamp(minute * 60, zone).utcoffset() or timedelta(0)
    return offset // _ONE_MINUTE


def _zone_file(key: str) -> bytes:
    """Return the zone file that ``ZoneInfo(key)`` reads, of the system or else of package tzdata."""
    for folder in zoneinfo.TZPATH:
        path = Path(folder, key)
        if path.is_file():
            return path.read_bytes()
    return resources.files("tzdata").joinpath("zoneinfo", *key.split("/")).read_bytes()


class Upcoming(msgspec.Struct, frozen=True):
    """Future fire of a schedule: *at* in UTC, *local* in the schedule's zone.

    *shift* is a sentence where the clocks change that night: ``02:30 does not exist that night; ...``.
    """

    at: Annotated[datetime, msgspec.Meta(tz=True)]
    local: Annotated[datetime, msgspec.Meta(tz=True)]
    shift: str | None = None


def upcoming(
    trigger: Trigger, after_ms: int, *, tz: str, count: int = 5, until_ms: float = math.inf
) -> list[Upcoming]:
    """Return the next *count* fires after *after_ms*; fewer if the trigger, or the time, ends before.

    Raises:
        ZoneInfoNotFoundError: the zone *tz* is unknown.
    """
    zone = ZoneInfo(tz)
    found: list[Upcoming] = []
    while len(found) < count and (fire_ms := trigger.next_after(after_ms)) is not None:
        if fire_ms >= until_ms:
            break
        at = datetime.fromtimestamp(fire_ms / 1_000, UTC)
        shift = _shift(trigger, after_ms, fire_ms) if isinstance(trigger, CronTrigger) else None
        found.append(Upcoming(at, at.astimezone(zone), shift))
        after_ms = fire_ms
    return found


def _shift(trigger: CronTrigger, before_ms: int, fire_ms: int) -> str | None:
    """Return the effect of a clock change on a fire, or None.

    Args:
        before_ms: the previous fire, or the start of the forecast.
    """
    fire = fire_ms // MINUTE_MS
    stretch = stretch_at(trigger.zone, fire)
    reading = fire + stretch.offset
    if trigger.cron.follows_wall:
        if left_out := _left_out(trigger, before_ms // MINUTE_MS, fire):
            return f"{_absent(left_out, reading)}; left out"
    elif stretch.starts_at == fire and (skipped := _skipped(trigger, stretch)):
        times = "fires" if len(skipped) == 1 else "fires once,"
        return f"{_absent(skipped, reading)}; {times} at {_clock(reading)}"
    if stretch.jump < 0 and reading < stretch.starts_at + stretch.offset - stretch.jump:
        return f"clock goes back; second {_clock(reading)}"
    following = stretch_at(trigger.zone, stretch.ends_at)
    if following.starts_at == stretch.ends_at and reading >= following.starts_at + following.offset:
        return f"clock goes back; first {_clock(reading)}"
    return None


def _left_out(trigger: CronTrigger, before: int, fire: int) -> list[int]:
    """Return the readings skipped in the last gap after *before* and up to *fire*."""
    left_out: list[int] = []
    stretch = stretch_at(trigger.zone, before)
    while stretch.ends_at <= fire:
        stretch = stretch_at(trigger.zone, stretch.ends_at)
        left_out = _skipped(trigger, stretch) or left_out
    return left_out


def _skipped(trigger: CronTrigger, stretch: Stretch) -> list[int]:
    """Return the expression's readings that were skipped when *stretch* began."""
    skipped = []
    end = stretch.starts_at + stretch.offset
    reading = trigger.cron.calendar.next_after(end - stretch.jump - 1)
    while reading is not None and reading < end:
        skipped.append(reading)
        reading = trigger.cron.calendar.next_after(reading)
    return skipped


def _absent(skipped: list[int], reading: int) -> str:
    """Return ``02:30 does not exist that night``, with the date if *reading* is on another day."""
    first, last = skipped[0], skipped[-1]
    moment = _moment(first)
    if moment.date() != _moment(reading).date():
        when = f"on {moment.date()}"
    else:
        when = "that night" if moment.hour < 6 or moment.hour >= 20 else "that day"
    if first == last:
        return f"{_clock(first)} does not exist {when}"
    return f"{_clock(first)} to {_clock(last)} do not exist {when}"


def _clock(reading: int) -> str:
    return f"{_moment(reading):%H:%M}"


def _moment(reading: int) -> datetime:
    return _EPOCH + timedelta(minutes=reading)
