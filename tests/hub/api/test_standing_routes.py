"""How agents stand, over REST: read with a tag, written under it, remembered in pages."""

import httpx2
import pytest

from tests.hub.api.test_agent_configs import an_agent
from tests.support.hub import ServedHub

STATUS = "/v1/agents/inbox/status"


@pytest.fixture(autouse=True)
async def _rows(hub: ServedHub) -> None:
    """Store the agent ``inbox``."""
    await hub.store.write(an_agent)


async def test_a_status_is_written_under_the_tag_that_it_was_read_with(client: httpx2.AsyncClient) -> None:
    read = await client.get(STATUS)
    tag = {"if-match": read.headers["etag"]}
    paused = await client.patch(STATUS, json={"lifecycle": "paused"}, headers=tag)
    assert (paused.status_code, paused.json()["lifecycle"]) == (200, "paused")
    late = await client.patch(STATUS, json={"lifecycle": "active"}, headers=tag)
    assert (late.status_code, late.json()["code"]) == (412, "changed_meanwhile")
    now = {"if-match": paused.headers["etag"]}
    assert (await client.patch(STATUS, json={"lifecycle": "active"}, headers=now)).status_code == 200


async def test_a_tag_where_there_is_none_is_refused_and_never_left_unread(client: httpx2.AsyncClient) -> None:
    tag = {"if-match": (await client.get(STATUS)).headers["etag"]}
    calendar = "/v1/agents/inbox/as/calendar"
    assert (await client.get(calendar, headers=tag)).status_code == 200
    refused = await client.patch(calendar, json={"status": "on_call"}, headers=tag)
    assert (refused.status_code, refused.json()["hint"]) == (422, "leave it out")
    assert "if-match: what is changed here has no ETag" in refused.json()["detail"]
    assert (await client.get(STATUS)).json()["availability"] == "available"


async def test_a_refused_move_names_the_axis_and_the_legal_ones(client: httpx2.AsyncClient) -> None:
    refused = await client.patch(STATUS, json={"lifecycle": "initializing"})
    assert (refused.status_code, refused.json()["code"]) == (409, "bad_status")
    assert "legal moves: ready, paused, maintenance, terminated" in refused.json()["detail"]


async def test_a_document_is_read_and_written_by_the_names_of_its_vocabulary(
    client: httpx2.AsyncClient,
) -> None:
    done = await client.patch(
        "/v1/agents/inbox/as/orchestrator", json={"status": "ERROR", "reason": "no disk"}
    )
    assert (done.status_code, done.json()["status"], done.json()["state_detail"]) == (200, "ERROR", "ERROR")
    assert done.json()["agent_state_history"][0]["reason"] == "no disk"
    assert (await client.get("/v1/agents/inbox/as/foundation")).json()["current_status"] == "error"
    assert (await client.get(STATUS)).json()["health_reason"] == "no disk"
