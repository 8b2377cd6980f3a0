"""Answers that come while others are written are written together."""

from collections.abc import Sequence

import anyio
import pytest

from hub.runs.settling import Settling
from protocol.errors import HubError, LinkLost
from protocol.ids import CallId
from protocol.lifecycles import CallEvent
from storage.kernel.database import Busy
from storage.runs.calls import CallAnswer


def answer(number: int) -> CallAnswer:
    return CallAnswer(call_id=CallId(f"c-{number}"), event=CallEvent.ACKED)


class Writer:
    """Writes that take until they are let go."""

    def __init__(self) -> None:
        self.sets: list[list[str]] = []
        self.begun = anyio.Event()
        self.go = anyio.Event()
        self.error: Exception | None = None

    async def write(self, answers: Sequence[CallAnswer]) -> list[bool | HubError]:
        self.sets.append([one.call_id for one in answers])
        self.begun.set()
        await self.go.wait()
        if self.error is not None:
            raise self.error
        lost = LinkLost("away", dispatched=True)
        return [lost if one.call_id == "c-9" else one.call_id != "c-8" for one in answers]


async def test_answers_that_come_during_a_write_are_written_in_one_set_and_each_has_its_outcome() -> None:
    writer = Writer()
    settling = Settling(writer.write)
    outcomes: dict[int, object] = {}

    async def settle(number: int) -> None:
        try:
            outcomes[number] = await settling.settle(answer(number))
        except LinkLost:
            outcomes[number] = "lost"

    async with anyio.create_task_group() as tasks:
        for number in (1, 2, 8, 9):
            tasks.start_soon(settle, number)
        await anyio.wait_all_tasks_blocked()
        writer.go.set()
    assert writer.sets == [["c-1"], ["c-2", "c-8", "c-9"]]
    assert outcomes == {1: True, 2: True, 8: False, 9: "lost"}


async def test_after_the_writing_task_is_cancelled_the_answers_of_the_others_are_written() -> None:
    writer = Writer()
    settling = Settling(writer.write)
    settled: list[int] = []

    async def settle(number: int) -> None:
        await settling.settle(answer(number))
        settled.append(number)

    async with anyio.create_task_group() as tasks:
        async with anyio.create_task_group() as first:
            first.start_soon(settle, 1)
            await writer.begun.wait()
            tasks.start_soon(settle, 2)
            tasks.start_soon(settle, 3)
            await anyio.wait_all_tasks_blocked()
            first.cancel_scope.cancel()
        writer.go.set()
    assert writer.sets == [["c-1"], ["c-2", "c-3"]]
    assert settled == [2, 3]


async def test_a_task_that_is_cancelled_before_its_turn_leaves_no_answer_behind() -> None:
    writer = Writer()
    settling = Settling(writer.write)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(settling.settle, answer(1))
        await writer.begun.wait()
        with anyio.move_on_after(0):
            await settling.settle(answer(2))
        writer.go.set()
    assert await settling.settle(answer(3))
    assert writer.sets == [["c-1"], ["c-3"]]


async def test_a_write_that_fails_fails_for_all_answers_of_its_set() -> None:
    writer = Writer()
    writer.error = Busy("locked")
    settling = Settling(writer.write)
    failed: list[int] = []

    async def settle(number: int) -> None:
        with pytest.raises(Busy):
            await settling.settle(answer(number))
        failed.append(number)

    async with anyio.create_task_group() as tasks:
        for number in (1, 2, 3):
            tasks.start_soon(settle, number)
        await anyio.wait_all_tasks_blocked()
        writer.go.set()
    assert sorted(failed) == [1, 2, 3]
    writer.error = None
    assert await settling.settle(answer(4))
