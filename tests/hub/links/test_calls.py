from asyncio import Future
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import pytest

from hub.links.connection import PendingCalls
from hub.links.gate import DeadlineWheel
from protocol.errors import CallTimedOut, LinkLost, LocalProtocolError, TooManyCalls
from protocol.frame import ErrorBody
from protocol.work import Answer
from tests.support.clock import FakeClock

DONE = Answer(result={"ok": True})


def make_calls(clock: FakeClock | None = None, *, most: int = 64) -> tuple[PendingCalls, DeadlineWheel]:
    clock = clock or FakeClock()
    wheel = DeadlineWheel(clock)
    return PendingCalls(wheel, clock, most=most), wheel


@contextmanager
def opened(calls: PendingCalls, call_id: str, clock: FakeClock | None = None) -> Iterator[Future[Answer]]:
    """Open a call with a time limit of 30 s, and close it at the end of the block."""
    answer = calls.open(call_id, 0.0 if clock is None else clock.monotonic(), 30)
    try:
        yield answer
    finally:
        calls.close(call_id)


async def test_a_call_answered_before_its_send_returned_has_its_answer() -> None:
    calls, _ = make_calls()
    with opened(calls, "c-1") as answer:
        assert calls.settle("c-1", DONE)  # while "send" still runs
        assert await answer == DONE


async def test_an_answer_goes_to_the_call_with_its_id() -> None:
    calls, _ = make_calls()
    got: dict[str, Answer] = {}

    async def ask(call_id: str) -> None:
        with opened(calls, call_id) as answer:
            got[call_id] = await answer

    async with anyio.create_task_group() as tasks:
        for call_id in ("c-1", "c-2"):
            tasks.start_soon(ask, call_id)
        await anyio.wait_all_tasks_blocked()
        refused = Answer(error=ErrorBody(code="device_error", message="disk full"))
        assert calls.settle("c-2", refused)
        assert calls.settle("c-1", DONE)
    assert got == {"c-1": DONE, "c-2": refused}


async def test_a_doubled_answer_changes_nothing() -> None:
    calls, _ = make_calls()
    with opened(calls, "c-1") as answer:
        assert calls.settle("c-1", DONE)
        assert not calls.settle("c-1", Answer(result="another"))
        assert await answer == DONE
    assert not calls.settle("c-1", DONE)


async def test_ten_thousand_answers_with_unknown_ids_leave_nothing_behind() -> None:
    calls, wheel = make_calls()
    assert not any(calls.settle(f"c-{number}", DONE) for number in range(10_000))
    assert len(calls) == len(wheel) == 0


async def test_a_call_without_an_answer_times_out() -> None:
    clock = FakeClock()
    calls, wheel = make_calls(clock)
    timed_out = pytest.raises(CallTimedOut, match="c-1: no answer within 30 s")
    with timed_out, opened(calls, "c-1") as answer:
        clock.advance(30.5)
        wheel.turn()
        await answer
    assert not calls.settle("c-1", DONE)


async def test_of_many_calls_each_times_out_at_its_own_deadline_by_one_entry_of_the_wheel() -> None:
    clock = FakeClock()
    calls, wheel = make_calls(clock)
    began = clock.monotonic()
    late, early = (calls.open(call_id, began, limit_s) for call_id, limit_s in (("c-30", 30), ("c-5", 5)))
    answered = calls.open("c-2", began, 2)
    assert len(wheel) == 1
    calls.settle("c-2", DONE)
    calls.close("c-2")
    for passed_s, timed_out in ((3, []), (3, [early]), (20, [early]), (5, [early, late])):
        clock.advance(passed_s)
        wheel.turn()
        assert [call for call in (early, late) if call.done()] == timed_out
    assert await answered == DONE
    calls.close("c-5")
    calls.close("c-30")
    assert len(wheel) == 0


async def test_a_connection_that_ends_leaves_no_entry_in_the_wheel() -> None:
    calls, wheel = make_calls()
    with opened(calls, "c-1"):
        assert len(wheel) == 1
        calls.end("replaced")
        assert len(wheel) == 0


async def test_when_the_connection_ends_every_open_call_ends_at_once() -> None:
    calls, _ = make_calls()
    ended: list[str] = []

    async def ask(call_id: str) -> None:
        with pytest.raises(LinkLost, match="replaced") as gone, opened(calls, call_id) as answer:
            await answer
        assert gone.value.dispatched
        ended.append(call_id)

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(ask, f"c-{number}")
        await anyio.wait_all_tasks_blocked()
        calls.end("replaced")
    assert len(ended) == 10
    with pytest.raises(LinkLost) as gone, opened(calls, "c-11"):
        pass
    assert not gone.value.dispatched


async def test_a_call_too_many_is_refused_until_one_is_settled() -> None:
    calls, _ = make_calls(most=2)
    with opened(calls, "c-1"), opened(calls, "c-2"):
        with pytest.raises(TooManyCalls), opened(calls, "c-3"):
            pass
        with pytest.raises(LocalProtocolError, match="c-1 is open"), opened(calls, "c-1"):
            pass
    with opened(calls, "c-3"):
        assert len(calls) == 1


async def test_the_same_id_may_be_asked_over_a_newer_connection_while_the_old_one_ends() -> None:
    old, wheel = make_calls()
    new = PendingCalls(wheel, FakeClock())
    with pytest.raises(LinkLost), opened(old, "c-1") as lost:
        with opened(new, "c-1") as answer:
            old.end("replaced")
            new.settle("c-1", DONE)
            assert await answer == DONE
        await lost
