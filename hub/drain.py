"""How the hub is asked to stop: once, in good order; once more, without waiting for what executes."""

from collections.abc import Callable

import anyio


class Drain:
    """Asked for by a signal or by an operator; it cannot be taken back.

    Attributes:
        restarts: another process takes over at once, so devices are told to come back.
    """

    def __init__(self, *, restarts: bool = False) -> None:
        self.restarts = restarts
        self._begun = anyio.Event()
        self._is_hurried = False
        self._hurry: Callable[[], None] = lambda: None

    @property
    def is_begun(self) -> bool:
        """Whether the hub stops."""
        return self._begun.is_set()

    def begin(self, *, restarts: bool | None = None) -> bool:
        """Stop the hub. False when that was asked already; then nothing changes."""
        if self.is_begun:
            return False
        if restarts is not None:
            self.restarts = restarts
        self._begun.set()
        return True

    async def begun(self) -> None:
        """Until the hub is to stop."""
        await self._begun.wait()

    def hurry(self) -> None:
        """What executes is not waited for any longer."""
        self._is_hurried = True
        self._hurry()

    def on_hurry(self, do: Callable[[], None]) -> None:
        """Let *do* be called when somebody hurries; at once if that has been already."""
        self._hurry = do
        if self._is_hurried:
            do()
