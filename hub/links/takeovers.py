"""Devices that take their own place again and again: most often one key on two machines.

The newest connection of a device wins, and the older one is told not to come back.
Two machines that are restarted by something else would still push each other out for
ever; after some takeovers whoever is there stays, and the other one waits.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from hub.clock import Clock
from protocol.ids import DeviceId

REMEMBERED: Final = 10_000  # devices


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeoverLimits:
    """*most* takeovers of a device in *window_s*; further ones are refused for *wait_s*."""

    most: int = 6
    window_s: float = 60.0
    wait_s: float = 300.0


class Takeovers:
    """Counts takeovers by device, and says which devices are in the wait that follows."""

    def __init__(self, clock: Clock, *, limits: TakeoverLimits | None = None) -> None:
        self._clock = clock
        self.limits = limits or TakeoverLimits()
        self._taken_at: dict[DeviceId, deque[float]] = {}
        self._waits_until: dict[DeviceId, float] = {}

    def record(self, device_id: DeviceId) -> None:
        """A connection of the device replaced another one."""
        now = self._clock.monotonic()
        times = self._taken_at.pop(device_id, None) or deque()
        times.append(now)
        self._taken_at[device_id] = times  # at the end: the others are older
        if len(self._taken_at) > REMEMBERED:
            del self._taken_at[next(iter(self._taken_at))]
        while times[0] <= now - self.limits.window_s:
            times.popleft()
        if len(times) >= self.limits.most:
            times.clear()
            self._waits_until[device_id] = now + self.limits.wait_s

    def wait_s(self, device_id: DeviceId) -> float:
        """How long the device may not be taken over; 0 when it may."""
        until = self._waits_until.get(device_id)
        if until is None:
            return 0.0
        wait_s = until - self._clock.monotonic()
        if wait_s <= 0:
            del self._waits_until[device_id]
        return max(0.0, wait_s)

    def waiting(self) -> dict[DeviceId, float]:
        """The devices that may not be taken over now, and how long: for the list of issues."""
        return {
            device_id: wait_s for device_id in list(self._waits_until) if (wait_s := self.wait_s(device_id))
        }
