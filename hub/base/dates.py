"""Dates of items: a date without a time is stored as the instant at which its day begins in the item's zone.

Columns of dates have epoch milliseconds, as desktops expect, and each item has the zone in which its days
begin. A value at which a day begins there is that day for every reader, in any zone; every other value is a
time. People and programs read and write texts: ``2026-12-01``, or a time as ``2026-12-01T14:00:00Z``.
"""

import re
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any, Final
from zoneinfo import ZoneInfo

from hub.base.clock import epoch_ms, from_epoch_ms
from protocol.tables import DeviceTable, Kind

MAX_CHANGE: Final = 200  # characters of a value that is shown beside another
DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def day_at(at_ms: int, timezone: str | None) -> date | None:
    """Return the day that begins at *at_ms* in *timezone*; None for a time, or in an unknown zone."""
    try:
        day = from_epoch_ms(at_ms).astimezone(ZoneInfo(timezone or "unknown")).date()
        return day if begin_of(day, timezone) == at_ms else None
    except (KeyError, ValueError, OSError, OverflowError):  # this machine has no such zone
        return None


def begin_of(day: date, timezone: str | None) -> int:
    """Return the instant at which a day begins in *timezone*; None: the zone of this machine.

    Raises:
        KeyError, ValueError, OSError, OverflowError: an unknown zone, or outside the range of datetime.
    """
    begin = datetime.combine(day, time(), ZoneInfo(timezone) if timezone else None)
    return epoch_ms(begin if timezone else begin.astimezone())


def dates_as_texts(table: DeviceTable, data: Mapping[str, Any], timezone: str | None) -> dict[str, Any]:
    """Return the data of an item with its dates as texts; its days begin in *timezone*."""
    return {
        name: day_text(value, timezone) if isinstance(value, int) and _is_date(table, name) else value
        for name, value in data.items()
    }


def changes_as_texts(
    table: DeviceTable, before: Mapping[str, Any], after: Mapping[str, Any], timezone: str | None
) -> list[dict[str, Any]]:
    """Return the fields whose values differ, each with both of them; a long text is cut."""
    old, new = (
        {
            name: f"{value[:MAX_CHANGE]}…" if isinstance(value, str) and len(value) > MAX_CHANGE else value
            for name, value in dates_as_texts(table, data, timezone).items()
        }
        for data in (before, after)
    )
    return [
        {"field": name, "before": old.get(name), "after": new.get(name)}
        for name in {**old, **new}
        if before.get(name) != after.get(name)
    ]


def dates_as_instants(table: DeviceTable, data: Mapping[str, Any], timezone: str | None) -> dict[str, Any]:
    """Return the data of an item with dates that are texts as instants; its days begin in *timezone*.

    Raises:
        ValueError: a text is no date.
    """
    return {
        name: _instant(f"{table.name}.{name}", value, timezone)
        if isinstance(value, str) and _is_date(table, name)
        else value
        for name, value in data.items()
    }


def _is_date(table: DeviceTable, name: str) -> bool:
    return (column := table.column(name)) is not None and column.kind is Kind.EPOCH_MS


def day_text(value: int, timezone: str | None) -> str:
    """Return a date as a text: a day that begins in *timezone*, else a time in UTC."""
    day = day_at(value, timezone)
    return day.isoformat() if day else rfc3339(value)


def rfc3339(at_ms: int) -> str:
    """Return an instant as a text in UTC."""
    return from_epoch_ms(at_ms).isoformat().replace("+00:00", "Z")


def _instant(where: str, text: str, timezone: str | None) -> int:
    try:
        if timezone and DAY.fullmatch(text):
            return begin_of(date.fromisoformat(text), timezone)
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return epoch_ms(at)
    except (KeyError, ValueError, OSError, OverflowError):
        pass
    expected = "a day as 2027-02-03, or a time with its offset as 2027-02-03T15:00+01:00"
    raise ValueError(f"{where}: expected {expected}, got {text[:40]!r}")
