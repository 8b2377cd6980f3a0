"""Two hours of ordinary work: memory, descriptors and rows a run of hub and device stay as they were.

``python -m tests.scenarios.steady [--minutes 120] [--seed N]`` lets files of a folder come, change and go. It
runs an agent after each change, asks what pages ask, and cuts the connection now and then. After a quarter of
the time the folder and the caches have their size; then both halves of the samples are compared.
"""

from pathlib import Path
from random import Random
from statistics import median
from time import monotonic
from typing import Final, NamedTuple

from tests.bench.machine import tree_rss_bytes
from tests.scenarios.program import Verdict, run
from tests.scenarios.scene import Scene, are_there_once, rows, scene
from tests.support.processes import Program

MAX_SHARE: Final = 1.05  # of the first half, for the second one
MAX_MORE: Final = {"hub MiB": 4.0, "device MiB": 4.0, "descriptors": 4.0, "rows a run": 1.0}
_FILES: Final = 100  # in the folder at once
_EACH: Final = 4  # files that come in a round, and as many that change
_ROUNDS_A_SAMPLE: Final = 5
_CUTS: Final = 0.02  # share of the rounds
_BACK_S: Final = 120.0  # cuts that follow each other make a device wait for up to a minute
_ASKED: Final = (
    "/v1/status",
    "/v1/items?limit=50",
    "/v1/items/counts",
    "/v1/runs",
    "/v1/agents",
    "/v1/issues",
)


class Sample(NamedTuple):
    """Memory and descriptors of hub and device at a moment, and runs and rows of the hub's database."""

    hub_mib: float
    device_mib: float
    descriptors: int
    runs: int
    rows: int


class Folder:
    """Files that the device shares, the oldest of which go, and the titles of all boxes that ever were."""

    def __init__(self, path: Path, chance: Random) -> None:
        self._path, self._chance = path, chance
        self._names: list[str] = []
        self._made = 0
        self.titles: list[str] = []

    def change(self) -> None:
        staying = self._names[_EACH - _FILES :]
        changed = self._chance.sample(staying, min(_EACH, len(staying)))
        new = [f"page{self._made + number:06}.md" for number in range(_EACH)]
        for name in (*changed, *new):
            self._made += name in new
            title = f"Task {len(self.titles):06} of {name}"
            self.titles.append(title)
            with (self._path / name).open("a", encoding="utf-8") as file:
                file.write(f"- [ ] {title}\n")
        self._names += new
        while len(self._names) > _FILES:
            (self._path / self._names.pop(0)).unlink()


def sample(play: Scene) -> Sample:
    """Return what is held now."""
    tables = [
        name
        for (name,) in rows(play.folder / "hub.db", "SELECT name FROM sqlite_master WHERE type = 'table'")
    ]
    counts = " UNION ALL ".join(f'SELECT count(*) FROM "{name}"' for name in tables)
    ((runs,),) = rows(play.folder / "hub.db", "SELECT count(*) FROM runs")
    return Sample(
        hub_mib=tree_rss_bytes(play.hub.pid) / 2**20,
        device_mib=tree_rss_bytes(play.device.pid) / 2**20,
        descriptors=_descriptors(play.hub) + _descriptors(play.device),
        runs=runs,
        rows=sum(count for (count,) in rows(play.folder / "hub.db", counts)),
    )


def _descriptors(program: Program) -> int:
    return len([*Path(f"/proc/{program.pid}/fd").iterdir()])


def compared(samples: list[Sample]) -> dict[str, tuple[float, float]]:
    """Return each figure in the first and in the second half of *samples*."""
    middle = len(samples) // 2
    first, second = _figures(samples[: middle + 1]), _figures(samples[middle:])
    return {name: (first[name], second[name]) for name in first}


def _figures(samples: list[Sample]) -> dict[str, float]:
    return {
        "hub MiB": median(one.hub_mib for one in samples),
        "device MiB": median(one.device_mib for one in samples),
        "descriptors": max(one.descriptors for one in samples),
        "rows a run": (samples[-1].rows - samples[0].rows) / (samples[-1].runs - samples[0].runs),
    }


def is_flat(name: str, first: float, second: float) -> bool:
    """Return True if a figure of the second half is not above that of the first."""
    return second <= first * MAX_SHARE + MAX_MORE[name]


async def play(folder: Path, *, minutes: float = 120.0, seed: int = 1) -> Verdict:
    """Work for so many minutes, and compare what is held; each item is on the device once."""
    chance = Random(seed)
    files, samples, rounds = Folder(folder / "notes", chance), list[Sample](), 0
    (folder / "notes").mkdir()
    async with scene(folder, {}) as play:
        await play.device.start()
        await play.has_connected()
        end = (began := monotonic()) + 60 * minutes
        while monotonic() < end or len(samples) < 3:
            files.change()
            if chance.random() < _CUTS:
                play.wire.cut()
                await play.has_connected(within_s=_BACK_S)
            ended = await play.hub.ended(await play.hub.start_run(), every_s=0.2)
            assert ended["outcome"] == "success", ended
            for path in _ASKED:
                await play.hub.get(path)
            play.seen.clear()
            rounds += 1
            if rounds % _ROUNDS_A_SAMPLE == 0 and monotonic() > began + 15 * minutes:
                samples.append(sample(play))
        are_there_once(play.items(), files.titles)
    figures = compared(samples)
    said = ", ".join(f"{name} {first:.1f} to {second:.1f}" for name, (first, second) in figures.items())
    return f"{minutes:g} minutes, {rounds:,} runs, {len(files.titles):,} items: {said}", all(
        is_flat(name, *halves) for name, halves in figures.items()
    )


if __name__ == "__main__":
    run(play)
