"""What is counted about one endpoint: tries by how they ended, tokens, money, time, and who waits."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum

from hub.extraction.completion import Completion
from hub.extraction.model import Finish, ModelError, ModelExhausted, Usage
from hub.extraction.refusals import Disliked, RateLimited
from hub.metrics import Metrics


class TryEnd(StrEnum):
    """How one request to an endpoint ended."""

    WHOLE = "whole"
    CUT_OFF = "cut_off"
    RUNAWAY = "runaway"  # cut off as well: it would never have ended
    TOO_LONG = "too_long"
    UNUSABLE = "unusable"  # an answer came, and was none
    RATE_LIMITED = "rate_limited"
    FAILED = "failed"  # nothing came
    DISLIKED = "disliked"  # asked otherwise next
    REFUSED = "refused"
    EXHAUSTED = "exhausted"


class Counting:
    """Counts for one endpoint; for none where there are no metrics."""

    def __init__(self, metrics: Metrics | None, model: str) -> None:
        self._metrics = metrics
        self._model = model

    def watch(self, *, waiting: Callable[[], float], is_open: Callable[[], float]) -> None:
        """Show how many wait for their turn, and whether the circuit is open (1.0) or not (0.0)."""
        if self._metrics is not None:
            self._metrics.llm_waiting.labels(self._model).set_function(waiting)
            self._metrics.llm_circuit_open.labels(self._model).set_function(is_open)

    def reading(self) -> AbstractContextManager[None]:
        """Charge the endpoint with what reading its answer takes of the loop."""
        if self._metrics is None:
            return nullcontext()
        return self._metrics.loop.charging(f"model:{self._model}")

    def tried(self, end: TryEnd) -> None:
        """One request is over."""
        if self._metrics is not None:
            self._metrics.llm_requests.labels(self._model, end).inc()

    def spent(self, usage: Usage) -> None:
        """So many tokens, and so much money."""
        if self._metrics is not None:
            self._metrics.llm_tokens.labels(self._model, "prompt").inc(usage.prompt_tokens)
            self._metrics.llm_tokens.labels(self._model, "completion").inc(usage.completion_tokens)
            self._metrics.llm_cost.labels(self._model).inc(usage.cost_nanos / 1e9)

    def took(self, seconds: float) -> None:
        """One question took so long, its tries and its waits included."""
        if self._metrics is not None:
            self._metrics.llm_request_duration.labels(self._model).observe(seconds)

    def outbound_refused(self, reason: str) -> None:
        """A rule about addresses or sizes ended a call."""
        if self._metrics is not None:
            self._metrics.outbound_refused.labels(reason).inc()


def end_of(result: Exception | Completion) -> TryEnd:
    """How a request ended that gave this."""
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
