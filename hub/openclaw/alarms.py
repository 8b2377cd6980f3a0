"""Time limits by the injected clock.

anyio's time limits use the machine's clock, and a limit in its own task group would wrap errors in a group.
Here the waiting tasks run in the task group of the connection's owner.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from anyio.abc import TaskGroup

from hub.clock import Clock


class Alarms:
    """Time limits for the tasks of one task group."""

    def __init__(self, clock: Clock, tasks: TaskGroup) -> None:
        self._clock = clock
        self._tasks = tasks

    @contextmanager
    def move_on_after(self, seconds: float) -> Iterator[anyio.CancelScope]:
        """Cancel the block after *seconds*; its scope's ``cancelled_caught`` is True then."""
        limited, waiting = anyio.CancelScope(), anyio.CancelScope()
        self._tasks.start_soon(self._ring, self._clock.monotonic() + seconds, limited, waiting)
        try:
            with limited:
                yield limited
        finally:
            waiting.cancel()

    async def _ring(self, deadline: float, limited: anyio.CancelScope, waiting: anyio.CancelScope) -> None:
        with waiting:
            await self._clock.sleep(deadline - self._clock.monotonic())
            limited.cancel()
