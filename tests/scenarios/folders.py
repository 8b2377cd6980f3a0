"""Large folders, run to the end: how long it takes, and how much the hub's memory grows.

``python -m tests.scenarios.folders`` (``make soak``) does it at full size, prints
figures and fails when the memory grows beyond its limit; the suite does it small.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

from tests.scenarios.program import Verdict, run
from tests.scenarios.scene import Point, Scene, are_there_once, check_boxes, scene
from tests.support.oracle import Oracle, plant

MAX_GROWTH_MIB = 64.0
RUN_TIMEOUT_S = 600.0
_FILLER = "The river was high that year, and the ferry went twice a day as long as there was light. "
_SHARES = (
    ("2,000 small files, rules alone", 2_000, 1_000, False),
    ("2,000 small files, a model asked about each", 2_000, 1_000, True),
    ("20 files of 1 MB, rules alone", 20, 1_000_000, False),
    ("20 files of 1 MB, a model asked about all of it", 20, 1_000_000, True),
)


class Figures(msgspec.Struct, frozen=True):
    """What a run over a folder cost."""

    first_s: float
    unchanged_s: float  # the second run, over the same folder
    before_mib: float  # the hub's resident memory before the first run
    peak_mib: float

    @property
    def growth_mib(self) -> float:
        """What the memory grew by at most."""
        return self.peak_mib - self.before_mib


def folder_of(count: int, size: int, *, for_model: bool) -> tuple[dict[str, str], list[str]]:
    """So many Markdown files of about *size* characters with two items each, and the items' titles.

    Prose is only there for a model; without one it would not be looked at.
    """
    files: dict[str, str] = {}
    titles: list[str] = []
    for number in range(count):
        box, sentence = f"Mend fence {number}", f"send offer {number}"
        more = plant("Anna", sentence, "2026-12-01", f"K-{number}") if for_model else f"- [ ] {sentence}"
        filler = "\n\n".join([_FILLER * 10] * (size // len(_FILLER) // 10)) or _FILLER
        files[f"{number % 20:02}/page{number:04}.md"] = (
            f"# Page {number}\n\n- [ ] {box}\n\n{filler}\n\n{more}\n"
        )
        titles += [box, sentence]
    return files, sorted(titles)


@asynccontextmanager
async def measured(folder: Path, count: int, size: int, *, with_model: bool) -> AsyncIterator[Figures]:
    """Run over such a folder twice, looking that nothing is lost or doubled."""
    files, titles = folder_of(count, size, for_model=with_model)
    oracle = Oracle() if with_model else None
    async with scene(folder, files, oracle=oracle) as play:
        await play.device.start()
        await play.has_connected()
        before = memory_mib(play, "VmRSS")
        first_s = await _run(play, count, done=count)
        asked = oracle.stats.calls if oracle else 0
        unchanged_s = await _run(play, count, done=0)
        are_there_once(play.items(), titles)
        assert (oracle.stats.calls if oracle else 0) == asked
        yield Figures(first_s, unchanged_s, before, memory_mib(play, "VmHWM"))


async def read_over_runs(folder: Path, count: int, *, most_files: int) -> AsyncIterator[tuple[int, float]]:
    """Start one run over *count* files, *most_files* a run: nothing is lost or doubled by those that follow.

    Yields how many files each run left, and by how many MiB the hub's memory has grown.
    """
    files, titles = check_boxes(count, each=1)
    async with scene(folder, files, settings=f"[limits]\nrun_files = {most_files}\n") as play:
        await play.device.start()
        await play.has_connected()
        before = memory_mib(play, "VmRSS")
        run_id: str | None = await play.hub.start_run()
        while run_id is not None:
            run = await play.hub.ended(run_id, within_s=RUN_TIMEOUT_S)
            assert 0 < run["units_done"] <= most_files, run
            run_id = run["followed_by"]
            yield run["units_left"], memory_mib(play, "VmHWM") - before
        are_there_once(play.items(), titles)


# Each is met by a run that follows another one, or by one that is to be followed.
_BREAKS = (
    ("kill_hub", Point("the end of the first run", "to_hub", "agent_complete")),
    ("kill_hub", Point("the beginning of the next run", "to_device", "agent_run", nth=2)),
    ("stop_hub", Point("the listing of a run", "to_hub", "agent_manifest")),
    ("restart_device", Point("the end of a run", "to_hub", "agent_complete")),
    ("stop_hub", Point("the end of another run", "to_hub", "agent_complete")),
)


async def read_over_breaks(folder: Path, count: int, *, most_files: int) -> list[Mapping[str, Any]]:
    """Start one run over *count* files, and kill and stop hub and device at the ends of its parts.

    Nothing is lost or doubled. Returns the runs, the first one first.
    """
    files, titles = check_boxes(count, each=1)
    limits = f"[limits]\nrun_files = {most_files}\nrestart_hold_s = 0.0\n"
    async with scene(folder, files, settings=limits) as play:
        await play.device.start()
        await play.has_connected()
        run_id: str | None = None
        for fault, point in _BREAKS:
            play.at(point, getattr(play, fault))
            run_id = run_id or await play.hub.start_run()
            await play.happened()
            if fault != "restart_device":
                await play.start_hub()
        runs: list[Mapping[str, Any]] = []
        while run_id is not None:
            runs.append(await play.hub.ended(run_id, within_s=RUN_TIMEOUT_S))
            run_id = runs[-1]["followed_by"]
        listed = (await play.hub.get("/v1/runs"))["runs"]
        assert {one["id"] for one in listed} == {one["id"] for one in runs}
        are_there_once(play.items(), titles)
        return runs


async def _run(play: Scene, count: int, *, done: int) -> float:
    began = perf_counter()
    run = await play.hub.ended(await play.hub.start_run(), within_s=RUN_TIMEOUT_S)
    assert (run["outcome"], run["units_done"], run["units_skipped"]) == ("success", done, count - done), run
    return perf_counter() - began


def memory_mib(play: Scene, field: str) -> float:
    """``VmRSS`` (now) or ``VmHWM`` (at most, ever) of the hub's process."""
    for line in Path(f"/proc/{play.hub.pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"/proc knows no {field}")


async def play(folder: Path, *, shares: int = len(_SHARES), many: int = 20_000) -> Verdict:
    """Read large folders to the end; the memory of the hub grows by a bounded amount."""
    worst, told = 0.0, list[str]()
    for number, (name, count, size, with_model) in enumerate(_SHARES[:shares]):
        (place := folder / str(number)).mkdir()
        async with measured(place, count, size, with_model=with_model) as figures:
            told.append(
                f"{name}: {figures.first_s:.1f} s ({figures.first_s / count * 1000:.1f} ms a file), "
                f"unchanged {figures.unchanged_s:.1f} s, memory {figures.before_mib:.0f} MiB "
                f"+ {figures.growth_mib:.0f} MiB"
            )
            worst = max(worst, figures.growth_mib)
    (place := folder / "many").mkdir()
    most_files = many // 10
    async for left, growth_mib in read_over_runs(place, many, most_files=most_files):
        told.append(f"{many:,} files, {most_files:,} a run: {left:,} left, memory + {growth_mib:.0f} MiB")
        worst = max(worst, growth_mib)
    told.append(f"memory grew by at most {worst:.0f} MiB, of {MAX_GROWTH_MIB:.0f} MiB allowed")
    return "\n".join(told), worst < MAX_GROWTH_MIB


if __name__ == "__main__":
    run(play)
