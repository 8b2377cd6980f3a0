"""Who is watching a run, and when to look again.

A watcher is only told *that* something changed; what, it reads from the rows.
So a slow watcher misses nothing and holds nobody up.
"""

from collections import Counter
from collections.abc import AsyncGenerator

import anyio

from protocol.ids import RunId


class RunWatch:
    """Wakes the watchers of a run. Knows a run only while somebody watches it."""

    def __init__(self) -> None:
        self._changes: dict[RunId, anyio.Event] = {}
        self._watchers: Counter[RunId] = Counter()

    def __len__(self) -> int:
        return len(self._watchers)

    def changed(self, run_id: RunId) -> None:
        """Wake everybody who watches the run."""
        if event := self._changes.pop(run_id, None):
            event.set()

    async def changes(self, run_id: RunId, *, at_most_every_s: float = 0.2) -> AsyncGenerator[None]:
        """One element at once and then one for each change, changes in a row counting as one.

        Whoever reads it closes it (``contextlib.aclosing``).
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
