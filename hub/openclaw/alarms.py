"""Time limits by the injected clock.

anyio's own look at the machine's clock, and a limit in a task group of its own would
wrap what is raised in it. Here the tasks that wait live in the group of whoever owns the connection.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from anyio.abc import TaskGroup

from hub.clock import Clock


class Alarms:
    """Time limits for everything that happens in one task group."""

    def __init__(self, clock: Clock, tasks: TaskGroup) -> None:
        self._clock = clock
        self._tasks = tasks

    @contextmanager
    def move_on_after(self, seconds: float) -> Iterator[anyio.CancelScope]:
        """A block that is left after so many seconds; its scope's ``cancelled_caught`` tells."""
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
