"""A connection over a real socket: calls, runs, slow readers, and the ways it ends."""

import asyncio
import json
from asyncio import Future
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from hub.base.log.channel import fields_of
from hub.base.loop_meter import LATE_S, OVER_S, SHARE
from hub.links import transport
from hub.links.connection import PendingCalls
from hub.links.deadline_wheel import DeadlineWheel
from hub.links.device_link import DeviceLink
from hub.links.link_limits import LinkLimits
from hub.links.roster import AgentsSilent, DeviceLost, DeviceReady, HeartbeatReceived, RequestReceived
from protocol.coordination import Response
from protocol.errors import (
    CallInWork,
    CallNotGranted,
    CallTimedOut,
    CallUnsupported,
    CloseCode,
    DeviceSlow,
    ErrorCode,
    LinkLost,
    TooManyCalls,
)
from protocol.frame import MAX_PENDING_CALLS, Record
from protocol.ids import DeviceId
from protocol.tool_calls import Action, Answer, ToolCall
from protocol.work import AgentCancel, AgentComplete, AgentData, AgentRun, FilePiece, RunConfig
from tests.support.clock import FakeClock
from tests.support.link import FakeLink
from tests.support.wire import Port, RawDevice, call_answered_by, calling, make_call, open_port, until

OK = Answer(result={"ok": True})
UNHURRIED = LinkLimits(close_s=1.0, frames_per_s=1e6, bytes_per_s=1e9)  # a device may send what it likes


def make_run(run_id: str = "r-1", *, credit: int = 4) -> AgentRun:
    return AgentRun(run_id=run_id, fence=3, agent_id="a-1", config=RunConfig(paths=["notes"]), credit=credit)


async def test_parallel_calls_up_to_the_limit_are_answered_in_any_order(
    port: Port, device: RawDevice
) -> None:
    async with calling(port.link(), *(make_call(f"c-{n}") for n in range(MAX_PENDING_CALLS))) as outcomes:
        calls = [await device.hear() for _ in range(MAX_PENDING_CALLS)]
        with pytest.raises(TooManyCalls):
            await port.link().call(make_call("c-one-more"))
        assert port.count("hub_limits_reached_total", limit="pending_calls") == 1
        for call in reversed(calls):
            await device.say(type="tool_result", id=call["id"], result={"ok": True})
    assert outcomes == [OK] * MAX_PENDING_CALLS


async def test_late_answer_to_a_timed_out_call_is_dropped(port: Port, device: RawDevice) -> None:
    async with calling(port.link(), make_call(deadline_ms=2_000)) as outcomes:
        await device.hear()
        await port.clock.pass_time(2.5)
    assert isinstance(outcomes[0], CallTimedOut)
    assert port.count("hub_limits_reached_total", limit="call_timeout_s") == 1
    await device.say(type="tool_result", id="c-1", result={"ok": True})
    await until(lambda: port.count("hub_frames_dropped_total", reason="unknown_call") == 1)
    assert port.count("hub_pending_calls") == 0


async def test_action_unlisted_by_the_device_is_not_sent(port: Port) -> None:
    async with port.device(capabilities=("user.ask",)):
        link = port.link()
        assert [link.can(name) for name in ("user.ask", "insert", "browser.open")] == [True, True, False]
        with pytest.raises(CallUnsupported):
            await link.call(make_call(action=Action.BROWSER_OPEN))


async def test_takeover_during_a_call_fails_the_call_at_once(port: Port, device: RawDevice) -> None:
    link = port.link()
    async with calling(link) as outcomes:
        await device.hear()
        async with port.device() as new:
            await until(lambda: bool(outcomes))
            assert isinstance(outcomes[0], LinkLost) and outcomes[0].dispatched
            assert (await device.hear(), await device.closed()) == (
                {"type": "goodbye", "reason": "replaced"},
                CloseCode.REPLACED,
            )
            assert json.loads(device.socket.close_reason or "") == {"r": "replaced"}
            # The same id goes out again over the newer connection, and is answered there.
            assert await call_answered_by(new, port.link()) == OK
            assert port.link().epoch == link.epoch + 1
            with pytest.raises(LinkLost) as gone:
                await link.call(make_call("c-2"))
            assert not gone.value.dispatched
    assert ([type(event) for event in port.events][:3], port.count("hub_takeovers_total")) == (
        [DeviceReady, DeviceLost, DeviceReady],
        1,
    )


