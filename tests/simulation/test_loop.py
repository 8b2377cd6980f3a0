"""Tests of the event loop: jumps of time, random order, and halted and killed processes.

The loop depends on private parts of asyncio, so these tests also check that they exist.
"""

import asyncio

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from tests.simulation.dice import Dice
from tests.simulation.loop import START_S, NumberedTask, Process, SimLoop, Stuck, run


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


def test_a_year_passes_in_no_time() -> None:
    async def main() -> float:
        await anyio.sleep(365 * 86_400)
        return anyio.current_time()

    assert run(main, Dice("")) == START_S + 365 * 86_400


def test_what_is_ready_at_one_instant_runs_in_an_order_that_the_seed_decides() -> None:
    orders = [order_of_five(str(seed)) for seed in range(8)]
    assert orders == [order_of_five(str(seed)) for seed in range(8)]
    assert all(sorted(order) == list(range(5)) for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def test_callbacks_of_tasks_are_known_by_the_number_of_the_task() -> None:
    async def main() -> set[str]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        arrived = loop.create_future()
        seen: set[str] = set()

        async def waiter() -> None:
            await arrived

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waiter)
            for step in ("first step", "wake-up"):
                if any(type(getattr(one._callback, "__self__", None)) is NumberedTask for one in loop._ready):
                    seen.add(step)
                await anyio.sleep(1)
                if not arrived.done():
                    arrived.set_result(None)
        return seen

    assert run(main, Dice("")) == {"first step", "wake-up"}


def test_a_thread_is_refused() -> None:
    async def main() -> None:
        await anyio.to_thread.run_sync(lambda: None)

    with pytest.raises(Stuck, match="thread"):
        run(main, Dice(""))


def test_a_world_in_which_nothing_will_happen_is_stuck() -> None:
    with pytest.raises(Stuck, match="no timer"):
        run(anyio.sleep_forever, Dice(""))


def test_a_world_in_which_time_does_not_pass_is_stuck() -> None:
    async def spin() -> None:
        while True:
            await anyio.lowlevel.checkpoint()

    with pytest.raises(Stuck, match="rounds"):
        run(spin, Dice(""))


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


def test_a_halted_process_goes_on_where_it_stood_and_a_killed_one_ends_without_cleanup() -> None:
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


def test_a_process_can_be_killed_at_any_of_its_steps() -> None:
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


def test_what_a_process_starts_dies_with_it() -> None:
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
