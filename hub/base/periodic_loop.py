"""Loop of a service that works periodically or when woken; when such a loop counts as late.

A loop reports when it works and when it waits. It is late if neither report follows within the time that the
last report allows, because a call does not return. The supervisor detects the end of a loop.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from hub.base.clock import Clock, wait_for_event
from hub.base.log import Channel
from protocol.errors import DependencyFailed

RETRY_S: Final = 5.0  # after an error, of a loop that else rests until it is woken
WORK_S: Final = 75.0  # no turn takes so long: a database that does not answer is given up after 60 s


class LoopReports:
    """Reports of one loop. Before the first report, the loop is never late."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.due = math.inf  # monotonic; infinite: nothing is promised

    def work(self) -> None:
        """Report that a turn has begun or made progress; the next report follows within WORK_S."""
        self.due = self._clock.monotonic() + WORK_S

    def wait(self, most_s: float = math.inf) -> None:
        """Report that the loop waits for at most *most_s*, by default for ever."""
        self.due = self._clock.monotonic() + most_s + WORK_S

    @property
    def is_late(self) -> bool:
        """True if the last report has expired."""
        return self._clock.monotonic() > self.due


log = Channel(__name__)


class PeriodicLoop(LoopReports):
    """Loop of a service that works in rounds, with the report of its turns."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.is_rested = True  # the round before ended without a wake
        self.on_fault: Callable[[Exception], None] = lambda _: None  # of a fault in the hub; for its health
        self._wake = anyio.Event()

    def wake(self) -> None:
        """Begin the next round at once, because there is work."""
        self._wake.set()

    async def serve(
        self,
        work: Callable[[], Awaitable[float | None]],
        *,
        of: str,
        every_s: float,
        least_s: float = 0.0,
        first_s: float = 0.0,
    ) -> None:
        """Run rounds until cancelled.

        Args:
            work: does the work of a round. Returns the seconds to rest; infinite: until the loop is woken.
            of: name of the service in the log.
            every_s: the rest if the work names none, and after an error, of which the loop survives any; an
                infinite one is RETRY_S after an error, since what woke the loop may not be done.
            least_s: the least rest, also for a loop that is woken.
            first_s: the rest before the first round.
        """
        if first_s:
            self.wait(first_s)
            await self._clock.sleep(first_s)
        while True:
            # created before the work reads, so that a later notification is not lost
            self._wake = anyio.Event()
            self.work()
            rest_s: float | None = RETRY_S if math.isinf(every_s) else every_s
            try:
                rest_s = await work()
            except DependencyFailed as exc:
                log.error("round.database", service=of, exc=exc)
            except Exception as exc:
                log.error("round.broke", service=of, exc=exc)
                self.on_fault(exc)
            rest_s = every_s if rest_s is None else rest_s
            self.wait(least_s + rest_s)
            if least_s:
                await self._clock.sleep(least_s)
            if math.isinf(rest_s):
                await self._wake.wait()
            else:
                await wait_for_event(self._wake, self._clock, rest_s)
            self.is_rested = not self._wake.is_set()
