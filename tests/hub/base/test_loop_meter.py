"""Busy time and lag of the event loop."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Awaitable
from functools import partial

import anyio
import anyio.lowlevel
import pytest
from prometheus_client import generate_latest

from hub.base.loop_lag import DEEPEST, EVERY_S, HELD_S, IDLE_EVERY_S, STUCK_S, LoopLag, calls_of
from hub.base.loop_meter import (
    LATE_S,
    MAX_CAUSES,
    MAX_REPORTED,
    MAX_WAIT_S,
    OVER_S,
    SHARE,
    LoopAccount,
    LoopMeter,
    charge_tasks,
    charged,
)
from hub.base.metrics import Metrics
from hub.health.machine_and_load import LATELY, check_loop
from tests.support.clock import FakeClock
from tests.support.services import running


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def meter(clock: FakeClock) -> LoopMeter:
    return LoopMeter(clock.monotonic)


def test_spent_time_decays(meter: LoopMeter, clock: FakeClock) -> None:
    meter.charge("device:a", 0.5 * OVER_S)
    assert meter.share("device:a") == pytest.approx(0.5)
    clock.advance(OVER_S)
    assert meter.share("device:a") == pytest.approx(0.5 / 2.718, rel=0.01)
    assert meter.share("device:b") == 0.0


def test_cause_above_the_share_waits_only_while_the_loop_is_late(meter: LoopMeter, clock: FakeClock) -> None:
    meter.charge("device:dear", SHARE * OVER_S * 1.2)
    meter.charge("device:fair", SHARE * OVER_S * 0.9)
    assert meter.wait_s("device:dear") == 0.0
    meter.lag_s = LATE_S
    assert [meter.wait_s(cause) for cause in ("device:fair", "device:unknown")] == [0.0, 0.0]
    wait_s = meter.wait_s("device:dear")
    assert 0.0 < wait_s < MAX_WAIT_S
    clock.advance(wait_s + 0.01)
    assert meter.wait_s("device:dear") == 0.0


def test_loop_meter_remembers_only_the_most_expensive_causes(meter: LoopMeter) -> None:
    meter.charge("device:dear", 0.3 * OVER_S)
    for number in range(10 * MAX_CAUSES):
        meter.charge(f"network:{number}", 1e-7)
    assert meter.share("device:dear") == pytest.approx(0.3)
    assert len(meter._spent) <= MAX_CAUSES


def test_metrics_scrape_reports_only_the_most_expensive_loop_causes() -> None:
    metrics = Metrics()
    for number in range(100):
        metrics.loop.charge(f"device:{number:02}", number * OVER_S / 1_000)
    told = generate_latest(metrics.registry).decode()
    assert told.count("hub_loop_share{") == MAX_REPORTED
    assert 'hub_loop_share{cause="device:99"} 0.09' in told
    assert 'hub_loop_seconds_total{kind="device"} 14.' in told


async def test_doctor_names_the_causes_throttled_within_the_last_hour(
    meter: LoopMeter, clock: FakeClock
) -> None:
    check = partial(check_loop, meter)
    assert list(await check(clock.now())) == []
    meter.lag_s = LATE_S
    for number in range(MAX_REPORTED + 1):
        meter.charge(f"device:{number}", 0.5 * OVER_S)
        meter.wait_s(f"device:{number}")
    (finding,) = await check(clock.now())
    assert "device:5 (50%)" in finding.explanation
    assert "device:0" not in finding.explanation
    clock.advance(LATELY.total_seconds() + 1)
    assert list(await check(clock.now())) == []


async def busy(meter: LoopMeter, wait: Awaitable[None]) -> str:
    for _ in range(2):
        assert meter.current == "device:a"
        sum(range(20_000))
        await wait
    return "done"


class Turn:
    """Something to wait for twice: lets the loop turn once."""

    def __await__(self):  # type: ignore[no-untyped-def]
        return anyio.lowlevel.checkpoint().__await__()


async def test_loop_meter_charges_steps_of_a_coroutine_but_not_waits(meter: LoopMeter) -> None:
    assert await charged(LoopAccount(meter, "device:a"), busy(meter, Turn())) == "done"
    assert (meter.share("device:a") > 0.0, meter.current) == (True, "")


async def test_charged_coroutine_propagates_errors_and_cancellation(meter: LoopMeter) -> None:
    ended: list[str] = []

    async def fails() -> None:
        raise LookupError

    async def waits() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")

    async def is_charged() -> None:
        await charged(LoopAccount(meter, "device:a"), waits())

    with pytest.raises(LookupError):
        await charged(LoopAccount(meter, "device:a"), fails())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(is_charged)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert ended == ["cancelled"]


async def test_tasks_of_a_request_are_charged_to_the_account_until_the_request_ends(meter: LoopMeter) -> None:
    charge_tasks(asyncio.get_running_loop())
    account, seen = LoopAccount(meter, "network:a"), list[str]()
    is_over, went_on = anyio.Event(), anyio.Event()

    async def note(until: anyio.Event) -> None:
        seen.append(meter.current)
        await until.wait()
        seen.append(meter.current)
        went_on.set()

    async with anyio.create_task_group() as tasks:

        async def request() -> None:
            account.cause = "token:a"  # the caller is known
            is_here = anyio.Event()
            tasks.start_soon(note, is_here)
            tasks.start_soon(note, is_over)
            await anyio.wait_all_tasks_blocked()
            is_here.set()
            await went_on.wait()

        await charged(account, request())
        went_on = anyio.Event()
        is_over.set()
        await went_on.wait()
    assert seen == ["token:a", "token:a", "token:a", ""]
    assert meter.share("token:a") > 0.0


def test_cheap_work_is_measured_by_chance(meter: LoopMeter) -> None:
    passed_over = set()
    for _ in range(200):
        meter.run("device:a", lambda _: None, 1)
        passed_over.add(meter.passed_over)
    assert len(passed_over) > 5


@pytest.fixture
async def measured(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[LoopLag, FakeClock, Metrics]]:
    """A lag that is measured in a loop without work, however slow the machine is."""
    monkeypatch.setattr("hub.base.loop_lag.time.thread_time", lambda: 0.0)
    clock, metrics = FakeClock(), Metrics()
    lag = LoopLag(clock=clock, metrics=metrics)
    async with running(lag):
        yield lag, clock, metrics


async def test_running_event_loop_is_not_reported_as_late(
    measured: tuple[LoopLag, FakeClock, Metrics],
) -> None:
    lag, clock, metrics = measured
    await clock.pass_time(10)
    assert lag.lag_s < EVERY_S
    assert not lag.is_stuck
    assert metrics.registry.get_sample_value("hub_event_loop_lag_seconds_count") == 10 / IDLE_EVERY_S


async def test_a_loop_with_work_is_measured_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, metrics = FakeClock(), Metrics()
    monkeypatch.setattr("hub.base.loop_lag.time.thread_time", lambda: clock.monotonic() / 10)
    async with running(LoopLag(clock=clock, metrics=metrics)):
        await clock.pass_time(10)
        assert metrics.registry.get_sample_value("hub_event_loop_lag_seconds_count") == 10 / EVERY_S


async def test_blocked_event_loop_is_stuck_until_the_next_turn(
    measured: tuple[LoopLag, FakeClock, Metrics],
) -> None:
    lag, clock, metrics = measured
    await anyio.wait_all_tasks_blocked()
    clock.advance(EVERY_S + STUCK_S)  # nothing ran meanwhile, not even the one who measures
    assert lag.is_stuck
    await anyio.wait_all_tasks_blocked()
    assert lag.is_stuck, "whoever asked meanwhile is answered now, and is to know"
    assert metrics.registry.get_sample_value("hub_event_loop_lag_seconds_sum") == STUCK_S
    await clock.pass_time(EVERY_S)
    assert lag.take_longest_s() == STUCK_S
    assert lag.take_longest_s() < EVERY_S, "since the first call"
    assert not lag.is_stuck


class Looks(threading.Event):
    """Lets somebody look so many times, without a wait between."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.left = most

    def wait(self, timeout: float | None = None) -> bool:
        self.left -= 1
        return self.left < 0


