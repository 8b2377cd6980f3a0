"""Delay of the event loop: how it is measured, and which blocking calls are logged.

A thread observes the loop, and logs the calls that block it.
"""

import sys
import threading
import time
from types import FrameType
from typing import Final

import anyio
from anyio.abc import TaskStatus

from hub.base.clock import Clock
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.periodic_loop import LoopReports

log = Channel(__name__)

EVERY_S: Final = 0.25
IDLE_EVERY_S: Final = 1.0  # while the loop has next to nothing to do
IDLE: Final = 0.02  # maximum CPU share of such a loop
STUCK_S: Final = 5.0  # from then on /health reports the hub as stuck
HELD_S: Final = 0.25  # longer blockages are logged with their calls
BUSY: Final = 0.5  # minimum CPU share of a loop that is late because of its own work
DEEPEST: Final = 6  # logged calls, the innermost ones


class LoopLag:
    """Service that wakes every EVERY_S, or IDLE_EVERY_S, and measures how late it is."""

    def __init__(self, *, clock: Clock, metrics: Metrics) -> None:
        self.loop = LoopReports(clock)
        self._clock = clock
        self._metrics = metrics
        self._last_s = self._longest_s = 0.0
        self._due = clock.monotonic() + EVERY_S

    @property
    def lag_s(self) -> float:
        """Current delay of the loop: of the last wake-up, or the time since it was due if that is more."""
        return max(self._last_s, self._overdue_s)

    def take_longest_s(self) -> float:
        """Return the longest delay since the previous call."""
        longest_s, self._longest_s = max(self._longest_s, self.lag_s), 0.0
        return longest_s

    @property
    def _overdue_s(self) -> float:
        return self._clock.monotonic() - self._due

    @property
    def is_stuck(self) -> bool:
        """True if the loop was blocked for STUCK_S, so that answers are late too."""
        return self.lag_s >= STUCK_S

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Measure until cancelled."""
        self._due = self._clock.monotonic() + EVERY_S
        is_over = threading.Event()
        watcher = threading.Thread(
            target=self._watch, args=(is_over, threading.get_ident()), name="loop lag", daemon=True
        )
        watcher.start()
        before, every_s = time.thread_time(), EVERY_S
        task_status.started()
        try:
            while True:
                self.loop.wait(every_s)
                await self._clock.sleep(self._due - self._clock.monotonic())
                now, worked = self._clock.monotonic(), time.thread_time()
                self._last_s = max(0.0, now - self._due)
                self._longest_s = max(self._longest_s, self._last_s)
                self._metrics.loop_lag.observe(self._last_s)
                share = (worked - before) / (every_s + self._last_s)
                self._metrics.loop.lag_s = self._last_s if share >= BUSY else 0.0  # else the machine is busy
                every_s = IDLE_EVERY_S if share <= IDLE and self._last_s < EVERY_S else EVERY_S
                self._due, before = now + every_s, worked
        finally:
            is_over.set()

    def _watch(self, is_over: threading.Event, loop_thread: int) -> None:
        """Log the calls that block the loop, once per blockage. Runs in a thread of its own."""
        reported_due = 0.0
        while not is_over.wait(max(EVERY_S, self._due - self._clock.monotonic() + HELD_S)):
            due, late_s = self._due, self._overdue_s
            if late_s < HELD_S or due == reported_due:
                continue
            reported_due = due
            log.warning(
                "loop.held",
                seconds=round(late_s, 2),
                cause=self._metrics.loop.current or "hub",
                calls=calls_of(sys._current_frames().get(loop_thread)),
            )


def calls_of(frame: FrameType | None) -> list[str]:
    """Return the innermost DEEPEST calls of a stack as ``module:line``, the innermost first."""
    calls: list[str] = []
    while frame is not None and len(calls) < DEEPEST:
        calls.append(f"{frame.f_globals.get('__name__', '?')}:{frame.f_lineno}")
        frame = frame.f_back
    return calls