async def test_a_close_by_the_device_is_distinguished_from_a_broken_connection(port: Port) -> None:
    for leave in ("", "abort", '{"r":"paused"}', '{"r":"revoked"}'):
        async with port.device("laptop") as device:
            if leave == "abort":
                device.socket.transport.abort()
            else:
                await device.socket.close(reason=leave)
            await until(lambda: isinstance(port.events[-1], DeviceLost))
    reasons = [event.reason for event in port.events if isinstance(event, DeviceLost)]
    assert reasons == ["device_closed", "connection_lost", "paused", "device_closed"]


async def test_run_frames_of_a_device_are_received_as_a_stream(port: Port) -> None:
    async with port.device(capabilities=("agent_data.credit",)) as device:
        async with port.link().open_run(make_run(credit=1)) as stream:
            run = await device.hear()
            assert (run["type"], run["run_id"], run["fence"]) == ("agent_run", "r-1", 3)
            await device.say(type="agent_data", run_id="r-1", fence=2, files=[{"path": "stale.md"}])
            await device.say(
                type="agent_data", run_id="r-1", fence=3, files=[{"path": "a.md", "content": "A"}]
            )
            frame = await anext(stream)
            assert isinstance(frame, AgentData) and [piece.content for piece in frame.files] == ["A"]
            await stream.grant(1)
            assert await device.hear() == {"type": "agent_credit", "run_id": "r-1", "fence": 3, "pieces": 1}
            await device.say(type="agent_complete", run_id="r-1", fence=3, files=1)
            assert len([frame async for frame in stream]) == 1
        assert port.count("hub_frames_dropped_total", reason="stale_fence") == 1


async def test_closing_a_run_stream_early_cancels_the_run_at_the_device(
    port: Port, device: RawDevice
) -> None:
    async with port.link().open_run(make_run()):
        await device.hear()
    assert {("type", "agent_cancel"), ("run_id", "r-1"), ("fence", 3)} <= (await device.hear()).items()
    await device.say(type="agent_data", run_id="r-1", files=[])
    await until(lambda: port.count("hub_frames_dropped_total", reason="unknown_run") == 1)


async def test_answer_behind_a_full_run_stream_is_read() -> None:
    """The deadlock by design: nobody reads the stream until a call behind its data is answered."""
    limits = replace(UNHURRIED, spool_memory_bytes=10_000)
    async with open_port(limits=limits) as port, port.device() as device:
        link = port.link()
        async with link.open_run(make_run()) as stream, anyio.create_task_group() as tasks:
            await device.hear()

            async def send_much_then_answer() -> None:
                for seq in range(200):
                    files = [{"path": f"{seq}.md", "content": "x" * 50_000}]
                    await device.say(type="agent_data", run_id="r-1", fence=3, seq=seq, files=files)
                await device.answer_call()
                await device.say(type="agent_complete", run_id="r-1", fence=3)

            tasks.start_soon(send_much_then_answer)
            with anyio.fail_after(10):
                assert await link.call(make_call()) == OK
                seqs = [frame.seq async for frame in stream if isinstance(frame, AgentData)]
            assert seqs == list(range(200))


async def test_sending_beyond_the_credit_ends_the_connection(port: Port) -> None:
    async with port.device(capabilities=("agent_data.credit",)) as device:
        with pytest.raises(LinkLost):
            async with port.link().open_run(make_run(credit=1)) as stream:
                await device.hear()
                files = [{"path": "a.md"}, {"path": "b.md"}]
                await device.say(type="agent_data", run_id="r-1", fence=3, files=files)
                error = await device.hear()
                assert (error["type"], error["code"], error["ref"]) == ("error", "credit_exceeded", "r-1")
                assert await device.closed() == CloseCode.BAD_FRAME
                await anext(stream)


async def fill(link: DeviceLink) -> int:
    """Send until the hub refuses; how many frames it took."""
    run = AgentCancel(run_id="r-1", reason="x" * 4_000)
    for sent in range(100_000):
        try:
            await link.send(run)
        except DeviceSlow:
            return sent
        await anyio.lowlevel.checkpoint()
    raise AssertionError("the queue has no end")


