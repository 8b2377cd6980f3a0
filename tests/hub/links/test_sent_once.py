"""Calls to a device that may not keep their ids: none is sent while its answer is awaited, or is here."""

from contextlib import AbstractAsyncContextManager

import anyio
import pytest

from hub.links import connection
from hub.links.connection import MAX_STORED_BYTES
from hub.links.device_link import LATE_AFTER_S, RepeatedCall
from protocol.errors import CallTimedOut, DeliveryError
from protocol.tool_calls import Answer
from tests.hub.links.test_batches import asking
from tests.support.wire import Port, RawDevice, until

ROW = Answer(result={"row": "r-1"})
LONG_MS = 3_600_000


async def ask_and_give_up(port: Port, device: RawDevice) -> None:
    """Send c-1, and leave before it is answered."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_ask, asking(port, "c-1"))
        assert (await device.hear())["id"] == "c-1"
        tasks.cancel_scope.cancel()


async def _ask(asked: AbstractAsyncContextManager[object]) -> None:
    async with asked:
        pass


async def has_nothing_else(port: Port, device: RawDevice) -> None:
    """Check that the next frame of the device is that of the next call."""
    async with asking(port, "c-last"):
        assert (await device.hear())["id"] == "c-last"
        await device.say(type="tool_result", id="c-last", result={})


async def test_call_is_sent_again_after_the_deadline_and_settled_by_the_first_answer(port: Port) -> None:
    async with port.device() as device:
        outcomes: list[Answer | DeliveryError]
        async with asking(port, "c-1", wait_ms=30_000) as outcomes:
            await device.hear()
            await port.clock.pass_time(30.5)
        assert isinstance(outcomes[0], CallTimedOut)
        async with asking(port, "c-1", wait_ms=LONG_MS) as outcomes:
            assert (await device.hear())["id"] == "c-1"
            await device.say(type="tool_result", id="c-1", result={"row": "r-1"})
        assert outcomes == [ROW]
        await has_nothing_else(port, device)


# Calls that are sent one after the other, those of them that are answered after 20 s, and those that are
# due at 31 s: others count from an answer to a call before them.
ORDERS = {
    "none answered": ("", "c-1 c-2 c-3"),
    "first answered": ("c-1", ""),
    "second answered": ("c-2", "c-1"),
    "last answered": ("c-3", "c-1 c-2"),
    "answer to no call": ("c-4", "c-1 c-2 c-3"),
}


@pytest.mark.parametrize("order", ORDERS)
async def test_deadline_begins_anew_with_the_answer_to_an_earlier_call(port: Port, order: str) -> None:
    answered, due = ORDERS[order]
    async with port.device() as device:
        link = port.link()
        for id in ("c-1", "c-2", "c-3"):
            async with asking(port, id) as outcomes:
                await device.hear()
                await port.clock.pass_time(LATE_AFTER_S + 0.5)
            assert isinstance(outcomes[0], CallTimedOut)
            assert link.repeat_of(id) is RepeatedCall.AWAITED
        await port.clock.pass_time(17.0)
        answered_at = link.answered_at
        if answered:
            await device.say(type="tool_result", id=answered, result={"row": "r-1"})
            await until(lambda: port.count("hub_frames_total", direction="in", type="tool_result") == 1)
        assert (link.answered_at > answered_at) is (answered in ("c-1", "c-2", "c-3"))
        await port.clock.pass_time(13.0)
        repeats = {id: link.repeat_of(id) for id in ("c-1", "c-2", "c-3")}
        assert [id for id, repeat in repeats.items() if repeat is RepeatedCall.SENT] == due.split()
        assert [id for id, repeat in repeats.items() if repeat is RepeatedCall.ANSWERED] == (
            [answered] if answered in repeats else []
        )


async def test_repeated_call_waits_for_the_answer_while_the_sending_of_another_caller_is_awaited(
    port: Port,
) -> None:
    async with port.device() as device:
        await ask_and_give_up(port, device)
        await port.clock.pass_time(29.0)
        async with asking(port, "c-1") as outcomes:
            await until(lambda: port.link().pending_calls == 1)  # type: ignore[attr-defined]
            await device.say(type="tool_result", id="c-1", result={"row": "r-1"})
        assert outcomes == [ROW]
        await has_nothing_else(port, device)


async def test_unawaited_answer_is_kept_for_the_repeated_call(port: Port) -> None:
    async with port.device() as device:
        await ask_and_give_up(port, device)
        await device.say(type="tool_result", id="c-1", result={"row": "r-1"})
        await until(lambda: port.count("hub_frames_total", direction="in", type="tool_result") == 1)
        for _ in range(2):
            async with asking(port, "c-1") as outcomes:
                pass
            assert outcomes == [ROW]
        await has_nothing_else(port, device)
        assert port.count("hub_frames_dropped_total", reason="unknown_call") == 0


async def test_second_answer_to_a_call_is_dropped(port: Port) -> None:
    async with port.device() as device:
        async with asking(port, "c-1"):
            await device.hear()
            for row in ("r-1", "r-2"):
                await device.say(type="tool_result", id="c-1", result={"row": row})
        await until(lambda: port.count("hub_frames_dropped_total", reason="unknown_call") == 1)
        async with asking(port, "c-1") as outcomes:
            pass
        assert outcomes == [ROW]


async def test_refused_call_is_sent_again(port: Port) -> None:
    async with port.device() as device:
        for answer in ({"error": "busy"}, {"result": {"row": "r-1"}}):
            async with asking(port, "c-1") as outcomes:
                assert (await device.hear())["id"] == "c-1"
                await device.say(type="tool_result", id="c-1", **answer)
        assert outcomes == [ROW]


@pytest.mark.parametrize("capability", ["tool.insert", "tool_calls"])
async def test_call_is_sent_again_to_an_id_keeping_device(port: Port, capability: str) -> None:
    async with port.device(capabilities=(capability,)) as device:
        for _ in range(2):
            async with asking(port, "c-1", wait_ms=2_000):
                frame = await device.hear()
                assert [call["id"] for call in frame.get("calls", [frame])] == ["c-1"]
                await port.clock.pass_time(2.5)


async def test_unanswered_call_is_sent_again_on_the_next_connection(port: Port) -> None:
    async with port.device() as device:
        await ask_and_give_up(port, device)
    async with port.device() as device, asking(port, "c-1") as outcomes:
        assert (await device.hear())["id"] == "c-1"
        await device.say(type="tool_result", id="c-1", result={"row": "r-1"})
    assert outcomes == [ROW]


async def test_long_answer_is_kept_with_the_id_of_the_row_alone(port: Port) -> None:
    long = {"id": "r-1", "text": "x" * MAX_STORED_BYTES}
    async with port.device() as device:
        async with asking(port, "c-1") as first:
            await device.hear()
            await device.say(type="tool_result", id="c-1", result=long)
        async with asking(port, "c-1") as repeated:
            pass
        assert (first, repeated) == ([Answer(result=long)], [Answer(result={"id": "r-1"})])


async def test_call_without_an_answer_is_sent_once_although_many_others_follow(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_SENT_CALLS", 2)
    async with port.device() as device:
        await ask_and_give_up(port, device)
        for id in ("c-2", "c-3", "c-4"):
            async with asking(port, id):
                await device.hear()
                await device.say(type="tool_result", id=id, result={})
        async with asking(port, "c-1") as outcomes:
            await until(lambda: port.link().pending_calls == 1)  # type: ignore[attr-defined]
            await device.say(type="tool_result", id="c-1", result={"row": "r-1"})
        assert outcomes == [ROW]
        await has_nothing_else(port, device)
