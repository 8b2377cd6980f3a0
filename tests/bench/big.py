"""``python -m tests.bench.big [--scale S]``: what a hub of great size costs, of one of a hundredth of it.

Two databases are made, and each step of a hub is measured on both, in this process: CPU time, and steps of
SQLite's virtual machine, which grow with the rows that a statement looks at and do not depend on the machine.
A step may cost 1.5 times as much on the larger one; only what reads every row by its nature may grow with it.
Exit code 1 when another step grows.
"""

import argparse
import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Final, NamedTuple
from unittest.mock import patch

import anyio
import httpx2

from hub.app.hub import Gauges
from hub.runs import housekeeping
from hub.runs.disk import DiskGuard
from hub.runs.housekeeping import Housekeeping
from protocol.ids import BootId, DeviceId
from storage.devices import devices
from storage.kernel import backup
from storage.kernel.sqlite import SqliteDatabase
from storage.kernel.verify import verify
from tests.bench.many_rows import Sizes, make
from tests.support.hub import ENDLESS, ServedHub, answer, open_empty_hub, over_unix

MOST: Final = 1.5
_SMALLER: Final = 100
_DISK: Final = "/var/tmp"  # /tmp is memory on many machines
_CONNECTED: Final = 20  # devices, on both
_GRAIN: Final = 20  # steps of the virtual machine between two counts; shorter statements are not counted
_REPEATS: Final = 5
_ENOUGH_S: Final = 1.0  # of one step; a longer one is not repeated
_LEAST_MS: Final = 2.0  # CPU time below this is too short to be compared
_LEAST_STEPS: Final = 3_000
_HOUR_S: Final = 3_600.0
_LINEAR: Final = {  # by their nature, and with what
    "backup": "all rows",
    "verify": "all rows",
    "GET /v1/audit/verify": "entries of the audit log",
    "GET /v1/costs": "calls of models in 30 days",
    "GET /v1/users": "devices of the users of a page",
}


class Cost(NamedTuple):
    """Median CPU time of some repetitions, in seconds, and steps of SQLite's virtual machine of one."""

    cpu_s: float
    steps: int


Costs = dict[str, Cost]
Step = Callable[[], Awaitable[object]]


class Meter:
    """Measures steps of a hub on one database."""

    def __init__(self) -> None:
        self.costs: Costs = {}
        self._steps = 0

    def _count(self) -> int:
        """Count steps; to be called by SQLite."""
        self._steps += _GRAIN
        return 0

    async def measure(
        self, name: str, step: Step, database: SqliteDatabase | None = None, *, repeats: int = _REPEATS
    ) -> None:
        """Measure *step*; it is repeated, if it is short. *database*: where its steps are counted."""
        self._steps = 0
        spent: list[float] = []
        if database is not None:
            await _follow(database, self._count)
            await step()
            await _follow(database, None)
        steps = self._steps
        while len(spent) < repeats and sum(spent) < _ENOUGH_S:
            began = process_time()
            await step()
            spent.append(process_time() - began)
        self.costs[name] = Cost(median(spent), steps)
        print(f"  {name:<40} {self.costs[name].cpu_s * 1_000:10.1f} ms {steps:12,} steps", flush=True)


async def _follow(database: SqliteDatabase, count: Callable[[], int] | None) -> None:
    for session in (database._session, database._reader):
        await session.in_thread(session._raw._conn.set_progress_handler, count, _GRAIN)


async def measured(path: Path) -> Costs:
    """Measure all steps of a hub on the database *path*."""
    meter = Meter()
    address = f"sqlite:///{path}"
    with TemporaryDirectory(dir=_DISK, prefix="hub-bench-") as name:
        folder = Path(name)

        async def start() -> None:
            async with open_empty_hub(folder, database=address):
                pass

        await start()  # the first start after it was filled
        await meter.measure("start and stop", start)
        async with open_empty_hub(folder, database=address) as hub:
            await meter.measure("issues, first check", hub.app.issues.run_checks, repeats=1)
            await _measure_hub(meter, hub)
    await _measure_copies(meter, path)
    return meter.costs


def _gauges(hub: ServedHub) -> Gauges:
    context = hub.context
    disk = DiskGuard(context.state, clock=context.clock)
    return Gauges(
        store=context.store, clock=context.clock, metrics=context.metrics, log=context.log, disk=disk
    )


async def _measure_hub(meter: Meter, hub: ServedHub) -> None:
    database = hub.context.store.database
    assert isinstance(database, SqliteDatabase)
    for number in range(_CONNECTED):
        device = await hub.store.read(devices.get_device, DeviceId(f"d-{number:08}"))
        await hub.connect(device)
    answer(hub)
    await meter.measure("gauges", _gauges(hub).read, database)
    await meter.measure("issues, each minute", hub.app.issues.run_checks, database)
    await _measure_services(meter, hub, database)
    async with over_unix(hub) as client:
        for route in _routes(hub):
            await meter.measure(f"GET {route}", partial(_get, client, route), database)
    await _measure_housekeeping(meter, hub, database)


