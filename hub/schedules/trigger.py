"""Triggers of schedules: a cron expression in a time zone, an interval, or a single instant.

A trigger computes fires: nominal instants in UTC epoch milliseconds. It has no state.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from hub.schedules.calendar import DAY
from hub.schedules.cron import BadSchedule, Cron, parse_cron
from hub.schedules.zone import stretch_at, tzdata_digest

__all__ = [
    "AtTrigger",
    "CronTrigger",
    "EveryTrigger",
    "Trigger",
    "offset_ms",
    "trigger_of",
    "tzdata_digest",
]

MINUTE_MS: Final = 60_000
SHORTEST_INTERVAL_MS: Final = 5_000  # half of it is the shortest delay that can be recognized as late

# As in Debian's cron: a larger setback is not a change of season, and the day starts over.
_MOST_REPEATED: Final = 180  # minutes
_TRIGGERS_KEPT: Final = 16_384  # more than the 10,000 schedules that must be supported
# In the year 9889, so that a search over 40 years stays within datetime's range.
_LAST_MS: Final = 249_900_000_000_000


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
        if -_MOST_REPEATED <= stretch.jump < 0:
            last_shown = stretch.starts_at - 1 + stretch.offset - stretch.jump
            reading = max(reading, last_shown)
        found = calendar.next_after(reading)
        while found is not None:
            if found - stretch.offset < stretch.ends_at:
                # Skipped readings fire when the clocks go forward.
                return max(found - stretch.offset, stretch.starts_at)
            border = stretch.ends_at
            stretch = stretch_at(self.zone, border)
            if stretch.jump < -_MOST_REPEATED:
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


@lru_cache(maxsize=_TRIGGERS_KEPT)
def _cron_trigger(expr: str, tz: str) -> CronTrigger:
    try:
        zone = ZoneInfo(tz)
    except (LookupError, ValueError, OSError) as error:
        raise BadSchedule("unknown_timezone", f"no time zone '{tz}'", 'as in "Europe/Berlin"') from error
    return CronTrigger(parse_cron(expr), zone)
