"""Notifications to watchers of a run.

A notification only says that the run changed; the watcher reads the change from the rows. So a slow watcher
misses nothing and delays no other task.
"""

from collections import Counter
from collections.abc import AsyncGenerator

import anyio

from protocol.ids import RunId


class RunWatch:
    """Wakes the watchers of a run. Keeps state only for runs that are watched."""

    def __init__(self) -> None:
        self._changes: dict[RunId, anyio.Event] = {}
        self._watchers: Counter[RunId] = Counter()

    def __len__(self) -> int:
        return len(self._watchers)

    def changed(self, run_id: RunId) -> None:
        """Wake all watchers of the run."""
        if event := self._changes.pop(run_id, None):
            event.set()

    async def changes(self, run_id: RunId, *, at_most_every_s: float = 0.2) -> AsyncGenerator[None]:
        """Yield immediately, and then once per change; changes in quick succession count as one.

        The caller closes the generator (``contextlib.aclosing``).
        """
        self._watchers[run_id] += 1
        try:
            while True:
                event = self._changes.setdefault(run_id, anyio.Event())
                yield
                await event.wait()
                await anyio.sleep(at_most_every_s)
        finally:
            self._watchers[run_id] -= 1
            if not self._watchers[run_id]:
                del self._watchers[run_id]
                self._changes.pop(run_id, None)
