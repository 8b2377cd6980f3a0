"""Simulated connection between a device and a hub: frames in flight, and losses.

A connection loses frames only when it ends, as over TCP: frames in flight are lost, and each end learns of it
at its own time. It can also be *mute* before it ends: frames vanish, and neither end notices. Frames of one
lane keep their order; lanes overtake each other.
"""

import asyncio
import contextvars
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import anyio

from hub.links.connection import OpenLink
from hub.links.device_link import RunFrame
from protocol.coordination import Request
from protocol.errors import CloseCode, DeviceSlow, LinkLost
from protocol.frame import Frame
from protocol.handshake import Goodbye
from protocol.session import Answered, AnsweredTogether
from tests.simulation.dice import Dice

UpFrame = RunFrame | Answered | AnsweredTogether | Request
T = TypeVar("T")

STEP_S = 1e-6  # between two frames of one lane: time decides their order, not the loop
FULL = 0.002  # of all frames find the outgoing queue full


class Tally:
    """Counters of one simulation."""

    def __init__(self) -> None:
        self.frames = 0
        self.lost = 0
        self.doubled = 0
        self.delayed = 0
        self.stale = 0  # of an older fence, an ended run, or an expired call
        self.hub_crashes = 0
        self.hub_stops = 0
        self.hub_restores = 0
        self.device_restores = 0
        self.bus_messages = 0
        self.bus_dropped = 0
        self.bus_doubled = 0
        self.bus_delayed = 0
        self.bus_cuts = 0
        self.bus_requests = 0  # answered ones


class Traffic:
    """Latency and reliability of all connections of a world."""

    def __init__(self, dice: Dice, tally: Tally) -> None:
        self.dice = dice
        self.tally = tally
        self.late = 0.004  # of all frames take much longer than the others
        self.twice = 0.02  # of those that may come twice do

    def latency_s(self) -> float:
        """Return the latency of one frame."""
        if self.dice.says(self.late):
            self.tally.delayed += 1
            return self.dice.choice((0.3, 1.0, 4.0, 17.0))
        return self.dice.uniform(0.001, 0.03)

    def calm(self) -> None:
        """Stop delays and duplicates."""
        self.late = self.twice = 0.0


@dataclass
class _Lane:
    """Frames that are under way in one direction, which arrive in the order in which they were sent."""

    frames: deque[tuple[Any, float]] = field(default_factory=deque)  # each with the time of its arrival
    last_at: float = 0.0  # arrival of the newest frame


class DeviceEnd(Protocol):
    """Interface of the device that a wire calls."""

    def hears(self, wire: "Wire", frame: Frame) -> None:
        """Process a frame of the hub."""
        ...

    def lost(self, wire: "Wire") -> None:
        """Process the end of the connection."""
        ...