async def test_frames_of_one_turn_above_the_limit_are_refused_until_the_others_have_left() -> None:
    limits = replace(UNHURRIED, outgoing_frames=8)
    async with open_port(limits=limits) as port, port.device() as device:
        link, frame = port.link(), AgentCancel(run_id="r-1")
        for _ in range(3):
            for _ in range(8):
                await link.send(frame)
            with pytest.raises(DeviceSlow):
                await link.send(frame)
            assert [(await device.hear())["type"] for _ in range(8)] == ["agent_cancel"] * 8


@contextmanager
def not_reading(socket: ClientConnection) -> Iterator[None]:
    """A device that hangs: its socket is open, nothing is read."""
    socket.transport.pause_reading()
    try:
        yield
    finally:
        socket.transport.abort()  # or its own closing handshake would wait for what it does not read


async def test_never_reading_device_is_disconnected_and_others_are_served(port: Port) -> None:
    async with port.device("other") as other, port.device("stuck") as stuck:
        link = port.link("stuck")
        with not_reading(stuck.socket):
            async with calling(link) as outcomes:
                await anyio.wait_all_tasks_blocked()
                await fill(link)
                unsent = port.count("hub_outbound_queue_bytes", of="max")
                assert 1_000_000 < unsent < 1_100_000
                for _ in range(1_000):
                    with pytest.raises(DeviceSlow):
                        await link.call(make_call("c-2"))
                assert port.count("hub_outbound_queue_bytes", of="max") == unsent
                assert await call_answered_by(other, port.link("other")) == OK
                await port.clock.pass_time(9)
                assert outcomes == []
                await port.clock.pass_time(2)
                await until(lambda: bool(outcomes))
            await until(lambda: port.count("hub_outbound_queue_bytes", of="sum") == 0)
        assert isinstance(outcomes[0], LinkLost)
        assert (
            port.events[-1],
            port.count("hub_slow_consumers_total"),
            port.count("hub_limits_reached_total", limit="write_timeout_s"),
        ) == (DeviceLost(DeviceId("stuck"), 1, "slow_consumer"), 1, 1)


async def test_slow_device_reading_late_gets_the_close_code_slow_consumer(
    port: Port, device: RawDevice
) -> None:
    device.socket.transport.pause_reading()
    await fill(port.link())
    await port.clock.pass_time(11)
    device.socket.transport.resume_reading()
    assert await device.closed() == CloseCode.SLOW_CONSUMER


async def test_slow_device_reading_in_time_remains_connected(port: Port, device: RawDevice) -> None:
    device.socket.transport.pause_reading()
    link = port.link()
    await fill(link)
    device.socket.transport.resume_reading()

    async def read() -> None:
        while True:
            await device.socket.recv()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await until(lambda: port.count("hub_outbound_queue_bytes", of="max") == 0)
        await port.clock.pass_time(11)
        await link.send(AgentCancel(run_id="r-2"))
        tasks.cancel_scope.cancel()
    assert port.roster.find(link.device_id) is link


async def test_device_request_is_routed_and_the_response_is_sent_back(port: Port, device: RawDevice) -> None:
    await device.say(type="request", id="q-1", method="agents.list")
    await until(lambda: isinstance(port.events[-1], RequestReceived))
    event = port.events[-1]
    assert isinstance(event, RequestReceived)
    await event.link.send(Response(id=event.frame.id, result={"agents": []}))
    assert await device.hear() == {"type": "response", "id": "q-1", "result": {"agents": []}}


async def test_missing_heartbeats_are_reported_without_disconnecting_the_device(
    port: Port, device: RawDevice
) -> None:
    await device.say(type="heartbeat", agents=[{"agent_id": "a-1", "status": "busy"}])
    await until(lambda: isinstance(port.events[-1], HeartbeatReceived))
    await port.clock.pass_time(44)
    told = len(port.events)
    await port.clock.pass_time(2)
    assert port.events[told:] == [AgentsSilent(port.link())]


