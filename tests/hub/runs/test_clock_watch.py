"""Wall clocks that are set, while the hub runs and while it does not: schedules go on, once each."""

import time
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hub.base.clock import HubClock, SystemClock, machine_uptime_s
from hub.health.machine_and_load import check_clock
from hub.runs.clock_watch import DOUBT_S, JUMP_S, ClockWatch
from storage.agents import due_schedules
from storage.effects import clock_steps
from storage.schedules.schedule_rows import DeclaredSchedule
from storage.store import open_store
from tests.support.clock import START
from tests.support.schedules import HOUR_S, OTHER_BOOT, Desk, Expected, Interrupted, Shared

EVERY_S, DAY_S = 600, 24 * HOUR_S
QUARTERS, MORNINGS = "*/15 * * * *", "0 10 * * *"
INTERVAL = DeclaredSchedule(kind="every", every_ms=EVERY_S * 1000, overlap="allow")
CRON = DeclaredSchedule(kind="cron", expr=QUARTERS, overlap="allow")
DAILY = DeclaredSchedule(kind="cron", expr=MORNINGS, overlap="allow")
PART_S = HOUR_S + 77  # between two steps
STEPS: dict[str, tuple[float, ...]] = {
    "+2 h, then right": (2 * HOUR_S, -2 * HOUR_S),
    "-1 h, then right": (-HOUR_S, HOUR_S),
    "-20 h": (-20 * HOUR_S,),
    "-21 d": (-21 * DAY_S,),
    "+1 d, then right": (DAY_S, -DAY_S),
    "far ahead, then right": (300 * DAY_S, -300 * DAY_S),
    "-2 h three times": (-2 * HOUR_S, -2 * HOUR_S, -2 * HOUR_S),
}


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made: list[Desk] = []
    async with open_store("sqlite://", now_ms=lambda: made[0].at if made else 0) as store:
        made.append(Desk(store))
        yield made[0]


def watch_of(desk: Desk, machine: str = "machine") -> ClockWatch:
    """The watch of a hub; *machine*: another one, when the machine was restarted."""
    watch = ClockWatch(desk.store, desk.hub_clock, ids=desk.ids, metrics=desk.metrics, machine=machine)
    watch.on_step = lambda by_ms: desk.current.recheck()
    return watch


async def one_of_two(desk: Desk, clock: HubClock | None = None) -> ClockWatch:
    """The watch of one of two hubs on a database, whose server has the machine's clock; it has begun."""
    watch = ClockWatch(
        Shared(desk.store), clock or desk.hub_clock, ids=desk.ids, metrics=desk.metrics, machine="machine"
    )
    watch.reference = wall_of(desk)
    watch.on_step = lambda by_ms: desk.current.recheck()
    await watch.begin()
    return watch


async def other_of_two(desk: Desk) -> ClockWatch:
    return await one_of_two(desk, HubClock(desk.clock, desk.clock.monotonic))


def wall_of(desk: Desk) -> Callable[[], Coroutine[Any, Any, float | None]]:
    async def time_of_server() -> float:
        return desk.clock.now().timestamp()

    return time_of_server


async def counts(desk: Desk) -> list[int]:
    """Runs of each agent."""
    names = [run.agent_name for run in await desk.runs()]
    return [names.count(f"agent-{n}") for n in range(3)]


async def live(desk: Desk, seconds: float) -> None:
    """Let the time go by from fire to fire, as one that is missed by a minute is made up for with others."""
    while seconds > 0:
        next_fire = min(schedule.next_fire_at or desk.at for schedule in await desk.schedules())
        part = min(seconds, max(next_fire - desk.at, 1) / 1000)
        await desk.pass_time(part)
        seconds -= part


async def step(
    desk: Desk, watch: ClockWatch, by_s: float, earlier: ClockWatch | None = None
) -> tuple[int, int]:
    """Set the wall clock, and let the hub notice, after an *earlier* one; its time before and after."""
    before = desk.at
    set_by(desk, by_s)
    if earlier is not None:
        await earlier.check()
        await desk.looks_again()
    await watch.check()
    await desk.looks_again()
    return before, desk.at


