"""Calls that are made at the same time are joined into one."""

from collections.abc import Sequence

import anyio
import anyio.lowlevel
import pytest

from hub.base.call_coalescer import CallCoalescer
from protocol.errors import ErrorCode, HubError


class Odd(HubError):
    """Error of an odd number."""

    code = ErrorCode.BAD_PARAMS


class Halves:
    """Halves numbers in sets, once it may."""

    def __init__(self, *, is_whole: bool = False, max_wait_s: float = 0.0) -> None:
        self.sets: list[list[int]] = []
        self.may = anyio.Event()
        self.together = CallCoalescer[int, int](
            self._halve, max_items=3, is_whole=is_whole, max_wait_s=max_wait_s
        )

    async def _halve(self, numbers: Sequence[int]) -> list[int | HubError]:
        self.sets.append(list(numbers))
        await self.may.wait()
        return [Odd(f"{number} is odd") if number % 2 else number // 2 for number in numbers]


async def some_turns() -> None:
    for _ in range(5):
        await anyio.lowlevel.checkpoint()


async def test_joined_callers_share_a_set_and_each_gets_the_matching_result() -> None:
    halves, found = Halves(), dict[int, int]()
    halves.may.set()

    async def halve(number: int) -> None:
        found[number] = await halves.together.run(number)

    async with anyio.create_task_group() as callers:
        for number in (2, 4, 6, 8):
            callers.start_soon(halve, number)
    assert (found, halves.sets) == ({2: 1, 4: 2, 6: 3, 8: 4}, [[2, 4, 6], [8]])


async def test_calls_during_a_set_form_the_next_set() -> None:
    halves = Halves()
    async with anyio.create_task_group() as callers:
        callers.start_soon(halves.together.run, 2)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        for number in (4, 6):
            callers.start_soon(halves.together.run, number)
        await anyio.lowlevel.checkpoint()
        halves.may.set()
    assert halves.sets == [[2], [4, 6]]


async def test_callers_of_a_set_go_on_in_one_turn_of_the_loop_in_the_order_of_items() -> None:
    halves, ended = Halves(), list[tuple[int, int]]()
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while len(ended) < 5:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async def halve(number: int) -> None:
        await halves.together.run(number)
        ended.append((number, turns))

    async with anyio.create_task_group() as callers:
        callers.start_soon(halve, 2)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        for number in (4, 6, 8, 10):
            callers.start_soon(halve, number)
        callers.start_soon(count_turns)
        await anyio.lowlevel.checkpoint()
        halves.may.set()
    assert [number for number, _ in ended] == [2, 4, 6, 8, 10]
    assert len({turn for number, turn in ended if number in (4, 6, 8)}) == 1


async def test_error_of_an_item_is_raised_only_to_the_matching_caller() -> None:
    halves = Halves()
    halves.may.set()
    async with anyio.create_task_group() as callers:
        callers.start_soon(halves.together.run, 2)
        with pytest.raises(Odd):
            await halves.together.run(3)
    assert len(halves.sets) == 1


async def test_cancelled_caller_of_a_set_does_not_block_other_callers() -> None:
    halves = Halves()
    async with anyio.create_task_group() as callers:
        with anyio.CancelScope() as first:
            callers.start_soon(_cancel_soon, first, halves)
            await halves.together.run(2)
        halves.may.set()
        assert await halves.together.run(4) == 2
    assert (halves.sets[0], halves.sets[1:]) == ([2], [[4]])


async def _cancel_soon(scope: anyio.CancelScope, halves: Halves) -> None:
    while not halves.sets:
        await anyio.lowlevel.checkpoint()
    scope.cancel()


async def test_error_of_a_set_is_raised_to_all_callers_of_the_set() -> None:
    async def fail(numbers: Sequence[int]) -> list[int | HubError]:
        raise RuntimeError("a fault")

    together = CallCoalescer[int, int](fail, max_items=3)
    broken = 0

    async def run(number: int) -> None:
        nonlocal broken
        try:
            await together.run(number)
        except RuntimeError:
            broken += 1

    async with anyio.create_task_group() as callers:
        for number in range(3):
            callers.start_soon(run, number)
    assert broken == 3


@pytest.mark.parametrize("cancelled", [2, 4])
async def test_whole_set_ends_before_a_cancelled_caller_leaves(cancelled: int) -> None:
    halves, found, left = Halves(is_whole=True), dict[int, int](), list[int]()
    scopes = {2: anyio.CancelScope(), 4: anyio.CancelScope()}

    async def halve(number: int) -> None:
        with scopes[number]:
            try:
                found[number] = await halves.together.run(number)
            finally:
                left.append(number)

    async with anyio.create_task_group() as callers:
        for number in scopes:
            callers.start_soon(halve, number)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        scopes[cancelled].cancel()
        await some_turns()
        assert left == []
        halves.may.set()
    assert halves.sets == [[2, 4]]
    assert found[6 - cancelled] == (6 - cancelled) // 2


@pytest.mark.parametrize(("max_wait_s", "sets"), [(600.0, [[2, 4]]), (0.0, [[2], [4]])])
async def test_set_waits_for_an_expected_item_up_to_the_limit(
    max_wait_s: float, sets: list[list[int]]
) -> None:
    halves = Halves(max_wait_s=max_wait_s)
    halves.may.set()
    async with anyio.create_task_group() as callers:
        with halves.together.expected():
            callers.start_soon(halves.together.run, 2)
            await some_turns()
        assert await halves.together.run(4) == 2
    assert halves.sets == sets


async def test_full_set_waits_for_no_expected_item() -> None:
    halves = Halves(max_wait_s=600.0)
    halves.may.set()
    with halves.together.expected():
        async with anyio.create_task_group() as callers:
            for number in (2, 4, 6):
                callers.start_soon(halves.together.run, number)
    assert halves.sets == [[2, 4, 6]]


async def test_set_ends_the_wait_once_no_item_is_expected_any_more() -> None:
    halves = Halves(max_wait_s=600.0)
    halves.may.set()
    async with anyio.create_task_group() as callers:
        with halves.together.expected():
            callers.start_soon(halves.together.run, 2)
            await some_turns()
            assert halves.sets == []
    assert halves.sets == [[2]]
