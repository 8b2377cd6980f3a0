"""Forecasts of a schedule's next fires, shown to people."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from hub.schedules.trigger import MINUTE_MS, CronTrigger, Trigger
from hub.schedules.zone import Stretch, stretch_at

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - a reading has no zone


@dataclass(frozen=True)
class Upcoming:
    """A future fire.

    Attributes:
        at: the instant, in UTC.
        local: the same instant in the requested zone.
        shift: the effect of a clock change on it, as a sentence; None if there is none.
    """

    at: datetime
    local: datetime
    shift: str | None = None


def upcoming(trigger: Trigger, after_ms: int, *, tz: str, count: int = 5) -> list[Upcoming]:
    """Return the next *count* fires after *after_ms*; fewer if the trigger ends before.

    Raises:
        ZoneInfoNotFoundError: the zone *tz* is unknown.
    """
    zone = ZoneInfo(tz)
    found: list[Upcoming] = []
    while len(found) < count and (fire_ms := trigger.next_after(after_ms)) is not None:
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