def set_by(desk: Desk, seconds: float) -> None:
    desk.clock.set_wall(desk.clock.now() + timedelta(seconds=seconds))


@pytest.mark.parametrize("is_first", [True, False], ids=["first hub", "second hub"])
@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
async def test_schedules_lose_and_double_no_fire_when_the_clock_is_set(
    desk: Desk, steps: tuple[float, ...], *, is_first: bool
) -> None:
    await desk.declare(INTERVAL, CRON, DAILY)
    expected = [Expected(QUARTERS, desk.at, "UTC"), Expected(MORNINGS, desk.at, "UTC")]
    watch, earlier = await one_of_two(desk), None if is_first else await other_of_two(desk)
    async with desk.serving(desk.scheduler(clock_watch=watch)):
        await live(desk, PART_S)
        for by_s in steps:
            before, after = await step(desk, watch, by_s, earlier)
            assert after - before == by_s * 1000
            for one in expected:
                one.live(before).step(after)
            await live(desk, PART_S)
            passed = desk.clock.monotonic() - 1_000.0
            assert await counts(desk) == [passed // EVERY_S, *(one.live(desk.at).runs for one in expected)]
            interval, *crons = [schedule.next_fire_at for schedule in await desk.schedules()]
            assert interval is not None
            assert interval - desk.at == (EVERY_S - passed % EVERY_S) * 1000
            assert crons == [one.next_fire for one in expected]
        assert all(run.created_at <= desk.at for run in await desk.runs())
        assert len(await desk.told("clock.stepped")) == len(steps)
    (finding,) = check_clock(watch, desk.hub_clock.now())
    assert finding.id == "clock.set"


async def test_clock_set_back_while_due_schedules_are_read_decides_no_fire_ahead(desk: Desk) -> None:
    await desk.declare(INTERVAL, CRON)
    watch, store = watch_of(desk), Interrupted(desk.store, due_schedules.agenda)
    await watch.begin()

    async def set_back() -> None:
        set_by(desk, -2 * HOUR_S)
        await watch.check()

    async with desk.serving(desk.scheduler(store=store, clock_watch=watch)):
        await live(desk, PART_S)
        store.before = set_back
        await desk.looks_again()
        assert len(await desk.told("clock.stepped")) == 1
        interval, _ = (schedule.next_fire_at for schedule in await desk.schedules())
        assert interval is not None
        assert interval - desk.at == (EVERY_S - PART_S % EVERY_S) * 1000
        assert len(await desk.runs()) == PART_S // EVERY_S + PART_S // (15 * 60)


async def test_suspended_machine_is_not_a_clock_step(desk: Desk) -> None:
    await desk.declare(INTERVAL)
    watch = watch_of(desk)
    await watch.begin()
    async with desk.serving():
        desk.suspended_s = 1_900.0
        desk.clock.set_wall(desk.clock.now() + timedelta(seconds=1_900))
        await watch.check()
        await desk.looks_again()
    assert watch.base.last is None
    assert [(run.trigger_kind, run.coalesced_count) for run in await desk.runs()] == [("catchup", 2)]


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="a clock of Linux")
def test_uptime_of_the_machine_counts_the_time_of_a_suspension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "clock_gettime", {time.CLOCK_BOOTTIME: 700.0, time.CLOCK_MONOTONIC: 100.0}.get)
    assert SystemClock().uptime_s() == machine_uptime_s() == 700.0


