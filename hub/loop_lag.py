"""How late the event loop comes round: the one number that tells a hub that hangs from one that waits."""

from typing import Final

import anyio
from anyio.abc import TaskStatus

from hub.clock import Clock
from hub.metrics import Metrics
from hub.turns import Turns

EVERY_S: Final = 0.25
STUCK_S: Final = 5.0  # operations 8, OBS-1


class LoopLag:
    """Asks to be woken every EVERY_S, and notes by how much it was too late."""

    def __init__(self, *, clock: Clock, metrics: Metrics) -> None:
        self.turns = Turns(clock)
        self._clock = clock
        self._metrics = metrics
        self._last_s = 0.0
        self._due = clock.monotonic() + EVERY_S

    @property
    def lag_s(self) -> float:
        """How late the loop is: the last time it came round, or by now, whichever is more."""
        return max(self._last_s, self._clock.monotonic() - self._due)

    @property
    def is_stuck(self) -> bool:
        """Whether the loop stood still for STUCK_S: what is asked now is answered late too."""
        return self.lag_s >= STUCK_S

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Measure until cancelled."""
        self._due = self._clock.monotonic() + EVERY_S
        task_status.started()
        while True:
            self.turns.wait(EVERY_S)
            await self._clock.sleep(self._due - self._clock.monotonic())
            now = self._clock.monotonic()
            self._last_s = max(0.0, now - self._due)
            self._metrics.loop_lag.observe(self._last_s)
            self._due = now + EVERY_S
