"""A client that knows the names of the calendar's document alone works with a hub over HTTP."""

from pathlib import Path

import httpx2
import pytest

from tests.seeds.calendar_client import Calendar
from tests.seeds.walk import walking
from tests.support.hub import over_tcp


async def test_a_client_wakes_an_idle_agent_and_follows_how_it_is(tmp_path: Path) -> None:
    async with walking(tmp_path) as walk:
        await walk.delete("agents/notes")
        given = {"agent_id": "claw-7", "claw_identifier": "server-1"}
        await walk.post("agents/as/calendar", given)
        asked = {"name": "calendar", "role": "operator", "scopes": ["read", "run"]}
        token = (await walk.post("operator-tokens", asked))["token"]
        async with over_tcp(walk.hub, token) as http:
            client = Calendar(http)
            (agent,) = await client.with_status("offline")
            assert agent.items() >= (given | {"last_heartbeat": None}).items()
            assert await client.wake() is None
            agent = await client.heartbeat(agent)
            assert agent["status"] == "idle" and agent["last_heartbeat"] is not None
            woken = await client.wake()
            assert woken is not None and (woken["agent_id"], woken["status"]) == ("claw-7", "on_call")
            assert await client.wake() is None
            with pytest.raises(httpx2.HTTPStatusError) as refused:
                await client.write(agent, status="busy")
            assert refused.value.response.status_code == 409
            assert "legal: " in refused.value.response.json()["detail"]
            assert (await client.heartbeat(agent, status="busy"))["status"] == "busy"
            assert [one["agent_id"] for one in await client.with_status("busy")] == ["claw-7"]
            until = "2026-01-06T09:00:00.000Z"
            spent = {"status": "exhausted", "exhaust_reason": "rate_limit", "recovery_at": until}
            await client.heartbeat(agent)
            assert (await client.write(agent, **spent)).items() >= spent.items()
            assert (await client.heartbeat(agent))["status"] == "exhausted"
            assert (await client.write(agent, status="idle"))["exhausted_at"] is None
            assert [one["status"] for one in await client.with_status("idle")] == ["idle"]