class Wire:
    """Connection; the hub's link uses it as its ``Connection``.

    Args:
        at_hub: tracing context of the hub, so that received frames are processed in the hub's process.
        at_hub_lost: called once when the hub detects the end of the connection.
        at_hub_asked: called with each received request.
    """

    buffered_bytes = 0
    round_trip = None

    def __init__(
        self,
        device: DeviceEnd,
        traffic: Traffic,
        *,
        at_hub: contextvars.Context,
        at_device: contextvars.Context,
        at_hub_lost: Callable[["Wire", str], None],
        at_hub_asked: Callable[[OpenLink, Request], None],
    ) -> None:
        self._device = device
        self._traffic = traffic
        self._at_hub = at_hub
        self._at_device = at_device
        self._at_hub_lost = at_hub_lost
        self._at_hub_asked = at_hub_asked
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[str, _Lane] = defaultdict(_Lane)
        self._under_way = 0
        self.link: OpenLink | None = None  # from the hub's welcome on
        self.frames_left = 0  # until it is cut; 0: never
        self.ended_for = ""  # the reason that the device reads
        self.is_mute = False
        self.is_cut = False  # nothing sent from now on arrives
        self._read_until = 0.0  # frames that had arrived by then are read although the wire is cut
        self.hub_knows = False
        self.device_knows = False
        self.closed = anyio.Event()  # the hub knows

    # --- for the hub ---

    def send_now(self, frame: Frame) -> None:
        """Send *frame* to the device."""
        if self.hub_knows:
            raise LinkLost("the connection has ended", dispatched=False)
        if self._traffic.dice.says(FULL):
            raise DeviceSlow("the device does not read")
        self._travel("down", frame, self._at_device, self._arrive_at_device)

    def greet(self, frame: Frame) -> None:
        """Send the first frame; the queue is empty."""
        self._travel("down", frame, self._at_device, self._arrive_at_device)

    def end(self, goodbye: Goodbye, close: CloseCode) -> None:
        """Close the connection from the hub's side."""
        if not self.is_cut and not self.is_mute:
            self.ended_for = goodbye.reason
        self._tell_hub(goodbye.reason)
        self.cut(hub_after_s=0.0, device_after_s=self._traffic.latency_s())

    async def wait_closed(self) -> None:
        await self.closed.wait()

    # --- for the device ---

    def up(self, frame: UpFrame, lane: str) -> None:
        """Send *frame* to the hub; ignored if the device knows that the connection has ended."""
        if self.device_knows:
            return
        self._travel(lane, frame, self._at_hub, self._arrive_at_hub)
        if isinstance(frame, Answered | AnsweredTogether) and self._traffic.dice.says(self._traffic.twice):
            self._traffic.tally.doubled += 1
            self._travel(lane, frame, self._at_hub, self._arrive_at_hub)

    def up_later(self, frame: UpFrame, lane: str, seconds: float) -> None:
        """Call ``up`` after a delay."""
        self._loop.call_later(seconds, self.up, frame, lane, context=self._at_device)

    # --- for faults ---

    def cut(self, *, hub_after_s: float, device_after_s: float, is_read: bool = False) -> None:
        """End the connection; each end detects it after a delay of its own.

        Args:
            is_read: a halted hub reads later what had arrived by now, as from a socket's buffer.
        """
        if not self.is_cut:
            self.is_cut = True
            self._read_until = self._loop.time() if is_read else 0.0
            self._traffic.tally.lost += self._under_way
        self._loop.call_later(hub_after_s, self._tell_hub, "connection_lost", context=self._at_hub)
        self._loop.call_later(device_after_s, self._tell_device, context=self._at_device)

    @property
    def is_quiet(self) -> bool:
        """Return True if no frame is in flight, and both ends agree on the state of the connection."""
        return not self._under_way and self.hub_knows == self.device_knows == self.is_cut

    # --- on the way ---

    def _travel(
        self, lane: str, frame: T, context: contextvars.Context, arrive: Callable[[T, float], None]
    ) -> None:
        self._traffic.tally.frames += 1
        if self.is_cut or self.is_mute:
            self._traffic.tally.lost += 1
            return
        order = self._lanes[lane]
        order.last_at = max(self._loop.time() + self._traffic.latency_s(), order.last_at + STEP_S)
        order.frames.append((frame, order.last_at))
        self._under_way += 1
        self._loop.call_at(order.last_at, self._arrive, order, arrive, context=context)
        if self.frames_left:
            self.frames_left -= 1
            if self.frames_left == 0:
                latency = self._traffic.dice.uniform
                self.cut(hub_after_s=latency(0.0, 3.0), device_after_s=latency(0.0, 3.0))

    def _arrive(self, lane: _Lane, arrive: Callable[[Any, float], None]) -> None:
        """Hand the next frame of a lane over: a process that was halted runs its callbacks in any order."""
        arrive(*lane.frames.popleft())

    def _arrive_at_device(self, frame: Frame, at: float) -> None:
        self._under_way -= 1
        if not self.is_cut and not self.device_knows:
            self._device.hears(self, frame)

    def _arrive_at_hub(self, frame: UpFrame, at: float) -> None:
        self._under_way -= 1
        is_lost = self.is_cut and at > self._read_until
        if is_lost or self.hub_knows or self.link is None:
            return
        if isinstance(frame, Answered):
            is_taken = self.link.settle(frame.call_id, frame.answer)
        elif isinstance(frame, AnsweredTogether):
            is_taken = sum(self.link.settle(*one) for one in frame.answers) == len(frame.answers)
        elif isinstance(frame, Request):
            self._at_hub_asked(self.link, frame)
            is_taken = True
        else:
            is_taken = self.link.enqueue(frame) is None
        self._traffic.tally.stale += not is_taken

    def _tell_hub(self, reason: str) -> None:
        if self.hub_knows:
            return
        self.hub_knows = True
        self._at_hub_lost(self, reason)
        self.closed.set()

    def _tell_device(self) -> None:
        if self.device_knows:
            return
        self.device_knows = True
        self._device.lost(self)
