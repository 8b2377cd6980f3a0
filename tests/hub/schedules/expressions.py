"""Expressions from all over the grammar, by chance: most of them due around a given moment.

An expression that is due next year says nothing about tonight's change of the clocks, so the
values lie mostly near the moment. Where chance comes from is the caller's choice.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from hub.schedules.cron import BadSchedule, parse_cron

T = TypeVar("T")

_MONTHS = ("JAN", "feb", "Mar", "APR", "may", "Jun", "JUL", "aug", "Sep", "OCT", "nov", "Dec")
_WEEKDAYS = ("SUN", "mon", "Tue", "WED", "thu", "Fri", "SAT")
_MACROS = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly")


class Draw(Protocol):
    """A source of chance."""

    def integer(self, low: int, high: int) -> int:
        """From *low* to *high*, both included."""
        ...


def expression(draw: Draw, around: datetime) -> str:
    """An accepted expression, likely due within a day or two of *around*, which is a time on the wall."""
    while True:
        text = _expression(draw, around)
        try:
            parse_cron(text)
        except BadSchedule:
            continue  # two items of the same field that make an empty range, say
        return text


def _expression(draw: Draw, around: datetime) -> str:
    if draw.integer(0, 29) == 0:
        return _pick(draw, _MACROS)
    minute = _list(draw, 0, 59, (0, 1, 15, 30, 45, 59, around.minute), star=(3, 12))
    hours = tuple((around.hour + away) % 24 for away in (-3, -2, -1, -1, 0, 0, 1, 1, 2, 3))
    hour = _list(draw, 0, 23, hours, star=(3, 6))
    if draw.integer(0, 1):
        return f"{minute} {hour} * * *"
    return f"{minute} {hour} {_day(draw, around)} {_month(draw, around)} {_weekday(draw, around)}"


def _day(draw: Draw, around: datetime) -> str:
    match draw.integer(0, 9):
        case 0 | 1 | 2 | 3 | 4:
            return "*"
        case 5:
            return "L"
        case 6:
            return f"{max(1, min(31, around.day + draw.integer(-2, 2)))}W"
    near = tuple(max(1, min(31, around.day + away)) for away in (-1, 0, 1))
    return _list(draw, 1, 31, near, star=(0, 3))


def _month(draw: Draw, around: datetime) -> str:
    match draw.integer(0, 5):
        case 0:
            return _MONTHS[around.month - 1]
        case 1:
            return _list(draw, 1, 12, (around.month,), star=(0, 3))
    return "*"


def _weekday(draw: Draw, around: datetime) -> str:
    weekday = (around.isoweekday() + draw.integer(-1, 1)) % 7
    spelled = _WEEKDAYS[weekday] if draw.integer(0, 1) else str(weekday or 7)
    match draw.integer(0, 11):
        case 0:
            return f"{spelled}#{(around.day + 6) // 7}"
        case 1:
            return f"{spelled}#{draw.integer(1, 5)},{draw.integer(0, 7)}#{draw.integer(1, 5)}"
        case 2:
            return f"{spelled}L" if draw.integer(0, 1) else f"{spelled}#L"
        case 3:
            return spelled
        case 4 | 5:
            return "+" + _list(draw, 0, 7, (weekday,), star=(0, 3))
        case 6:
            return _list(draw, 0, 7, (weekday,), star=(0, 3))
    return "*"


def _list(draw: Draw, low: int, high: int, likely: Sequence[int], star: tuple[int, int]) -> str:
    """A field of one to three items; *star* says in how many of so many cases it is ``*`` or ``*/n``."""
    times, of = star
    if draw.integer(1, of) <= times:
        return "*" if draw.integer(0, 1) else f"*/{draw.integer(1, high - low)}"
    count = _pick(draw, (1, 1, 1, 2, 3))
    return ",".join(_item(draw, low, high, likely) for _ in range(count))


def _item(draw: Draw, low: int, high: int, likely: Sequence[int]) -> str:
    value = _pick(draw, likely) if draw.integer(0, 3) else draw.integer(low, high)
    match draw.integer(0, 5):
        case 0:
            return f"{value}-{draw.integer(value, high)}"
        case 1:
            return f"{value}-{high}/{draw.integer(1, max(1, high - value))}"
    return str(value)


def _pick(draw: Draw, among: Sequence[T]) -> T:
    return among[draw.integer(0, len(among) - 1)]
