"""Tests of the simulated bus: the hub's own ``Bus`` over messages that are dropped, delayed and doubled."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

import anyio

from hub.base.clock import Clock
from hub.cluster.bus import Bus, Member
from hub.cluster.messages import Hint, RunChanged
from protocol.ids import BootId, RunId
from tests.simulation.clock import SimClock, WorldTime
from tests.simulation.dice import Dice
from tests.simulation.loop import run
from tests.simulation.nats import SimClient, SimNats
from tests.simulation.scene import EPOCHS
from tests.simulation.wire import Tally

EAST, WEST = BootId("east"), BootId("west")
HINT = RunChanged(RunId("r-1"))
MANY = 200


class Stage:
    """Two hubs' buses at one simulated server."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.server = SimNats(Dice("nats"), self.tally)
        clock = SimClock(WorldTime(EPOCHS[0]))
        self.east, self.west = (self._bus(boot, clock) for boot in (EAST, WEST))
        self.hints: list[Hint] = []
        self.west.on_hint = self.hints.append

    def _bus(self, boot: BootId, clock: Clock) -> Bus:
        client = cast(Any, partial(SimClient, self.server, boot))
        return Bus("", Member("hub", boot, bytes(32)), clock=clock, chance=Dice(boot), client=client)


def played(play: Callable[[Stage], Awaitable[None]], *, is_calm: bool) -> Stage:
    async def main() -> Stage:
        stage = Stage()
        if is_calm:
            stage.server.calm()
        async with anyio.create_task_group() as tasks:
            await tasks.start(stage.east.serve)
            await tasks.start(stage.west.serve)
            await anyio.sleep(1)
            await play(stage)
            tasks.cancel_scope.cancel()
        return stage

    return run(main, Dice("loop"))


def test_hints_are_dropped_delayed_and_doubled_and_each_is_counted() -> None:
    async def play(stage: Stage) -> None:
        for _ in range(MANY):
            stage.east.hint(HINT)
            await anyio.sleep(1)
        await anyio.sleep(60)

    stage = played(play, is_calm=False)
    tally = stage.tally
    assert min(tally.bus_dropped, tally.bus_delayed, tally.bus_doubled) > 0
    assert tally.bus_messages == MANY + tally.bus_doubled
    assert len(stage.hints) == tally.bus_messages - tally.bus_dropped


def test_connection_ending_while_hints_are_sent_ends_no_hub() -> None:
    async def play(stage: Stage) -> None:
        for _ in range(10):
            stage.server.stop()
            asyncio.get_running_loop().call_later(0.0, stage.east.hint, HINT)  # at the same instant
            await anyio.sleep(0.1)
            stage.server.start()
            await anyio.sleep(10)
            assert (stage.east.lost_since, stage.west.lost_since) == (None, None)

    played(play, is_calm=True)
