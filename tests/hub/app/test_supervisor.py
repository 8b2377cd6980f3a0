from collections.abc import Container

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskStatus

from hub.base.metrics import Metrics
from hub.base.periodic_loop import WORK_S, LoopReports, PeriodicLoop
from hub.base.supervisor import ServiceFailures, Supervisor
from protocol.backoff import Backoff
from protocol.errors import CodedError, ErrorCode
from tests.support.clock import FakeClock, SeededChance
from tests.support.coded import coded
from tests.support.services import running


class Recorder:
    """A service that writes down what happens to it."""

    def __init__(self, name: str, diary: list[str], *, breaks: int = 0, before_start: bool = False) -> None:
        self.name = name
        self.diary = diary
        self.breaks = breaks
        self.before_start = before_start
        self.break_now = anyio.Event()

    async def serve(self, *, task_status: TaskStatus[str] = anyio.TASK_STATUS_IGNORED) -> None:
        if self.before_start and self.breaks:
            self.breaks -= 1
            raise ValueError(f"{self.name} cannot start")
        self.diary.append(f"{self.name} started")
        task_status.started(f"value of {self.name}")
        try:
            if self.breaks:
                self.breaks -= 1
                await self.break_now.wait()
                raise ValueError(f"{self.name} broke")
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()  # cleaning up takes a while
                self.diary.append(f"{self.name} stopped")


def make_supervisor(
    clock: FakeClock | None = None,
    *,
    vital: Container[str] | None = None,
    metrics: Metrics | None = None,
    stop_s: float = 5.0,
) -> Supervisor:
    return Supervisor(
        clock=clock or FakeClock(), chance=SeededChance(), vital=vital, metrics=metrics, stop_s=stop_s
    )


async def test_services_start_in_order_and_stop_in_reverse_order() -> None:
    diary: list[str] = []
    supervisor = make_supervisor()
    for name in ("store", "links", "runs"):
        supervisor.add(name, Recorder(name, diary))
    async with running(supervisor):
        assert diary == ["store started", "links started", "runs started"]
        assert supervisor.started["links"] == "value of links"
    assert diary[3:] == ["runs stopped", "links stopped", "store stopped"]


async def test_failure_of_a_vital_service_stops_all_services_in_reverse_order() -> None:
    diary: list[str] = []
    supervisor = make_supervisor()
    fragile = Recorder("links", diary, breaks=1)
    supervisor.add("store", Recorder("store", diary))
    supervisor.add("links", fragile)
    supervisor.add("runs", Recorder("runs", diary))
    with pytest.raises(ValueError, match="links broke"):
        fragile.break_now.set()
        await supervisor.serve()
    assert [line for line in diary if "stopped" in line] == ["links stopped", "runs stopped", "store stopped"]


async def test_service_start_failure_stops_started_services_and_starts_no_other() -> None:
    diary: list[str] = []
    supervisor = make_supervisor()
    supervisor.add("store", Recorder("store", diary))
    supervisor.add("links", Recorder("links", diary, breaks=1, before_start=True))
    supervisor.add("runs", Recorder("runs", diary))
    with pytest.raises(ValueError, match="links cannot start"):
        await supervisor.serve()
    assert diary == ["store started", "store stopped"]


async def test_service_ending_by_itself_counts_as_broken() -> None:
    class Short:
        async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
            task_status.started()

    supervisor = make_supervisor()
    supervisor.add("short", Short())
    with pytest.raises(CodedError, check=coded(ErrorCode.INTERNAL), match="short"):
        await supervisor.serve()


async def test_failed_non_vital_service_is_restarted_after_a_wait() -> None:
    clock = FakeClock()
    diary: list[str] = []
    supervisor = make_supervisor(clock, vital=())
    fragile = Recorder("connectors", diary, breaks=2)
    supervisor.add("connectors", fragile)
    async with running(supervisor):
        fragile.break_now.set()
        await anyio.wait_all_tasks_blocked()
        assert (diary, clock.sleeping) == (["connectors started", "connectors stopped"], 1)
        await clock.pass_time(5)
        assert diary == ["connectors started", "connectors stopped"] * 2 + ["connectors started"]