async def test_malformed_frame_ends_the_connection_with_bad_frame_and_its_place_is_in_the_log(
    port: Port, device: RawDevice, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await device.say(type="tool_result", id=5)
    error = await device.hear()
    assert (error["code"], await device.closed()) == ("bad_frame", CloseCode.BAD_FRAME)
    assert json.loads(device.socket.close_reason or "") == {"r": "bad_frame"}
    (left,) = [fields_of(record) or {} for record in caplog.records if record.message == "device.left"]
    assert (left["reason"], left["detail"]) == ("bad_frame", error["message"])
    assert "$.id" in error["message"]


async def test_breach_of_websocket_ends_the_connection_with_a_cause(
    port: Port, device: RawDevice, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    device.socket.transport.write(b"\x8f\x80....")  # a control frame of a kind that there is not
    assert await device.closed() == 1002
    await until(lambda: isinstance(port.events[-1], DeviceLost))
    assert [event.reason for event in port.events if isinstance(event, DeviceLost)] == ["bad_frame"]
    (left,) = [fields_of(record) or {} for record in caplog.records if record.message == "device.left"]
    assert left["detail"] == "invalid opcode"


async def test_message_in_fragments_is_a_single_message(port: Port, device: RawDevice) -> None:
    async with calling(port.link()) as outcomes:
        await device.hear()
        await device.socket.send(iter(['{"type":"tool_result",', '"id":"c-1",', '"result":{"ok":true}}']))
    assert outcomes == [OK]


async def test_a_message_in_too_many_fragments_ends_the_connection() -> None:
    async with open_port(limits=UNHURRIED) as port, port.device() as device:
        await device.socket.send(iter(["x"] * 5_000))
        assert await device.closed() == CloseCode.TOO_LARGE
        await until(lambda: port.count("hub_limits_reached_total", limit="message_fragments") == 1)
        await until(lambda: isinstance(port.events[-1], DeviceLost))
    assert [event.reason for event in port.events if isinstance(event, DeviceLost)] == ["too_large"]


async def test_fault_of_the_hub_ends_the_affected_connection_and_no_other() -> None:
    clock = BreakingClock()
    async with open_port(clock) as port, port.device("one") as one, port.device("two") as two:
        clock.breaks = 1
        await one.say(type="heartbeat")
        assert (await one.hear(), await one.closed()) == (
            {"type": "goodbye", "reason": "fault"},
            CloseCode.FAULT,
        )
        assert await call_answered_by(two, port.link("two")) == OK


class BreakingClock(FakeClock):
    """Fails *breaks* times: stands for any fault of ours."""

    breaks = 0

    def monotonic(self) -> float:
        if self.breaks:
            self.breaks -= 1
            raise ZeroDivisionError
        return super().monotonic()


def dear(port: Port, share: float) -> None:
    """The connected device took this share of the loop, which is late."""
    loop = port.metrics.loop
    loop._monotonic, loop._spent = port.clock.monotonic, {}
    loop.lag_s = LATE_S
    loop.charge(f"device:{port.link().device_id}", share * OVER_S)


async def test_device_above_the_loop_share_is_read_later(port: Port, device: RawDevice) -> None:
    dear(port, 1.05 * SHARE)
    await device.say(type="request", id="q-1", method="agents.list")
    await until(lambda: port.count("hub_limits_reached_total", limit="loop_share") > 0)
    await device.say(type="request", id="q-2", method="agents.list")
    port.clock.advance(1.0)
    await until(lambda: len([one for one in port.events if isinstance(one, RequestReceived)]) == 2)


async def test_device_using_far_too_much_time_is_disconnected_with_the_reason(
    port: Port, device: RawDevice
) -> None:
    dear(port, 7.5 * SHARE)
    await device.say(type="request", id="q-1", method="agents.list")
    error = await device.hear()
    assert (error["type"], error["code"]) == ("error", "overloaded")
    assert "75% of the hub's time" in error["message"]
    await device.socket.wait_closed()
    assert device.socket.close_code == CloseCode.OVERLOADED


async def test_long_read_continues_in_a_later_loop_turn_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "MAX_TURN_S", -1.0)
    async with open_port(limits=UNHURRIED) as port, port.device("a") as device, port.device("b") as other:
        for name, one in (("a", device), ("b", other)):
            frames = [_masked(f"{name}-{number}", 400_000 if number == 30 else 200) for number in range(60)]
            one.socket.transport.write(b"".join(frames))
        await until(lambda: sum(isinstance(one, RequestReceived) for one in port.events) == 120)
        asked = [one.frame.id for one in port.events if isinstance(one, RequestReceived)]
    for name in "ab":
        assert [one for one in asked if one[0] == name] == [f"{name}-{number}" for number in range(60)]


async def test_time_of_long_reads_is_shared_by_devices_in_a_loop_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "MAX_TURN_S", -1.0)
    turn, loop = transport._Turn(), asyncio.get_running_loop()
    for _ in range(2):
        assert [turn.is_spent(loop) for _ in range(3)] == [False, True, True]
        await anyio.lowlevel.checkpoint()


