"""A hub's schedules over a store in memory, and a clock that stands still until it is told to move."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar

import anyio
import anyio.lowlevel
import sqlalchemy as sa

from hub.base.clock import HubClock, IdFactory, epoch_ms
from hub.base.metrics import Metrics
from hub.extraction.extractor import Extractor
from hub.extraction.model import Models
from hub.runs.clock_watch import ClockWatch
from hub.runs.scheduler import Scheduler
from hub.schedules.cron import parse_cron
from hub.schedules.trigger import trigger_of
from protocol.ids import BootId, RunId, UserId
from storage import audit
from storage.agents import agents, declared_agents
from storage.agents.agents import AgentRow
from storage.agents.declared_agents import DeclaredAgent
from storage.devices import users
from storage.runs import runs
from storage.runs.runs import RunRow
from storage.schedules import fires
from storage.schedules.fires import FireRow
from storage.schedules.schedule_rows import DeclaredSchedule, ScheduleRow
from storage.schedules.schedules import REPEATED_MS
from storage.store import Store
from tests.support import stored
from tests.support.clock import START, FakeClock, SeededChance

P = ParamSpec("P")
T = TypeVar("T")

BOOT, OTHER_BOOT = BootId("boot-1"), BootId("boot-2")
HOUR_S = 3_600
HOURLY = DeclaredSchedule(kind="every", every_ms=HOUR_S * 1000)
DAILY = DeclaredSchedule(kind="cron", expr="0 9 * * *", tz="UTC")


def hours(n: float) -> int:
    """*n* hours after the test began, in epoch ms."""
    return epoch_ms(START + timedelta(hours=n))


def _nothing(_: sa.Connection) -> None:
    """Read no row."""


class Shared:
    """The same database, as if other hubs used it too."""

    is_shared = True

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return await self._store.read(fn, *args, **kwargs)

    async def write(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return await self._store.write(fn, *args, **kwargs)


class Interrupted(Shared):
    """A store of one hub that does *before* once, ahead of the next *interrupted* read."""

    is_shared = False
    before: Callable[[], Coroutine[Any, Any, None]] | None = None

    def __init__(self, store: Store, interrupted: Callable[..., object]) -> None:
        super().__init__(store)
        self._interrupted = interrupted

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        if fn is self._interrupted and (before := self.before) is not None:
            self.before = None
            await before()
        return await super().read(fn, *args, **kwargs)


@dataclass
class Desk:
    """A hub's schedules, and a clock that stands still until it is told to move."""

    store: Store
    clock: FakeClock = field(default_factory=FakeClock)
    metrics: Metrics = field(default_factory=Metrics)
    told_queued: int = 0
    cancelled: list[RunId] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = SeededChance()
        self.suspended_s = 0.0
        self.hub_clock = HubClock(self.clock, lambda: self.clock.monotonic() + self.suspended_s)
        self.ids = IdFactory(self.hub_clock, self.chance)
        self.current = self.scheduler()

    def scheduler(
        self, boot_id: BootId = BOOT, store: Store | None = None, clock_watch: ClockWatch | None = None
    ) -> Scheduler:
        return Scheduler(
            store=store or self.store,
            extractor=Extractor(Models(), secret=bytes(32)),
            clock=self.hub_clock,
            ids=self.ids,
            metrics=self.metrics,
            boot_id=boot_id,
            on_queued=self._count_queued,
            on_cancel=self.cancelled.append,
            clock_watch=clock_watch,
        )

    @asynccontextmanager
    async def serving(self, scheduler: Scheduler | None = None) -> AsyncIterator[Scheduler]:
        """A scheduler that serves, and has done by now what was to be done at once."""
        self.current = scheduler or self.scheduler()
        asleep = self.clock.sleeping
        async with anyio.create_task_group() as tasks:
            await tasks.start(self.current.serve)
            await self.comes_to(lambda: self.clock.sleeping > asleep)
            yield self.current
            tasks.cancel_scope.cancel()

    async def pass_time(self, seconds: float, sleepers: int = 1) -> None:
        """So much time goes by at once, and what follows is done."""
        self.clock.advance(seconds)
        await self.comes_to(lambda: self.clock.sleeping == sleepers)

    async def looks_again(self) -> None:
        self.current.recheck()
        await self.comes_to(lambda: self.clock.sleeping == 0)
        await self.comes_to(lambda: self.clock.sleeping == 1)

    async def comes_to(self, is_so: Callable[[], bool]) -> None:
        with anyio.fail_after(10):
            while not is_so():
                await self.store.read(_nothing)  # the loop sleeps while the database's thread works

    async def declare(self, *declared: DeclaredSchedule | None) -> list[AgentRow]:
        """An agent for each schedule: agent-0, agent-1, ... all on one device."""
        user = await self.store.write(users.ensure_user, UserId("u"), "owner", self.at)
        wanted = [
            DeclaredAgent(name=f"agent-{n}", device_name="desk", data_types=("tasks",), schedule=schedule)
            for n, schedule in enumerate(declared)
        ]
        fresh = [self.ids.fresh() for _ in range(declared_agents.IDS_PER_AGENT * len(wanted))]
        await self.store.write(
            declared_agents.reconcile_declared, user_id=user, declared=wanted, at=self.at, fresh_ids=fresh
        )
        return await self.store.read(agents.list_agents)

    @property
    def at(self) -> int:
        return epoch_ms(self.hub_clock.now())

    async def schedules(self) -> list[ScheduleRow]:
        return await self.store.read(stored.list_schedules)

    async def runs(self) -> list[RunRow]:
        """Oldest fire first."""
        found = await self.store.read(runs.list_runs, limit=2_000)
        return sorted(found, key=lambda run: run.fire_at)

    async def fires(self) -> list[FireRow]:
        """What was decided, oldest first."""
        (agent, *_) = await self.store.read(agents.list_agents)
        return (await self.store.read(fires.list_fires, agent.id, 10_000))[::-1]

    async def told(self, event_type: str) -> list[str]:
        """The owner's activities of this kind."""
        found = await self.store.read(audit.list_activity)
        return [entry.message for entry in found if entry.event_type == event_type]

    async def change(self, statement: sa.Executable) -> None:
        await self.store.write(lambda c: c.execute(statement) and None)

    def _count_queued(self) -> None:
        self.told_queued += 1


class Expected:
    """Number of runs that a schedule of wall-clock times gets, by a model of its cursor."""

    def __init__(self, expr: str, begins_ms: int, zone: str) -> None:
        self._trigger = trigger_of(
            kind="cron", expr=expr, every_ms=None, at_ms=None, tz=zone, anchor_ms=begins_ms
        )
        self._follows_wall = parse_cron(expr).follows_wall
        self._cursor = begins_ms
        self.runs = 0

    def live(self, until_ms: int) -> "Expected":
        """Let the clock advance: each fire has a run."""
        while (fire := self._after()) <= until_ms:
            self._cursor, self.runs = fire, self.runs + 1
        return self

    def step(self, to_ms: int) -> None:
        """Set the clock: one run makes up for passed fires, and those of the future are yet to come."""
        before = self._cursor
        while (fire := self._after()) <= to_ms:
            self._cursor = fire
        self.runs += self._cursor > before
        if self._cursor > to_ms + (0 if self._follows_wall else REPEATED_MS):
            self._cursor = to_ms

    def _after(self) -> int:
        fire = self._trigger.next_after(self._cursor)
        assert fire is not None
        return fire

    @property
    def next_fire(self) -> int:
        """Return the next fire."""
        return self._after()
