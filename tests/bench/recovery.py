"""Row 17: ten thousand live runs taken back, set by set and one by one."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final

import anyio
import sqlalchemy as sa

from protocol.ids import BootId, RunId
from protocol.lifecycles import RunEvent
from storage import schema
from storage.agents.agent_moves import recount
from storage.devices import devices
from storage.kernel.migrate import upgrade
from storage.kernel.sqlite import open_sqlite
from storage.runs import run_moves
from storage.runs.run_moves import REQUEUED_FOR
from storage.runs.runs import HeldRun
from tests.bench.rounds import alone, play, ratio, spread_of
from tests.bench.rows import Row, at_least, at_most
from tests.scenarios.live_runs import EACH, fill
from tests.storage.rows import AT, ME

_RUNS: Final = 10_000
_DISK: Final = "/var/tmp"  # as row 13
_BOOT: Final = BootId("the next boot")
_EXECUTING: Final = sa.select(schema.runs.c.id, schema.runs.c.state, schema.runs.c.fence).where(
    sa.text(schema.EXECUTING)
)

Recover = Callable[[sa.Connection], object]


def _set_by_set(c: sa.Connection) -> None:
    run_moves.recover(c, boot_id=_BOOT, at=AT)


def _one_by_one(c: sa.Connection) -> None:
    """The ordinary way: the move of one run, for each of them; all in one transaction, too."""
    for row in c.execute(_EXECUTING).all():
        held = HeldRun(RunId(row.id), row.state, row.fence)
        run_moves.move(c, held, RunEvent.HUB_LOST, at=AT, actor="hub", reason=REQUEUED_FOR)
    recount(c, at=AT, actor="hub")


def _make(path: Path) -> None:
    upgrade(path)
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as c:
        devices.ensure_user(c, ME, "me", AT)
    engine.dispose()
    fill(path, _RUNS // EACH, at=AT)


async def _measure(pattern: Path, recover: Recover) -> float:
    """Seconds, until it is on the disk."""
    with TemporaryDirectory(dir=_DISK, prefix="hub-bench-") as folder:
        path = shutil.copy(pattern, folder)
        async with open_sqlite(Path(path)) as database:
            began = perf_counter()
            await database.write(recover)
            return perf_counter() - began


def run(told: Callable[[str], None]) -> list[Row]:
    """Play the rounds of row 17, in this process, each figure on a fresh copy of one file."""
    told(f"{_RUNS} live runs, 6 of 10 executing; wal, synchronous=full, in {_DISK}, on uvloop")
    with TemporaryDirectory(dir=_DISK, prefix="hub-bench-") as folder:
        pattern = Path(folder) / "live.db"
        _make(pattern)

        def measure(recover: Recover) -> float:
            return anyio.run(_measure, pattern, recover, backend_options={"use_uvloop": True})

        ways = {"set by set": _set_by_set, "one by one": _one_by_one}
        rounds = play({name: partial(measure, way) for name, way in ways.items()}, told=told)
    for name in ways:
        spread = spread_of([played[name].value for played in rounds])
        told(f"{name:>10}: {spread.least:.2f} / {spread.middle:.2f} / {spread.most:.2f} s")
    return [
        Row(
            "17", "recovery: one by one / set by set", at_least(2), ratio(rounds, "one by one", "set by set")
        ),
        Row("17", "the same, set by set", at_most(2, "s"), alone(rounds, "set by set"), unit="s"),
    ]
