"""Limit on devices that repeatedly take over their own connection, often one key on two machines.

The newest connection of a device replaces the older one, whose goodbye forbids a reconnect. Two machines that
something else restarts would still replace each other for ever. So after several takeovers, the current
connection stays, and new ones are refused for a while.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from hub.clock import Clock
from protocol.ids import DeviceId

REMEMBERED: Final = 10_000  # devices


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeoverLimits:
    """After *most* takeovers of a device in *window_s*, further ones are refused for *wait_s*."""

    most: int = 6
    window_s: float = 60.0
    wait_s: float = 300.0


class Takeovers:
    """Takeovers by device, and the devices that cannot be taken over for a while."""

    def __init__(self, clock: Clock, *, limits: TakeoverLimits | None = None) -> None:
        self._clock = clock
        self.limits = limits or TakeoverLimits()
        self._taken_at: dict[DeviceId, deque[float]] = {}
        self._waits_until: dict[DeviceId, float] = {}

    def record(self, device_id: DeviceId) -> None:
        """Record that a connection of the device replaced another one."""
        now = self._clock.monotonic()
        times = self._taken_at.pop(device_id, None) or deque()
        times.append(now)
        self._taken_at[device_id] = times  # reinserted at the end, so the first entry is the oldest
        if len(self._taken_at) > REMEMBERED:
            del self._taken_at[next(iter(self._taken_at))]
        while times[0] <= now - self.limits.window_s:
            times.popleft()
        if len(times) >= self.limits.most:
            times.clear()
            self._waits_until[device_id] = now + self.limits.wait_s

    def wait_s(self, device_id: DeviceId) -> float:
        """Return the seconds during which the device cannot be taken over; 0 if it can."""
        until = self._waits_until.get(device_id)
        if until is None:
            return 0.0
        wait_s = until - self._clock.monotonic()
        if wait_s <= 0:
            del self._waits_until[device_id]
        return max(0.0, wait_s)

    def waiting(self) -> dict[DeviceId, float]:
        """Return the devices that cannot be taken over now, with the seconds left."""
        return {
            device_id: wait_s for device_id in list(self._waits_until) if (wait_s := self.wait_s(device_id))
        }
