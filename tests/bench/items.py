"""Rows 29 and 37 to 40: items from files of foreign devices to their rows, in turns with the last release.

Devices live in this process, and are not counted; nor is what a database server uses. Each play has a hub and
a database of its own. Counted is all that the hub's processes use from the order of the runs to their end.
"""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final, NamedTuple

import anyio

from tests.bench.foreign_device import MANIFEST, ForeignDevice
from tests.bench.foreign_device import ROWS as ONE_BY_ONE
from tests.bench.machine import tree_cpu_s, tree_rss_bytes
from tests.bench.release import HUB, RELEASE, Sources, compared
from tests.bench.rounds import Rounds, alone, play, ratio
from tests.bench.rows import Goal, Row, at_least
from tests.scenarios.versions import Hub
from tests.support.postgres import Postgres, running_postgres, why_no_postgres
from tests.support.processes import SETTINGS, closing

_DISK: Final = "/var/tmp"  # as row 13
_MIB: Final = 2.0**20
_POLL_S: Final = 0.25
_QUIET_S: Final = 1.0  # what a hub does after its devices came
_RUN_S: Final = 1_800.0  # on a machine that others use
_ENDED: Final = frozenset({"COMPLETED", "FAILED", "CANCELLED"})
_WORDS: Final = (
    *("plumber", "invoice", "garden", "report", "budget", "kitchen", "meeting", "offer", "bicycle", "school"),
    *("insurance", "letter", "window", "contract", "printer"),
)
_LISTENERS, _, _AGENT = SETTINGS.format(model="").partition("[[agents]]")


def _boxes(number: int, count: int) -> str:
    lines = (
        f"- [ ] Call the {_word(n + number)} about the {_word(n * 7 + number)} number {number}-{n}"
        f"{' by Friday' if n % 4 == 0 else ''}\n"
        for n in range(count)
    )
    return "# House\n\n" + "".join(lines)


def _sentences(number: int, count: int) -> str:
    days = ("Friday", "12 May", "tomorrow")
    topics = ((_word(n + number), _word(n * 3 + number)) for n in range(count))
    return " ".join(
        f"The {topic} was discussed with the {other} people again, {n + number} times."
        if n % 3
        else f"Please send the {topic} {number} to Anna by {days[n // 3 % 3]}."
        for n, (topic, other) in enumerate(topics)
    )


def _word(number: int) -> str:
    return _WORDS[number % len(_WORDS)]


class Shape(NamedTuple):
    """Files of a play. *goals*: items, or files, in a second of CPU on SQLite and on PostgreSQL."""

    devices: int
    files: int
    entries: int  # of each file
    what: str
    goals: tuple[float, float]
    write: Callable[[int, int], str] = _boxes
    capabilities: Sequence[str] = ONE_BY_ONE
    read: int = 0  # files that a run takes, where these are not all
    is_by_file: bool = False

    @property
    def yields(self) -> int:
        """Return what is counted: items of check boxes, of which each is one, or files."""
        files = self.devices * (self.read or self.files)
        return files if self.is_by_file else files * self.entries


SHAPES: Final = {
    29: Shape(12, 10, 20, "12 devices x 10 files x 20 boxes", (1_600, 1_200)),
    37: Shape(1, 10, 200, "1 device x 10 files x 200 boxes", (2_000, 1_200)),
    38: Shape(1, 200, 2, "1 device x 200 files x 2 boxes", (660, 500)),
    39: Shape(1, 20_000, 1, "2,000 of a folder of 20,000 files", (660, 500), _boxes, MANIFEST, 2_000, True),
    40: Shape(1, 100, 20, "1 device x 100 files x 20 sentences", (70, 60), _sentences, is_by_file=True),
}
_READY, _WORKING = Goal(130, is_most=True, unit="MiB"), Goal(220, is_most=True, unit="MiB")


class _Used(NamedTuple):
    cpu_s: float
    wall_s: float
    ready_mib: float
    working_mib: float


