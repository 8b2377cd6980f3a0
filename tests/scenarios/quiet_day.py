"""A day of agents that find nothing new: twenty of them, each every ten seconds.

``python -m tests.scenarios.quiet_day`` (``make soak``: an hour) prints what each table takes at the end, and
fails when a run without news costs more than MAX_BYTES. One process, the functions of ``storage`` and
``hub.runs.housekeeping`` on a real file, time by hand: each run is fired, claimed, meets a folder that is as
it was, ends, is told of and measured.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from time import process_time

import msgspec
import sqlalchemy as sa

from hub.base.toml.limits import RetentionSettings
from protocol.lifecycles import RunEvent, RunOutcome
from storage import audit
from storage.agents import measurements
from storage.runs import run_moves, runs, units
from storage.runs.runs import RunRow
from tests.scenarios.ninety_days import DAY_MS, HOUR_MS, Inside
from tests.scenarios.program import Verdict, run

EVERY_MS = 10_000
MEASURED_EVERY = 2  # periods: the hub measures every 15 s
FILES = 5
MAX_BYTES = 200.0


class Tables(msgspec.Struct, frozen=True):
    """Bytes of each table with its indexes, and runs that were made."""

    runs: int
    sizes: dict[str, int]


class QuietDay(Inside):
    """A hub's rows, and agents whose folders do not change."""

    def __init__(self, folder: Path, *, agents: int) -> None:
        super().__init__(folder, device_count=agents, every_ms=EVERY_MS, keep=RetentionSettings())

    async def pass_hours(self, hours: float) -> None:
        for period in range(int(hours * HOUR_MS) // EVERY_MS):
            self.file.at += EVERY_MS
            with self.file.transaction() as c:
                self._fire(c)
            while self._work():
                pass
            if period % MEASURED_EVERY == 0:
                self._measure()
            if period % (HOUR_MS // EVERY_MS) == 0:
                await self._keeper.prune()

    def _measure(self) -> None:
        at = self.file.at
        retained = measurements.BucketRetention(minutes_from=at - 7 * DAY_MS, hours_from=at - 90 * DAY_MS)
        measured = measurements.AT_ONCE
        while measured == measurements.AT_ONCE:
            with self.file.transaction() as c:
                measured = measurements.measure(c, at=at, retention=retained).rows

    def _run(self, c: sa.Connection, run: RunRow) -> None:
        at = self.file.at
        held = run_moves.move(c, run.held, RunEvent.ACKNOWLEDGED, at=at, actor="device")
        if not units.has_settled_tree(c, held, "as it was", at):
            units.settle_tree(c, held, "as it was", {})
        runs.note_progress(c, held, FILES, at, unchanged=FILES)
        run_moves.move(c, held, RunEvent.FINISHED, at=at, actor="hub", outcome=RunOutcome.SUCCESS)
        audit.record(
            c,
            id=f"a{run.id}",
            at=at,
            event_type="run.finished",
            message="Run finished",
            run_id=run.id,
            agent_id=run.agent_id,
            device_id=run.device_id,
            actor="hub",
        )

    def tables(self) -> Tables:
        path = self.file.path
        with closing(sqlite3.connect(path)) as db:
            pages = db.execute("SELECT name, SUM(pgsize) FROM dbstat GROUP BY name").fetchall()
            owner = dict(db.execute("SELECT name, tbl_name FROM sqlite_master"))
        sizes: dict[str, int] = {}
        for name, size in pages:
            table = owner.get(name, name)
            sizes[table] = sizes.get(table, 0) + size
        return Tables(self._runs_made, sizes)


async def play(folder: Path, *, agents: int = 20, hours: float = 24.0) -> Verdict:
    """Let so many hours pass after the first hundredth of them; each table, and the bytes of a run."""
    began, day, told = process_time(), QuietDay(folder, agents=agents), list[str]()
    try:
        await day.pass_hours(max(hours / 100, 0.05))
        before = day.tables()
        await day.pass_hours(hours)
        after = day.tables()
    finally:
        day.file.close()
    size, cpu_s = sum(after.sizes.values()) / 1e6, process_time() - began
    told.append(f"  {after.runs:8,} runs, {size:8.2f} MB in tables, {cpu_s:5.0f} s of CPU")
    grown = {name: size - before.sizes.get(name, 0) for name, size in after.sizes.items()}
    ordered = sorted(grown.items(), key=lambda one: -one[1])
    told += [f"  {name:24}{size:14,} bytes more" for name, size in ordered if size]
    each = sum(grown.values()) / (after.runs - before.runs)
    a_day = each * agents * DAY_MS / EVERY_MS / 1e6
    told.append(f"{each:.0f} bytes a run, {a_day:.1f} MB a day; at most {MAX_BYTES:.0f} a run")
    return "\n".join(told), each <= MAX_BYTES


if __name__ == "__main__":
    run(play)
