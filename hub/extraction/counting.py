"""Metrics of one endpoint: requests by result, tokens, money, time, and waiting questions."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum

from hub.extraction.completion import Completion
from hub.extraction.model import Finish, ModelError, ModelExhausted, Usage
from hub.extraction.refusals import Disliked, RateLimited
from hub.metrics import Metrics


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
    """Counters of one endpoint; without metrics, nothing is counted."""

    def __init__(self, metrics: Metrics | None, model: str) -> None:
        self._metrics = metrics
        self._model = model

    def watch(self, *, waiting: Callable[[], float], is_open: Callable[[], float]) -> None:
        """Export the number of waiting questions, and the circuit's state (1.0 if open, else 0.0)."""
        if self._metrics is not None:
            self._metrics.llm_waiting.labels(self._model).set_function(waiting)
            self._metrics.llm_circuit_open.labels(self._model).set_function(is_open)

    def reading(self) -> AbstractContextManager[None]:
        """Charge the endpoint with the event loop's time for parsing its answer."""
        if self._metrics is None:
            return nullcontext()
        return self._metrics.loop.charging(f"model:{self._model}")

    def tried(self, end: TryEnd) -> None:
        """Count one request."""
        if self._metrics is not None:
            self._metrics.llm_requests.labels(self._model, end).inc()

    def spent(self, usage: Usage) -> None:
        """Count tokens and money."""
        if self._metrics is not None:
            self._metrics.llm_tokens.labels(self._model, "prompt").inc(usage.prompt_tokens)
            self._metrics.llm_tokens.labels(self._model, "completion").inc(usage.completion_tokens)
            self._metrics.llm_cost.labels(self._model).inc(usage.cost_nanos / 1e9)

    def took(self, seconds: float) -> None:
        """Record the duration of one question, including retries and waits."""
        if self._metrics is not None:
            self._metrics.llm_request_duration.labels(self._model).observe(seconds)

    def outbound_refused(self, reason: str) -> None:
        """Count a call ended by an outbound rule about addresses or sizes."""
        if self._metrics is not None:
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
