"""Outcomes of requests to an endpoint: circuit breaker, HTTP errors and rate limits, and metrics. No I/O.

A closed circuit opens after several consecutive failures, and at once when the quota is used up. After a
delay it is half open: one question tests the endpoint. Meanwhile other endpoints are asked.

Rate limits are in headers, in OpenAI's format, which most compatible endpoints use:
``x-ratelimit-{limit,remaining,reset}-{requests,tokens}``, ``retry-after-ms``, ``retry-after``.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from hub.clock import Clock
from hub.extraction.completion import Completion
from hub.extraction.model import Finish, ModelError, ModelExhausted, ModelRefused, ModelUnavailable, Usage
from hub.metrics import Metrics
from hub.outbound.rules import finite_number, retry_after
from protocol.backoff import Backoff

if TYPE_CHECKING:
    import openai  # takes 0.3 s and 20 MB: loaded with the first question

FAILURES: Final = 3  # consecutive questions, each with all its retries
# An agent without quota retries after 10 min; the circuit must not wait longer.
OPEN: Final = Backoff(base_s=30.0, cap_s=600.0)


class EndpointRefused(ModelRefused):
    """Refusal that concerns every question: a wrong key, address or model name."""


class Circuit(StrEnum):
    """State of the circuit."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class _Opened(msgspec.Struct, frozen=True):
    until: float  # monotonic
    error: ModelError


class Breaker:
    """Circuit breaker of one endpoint.

    Attributes:
        failed_at: time of the first failure since the last answer; None while there is none.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._in_a_row = 0
        self._openings = 0  # since the last answer
        self._opened: _Opened | None = None
        self._unanswered: ModelUnavailable | None = None
        self.failed_at: datetime | None = None

    @property
    def circuit(self) -> Circuit:
        """Current state of the circuit."""
        if self._opened is None:
            return Circuit.CLOSED
        return Circuit.OPEN if self.wait_s > 0 else Circuit.HALF_OPEN

    @property
    def wait_s(self) -> float:
        """Seconds until the endpoint is asked again; 0.0 if it may be asked."""
        return 0.0 if self._opened is None else max(0.0, self._opened.until - self._clock.monotonic())

    @property
    def error(self) -> ModelError | None:
        """Error that opened the circuit, or of a last question without an answer."""
        return self._unanswered if self._opened is None else self._opened.error

    def succeeded(self) -> None:
        """Record an answer, which closes the circuit."""
        self._in_a_row = self._openings = 0
        self._opened = self._unanswered = self.failed_at = None

    def try_now(self) -> None:
        """End the delay at a person's request: the next question tests the endpoint."""
        if self._opened is not None:
            self._opened = _Opened(self._clock.monotonic(), self._opened.error)

    def failed(self, error: ModelError) -> None:
        """Record a failure. An error that concerns only the question has no effect."""
        match error:
            case ModelExhausted(reason="rate_limit", retry_after_s=float(after_s)):
                self._open(error, after_s)
            case ModelExhausted():
                self._open(error, self._next_wait_s())
            case ModelUnavailable() | EndpointRefused():
                self._unanswered = error if isinstance(error, ModelUnavailable) else None
                self._in_a_row += 1
                if self._in_a_row >= FAILURES:
                    self._open(error, self._next_wait_s())
        if self.error is not None:
            self.failed_at = self.failed_at or self._clock.now()

    def check_quota(self) -> None:
        """Raise the known error again, without a request, while the quota is used up.

        Raises:
            ModelExhausted: with the rest of the wait that the endpoint requested.
        """
        if self.circuit is Circuit.OPEN and isinstance(self.error, ModelExhausted):
            known = self.error
            left_s = None if known.retry_after_s is None else self.wait_s
            raise ModelExhausted(str(known), reason=known.reason, retry_after_s=left_s)

    def _next_wait_s(self) -> float:
        wait_s = OPEN.delay(self._openings, 1.0)
        self._openings += 1
        return wait_s

    def _open(self, error: ModelError, seconds: float) -> None:
        self._opened = _Opened(self._clock.monotonic() + seconds, error)


_RETRIED: Final = frozenset({408, 409})
_SPENT_QUOTA: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_TOO_LONG: Final = frozenset({"context_length_exceeded", "exceed_context_size_error"})  # OpenAI, llama.cpp

_PARTS: Final = re.compile(r"(?<!\d)(\d++(?:\.\d++)?+)(ms|h|m|s)")
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
    """Refusal of this form of the question.

    Attributes:
        param: refused parameter, or None.
        message: message of the endpoint.
    """

    def __init__(self, why: str, param: str | None, *, is_too_long: bool, message: str = "") -> None:
        super().__init__(why)
        self.param = param
        self.message = message
        self.is_too_long = is_too_long


