"""How late the event loop comes round."""

import sys
import threading
from collections.abc import AsyncIterator

import anyio
import pytest

from hub.loop_lag import DEEPEST, EVERY_S, HELD_S, IDLE_EVERY_S, STUCK_S, LoopLag, calls_of
from hub.metrics import Metrics
from tests.support.clock import FakeClock
from tests.support.services import running


@pytest.fixture
async def measured() -> AsyncIterator[tuple[LoopLag, FakeClock, Metrics]]:
    clock, metrics = FakeClock(), Metrics()
    lag = LoopLag(clock=clock, metrics=metrics)
    async with running(lag):
        yield lag, clock, metrics


async def test_a_loop_that_turns_is_not_late(measured: tuple[LoopLag, FakeClock, Metrics]) -> None:
    lag, clock, metrics = measured
    await clock.pass_time(10)
    assert lag.lag_s < EVERY_S
    assert not lag.is_stuck
    assert metrics.registry.get_sample_value("hub_event_loop_lag_seconds_count") == 10 / IDLE_EVERY_S


async def test_a_loop_with_work_is_measured_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, metrics = FakeClock(), Metrics()
    monkeypatch.setattr("hub.loop_lag.time.thread_time", lambda: clock.monotonic() / 10)
    async with running(LoopLag(clock=clock, metrics=metrics)):
        await clock.pass_time(10)
        assert metrics.registry.get_sample_value("hub_event_loop_lag_seconds_count") == 10 / EVERY_S


async def test_a_loop_that_stood_still_is_stuck_until_it_has_turned_again(
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
    assert any(call.startswith("tests.hub.test_loop_lag:") for call in told["calls"])


def test_the_innermost_calls_come_first() -> None:
    calls = calls_of(sys._getframe())
    assert calls[0].startswith("tests.hub.test_loop_lag:")
    assert (len(calls), calls_of(None)) == (DEEPEST, [])


@pytest.mark.parametrize(("worked_s", "told_s"), [(0.5, 0.5), (0.1, 0.0)])
async def test_a_loop_that_is_late_counts_where_it_was_at_work_itself(
    monkeypatch: pytest.MonkeyPatch, worked_s: float, told_s: float
) -> None:
    clock, metrics = FakeClock(), Metrics()
    worked = iter([0.0, worked_s])
    monkeypatch.setattr("hub.loop_lag.time.thread_time", lambda: next(worked))
    async with running(LoopLag(clock=clock, metrics=metrics)):
        await anyio.wait_all_tasks_blocked()
        clock.advance(EVERY_S + 0.5)
        await anyio.wait_all_tasks_blocked()
        assert metrics.loop.lag_s == told_s
