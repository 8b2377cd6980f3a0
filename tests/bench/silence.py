"""Row 16 from the inside: one device never reads and is offered far too much, the others go on."""

from collections.abc import Sequence
from itertools import accumulate
from math import exp, log
from typing import Any, Final

import anyio

from hub.links.roster import DeviceLink
from protocol.errors import DeviceSlow, LinkLost
from protocol.work import Action, ToolCall
from tests.bench.driver import WARM_S, Order, Peer, keep_calling
from tests.bench.machine import forget_peak_rss, peak_rss_bytes, rss_bytes

OFFERED: Final = 10_000
_BYTES: Final = 64 * 1024
_EVERY_S: Final = 0.02
_CUT_WITHIN_S: Final = 15.0
_LEAST_S: Final = 1e-6
_STEP: Final = log(1.01)
_STEPS: Final = 2_000  # up to seven minutes


class Latencies:
    """Counts by size, in steps of one per cent: notes any number of them without taking memory."""

    def __init__(self) -> None:
        self._counts = [0] * _STEPS

    def note(self, seconds: float) -> None:
        """One more."""
        self._counts[min(_STEPS - 1, max(0, int(log(seconds / _LEAST_S) / _STEP)))] += 1

    def percentile(self, share: float) -> float:
        """So large a share of them was not above this."""
        sums = accumulate(self._counts)
        step = next(step for step, so_far in enumerate(sums) if so_far >= sum(self._counts) * share)
        return _LEAST_S * exp((step + 1) * _STEP)


class Flood:
    """Offers frames to one link, and notes when the hub lets that device go."""

    def __init__(self) -> None:
        self._cut = anyio.Event()

    def device_lost(self) -> None:
        """A device has left."""
        self._cut.set()

    async def overwhelm(self, silent: DeviceLink, others: Sequence[Peer], order: Order) -> dict[str, Any]:
        """The p99 of the others without and with the flood, and what the flood took of memory.

        The frames are offered evenly over ``order.seconds``.
        """
        others = others[: order.peers]
        quiet, busy = Latencies(), Latencies()
        await keep_calling(others, order.in_flight, WARM_S, Latencies().note)
        await keep_calling(others, order.in_flight, order.seconds, quiet.note)
        before = rss_bytes()
        forget_peak_rss()
        taken = refused = gone = 0

        async def offer() -> None:
            nonlocal taken, refused, gone
            turns = int(order.seconds / _EVERY_S)
            for turn in range(turns):
                await anyio.sleep(_EVERY_S)
                for n in range(OFFERED * turn // turns, OFFERED * (turn + 1) // turns):
                    # A new text each time: a library that keeps references would look good otherwise.
                    text = f"{n:08d}".ljust(_BYTES, "x")
                    frame = ToolCall(id=f"c-{n}", action=Action.INSERT, table="notes", data={"content": text})
                    try:
                        await silent.send(frame)
                        taken += 1
                    except DeviceSlow:
                        refused += 1
                    except LinkLost:
                        gone += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(offer)
            await keep_calling(others, order.in_flight, order.seconds, busy.note)
        with anyio.move_on_after(_CUT_WITHIN_S):
            await self._cut.wait()
        return {
            "quiet_p99": quiet.percentile(0.99),
            "busy_p99": busy.percentile(0.99),
            "grown_bytes": max(0, peak_rss_bytes() - before),
            "taken": taken,
            "refused": refused + gone,
            "was_cut": self._cut.is_set(),
        }
