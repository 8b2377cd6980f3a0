"""Option type for times as people say them, in the zone of this machine."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final

import click

from hub.cli import show

FORMS: Final = "2h, today 09:00, yesterday 18:00, 2026-11-20, '2026-11-20 18:00', 2026-11-20T18:00+01:00"
_AGO: Final = re.compile(r"(\d{1,6})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DAY: Final = re.compile(r"(today|yesterday)(?: +(\d{1,2}:\d{2}))?")


class Moment(click.ParamType[str]):
    """Option type for a time: some hours ago, a time of today or yesterday, a date, or an ISO 8601 instant.

    Without an offset it is in the zone of this machine. The value is the instant as ISO 8601, in UTC.
    """

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return _moment(value.strip()).astimezone(UTC).isoformat()
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a time; write it in one of these forms: {FORMS}", param, ctx)


def _moment(text: str) -> datetime:
    now = show.clock.now()
    if ago := _AGO.fullmatch(text):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    if day := _DAY.fullmatch(text):
        date = now.astimezone().date() - timedelta(days=day[1] == "yesterday")
        hour, minute = map(int, (day[2] or "0:00").split(":"))
        return datetime.combine(date, time(hour, minute))
    return datetime.fromisoformat(text)


def moment_option(name: str, help: str) -> Callable[[Any], Any]:
    """Return an option that takes a time."""
    return click.option(name, type=Moment(), metavar="TIME", help=f"{help}: {FORMS}.")
