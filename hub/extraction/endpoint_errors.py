"""Classification of errors of a model endpoint: rate limit, quota, parameter, outage. No I/O."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from hub.base.metrics import Metrics
from hub.base.outbound.rules import retry_after
from hub.extraction.circuit_breaker import EndpointRefused
from hub.extraction.completion import Completion
from hub.extraction.error_bodies import ReportedError
from hub.extraction.model import Finish, ModelError, ModelExhausted
from protocol.work import Usage

_RETRIED: Final = frozenset({200, 408, 409})  # 200: an error, or a page of a proxy, in place of an answer
_SPENT_QUOTA: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})


class EndpointRef(msgspec.Struct, frozen=True):
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


class EndpointError(Exception):
    """Failed attempt; a retry may succeed.

    Attributes:
        after_s: the requested wait, or None.
        is_answer: the endpoint reported a success, so that the fault may be of this text alone.
        is_late: a time limit ended the attempt.
    """

    def __init__(
        self, why: str, *, after_s: float | None = None, is_answer: bool = False, is_late: bool = False
    ) -> None:
        super().__init__(why)
        self.after_s = after_s
        self.is_answer = is_answer
        self.is_late = is_late


class RateLimited(Exception):
    """Refusal by a rate limit: a wait (*after_s*, if requested) that does not count as a failure."""

    def __init__(self, why: str, after_s: float | None, headers: Mapping[str, str]) -> None:
        super().__init__(why)
        self.after_s = after_s
        self.headers = headers


class UnsupportedParameter(Exception):
    """Refusal of this question, or of its form: *error* says which."""

    def __init__(self, error: ReportedError) -> None:
        super().__init__(str(error))
        self.error = error


def meaning_of(
    error: ReportedError, headers: Mapping[str, str], place: EndpointRef, now: datetime
) -> EndpointError | RateLimited | UnsupportedParameter | ModelError:
    """Convert *error* to an exception that the caller raises. *now*: wall time, aware."""
    status, reason = error.status, str(error)
    if error.is_too_long or error.is_declined:
        return UnsupportedParameter(error)
    if status == 402 or not _SPENT_QUOTA.isdisjoint(error.codes):
        return ModelExhausted(
            f"the account behind {place.name} has no quota left ({reason}): look at its plan "
            f"and billing, or name another model in {place.table} of hub.toml",
            reason="billing",
            observed=f"{place.name} refused a text for lack of quota ({reason})",
        )
    if status == 429 or status in _RETRIED or status >= 500:
        wait = retry_after(headers, now)
        after_s, reason = (None, reason) if wait is None else (wait.seconds, reason + wait.note)
        if status == 429:
            return RateLimited(reason, after_s, headers)
        return EndpointError(reason, after_s=after_s, is_answer=status < 300)
    words = f"; it says: {error.words}" if error.words else ""
    if status in (401, 403):
        what, wrong = "refused our key", "api_key"
    elif 300 <= status < 400:
        what, wrong, words = "sends us elsewhere", "base_url", "; redirects are not followed"
    elif status == 404:
        what, wrong = f"has no model {place.name!r}", "name or base_url"
    else:
        return UnsupportedParameter(error)
    what = f"the model endpoint {place.base_url} {what}"
    return EndpointRefused(
        f"{what} (HTTP {status}): correct {wrong} in {place.table} of hub.toml{words}",
        observed=f"{what} ({reason})",
    )


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
        case UnsupportedParameter(error=ReportedError(is_too_long=True)):
            return TryEnd.TOO_LONG
        case UnsupportedParameter():
            return TryEnd.DISLIKED
        case ModelExhausted():
            return TryEnd.EXHAUSTED
        case ModelError():
            return TryEnd.REFUSED
        case _:
            return TryEnd.FAILED
