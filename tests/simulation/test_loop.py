"""Tests of the event loop: jumps of time, random order, and halted and killed processes.

The loop depends on private parts of asyncio, so these tests also check that they exist.
"""

from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from tests.simulation.dice import Dice
from tests.simulation.loop import START_S, Process, Stuck, run


def order_of_five(seed: str) -> list[int]:
    """Return the order in which five tasks with the same wake-up time continue."""
    order: list[int] = []

    async def main() -> None:
        async def sleeper(number: int) -> None:
            await anyio.sleep(10)
            order.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(sleeper, number)

    run(main, Dice(seed))
    return order


def test_simulated_loop_sleeps_a_year_without_waiting() -> None:
    async def main() -> float:
        await anyio.sleep(365 * 86_400)
        return anyio.current_time()

    assert run(main, Dice("")) == START_S + 365 * 86_400


def test_tasks_ready_at_the_same_instant_run_in_the_order_of_the_seed() -> None:
    orders = [order_of_five(str(seed)) for seed in range(8)]
    assert orders == [order_of_five(str(seed)) for seed in range(8)]
    assert all(sorted(order) == list(range(5)) for order in orders)
    assert len({tuple(order) for order in orders}) > 1


async def use_thread() -> None:
    await anyio.to_thread.run_sync(lambda: None)


async def spin() -> None:
    while True:
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("main", "why"), [(use_thread, "thread"), (anyio.sleep_forever, "no timer"), (spin, "rounds")]
)
def test_simulated_world_without_an_end_raises_stuck(main: Callable[[], Awaitable[None]], why: str) -> None:
    with pytest.raises(Stuck, match=why):
        run(main, Dice(""))


async def ticks(process: Process, told: list[float]) -> None:
    """Record the time every second until the process ends, and a farewell."""
    process.enter()
    try:
        while True:
            await anyio.sleep(1)
            told.append(anyio.current_time() - START_S)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(1)
            told.append(-1.0)


def test_simulated_process_resumes_after_a_halt_and_ends_at_a_kill() -> None:
    async def main() -> list[float]:
        told: list[float] = []
        process = Process("halted")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ticks, process, told)
            await anyio.sleep(1.5)
            process.halt()
            await anyio.sleep(10)
            process.resume()
            await anyio.sleep(1.2)
            process.kill()
            await process.unwind()
        return told

    assert run(main, Dice("")) == [1.0, 11.5, 12.5]


def test_simulated_process_can_be_killed_at_any_step() -> None:
    async def steps_until_killed(steps: int) -> int:
        done = 0
        process = Process("counted")
        process.on_step = process.kill

        async def walk() -> None:
            nonlocal done
            process.enter()
            process.steps_left = steps
            while True:
                await anyio.sleep(1)
                done += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(walk)
            await anyio.sleep(20)
            await process.unwind()
        return done

    for steps in (1, 2, 7):

        async def main(steps: int = steps) -> int:
            return await steps_until_killed(steps)

        assert run(main, Dice("")) == (steps - 1) // 2  # a sleep is two: its timer, and the task it wakes


def test_child_tasks_of_a_killed_simulated_process_end() -> None:
    async def main() -> int:
        process, alive = Process("parent"), 0

        async def child() -> None:
            nonlocal alive
            alive += 1
            try:
                await anyio.sleep_forever()
            finally:
                alive -= 1

        async def parent() -> None:
            process.enter()
            async with anyio.create_task_group() as children:
                for _ in range(3):
                    children.start_soon(child)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(parent)
            await anyio.sleep(1)
            assert alive == 3
            process.kill()
            await process.unwind()
        return alive

    assert run(main, Dice("")) == 0
