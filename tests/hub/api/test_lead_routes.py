"""Leads and broadcasts over the REST interface. Nothing is connected to any gateway."""

from typing import Any

import httpx2
import pytest

from hub.api.nouns import messages
from tests.hub.api.test_gateway_routes import keep
from tests.support.hub import ServedHub

SAY = {"content": "is it done?", "kind": "handoff", "correlation_id": "order-17"}


@pytest.fixture(autouse=True)
async def _boards(hub: ServedHub, client: httpx2.AsyncClient) -> None:
    """Store gateways, and boards of which two are at one."""
    await hub.store.write(keep)
    for name, gateway in (("garden", "office"), ("roses", "lab"), ("shed", None)):
        await client.post("/v1/boards", json={"name": name, "gateway": gateway})


async def broadcast(client: httpx2.AsyncClient, **more: Any) -> dict[str, Any]:
    answer = await client.post("/v1/broadcasts?wait_s=0", json=SAY | more)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def test_a_lead_that_cannot_be_made_yet_is_reported_as_far_as_it_is(
    client: httpx2.AsyncClient,
) -> None:
    answer = await client.post("/v1/boards/garden/lead/ensure?wait_s=0")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["agent"], told["state"], told["lead_created"]) == ("garden-lead", "wanted", True)
    assert (told["gateway"], told["remote_id"]) == ("office", f"lead-{told['board_id']}")
    again = (await client.post("/v1/boards/garden/lead/ensure?wait_s=0")).json()
    assert (again["agent_id"], again["lead_created"]) == (told["agent_id"], False)
    assert (await client.get("/v1/boards/garden")).json()["lead"] == "garden-lead"


async def test_a_word_to_a_lead_is_kept_and_told_as_it_stands(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/boards/garden/lead/message?wait_s=0", json=SAY)
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert (told["board"], told["lead_agent_name"], told["lead_created"]) == ("garden", "garden-lead", True)
    message = told["message"]
    assert (message["state"], message["kind"], message["to_lead"]) == ("waiting", "handoff", True)
    assert message["correlation_id"] == "order-17"
    assert (await client.get(f"/v1/messages/{message['id']}")).json()["gateway"] == "office"


async def test_a_broadcast_tells_of_each_board(client: httpx2.AsyncClient) -> None:
    told = await broadcast(client, boards=["garden", "shed", "nowhere"])
    assert (told["ok"], told["boards"], told["sent"], told["failed"], told["waiting"]) == (False, 3, 0, 2, 1)
    by_board = {one["board"]: (one["ok"], one["state"], one["code"]) for one in told["results"]}
    assert by_board == {
        "shed": (False, "refused", "no_lead"),
        "nowhere": (False, "refused", "unknown_board"),
        "garden": (False, "waiting", "gateway_unreachable"),
    }
    assert (await client.get(f"/v1/broadcasts/{told['id']}")).json() == told
    (listed,) = (await client.get("/v1/broadcasts")).json()["broadcasts"]
    assert (listed["id"], listed["waiting"]) == (told["id"], 1)


async def test_left_out_boards_mean_all_of_them(client: httpx2.AsyncClient) -> None:
    told = await broadcast(client)
    assert {one["board"] for one in told["results"]} == {"garden", "roses", "shed"}


async def test_results_come_in_pages(client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MOST_RESULTS", 1)
    told = await broadcast(client)
    assert [one["board"] for one in told["results"]] == ["shed", "garden"]
    path = f"/v1/broadcasts/{told['id']}"
    rest = (await client.get(f"{path}?cursor={told['next_cursor']}")).json()
    assert [one["board"] for one in rest["results"]] == ["roses"]
    first = (await client.get(f"{path}?limit=1")).json()
    assert [one["board"] for one in first["results"]] == ["shed", "garden"]
    assert first["next_cursor"] == told["next_cursor"]


async def test_a_broadcast_of_which_all_waits_is_resumed_to_no_effect(client: httpx2.AsyncClient) -> None:
    told = await broadcast(client, boards=["garden"])
    again = (await client.post(f"/v1/broadcasts/{told['id']}/resume?wait_s=0")).json()
    assert (again["rounds"], again["waiting"]) == (1, 1)
    (message,) = (await client.get(f"/v1/messages?broadcast_id={told['id']}")).json()["messages"]
    assert (await client.post(f"/v1/messages/{message['id']}/cancel")).status_code == 200
    resumed = (await client.post(f"/v1/broadcasts/{told['id']}/resume?wait_s=0")).json()
    assert (resumed["rounds"], resumed["waiting"], resumed["failed"]) == (2, 1, 0)


async def test_a_broadcast_nobody_sent_is_not_there(client: httpx2.AsyncClient) -> None:
    for method, path in (("GET", ""), ("POST", "/resume?wait_s=0")):
        answer = await client.request(method, f"/v1/broadcasts/nothing{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_broadcast")
