"""Rate limits in the headers of an endpoint's answer. Pure functions.

In OpenAI's format, which most compatible endpoints use:
``x-ratelimit-{limit,remaining,reset}-{requests,tokens}``, ``retry-after-ms``, ``retry-after``.
"""

import math
import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal

import msgspec

_PARTS: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0}


class Told(msgspec.Struct, frozen=True):
    """Quota reported by an endpoint.

    Attributes:
        limit: capacity when nothing is used, in requests or tokens.
        remaining: rest after the current question.
        reset_s: seconds until the full capacity is back; ``None`` if not reported.
    """

    limit: float
    remaining: float
    reset_s: float | None = None


def told_quota(headers: Mapping[str, str], of: Literal["requests", "tokens"]) -> Told | None:
    """Return the quota of requests or tokens; ``None`` if the headers have no plausible one."""
    limit = _number(headers.get(f"x-ratelimit-limit-{of}"))
    remaining = _number(headers.get(f"x-ratelimit-remaining-{of}"))
    if limit is None or remaining is None or limit <= 0 or remaining > limit:
        return None
    return Told(limit, max(0.0, remaining), duration_s(headers.get(f"x-ratelimit-reset-{of}", "")))


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the requested wait, given in milliseconds, in seconds, or as a date.

    Args:
        now: wall time, aware, to compare with a date.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (number := _number(headers.get(name))) is not None:
            return max(0.0, number * unit)
    try:
        at = parsedate_to_datetime(headers["retry-after"])
        return max(0.0, (at - now).total_seconds())
    except (KeyError, ValueError, TypeError):  # a TypeError for a date without a time zone
        return None


def duration_s(text: str) -> float | None:
    """Parse seconds from "6m0s", "1h2m", "1.5s", "20ms", or a bare number; ``None`` otherwise."""
    if (number := _number(text)) is not None:
        return max(0.0, number)
    parts = _PARTS.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        return None
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