async def test_start_failure_of_a_non_vital_service_does_not_delay_other_services() -> None:
    clock = FakeClock()
    diary: list[str] = []
    supervisor = make_supervisor(clock, vital={"links"})
    supervisor.add("backups", Recorder("backups", diary, breaks=2, before_start=True))
    supervisor.add("links", Recorder("links", diary))
    async with running(supervisor):
        assert diary == ["links started"]
        await clock.pass_time(10)
        assert diary == ["links started", "backups started"]
        assert supervisor.started["backups"] == "value of backups"


class InRounds:
    """A service whose rounds fail by a fault of the hub."""

    def __init__(self, clock: FakeClock) -> None:
        self.loop = PeriodicLoop(clock)

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await self.loop.serve(self._work, of="things", every_s=60.0)

    async def _work(self) -> None:
        raise ValueError("a fault")


async def test_supervisor_counts_failed_rounds_of_a_running_service() -> None:
    clock = FakeClock()
    supervisor, service = make_supervisor(clock, vital=()), InRounds(clock)
    supervisor.add("things", service, loop=service.loop)
    async with running(supervisor):
        await clock.pass_time(61.0)
        failures = supervisor.failures["things"]
    assert (failures.count, failures.error, failures.is_down) == (2, "ValueError", False)


async def test_service_failures_are_counted_and_down_until_restarted() -> None:
    clock, metrics = FakeClock(), Metrics()
    supervisor = make_supervisor(clock, vital={"links"}, metrics=metrics)
    fragile = Recorder("backups", [], breaks=2)
    supervisor.add("links", Recorder("links", []))
    supervisor.add("backups", fragile)

    def restarts(service: str) -> float | None:
        return metrics.registry.get_sample_value("hub_service_restarts_total", {"service": service})

    async with running(supervisor):
        assert (supervisor.failures, restarts("backups"), restarts("links")) == ({}, 0, None)
        broke_at = clock.now()
        fragile.break_now.set()
        await anyio.wait_all_tasks_blocked()
        assert supervisor.failures == {"backups": ServiceFailures(1, broke_at, "ValueError", is_down=True)}
        await clock.pass_time(5)
        failures = supervisor.failures["backups"]
        assert (failures.count, failures.is_down, restarts("backups")) == (2, False, 2)


async def test_supervisor_cancelled_during_start_stops_the_started_services() -> None:
    class Never:
        async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
            await anyio.sleep_forever()

    diary: list[str] = []
    supervisor = make_supervisor()
    supervisor.add("store", Recorder("store", diary))
    supervisor.add("never", Never())
    with anyio.move_on_after(0.05):
        await supervisor.serve()
    assert diary == ["store started", "store stopped"]


async def test_service_refusing_to_stop_does_not_block_the_stop_of_others() -> None:
    let_go = anyio.Event()

    class Stubborn:
        async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
            task_status.started()
            with anyio.CancelScope(shield=True):
                await let_go.wait()

    class LetsGo(Recorder):
        async def serve(self, *, task_status: TaskStatus[str] = anyio.TASK_STATUS_IGNORED) -> None:
            try:
                await super().serve(task_status=task_status)
            finally:
                let_go.set()

    diary: list[str] = []
    supervisor = make_supervisor(stop_s=0.01)
    supervisor.add("store", LetsGo("store", diary))
    supervisor.add("stubborn", Stubborn())
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            await tasks.start(supervisor.serve)
            tasks.cancel_scope.cancel()
    assert diary == ["store started", "store stopped"]


async def test_failed_service_waiting_for_a_restart_is_not_late() -> None:
    class Breaks:
        async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
            turns.wait(1.0)
            task_status.started()
            raise ValueError("broke")

    clock = FakeClock()
    turns = LoopReports(clock)
    supervisor = Supervisor(
        clock=clock, chance=SeededChance(), vital=(), backoff=Backoff(base_s=10_000.0, cap_s=10_000.0)
    )
    supervisor.add("links", Breaks(), loop=turns)
    async with running(supervisor):
        await anyio.wait_all_tasks_blocked()
        wakes_at = turns.due - WORK_S
        assert wakes_at > clock.monotonic() + WORK_S
        clock.advance(wakes_at - clock.monotonic() - 1.0)
        assert supervisor.late() == []
