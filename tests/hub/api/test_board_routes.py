"""Boards, what they remember, and the tokens of agents over the REST interface."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from protocol.ids import MemoryId
from storage.coordination import board_memory
from storage.coordination.board_memory import NewMemory
from storage.schema import idempotency_keys
from tests.support.hub import ServedHub, answering, over_tcp, over_unix


class Served:
    """A hub with the agents inbox and notes of its owner, and somebody who may do everything."""

    def __init__(self, fake: ServedHub, operator: httpx2.AsyncClient) -> None:
        self.fake = fake
        self.operator = operator

    async def made(self, path: str, body: Any) -> Any:
        return (await self.operator.post(path, json=body)).raise_for_status().json()

    async def board(self, name: str = "roses", *agents: str) -> Any:
        """A board; the first agent is its lead."""
        board = await self.made("/v1/boards", {"name": name})
        for agent in agents:
            await self.fake.agent(agent)
            wanted = {"agent": agent, "is_lead": agent == agents[0]}
            board = await self.made(f"/v1/boards/{name}/agents", wanted)
        return board

    async def remember(self, content: str, board: str = "roses", **about: Any) -> Any:
        self.fake.clock.advance(1)
        return await self.made(f"/v1/boards/{board}/memory", {"content": content} | about)

    async def told(self, path: str, **asked: Any) -> Any:
        return (await self.operator.get(path, params=asked)).raise_for_status().json()

    async def memory(self, **asked: Any) -> list[str]:
        return [one["content"] for one in (await self.told("/v1/boards/roses/memory", **asked))["memory"]]


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Served]:
    async with answering(tmp_path) as fake, over_unix(fake) as operator:
        yield Served(fake, operator)


def refused(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_board_is_created_read_changed_and_removed_over_the_api(hub: Served) -> None:
    made = await hub.made("/v1/boards", {"name": "roses", "description": "What grows."})
    assert (made["user"], made["agents"], made["lead"], made["members"]) == ("owner", 0, None, [])
    for given in ("roses", made["id"]):
        assert await hub.told(f"/v1/boards/{given}") == made
    changed = await hub.operator.patch("/v1/boards/roses", json={"name": "lawn"})
    assert (changed.json()["name"], changed.json()["description"]) == ("lawn", "What grows.")
    assert [board["name"] for board in (await hub.told("/v1/boards"))["boards"]] == ["lawn"]
    assert (await hub.operator.delete("/v1/boards/lawn")).json()["id"] == made["id"]
    assert refused(await hub.operator.get("/v1/boards/lawn")) == (404, "unknown_board")


async def test_agents_join_and_leave_a_board_and_the_lead_is_changed(hub: Served) -> None:
    board = await hub.board("roses", "inbox", "notes")
    assert (board["lead"], board["agents"]) == ("inbox", 2)
    assert [(one["name"], one["is_lead"], one["device"]) for one in board["members"]] == [
        ("inbox", True, "desk"),
        ("notes", False, "desk"),
    ]
    led = await hub.operator.put("/v1/boards/roses/lead", json={"agent": "notes"})
    assert led.json()["lead"] == "notes"
    left = await hub.operator.delete("/v1/boards/roses/agents/notes")
    assert (left.json()["lead"], left.json()["agents"]) == (None, 1)
    again = await hub.operator.delete("/v1/boards/roses/agents/notes")
    assert refused(again) == (404, "unknown_agent")


async def test_a_page_of_memory_has_two_hundred_items_at_most(hub: Served) -> None:
    await hub.board()
    board = (await hub.told("/v1/boards/roses"))["id"]
    for n in range(201):
        item = NewMemory(id=MemoryId(f"m-{n}"), board_id=board, content="x", actor="hub", at=n)
        await hub.fake.store.write(board_memory.add_memory, item)
    page = await hub.told("/v1/boards/roses/memory", limit=1_000)
    assert len(page["memory"]) == 200 and page["next_cursor"] is not None


async def test_board_memory_is_filtered_by_tag_kind_source_and_correlation(hub: Served) -> None:
    await hub.board()
    await hub.remember("a", tags=["weeds", " weeds ", "urgent"], source="lead")
    await hub.remember("b", tags=["weeds"], is_chat=True)
    await hub.remember("c", correlation_id="order-1", reply_to="nothing")
    assert await hub.memory(tag="weeds") == ["b", "a"]
    assert await hub.memory(tag=["weeds", "urgent"]) == ["a"]
    assert await hub.memory(is_chat=True) == ["b"]
    assert await hub.memory(source="lead", is_chat=False) == ["a"]
    assert await hub.memory(correlation_id="order-1") == await hub.memory(reply_to="nothing") == ["c"]
    (told,) = (await hub.told("/v1/boards/roses/memory", tag="urgent"))["memory"]
    assert told["tags"] == ["weeds", "urgent"]
    path = f"/v1/boards/roses/memory/{told['id']}"
    assert (await hub.operator.delete(path)).json()["content"] == "a"
    assert refused(await hub.operator.delete(path)) == (404, "unknown_memory")
    assert await hub.memory() == ["c", "b"]


async def test_memory_with_a_key_is_written_once_even_if_the_response_was_lost(hub: Served) -> None:
    await hub.board()
    for is_lost in (False, True):
        if is_lost:  # the hub was killed before it kept its response
            await hub.fake.store.write(lambda c: c.execute(sa.delete(idempotency_keys)).rowcount)
        answer = await hub.operator.post(
            "/v1/boards/roses/memory", json={"content": "once"}, headers={"idempotency-key": "k"}
        )
        assert (answer.status_code, await hub.memory()) == (201, ["once"])


async def test_agent_route_reports_name_user_role_and_board_of_the_caller(hub: Served) -> None:
    await hub.board("roses", "inbox", "notes")
    for name, role in (("inbox", "lead"), ("notes", "worker")):
        async with agent(hub, name) as asking:
            told = (await asking.get("/v1/agent")).json()
            assert (told["name"], told["user"], told["role"], told["board"]["name"]) == (
                *(name, "owner"),
                *(role, "roses"),
            )
            (own,) = (await asking.get("/v1/agent/boards")).json()["boards"]
            assert own == told["board"]
            board = (await asking.get("/v1/agent/boards/roses")).json()
            assert [one["name"] for one in board["members"]] == ["inbox", "notes"]
    async with agent(hub, "idle") as asking:
        told = (await asking.get("/v1/agent")).json()
        assert (told["role"], told["board"], told["gateway"]) == (None, None, None)
        assert (await asking.get("/v1/agent/boards")).json()["boards"] == []


async def test_agent_writes_memory_of_the_own_board_in_the_own_name(hub: Served) -> None:
    await hub.board("roses", "inbox")
    await hub.board("lawn")
    async with agent(hub, "inbox") as asking:
        body = {"content": "done", "tags": ["lead_reply"]}
        written = (await asking.post("/v1/agent/boards/roses/memory", json=body)).json()
        assert (written["agent"], written["actor"].partition(":")[0]) == ("inbox", "agent")
        (read,) = (await asking.get("/v1/agent/boards/roses/memory")).json()["memory"]
        assert read["id"] == written["id"]
        for method, sent in (("GET", None), ("POST", body)):
            other = await asking.request(method, "/v1/agent/boards/lawn/memory", json=sent)
            assert refused(other) == (403, "not_your_board")
            nowhere = await asking.request(method, "/v1/agent/boards/rozes/memory", json=sent)
            assert refused(nowhere) == (404, "unknown_board")


async def test_agent_token_is_refused_after_revocation_or_removal_of_the_agent(hub: Served) -> None:
    await hub.board("roses", "inbox", "notes")
    async with agent(hub, "inbox") as inbox, agent(hub, "notes") as notes:
        assert (await inbox.get("/v1/agent")).status_code == 200
        (token,) = (await hub.told("/v1/agents/inbox/tokens"))["tokens"]
        assert token["last_used_at"] is not None and "token" not in token
        for _ in range(2):  # twice is no error
            revoked = await hub.operator.delete(f"/v1/agent-tokens/{token['id']}")
            assert revoked.json()["revoked_at"] is not None
        late = await inbox.get("/v1/agent")
        assert refused(late) == (401, "auth_failed")
        assert (late.json()["detail"], late.json()["hint"]) == (
            "this token was revoked",
            "on the hub's machine: hub agents token NAME",
        )
        await hub.operator.delete("/v1/agents/notes")
        gone = await notes.get("/v1/agent")
        assert gone.json()["detail"] == "the agent of this token was removed, or ended for good"


async def test_agent_token_expires_after_the_requested_lifetime(hub: Served) -> None:
    await hub.fake.agent("inbox")
    made = await hub.made("/v1/agents/inbox/tokens", {"ttl_s": 60})
    async with over_tcp(hub.fake, made["token"]) as asking:
        assert (await asking.get("/v1/agent")).status_code == 200
        hub.fake.clock.advance(61)
        assert (await asking.get("/v1/agent")).json()["detail"] == "this token has expired"


@asynccontextmanager
async def agent(hub: Served, name: str) -> AsyncIterator[httpx2.AsyncClient]:
    """An agent in its own name."""
    token = await hub.fake.agent_token(await hub.fake.agent(name))
    async with over_tcp(hub.fake, token) as asking:
        yield asking
