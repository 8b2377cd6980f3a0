"""Requests to a node that another one answers, over a real NATS server and a real PostgreSQL."""

import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import NamedTuple

import anyio
import httpx2
import pytest

from hub.api.peers import READ_WITHIN_S, WITHIN_S, Peers
from hub.api.resources.runs import RunsResource
from hub.base.roles import Role
from hub.cluster.bus import Bus
from hub.health.records import check_nodes
from hub.runs.interrupt import Interrupt
from protocol.errors import CloseCode, CodedError, ErrorCode
from protocol.ids import NodeId, RunId
from protocol.lifecycles import RunEvent, RunOutcome, RunState
from storage import leases
from storage.devices import nodes
from tests.support.clock import START
from tests.support.hub import NOTES, TEXT, ServedHub, nodes_of, over_tcp, over_unix
from tests.support.identity import EndedLink
from tests.support.nats import Nats
from tests.support.postgres import Postgres
from tests.support.wire import until

GONE = "start it; if it is gone for good: hub nodes rm e-east"


class Pair(NamedTuple):
    """Two hubs on one bus. The device ``desk`` is connected to the first; clients ask the second."""

    east: ServedHub
    west: ServedHub
    client: httpx2.AsyncClient
    link: EndedLink


@pytest.fixture
async def pair(tmp_path: Path, postgres: Postgres, nats: Nats) -> AsyncIterator[Pair]:
    text = f'{TEXT}[cluster]\nbus = "{nats.url}"\n'
    async with AsyncExitStack() as opened:
        url = opened.enter_context(postgres.database())
        hubs = nodes_of(tmp_path, url, "node-east", "node-west", text=text)
        east, west = await opened.enter_async_context(hubs)
        client = await opened.enter_async_context(over_unix(west))
        await east.agent("notes", **NOTES)
        link = await east.connect(await east.device("desk"))
        tasks = await opened.enter_async_context(anyio.create_task_group())
        for hub in (east, west):
            assert hub.app.bus is not None
            await tasks.start(hub.app.bus.serve)
        await until(lambda: all(hub.app.bus and hub.app.bus.lost_since is None for hub in (east, west)))
        yield Pair(east, west, client, link)
        tasks.cancel_scope.cancel()


def _lose_the_bus(hub: ServedHub) -> None:
    assert isinstance(hub.app.bus, Bus)
    hub.app.bus._client = None


async def test_kick_disconnects_a_device_of_another_node(pair: Pair) -> None:
    answer = await pair.client.post("/v1/devices/desk/kick")
    assert (answer.status_code, answer.json()["name"]) == (200, "desk")
    assert pair.link.ended is not None and pair.link.ended[0] == "kicked"
    (entry,) = (await pair.client.get("/v1/audit", params={"event": "device.kicked"})).json()["entries"]
    assert entry["actor"].startswith("operator:")  # the caller of the first node


async def test_estimate_for_a_device_of_another_node_is_made_by_the_other_node(pair: Pair) -> None:
    refused = (await pair.client.post("/v1/agents/notes/estimate")).json()
    assert refused["code"] == "call_unsupported"  # which only the link of the device knows


async def test_why_request_is_answered_by_each_node_and_reports_an_unreachable_node(
    pair: Pair,
) -> None:
    asleep = CodedError(ErrorCode.INTERNAL, "its disk sleeps")
    await pair.east.connect(await pair.east.device("desk"), runs=[[asleep]] * 8)
    await pair.east.agent("letters", **NOTES)
    async with over_unix(pair.east) as there:
        for path in ("notes/a.md", "notes/a.md:2"):
            found, expected = [
                (await client.get("/v1/why", params={"path": path})).json()["reasons"]
                for client in (pair.client, there)
            ]
            assert found == expected
            assert [one["because"] for one in found] == [
                "it cannot be read now: its disk sleeps; no run has read it so far"
            ] * 2
    _lose_the_bus(pair.west)
    lost = (await pair.client.get("/v1/why", params={"path": "notes/a.md"})).json()["reasons"]
    assert [one["code"] for one in lost] == ["elsewhere", "elsewhere"]
    assert "is connected to another node: the bus between the nodes is away" in lost[0]["because"]
    alone = await pair.client.get("/v1/why", params={"path": "notes/a.md", "agent": "notes"})
    assert (alone.status_code, alone.json()["code"]) == (503, "node_unreachable")


