"""What every ``DeviceLink`` promises: the connection over a socket, and the fake of the tests."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import pytest
from websockets.exceptions import ConnectionClosed

from hub.links.roster import DeviceLink
from protocol.errors import LinkLost
from protocol.work import (
    AgentCancel,
    AgentComplete,
    AgentData,
    AgentRun,
    Answer,
    FilePiece,
    RunConfig,
)
from tests.support.link import FakeLink
from tests.support.wire import RawDevice, calling, make_call, open_port

DONE = Answer(result={"ok": True})
RUN = AgentRun(run_id="r-1", fence=3, agent_id="a-1", config=RunConfig(), credit=4)
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
    link = FakeLink(capabilities=("user.ask",), answers=[DONE], runs=[[PIECE, COMPLETE]])
    yield link, link.cut


Made = Callable[[], AbstractAsyncContextManager[tuple[DeviceLink, Cut]]]
both = pytest.mark.parametrize("made", [over_a_socket, from_a_list])


@both
async def test_a_link_says_what_its_device_can(made: Made) -> None:
    async with made() as (link, _):
        assert (link.device_id, link.user_id, link.epoch) == ("laptop", "anna", 1)
        able = {name: link.can(name) for name in ("insert", "tool.insert", "user.ask", "browser.open")}
        assert able == {"insert": True, "tool.insert": True, "user.ask": True, "browser.open": False}
        assert link.offers == {"user.ask": "1.0.0"}


@both
async def test_a_call_over_a_link_has_one_answer(made: Made) -> None:
    async with made() as (link, _):
        assert await link.call(make_call()) == DONE


@both
async def test_a_run_over_a_link_is_a_stream_that_stops_after_its_last_frame(made: Made) -> None:
    async with made() as (link, _), link.open_run(RUN) as stream:
        assert [frame async for frame in stream] == [PIECE, COMPLETE]


@both
async def test_a_link_that_is_cut_ends_what_waits_and_refuses_what_comes(made: Made) -> None:
    async with made() as (link, cut):
        await link.call(make_call("c-1"))
        async with calling(link, make_call("c-2")) as outcomes:
            await anyio.wait_all_tasks_blocked()
            cut()
        (gone,) = outcomes
        assert isinstance(gone, LinkLost) and gone.dispatched
        for _ in range(2):
            with pytest.raises(LinkLost):
                await link.send(AgentCancel(run_id="r-1"))
