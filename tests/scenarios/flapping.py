"""A device whose connection breaks at random frames, again and again, while it has work.

``python -m tests.scenarios.flapping --connects 200`` (``make soak``) does it at full size.
"""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from hub.base.clock import Chance
from tests.scenarios.deaths import TITLES, Impatient
from tests.scenarios.fires import EVERY_5_S, each_was_decided_once
from tests.scenarios.program import Verdict, run
from tests.scenarios.scene import are_there_once, rows
from tests.support.clock import SeededChance
from tests.support.device import RunningDevice, open_device
from tests.support.faulty_hub import FaultyHub
from tests.support.processes import SETTINGS
from tests.support.proxy import Direction, Wire, wire

RUN_TIMEOUT_S = 90.0
_FRAMES = (1, 20)  # of a connection, both ways together, before it breaks
_GHOSTS = 0.25  # share of hellos that come behind one of a connection that the device has given up
_FILES, _BOXES = 6, 2  # of one run
# Nothing settles, or a device that flaps would get nothing but what was ordered by hand.
_NOTHING_SETTLES = ("--given", "hub.runs.dispatcher:FLAP_SETTLE_S=0.0")
_AT_ONCE = "[limits]\nconnected_s = 0.0\n"


class Flapped(msgspec.Struct, frozen=True):
    """What came of it."""

    connects: int
    ghosts: int
    runs: dict[str, int]  # by state and outcome
    fires: int  # rows of decisions
    scheduled_runs: int


class BadLine:
    """A wire that breaks after a random number of frames, as long as it is not *is_steady*."""

    def __init__(self, line: Wire, token: str, chance: Chance) -> None:
        self.is_steady = False
        self.connects = 0
        self.ghosts = 0
        self._wire = line
        self._token = token
        self._chance = chance
        self._left = 0
        line.on_frame = self._on_frame

    async def _on_frame(self, direction: Direction, frame: dict[str, Any]) -> bool:
        if frame["type"] == "challenge":
            self.connects += 1
            self._left = int(self._chance.uniform(*_FRAMES))
        if frame["type"] == "device_hello" and self._chance.uniform(0, 1) < _GHOSTS:
            await self._say_hello_before()
        self._left -= 1
        return self._left > 0 or self.is_steady

    async def _say_hello_before(self) -> None:
        """An older connection of the device, whose hello was long under way."""
        self.ghosts += 1
        with suppress(OSError, WebSocketException):
            async with connect(f"{self._wire.hub_url}/v1/device", compression=None) as ghost:
                await ghost.send(json.dumps({"type": "device_hello", "token": self._token}))
                await ghost.recv()
                ghost.transport.abort()


class Place:
    """A hub, and a device in this process behind a bad line."""

    def __init__(self, hub: FaultyHub, device: RunningDevice, line: BadLine, folder: Path) -> None:
        self._hub = hub
        self._device = device
        self._line = line
        self._folder = folder
        self._planted: list[str] = []

    async def flap(self, connects: int, *, fires: int) -> Flapped:
        """Run after run, until the device has connected and its schedule has fired so often; then one more.

        Raises:
            AssertionError: an item is lost or doubled, or a run did not end well.
        """
        for number in count():
            flapped = self._flapped()
            self._line.is_steady = flapped.connects >= connects and flapped.fires >= fires
            self._write(number)
            run = await self._hub.ended(await self._hub.start_run(), within_s=RUN_TIMEOUT_S)
            assert run["state"] == "COMPLETED", run
            if self._line.is_steady:
                break
        are_there_once([title for (title,) in rows(self._device.db, TITLES)], self._planted)
        return self._flapped()

    def _write(self, number: int) -> None:
        for page in range(_FILES):
            titles = [f"Task {number}-{page}-{box}" for box in range(_BOXES)]
            self._device.write(f"{number}-page{page}.md", "".join(f"- [ ] {title}\n" for title in titles))
            self._planted += titles

    def _flapped(self) -> Flapped:
        ended = self._ask("SELECT state || COALESCE(' ' || outcome, ''), count(*) FROM runs GROUP BY 1")
        ((scheduled,),) = self._ask("SELECT count(*) FROM runs WHERE schedule_id IS NOT NULL")
        return Flapped(
            connects=self._line.connects,
            ghosts=self._line.ghosts,
            runs=dict(ended),
            fires=each_was_decided_once(self._ask),
            scheduled_runs=scheduled,
        )

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        return rows(self._folder / "hub.db", query)


@asynccontextmanager
async def behind_a_bad_line(folder: Path, *, seed: int = 1) -> AsyncIterator[Place]:
    """The hub lives, and the device begins to come and go."""
    async with AsyncExitStack() as opened:
        hub = FaultyHub(folder, settings=SETTINGS.format(model="") + EVERY_5_S + _AT_ONCE)
        hub.faults = _NOTHING_SETTLES
        opened.push_async_callback(hub.close)
        await hub.start()
        token = await hub.token()
        line = await opened.enter_async_context(wire())
        bad = BadLine(line, token, SeededChance(seed))
        line.hub_url = await hub.device_url()
        device = await opened.enter_async_context(open_device(line.url, folder, token, chance=Impatient()))
        yield Place(hub, device, bad, folder)


async def play(folder: Path, *, connects: int = 200, seed: int = 1) -> Verdict:
    """Break the connection of a device at random frames while it has work."""
    began = perf_counter()
    async with behind_a_bad_line(folder, seed=seed) as place:
        flapped = await place.flap(connects, fires=5)
    return f"{perf_counter() - began:.0f} s, nothing lost, nothing doubled: {flapped}", True


if __name__ == "__main__":
    run(play)
