"""Signal that interrupts an executing run, with its reason."""

from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from hub.extraction.model import ModelExhausted
from protocol.lifecycles import RunEvent


class Interrupt:
    """Stop requests for one executing run. The first request determines the reason."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()  # encloses the whole attempt
        self.reading = anyio.CancelScope()  # encloses only the reading of new units
        self.event: RunEvent | None = None
        self.reason: str | None = None
        self.is_winding_up = False
        self.is_leaving = False  # the hub is stopping; failed writes are left to the next boot
        self.rest = anyio.CancelScope()  # before a failed write is tried again
        self.over = anyio.Event()  # the execution no longer uses its device
        self.exhausted: ModelExhausted | None = None  # the first refusal of a question for lack of quota
        self._thinking: set[anyio.CancelScope] = set()
        self._nudged = anyio.Event()

    def ask(self, event: RunEvent, reason: str) -> None:
        """Stop after the units in progress, without reading further units."""
        if self.event is None:
            self.event, self.reason = event, reason
        if event is RunEvent.DRAINED:
            self.is_leaving = True
            self.rest.cancel()
        self.reading.cancel()
        self.nudge()

    def exhaust(self, error: ModelExhausted) -> None:
        """Read no further units, as their questions would be refused; those in progress may be answered."""
        self.exhausted = self.exhausted or error
        self.reading.cancel()

    def check_quota(self) -> None:
        """Raise the error of ``exhaust``, after the units in progress have ended."""
        if self.exhausted is not None:
            raise self.exhausted

    def stop(self, event: RunEvent, reason: str, *, grace_s: float = 0.0) -> None:
        """Stop as soon as sent calls are answered, at the latest after *grace_s* seconds.

        Starts nothing new. Calls that are unanswered by then stay open, and a later run settles them.
        """
        self.ask(event, reason)
        self.is_winding_up = True
        for scope in self._thinking:
            scope.cancel()
        if grace_s > 0:
            self.scope.deadline = min(self.scope.deadline, anyio.current_time() + grace_s)
        else:
            self.scope.cancel()

    @contextmanager
    def thinking(self) -> Iterator[anyio.CancelScope]:
        """Return a scope for model questions that are not planned yet, which a stop cancels."""
        with anyio.CancelScope() as scope:
            self._thinking.add(scope)
            if self.is_winding_up:
                scope.cancel()
            try:
                yield scope
            finally:
                self._thinking.discard(scope)

    def nudge(self) -> None:
        """Wake waiters, because the run's device may be connected again."""
        self._nudged.set()

    async def nudged(self) -> None:
        """Wait for the next nudge."""
        self._nudged = anyio.Event()
        await self._nudged.wait()
