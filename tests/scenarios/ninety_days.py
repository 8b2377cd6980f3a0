"""Ninety days of an hourly agent on fifty devices: the file is as large at their end as after forty.

``python -m tests.scenarios.ninety_days`` (``make soak``) does it at full size, prints
figures and fails when the file grows; the suite does it small. One process, the
functions of ``storage`` and ``hub.runs.housekeeping`` on a real file, time by hand:
each run is fired, claimed, planned with two calls, delivered, ended, told of.

The file is flat from the day on which the first rows of the kind that stays longest go,
and not before: until then that kind grows by as much each day. Here every kind stays
for 30 days at most, and ten more are given to the pages in between. By default failed
runs, fires and the log stay for 90, and a day of them takes a seventh of what a day of
everything takes: what is flat here from day 40 goes on growing there, by so much, until
day 90.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Concatenate, ParamSpec, TypeVar

import anyio
import anyio.lowlevel
import msgspec
import sqlalchemy as sa

from hub.base.clock import from_epoch_ms
from hub.base.toml.limits import RetentionSettings
from hub.runs.housekeeping import Housekeeping
from protocol.ids import CallId, DeviceId, RunId
from protocol.lifecycles import CallEvent, RunEvent, RunOutcome
from storage import audit, leases
from storage.agents import due_schedules
from storage.agents.declared_agents import DeclaredAgent
from storage.agents.due_schedules import DueSchedule
from storage.effects import fire_decisions, sessions
from storage.effects.fire_decisions import FireDecision
from storage.effects.fire_runs import FreshRun
from storage.kernel.migrate import upgrade
from storage.leases import Term
from storage.runs import plans, run_claims, run_moves, run_pauses, runs, units
from storage.runs.calls import mark_sent
from storage.runs.items import Decision, PlannedCall
from storage.runs.run_claims import Gates
from storage.runs.runs import RunRow
from storage.schedules import schedule_rows, schedules
from storage.schedules.schedule_rows import DeclaredSchedule
from storage.schedules.schedules import NextFire
from storage.schema import metadata
from tests.scenarios.program import Verdict, run
from tests.storage import rows
from tests.storage.hub_file import HubFile
from tests.storage.rows import plan_unit, settle_call
from tests.support.presence import open_session

P = ParamSpec("P")
T = TypeVar("T")

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
MAX_GROWTH = 1.1
FILES = 20  # on each device; each run finds one of them changed
FLAT_FROM_DAY = 40
KEPT = RetentionSettings(runs_days=30, failed_runs_days=30, payload_days=7, fires_days=30, activity_days=30)


class Size(msgspec.Struct, frozen=True):
    """How large everything is at the end of a day."""

    day: int
    file_bytes: int  # with its write-ahead log
    rows: dict[str, int]


class InlineDatabase:
    """A ``Database`` without a thread of its own."""

    is_shared = False

    def __init__(self, file: HubFile) -> None:
        self._file = file

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return await self.write(fn, *args, **kwargs)

    async def write(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        await anyio.lowlevel.checkpoint()
        with self._file.transaction() as c:
            return fn(c, *args, **kwargs)


class HandClock:
    """A ``Clock`` that shows what the file's clock shows, and on which nobody waits."""

    def __init__(self, file: HubFile) -> None:
        self._file = file

    def now(self) -> datetime:
        return from_epoch_ms(self._file.at)

    def monotonic(self) -> float:
        return self._file.at / 1_000

    uptime_s = monotonic

    async def sleep(self, seconds: float) -> None:
        await anyio.lowlevel.checkpoint()


