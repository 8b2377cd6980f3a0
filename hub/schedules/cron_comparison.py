"""Comparison of a cron expression with a second parser, croniter.

The hub's own grammar refuses known ambiguities. This check finds unknown ones before a schedule fires at an
unintended time.
"""

from datetime import datetime, timedelta
from typing import Final

from croniter import CroniterError, croniter

from hub.schedules.cron import BadSchedule, Cron

COMPARED: Final = 5  # fires

LOOKED_AHEAD: Final = 50  # years: 29 February falls on a given weekday at least every 40 years

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - a reading has no zone
_FROM: Final = datetime(2026, 1, 1)  # noqa: DTZ001 - a fixed date, so that the result is always the same

_MINUTE: Final = timedelta(minutes=1)


def check_reading(cron: Cron) -> None:
    """Compare the first fires of both parsers.

    Raises:
        BadSchedule: they differ (``read_differently``).
    """
    ours = _our_fires(cron)
    try:
        theirs = _their_fires(cron, len(ours))
    except CroniterError as exc:
        raise _differs(f"croniter does not know it: {exc}") from exc
    for mine, other in zip(ours, theirs, strict=True):
        if mine != other:
            raise _differs(f"here it fires at {mine:%Y-%m-%d %H:%M}, elsewhere at {other:%Y-%m-%d %H:%M}")


def _differs(how: str) -> BadSchedule:
    return BadSchedule("read_differently", how, "write the values one by one, as in 1,15,29")


def _our_fires(cron: Cron) -> list[datetime]:
    fires: list[datetime] = []
    reading = (_FROM - _EPOCH) // _MINUTE
    while len(fires) < COMPARED:
        following = cron.calendar.next_after(reading)
        if following is None:
            break
        reading = following
        fires.append(_EPOCH + reading * _MINUTE)
    return fires


def _their_fires(cron: Cron, count: int) -> list[datetime]:
    reader = croniter(
        cron.text,
        _FROM,
        day_or=cron.day_or,
        implement_cron_bug=True,
        max_years_between_matches=LOOKED_AHEAD,
    )
    return [reader.get_next(datetime) for _ in range(count)]