async def test_pause_interrupts_a_run_executed_by_another_node(pair: Pair) -> None:
    await pair.east.run("r-1", RunState.RUNNING)
    interrupt = pair.east.work.dispatcher._executing[RunId("r-1")] = Interrupt()
    paused = await pair.client.post("/v1/runs/r-1/pause")
    assert (paused.status_code, paused.json()["is_pausing"]) == (200, True)
    assert interrupt.event is RunEvent.USER_PAUSED
    del pair.east.work.dispatcher._executing[RunId("r-1")]


async def test_request_for_another_node_without_the_bus_is_refused_as_node_unreachable(pair: Pair) -> None:
    _lose_the_bus(pair.west)
    refused = await pair.client.post("/v1/devices/desk/kick")
    assert (refused.status_code, refused.json()["code"]) == (503, "node_unreachable")
    assert pair.link.ended is None
    assert (await pair.client.get("/v1/status")).json()["devices_connected"] == 1


async def test_read_of_a_named_node_ends_sooner_than_a_change_there(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []

    async def give_no_answer(_: str, __: bytes, **limit: float) -> None:
        limits.append(limit["timeout"] / 2)
        raise TimeoutError

    assert isinstance(pair.west.app.bus, Bus)
    monkeypatch.setattr(pair.west.app.bus._client, "request", give_no_answer)
    for verb, path, headers in (
        ("GET", "/v1/issues", {"hub-node": "node-east"}),
        ("GET", "/v1/issues", {"hub-node": "all"}),
        ("POST", "/v1/reload", {"hub-node": "node-east"}),
        ("POST", "/v1/devices/desk/kick", {}),
    ):
        await pair.client.request(verb, path, headers=headers)
    assert limits == [READ_WITHIN_S, READ_WITHIN_S, WITHIN_S, WITHIN_S]


async def test_request_with_a_hub_node_header_is_answered_by_the_named_node(pair: Pair) -> None:
    for name, here in (("node-east", 1), ("node-west", 0)):
        answer = await pair.client.get("/v1/status", headers={"hub-node": name})
        assert answer.json()["devices_here"] == here
    unknown = await pair.client.get("/v1/status", headers={"hub-node": "node-north"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_node")
    await pair.east.store.write(leases.beat, NodeId("node-east"), pair.east.boot_id, ttl_ms=-1)
    dead = await pair.client.get("/v1/status", headers={"hub-node": "node-east"})
    assert (dead.status_code, dead.json()["hint"]) == (503, GONE)
    assert " is dead: it ended without a word" in dead.json()["detail"]
    assert (await pair.client.post("/v1/nodes/node-east/drain")).json()["hint"] == GONE
    list_nodes = Peers(pair.west.store, pair.west.boot_id, None).list_nodes
    (found,) = await check_nodes(list_nodes, START)
    assert (found.id, found.fix) == ("node.dead", GONE)
    await pair.east.store.write(nodes.end_boot, NodeId("node-east"), pair.east.boot_id, 1)
    assert await check_nodes(list_nodes, START) == [], "it was stopped on purpose"
    stopped = await pair.client.get("/v1/status", headers={"hub-node": "node-east"})
    assert stopped.json()["detail"].endswith(" is stopped")


async def test_named_node_answers_though_the_database_of_the_asked_node_hangs(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await pair.client.get("/v1/issues", headers={"hub-node": "all"})).status_code == 200

    async def hang(*_: object, **__: object) -> None:
        await anyio.sleep_forever()

    for store in (pair.west.store, pair.west.store.database):  # type: ignore[attr-defined]
        monkeypatch.setattr(store, "read", hang)
        monkeypatch.setattr(store, "write", hang)
    with anyio.fail_after(5.0):
        answer = await pair.client.get("/v1/status", headers={"hub-node": "node-east"})
        assert (answer.status_code, answer.json()["devices_here"]) == (200, 1)
        found = (await pair.client.get("/v1/issues?anew=true")).json()["issues"]
    assert "check.late" in [one["id"] for one in found]


async def test_a_caller_has_the_same_rights_at_the_other_node(pair: Pair) -> None:
    anna = await pair.west.user("anna")
    token = await pair.west.token(Role.OPERATOR, user_id=anna)
    async with over_tcp(pair.west, token) as client:
        answer = await client.get("/v1/devices", headers={"hub-node": "node-east"})
        assert answer.json()["devices"] == []  # desk is of another user
        refused = await client.post("/v1/nodes/node-east/drain")
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert not pair.east.drain.is_begun


async def test_a_stream_of_another_node_is_refused(pair: Pair) -> None:
    answer = await pair.client.get("/v1/logs", params={"follow": True}, headers={"hub-node": "node-east"})
    assert answer.json()["detail"] == "a stream of another node cannot be followed here"
    assert answer.json()["hint"].startswith("follow it without --node, and logs with --all-nodes")


async def test_request_to_all_nodes_reports_503_for_an_unreachable_node(pair: Pair) -> None:
    everybody = {"hub-node": "all"}
    logs = (await pair.client.get("/v1/logs", headers=everybody)).json()["nodes"]
    assert [(one["id"], one["status"]) for one in logs] == [("node-east", 200), ("node-west", 200)]
    refused = await pair.client.post("/v1/devices/desk/kick", headers=everybody)
    assert (refused.status_code, pair.link.ended) == (422, None)
    _lose_the_bus(pair.west)
    here, status = {}, {}
    for one in (await pair.client.get("/v1/status", headers=everybody)).json()["nodes"]:
        here[one["id"]], status[one["id"]] = one["body"].get("devices_here"), one["status"]
    assert (here, status) == ({"node-east": None, "node-west": 0}, {"node-east": 503, "node-west": 200})


async def test_node_is_drained_from_another_node(pair: Pair) -> None:
    answer = await pair.client.post("/v1/nodes/node-east/drain", json={"restarts": True})
    assert (answer.status_code, answer.json()["restarts"]) == (202, True)
    assert (pair.east.drain.is_begun, pair.west.drain.is_begun) == (True, False)
    (entry,) = (await pair.client.get("/v1/audit", params={"event": "hub.drained"})).json()["entries"]
    assert entry["outcome"] == "done"


async def test_follower_receives_run_moves_of_another_node_without_a_poll(pair: Pair) -> None:
    await pair.east.run("r-1", RunState.RUNNING)
    pair.west.work.watch._poll_s = math.inf  # only the hint is left
    states = []
    with anyio.fail_after(20):
        async with aclosing(pair.west.resource(RunsResource).follow("r-1")) as steps:
            async for step in steps:
                states.append(step.run.state)
                if len(states) == 1:
                    await pair.east.move("r-1", RunState.COMPLETED, outcome=RunOutcome.SUCCESS)
                    pair.east.work.watch.moved(RunId("r-1"))
    assert states == [RunState.RUNNING, RunState.COMPLETED]


async def test_queued_or_cancelled_run_notifies_the_node_of_the_device(pair: Pair) -> None:
    woken: list[None] = []
    pair.east.work.dispatcher.recheck = lambda: woken.append(None)  # type: ignore[method-assign]
    started = (await pair.client.post("/v1/agents/notes/runs")).json()
    await until(lambda: len(woken) == 1)
    await pair.client.post(f"/v1/runs/{started['id']}/cancel")
    await until(lambda: len(woken) == 2)


async def test_device_connected_to_another_node_is_disconnected_from_the_first(pair: Pair) -> None:
    device = await pair.west.device("desk")
    pair.west.app.judges.of_devices.on_taken(device.id, pair.link.epoch + 1, pair.east.boot_id)
    await until(lambda: pair.link.ended is not None)
    assert pair.link.ended == ("replaced", CloseCode.REPLACED)
