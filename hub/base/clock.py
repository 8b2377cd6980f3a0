"""Clock, randomness and ids of the process, and conversion of instants to text.

All other modules receive a ``Clock``, a ``Chance`` or an ``IdFactory``. So a test can set the time, and a
simulation can run the hub from a seed.
"""

import os
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Final, Protocol

import anyio

from protocol.ids import CHANCE_BYTES, spell_id

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Both count the time that the machine was suspended: the second one on macOS. Windows has neither.
_UPTIME: Final = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
_MACHINE: Final = Path("/proc/sys/kernel/random/boot_id")
_MS: Final = timedelta(milliseconds=1)
# beginning of the year 1, and end of the year 9999, in epoch milliseconds
FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999


class Clock(Protocol):
    """Clock with wall time for people and monotonic time for durations."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never decrease; comparable within this process only."""
        ...

    def uptime_s(self) -> float:
        """Return seconds like ``monotonic``, with the time that the machine was suspended: for leases."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for *seconds* of monotonic time; a negative number is treated as 0."""
        ...


def machine_uptime_s() -> float:
    """Return seconds since the start of this machine, with the time that it was suspended."""
    return time.monotonic() if _UPTIME is None else time.clock_gettime(_UPTIME)


class SystemClock:
    """Clock of the machine."""

    monotonic = staticmethod(time.monotonic)  # itself: it is asked four times for each call to a device
    uptime_s = staticmethod(machine_uptime_s)

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(max(0.0, seconds))


def machine_start() -> str:
    """Return the id of this start of the machine, within which uptimes can be compared; empty: unknown."""
    try:
        return _MACHINE.read_text().strip()
    except OSError:
        return ""


class HubClock:
    """Clock of a hub: its wall time advances steadily, and steps only by ``move``.

    If the machine's clock is set, the hub's time goes on until all stored instants are judged again; see
    ``hub.runs.clock_watch``. So instants that were stored, and the time that they are compared with, are
    always of one clock.

    Args:
        source: clock of the machine.
        uptime_s: returns the seconds since some moment, with the time that the machine was suspended.
    """

    def __init__(self, source: Clock, uptime_s: Callable[[], float]) -> None:
        self.source = source
        self.uptime_s = uptime_s
        self.monotonic = source.monotonic
        self.sleep = source.sleep
        self._zero_s = source.now().timestamp() - uptime_s()  # wall time at an uptime of 0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._zero_s + self.uptime_s(), UTC)

    def move(self, seconds: float) -> None:
        """Move the wall time by *seconds*."""
        self._zero_s += seconds


class Chance(Protocol):
    """Source of random numbers."""

    def token_bytes(self, count: int) -> bytes:
        """Return unpredictable bytes."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """Return a number between *low* and *high*, for jitter."""
        ...


class SystemChance:
    """Random numbers of the operating system."""

    def token_bytes(self, count: int) -> bytes:
        return os.urandom(count)

    def uniform(self, low: float, high: float) -> float:
        return random.uniform(low, high)


class IdFactory:
    """Generator of UUIDv7 ids, which sort by the time of their creation."""

    def __init__(self, clock: Clock, chance: Chance) -> None:
        self._clock = clock
        self._chance = chance

    def fresh(self) -> str:
        """Return a new id."""
        return spell_id(epoch_ms(self._clock.now()), self._chance.token_bytes(CHANCE_BYTES))


async def wait_for_event(event: anyio.Event, clock: Clock, seconds: float) -> None:
    """Wait until *event* is set, or *seconds* of *clock* have passed."""

    async def end_wait(scope: anyio.CancelScope) -> None:
        await clock.sleep(seconds)
        scope.cancel()

    async with anyio.create_task_group() as waiting:
        waiting.start_soon(end_wait, waiting.cancel_scope)
        await event.wait()
        waiting.cancel_scope.cancel()


def epoch_ms(at: datetime) -> int:
    """Convert an aware datetime to epoch milliseconds."""
    return (at - _EPOCH) // _MS


def now_ms(clock: Clock) -> int:
    """Return the wall time of *clock* in UTC epoch milliseconds."""
    return epoch_ms(clock.now())


def utc_text(at_ms: int) -> str:
    """Return an instant for a sentence: ``2026-01-05 09:00 UTC``."""
    return f"{from_epoch_ms(at_ms):%Y-%m-%d %H:%M} UTC"


def moment_text(at: datetime, zone: tzinfo | None = None, *, has_seconds: bool = False) -> str:
    """Return an instant for people, with its date and zone: ``2026-01-05 09:14 +01:00``.

    Args:
        zone: time zone; this machine's by default.
        has_seconds: False: without seconds if they are zero.
    """
    at = at.astimezone(zone)
    shape = "%Y-%m-%d %H:%M:%S" if has_seconds or at.second else "%Y-%m-%d %H:%M"
    return f"{at:{shape}} {offset_text(at)}"


def offset_text(at: datetime) -> str:
    """Return the UTC offset of *at*: ``+01:00``, or ``UTC`` for none."""
    digits = f"{at:%z}"
    return f"{digits[:3]}:{digits[3:5]}" if at.utcoffset() else "UTC"


def from_epoch_ms(value: int) -> datetime:
    """Convert epoch milliseconds to an aware datetime in UTC, of the years 1 to 9999."""
    return datetime.fromtimestamp(min(max(value, FIRST_MS), LAST_MS) / 1000, UTC)