def meaning_of(
    error: "openai.APIStatusError", place: Place, now: datetime
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
    if status == 429 or status in _RETRIED or status >= 500:
        wait = retry_after(headers, now)
        after_s, reason = (None, reason) if wait is None else (wait.seconds, reason + wait.note)
        if status == 429:
            return RateLimited(reason, after_s, headers)
        return Trouble(reason, after_s=after_s)
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
    is_too_long = error.code in _TOO_LONG or error.type in _TOO_LONG
    return Disliked(reason, error.param, is_too_long=is_too_long, message=error.message)


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


_MOST_QUOTA: Final = 1e12  # requests or tokens; no endpoint has more
_LONGEST_RESET_S: Final = 86_400.0  # a longer one is an instant, such as epoch seconds, or of no use


def reported_quota(headers: Mapping[str, str], of: Literal["requests", "tokens"]) -> ReportedQuota | None:
    """Return the quota of requests or tokens; ``None`` if the headers have no plausible one."""
    limit = finite_number(headers.get(f"x-ratelimit-limit-{of}"))
    remaining = finite_number(headers.get(f"x-ratelimit-remaining-{of}"))
    if limit is None or remaining is None or not 0 < limit <= _MOST_QUOTA or remaining > limit:
        return None
    reset_s = duration_s(headers.get(f"x-ratelimit-reset-{of}", ""))
    if reset_s is not None and reset_s > _LONGEST_RESET_S:
        reset_s = None
    return ReportedQuota(limit, max(0.0, remaining), reset_s)


def duration_s(text: str) -> float | None:
    """Parse seconds from "6m0s", "1h2m", "1.5s", "20ms", or a bare number; ``None`` otherwise."""
    if (number := finite_number(text)) is not None:
        return max(0.0, number)
    parts = _PARTS.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        return None
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


class TryEnd(StrEnum):
    """Result of one request to an endpoint."""

    WHOLE = "whole"
    CUT_OFF = "cut_off"
    RUNAWAY = "runaway"  # also truncated: it would not have ended
    TOO_LONG = "too_long"
    UNUSABLE = "unusable"  # an answer that cannot be parsed
    RATE_LIMITED = "rate_limited"
    FAILED = "failed"  # no answer
    DISLIKED = "disliked"  # the next request has another form
    REFUSED = "refused"
    EXHAUSTED = "exhausted"


class Counting:
    """Counters of one endpoint."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._metrics = metrics
        self._model = model

    def watch(self, *, waiting: Callable[[], float], is_open: Callable[[], float]) -> None:
        """Export the number of waiting questions, and the circuit's state (1.0 if open, else 0.0)."""
        self._metrics.llm_waiting.labels(self._model).set_function(waiting)
        self._metrics.llm_circuit_open.labels(self._model).set_function(is_open)

    def reading(self) -> AbstractContextManager[None]:
        """Charge the endpoint with the event loop's time for parsing its answer."""
        return self._metrics.loop.charging(f"model:{self._model}")

    def tried(self, end: TryEnd) -> None:
        """Count one request."""
        self._metrics.llm_requests.labels(self._model, end).inc()

    def spent(self, usage: Usage) -> None:
        """Count tokens and money."""
        self._metrics.llm_tokens.labels(self._model, "prompt").inc(usage.prompt_tokens)
        self._metrics.llm_tokens.labels(self._model, "completion").inc(usage.completion_tokens)
        self._metrics.llm_cost.labels(self._model).inc(usage.cost_nanos / 1e9)

    def took(self, seconds: float) -> None:
        """Record the duration of one question, including retries and waits."""
        self._metrics.llm_request_duration.labels(self._model).observe(seconds)

    def outbound_refused(self, reason: str) -> None:
        """Count a call ended by an outbound rule about addresses or sizes."""
        self._metrics.outbound_refused.labels(reason).inc()


def end_of(result: Exception | Completion) -> TryEnd:
    """Return the result of a request that returned or raised *result*."""
    match result:
        case Completion(is_runaway=True):
            return TryEnd.RUNAWAY
        case Completion(finish=Finish.CUT_OFF):
            return TryEnd.CUT_OFF
        case Completion():
            return TryEnd.WHOLE
        case RateLimited():
            return TryEnd.RATE_LIMITED
        case Disliked(is_too_long=True):
            return TryEnd.TOO_LONG
        case Disliked():
            return TryEnd.DISLIKED
        case ModelExhausted():
            return TryEnd.EXHAUSTED
        case ModelError():
            return TryEnd.REFUSED
        case _:
            return TryEnd.FAILED