class Inside:
    """A hub's rows, and what happens to them in each period of its schedules."""

    def __init__(self, folder: Path, *, device_count: int, every_ms: int, keep: RetentionSettings) -> None:
        upgrade(folder / "pattern.db")
        (folder / "hub").mkdir()
        self.file = HubFile(folder / "pattern.db", folder / "hub")
        self._every_ms = every_ms
        self._devices = {DeviceId(f"device-desk-{n}"): 0 for n in range(device_count)}  # and their epochs
        self._runs_made = 0
        self._keeper = Housekeeping(
            InlineDatabase(self.file),
            clock=HandClock(self.file),
            boot_id=self.file.boot_id,
            keep=keep,
            pause_s=0,
        )
        with self.file.transaction() as c:
            self._declare(c)
            self._connect(c)

    async def live(self, days: int) -> None:
        """Let so many days pass."""
        for passed in range(0, days * DAY_MS, self._every_ms):
            self.file.at += self._every_ms
            with self.file.transaction() as c:
                if passed % DAY_MS == 0:
                    self._connect(c)
                self._fire(c)
            while self._work():
                pass
            await self._keeper.prune()

    def size(self, day: int) -> Size:
        """How large everything is now."""
        files = (self.file.path, self.file.path.with_name(self.file.path.name + "-wal"))
        with self.file.transaction() as c:
            counted = {
                name: c.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                for name, table in metadata.tables.items()
            }
        return Size(day, sum(file.stat().st_size for file in files), {n: r for n, r in counted.items() if r})

    def _declare(self, c: sa.Connection) -> None:
        every = DeclaredSchedule(kind="every", every_ms=self._every_ms, pause_after_failures=0)
        declared = [
            DeclaredAgent(name=device, device_name=device.removeprefix("device-"), schedule=every)
            for device in self._devices
        ]
        rows.declare(c, *declared, at=self.file.at)
        fresh = schedule_rows.unplanned(c, len(declared))
        planned = [NextFire(row.id, row.rev, *[self.file.at + self._every_ms] * 2) for row in fresh]
        schedules.plan_next(c, self._lead(c), planned, self.file.at)

    def _connect(self, c: sa.Connection) -> None:
        """Every device, once a day: its history is one of the things that grow."""
        for device_id, epoch in self._devices.items():
            if epoch:
                sessions.close_session(c, device_id, epoch, self.file.at)
            self._devices[device_id] = open_session(
                c, device_id, boot_id=self.file.boot_id, platform=None, at=self.file.at
            )

    def _fire(self, c: sa.Connection) -> None:
        due = due_schedules.due(c, self.file.at, len(self._devices))
        fire_decisions.decide(c, self._lead(c), [self._decision(one) for one in due], self.file.at)

    def _decision(self, due: DueSchedule) -> FireDecision:
        at = due.schedule.next_fire_at
        assert at is not None
        self._runs_made += 1
        return FireDecision(
            due=due,
            cursor_at=at,
            next_fire_at=at + self._every_ms,
            due_at=at + self._every_ms,
            runs=(FreshRun(RunId(f"019b{self._runs_made:012}"), at),),
            covered=(),
            trigger_kind="schedule",
            config_fingerprint="fingerprint-1",
            settings={"paths": ["notes"], "prompt": "Find tasks and dates.", "data_types": ["tasks"]},
        )

    def _lead(self, c: sa.Connection) -> Term:
        term = leases.acquire_lease(c, "scheduler", self.file.boot_id, ttl_ms=HOUR_MS)
        assert term is not None
        return term

    def _work(self) -> int:
        """Some runs, from their claim to their end; how many."""
        there = frozenset(self._devices)
        gates = Gates(online=there, total=len(there))
        with self.file.transaction() as c:
            claimed = run_claims.claim_runs(
                c, boot_id=self.file.boot_id, gates=gates, lease_ms=HOUR_MS, at=self.file.at
            )
            for run in claimed:
                self._run(c, run)
        return len(claimed)

    def _run(self, c: sa.Connection, run: RunRow) -> None:
        """Every 25th breaks, every 40th is cancelled, every 30th meets a device that refuses an item."""
        number, at = int(run.id[4:]), self.file.at
        held = run_moves.move(c, run.held, RunEvent.ACKNOWLEDGED, at=at, actor="device")
        unit = f"notes/page-{number // len(self._devices) % FILES}.md"
        calls = [self._call(run, ordinal) for ordinal in range(2)]
        about = plans.UnitToPlan(
            held=held,
            unit_key=unit,
            content_hash=f"{number:064}",
            size_bytes=4_000,
            found=(),
            decide=lambda known: [Decision(call=call) for call in calls],
            at=at,
        )
        plan_unit(c, about)
        mark_sent(c, held, [call.call_id for call in calls], at)
        for call in calls:
            event = CallEvent.REJECTED if number % 30 == call.ordinal else CallEvent.ACKED
            settle_call(c, call.call_id, event, {"result": {"id": call.call_id}}, at)
        units.settle_unit(c, held, unit, at)
        if number % 40 == 0:
            run_pauses.request_cancel(c, run.id, "not needed", at)
            run_moves.move(c, held, RunEvent.CANCELLED, at=at, actor="hub", reason="not needed")
        elif number % 25 == 0:
            runs.record_error(c, run.id, None, "run_failed", "the model answered with nonsense", at)
            run_moves.move(
                c, held, RunEvent.FAILED, at=at, actor="hub", reason="the model answered with nonsense"
            )
        else:
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

    def _call(self, run: RunRow, ordinal: int) -> PlannedCall:
        text = f"Send the offer of run {run.id} to Anna before the end of the month"
        source = {"path": "notes", "quote": text * 3, "start": 0, "end": 3 * len(text), "sha256": "0" * 64}
        data = {"title": text, "description": text * 2, "priority": "high"}
        return PlannedCall(
            call_id=CallId(f"c-{run.id}-{ordinal}"),
            ordinal=ordinal,
            table="tasks",
            payload={"data": data, "source": source},
        )


async def grow(
    folder: Path, *, days: int, device_count: int, every_h: int, keep: RetentionSettings
) -> dict[int, Size]:
    """Let so many days pass; how large everything was at the end of each tenth one."""
    inside = Inside(folder, device_count=device_count, every_ms=every_h * HOUR_MS, keep=keep)
    sizes = {}
    try:
        for day in range(10, days + 1, 10):
            await inside.live(10)
            sizes[day] = inside.size(day)
    finally:
        inside.file.close()
    return sizes


async def play(folder: Path, *, days: int = 90, devices: int = 50) -> Verdict:
    """Let days pass of an hourly agent on each device; the file is flat once the oldest rows have gone."""
    began = perf_counter()
    sizes = await grow(folder, days=days, device_count=devices, every_h=1, keep=KEPT)
    flat, last = sizes[min(FLAT_FROM_DAY, days)], sizes[days]
    told = [
        f"  day {day:3}: {size.file_bytes / 2**20:7.1f} MiB, {size.rows['runs']:8,} runs"
        for day, size in sizes.items()
    ]
    told += [
        f"  {name:24}{flat.rows.get(name, 0):10,} rows on day {flat.day},{count:10,} on day {days}"
        for name, count in last.rows.items()
    ]
    growth, took_s = last.file_bytes / flat.file_bytes, perf_counter() - began
    told.append(f"day {days} / day {flat.day}: {growth:.3f}, at most {MAX_GROWTH}; {took_s:.0f} s")
    return "\n".join(told), growth <= MAX_GROWTH


if __name__ == "__main__":
    run(play)
