"""Timer for all deadlines of calls and pings to devices, in ticks of a quarter of a second.

A timer or cancel scope per call costs more than the rest of the call: a third of the throughput. Here a
deadline is an entry in the set of its quarter of a second. Adding and removing are set operations, and
deadlines are never early, only up to one tick late. While there is no entry, the wheel sleeps.
"""

from typing import Final, Protocol

import anyio
from anyio.abc import TaskStatus

from hub.base.clock import Clock
from hub.base.periodic_loop import PeriodicLoop

TICK_S: Final = 0.25  # maximum delay of a deadline
_LONGEST_TICKS: Final = 14_400  # of a sleep without entries: an hour


class Timed(Protocol):
    """Object with a deadline on the wheel. Compared by identity."""

    def on_deadline(self) -> None:
        """Handle the passed deadline, already removed from the wheel. Must not wait or raise."""
        ...


Slot = set[Timed]


class DeadlineWheel:
    """Deadlines in slots of one tick each. One wheel serves a whole hub."""

    __slots__ = ("_slots", "_tick_s", "_turned_to", "_waits_for", "loop", "monotonic")

    def __init__(self, clock: Clock, *, tick_s: float = TICK_S) -> None:
        self.loop = PeriodicLoop(clock)
        self.monotonic = clock.monotonic
        self._tick_s = tick_s
        self._slots: dict[int, Slot] = {}
        self._waits_for = 0  # number of the slot until which the wheel sleeps
        self._turned_to = int(clock.monotonic() / tick_s)

    def __len__(self) -> int:
        return sum(len(slot) for slot in self._slots.values())

    def add(self, timed: Timed, deadline: float) -> Slot:
        """Call ``timed.on_deadline`` after *deadline* (monotonic seconds).

        Return the slot of the entry: ``slot.discard(timed)`` removes it.
        """
        # at least the next slot, because the current slot was processed already
        number = max(int(deadline / self._tick_s), self._turned_to) + 1
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = set()
            if number < self._waits_for:
                self.loop.wake()
        slot.add(timed)
        return slot

    def add_after(self, timed: Timed, seconds: float) -> Slot:
        """Add a deadline counted from now, as ``add`` does."""
        return self.add(timed, self.monotonic() + seconds)

    def turn(self) -> None:
        """Process all deadlines that have passed."""
        now = int(self.monotonic() / self._tick_s)
        due = [number for number in self._slots if number <= now]
        self._turned_to = now  # before the callbacks, which may add deadlines
        for number in sorted(due):
            slot = self._slots.pop(number)
            while slot:  # a callback may remove other entries
                slot.pop().on_deadline()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Turn the wheel whenever a slot is due, until cancelled."""
        task_status.started()
        await self.loop.serve(self._turn_due, of="deadlines", every_s=self._tick_s)

    async def _turn_due(self) -> float:
        """Process the deadlines that have passed. Return the seconds until the next one."""
        self.turn()
        self._waits_for = min(self._slots, default=self._turned_to + _LONGEST_TICKS)
        return max(self._tick_s / 10, self._waits_for * self._tick_s - self.monotonic())