async def _deliver(folder: Path, shape: Shape, source: Path, database: str) -> _Used:
    """Start a hub and its devices; order a run of each, and wait for all."""
    agents = (
        _AGENT.replace('"notes"\ndevice = "desk"', f'"notes{n}"\ndevice = "desk{n}"')
        for n in range(shape.devices)
    )
    settings = _LISTENERS + database + "".join(f"[[agents]]{agent}" for agent in agents)
    hub = Hub(folder, source, settings)
    async with closing(hub), anyio.create_task_group() as tasks:
        await hub.start()
        ready = tree_rss_bytes(hub.pid)
        url = await hub.device_url()
        for number in range(shape.devices):
            files = {
                f"/home/u{number}/notes/n{n:05}.md": shape.write(number * 10_000 + n, shape.entries)
                for n in range(shape.files)
            }
            token = await hub.token(f"desk{number}")
            await tasks.start(ForeignDevice(token, files, shape.capabilities).serve, url)
        await anyio.sleep(_QUIET_S)
        used_s, began = tree_cpu_s(hub.pid), perf_counter()
        # Of a folder with files left over, the hub orders more runs by itself: they are not waited for.
        ordered = {await hub.start_run(f"notes{number}") for number in range(shape.devices)}
        most, runs = ready, list[dict[str, Any]]()
        while len(runs) < shape.devices or any(run["state"] not in _ENDED for run in runs):
            await anyio.sleep(_POLL_S)
            runs = [run for run in (await hub.get("/v1/runs"))["runs"] if run["id"] in ordered]
            most = max(most, tree_rss_bytes(hub.pid))
            assert perf_counter() - began < _RUN_S, f"{runs}: {hub.log()[-4_000:]}"
        used = _Used(tree_cpu_s(hub.pid) - used_s, perf_counter() - began, ready / _MIB, most / _MIB)
        details = [await hub.get(f"/v1/runs/{run['id']}") for run in runs]
        tasks.cancel_scope.cancel()
    assert all(run["state"] == "COMPLETED" for run in details), details
    created = sum(run["items_created"] for run in details)
    assert created >= shape.yields if shape.write is _boxes else created, created
    return used


class _Bench:
    """Plays of a shape on one database, and what else was measured in them."""

    def __init__(self, shape: Shape, server: Postgres | None) -> None:
        self.shape = shape
        self._server = server
        self.used: dict[str, list[_Used]] = {}

    def cpu_s(self, name: str, source: Path) -> float:
        """Return the CPU seconds of a play."""
        with TemporaryDirectory(dir=_DISK, prefix="hub-bench-") as directory:
            words = (Path(directory), self.shape, source)
            if self._server is None:
                used = anyio.run(_deliver, *words, "")
            else:
                with self._server.bare_database() as url:
                    used = anyio.run(_deliver, *words, f'[storage]\nurl = "{url}"\n')
        self.used.setdefault(name, []).append(used)
        return float(used.cpu_s)


def run(echo: Callable[[str], None], wanted: Collection[int], played: Sources) -> list[Row]:
    """Play the rounds of those *wanted*, of each of the sources in turns."""
    rows: list[Row] = []
    for number in sorted(SHAPES.keys() & wanted):
        rows += _rows(number, "SQLite", None, echo, played)
    if (why := why_no_postgres()) is not None:
        echo(f"not on PostgreSQL: {why}")
        return rows
    with running_postgres() as server:
        for number in sorted(SHAPES.keys() & wanted):
            rows += _rows(number, "PostgreSQL", server, echo, played)
    return rows


def _rows(
    number: int, database: str, server: Postgres | None, echo: Callable[[str], None], played: Sources
) -> list[Row]:
    shape = SHAPES[number]
    bench = _Bench(shape, server)
    echo(f"row {number}: {shape.what}, {database}")
    plays = {name: partial(bench.cpu_s, name, source) for name, source in played.items()}
    rounds = play(plays, echo=echo, extra=0)
    for name, used in bench.used.items():
        middle = _Used(*(median(column) for column in zip(*used, strict=True)))
        echo(
            f"{name:>10}: medians {middle.cpu_s:.2f} s CPU, {middle.wall_s:.1f} s wall, "
            f"{1_000 * middle.cpu_s / shape.yields:.2f} ms a {'file' if shape.is_by_file else 'item'}, RSS "
            f"{middle.ready_mib:.0f} MiB ready, {middle.working_mib:.0f} MiB in work"
        )
    return [*_judged(number, f"{shape.what}, {database}", bench, rounds, list(played))]


def _judged(number: int, what: str, bench: _Bench, rounds: Rounds, names: Sequence[str]) -> list[Row]:
    shape = bench.shape
    for round, used in zip(rounds, bench.used[HUB], strict=True):
        round["rate"] = round[HUB]._replace(value=shape.yields / used.cpu_s)
        round["ready"] = round[HUB]._replace(value=used.ready_mib)
        round["working"] = round[HUB]._replace(value=used.working_mib)
        for name in names:
            round[f"{name} wall"] = round[name]._replace(value=bench.used[name][rounds.index(round)].wall_s)
    unit = "files" if shape.is_by_file else "items"
    goal = at_least(shape.goals["PostgreSQL" in what])._replace(unit=unit)
    rows = [Row(str(number), f"{what}: {unit} a CPU s", goal, alone(rounds, "rate"), False, unit)]
    rows += compared(number, f"{what}: CPU", rounds, names)
    rows.append(
        Row(
            str(number),
            "... wall time / of the last release",
            None,
            ratio(rounds, f"{HUB} wall", f"{RELEASE} wall"),
        )
    )
    if shape.devices > 1:
        ready, working = alone(rounds, "ready"), alone(rounds, "working")
        rows.append(Row(str(number), "... RSS of all processes, ready", _READY, ready, False, "MiB"))
        rows.append(Row(str(number), "... in work", _WORKING, working, False, "MiB"))
    return rows