def _masked(request_id: str, size: int) -> bytes:
    data = json.dumps({"type": "request", "id": request_id, "method": "m", "params": {"x": "x" * size}})
    return Frame(Opcode.TEXT, data.encode()).serialize(mask=True)


DONE = Answer(result={"ok": True})


def pending_calls(clock: FakeClock | None = None, *, most: int = 64) -> tuple[PendingCalls, DeadlineWheel]:
    clock = clock or FakeClock()
    wheel = DeadlineWheel(clock)
    return PendingCalls(wheel, clock, most=most), wheel


def future_of(calls: PendingCalls, call_id: str, began: float, limit_s: float = 30) -> Future[Answer]:
    """Open a call and return the future of its answer."""
    answer: Future[Answer] = Future()
    calls.open(call_id, began, limit_s, answer)
    return answer


@contextmanager
def opened(calls: PendingCalls, call_id: str, clock: FakeClock | None = None) -> Iterator[Future[Answer]]:
    """Open a call with a time limit of 30 s, and close it at the end of the block."""
    answer = future_of(calls, call_id, 0.0 if clock is None else clock.monotonic())
    try:
        yield answer
    finally:
        calls.close(call_id, answer)


async def test_answers_with_unknown_ids_use_no_memory() -> None:
    calls, wheel = pending_calls()
    assert not any(calls.settle(f"c-{number}", DONE) for number in range(10_000))
    assert len(calls) == len(wheel) == 0


async def test_a_call_without_an_answer_times_out() -> None:
    clock = FakeClock()
    calls, wheel = pending_calls(clock)
    timed_out = pytest.raises(CallTimedOut, match="c-1: no answer within 30 s")
    with timed_out, opened(calls, "c-1") as answer:
        clock.advance(30.5)
        wheel.turn()
        await answer
    assert not calls.settle("c-1", DONE)


async def test_batch_calls_time_out_separately_with_a_single_wheel_entry() -> None:
    clock = FakeClock()
    calls, wheel = pending_calls(clock)
    began = clock.monotonic()
    late, early = (
        future_of(calls, call_id, began, limit_s) for call_id, limit_s in (("c-30", 30), ("c-5", 5))
    )
    answered = future_of(calls, "c-2", began, 2)
    assert len(wheel) == 1
    calls.settle("c-2", DONE)
    calls.close("c-2", answered)
    for passed_s, timed_out in ((3, []), (3, [early]), (20, [early]), (5, [early, late])):
        clock.advance(passed_s)
        wheel.turn()
        assert [call for call in (early, late) if call.done()] == timed_out
    assert await answered == DONE
    calls.close("c-5", early)
    calls.close("c-30", late)
    assert len(wheel) == 0


async def test_call_beyond_the_pending_limit_is_refused_until_another_is_settled() -> None:
    calls, _ = pending_calls(most=2)
    with opened(calls, "c-1"), opened(calls, "c-2"):
        with pytest.raises(TooManyCalls), opened(calls, "c-3"):
            pass
        with pytest.raises(CallInWork, match="c-1 is in work"), opened(calls, "c-1"):
            pass
    with opened(calls, "c-3"):
        assert len(calls) == 1


async def test_leaving_an_answered_call_keeps_a_later_call_with_the_same_id_open() -> None:
    calls, _ = pending_calls()
    with opened(calls, "c-1"):
        assert calls.settle("c-1", DONE)
        again = future_of(calls, "c-1", 0.0)
    assert calls.settle("c-1", DONE)
    assert await again == DONE


