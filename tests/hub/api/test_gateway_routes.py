"""Gateways over the REST interface."""

import httpx2
import pytest
import sqlalchemy as sa

from protocol.ids import AgentId, GatewayId, UserId
from storage import audit
from storage.coordination import gateway_agents, gateways
from storage.coordination.gateways import DeclaredGateway
from storage.devices import users
from tests.support.hub import ServedHub


def keep(c: sa.Connection) -> None:
    """Two gateways of the owner, one with a worker, and one of another user. Nothing is connected."""
    owner = users.ensure_user(c, UserId("u"), "owner", 1)
    users.ensure_user(c, UserId("o"), "other", 1)
    declared = [
        DeclaredGateway(name=name, user_name=user, main_agent="main" if name == "lab" else None)
        for name, user in (("office", "owner"), ("lab", "owner"), ("theirs", "other"))
    ]
    fresh = [f"{kind}-{one.name}" for one in declared for kind in ("gw", "main", "user")]
    gateways.reconcile_gateways(c, owner_id=owner, declared=declared, at=1, fresh_ids=fresh)
    gateway_agents.make_gateway_agent(
        c,
        gateway_id=GatewayId("gw-office"),
        user_id=owner,
        name="reader",
        fresh_id=AgentId("agent-reader"),
        at=1,
        actor="anna",
    )


@pytest.fixture(autouse=True)
async def _rows(hub: ServedHub) -> None:
    """Store the rows of ``keep``."""
    await hub.store.write(keep)


async def test_gateways_are_listed_with_state_and_number_of_agents(
    client: httpx2.AsyncClient,
) -> None:
    told = (await client.get("/v1/gateways")).json()["gateways"]
    assert [(one["name"], one["user"], one["agents"]) for one in told] == [
        ("lab", "owner", 1),
        ("office", "owner", 2),
        ("theirs", "other", 1),
    ]
    mine = (await client.get("/v1/gateways", params={"user": "owner"})).json()["gateways"]
    assert mine == told[:2]
    office = told[1]
    assert (office["state"], office["main_agent"], office["agents_online"]) == ("stopped", "office-main", 0)


async def test_gateway_is_read_by_name_or_id_with_members(client: httpx2.AsyncClient) -> None:
    by_name = (await client.get("/v1/gateways/office")).json()
    assert (await client.get("/v1/gateways/gw-office")).json()["id"] == by_name["id"]
    assert [(one["agent"], one["role"], one["remote_id"], one["state"]) for one in by_name["members"]] == [
        ("office-main", "main", "mc-gateway-gw-office", "wanted"),
        ("reader", "worker", "mc-agent-reader", "wanted"),
    ]
    assert by_name["members"][0]["connectivity"] == "offline"


async def test_agent_is_created_in_a_gateway_over_the_api(client: httpx2.AsyncClient, hub: ServedHub) -> None:
    body = {"name": "writer", "remote_id": "writer"}
    answer = await client.post("/v1/gateways/office/agents", json=body)
    assert answer.status_code == 201
    assert (answer.json()["name"], answer.json()["gateway"], answer.json()["device"]) == (
        "writer",
        "office",
        "",
    )
    (entry,) = await hub.store.read(audit.list_entries, limit=1)
    assert entry.event == "agent.created"
    assert '"remote_id":"writer"' in entry.detail
    again = await client.post("/v1/gateways/office/agents", json=body)
    assert (again.status_code, again.json()["code"]) == (409, "name_taken")


async def test_gateway_agent_created_without_a_remote_id_is_pending_creation(
    client: httpx2.AsyncClient,
) -> None:
    made = (await client.post("/v1/gateways/lab/agents", json={"name": "writer"})).json()
    members = (await client.get("/v1/gateways/lab")).json()["members"]
    assert [(one["remote_id"], one["state"]) for one in members if one["agent"] == "writer"] == [
        (f"mc-{made['id']}", "wanted")
    ]