def test_blocked_loop_is_logged_once_with_cause_and_calls(caplog: pytest.LogCaptureFixture) -> None:
    clock, metrics = FakeClock(), Metrics()
    lag = LoopLag(clock=clock, metrics=metrics)
    lag._watch(Looks(2), threading.get_ident())
    assert caplog.records == []
    clock.advance(EVERY_S + HELD_S)
    metrics.loop.current = "device:d-1"
    lag._watch(Looks(3), threading.get_ident())
    (record,) = caplog.records
    told = record._hub_fields  # type: ignore[attr-defined]
    assert (record.message, told["cause"], told["seconds"]) == ("loop.held", "device:d-1", HELD_S)
    assert any(call.startswith("tests.hub.base.test_loop_meter:") for call in told["calls"])


def test_calls_of_a_frame_begin_with_the_innermost_call() -> None:
    calls = calls_of(sys._getframe())
    assert calls[0].startswith("tests.hub.base.test_loop_meter:")
    assert (len(calls), calls_of(None)) == (DEEPEST, [])


@pytest.mark.parametrize(("worked_s", "told_s"), [(0.5, 0.5), (0.1, 0.0)])
async def test_loop_lag_counts_only_if_the_loop_thread_was_busy(
    monkeypatch: pytest.MonkeyPatch, worked_s: float, told_s: float
) -> None:
    clock, metrics = FakeClock(), Metrics()
    worked = iter([0.0, worked_s])
    monkeypatch.setattr("hub.base.loop_lag.time.thread_time", lambda: next(worked))
    async with running(LoopLag(clock=clock, metrics=metrics)):
        await anyio.wait_all_tasks_blocked()
        clock.advance(EVERY_S + 0.5)
        await anyio.wait_all_tasks_blocked()
        assert metrics.loop.lag_s == told_s
