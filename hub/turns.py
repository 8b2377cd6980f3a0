"""Whether a loop still goes round, as it promised to.

A loop says when it works and when it waits. It is late when it has neither come to
its next wait nor said a word for longer than any turn takes: it hangs in something
that does not answer. A loop that has ended is its supervisor's to notice.
"""

import math
from typing import Final

from hub.clock import Clock

WORK_S: Final = 75.0  # no turn takes so long: a database that does not answer is given up after 60 s


class Turns:
    """The promises of one loop. Before its first one it has promised nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.due = math.inf  # monotonic; infinite: nothing is promised

    def work(self) -> None:
        """A turn begins, or has come a step further; within WORK_S there is word again."""
        self.due = self._clock.monotonic() + WORK_S

    def wait(self, most_s: float = math.inf) -> None:
        """Nothing to do for *most_s* at most; by default until somebody brings something."""
        self.due = self._clock.monotonic() + most_s + WORK_S

    @property
    def is_late(self) -> bool:
        """Whether the last promise was not kept."""
        return self._clock.monotonic() > self.due