async def _measure_services(meter: Meter, hub: ServedHub, database: SqliteDatabase) -> None:
    """Measure rounds of the dispatcher and of the scheduler with nothing to do."""
    for name, service in (("claim", hub.work.dispatcher), ("scheduler tick", hub.work.scheduler)):
        async with anyio.create_task_group() as tasks:
            await tasks.start(service.serve)
            await hub.clock.pass_time(0)

            async def one_round(wake: Callable[[], None] = service.recheck) -> None:
                wake()
                await hub.clock.pass_time(0)

            await meter.measure(name, one_round, database)
            tasks.cancel_scope.cancel()


def _routes(hub: ServedHub) -> list[str]:
    """Return the paths of all requests that read, and name nothing."""
    listing = Path(__file__).parents[1] / "hub" / "api" / "routes.txt"
    words = [line.split() for line in listing.read_text().splitlines()]
    paths = [found[1] for found in words if found[:1] == ["GET"] and "{" not in found[1]]
    return sorted(path for path in paths if path not in ENDLESS and not path.startswith("/v1/agent/"))


async def _get(client: httpx2.AsyncClient, route: str) -> None:
    answered = await client.get(route)
    assert answered.status_code in (200, 403, 503), f"{route}: {answered.status_code} {answered.text}"


async def _measure_housekeeping(meter: Meter, hub: ServedHub, database: SqliteDatabase) -> None:
    """Measure a round that finds nothing to delete, once the clock counts as steady.

    A round examines one part of each table, which the smaller database has too.
    """
    keeper = Housekeeping(hub.store, clock=hub.clock, boot_id=BootId("boot"), pause_s=0)
    with patch.object(housekeeping, "SEARCHED", 1):
        for _ in range(3):
            await keeper.prune()
            hub.clock.advance(_HOUR_S)
        await meter.measure("housekeeping, nothing to do", keeper.prune, database)


async def _measure_copies(meter: Meter, path: Path) -> None:
    with TemporaryDirectory(dir=_DISK, prefix="hub-bench-") as name:
        numbers = count()

        async def make_backup() -> None:
            target = Path(name, str(next(numbers)))
            await asyncio.to_thread(backup.make, target, database=path, others={}, at=0, version="0")

        await meter.measure("backup", make_backup, repeats=1)
    await meter.measure("verify", lambda: verify(f"sqlite:///{path}"))


def main() -> int:
    """Make both databases, measure, print the comparison, judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.big", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="of 1,000,000 items (default: 1)")
    parser.add_argument(
        "--folder", type=Path, help="where to make the databases; kept, and used if they are there"
    )
    asked = parser.parse_args()
    logging.disable()
    with TemporaryDirectory(dir=_DISK, prefix="hub-bench-") as name:
        folder = asked.folder or Path(name)
        costs = []
        for part in (asked.scale / _SMALLER, asked.scale):
            path = folder / f"{part:g}.db"
            if not path.exists():
                began = perf_counter()
                make(path, Sizes.of(part))
                print(f"made {path}: {path.stat().st_size / 1e6:.0f} MB in {perf_counter() - began:.0f} s")
            print(f"scale {part:g}:", flush=True)
            costs.append(anyio.run(measured, path))
    return _judge(*costs)


def _judge(small: Costs, large: Costs) -> int:
    titles = ("CPU small", "large", "ratio", "steps small", "large", "ratio")
    print(f"\n{'step':<40}" + "".join(f"{title:>13}" for title in titles))
    grown = []
    for name, few in small.items():
        many = large[name]
        cpu = many.cpu_s / few.cpu_s
        steps = many.steps / few.steps if few.steps else 1.0
        is_more = cpu > MOST and many.cpu_s * 1_000 > _LEAST_MS
        is_more |= steps > MOST and many.steps > _LEAST_STEPS
        mark = f"  linear: {_LINEAR[name]}" if name in _LINEAR else "  GROWS" if is_more else ""
        if is_more and name not in _LINEAR:
            grown.append(name)
        figures = [f"{few.cpu_s * 1e3:.1f} ms", f"{many.cpu_s * 1e3:.1f} ms", f"{cpu:.2f}"]
        figures += [f"{few.steps:,}", f"{many.steps:,}", f"{steps:.2f}"]
        print(f"{name:<40}" + "".join(f"{figure:>13}" for figure in figures) + mark)
    print(f"\n{len(grown)} of {len(small)} steps grow")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
