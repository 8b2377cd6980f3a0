"""Row 41: saved files among 10,000, from the save to the item, by a real hub and a real device.

Also what the watch costs while nothing happens, and what 5,000 files cost that a program writes at once, in
an ignored folder and in a shared one.
"""

from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final

import anyio
from anyio.from_thread import start_blocking_portal

from hub.runs.file_watch import PAUSE_S
from tests.bench import folders
from tests.bench.machine import tree_cpu_s
from tests.bench.rounds import alone, play
from tests.bench.rows import Row, at_most
from tests.scenarios.scene import Scene, scene, write
from tests.support.processes import POLL_S, KeptDevice

_FILES: Final = 10_000
_WRITTEN: Final = 5_000  # at once
_SAVES: Final = 15
_IDLE_S: Final = 60.0
_DISK: Final = "/var/tmp"  # as row 13
_TEXT: Final = "# Page\n\n" + "We met on Monday, and it rained.\n" * 30
_LIMIT: Final = "run_files = 1"
_SETTINGS: Final = f'schedule = "0 7 1 1 *"\n[limits]\n{_LIMIT}\n'


def run(echo: Callable[[str], None]) -> list[Row]:
    """Save files one after the other, then wait, then write many."""
    with (
        TemporaryDirectory(dir=_DISK, prefix="hub-bench-") as folder,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(scene(Path(folder), {}, settings=_SETTINGS)) as play_in,
    ):
        device = KeptDevice(Path(folder), play_in.wire.url, is_forked=False)
        play_in.also(device)
        bench = _Bench(play_in, device)
        echo(f"{_FILES:,} files are written and read")
        portal.call(bench.prepare)
        rounds = play({"saved": lambda: portal.call(bench.save)}, echo=echo, rounds=_SAVES, extra=0)
        seconds = sorted(round(played["saved"].value, 2) for played in rounds)
        echo(f"saved until listed: {seconds} s, CPU {median(bench.used):.2f} s each")
        of_hub, of_device = portal.call(bench.idle)
        echo(f"idle: CPU a minute: hub {of_hub:.3f} s, device {of_device:.3f} s")
        for name, written in (("ignored", "node_modules/pack"), ("shared", "checkout")):
            used, hints, runs = portal.call(bench.write_many, written)
            what = f"CPU {used:.2f} s, {hints} hints, {runs} runs"
            echo(f"{_WRITTEN:,} files in a folder that is {name}: {what}")
    what = f"a file saved among {_FILES:,}, until its item is listed"
    return [Row("41", what, at_most(3, "s"), alone(rounds, "saved"), unit="s")]


def _without_limit(settings: str) -> str:
    return settings.replace(_LIMIT, "run_files = 20000")


class _Bench:
    def __init__(self, play_in: Scene, device: KeptDevice) -> None:
        self._scene, self._device = play_in, device
        self.used: list[float] = []  # CPU seconds of both programs for each save

    async def prepare(self) -> None:
        """Fill the folder, as if runs had read all of it."""
        await folders.prepare(self._scene, self._device, count=_FILES, change_settings=_without_limit)

    async def save(self) -> float:
        """Return the seconds from a save to the item in the list."""
        number = len(self.used)
        await anyio.sleep(PAUSE_S + 1)  # of a person; without a pause, runs are rarer
        page = f"{number:02}/00/page{number:06}.md"
        used, began = self._used(), perf_counter()
        write(self._scene.folder, {page: f"{_TEXT}- [ ] call Anna about offer {number}\n"})
        path = f"/v1/items?limit=1&text=offer+{number}"
        with anyio.fail_after(60):
            while not (await self._scene.hub.get(path))["items"]:
                await anyio.sleep(POLL_S)
        wall = perf_counter() - began
        self.used.append(self._used() - used)
        return wall

    async def idle(self) -> tuple[float, float]:
        """Return the CPU seconds a minute of hub and device while nothing happens."""
        pids = (self._scene.hub.pid, self._device.pid)
        before = list(map(tree_cpu_s, pids))
        await anyio.sleep(_IDLE_S)
        of_hub, of_device = (tree_cpu_s(pid) - used for pid, used in zip(pids, before, strict=True))
        return of_hub * 60 / _IDLE_S, of_device * 60 / _IDLE_S

    async def write_many(self, folder: str) -> tuple[float, int, int]:
        """Return the CPU seconds, the hints and the runs that many written files cost until all is calm."""
        runs = len(await self._runs())
        self._scene.seen.clear()
        used = self._used()
        write(self._scene.folder, {f"{folder}/{n % 50}/file{n}.md": f"{_TEXT}{n}\n" for n in range(_WRITTEN)})
        await anyio.sleep(2 * PAUSE_S)
        while any(run["completed_at"] is None for run in await self._runs()):
            await anyio.sleep(POLL_S)
        hints = sum(frame.get("method") == "files.changed" for _, frame in self._scene.seen)
        return self._used() - used, hints, len(await self._runs()) - runs

    async def _runs(self) -> list[dict[str, Any]]:
        return (await self._scene.hub.get("/v1/runs?limit=200"))["runs"]  # type: ignore[no-any-return]

    def _used(self) -> float:
        return tree_cpu_s(self._scene.hub.pid) + tree_cpu_s(self._device.pid)
