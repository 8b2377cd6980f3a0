"""The service manager hears a beat while everything goes round, and none once one thing hangs."""

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import uvicorn

from hub.api.door.server import OperatorServer
from hub.api.noun import Hub
from hub.app.systemd import Watchdog
from hub.clock import IdFactory
from hub.extraction.extractor import Extractor
from hub.extraction.model import Models
from hub.links.gate import DeadlineWheel, Gate, PortLimits
from hub.links.roster import DeviceReady
from hub.loop_lag import LoopLag
from hub.metrics import Metrics
from hub.rounds import WORK_S, Turns
from hub.runs.disk import DiskGuard
from hub.runs.housekeeping import Housekeeping
from hub.runs.scheduler import Scheduler
from hub.settings.values import Address
from hub.supervisor import Service, Supervisor
from protocol.handshake import DeviceHello, HeldRun
from protocol.ids import BootId
from storage.devices import nodes
from storage.kernel.database import Unavailable
from storage.store import Store, open_store
from tests.hub.app.test_router import make_router
from tests.support.clock import FakeClock, SeededChance
from tests.support.runs import Bench, agent, bench, store
from tests.support.services import running
from tests.support.wire import until

__all__ = ["agent", "bench", "store"]

WATCHDOG_S = 20.0


class StoppedClock(FakeClock):
    """A clock whose sleepers are not woken any more, once it stands."""

    def __init__(self) -> None:
        super().__init__()
        self.stands = False

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        while self.stands:
            await anyio.sleep_forever()


