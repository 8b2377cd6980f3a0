"""Limits of a connection: deadlines of waits, and its rate of frames and bytes.

A coarse wheel of deadlines for all waits on devices.

A timer or cancel scope per call costs more than the rest of the call: a third of the throughput. Here a
deadline is an entry in the set of its quarter of a second. Adding and removing are set operations, and
deadlines are never early, only up to one tick late. While there is no entry, the wheel sleeps.

Rate limit of one connection in frames and bytes per second.

Each frame and each read reduces the remaining allowance. The clock is only read when the allowance is used
up: the accrued allowance is added, and if that is not enough, reading pauses. No data is dropped, and no
connection is closed. Messages that the hub requested are credited back, so a device is never slowed down by
fast answers.
"""

from typing import Final, Protocol

import anyio
from anyio.abc import TaskStatus

from hub.clock import Clock, wait_for_event
from hub.rounds import Turns

TICK_S: Final = 0.25  # maximum delay of a deadline
_LONGEST_TICKS: Final = 14_400  # of a sleep without entries: an hour


class Timed(Protocol):
    """Object with a deadline on the wheel. Compared by identity."""

    def run_late(self) -> None:
        """Handle the passed deadline, already removed from the wheel. Must not wait or raise."""
        ...


Slot = set[Timed]


class DeadlineWheel:
    """Deadlines in slots of one tick each. One wheel serves a whole hub."""

    __slots__ = ("_clock", "_earlier", "_slots", "_tick_s", "_turned_to", "_waits_for", "turns")

    def __init__(self, clock: Clock, *, tick_s: float = TICK_S) -> None:
        self.turns = Turns(clock)
        self._clock = clock
        self._tick_s = tick_s
        self._slots: dict[int, Slot] = {}
        self._waits_for = 0  # number of the slot until which the wheel sleeps
        self._earlier = anyio.Event()  # set when there is an earlier one
        self._turned_to = int(clock.monotonic() / tick_s)

    def __len__(self) -> int:
        return sum(len(slot) for slot in self._slots.values())

    def add(self, timed: Timed, deadline: float) -> Slot:
        """Call ``timed.run_late`` after *deadline* (monotonic seconds).

        Return the slot of the entry: ``slot.discard(timed)`` removes it.
        """
        # at least the next slot, because the current slot was processed already
        number = max(int(deadline / self._tick_s), self._turned_to) + 1
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = set()
            if number < self._waits_for:
                self._earlier.set()
        slot.add(timed)
        return slot

    def add_after(self, timed: Timed, seconds: float) -> Slot:
        """Add a deadline counted from now, as ``add`` does."""
        return self.add(timed, self._clock.monotonic() + seconds)

    def turn(self) -> None:
        """Process all deadlines that have passed."""
        now = int(self._clock.monotonic() / self._tick_s)
        due = [number for number in self._slots if number <= now]
        self._turned_to = now  # before the callbacks, which may add deadlines
        for number in sorted(due):
            slot = self._slots.pop(number)
            while slot:  # a callback may remove other entries
                slot.pop().run_late()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Turn the wheel whenever a slot is due, until cancelled."""
        task_status.started()
        while True:
            self._earlier = anyio.Event()
            self._waits_for = min(self._slots, default=self._turned_to + _LONGEST_TICKS)
            wait_s = max(self._tick_s / 10, self._waits_for * self._tick_s - self._clock.monotonic())
            self.turns.wait(wait_s)
            await wait_for_event(self._earlier, self._clock, wait_s)
            self.turn()


STRANGER_FRAMES: Final = 32  # a hello, possibly in fragments; pings count too
HELLO_ROOM: Final = 4  # times the longest hello, so that a hello that is too long gets an error message
LEAST_WAIT_S: Final = 0.05  # pausing and resuming a socket for each frame would cost more than the frames
MOST_WAIT_S: Final = 5.0  # less than the time limit of a pong, so that a slowed device is not considered dead


class Intake:
    """Remaining allowance of one connection.

    A stranger gets the size of its request and then of a hello; ``welcome`` sets the rates of a device.
    """

    __slots__ = ("_bytes_per_s", "_filled_at", "_frames_per_s", "bytes_left", "frames_left")

    def __init__(self, head_bytes: int) -> None:
        self.frames_left: float = STRANGER_FRAMES
        self.bytes_left: float = head_bytes
        self._frames_per_s = self._bytes_per_s = 0.0
        self._filled_at = 0.0

    @property
    def is_stranger(self) -> bool:
        """True if the connection is not welcomed yet."""
        return not self._frames_per_s

    @property
    def is_spent(self) -> bool:
        """True if more was received than allowed."""
        return self.frames_left < 0 or self.bytes_left < 0

    def greet(self, hello_bytes: int) -> None:
        """Set the allowance for a hello, after the request."""
        self.frames_left = STRANGER_FRAMES
        self.bytes_left = HELLO_ROOM * hello_bytes

    def welcome(self, frames_per_s: float, bytes_per_s: float, now: float) -> None:
        """Set the rates of a device from *now* on, with bursts of one second."""
        self._frames_per_s, self._bytes_per_s = frames_per_s, bytes_per_s
        self.frames_left, self.bytes_left = frames_per_s, bytes_per_s
        self._filled_at = now

    def give_back(self, octets: int) -> None:
        """Return the allowance for a message of *octets* bytes that the hub requested."""
        frames_left, bytes_left = self.frames_left + 1, self.bytes_left + octets
        self.frames_left = frames_left if frames_left < self._frames_per_s else self._frames_per_s
        self.bytes_left = bytes_left if bytes_left < self._bytes_per_s else self._bytes_per_s

    def refill(self, now: float) -> float:
        """Add the accrued allowance. Return the seconds for which reading must pause, or 0.0."""
        passed_s, self._filled_at = now - self._filled_at, now
        frames, octets = self._frames_per_s, self._bytes_per_s
        self.frames_left = min(frames, self.frames_left + passed_s * frames)
        self.bytes_left = min(octets, self.bytes_left + passed_s * octets)
        wait_s = max(-self.frames_left / frames, -self.bytes_left / octets)
        return min(wait_s, MOST_WAIT_S) if wait_s > 0 else 0.0

    @property
    def limit(self) -> str:
        """Name of the exceeded limit; read it before ``refill``."""
        return "frames_per_s" if self.frames_left < 0 else "bytes_per_s"
