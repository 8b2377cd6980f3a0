"""Souls over the REST interface, for people and for agents."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from hub.api.resources.souls import SoulsResource
from hub.api.resources.tokens import AgentTokensResource
from storage.coordination import souls
from tests.hub.coordination.souls import AS_IT_WAS, SoulBench, open_souls
from tests.support.gateway import DEFAULT_SOUL, FakeGateway
from tests.support.hub import ServedHub, over_tcp

SOUL = "/v1/boards/garden/agents/worker/soul"
WRITE = f"{SOUL}?wait_s=120"
OF_LEAD = "/v1/boards/garden/agents/lead/soul"


@pytest.fixture
async def bench(hub: ServedHub, gateway: FakeGateway, tmp_path: Path) -> AsyncIterator[SoulBench]:
    async with open_souls(tmp_path, gateway, kept_in=hub.store) as opened:
        hub.resources.add(SoulsResource(opened.souls))
        yield opened


async def by(hub: ServedHub, agent: str) -> dict[str, str]:
    """Headers of an agent that asks in its own name."""
    made = await hub.resource(AgentTokensResource).create(agent, actor="test")
    return {"authorization": f"Bearer {made.token}"}


async def test_soul_is_reported_with_the_gateway_and_the_hash_as_etag(
    client: httpx2.AsyncClient, bench: SoulBench
) -> None:
    answer = await client.get(SOUL)

    told = answer.json()
    assert answer.headers["etag"] == f'"{AS_IT_WAS}"'
    assert (told["agent"], told["gateway"], told["device"]) == ("worker", "west", None)
    assert (told["content"], told["sha256"]) == (DEFAULT_SOUL, AS_IT_WAS)
    assert (told["size_bytes"], told["open_write"]) == (len(DEFAULT_SOUL.encode()), None)


async def test_soul_write_with_the_current_etag_succeeds(
    client: httpx2.AsyncClient, bench: SoulBench, gateway: FakeGateway
) -> None:
    etag = (await client.get(SOUL)).headers["etag"]

    wanted = {"content": "# Kind\n", "reason": " be kind "}
    answer = await client.put(WRITE, json=wanted, headers={"if-match": etag})

    told = answer.json()
    assert (answer.status_code, told["state"], told["reason"]) == (200, "done", "be kind")
    assert answer.headers["etag"] == f'"{souls.digest("# Kind")}"'
    assert gateway.agents["worker"].files["SOUL.md"] == "# Kind"


@pytest.mark.parametrize("is_tag", [False, True])
async def test_conflicting_soul_write_is_answered_409_with_both_hashes(
    client: httpx2.AsyncClient, bench: SoulBench, is_tag: bool
) -> None:
    assert (await client.put(WRITE, json={"content": "first"})).status_code == 200

    expected = {} if is_tag else {"expected_sha256": AS_IT_WAS}
    headers = {"if-match": f'"{AS_IT_WAS}"'} if is_tag else {}
    answer = await client.put(WRITE, json={"content": "second", **expected}, headers=headers)

    told = answer.json()
    assert (answer.status_code, told["code"]) == (409, "soul_conflict")
    assert (told["expected_sha256"], told["found_sha256"]) == (AS_IT_WAS, souls.digest("first"))
    history = (await client.get(f"{SOUL}/history")).json()
    assert [one["kind"] for one in history["versions"]] == ["refused", "written", "seen"]
    assert [one["state"] for one in history["writes"]] == ["conflict", "done"]
    assert history["writes"][0]["id"] == told["write_id"]
    lost = (await client.get(f"{SOUL}/history/{history['versions'][0]['seq']}")).json()
    assert (lost["content"], lost["sha256"]) == ("second", souls.digest("second"))


async def test_soul_write_to_an_offline_gateway_is_accepted_and_done_later(
    client: httpx2.AsyncClient, bench: SoulBench, gateway: FakeGateway
) -> None:
    await gateway.stop()
    answer = await client.put(f"{SOUL}?wait_s=0", json={"content": "later"})
    away = await client.get(SOUL)
    await gateway.start()
    write = await bench.writer.settled_or(answer.json()["id"], 120)

    assert (answer.status_code, answer.json()["state"]) == (202, "waiting")
    assert (away.status_code, away.json()["code"]) == (503, "gateway_unreachable")
    assert "etag" not in answer.headers
    assert write.state == "done"
    assert (await client.get(f"{SOUL}/history")).json()["writes"][0]["state"] == "done"


async def test_soul_history_is_listed_newest_first_in_pages(
    client: httpx2.AsyncClient, bench: SoulBench
) -> None:
    for text in ("one", "two", "three"):
        await client.put(WRITE, json={"content": text})

    page = (await client.get(f"{SOUL}/history", params={"limit": 3})).json()
    rest = (await client.get(f"{SOUL}/history", params={"cursor": page["next_cursor"]})).json()

    assert [one["seq"] for one in page["versions"]] == [4, 3, 2]
    assert [one["seq"] for one in rest["versions"]] == [1]


async def test_only_a_lead_reads_and_writes_the_souls_of_other_board_agents(
    client: httpx2.AsyncClient, bench: SoulBench, hub: ServedHub
) -> None:
    lead, worker = await by(hub, "lead"), await by(hub, "worker")
    mine, leads = SOUL.replace("/v1/", "/v1/agent/"), OF_LEAD.replace("/v1/", "/v1/agent/")
    async with over_tcp(hub) as client:
        written = await client.put(f"{mine}?wait_s=120", json={"content": "by the lead"}, headers=lead)
        own = await client.get(mine, headers=worker)
        other = await client.get(leads, headers=worker)
        by_worker = await client.put(mine, json={"content": "by me"}, headers=worker)
        history = await client.get(f"{mine}/history", headers=worker)
        version = await client.get(f"{mine}/history/2", headers=worker)
        as_operator = await client.get(SOUL, headers=lead)

    assert (written.status_code, written.json()["actor"]) == (200, "agent:agent-lead")
    assert (own.status_code, own.json()["content"]) == (200, "by the lead")
    assert (other.status_code, by_worker.status_code, as_operator.status_code) == (403, 403, 403)
    assert [one["actor"] for one in history.json()["versions"]] == ["agent:agent-lead", "gateway:west"]
    assert version.json()["content"] == "by the lead"


async def test_soul_of_the_main_agent_is_unknown_to_agents(
    client: httpx2.AsyncClient, bench: SoulBench, hub: ServedHub, gateway: FakeGateway
) -> None:
    main = f"mc-gateway-{'gateway-west'}"
    gateway.add_agent(main)
    path = "/v1/boards/garden/agents/agent-main/soul"
    lead = await by(hub, "lead")
    async with over_tcp(hub) as agent:
        refused = await agent.get(path.replace("/v1/", "/v1/agent/"), headers=lead)

    assert (refused.status_code, refused.json()["code"]) == (404, "unknown_agent")
    answer = await client.put(f"{path}?wait_s=120", json={"content": "yours"})
    assert (answer.status_code, gateway.agents[main].files["SOUL.md"]) == (200, "yours")


async def test_soul_read_from_an_unresponsive_gateway_times_out_with_504(
    client: httpx2.AsyncClient, bench: SoulBench, gateway: FakeGateway
) -> None:
    gateway.fault("agents.files.get", "never")
    answer = await client.get(SOUL)
    assert (answer.status_code, answer.json()["code"]) == (504, "gateway_timed_out")
    assert answer.json()["retryable"]
