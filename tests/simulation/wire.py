"""One connection between a device and a hub: what is on its way, and what gets lost.

A connection loses frames only by ending, as one over TCP does: what was on its way
is gone, and each end learns of it in its own time. It can also be *mute* for a
while before it ends: frames vanish, and nobody knows. Frames of one lane keep
their order; lanes overtake each other.
"""

import asyncio
import contextvars
from collections.abc import Callable
from typing import Protocol, TypeVar

import anyio

from hub.links.link import RunFrame
from hub.links.open_link import OpenLink
from protocol.coordination import Request
from protocol.errors import CloseCode, DeviceGone, DeviceSlow
from protocol.events import Answered
from protocol.frame import Frame
from protocol.handshake import Goodbye
from tests.simulation.dice import Dice

UpFrame = RunFrame | Answered | Request
T = TypeVar("T")

STEP_S = 1e-6  # between two frames of one lane: time decides their order, not the loop
FULL = 0.002  # of all frames find the outgoing queue full


class Tally:
    """What happened in one simulation, in numbers."""

    def __init__(self) -> None:
        self.frames = 0
        self.lost = 0
        self.doubled = 0
        self.delayed = 0
        self.stale = 0  # of an older fence, a run that is over, a call that nobody waits for
        self.hub_crashes = 0
        self.hub_stops = 0
        self.hub_restores = 0
        self.device_restores = 0


class Traffic:
    """How fast and how faithfully frames travel, for all connections of a world."""

    def __init__(self, dice: Dice, tally: Tally) -> None:
        self.dice = dice
        self.tally = tally
        self.late = 0.004  # of all frames take much longer than the others
        self.twice = 0.02  # of those that may come twice do

    def latency_s(self) -> float:
        """Of one frame."""
        if self.dice.says(self.late):
            self.tally.delayed += 1
            return self.dice.choice((0.3, 1.0, 4.0, 17.0))
        return self.dice.uniform(0.001, 0.03)

    def calm(self) -> None:
        """Nothing is late any more, and nothing doubled."""
        self.late = self.twice = 0.0


class DeviceEnd(Protocol):
    """What a wire needs of its device."""

    def hears(self, wire: "Wire", frame: Frame) -> None:
        """A frame of the hub has come."""
        ...

    def lost(self, wire: "Wire") -> None:
        """The connection is gone."""
        ...


class Wire:
    """A connection. For the hub's link it is the ``Carrier``.

    Args:
        at_hub: the hub's context, so that what arrives there belongs to its process.
        at_hub_lost: told once when the hub learns that the connection is gone.
        at_hub_asked: told of each request that arrives.
    """

    buffered_bytes = 0

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
        self._lanes: dict[str, float] = {}
        self._under_way = 0
        self.link: OpenLink | None = None  # from the hub's welcome on
        self.frames_left = 0  # until it is cut; 0: never
        self.is_mute = False
        self.is_cut = False  # nothing sent from now on arrives
        self.hub_knows = False
        self.device_knows = False
        self.closed = anyio.Event()  # the hub knows

    # --- for the hub ---

    def send_now(self, frame: Frame) -> None:
        """Let *frame* travel to the device."""
        if self.hub_knows:
            raise DeviceGone("the connection has ended", dispatched=False)
        if self._traffic.dice.says(FULL):
            raise DeviceSlow("the device does not read")
        self._travel("down", frame, self._at_device, self._arrive_at_device)

    def greet(self, frame: Frame) -> None:
        """The first frame, which finds the queue empty."""
        self._travel("down", frame, self._at_device, self._arrive_at_device)

    def end(self, goodbye: Goodbye, close: CloseCode) -> None:
        """The hub closes."""
        self._tell_hub(goodbye.reason)
        self.cut(hub_after_s=0.0, device_after_s=self._traffic.latency_s())

    async def wait_closed(self) -> None:
        await self.closed.wait()

    # --- for the device ---

    def up(self, frame: UpFrame, lane: str) -> None:
        """Let *frame* travel to the hub; nothing happens when the device knows that it cannot."""
        if self.device_knows:
            return
        self._travel(lane, frame, self._at_hub, self._arrive_at_hub)
        if isinstance(frame, Answered) and self._traffic.dice.says(self._traffic.twice):
            self._traffic.tally.doubled += 1
            self._travel(lane, frame, self._at_hub, self._arrive_at_hub)

    def up_later(self, frame: UpFrame, lane: str, seconds: float) -> None:
        """``up``, after a while."""
        self._loop.call_later(seconds, self.up, frame, lane, context=self._at_device)

    # --- for faults ---

    def cut(self, *, hub_after_s: float, device_after_s: float) -> None:
        """The connection is gone; each end learns of it so many seconds from now."""
        if not self.is_cut:
            self.is_cut = True
            self._traffic.tally.lost += self._under_way
        self._loop.call_later(hub_after_s, self._tell_hub, "connection_lost", context=self._at_hub)
        self._loop.call_later(device_after_s, self._tell_device, context=self._at_device)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is on its way, and both ends know how things are."""
        return not self._under_way and self.hub_knows == self.device_knows == self.is_cut

    # --- on the way ---

    def _travel(self, lane: str, frame: T, context: contextvars.Context, arrive: Callable[[T], None]) -> None:
        self._traffic.tally.frames += 1
        if self.is_cut or self.is_mute:
            self._traffic.tally.lost += 1
            return
        at = max(self._loop.time() + self._traffic.latency_s(), self._lanes.get(lane, 0.0) + STEP_S)
        self._lanes[lane] = at
        self._under_way += 1
        self._loop.call_at(at, arrive, frame, context=context)
        if self.frames_left:
            self.frames_left -= 1
            if self.frames_left == 0:
                latency = self._traffic.dice.uniform
                self.cut(hub_after_s=latency(0.0, 3.0), device_after_s=latency(0.0, 3.0))

    def _arrive_at_device(self, frame: Frame) -> None:
        self._under_way -= 1
        if not self.is_cut and not self.device_knows:
            self._device.hears(self, frame)

    def _arrive_at_hub(self, frame: UpFrame) -> None:
        self._under_way -= 1
        if self.is_cut or self.hub_knows or self.link is None:
            return
        if isinstance(frame, Answered):
            is_taken = self.link.settle(frame.call_id, frame.answer)
        elif isinstance(frame, Request):
            self._at_hub_asked(self.link, frame)
            is_taken = True
        else:
            is_taken = self.link.put(frame) is None
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
