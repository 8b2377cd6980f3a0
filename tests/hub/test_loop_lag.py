"""How late the event loop comes round."""

from collections.abc import AsyncIterator

import anyio
import pytest

from hub.loop_lag import EVERY_S, STUCK_S, LoopLag
from hub.metrics import Metrics
from tests.support.clock import FakeClock


@pytest.fixture
async def measured() -> AsyncIterator[tuple[LoopLag, FakeClock, Metrics]]:
    clock, metrics = FakeClock(), Metrics()
    lag = LoopLag(clock=clock, metrics=metrics)
    async with anyio.create_task_group() as group:
        await group.start(lag.serve)
        yield lag, clock, metrics
        group.cancel_scope.cancel()


async def test_a_loop_that_turns_is_not_late(measured: tuple[LoopLag, FakeClock, Metrics]) -> None:
    lag, clock, metrics = measured
    await clock.pass_time(10)
    assert lag.lag_s < EVERY_S
    assert not lag.is_stuck
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
    assert not lag.is_stuck
