"""One coarse wheel of deadlines for everything that waits on a device.

A timer or a cancel scope for each call costs more than the rest of the call
(performance.md in the design: a third of the throughput). Here a deadline is an
entry in a set that is looked at four times a second: entering and leaving cost
a set operation, and nothing ever runs early, only up to a tick late.
"""

from typing import Final, Protocol

import anyio
from anyio.abc import TaskStatus

from hub.clock import Clock
from hub.turns import Turns

TICK_S: Final = 0.25  # how much later than asked a deadline may be noticed


class Timed(Protocol):
    """What has a deadline on the wheel. Compared by identity."""

    def run_late(self) -> None:
        """The deadline has passed. It is off the wheel by now; must not wait or raise."""
        ...


Slot = set[Timed]


class DeadlineWheel:
    """Deadlines, in slots of a tick each. One wheel serves a whole hub."""

    __slots__ = ("_clock", "_slots", "_tick_s", "_turned_to", "turns")

    def __init__(self, clock: Clock, *, tick_s: float = TICK_S) -> None:
        self.turns = Turns(clock)
        self._clock = clock
        self._tick_s = tick_s
        self._slots: dict[int, Slot] = {}
        self._turned_to = int(clock.monotonic() / tick_s)

    def __len__(self) -> int:
        return sum(len(slot) for slot in self._slots.values())

    def add(self, timed: Timed, deadline: float) -> Slot:
        """Let *timed* be told once *deadline* (monotonic seconds) has passed.

        Gives the slot it stands in: ``slot.discard(timed)`` takes it off again.
        """
        # At least the next slot: the current one has been looked at already.
        number = max(int(deadline / self._tick_s), self._turned_to) + 1
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = set()
        slot.add(timed)
        return slot

    def add_after(self, timed: Timed, seconds: float) -> Slot:
        """``add``, counted from now."""
        return self.add(timed, self._clock.monotonic() + seconds)

    def turn(self) -> None:
        """Tell everything whose deadline has passed."""
        now = int(self._clock.monotonic() / self._tick_s)
        due = [number for number in self._slots if number <= now]
        self._turned_to = now  # before telling: who is told may add a new deadline
        for number in sorted(due):
            slot = self._slots.pop(number)
            while slot:  # one who is told may take others off
                slot.pop().run_late()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Turn once a tick, until cancelled."""
        task_status.started()
        while True:
            self.turns.wait(self._tick_s)
            await self._clock.sleep(self._tick_s)
            self.turn()
