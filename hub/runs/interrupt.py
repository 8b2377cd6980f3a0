"""How a run is stopped from outside: at the next boundary between two units, soon, or at once."""

from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from protocol.lifecycles import RunEvent


class Interrupt:
    """One for each executing run. What is set first wins."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()  # around the whole attempt
        self.reading = anyio.CancelScope()  # around the reading of new units alone
        self.event: RunEvent | None = None
        self.reason: str | None = None
        self.is_winding_up = False
        self.is_leaving = False  # the hub stops: what cannot be written is left to the next boot
        self.over = anyio.Event()  # the execution has let go of its device
        self._thinking: set[anyio.CancelScope] = set()
        self._nudged = anyio.Event()

    def ask(self, event: RunEvent, reason: str) -> None:
        """Read no further; let the units in hand come to their end, then stop."""
        if self.event is None:
            self.event, self.reason = event, reason
        self.reading.cancel()
        self.nudge()

    def stop(self, event: RunEvent, reason: str, *, grace_s: float = 0.0) -> None:
        """Begin nothing more; stop as soon as what was sent is answered, and after *grace_s* anyway.

        What is sent and unanswered by then stays so, and is settled when somebody asks
        for it again.
        """
        self.ask(event, reason)
        self.is_winding_up = True
        self.is_leaving = self.is_leaving or event is RunEvent.DRAINED
        for scope in self._thinking:
            scope.cancel()
        if grace_s > 0:
            self.scope.deadline = min(self.scope.deadline, anyio.current_time() + grace_s)
        else:
            self.scope.cancel()

    @contextmanager
    def thinking(self) -> Iterator[anyio.CancelScope]:
        """Around what a stop makes pointless: questions to a model whose answers are not planned yet."""
        with anyio.CancelScope() as scope:
            self._thinking.add(scope)
            if self.is_winding_up:
                scope.cancel()
            try:
                yield scope
            finally:
                self._thinking.discard(scope)

    def nudge(self) -> None:
        """Something may have changed for the run: its device may be back."""
        self._nudged.set()

    async def nudged(self) -> None:
        """Until the next nudge."""
        self._nudged = anyio.Event()
        await self._nudged.wait()
