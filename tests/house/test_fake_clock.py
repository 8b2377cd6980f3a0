"""The clock that tests move by hand keeps time as a clock does."""

from datetime import timedelta

import anyio

from tests.support.clock import START, FakeClock, SeededChance


async def test_fake_clock_wakes_a_sleeper_exactly_at_the_due_time() -> None:
    clock, woke = FakeClock(), list[float]()

    async def sleep() -> None:
        await clock.sleep(10)
        woke.append(clock.monotonic())

    async with anyio.create_task_group() as group:
        group.start_soon(sleep)
        await clock.pass_time(9)
        assert woke == []
        began = clock.monotonic()
        await clock.pass_time(5)
        assert (woke, clock.now()) == ([began + 1], START + timedelta(seconds=14))


async def test_fake_clock_wakes_a_looping_sleeper_for_each_interval() -> None:
    clock, rounds = FakeClock(), list[float]()

    async def beat() -> None:
        while True:
            await clock.sleep(1)
            rounds.append(clock.monotonic())

    async with anyio.create_task_group() as group:
        group.start_soon(beat)
        await clock.pass_time(5)
        assert len(rounds) == 5
        group.cancel_scope.cancel()
    assert clock.sleeping == 0


def test_chance_is_the_same_for_the_same_seed() -> None:
    assert SeededChance(1).token_bytes(8) == SeededChance(1).token_bytes(8) != SeededChance(2).token_bytes(8)
    assert all(2 <= SeededChance(seed).uniform(2, 3) <= 3 for seed in range(50))
