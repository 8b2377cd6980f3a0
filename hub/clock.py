"""Time, chance and fresh ids: the one place where they come in.

Everything else is handed a ``Clock``, a ``Chance`` or an ``IdFactory``, so that a
test moves time by hand and a simulation can run the hub from a seed.
"""

import random
import secrets
import time
from datetime import UTC, datetime
from typing import Protocol

import anyio

from protocol.ids import CHANCE_BYTES, spell_id


class Clock(Protocol):
    """Wall time for what people read, monotonic time for how long something takes."""

    def now(self) -> datetime:
        """Wall time, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards; comparable within this process only."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait so many monotonic seconds; less than none is none: who waits for an instant may come late."""
        ...


class SystemClock:
    """The machine's clocks."""

    monotonic = staticmethod(time.monotonic)  # itself: it is asked four times for each call to a device

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(max(0.0, seconds))


class Chance(Protocol):
    """A source of chance."""

    def token_bytes(self, count: int) -> bytes:
        """Bytes nobody can guess."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """A number between *low* and *high*, for jitter."""
        ...


class SystemChance:
    """The operating system's chance."""

    def token_bytes(self, count: int) -> bytes:
        return secrets.token_bytes(count)

    def uniform(self, low: float, high: float) -> float:
        return random.uniform(low, high)


class IdFactory:
    """Fresh ids: UUIDv7, so that they sort by the time they were made."""

    def __init__(self, clock: Clock, chance: Chance) -> None:
        self._clock = clock
        self._chance = chance

    def fresh(self) -> str:
        """An id that was never used before."""
        return spell_id(epoch_ms(self._clock.now()), self._chance.token_bytes(CHANCE_BYTES))


def epoch_ms(at: datetime) -> int:
    """UTC epoch milliseconds of an aware datetime."""
    return int(at.timestamp() * 1000)


def from_epoch_ms(value: int) -> datetime:
    """The aware UTC datetime of epoch milliseconds."""
    return datetime.fromtimestamp(value / 1000, UTC)
