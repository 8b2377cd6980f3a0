"""An agent from its first day: made over the API, told its settings, woken, seen, on a real hub and wire."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect

from hub.clock import SystemClock
from tests.support.processes import SETTINGS, HubProcess

TEMPLATE = {
    "type": "RESEARCHER",
    "configuration_schema": {
        "type": "object",
        "properties": {"topic": {"type": "string"}, "depth": {"type": "integer", "maximum": 9}},
        "required": ["topic"],
    },
    "default_configuration": {"depth": 2},
    "prompt": "Find what is said about {{ topic }}, {{ depth }} levels deep.",
}
HELLO = {
    "type": "device_hello",
    "capabilities": [
        {"name": "agent.config", "version": "1.0.0"},
        {"name": "agent.wake", "version": "1.0.0"},
        {"name": "file.read", "version": "1.2.0"},
    ],
}


class Desk:
    """A device that says each frame itself, and keeps what it is told."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._told: list[dict[str, Any]] = []
        self._asked = 0

    async def says(self, **frame: Any) -> None:
        await self._socket.send(json.dumps(frame))

    async def asks(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a request that must succeed."""
        self._asked += 1
        id = f"q-{self._asked}"
        await self.says(type="request", id=id, method=method, params=params)
        answer = await self.hears("response", id=id)
        assert answer.get("error") is None, answer
        result: dict[str, Any] = answer["result"]
        return result

    async def hears(self, type: str, **fields: Any) -> dict[str, Any]:
        """The next frame of that type with these fields; what comes before it is kept."""
        for frame in self._told:
            if frame["type"] == type and fields.items() <= frame.items():
                self._told.remove(frame)
                return frame
        with anyio.fail_after(20):
            while True:
                frame = json.loads(await self._socket.recv())
                if frame["type"] == type and fields.items() <= frame.items():
                    return dict(frame)
                self._told.append(frame)


@asynccontextmanager
async def working(folder: Path) -> AsyncIterator[tuple[HubProcess, Desk]]:
    """A hub, and the device ``desk`` connected to it."""
    hub = HubProcess(folder, settings=SETTINGS.format(model="[limits]\nconnected_s = 0.0"))
    try:
        await hub.start()
        async with connect(f"{await hub.device_url()}/v1/device") as socket:
            desk = Desk(socket)
            await desk.says(**HELLO, token=await hub.token())
            await desk.hears("welcome")
            yield hub, desk
    finally:
        await hub.close()


@asynccontextmanager
async def following(folder: Path, **asked: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """The hub's events, as an operator follows them."""
    transport = httpx2.AsyncHTTPTransport(uds=str(folder / "hub.sock"))
    async with (
        httpx2.AsyncClient(transport=transport, base_url="http://hub", timeout=30) as client,
        client.stream("GET", "/v1/events", params=asked) as answer,
    ):
        lines = answer.aiter_lines()

        async def events() -> AsyncIterator[dict[str, Any]]:
            async for line in lines:
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

        told = events()
        assert (await anext(told))["event"] == "open"
        yield told


async def make_scholar(hub: HubProcess, **about: Any) -> None:
    """An agent of a template."""
    answer = await hub.ask("PUT", "/v1/templates/scholar", json=TEMPLATE)
    assert answer.status_code == 201, answer.text
    agent = {"name": "reader", "device": "desk", "template": "scholar", "paths": ["notes"]}
    given = {"data_types": ["notes"], "config": {"topic": "tides"}} | about
    answer = await hub.ask("POST", "/v1/agents", json=agent | given)
    assert answer.status_code == 201, answer.text


@pytest.mark.soak
async def test_an_agent_made_of_a_template_is_configured_seen_and_remembered(tmp_path: Path) -> None:
    async with working(tmp_path) as (hub, desk):
        await make_scholar(hub, needs=["file.read >= 1.1"], external_id="crm-7")
        agent = await hub.get("/v1/agents/reader")
        assert await hub.get("/v1/agents/external:crm-7") == agent
        assert agent["prompt"] == TEMPLATE["prompt"]
        first = (await desk.hears("event", event="agent.config"))["data"]
        while first["agent_id"] != agent["id"]:
            first = (await desk.hears("event", event="agent.config"))["data"]
        assert first["configuration"] == {"topic": "tides", "depth": 2}

        async with following(tmp_path, agent="reader", events="agent") as events:
            await desk.says(type="heartbeat", agents=[{"agent_id": agent["id"], "status": "on_call"}])
            moved = await anext(events)
            assert (moved["event"], moved["fields"]["axis"]) == ("agent.moved", "availability")
            assert (moved["fields"]["before"], moved["fields"]["after"]) == ("available", "on_call")

        refused = await hub.ask("PUT", "/v1/agents/reader/config/depth", json={"value": 12})
        assert (refused.status_code, refused.json()["code"]) == (422, "bad_config")
        assert "depth" in refused.json()["detail"] and "scholar" in refused.json()["detail"]
        changed = await hub.ask("PUT", "/v1/agents/reader/config/depth", json={"value": 5})
        assert changed.status_code == 200, changed.text
        second = (await desk.hears("event", event="agent.config"))["data"]
        assert second["configuration"] == {"topic": "tides", "depth": 5} and second["rev"] > first["rev"]

        granted = await desk.asks("locks.acquire", agent_id="reader", resources=["scanner"])
        await desk.asks("checkpoints.put", agent_id="reader", sequence=7, state={"page": 3})
        at_ms = int(SystemClock().now().timestamp() * 1000)
        sample = {"agent_id": "reader", "name": "pages", "type": "counter", "value": 3, "at_ms": at_ms}
        await desk.asks("metrics.report", samples=[sample])

        seen = await hub.get("/v1/agents/reader/overview")
        assert seen["status"]["availability"] == "on_call"
        assert seen["status"]["axes"]["availability"]["actor"].startswith("device:")
        assert seen["status"]["last_heartbeat_at"] is not None
        assert [lock["resource"] for lock in seen["locks"]] == ["scanner"]
        assert seen["locks"][0]["fence"] == granted["fences"]["scanner"]
        assert [(one["scope"], one["sequence"]) for one in seen["checkpoints"]] == [("agent", 7)]
        assert (seen["config"], seen["series"]) == (["depth", "topic"], 1)
        document = await hub.get("/v1/agents/reader/as/orchestrator")
        assert (document["status"], document["type"]) == ("ACTIVE", "RESEARCHER"), sorted(document)


@pytest.mark.soak
async def test_a_run_waits_for_the_capability_that_its_agent_needs_and_says_so(tmp_path: Path) -> None:
    async with working(tmp_path) as (hub, desk):
        await make_scholar(hub, needs=["file.read >= 2"])
        run = await hub.post("/v1/agents/reader/runs")
        run = await hub.get(f"/v1/runs/{run['id']}")
        assert run["state"] == "QUEUED"
        assert "file.read >= 2" in run["waiting_for"] and "1.2.0" in run["waiting_for"]
        await desk.asks("capabilities.put", agent_id="reader", name="file.read", version="2.0.1")
        order = await desk.hears("agent_run")
        assert (order["run_id"], order["config"]["prompt_template"]) == (
            run["id"],
            "Find what is said about tides, 2 levels deep.",
        )


@pytest.mark.soak
async def test_an_agent_is_woken_for_a_slot_of_its_calendar_and_its_answer_is_kept(tmp_path: Path) -> None:
    async with working(tmp_path) as (hub, desk):
        starts_at = SystemClock().now() + timedelta(seconds=1)
        slot = {"label": "morning", "at": starts_at.isoformat(), "duration_s": 600}
        await make_scholar(hub, slots=[slot])
        call = await desk.hears("tool_call", action="agent.wake")
        assert call["data"]["label"] == "morning"
        await desk.says(type="tool_result", id=call["id"], result={"ok": True})
        with anyio.fail_after(20):
            while (slots := await hub.get("/v1/agents/reader/slots"))["wakes"][0]["state"] != "acknowledged":
                await anyio.sleep(0.02)
        fires = (await hub.get("/v1/agents/reader/fires"))["fires"]
    assert [wake["slot"] for wake in slots["wakes"]] == ["morning"]
    assert [fire["decision"] for fire in fires] == ["woken"]
