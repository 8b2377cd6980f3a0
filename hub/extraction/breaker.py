"""A circuit: what is known of an endpoint that gave nothing, so that others are asked meanwhile. No I/O.

Closed, it is asked. It opens after so many questions in a row without an answer, and at once
when its quota is used up. After a while it is half open: one question finds out.
"""

from enum import StrEnum
from typing import Final

import msgspec

from hub.clock import Clock
from hub.extraction.model import ModelError, ModelExhausted, ModelRefused, ModelUnavailable
from protocol.backoff import Backoff

FAILURES: Final = 3  # questions in a row, each with all its tries
OPEN: Final = Backoff(base_s=30.0, cap_s=600.0)  # an agent without quota looks again after 10 min: not later


class EndpointRefused(ModelRefused):
    """Every question would be refused like this one: the key, the address or the model's name is wrong."""


class Circuit(StrEnum):
    """Whether an endpoint is asked."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class _Opened(msgspec.Struct, frozen=True):
    until: float  # monotonic
    error: ModelError


class Breaker:
    """The circuit of one endpoint."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._in_a_row = 0
        self._openings = 0  # since the last answer
        self._opened: _Opened | None = None

    @property
    def circuit(self) -> Circuit:
        """Whether the endpoint is asked now."""
        if self._opened is None:
            return Circuit.CLOSED
        return Circuit.OPEN if self.wait_s > 0 else Circuit.HALF_OPEN

    @property
    def wait_s(self) -> float:
        """Until it is asked again; 0.0 when it may be asked."""
        return 0.0 if self._opened is None else max(0.0, self._opened.until - self._clock.monotonic())

    @property
    def error(self) -> ModelError | None:
        """What opened it; ``None`` while it is closed."""
        return None if self._opened is None else self._opened.error

    def succeeded(self) -> None:
        """There was an answer."""
        self._in_a_row = self._openings = 0
        self._opened = None

    def try_now(self) -> None:
        """Somebody says that it answers again: the next question finds out, without a wait."""
        if self._opened is not None:
            self._opened = _Opened(self._clock.monotonic(), self._opened.error)

    def failed(self, error: ModelError) -> None:
        """There was none. An error that is about the question alone says nothing of the endpoint."""
        match error:
            case ModelExhausted(reason="rate_limit", retry_after_s=float(after_s)):
                self._open(error, after_s)
            case ModelExhausted():
                self._open(error, self._next_wait_s())
            case ModelUnavailable() | EndpointRefused():
                self._in_a_row += 1
                if self._in_a_row >= FAILURES:
                    self._open(error, self._next_wait_s())

    def check_quota(self) -> None:
        """Raise again, without asking, what is known to be so: the quota is used up.

        Raises:
            ModelExhausted: with the wait that is left of the one that was asked for.
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