class Silent:
    """A database that does not answer any more, once it is silent; or that refuses."""

    is_shared = False

    def __init__(self, store: Store) -> None:
        self._store = store
        self.is_silent = False
        self.refuses = False

    async def read(self, *args: Any, **kwargs: Any) -> Any:
        return await self._answer(self._store.read, *args, **kwargs)

    async def write(self, *args: Any, **kwargs: Any) -> Any:
        return await self._answer(self._store.write, *args, **kwargs)

    async def _answer(self, ask: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        while self.is_silent:
            await anyio.sleep_forever()
        if self.refuses:
            raise Unavailable("the disk is full")
        return await ask(*args, **kwargs)


class House:
    """A supervisor, a watchdog that looks at it, and what the service manager was told."""

    def __init__(
        self, *, touch: Callable[[], Any] | None = None, watchdog_s: float | None = WATCHDOG_S
    ) -> None:
        self.clock = StoppedClock()
        self.supervisor = Supervisor(clock=self.clock, chance=SeededChance())
        self.told: list[dict[str, str | int]] = []
        self.status = "0 devices connected"
        self.watchdog = Watchdog(
            notify=lambda **states: self.told.append(states),
            watchdog_s=watchdog_s,
            late=self.supervisor.late,
            touch=touch,
            status=lambda: self.status,
            clock=self.clock,
        )

    @asynccontextmanager
    async def serving(self, service: Service, turns: Turns) -> AsyncIterator[None]:
        """*service* runs; afterwards it is gone, hung or not."""
        self.supervisor.add("it", service, turns=turns)
        async with running(self.supervisor):
            yield

    async def beats(self) -> bool:
        """Return True if one round of the watchdog sends a notification."""
        self.told.clear()
        await self.watchdog.beat()
        return {"WATCHDOG": 1} in self.told


Make = Callable[[FakeClock, Path, Store], Any]
LOOPS: dict[str, Make] = {
    "disk": lambda clock, folder, _: DiskGuard(folder, clock=clock),
    "deadlines": lambda clock, _, __: DeadlineWheel(clock, tick_s=10.0),
    "housekeeping": lambda clock, _, store: Housekeeping(
        store, clock=clock, boot_id=BootId("b"), every_s=60.0
    ),
    "loop lag": lambda clock, _, __: LoopLag(clock=clock, metrics=Metrics()),
    "scheduler": lambda clock, _, store: Scheduler(
        store=store,
        extractor=Extractor(Models(), secret=bytes(32)),
        clock=clock,
        ids=IdFactory(clock, SeededChance()),
        metrics=Metrics(),
        boot_id=BootId("b"),
        on_queued=lambda: None,
        on_cancel=lambda run_id: None,
    ),
}


@pytest.mark.parametrize("make", LOOPS.values(), ids=LOOPS)
async def test_each_loop_that_sleeps_by_the_clock_ends_the_beat_when_it_does_not_wake(
    make: Make, tmp_path: Path, store: Store
) -> None:
    house = House()
    clock = house.clock
    service = make(clock, tmp_path, store)
    turns = service.turns
    async with house.serving(service, turns):
        await until(lambda: turns.due < math.inf and clock.sleeping > 0)
        promised = turns.due
        clock.advance(promised - clock.monotonic() - 1.0)
        await until(lambda: turns.due > promised and clock.sleeping > 0)
        assert await house.beats()
        clock.stands = True
        clock.advance(turns.due - clock.monotonic() + 1.0)
        await anyio.wait_all_tasks_blocked()
        assert not await house.beats()


async def test_a_dispatcher_that_hangs_in_the_database_ends_the_beat(bench: Bench) -> None:
    silent = Silent(bench.store)
    bench = Bench(silent, bench.agent)
    house = House()
    async with house.serving(bench.dispatcher, bench.dispatcher.turns):
        await bench.looks()
        assert await house.beats()
        silent.is_silent = True
        bench.dispatcher.recheck()
        await anyio.wait_all_tasks_blocked()
        bench.clock.advance(WORK_S + 3.0)
        assert not await house.beats()


async def test_a_router_whose_event_is_never_handled_ends_the_beat(bench: Bench) -> None:
    silent = Silent(bench.store)
    bench = Bench(silent, bench.agent)
    router = make_router(bench)
    house = House()
    async with house.serving(router, router.turns):
        bench.clock.advance(86_400.0)
        assert await house.beats(), "a quiet day is no fault"
        silent.is_silent = True
        router.take(DeviceReady(bench.connect(), DeviceHello(runs=[HeldRun(run_id="r", fence=1)])))
        await anyio.wait_all_tasks_blocked()
        bench.clock.advance(WORK_S + 1.0)
        assert not await house.beats()


async def test_an_operator_server_that_hangs_ends_the_notifications(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stands, has_stopped, goes_on = False, anyio.Event(), anyio.Event()

    async def tick(self: uvicorn.Server, counter: int) -> bool:
        if stands:
            has_stopped.set()
            await goes_on.wait()
        return self.should_exit

    monkeypatch.setattr(uvicorn.Server, "on_tick", tick)
    house = House()
    server = OperatorServer(
        Hub(bench.store, bench.clock),
        address=Address("127.0.0.1", 0),
        unix_path=tmp_path / "hub.sock",
        metrics=lambda: b"",
        gate=Gate(PortLimits(), clock=house.clock, metrics=Metrics()),
        clock=house.clock,
    )
    async with house.serving(server, server.turns):
        assert await house.beats()
        stands = True
        house.clock.advance(30.0)
        with anyio.fail_after(5):
            await has_stopped.wait()
        house.clock.advance(WORK_S + 1.0)
        assert not await house.beats()
        goes_on.set()


async def test_a_database_that_does_not_answer_ends_the_beat_and_one_that_refuses_does_not(
    tmp_path: Path,
) -> None:
    async with open_store("sqlite:///hub.db", base=tmp_path) as opened:
        silent = Silent(opened)
        house = House(touch=lambda: silent.write(nodes.touch))
        assert await house.beats()
        silent.refuses = True
        assert await house.beats(), "to start anew does not make room on a disk"
        silent.is_silent = True
        with anyio.move_on_after(0.1):
            await house.beats()
        assert house.told == []


async def test_a_service_that_is_stopped_need_not_go_round() -> None:
    """A hub that drains for 45 s has no scheduler any more, and lives."""
    house = House()
    turns = Turns(house.clock)
    turns.work()

    class Leaves:
        async def serve(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
            task_status.started()
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    house.clock.advance(WORK_S + 1.0)
                    beats.append(await house.beats())

    beats: list[bool] = []
    async with house.serving(Leaves(), turns):
        pass
    assert beats == [True]


async def test_the_beat_comes_three_times_as_often_as_it_is_wanted() -> None:
    house = House()
    async with running(house.watchdog):
        await house.clock.pass_time(WATCHDOG_S)
    assert house.told.count({"WATCHDOG": 1}) == 4  # at 0, and three times in 20 s


async def test_the_status_line_is_sent_when_it_changes_with_or_without_a_watchdog() -> None:
    house = House(watchdog_s=None)
    for status in ("0 devices connected", "0 devices connected", "1 devices connected"):
        house.status = status
        await house.watchdog.beat()
    assert house.told == [{"STATUS": "0 devices connected"}, {"STATUS": "1 devices connected"}]
