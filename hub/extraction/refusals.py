"""Interpretation of an endpoint's HTTP errors and rate limits: retry, wait, stop, or change the request.

Pure functions. Rate limits are in headers, in OpenAI's format, which most compatible endpoints use:
``x-ratelimit-{limit,remaining,reset}-{requests,tokens}``, ``retry-after-ms``, ``retry-after``.
"""

import math
import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal

import msgspec
import openai

from hub.extraction.breaker import EndpointRefused
from hub.extraction.model import ModelError, ModelExhausted

_RETRIED: Final = frozenset({408, 409})
_SPENT_QUOTA: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_TOO_LONG: Final = frozenset({"context_length_exceeded", "exceed_context_size_error"})  # OpenAI, llama.cpp

_PARTS: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0}


class Place(msgspec.Struct, frozen=True):
    """Model, endpoint and settings table, for messages to people.

    Attributes:
        base_url: ends in ``/v1``.
        name: name of the model at the endpoint.
        table: table of hub.toml.
    """

    base_url: str
    name: str
    table: str = "[model]"

    def __str__(self) -> str:
        return f"{self.name} at {self.base_url}"


class Trouble(Exception):
    """Failed attempt; a retry may succeed. *after_s* is the requested wait, or None."""

    def __init__(self, why: str, *, after_s: float | None = None) -> None:
        super().__init__(why)
        self.after_s = after_s


class RateLimited(Exception):
    """Refusal by a rate limit: a wait (*after_s*, if requested) that does not count as a failure."""

    def __init__(self, why: str, after_s: float | None, headers: Mapping[str, str]) -> None:
        super().__init__(why)
        self.after_s = after_s
        self.headers = headers


class Disliked(Exception):
    """Refusal of this form of the question; *param* is the refused parameter, or None."""

    def __init__(self, why: str, param: str | None, *, is_too_long: bool) -> None:
        super().__init__(why)
        self.param = param
        self.is_too_long = is_too_long


def meaning_of(
    error: openai.APIStatusError, place: Place, now: datetime
) -> Trouble | RateLimited | Disliked | ModelError:
    """Convert *error* to an exception that the caller raises. *now*: wall time, aware."""
    status, code = error.status_code, str(error.code or "")
    reason = f"HTTP {status} {code}".rstrip()
    if status == 402 or code in _SPENT_QUOTA or error.type in _SPENT_QUOTA:
        return ModelExhausted(
            f"the account behind {place.name} has no quota left ({code or status}): look at its plan "
            f"and billing, or name another model in {place.table} of hub.toml",
            reason="billing",
        )
    headers = error.response.headers
    if status == 429:
        return RateLimited(reason, retry_after_s(headers, now), headers)
    if status in _RETRIED or status >= 500:
        return Trouble(reason, after_s=retry_after_s(headers, now))
    if status in (401, 403):
        return EndpointRefused(
            f"the model endpoint {place.base_url} refused our key (HTTP {status}): "
            f"correct api_key in {place.table} of hub.toml"
        )
    if 300 <= status < 400:
        return EndpointRefused(
            f"the model endpoint {place.base_url} sends us elsewhere (HTTP {status}), "
            f"and redirects are not followed: correct base_url in {place.table} of hub.toml"
        )
    if status == 404:
        return EndpointRefused(
            f"the model endpoint {place.base_url} has no model {place.name!r} (HTTP 404): "
            f"correct name or base_url in {place.table} of hub.toml"
        )
    return Disliked(reason, error.param, is_too_long=error.code in _TOO_LONG or error.type in _TOO_LONG)


class ReportedQuota(msgspec.Struct, frozen=True):
    """Quota reported by an endpoint.

    Attributes:
        limit: capacity when nothing is used, in requests or tokens.
        remaining: rest after the current question.
        reset_s: seconds until the full capacity is back; ``None`` if not reported.
    """

    limit: float
    remaining: float
    reset_s: float | None = None


def reported_quota(headers: Mapping[str, str], of: Literal["requests", "tokens"]) -> ReportedQuota | None:
    """Return the quota of requests or tokens; ``None`` if the headers have no plausible one."""
    limit = _number(headers.get(f"x-ratelimit-limit-{of}"))
    remaining = _number(headers.get(f"x-ratelimit-remaining-{of}"))
    if limit is None or remaining is None or limit <= 0 or remaining > limit:
        return None
    return ReportedQuota(limit, max(0.0, remaining), duration_s(headers.get(f"x-ratelimit-reset-{of}", "")))


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
