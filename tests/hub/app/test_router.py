"""Events from the links reach the services that are to hear of them."""

import pytest

from hub.agents.heartbeats import Heartbeats
from hub.app import router as routing
from hub.app.router import Router
from hub.links.roster import DeviceReady, RequestReceived
from hub.runs import dispatcher
from protocol.coordination import Request
from protocol.frame import Frame
from protocol.handshake import DeviceHello, HeldRun
from protocol.lifecycles import RunState
from protocol.work import AgentCancel
from tests.support.requests import make_requests
from tests.support.runs import Bench, agent, bench, folder, store
from tests.support.services import running
from tests.support.wire import until

__all__ = ["agent", "bench", "store"]

HOLDING = DeviceHello(runs=[HeldRun(run_id="ended", fence=1)])


def make_router(bench: Bench) -> Router:
    return Router(
        dispatcher=bench.dispatcher,
        heartbeats=Heartbeats(bench.store, clock=bench.clock, metrics=bench.metrics),
        requests=make_requests(bench),
        clock=bench.clock,
    )


async def test_reconnected_device_resumes_the_paused_run_without_a_poll(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "POLL_S", 3600.0)
    manifest, first, second, end = folder(a="- [ ] one", b="- [ ] two")[0]
    lost = bench.connect(runs=[[manifest, first]])
    routed = make_router(bench)
    async with running(bench.dispatcher, routed):
        await bench.control.submit(bench.agent)
        await bench.settled("a.md")
        del bench.links[lost.device_id]
        lost.cut()
        await bench.comes_to(RunState.PAUSED)

        bench.connect(runs=[[manifest, second, end]])
        await bench.comes_to(RunState.COMPLETED)


async def test_failing_handler_does_not_stop_the_next_handler(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(frame: Frame) -> None:
        raise RuntimeError("a fault")

    routed = make_router(bench)
    async with running(bench.dispatcher, routed):
        broken = bench.connect()
        monkeypatch.setattr(broken, "send", fail)
        routed.route(DeviceReady(broken, HOLDING))
        link = bench.connect()
        routed.route(DeviceReady(link, HOLDING))
        await until(lambda: any(isinstance(frame, AgentCancel) for frame in link.sent))
    assert [record.message for record in caplog.records].count("router.handler_failed") == 1


async def test_connection_events_are_not_queued_behind_requests(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "QUEUE_EVENTS", 1)
    routed = make_router(bench)
    link = bench.connect()
    for number in range(100):
        routed.route(RequestReceived(link, Request(id=str(number), method="agents.list")))
    routed.route(DeviceReady(link, HOLDING))
    assert (len(routed), caplog.records) == (1, [])


async def test_an_event_beyond_the_limit_of_the_queue_is_logged(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "QUEUE_EVENTS", 1)
    routed = make_router(bench)
    for _ in range(2):
        routed.route(DeviceReady(bench.connect(), HOLDING))
    assert [record.message for record in caplog.records] == ["router.full"]
