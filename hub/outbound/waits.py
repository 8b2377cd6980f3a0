"""Waits and other numbers that another party names, bounded where they enter.

A header, an answer or a frame may name 1e308 seconds, a date of 2099, or epoch seconds in the place of a
duration. Only bounded numbers leave this module, and a wait that was shortened carries a note for a person.
"""

import math
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple

from protocol.backoff import MOST_WAIT_S

_DAY_S: Final = 86_400.0
_LEAST_EPOCH_S: Final = 1e9  # more seconds than this are an instant after 2001, and no duration
_MOST_CHARACTERS: Final = 64  # of a number or a date in a header


class Wait(NamedTuple):
    """Wait in seconds that another party requested, at most MOST_WAIT_S.

    *note*: what it had requested, if that was more; else empty. To be appended to the message for a person.
    """

    seconds: float
    note: str = ""


def bounded_wait(seconds: float) -> Wait:
    """Return a wait of *seconds*, within 0 and MOST_WAIT_S."""
    if seconds <= MOST_WAIT_S:
        return Wait(max(0.0, seconds))
    note = f" (a wait of {seconds / _DAY_S:.3g} days was requested; the next attempt is after a day)"
    return Wait(MOST_WAIT_S, note)


def retry_after(headers: Mapping[str, str], now: datetime) -> Wait | None:
    """Return the wait that the headers request; None if there is none, or if it is unreadable or negative.

    It is given in milliseconds, in seconds, as a date (RFC 9110, 10.2.3), or as epoch seconds.

    Args:
        headers: names in lower case, or in any case if the mapping ignores it.
        now: wall time, aware, to compare with a date.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (number := finite_number(headers.get(name))) is not None:
            return _wait_of(number * unit, now)
    try:
        at = parsedate_to_datetime(headers["retry-after"][:_MOST_CHARACTERS])
        return bounded_wait((at - now).total_seconds())
    except (KeyError, ValueError, TypeError, OverflowError):  # a TypeError for a date without a time zone
        return None


def _wait_of(seconds: float, now: datetime) -> Wait | None:
    if seconds < 0:
        return None
    return bounded_wait(seconds - now.timestamp() if seconds > _LEAST_EPOCH_S else seconds)


def finite_number(text: str | None) -> float | None:
    """Parse a number of a header, or return None."""
    try:
        number = float((text or "")[:_MOST_CHARACTERS])
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def bounded(value: Any, *, least: float, most: float, default: float) -> float:
    """Return a foreign number within *least* and *most*; *default* if it is no number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return default
    except OverflowError:  # an integer beyond any float
        return most
    return default if math.isnan(number) else min(max(number, least), most)
