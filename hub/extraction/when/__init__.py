"""Words about time into moments: ISO 8601, and what people write in six languages."""

from hub.extraction.when.iso import date_ms, day_ms, read_date
from hub.extraction.when.moment import ClockChange, Moment, local_day
from hub.extraction.when.resolve import days_in, resolve

__all__ = ["ClockChange", "Moment", "date_ms", "day_ms", "days_in", "local_day", "read_date", "resolve"]
