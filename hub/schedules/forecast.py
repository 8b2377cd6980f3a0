"""The next fires, as people are shown them before they trust a schedule."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from hub.schedules.trigger import MINUTE_MS, CronTrigger, Trigger
from hub.schedules.zone import Stretch, stretch_at

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - a reading has no zone


@dataclass(frozen=True)
class Upcoming:
    """A fire to come.

    Attributes:
        at: the instant, in UTC.
        local: the same instant in the zone asked for.
        shift: what a change of the clocks does to it, as a sentence; None if nothing.
    """

    at: datetime
    local: datetime
    shift: str | None = None


def upcoming(trigger: Trigger, after_ms: int, *, tz: str, count: int = 5) -> list[Upcoming]:
    """The next *count* fires later than *after_ms*; fewer if the trigger comes to its end.

    Raises:
        ZoneInfoNotFoundError: there is no zone *tz*.
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
    """What the clocks do to this fire, *before_ms* being the last one or where the forecast begins."""
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
    """The readings that the last gap after *before* and up to *fire* has skipped."""
    left_out: list[int] = []
    stretch = stretch_at(trigger.zone, before)
    while stretch.ends_at <= fire:
        stretch = stretch_at(trigger.zone, stretch.ends_at)
        left_out = _skipped(trigger, stretch) or left_out
    return left_out


def _skipped(trigger: CronTrigger, stretch: Stretch) -> list[int]:
    """The readings named by the expression that the clocks were put past when *stretch* began."""
    skipped = []
    end = stretch.starts_at + stretch.offset
    reading = trigger.cron.calendar.next_after(end - stretch.jump - 1)
    while reading is not None and reading < end:
        skipped.append(reading)
        reading = trigger.cron.calendar.next_after(reading)
    return skipped


def _absent(skipped: list[int], reading: int) -> str:
    """``02:30 does not exist that night``, or on which date, if *reading* is of another."""
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
