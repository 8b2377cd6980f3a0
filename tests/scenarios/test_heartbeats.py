"""A device says how its agents are, over a real socket; people read it in words that they know."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from websockets.asyncio.client import ClientConnection, connect

from hub.clock import SystemClock, epoch_ms
from tests.support.processes import POLL_S, SETTINGS, HubProcess, closing


@asynccontextmanager
async def device_of(hub: HubProcess) -> AsyncIterator[ClientConnection]:
    """Connected and welcomed; what the hub says to it is not read."""
    async with connect(f"{await hub.device_url()}/v1/device") as socket:
        await socket.send(json.dumps({"type": "device_hello", "token": await hub.token()}))
        while json.loads(await socket.recv())["type"] != "welcome":
            pass
        yield socket


async def beat(socket: ClientConnection, agent_id: str, status: str, **told: Any) -> None:
    listed = {"agent_id": agent_id, "status": status} | told
    await socket.send(json.dumps({"type": "heartbeat", "agents": [listed]}))


async def comes_to(
    hub: HubProcess, path: str, is_there: Callable[[dict[str, Any]], object]
) -> dict[str, Any]:
    """What a GET answers, once it is so."""
    told: dict[str, Any] = {}
    with anyio.move_on_after(10):
        while not is_there(told := await hub.get(path)):
            await anyio.sleep(POLL_S)
        return told
    raise AssertionError(f"it did not come to that: {told}\n{hub.log()[-3000:]}")


@pytest.mark.soak
async def test_what_a_device_says_of_its_agents_is_read_in_every_vocabulary(tmp_path: Path) -> None:
    hub = HubProcess(tmp_path, settings=SETTINGS.format(model=""))
    async with closing(hub):
        await hub.start()
        agent_id = (await hub.get("/v1/agents/notes/as/calendar"))["id"]
        calendar, status = "/v1/agents/notes/as/calendar", "/v1/agents/notes/status"
        async with device_of(hub) as socket:
            await beat(socket, agent_id, "on_call", resource_usage={"cpu": 0.5})
            told = await comes_to(hub, calendar, lambda told: told["status"] == "on_call")
            assert told["last_heartbeat"] is not None
            assert (await hub.get(status))["resource_usage"] == {"cpu": 0.5}

            await beat(socket, agent_id, "idle", state_detail="ERROR: the disk is full")
            told = await comes_to(hub, status, lambda told: told["health"] == "error")
            assert told["health_reason"] == "the disk is full"
            assert (await hub.get("/v1/agents/notes/as/orchestrator"))["status"] == "ERROR"

            back_ms = epoch_ms(SystemClock().now() + timedelta(hours=2))
            billing = {"exhaust_reason": "billing", "recovery_at_ms": back_ms}
            await beat(socket, agent_id, "exhausted", **billing)
            told = await comes_to(hub, status, lambda told: told["availability"] == "exhausted")
            assert (told["health"], told["exhaust_reason"]) == ("ok", "billing")
            assert epoch_ms(datetime.fromisoformat(told["recovery_at"])) == back_ms

            await beat(socket, agent_id, "idle")  # what a heartbeat cannot do
            await beat(socket, agent_id, "offline")
            told = await comes_to(hub, status, lambda told: told["connectivity"] == "offline")
            assert told["availability"] == "exhausted"
            assert (await hub.get(calendar))["status"] == "offline"
        history = (await hub.get("/v1/agents/notes/history"))["moves"]
        newest = [(move["axis"], move["after"], move["reason"]) for move in reversed(history)]
        assert newest[4:] == [
            ("connectivity", "online", "its device connected"),
            ("availability", "on_call", "its heartbeat says so"),
            ("health", "error", "the disk is full"),
            ("availability", "available", "its heartbeat says so"),
            ("health", "ok", "its heartbeat says so"),
            ("availability", "exhausted", "billing"),
            ("connectivity", "offline", "its heartbeat says so"),
        ]
