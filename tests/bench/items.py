"""Row 29: items from the files of a device to its rows, end to end.

The hub and the reference device are processes as their users have them; what a database server uses is not
counted, on either side of a ratio.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final, NamedTuple

import anyio
import asyncpg

from tests.bench.machine import cpu_seconds, tree_cpu_s
from tests.bench.rounds import alone, play, ratio, spread_of
from tests.bench.rows import Goal, Row, at_least
from tests.support.postgres import Postgres, running_postgres, why_no_postgres
from tests.support.processes import SETTINGS, DeviceProcess, HubProcess
from tests.support.processes import closing as ending

ROWS: Final = frozenset({29})
_DISK: Final = "/var/tmp"  # as row 13
_FILES, _BOXES = 20, 100
_ITEMS: Final = _FILES * _BOXES
_POLL_S: Final = 0.2
_TABLE: Final = "CREATE TABLE bench_items (id text PRIMARY KEY, title text, at bigint)"


class _Used(NamedTuple):
    cpu_s: float
    wall_s: float


async def _deliver(folder: Path, database: str) -> _Used:
    """A run over the files; the CPU time of hub and device, and the time from its order to its end."""
    (folder / "notes").mkdir()
    for number in range(_FILES):
        boxes = (f"- [ ] Do the thing number {number}-{box} for the studio\n" for box in range(_BOXES))
        (folder / "notes" / f"n{number:03}.md").write_text("".join(boxes))
    hub = HubProcess(folder, settings=SETTINGS.format(model="") + database)
    async with ending(hub):
        await hub.start()
        device = DeviceProcess(folder, await hub.device_url(), await hub.token())
        async with ending(device):
            await device.start()
            await device.says("connected as")
            used_s, began = tree_cpu_s(hub.pid) + tree_cpu_s(device.pid), perf_counter()
            run = await hub.ended(await hub.start_run(), within_s=300, every_s=_POLL_S)
            wall_s = perf_counter() - began
            used_s = tree_cpu_s(hub.pid) + tree_cpu_s(device.pid) - used_s
    assert run["items_created"] == _ITEMS, run
    return _Used(used_s, wall_s)


def _one_by_one(path: Path) -> float:
    """Rows a second of CPU time, each in a transaction of its own."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in ("PRAGMA journal_mode=wal", "PRAGMA synchronous=full", _TABLE):
            db.execute(statement)
        began = cpu_seconds()
        for number in range(_ITEMS):
            row = (f"row-{number}", f"Do the thing number {number} for the studio", number)
            db.execute("INSERT INTO bench_items VALUES (?, ?, ?)", row)
        return _ITEMS / (cpu_seconds() - began)


async def _one_by_one_over_asyncpg(url: str) -> float:
    """The same at a server."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_TABLE)
        began = cpu_seconds()
        for number in range(_ITEMS):
            row = (f"row-{number}", f"Do the thing number {number} for the studio", number)
            await connection.execute("INSERT INTO bench_items VALUES ($1, $2, $3)", *row)
        rate = _ITEMS / (cpu_seconds() - began)
        await connection.execute("DROP TABLE bench_items")
        return rate
    finally:
        await connection.close()


class _Bench:
    """Measurements on one database, and the wall time of each run for each second of CPU time."""

    def __init__(self, server: Postgres | None) -> None:
        self._server = server
        self.waits: list[float] = []

    def end_to_end(self) -> float:
        """Items in a second of CPU time."""
        with TemporaryDirectory(dir=_DISK, prefix="hub-bench-") as directory:
            if self._server is None:
                used = anyio.run(_deliver, Path(directory), "")
            else:
                with self._server.database() as url:
                    used = anyio.run(_deliver, Path(directory), f'[storage]\nurl = "{url}"\n')
        self.waits.append(used.wall_s / used.cpu_s)
        return _ITEMS / used.cpu_s

    def one_by_one(self) -> float:
        """Rows in a second of CPU time of plain ``sqlite3``, or asyncpg."""
        if self._server is not None:
            with self._server.database() as url:
                return anyio.run(_one_by_one_over_asyncpg, url)
        with TemporaryDirectory(dir=_DISK, prefix="hub-bench-") as directory:
            return _one_by_one(Path(directory) / "bench.db")


def run(told: Callable[[str], None]) -> list[Row]:
    """Play the rounds of row 29."""
    rows = _rows("SQLite", "sqlite3", _Bench(None), told)
    if (why := why_no_postgres()) is not None:
        told(f"not on PostgreSQL: {why}")
        return rows
    with running_postgres() as server:
        return rows + _rows("PostgreSQL", "asyncpg", _Bench(server), told)


def _rows(database: str, driver: str, bench: _Bench, told: Callable[[str], None]) -> list[Row]:
    told(f"{_FILES} files of {_BOXES} check boxes, on {database}")
    rounds = play({"hub": bench.end_to_end, "plain": bench.one_by_one}, told=told, rounds=3, extra=1)
    items, waits = alone(rounds, "hub"), spread_of(bench.waits)
    told(f"wall / CPU: {waits.least:.1f} / {waits.middle:.1f} / {waits.most:.1f}")
    goal = at_least(2_500 if database == "SQLite" else 1_200)._replace(unit="items")
    what = "items per CPU s, end to end"
    return [
        Row("29", f"{what}, {database}", goal, items, is_timed=False, unit="items"),
        Row(
            "29",
            f"{what}, {database} / rows one by one, {driver}",
            None,
            ratio(rounds, "hub", "plain"),
            False,
        ),
        Row("29", f"wall / CPU for {_ITEMS} items, {database}", _MAX_WAIT, items._replace(spread=waits)),
    ]


_MAX_WAIT: Final = Goal(1.5, is_most=True)
