"""How a run is stopped from outside: at once, or at the next boundary between two units."""

import anyio

from protocol.lifecycles import RunEvent


class Interrupt:
    """One for each executing run. What is set first wins."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()  # around the whole attempt
        self.reading = anyio.CancelScope()  # around the reading of new units alone
        self.event: RunEvent | None = None
        self.reason: str | None = None

    def ask(self, event: RunEvent, reason: str) -> None:
        """Read no further; let the units in hand come to their end, then stop."""
        if self.event is None:
            self.event, self.reason = event, reason
        self.reading.cancel()

    def stop(self, event: RunEvent, reason: str) -> None:
        """Stop now. What was sent stays sent, and is settled when the run goes on."""
        self.ask(event, reason)
        self.scope.cancel()
