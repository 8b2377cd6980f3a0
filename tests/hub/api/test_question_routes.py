"""Questions over the REST interface."""

from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from protocol.ids import AgentId, BoardId, UserId
from storage.agents.declared_agents import DeclaredAgent
from storage.coordination import boards
from storage.devices import users
from tests.storage.rows import AT, declare
from tests.support.hub import ServedHub


def two_boards(c: sa.Connection) -> None:
    """A board of the owner's with a lead, and one of somebody else."""
    declare(c, DeclaredAgent(name="inbox", device_name="laptop", paths=("notes",)))
    me, other = users.ensure_user(c, UserId("me"), "me", 1), users.ensure_user(c, UserId("o"), "other", 1)
    for id, user_id, name in (("b-1", me, "roadmap"), ("b-2", other, "theirs")):
        boards.create_board(c, id=BoardId(id), user_id=user_id, name=name, at=AT, actor="hub")
    boards.add_member(c, BoardId("b-1"), AgentId("agent-inbox"), is_lead=True, at=AT, actor="hub")


@pytest.fixture(autouse=True)
async def _rows(hub: ServedHub) -> None:
    """Store the boards."""
    await hub.store.write(two_boards)


async def ask(client: httpx2.AsyncClient, board: str = "roadmap", **about: Any) -> Any:
    body = {"content": "Which colour?"} | about
    return (await client.post(f"/v1/boards/{board}/ask-user", json=body)).raise_for_status().json()


async def test_question_is_reported_with_all_fields_of_the_request(client: httpx2.AsyncClient) -> None:
    asked = await ask(client, preferred_channel="slack", correlation_id="w", reply_tags=["a"])
    assert (asked["board"], asked["user"], asked["state"], asked["content"]) == (
        "roadmap",
        "me",
        "open",
        "Which colour?",
    )
    assert (asked["preferred_channel"], asked["correlation_id"]) == ("slack", "w")
    assert (asked["reply_tags"], asked["reply_source"]) == (["a"], "user_via_gateway_main")
    assert asked["trace_id"] == asked["id"].replace("-", "")
    assert (await client.get(f"/v1/questions/{asked['id']}")).json() == asked | {"devices": []}


async def test_questions_are_found_by_board_state_and_word(
    client: httpx2.AsyncClient,
) -> None:
    first = await ask(client, correlation_id="w")
    await ask(client)
    theirs = await ask(client, "theirs")
    await client.post(f"/v1/questions/{first['id']}/withdraw")

    async def found(**asked: Any) -> list[str]:
        told = (await client.get("/v1/questions", params=asked)).json()
        return sorted(one["id"] for one in told["questions"])

    assert len(await found()) == 3
    assert await found(correlation_id="w") == await found(state="withdrawn") == [first["id"]]
    assert await found(board="theirs") == await found(user="other") == [theirs["id"]]
    assert len(await found(state=["open", "answered"])) == 2
