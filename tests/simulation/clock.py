"""What time it is in a simulation: for the world, for each machine in it, and for the database.

Between two rounds of work nothing happens for hours, and polling hubs make even
that cost something. So the world *sleeps*, as a laptop does with its lid closed:
wall clocks go on, monotonic ones do not, and nobody runs meanwhile.
"""

import asyncio
from datetime import datetime, timedelta

import anyio

from tests.simulation.loop import START_S


class WorldTime:
    """Time as nobody in the world can see it: it never jumps.

    Args:
        epoch: when the world begins.
    """

    def __init__(self, epoch: datetime) -> None:
        self._loop = asyncio.get_running_loop()
        self.epoch = epoch
        self.epoch_ms = int(epoch.timestamp() * 1000)
        self.slept_s = 0.0

    @property
    def awake_s(self) -> float:
        """Seconds that somebody could have run in."""
        return self._loop.time() - START_S

    @property
    def now_s(self) -> float:
        """Seconds since the world began."""
        return self.awake_s + self.slept_s

    def sleep(self, seconds: float) -> None:
        """Let wall clocks go on by so much, and nothing else."""
        self.slept_s += seconds


class SimClock:
    """A machine's ``hub.clock.Clock``. Its wall clock can be wrong, and jump."""

    def __init__(self, time: WorldTime) -> None:
        self._time = time
        self.ahead_s = 0.0  # of the right time

    def now(self) -> datetime:
        return self._time.epoch + timedelta(seconds=self._time.now_s + self.ahead_s)

    def now_ms(self) -> int:
        """``now`` as rows have it."""
        return self._time.epoch_ms + int((self._time.now_s + self.ahead_s) * 1000)

    def monotonic(self) -> float:
        return self._time.awake_s + START_S

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    def jump(self, seconds: float) -> None:
        """Set the wall clock, as an operator or a time server does."""
        self.ahead_s += seconds


class DatabaseClock:
    """The clock that leases are measured by. It stands still while the world sleeps.

    Else every lease would have run out at every waking, and none would be lost by a
    fault. Of one machine it is that machine's wall clock, jumps included.
    """

    def __init__(self, time: WorldTime, machine: SimClock | None) -> None:
        self._time = time
        self._machine = machine

    def now_ms(self) -> int:
        ahead_s = 0.0 if self._machine is None else self._machine.ahead_s
        return self._time.epoch_ms + int((self._time.awake_s + ahead_s) * 1000)
