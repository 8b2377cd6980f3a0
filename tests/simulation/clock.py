"""Clocks of a simulation: of the world, of each machine, and of the database.

Between two rounds of work nothing happens for hours, but polling hubs cost time even then. Therefore the
world *sleeps*, like a suspended laptop: wall clocks advance, monotonic clocks do not, and no task runs.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import anyio

from hub.base.clock import HubClock, epoch_ms
from hub.runs.clock_watch import JUMP_S
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
    """Implementation of ``hub.base.clock.Clock`` for a machine; its wall clock can be wrong, and jump."""

    def __init__(self, time: WorldTime) -> None:
        self.time = time
        self.ahead_s = 0.0  # of the right time

    def now(self) -> datetime:
        return self.time.epoch + timedelta(seconds=self.time.now_s + self.ahead_s)

    def monotonic(self) -> float:
        return self.time.awake_s + START_S

    def uptime_s(self) -> float:
        """Return ``monotonic``: leases do not expire while the world sleeps; see ``DatabaseClock``."""
        return self.monotonic()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    def jump(self, seconds: float) -> None:
        """Change the wall clock, as an operator or a time server does."""
        self.ahead_s += seconds


class SimHubClock(HubClock):
    """Clock of a hub on a machine.

    Args:
        on_step: called when its hub has begun to follow a clock that was set, before any row is corrected.
    """

    def __init__(self, source: SimClock, on_step: Callable[[], None] = lambda: None) -> None:
        super().__init__(source, lambda: source.time.now_s)
        self._time = source.time
        self._on_step = on_step

    @property
    def ahead_s(self) -> float:
        """Seconds by which it is ahead of the right time."""
        return self._zero_s - self._time.epoch.timestamp()

    def move(self, seconds: float) -> None:
        super().move(seconds)
        if abs(seconds) > JUMP_S:
            self._on_step()

    def now_ms(self) -> int:
        """Return ``now`` in epoch milliseconds."""
        return epoch_ms(self.now())


class DatabaseClock:
    """Clock that measures leases; it stops while the world sleeps.

    Otherwise every lease would have expired at every wake-up, and no fault could end one. In a world with one
    machine it is the clock of the hub, including its steps, otherwise that of a server.
    """

    def __init__(self, time: WorldTime, ahead_s: Callable[[], float]) -> None:
        self._time = time
        self._ahead_s = ahead_s

    def now_ms(self) -> int:
        return self._time.epoch_ms + int((self._time.awake_s + self._ahead_s()) * 1000)
