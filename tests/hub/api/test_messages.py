"""Messages, leads of boards and broadcasts over the REST interface, for persons and for agents."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from hub.api.resources import messages
from hub.api.resources.messages import MessagesResource
from hub.api.resources.tokens import AgentTokensResource
from storage import audit
from tests.hub.api.test_gateway_routes import keep
from tests.hub.coordination.post import WORKERS, PostBench, open_post
from tests.support.gateway import FakeGateway
from tests.support.hub import ServedHub, over_tcp

NUDGE = "/v1/boards/garden/agents/worker/nudge"


SAID = {"content": "is the gate shut?"}


@pytest.fixture
async def bench(hub: ServedHub, gateway: FakeGateway, tmp_path: Path) -> AsyncIterator[PostBench]:
    async with open_post(tmp_path, gateway, kept_in=hub.store) as opened:
        hub.resources.add(MessagesResource(hub.store, opened.messages()))
        yield opened


async def by(hub: ServedHub, agent: str) -> dict[str, str]:
    """Headers of an agent that asks in its own name."""
    made = await hub.resource(AgentTokensResource).create(agent, actor="test")
    return {"authorization": f"Bearer {made.token}"}


async def nudge(client: httpx2.AsyncClient, query: str = "?wait_s=120", **about: Any) -> Any:
    return (await client.post(f"{NUDGE}{query}", json=SAID | about)).raise_for_status().json()


async def test_nudge_is_answered_after_the_agent_consumed_the_message(
    client: httpx2.AsyncClient, bench: PostBench, gateway: FakeGateway
) -> None:
    gateway.hold(WORKERS)
    told = await nudge(client, correlation_id="order-17", queue_mode="followup")
    assert (told["state"], told["board"], told["agent"], told["gateway"]) == (
        "consumed",
        "garden",
        "worker",
        "west",
    )
    assert (told["kind"], told["deliver"], told["queue_mode"]) == ("nudge", True, "followup")
    (said,) = gateway.said(WORKERS)
    assert "is the gate shut?" in said
    assert (await bench.store.read(audit.list_entries, limit=1))[0].event == "message.sent"


async def test_message_refused_by_the_gateway_is_reported_with_the_message_id(
    client: httpx2.AsyncClient, bench: PostBench, gateway: FakeGateway
) -> None:
    del gateway.agents["worker"]
    answer = await client.post(NUDGE, json=SAID)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (502, "gateway_refused")
    assert problem["detail"] == "gateway west has no agent worker any more"
    shown = (await client.get(f"/v1/messages/{problem['message_id']}")).json()
    assert (shown["state"], shown["reason_code"]) == ("failed", "gateway_refused")


async def test_message_is_shown_with_each_move_and_proof(
    client: httpx2.AsyncClient, bench: PostBench
) -> None:
    told = await nudge(client)
    await bench.end(await bench.get_by(told["id"]))
    shown = (await client.get(f"/v1/messages/{told['id']}")).json()
    assert shown["key"] == f"{told['id']}-1"
    assert [move["new_state"] for move in shown["moves"]] == [
        "waiting",
        "sent",
        "accepted",
        "consumed",
        "answered",
    ]
    assert "is the gate shut?" in shown["moves"][1]["proof"]["letter"]["message"]
    assert shown["moves"][3]["proof"]["history"]["key"] == f"{told['id']}-1:user"


async def test_messages_are_listed_and_filtered(client: httpx2.AsyncClient, bench: PostBench) -> None:
    first = await nudge(client, "?wait_s=0", correlation_id="order-17")
    second = await nudge(client, "?wait_s=0")

    async def listed(query: str) -> list[str]:
        page = (await client.get(f"/v1/messages{query}")).json()
        return [one["id"] for one in page["messages"]]

    assert await listed("") == [second["id"], first["id"]]
    assert await listed("?correlation_id=order-17") == [first["id"]]
    assert await listed("?board=garden&agent=worker&limit=1") == [second["id"]]
    assert (await listed("?agent=lead"), await listed("?state=failed&state=expired")) == ([], [])


async def test_waiting_message_is_cancelled_and_failed_message_is_retried(
    client: httpx2.AsyncClient, bench: PostBench, gateway: FakeGateway
) -> None:
    await gateway.stop()
    told = await nudge(client, "?wait_s=0")
    path = f"/v1/messages/{told['id']}"
    given_up = (await client.post(f"{path}/cancel")).json()
    assert (given_up["state"], given_up["reason_code"]) == ("failed", "cancelled")
    late = await client.post(f"{path}/cancel")
    assert (late.status_code, late.json()["code"]) == (409, "message_settled")
    await gateway.start()
    anew = (await client.post(f"{path}/retry")).json()
    assert anew["id"] != told["id"]
    assert (await bench.end(await bench.get_by(anew["id"]))).state == "answered"
    has_it = await client.post(f"/v1/messages/{anew['id']}/retry")
    assert (has_it.status_code, has_it.json()["code"]) == (409, "message_settled")


async def test_agents_nudge_and_read_messages_only_as_the_board_role_allows(
    hub: ServedHub, bench: PostBench
) -> None:
    lead, worker, desk = [await by(hub, name) for name in ("lead", "worker", "desk")]
    async with over_tcp(hub) as client:
        said = await client.post(f"/v1/agent{NUDGE.removeprefix('/v1')}", json=SAID, headers=lead)
        assert (said.status_code, said.json()["sent_by"]) == (201, "agent lead")
        path = f"/v1/agent/messages/{said.json()['id']}"
        assert (await client.get(path, headers=worker)).json()["content"] == SAID["content"]
        assert (await client.get(path, headers=desk)).status_code == 404
        to_desk = "/v1/agent/boards/garden/agents/desk/nudge"
        refused = await client.post(to_desk, json=SAID, headers=worker)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


SAY = {"content": "is it done?", "kind": "handoff", "correlation_id": "order-17"}


@pytest.fixture
async def boards_of_gateways(hub: ServedHub, client: httpx2.AsyncClient) -> None:
    """Store gateways, and boards of which two are at one."""
    await hub.store.write(keep)
    for name, gateway in (("garden", "office"), ("roses", "lab"), ("shed", None)):
        await client.post("/v1/boards", json={"name": name, "gateway": gateway})


async def broadcast(client: httpx2.AsyncClient, **more: Any) -> Any:
    return (await client.post("/v1/broadcasts?wait_s=0", json=SAY | more)).raise_for_status().json()


@pytest.mark.usefixtures("boards_of_gateways")
async def test_ensured_lead_of_an_offline_gateway_is_reported_as_pending(
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


@pytest.mark.usefixtures("boards_of_gateways")
async def test_message_to_an_offline_lead_is_stored_and_reported_waiting(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/boards/garden/lead/message?wait_s=0", json=SAY)
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert (told["board"], told["lead_agent_name"], told["lead_created"]) == ("garden", "garden-lead", True)
    message = told["message"]
    assert (message["state"], message["kind"], message["to_lead"]) == ("waiting", "handoff", True)
    assert message["correlation_id"] == "order-17"
    assert (await client.get(f"/v1/messages/{message['id']}")).json()["gateway"] == "office"


@pytest.mark.usefixtures("boards_of_gateways")
async def test_broadcast_reports_a_result_for_each_board(client: httpx2.AsyncClient) -> None:
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


@pytest.mark.usefixtures("boards_of_gateways")
async def test_broadcast_results_are_listed_in_pages(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "MAX_RESULTS", 1)
    told = await broadcast(client)
    assert [one["board"] for one in told["results"]] == ["shed", "garden"]
    path = f"/v1/broadcasts/{told['id']}"
    rest = (await client.get(f"{path}?cursor={told['next_cursor']}")).json()
    assert [one["board"] for one in rest["results"]] == ["roses"]
    first = (await client.get(f"{path}?limit=1")).json()
    assert [one["board"] for one in first["results"]] == ["shed", "garden"]
    assert first["next_cursor"] == told["next_cursor"]


@pytest.mark.usefixtures("boards_of_gateways")
async def test_resume_of_a_broadcast_retries_only_failed_boards(client: httpx2.AsyncClient) -> None:
    told = await broadcast(client, boards=["garden"])
    again = (await client.post(f"/v1/broadcasts/{told['id']}/resume?wait_s=0")).json()
    assert (again["rounds"], again["waiting"]) == (1, 1)
    (message,) = (await client.get(f"/v1/messages?broadcast_id={told['id']}")).json()["messages"]
    assert (await client.post(f"/v1/messages/{message['id']}/cancel")).status_code == 200
    resumed = (await client.post(f"/v1/broadcasts/{told['id']}/resume?wait_s=0")).json()
    assert (resumed["rounds"], resumed["waiting"], resumed["failed"]) == (2, 1, 0)