# --- what every ``DeviceLink`` promises: the connection over a socket, and the fake of the tests ---


ANSWERED = Answer(result={"ok": True})
SHORT_RUN = AgentRun(run_id="r-1", fence=3, agent_id="a-1", config=RunConfig(), credit=4)
PIECE = AgentData(run_id="r-1", files=[FilePiece(path="a.md", content="A")])
COMPLETE = AgentComplete(run_id="r-1", files=1)

Cut = Callable[[], None]


@asynccontextmanager
async def over_a_socket() -> AsyncIterator[tuple[DeviceLink, Cut]]:
    """A device that answers its first call, and its first run with one file; then nothing."""

    async def answer(device: RawDevice) -> None:
        left = {"tool_call": 1, "agent_run": 1}
        while True:
            try:
                frame = await device.hear()
            except ConnectionClosed:
                return
            if not left.get(frame["type"]):
                continue
            left[frame["type"]] -= 1
            if frame["type"] == "tool_call":
                await device.say(type="tool_result", id=frame["id"], result={"ok": True})
            else:
                await device.say(type="agent_data", run_id="r-1", files=[{"path": "a.md", "content": "A"}])
                await device.say(type="agent_complete", run_id="r-1", files=1)

    async with (
        open_port() as port,
        port.device(capabilities=("user.ask",)) as device,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(answer, device)
        yield port.link(), device.socket.transport.abort
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def from_a_list() -> AsyncIterator[tuple[DeviceLink, Cut]]:
    """The fake, answering the same."""
    link = FakeLink(capabilities=("user.ask",), answers=[ANSWERED], runs=[[PIECE, COMPLETE]])
    yield link, link.cut


Made = Callable[[], AbstractAsyncContextManager[tuple[DeviceLink, Cut]]]
both = pytest.mark.parametrize("made", [over_a_socket, from_a_list])


@both
async def test_link_reports_the_capabilities_of_the_device(made: Made) -> None:
    async with made() as (link, _):
        assert (link.device_id, link.user_id, link.epoch) == ("laptop", "anna", 1)
        able = {name: link.can(name) for name in ("insert", "tool.insert", "user.ask", "browser.open")}
        assert able == {"insert": True, "tool.insert": True, "user.ask": True, "browser.open": False}
        assert link.offers == {"user.ask": "1.0.0"}


@both
async def test_stream_of_a_run_ends_after_the_complete_frame(made: Made) -> None:
    async with made() as (link, _), link.open_run(SHORT_RUN) as stream:
        assert [frame async for frame in stream] == [PIECE, COMPLETE]


@both
async def test_cut_link_fails_open_calls_and_refuses_later_frames(made: Made) -> None:
    async with made() as (link, cut):
        assert await link.call(make_call("c-1")) == ANSWERED
        async with calling(link, make_call("c-2")) as outcomes:
            await anyio.wait_all_tasks_blocked()
            cut()
        (gone,) = outcomes
        assert isinstance(gone, LinkLost) and gone.dispatched
        for _ in range(2):
            with pytest.raises(LinkLost):
                await link.send(AgentCancel(run_id="r-1"))


# --- what a device's owner does not grant, the hub does not even ask for ---


APPROVED: Record = {"approved": True}
READ_TASKS = {"name": "rows.read", "tables": ["tasks"]}


def query(table: str) -> ToolCall:
    return ToolCall(id=f"q-{table}", action=Action.QUERY, table=table, data=APPROVED)


async def test_call_without_a_grant_of_the_owner_is_refused_without_sending(
    port: Port, stranger: RawDevice
) -> None:
    await stranger.greet(await port.pair(), grants=[READ_TASKS, {"name": "of.later"}])
    link = port.link()
    assert set(link.owner_grants) == {"rows.read", "of.later"}
    with pytest.raises(CallNotGranted, match=r"'rows.read' of notes") as refused:
        await link.call(query("notes"))
    assert refused.value.code == ErrorCode.NOT_GRANTED
    async with calling(link, query("tasks")) as outcomes:
        sent = await stranger.answer_call()
    assert (sent["id"], len(outcomes)) == ("q-tasks", 1), "and nothing else was sent before it"