@pytest.mark.parametrize("by_s", [-20 * HOUR_S, 2 * HOUR_S])
async def test_clock_step_while_the_hub_is_stopped_is_found_by_the_uptime(desk: Desk, by_s: float) -> None:
    await desk.declare(INTERVAL)
    await watch_of(desk).begin()
    async with desk.serving():
        await live(desk, HOUR_S)
    desk.clock.advance(300.0)
    desk.clock.set_wall(desk.clock.now() + timedelta(seconds=by_s))
    watch = watch_of(desk)
    await watch.begin()
    assert watch.base.last is not None
    assert watch.base.last.by_ms == by_s * 1000
    assert desk.at == (desk.clock.now() - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    async with desk.serving(desk.scheduler(OTHER_BOOT)):
        await live(desk, HOUR_S)
    assert len(await desk.runs()) == 12


async def test_clock_set_back_at_machine_start_is_accepted_after_the_doubt_period(desk: Desk) -> None:
    await desk.declare(INTERVAL)
    await watch_of(desk).begin()
    async with desk.serving():
        await live(desk, HOUR_S)
    await desk.store.write(clock_steps.record_base, desk.at, 0, "machine")
    last = desk.at
    desk.clock.set_wall(START - timedelta(hours=9))
    watch = watch_of(desk, machine="started again")
    await watch.begin()
    assert abs(desk.at - last) <= 1
    (finding,) = check_clock(watch, desk.hub_clock.now())
    assert (finding.id, finding.explanation[:47]) == (
        "clock.wrong",
        "the clock of this machine is 10 h behind the hu",
    )
    desk.clock.advance(DOUBT_S - 1)
    await watch.check()
    assert await desk.told("clock.stepped") == []
    desk.clock.advance(1)
    await watch.check()
    assert await desk.told("clock.stepped") == ["The clock was set back by 36000 s"]
    assert [one.id for one in check_clock(watch, desk.hub_clock.now())] == ["clock.set"]


async def test_clock_step_undone_unseen_by_a_second_hub_leaves_the_next_step_followed(
    desk: Desk,
) -> None:
    watch, other = await one_of_two(desk), await other_of_two(desk)
    for by_s in (-2 * HOUR_S, 2 * HOUR_S):
        set_by(desk, by_s)
        await other.check()
    assert await watch.is_behind()
    await watch.check()
    assert not await watch.is_behind()
    set_by(desk, -HOUR_S)
    await watch.check()
    assert len(await desk.told("clock.stepped")) == 3


@pytest.mark.parametrize("is_ahead", [False, True], ids=["time read before", "time doubted"])
async def test_clock_step_followed_by_another_hub_during_a_start_is_judged_once(
    desk: Desk, *, is_ahead: bool
) -> None:
    other = await other_of_two(desk)
    watch = ClockWatch(
        Shared(desk.store), desk.hub_clock, ids=desk.ids, metrics=desk.metrics, machine="started again"
    )
    if is_ahead:
        set_by(desk, -2 * HOUR_S)

    async def time_of_server() -> float:
        read_s = desk.clock.now().timestamp()
        watch.reference = wall_of(desk)
        if not is_ahead:
            set_by(desk, -2 * HOUR_S)
            await other.check()
        return read_s

    watch.reference = time_of_server
    await watch.begin()
    if is_ahead:
        assert watch.ahead_s < -JUMP_S
        await other.check()
    await watch.check()
    assert await desk.told("clock.stepped") == ["The clock was set back by 7200 s"]
    assert (watch.ahead_s, await watch.is_behind()) == (0.0, False)


async def test_clock_corrected_after_a_start_is_not_a_clock_step(desk: Desk) -> None:
    await desk.declare(INTERVAL)
    await watch_of(desk).begin()
    async with desk.serving():
        await live(desk, HOUR_S)
    desk.clock.set_wall(datetime(1970, 1, 1, tzinfo=UTC))
    watch = watch_of(desk, machine="started again")
    await watch.begin()
    desk.clock.advance(2 * DOUBT_S)  # a clock that was never set is not believed at any time
    await watch.check()
    assert abs(watch.ahead_s) > JUMP_S
    desk.clock.set_wall(START + timedelta(days=3))
    await watch.check()
    assert (watch.base.last, desk.hub_clock.now()) == (None, START + timedelta(days=3))


async def test_small_clock_difference_is_followed_without_a_step(desk: Desk) -> None:
    watch = watch_of(desk)
    await watch.begin()
    for by_s in (1.9, -1.9):
        desk.clock.set_wall(desk.clock.now() + timedelta(seconds=by_s))
        await watch.check()
        assert desk.hub_clock.now() == desk.clock.now()
    assert watch.base.last is None
