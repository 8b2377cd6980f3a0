"""Request to stop the hub: first gracefully, and a second time without waiting for executing runs."""

from collections.abc import Callable

import anyio


class Drain:
    """Stop request of a signal or an operator; it cannot be withdrawn.

    Attributes:
        restarts: True if another process takes over at once, so that devices should reconnect.
    """

    def __init__(self, *, restarts: bool = False) -> None:
        self.restarts = restarts
        self._begun = anyio.Event()
        self._is_hurried = False
        self._hurry: Callable[[], None] = lambda: None

    @property
    def is_begun(self) -> bool:
        """True if the hub is stopping."""
        return self._begun.is_set()

    def begin(self, *, restarts: bool | None = None) -> bool:
        """Stop the hub. Return False, without a change, if it is stopping already."""
        if self.is_begun:
            return False
        if restarts is not None:
            self.restarts = restarts
        self._begun.set()
        return True

    async def begun(self) -> None:
        """Wait until the hub is to stop."""
        await self._begun.wait()

    def hurry(self) -> None:
        """Stop waiting for executing runs."""
        self._is_hurried = True
        self._hurry()

    def on_hurry(self, do: Callable[[], None]) -> None:
        """Register a callback for ``hurry``; call it at once if that has happened already."""
        self._hurry = do
        if self._is_hurried:
            do()
