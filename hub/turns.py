"""Detection of a service's loop that hangs.

A loop reports when it works and when it waits. It is late if neither report follows within the time that the
last report allows, because a call does not return. The supervisor detects the end of a loop.
"""

import math
from typing import Final

from hub.clock import Clock

WORK_S: Final = 75.0  # no turn takes so long: a database that does not answer is given up after 60 s


class Turns:
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
