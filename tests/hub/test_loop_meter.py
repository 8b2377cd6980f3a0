"""Who takes how much of the event loop, and who has to wait for it."""

from collections.abc import Awaitable
from functools import partial

import anyio
import pytest
from prometheus_client import generate_latest

from hub.health.machine import LATELY, check_loop
from hub.loop_meter import (
    LATE_S,
    MOST_CAUSES,
    MOST_REPORTED,
    MOST_WAIT_S,
    OVER_S,
    SHARE,
    LoopMeter,
    charged,
)
from hub.metrics import Metrics
from tests.support.clock import FakeClock


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
    assert 0.0 < wait_s < MOST_WAIT_S
    clock.advance(wait_s + 0.01)
    assert meter.wait_s("device:dear") == 0.0


def test_of_many_causes_those_that_spent_most_are_remembered(meter: LoopMeter) -> None:
    meter.charge("device:dear", 0.3 * OVER_S)
    for number in range(10 * MOST_CAUSES):
        meter.charge(f"network:{number}", 1e-7)
    assert meter.share("device:dear") == pytest.approx(0.3)
    assert len(meter._spent) <= MOST_CAUSES


def test_a_scrape_names_the_few_that_took_most() -> None:
    metrics = Metrics()
    for number in range(100):
        metrics.loop.charge(f"device:{number:02}", number * OVER_S / 1_000)
    told = generate_latest(metrics.registry).decode()
    assert told.count("hub_loop_share{") == MOST_REPORTED
    assert 'hub_loop_share{cause="device:99"} 0.09' in told
    assert 'hub_loop_seconds_total{kind="device"} 14.' in told


async def test_doctor_names_who_had_to_wait_within_the_hour(meter: LoopMeter, clock: FakeClock) -> None:
    check = partial(check_loop, meter)
    assert list(await check(clock.now())) == []
    meter.lag_s = LATE_S
    for number in range(MOST_REPORTED + 1):
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


async def test_every_step_of_a_coroutine_is_charged_and_the_waits_are_not(meter: LoopMeter) -> None:
    assert await charged(meter, "device:a", busy(meter, Turn())) == "done"
    assert (meter.share("device:a") > 0.0, meter.current) == (True, "")


async def test_a_coroutine_that_is_charged_ends_as_any_other(meter: LoopMeter) -> None:
    ended: list[str] = []

    async def fails() -> None:
        raise LookupError

    async def waits() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")

    async def is_charged() -> None:
        await charged(meter, "device:a", waits())

    with pytest.raises(LookupError):
        await charged(meter, "device:a", fails())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(is_charged)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert ended == ["cancelled"]


def test_cheap_work_is_measured_by_chance(meter: LoopMeter) -> None:
    passed_over = set()
    for _ in range(200):
        meter.run("device:a", lambda _: None, 1)
        passed_over.add(meter.passed_over)
    assert len(passed_over) > 5
