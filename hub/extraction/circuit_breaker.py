"""Circuit breaker of a model endpoint: after which failures it opens, and when it tries again. No I/O.

A closed circuit opens after several consecutive failures, and at once when the quota is used up. After a
delay it is half open: one question tests the endpoint. Meanwhile other endpoints are asked.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final

from hub.base.clock import Clock
from hub.extraction.model import ModelError, ModelExhausted, ModelRefused, ModelUnavailable, OddAnswer
from protocol.backoff import Backoff

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


class Breaker:
    """Circuit breaker of one endpoint.

    Attributes:
        failed_at: time of the first failure since the last answer; None while there is none.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._in_a_row = 0
        self._openings = 0  # since the last answer
        self._until = 0.0  # monotonic: when the endpoint is asked again
        self._cause: ModelError | None = None  # of an open circuit
        self._unanswered: ModelError | None = None
        self.failed_at: datetime | None = None

    @property
    def circuit(self) -> Circuit:
        """Current state of the circuit."""
        if self._cause is None:
            return Circuit.CLOSED
        return Circuit.OPEN if self.wait_s > 0 else Circuit.HALF_OPEN

    @property
    def wait_s(self) -> float:
        """Seconds until the endpoint is asked again; 0.0 if it may be asked."""
        return 0.0 if self._cause is None else max(0.0, self._until - self._clock.monotonic())

    @property
    def error(self) -> ModelError | None:
        """Error that opened the circuit, or of a last question without an answer."""
        return self._cause or self._unanswered

    def succeeded(self) -> None:
        """Record an answer, which closes the circuit."""
        self._in_a_row = self._openings = 0
        self._cause = self._unanswered = self.failed_at = None

    def try_now(self) -> None:
        """End the delay at a person's request: the next question tests the endpoint."""
        self._until = self._clock.monotonic()

    def failed(self, error: ModelError) -> None:
        """Record a failure. An error that concerns only the question has no effect."""
        match error:
            case ModelExhausted(reason="rate_limit", retry_after_s=float(after_s)):
                self._open(error, after_s)
            case ModelExhausted():
                self._open(error, self._next_wait_s())
            case ModelUnavailable() | EndpointRefused() | OddAnswer():
                self._unanswered = None if isinstance(error, OddAnswer) else error
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
            raise ModelExhausted(
                str(known), reason=known.reason, retry_after_s=left_s, is_known=True, observed=known.observed
            )

    def _next_wait_s(self) -> float:
        wait_s = OPEN.delay(self._openings, 1.0)
        self._openings += 1
        return wait_s

    def _open(self, error: ModelError, seconds: float) -> None:
        self._until, self._cause = self._clock.monotonic() + seconds, error
