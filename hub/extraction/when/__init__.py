"""Conversion of words about time to moments: ISO 8601, and informal dates in six languages."""

from hub.extraction.when.moment import ClockChange, Moment, date_ms, day_ms, local_day, read_date
from hub.extraction.when.resolve import Anchor, DateWords, dates_in, days_in, resolve

__all__ = [
    "Anchor",
    "ClockChange",
    "DateWords",
    "Moment",
    "date_ms",
    "dates_in",
    "day_ms",
    "days_in",
    "local_day",
    "read_date",
    "resolve",
]
