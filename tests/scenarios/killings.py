"""kill -9 of a live hub at random moments, again and again, while its devices have work all the time.

``python -m tests.scenarios.killings --kills 200 --devices 20`` (``make soak``) kills the hub as it is
installed, with runs going on at every device and new files coming. It says how long each start took
until the hub was ready, and how much of the CPU; it fails when an item is lost or doubled, or a start
took longer than it may. ``--default-limits`` leaves every limit as it is shipped. The suite does it small.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import anyio
import httpx2
import msgspec

from hub.clock import Chance
from tests.bench.machine import TICKS_PER_S, Load, cpu_ticks
from tests.bench.rounds import NOISY
from tests.scenarios.deaths import TITLES
from tests.scenarios.fires import EVERY_5_S, each_was_decided_once
from tests.scenarios.scene import rows
from tests.support.clock import SeededChance
from tests.support.device import RunningDevice, open_device
from tests.support.faulty_hub import FaultyHub
from tests.support.processes import HubProcess
from tests.support.proxy import Wire, wire

READY_S = 2.0  # that a start may take until the hub is ready
LIVES_S = (0.0, 3.0)
LONGER_LIVES_S = (0.0, 12.0)  # by default a scheduled run waits until its device was connected for 5 s
_WRITE_EVERY_S, _ORDER_EVERY_S = 0.25, 0.4
_BOXES = (1, 5)  # of one new file
_END_S = 300.0  # for all that is left to do, when nobody kills any more: a failed try waits 30 s at first
_FINAL = ("COMPLETED", "FAILED", "CANCELLED")

_LIMITS = """\
[limits]
connections_per_network = 100
connections_per_user = 100
new_connections_per_s = 500.0
connected_s = 0.1
restart_hold_s = 0.0
"""
_HUB = """\
[listen.devices]
address = "127.0.0.1:0"
hosts = ["127.0.0.1"]  # a wire in front of it has another port
[listen.operator]
address = "127.0.0.1:0"
"""
_AGENT = """\
[[agents]]
name = "notes{number}"
device = "desk{number}"
paths = ["notes"]
data_types = ["tasks"]
prompt = "Find the tasks that a person has to do."
{schedule}"""
_NO_SPREAD = ("--given", "hub.runs.dispatcher:SPREAD_EACH_S=0.0")  # or no schedule's run would begin in time


class Start(NamedTuple):
    """A start of the hub: how long until it was ready, and what it and others used of the CPU meanwhile."""

    took_s: float
    cpu_s: float
    others: float

    @property
    def is_slow(self) -> bool:
        """It took too long, and nobody else was to blame."""
        return self.took_s > READY_S and self.others <= NOISY


class Toll(msgspec.Struct, frozen=True):
    """What became of it all."""

    starts: Sequence[Start]
    runs: Counter[str]  # by state and outcome
    interrupted: int  # how often a run was under way when the hub was killed
    fires: int  # rows of decisions
    planted: Counter[str]
    found: Counter[str]

    @property
    def lost(self) -> Counter[str]:
        return self.planted - self.found

    @property
    def doubled(self) -> Counter[str]:
        return self.found - self.planted


class Town:
    """A hub, and devices that are in this process."""

    def __init__(
        self, hub: HubProcess, devices: Sequence[RunningDevice], line: Wire, chance: Chance, folder: Path
    ) -> None:
        self._hub = hub
        self._devices = devices
        self._wire = line
        self._chance = chance
        self._folder = folder
        self._starts: list[Start] = []
        self._planted: Counter[str] = Counter()
        self._is_over = False

    async def outlive(self, kills: int, *, lives_s: tuple[float, float] = LIVES_S) -> Toll:
        """Kill the hub so often, and on until a run was interrupted and a fire decided; then let all end.

        Args:
            lives_s: from being ready to being killed: at least, at most.
        """
        async with anyio.create_task_group() as busy:
            busy.start_soon(self._keep_writing)
            busy.start_soon(self._keep_ordering)
            for killed in count():
                await self._start()
                if killed >= kills and self._interrupted() and each_was_decided_once(self._ask):
                    break
                await anyio.sleep(self._chance.uniform(*lives_s))
                self._wire.hub_url = None
                await self._hub.kill()
            # Told and not cancelled: a request over a Unix socket that is cancelled as its answer comes
            # sets a future that has ended, in the library, which fails whatever test is running.
            self._is_over = True
        # After so many crashes the default limits let schedules wait; a stop in good order ends that.
        self._wire.hub_url = None
        await self._hub.stop()
        await self._start()
        await self._all_end()
        await self._order()  # what came last
        await self._all_end()
        return self._toll()

    def _toll(self) -> Toll:
        ended = dict(
            self._ask(
                """SELECT trigger_kind || ' ' || state || COALESCE(' ' || outcome, ''), count(*)
                   FROM runs GROUP BY 1"""
            )
        )
        fires = each_was_decided_once(self._ask)
        found = [title for device in self._devices for (title,) in rows(device.db, TITLES)]
        return Toll(self._starts, Counter(ended), self._interrupted(), fires, self._planted, Counter(found))

    def _interrupted(self) -> int:
        ((found,),) = self._ask("SELECT count(*) FROM run_state_history WHERE reason = 'hub_restart'")
        return int(found)

    async def _start(self) -> None:
        own: list[int] = []
        load, began = Load(own), perf_counter()
        await self._hub.start()
        took_s = perf_counter() - began
        own.append(self._hub.pid)
        self._starts.append(Start(took_s, cpu_ticks(self._hub.pid) / TICKS_PER_S, load.others()))
        self._wire.hub_url = await self._hub.device_url()

    async def _keep_writing(self) -> None:
        for number in count():
            if self._is_over:
                return
            titles = [f"Task {number}-{box}" for box in range(int(self._chance.uniform(*_BOXES)))]
            device = self._devices[number % len(self._devices)]
            # Moved in when it is whole: half a page would be another page.
            page = self._folder / "page.md"
            page.write_text("".join(f"- [ ] {title}\n" for title in titles))
            page.rename(device.folder / f"page{number:05}.md")
            self._planted.update(titles)
            await anyio.sleep(_WRITE_EVERY_S)

    async def _keep_ordering(self) -> None:
        while not self._is_over:
            with suppress(httpx2.TransportError, httpx2.HTTPStatusError, OSError):  # it is dead just now
                await self._order()
            await anyio.sleep(_ORDER_EVERY_S)

    async def _order(self) -> None:
        """A run of every agent that has none."""
        for agent in (await self._hub.get("/v1/agents"))["agents"]:
            if agent["last_run"] is None or agent["last_run"]["state"] in _FINAL:
                await self._hub.start_run(agent["name"])

    async def _all_end(self) -> None:
        """Until every run that there is now has ended; a schedule makes new ones all the time."""
        ((newest,),) = self._ask("SELECT max(id) FROM runs")
        query = f"SELECT id, state, reason FROM runs WHERE id <= '{newest}' AND state NOT IN {_FINAL}"
        with anyio.move_on_after(_END_S):
            while self._ask(query):
                await anyio.sleep(_ORDER_EVERY_S)
            return
        raise AssertionError(f"these runs do not end: {self._ask(query)}\n{self._hub.log()[-4000:]}")

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        return rows(self._folder / "hub.db", query)


@asynccontextmanager
async def town(
    folder: Path, *, devices: int, seed: int, is_forked: bool = False, has_default_limits: bool = False
) -> AsyncIterator[Town]:
    """A hub whose devices are known to it; it does not live yet. *is_forked*: see ``spawn``."""
    async with AsyncExitStack() as opened:
        line = await opened.enter_async_context(wire())
        line.tells_restart = True  # as a proxy in front of it does; or devices would hardly be there
        agents = "".join(_AGENT.format(number=number, schedule=EVERY_5_S) for number in range(devices))
        if has_default_limits:
            hub = HubProcess(folder, settings=_HUB + agents, is_forked=is_forked)
        else:
            hub = FaultyHub(folder, settings=_LIMITS + _HUB + agents, is_forked=is_forked)
            hub.faults = _NO_SPREAD
        opened.push_async_callback(hub.close)
        await hub.start()
        tokens = [await hub.token(f"desk{number}") for number in range(devices)]
        await hub.kill()
        running = []
        for number, token in enumerate(tokens):
            state = folder / f"desk{number}"
            state.mkdir()
            running.append(await opened.enter_async_context(open_device(line.url, state, token)))
        yield Town(hub, running, line, SeededChance(seed), folder)


async def main(kills: int, devices: int, seed: int, has_default_limits: bool) -> int:
    """Prints what became of it; 1 when an item is lost or doubled, or a start took too long."""
    with tempfile.TemporaryDirectory() as folder:
        async with town(
            Path(folder), devices=devices, seed=seed, has_default_limits=has_default_limits
        ) as place:
            lives_s = LONGER_LIVES_S if has_default_limits else LIVES_S
            toll = await place.outlive(kills, lives_s=lives_s)
    took_s = sorted(start.took_s for start in toll.starts)
    cpu_s = sorted(start.cpu_s for start in toll.starts)
    slow = sum(start.is_slow for start in toll.starts)
    quiet = sum(start.others <= NOISY for start in toll.starts)
    print(  # noqa: T201  # for the person who runs it
        f"{len(took_s) - 2} kills of a hub with {devices} devices (seed {seed};"
        f" {'the default' if has_default_limits else 'wide'} limits)\n"
        f"ready after {took_s[0]:.2f} / {median(took_s):.2f} / {took_s[-1]:.2f} s (min / median / max);"
        f" {slow} of {quiet} starts took longer than {READY_S:g} s (at {len(took_s) - quiet} more,"
        f" others used over {NOISY:.0%} of the CPU)\n"
        f"CPU until ready: {cpu_s[0]:.2f} / {median(cpu_s):.2f} / {cpu_s[-1]:.2f} s (min / median / max)\n"
        f"runs: {', '.join(f'{number} {how}' for how, number in sorted(toll.runs.items()))};"
        f" interrupted {toll.interrupted} times; {toll.fires} decisions about fires\n"
        f"items: {toll.planted.total()} planted, {toll.found.total()} found,"
        f" {toll.lost.total()} lost, {toll.doubled.total()} doubled"
    )
    return int(bool(toll.lost or toll.doubled or slow))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--kills", type=int, default=200)
    options.add_argument("--devices", type=int, default=20)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--default-limits", action="store_true")
    chosen = options.parse_args()
    sys.exit(anyio.run(main, chosen.kills, chosen.devices, chosen.seed, chosen.default_limits))
