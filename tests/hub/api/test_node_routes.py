"""Nodes on one database: each answers for all."""

import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import httpx2
import pytest

from hub.api.resources.runs import RunsResource
from hub.base.version import VERSION
from protocol.ids import NodeId
from protocol.lifecycles import RunOutcome, RunState
from storage import leases
from storage.leases import LostLease
from tests.support.dashboard import keep_items
from tests.support.hub import NOTES, ServedHub, nodes_of, over_unix


class Node(NamedTuple):
    """A hub, and a client of it."""

    hub: ServedHub
    client: httpx2.AsyncClient


@pytest.fixture
async def pair(tmp_path: Path, url: str) -> AsyncIterator[tuple[Node, Node]]:
    """Two nodes, of which the first one has the connection of the device ``desk``."""
    async with AsyncExitStack() as opened:
        hubs = await opened.enter_async_context(nodes_of(tmp_path, url, "node-east", "node-west"))
        east, west = [Node(hub, await opened.enter_async_context(over_unix(hub))) for hub in hubs]
        await east.hub.agent("notes", **NOTES)
        await east.hub.connect(await east.hub.device("desk"))
        yield east, west


async def test_each_node_reports_nodes_devices_agents_and_items_of_all_nodes(
    pair: tuple[Node, Node],
) -> None:
    east, west = pair
    await east.hub.run("r-1", RunState.RUNNING)
    await east.hub.store.write(keep_items, east.hub)
    for asked, here, known in (
        (east, "node-east", ("call_unsupported", False)),
        (west, "node-west", (None, True)),  # it does not know what the device of another node takes
    ):
        listed = (await asked.client.get("/v1/nodes")).json()["nodes"]
        assert [(node["id"], node["devices"], node["runs"], node["state"]) for node in listed] == [
            ("node-east", 1, 1, "alive"),
            ("node-west", 0, 0, "alive"),
        ]
        assert [node["id"] for node in listed if node["here"]] == [here]
        assert {node["version"] for node in listed} == {VERSION}
        status = (await asked.client.get("/v1/status")).json()
        assert (status["devices_connected"], status["devices_here"]) == (1, int(asked is east))
        (device,) = (await asked.client.get("/v1/devices")).json()["devices"]
        (agent,) = (await asked.client.get("/v1/agents")).json()["agents"]
        assert (device["connected"], agent["device_connected"]) == (True, True)
        items = (await asked.client.get("/v1/items")).json()["items"]
        items.append((await asked.client.get("/v1/items/i-2")).json())
        assert {(item["device_refuses"], item["device_is_elsewhere"]) for item in items} == {known}


async def test_only_a_dead_node_is_removed_and_has_no_devices(
    pair: tuple[Node, Node],
) -> None:
    east, west = pair
    await east.hub.store.write(keep_items, east.hub)
    for name, status, code in (
        ("node-east", 409, "illegal_transition"),
        (socket.gethostname(), 404, "unknown_node"),
    ):
        refused = await west.client.delete(f"/v1/nodes/{name}")
        assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert "use an id" in refused.json()["detail"], "both have this name"

    def beat(**given: Any) -> Awaitable[object]:
        return east.hub.store.write(leases.beat, NodeId("node-east"), east.hub.boot_id, **given)

    await beat(ttl_ms=-1)
    dead, _ = (await west.client.get("/v1/nodes")).json()["nodes"]
    assert (dead["state"], dead["devices"]) == ("dead", 0)
    assert (await west.client.get("/v1/status")).json()["devices_connected"] == 0
    assert not (await west.client.get("/v1/items/i-2")).json()["device_is_elsewhere"]

    assert (await west.client.delete("/v1/nodes/e-east")).json()["id"] == "node-east"
    (entry,) = (await west.client.get("/v1/audit", params={"event": "node.removed"})).json()["entries"]
    assert entry["subject"] == "node-east"
    assert [node["id"] for node in (await west.client.get("/v1/nodes")).json()["nodes"]] == ["node-west"]
    assert (await west.client.delete("/v1/nodes/node-east")).status_code == 404
    with pytest.raises(LostLease):  # its process was only frozen
        await beat(ttl_ms=1000, is_first=False)


async def test_run_executed_by_another_node_is_followed_until_the_end(pair: tuple[Node, Node]) -> None:
    east, west = pair
    await east.hub.run("r-1", RunState.RUNNING)
    seen: list[tuple[int, RunState]] = []

    async def follow() -> None:
        async with aclosing(west.hub.resource(RunsResource).follow("r-1")) as steps:
            async for step in steps:
                seen.append((step.seq, step.run.state))
                if len(seen) == 1:
                    await east.hub.move("r-1", RunState.COMPLETED, outcome=RunOutcome.SUCCESS)

    with anyio.fail_after(20):
        await follow()
    assert seen == [(1, RunState.RUNNING), (2, RunState.COMPLETED)]
