import anyio
import pytest

from hub.links.deadlines import DeadlineWheel
from hub.links.open_link import PendingCalls
from protocol.errors import CallTimedOut, DeviceSlow, LinkLost, LocalProtocolError, TooManyCalls
from protocol.frame import ErrorBody
from protocol.ids import CallId
from protocol.work import Answer
from tests.support.clock import FakeClock

DONE = Answer(result={"ok": True})


def make_calls(clock: FakeClock | None = None, *, most: int = 64) -> tuple[PendingCalls, DeadlineWheel]:
    wheel = DeadlineWheel(clock or FakeClock())
    return PendingCalls(wheel, most=most), wheel


async def test_a_call_answered_before_its_send_returned_has_its_answer() -> None:
    calls, _ = make_calls()
    with calls.expect(CallId("c-1"), 30) as answer:
        assert calls.settle(CallId("c-1"), DONE)  # while "send" still runs
        assert await answer == DONE


async def test_an_answer_goes_to_the_call_with_its_id() -> None:
    calls, _ = make_calls()
    got: dict[str, Answer] = {}

    async def ask(call_id: str) -> None:
        with calls.expect(CallId(call_id), 30) as answer:
            got[call_id] = await answer

    async with anyio.create_task_group() as tasks:
        for call_id in ("c-1", "c-2"):
            tasks.start_soon(ask, call_id)
        await anyio.wait_all_tasks_blocked()
        refused = Answer(error=ErrorBody(code="device_error", message="disk full"))
        assert calls.settle(CallId("c-2"), refused)
        assert calls.settle(CallId("c-1"), DONE)
    assert got == {"c-1": DONE, "c-2": refused}


async def test_a_doubled_answer_changes_nothing() -> None:
    calls, _ = make_calls()
    with calls.expect(CallId("c-1"), 30) as answer:
        assert calls.settle(CallId("c-1"), DONE)
        assert not calls.settle(CallId("c-1"), Answer(result="another"))
        assert await answer == DONE
    assert not calls.settle(CallId("c-1"), DONE)


async def test_ten_thousand_answers_with_unknown_ids_leave_nothing_behind() -> None:
    calls, wheel = make_calls()
    assert not any(calls.settle(CallId(f"c-{number}"), DONE) for number in range(10_000))
    assert len(calls) == len(wheel) == 0


async def test_a_call_without_an_answer_times_out() -> None:
    clock = FakeClock()
    calls, wheel = make_calls(clock)
    timed_out = pytest.raises(CallTimedOut, match="c-1: no answer within 30 s")
    with timed_out, calls.expect(CallId("c-1"), 30) as answer:
        clock.advance(30.5)
        wheel.turn()
        await answer
    assert not calls.settle(CallId("c-1"), DONE)


async def test_when_the_connection_ends_every_open_call_ends_at_once() -> None:
    calls, _ = make_calls()
    ended: list[str] = []

    async def ask(call_id: str) -> None:
        with pytest.raises(LinkLost, match="replaced") as gone, calls.expect(CallId(call_id), 30) as answer:
            await answer
        assert gone.value.dispatched
        ended.append(call_id)

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(ask, f"c-{number}")
        await anyio.wait_all_tasks_blocked()
        calls.end("replaced")
    assert len(ended) == 10
    with pytest.raises(LinkLost) as gone, calls.expect(CallId("c-11"), 30):
        pass
    assert not gone.value.dispatched


async def test_a_call_is_forgotten_when_its_frame_cannot_be_sent() -> None:
    calls, wheel = make_calls()
    with pytest.raises(DeviceSlow), calls.expect(CallId("c-1"), 30):
        raise DeviceSlow("full")
    assert len(calls) == len(wheel) == 0


async def test_a_cancelled_call_is_forgotten() -> None:
    calls, wheel = make_calls()
    with anyio.move_on_after(0.01):
        with calls.expect(CallId("c-1"), 30) as answer:
            await answer
    assert len(calls) == len(wheel) == 0
    assert not calls.settle(CallId("c-1"), DONE)


async def test_a_call_too_many_is_refused_until_one_is_settled() -> None:
    calls, _ = make_calls(most=2)
    with calls.expect(CallId("c-1"), 30), calls.expect(CallId("c-2"), 30):
        with pytest.raises(TooManyCalls), calls.expect(CallId("c-3"), 30):
            pass
        with pytest.raises(LocalProtocolError, match="c-1 is open"), calls.expect(CallId("c-1"), 30):
            pass
    with calls.expect(CallId("c-3"), 30):
        assert len(calls) == 1


async def test_the_same_id_may_be_asked_over_a_newer_connection_while_the_old_one_ends() -> None:
    old, wheel = make_calls()
    new = PendingCalls(wheel)
    with pytest.raises(LinkLost), old.expect(CallId("c-1"), 30) as lost:
        with new.expect(CallId("c-1"), 30) as answer:
            old.end("replaced")
            new.settle(CallId("c-1"), DONE)
            assert await answer == DONE
        await lost
