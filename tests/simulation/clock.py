"""Clocks of a simulation: of the world, of each machine, and of the database.

Between two rounds of work nothing happens for hours, but polling hubs cost time even then. Therefore the
world *sleeps*, like a suspended laptop: wall clocks advance, monotonic clocks do not, and no task runs.
"""

import asyncio
from datetime import datetime, timedelta

import anyio

from tests.simulation.loop import START_S


class WorldTime:
    """Time of the world, which never jumps and is hidden from the hubs.

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
        """Seconds during which tasks could run."""
        return self._loop.time() - START_S

    @property
    def now_s(self) -> float:
        """Seconds since the world began."""
        return self.awake_s + self.slept_s

    def sleep(self, seconds: float) -> None:
        """Advance only the wall clocks."""
        self.slept_s += seconds


class SimClock:
    """Implementation of ``hub.clock.Clock`` for a machine; its wall clock can be wrong, and jump."""

    def __init__(self, time: WorldTime) -> None:
        self._time = time
        self.ahead_s = 0.0  # of the right time

    def now(self) -> datetime:
        return self._time.epoch + timedelta(seconds=self._time.now_s + self.ahead_s)

    def now_ms(self) -> int:
        """Return ``now`` in epoch milliseconds."""
        return self._time.epoch_ms + int((self._time.now_s + self.ahead_s) * 1000)

    def monotonic(self) -> float:
        return self._time.awake_s + START_S

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    def jump(self, seconds: float) -> None:
        """Change the wall clock, as an operator or a time server does."""
        self.ahead_s += seconds


class DatabaseClock:
    """Clock that measures leases; it stops while the world sleeps.

    Otherwise every lease would have expired at every wake-up, and no fault could end one. In a world with one
    machine it is the machine's wall clock, including its jumps.
    """

    def __init__(self, time: WorldTime, machine: SimClock | None) -> None:
        self._time = time
        self._machine = machine

    def now_ms(self) -> int:
        ahead_s = 0.0 if self._machine is None else self._machine.ahead_s
        return self._time.epoch_ms + int((self._time.awake_s + ahead_s) * 1000)
