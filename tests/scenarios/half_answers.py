"""A foreign device, in Node, that is killed in the middle of its batches of calls, and is back at once.

``python -m tests.scenarios.half_answers --kills 200`` (``make soak``) does it at full size: in each run the
device dies with some of the calls of a batch answered. It is back before the hub has settled the answers.
"""

import json
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Final

import anyio
import anyio.abc
import msgspec

from tests.scenarios.program import Verdict, run
from tests.support.clock import SeededChance
from tests.support.faulty_hub import FaultyHub
from tests.support.node_device import NODE
from tests.support.processes import ROOT, SETTINGS

BACK_S: Final = 0.4  # from its death until the device is welcome again, mostly
DEATHS_AT: Final = (3, 5)  # the batch at which it dies, of about eight of a run
FILES: Final = 12  # of a run
MAX_TASKS: Final = 60  # of a file: together two batches have calls of four files or more
RUN_TIMEOUT_S: Final = 90.0
_NOTHING_SETTLES: Final = ("--given", "hub.runs.dispatcher:FLAP_SETTLE_S=0.0")
_AT_ONCE: Final = "[limits]\nconnected_s = 0.0\n"


class Toll(msgspec.Struct, frozen=True):
    """Result of all runs.

    Attributes:
        deaths: of the device, in the middle of a batch.
        in_time: of them, those after which it was welcome again within ``BACK_S``.
        runs: number of runs by state and outcome.
        planted, lost, doubled: number of items.
        faults: errors of runs, and log events of faults in the hub.
    """

    deaths: int
    in_time: int
    runs: dict[str, int]
    planted: int
    lost: int
    doubled: int
    faults: list[str]

    @property
    def is_well(self) -> bool:
        """True if every run succeeded, and each item is at the device exactly once."""
        is_once = not self.lost and not self.doubled
        return is_once and not self.faults and set(self.runs) == {"COMPLETED success"} and self.deaths > 0


class ForeignDevice:
    """Process of the device, which is started again whenever it has ended."""

    def __init__(self, folder: Path, url: str, token: str) -> None:
        self.rows_file = folder / "foreign.rows"
        self.back_s: list[float] = []  # after each death: seconds until it was welcome again
        self.notes = folder / "notes"
        self.notes.mkdir()
        token_file = folder / "foreign.token"
        token_file.write_text(token)
        script = ROOT / "tests" / "support" / "foreign_device.mjs"
        self._command = [*NODE, str(script), f"{url}/v1/device"]
        self._command += [str(token_file), str(self.notes), str(self.rows_file)]
        self._log = folder / "foreign.log"

    def die_at(self, batch: int) -> None:
        """Let the device die in the middle of this batch of its next run."""
        Path(f"{self.rows_file}.die").write_text(str(batch))

    @property
    def titles(self) -> Counter[str]:
        """Titles of the rows that it has."""
        lines = self.rows_file.read_text().splitlines() if self.rows_file.exists() else []
        return Counter(json.loads(line)["title"] for line in lines)

    async def serve(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep the device connected until cancelled; its next process is always started in advance."""
        task_status.started()
        died_at = 0.0
        process = await self._start()
        try:
            while True:
                following = await self._start()
                try:
                    died_at = await self._watch(process, died_at)
                finally:
                    await _end(process)
                    process = following
        finally:
            await _end(process)

    async def _start(self) -> anyio.abc.Process:
        with self._log.open("ab") as log:
            return await anyio.open_process(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )

    async def _watch(self, process: anyio.abc.Process, died_at: float) -> float:
        """Let a process connect, and note when it is welcome; return when it ended."""
        assert process.stdin is not None and process.stdout is not None
        await process.stdin.send(b"connect\n")
        async for _ in process.stdout:  # its only word is that it is welcome
            if died_at:
                self.back_s.append(perf_counter() - died_at)
        return perf_counter()


async def _end(process: anyio.abc.Process) -> None:
    if process.returncode is None:
        process.kill()
    with anyio.CancelScope(shield=True):
        await process.aclose()


class Place:
    """A hub and the foreign device."""

    def __init__(self, hub: FaultyHub, device: ForeignDevice, chance: SeededChance) -> None:
        self._hub = hub
        self._device = device
        self._chance = chance
        self._planted: list[str] = []
        self._runs: Counter[str] = Counter()
        self._errors: list[str] = []

    async def suffer(self, kills: int) -> Toll:
        """Run after run, until the device has died so often in the middle of a batch."""
        number = 0
        while len(self._device.back_s) < kills:
            number += 1
            self._write(number)
            self._device.die_at(int(self._chance.uniform(*DEATHS_AT)))
            ended = await self._hub.ended(await self._hub.start_run(), within_s=RUN_TIMEOUT_S)
            self._runs[f"{ended['state']} {ended['outcome']}"] += 1
            self._errors += [f"{error['code']}: {error['message']}" for error in ended["errors"]]
        found, planted = self._device.titles, Counter(self._planted)
        return Toll(
            deaths=len(self._device.back_s),
            in_time=sum(back_s <= BACK_S for back_s in self._device.back_s),
            runs=dict(self._runs),
            planted=planted.total(),
            lost=(planted - found).total(),
            doubled=(found - planted).total(),
            faults=self._errors + [line for line in self._hub.log().splitlines() if "run.broke" in line],
        )

    def _write(self, number: int) -> None:
        for old in self._device.notes.iterdir():
            old.unlink()
        for page in range(FILES):
            tasks = int(self._chance.uniform(1, MAX_TASKS + 1))
            titles = [f"Paint door {number}x{page}x{task}" for task in range(tasks)]  # which are no dates
            text = "".join(f"- [ ] {title}\n" for title in titles)
            (self._device.notes / f"{number}-{page}.md").write_text(text)
            self._planted += titles


@asynccontextmanager
async def with_foreign_device(folder: Path, *, seed: int = 1) -> AsyncIterator[Place]:
    """Start a hub and the device."""
    async with AsyncExitStack() as opened:
        hub = FaultyHub(folder, settings=SETTINGS.format(model="") + _AT_ONCE)
        hub.faults = _NOTHING_SETTLES
        opened.push_async_callback(hub.close)
        await hub.start()
        device = ForeignDevice(folder, await hub.device_url(), await hub.token())
        tasks = await opened.enter_async_context(anyio.create_task_group())
        await tasks.start(device.serve)
        opened.callback(tasks.cancel_scope.cancel)
        yield Place(hub, device, SeededChance(seed))


async def play(folder: Path, *, kills: int = 200, seed: int = 1) -> Verdict:
    """Kill a foreign device in the middle of batches of calls, and start it again at once."""
    began = perf_counter()
    async with with_foreign_device(folder, seed=seed) as place:
        toll = await place.suffer(kills)
    failed = sum(count for state, count in toll.runs.items() if state.startswith("FAILED"))
    figures = f"{failed} of {sum(toll.runs.values())} runs failed, {toll.lost} items lost, "
    figures += f"{toll.doubled} doubled of {toll.planted}"
    return f"{perf_counter() - began:.0f} s, {figures}: {toll}", toll.is_well


if __name__ == "__main__":
    run(play)
