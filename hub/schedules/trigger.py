"""What a schedule waits for: a cron expression in a time zone, an interval, or one instant.

A trigger gives fires: nominal instants, in UTC epoch milliseconds. It keeps no state.
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
SHORTEST_INTERVAL_MS: Final = 5_000  # half of it is the shortest time in which a fire can be seen to be late

# Debian's: clocks put back by more are not a change of season, and the day starts over.
_MOST_REPEATED: Final = 180  # minutes
_TRIGGERS_KEPT: Final = 16_384  # above the 10,000 schedules that one tick must bear
# In the year 9889: so that 40 years of searching stay within what datetime knows.
_LAST_MS: Final = 249_900_000_000_000


class Trigger(Protocol):
    """When something fires. Pure: the same question has the same answer, in every process."""

    def next_after(self, after_ms: int) -> int | None:
        """The first fire strictly later than *after_ms*; None: never again."""
        ...

    def period_ms(self) -> int:
        """The smallest time between two fires, changes of clocks apart. Jitter must stay below half of it."""
        ...


@dataclass(frozen=True)
class CronTrigger:
    """A cron expression read in a time zone, by the rule of Debian's cron.

    Where clocks are put forward, a job with fixed times that were skipped fires once, at the
    first instant after the gap; where they are put back, it fires the first time only. A job
    that follows the wall (see ``Cron``) skips what is skipped and repeats what is repeated.

    Debian's cron gives up skipped times after three hours. Here they are made up for however
    long the gap is, so that a daily job does not vanish where a zone skips a whole day.
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
        """A clock that is never put back gives the readings; it waits until the zone's has caught up."""
        calendar = self.cron.calendar
        stretch = stretch_at(self.zone, minute)
        reading = minute + stretch.offset
        if -_MOST_REPEATED <= stretch.jump < 0:
            last_shown = stretch.starts_at - 1 + stretch.offset - stretch.jump
            reading = max(reading, last_shown)
        found = calendar.next_after(reading)
        while found is not None:
            if found - stretch.offset < stretch.ends_at:
                # What the clocks were put past happens when they are put forward.
                return max(found - stretch.offset, stretch.starts_at)
            border = stretch.ends_at
            stretch = stretch_at(self.zone, border)
            if stretch.jump < -_MOST_REPEATED:
                found = calendar.next_after(border + stretch.offset - 1)
        return None

    def _next_on_the_wall(self, minute: int) -> int | None:
        """Each stretch is read from its first minute on, whatever the clocks showed before."""
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
    """Fires at *anchor_ms* and every *every_ms* from there on, whatever clocks on walls show.

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
    """Fires once."""

    at_ms: int

    def next_after(self, after_ms: int) -> int | None:
        return self.at_ms if after_ms < self.at_ms else None

    def period_ms(self) -> int:
        return DAY * MINUTE_MS  # it has none; more than half a day of jitter is nobody's wish


def trigger_of(
    *, kind: str, expr: str | None, every_ms: int | None, at_ms: int | None, tz: str, anchor_ms: int
) -> Trigger:
    """The trigger that a schedule's row describes; *kind* says which of the next three is given.

    Raises:
        BadSchedule: the row cannot be read: its expression, its interval, its zone, or no such kind.
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
    """How long after its nominal time a fire is looked at: 0..*jitter_ms*, the same at every start."""
    digest = hashlib.blake2b(schedule_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % (jitter_ms + 1)


@lru_cache(maxsize=_TRIGGERS_KEPT)
def _cron_trigger(expr: str, tz: str) -> CronTrigger:
    try:
        zone = ZoneInfo(tz)
    except (LookupError, ValueError, OSError) as error:
        raise BadSchedule("unknown_timezone", f"no time zone '{tz}'", 'as in "Europe/Berlin"') from error
    return CronTrigger(parse_cron(expr), zone)
