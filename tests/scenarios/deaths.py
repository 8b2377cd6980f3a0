"""The hub dies at named moments of a run, one after the other, and each item is there once.

``python -m tests.scenarios.deaths`` (``make soak``) goes through all of them: before and after every commit,
before and after every frame that it sends.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count, product
from pathlib import Path
from time import perf_counter
from typing import Any, get_args

import anyio
import httpx2

from hub.base.clock import SystemChance
from tests.scenarios.program import Verdict, run
from tests.scenarios.scene import are_there_once, rows
from tests.support.device import RunningDevice, open_device
from tests.support.faults import DIED, Moment, What, When
from tests.support.faulty_hub import FaultyHub
from tests.support.processes import POLL_S
from tests.support.proxy import Wire, wire

RUN_TIMEOUT_S = 60.0
TITLES = "SELECT title FROM tasks"  # of the rows themselves, not of the answers that the device keeps
_BOXES = 2  # of each page
_WHATS: tuple[What, ...] = ("commit", "send")
ONE_FILE_AFTER_THE_OTHER = ("--given", "hub.runs.runner:Runner.units_in_flight=1")


class Impatient(SystemChance):
    """Of all waits the shortest."""

    def uniform(self, low: float, high: float) -> float:
        return low


class Deathbed:
    """A hub that is to die, and a device whose pages are new for each of its deaths."""

    def __init__(self, hub: FaultyHub, device: RunningDevice, line: Wire, pages: int) -> None:
        self._hub = hub
        self._device = device
        self._wire = line
        self._pages = pages
        self.planted: list[str] = []

    async def die_at(self, moment: Moment) -> bool:
        """Let the hub die at *moment* of a run, start it again and let the run end.

        Returns whether it came to that moment; the run has ended well either way.

        Raises:
            AssertionError: an item is lost or doubled, or the run did not end.
        """
        key = str(moment)
        self._write_pages(key)
        if has_died := await self._live(key, ["--die-at", str(moment), *ONE_FILE_AFTER_THE_OTHER]):
            assert not await self._live(key, [])
        await self._end_life()
        are_there_once([title for (title,) in rows(self._device.db, TITLES)], self.planted)
        return has_died

    def _write_pages(self, key: str) -> None:
        for page in range(self._pages):
            titles = [f"Task {key} {page}-{box}" for box in range(_BOXES)]
            self._device.write(
                f"{key.replace(':', '-')} page{page}.md", "".join(f"- [ ] {title}\n" for title in titles)
            )
            self.planted += titles

    async def _live(self, key: str, faults: list[str]) -> bool:
        """One life of the hub, until the run with *key* has ended in it; true when it died before that."""
        self._hub.faults = faults
        if await self._hub.comes_up():
            try:
                self._wire.hub_url = await self._hub.device_url()
                run = await self._run(key)
                assert (run["state"], run["outcome"]) == ("COMPLETED", "success"), run
                return False
            except (httpx2.TransportError, OSError):
                pass  # nobody is there to answer
        assert self._hub.process is not None
        assert await self._hub.process.wait() == DIED, self._hub.log()[-4000:]
        self._wire.hub_url = None
        return True

    async def _run(self, key: str) -> dict[str, Any]:
        """The run of that key, made unless an earlier life has made it, once it has ended."""
        headers = {"Idempotency-Key": key}
        answer = await self._hub.ask("POST", "/v1/agents/notes/runs", json={}, headers=headers)
        run: dict[str, Any] = answer.raise_for_status().json()
        with anyio.move_on_after(RUN_TIMEOUT_S):
            while run["state"] not in ("COMPLETED", "FAILED", "CANCELLED"):
                await anyio.sleep(POLL_S)
                run = await self._hub.get(f"/v1/runs/{run['id']}")
            return run
        raise AssertionError(f"the run did not end: {run}\n{self._hub.log()[-4000:]}")

    async def _end_life(self) -> None:
        self._wire.hub_url = None
        await self._hub.kill()


@asynccontextmanager
async def deathbed(folder: Path, *, pages: int) -> AsyncIterator[Deathbed]:
    """A hub with its tables and a device that is known; no hub lives yet."""
    async with AsyncExitStack() as opened:
        line = await opened.enter_async_context(wire())
        line.tells_restart = True
        hub = FaultyHub(folder)
        opened.push_async_callback(hub.close)
        await hub.start()
        token = await hub.token()
        await hub.kill()
        device = await opened.enter_async_context(open_device(line.url, folder, token, chance=Impatient()))
        yield Deathbed(hub, device, line, pages)


async def die(folder: Path, *, step: int, pages: int = 2) -> Counter[tuple[What, When]]:
    """Die at every *step*-th moment there is; how often the hub did, by the kind of moment."""
    deaths: Counter[tuple[What, When]] = Counter()
    async with deathbed(folder, pages=pages) as bed:
        for what, when in product(_WHATS, get_args(When)):
            for nth in count(1, step):  # until a run ends before it comes so far
                if not await bed.die_at(Moment(what, nth, when)):
                    break
                deaths[what, when] += 1
    return deaths


async def play(folder: Path, *, step: int = 1, pages: int = 4) -> Verdict:
    """Let a hub die at every so-many-th moment of a run with so many files."""
    began = perf_counter()
    deaths = await die(folder, step=step, pages=pages)
    told = [f"died {when} a {what}: {number} times" for (what, when), number in deaths.items()]
    seconds = perf_counter() - began
    return "\n".join(
        [*told, f"{deaths.total()} deaths, nothing lost, nothing doubled; {seconds:.0f} s"]
    ), True


if __name__ == "__main__":
    run(play)
