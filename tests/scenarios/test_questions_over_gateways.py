"""A lead on a gateway asks its person over the gateway's main agent, which says what the person said."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from tests.support.gateway import FakeGateway, fake_gateway
from tests.support.processes import POLL_S, SETTINGS, HubProcess, closing

GATEWAY = """
[[gateways]]
name = "office"
url = "{url}"
token = {{ file = "gateway.token" }}
main_agent = "main"
"""
MAINS, LEADS = "agent:main:main", "agent:lead:main"  # sessions
_ID = re.compile(r"^Question ID: (\S+)$", re.MULTILINE)


def says(session: str, message: str) -> str:
    """What the agents at the gateway answer: the main agent knows what the person wants."""
    found = _ID.search(message)
    if session == MAINS and found is not None:
        return f"I asked on Slack.\nANSWER {found[1]}: Red,\nplease."
    return "All right."


class Office:
    """A hub with a gateway that runs, and a board there whose lead is ``lead``."""

    def __init__(self, hub: HubProcess, gateway: FakeGateway) -> None:
        self.hub = hub
        self.gateway = gateway

    async def ask(self) -> str:
        """What the lead asks in its own name; the question's id."""
        token = (await self.hub.post("/v1/agents/lead/tokens"))["token"]
        address = (await self.hub.get("/v1/status"))["listeners"]["operator"]
        headers = {"authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(
            base_url=f"http://{address}", headers=headers, trust_env=False
        ) as client:
            body = {"content": "Which colour is the door to be?", "preferred_channel": "slack"}
            asked = await client.post("/v1/agent/boards/roadmap/ask-user", json=body)
        assert asked.status_code == 201, asked.text
        assert asked.json()["main_agent_id"], "the main agent of the gateway is to reach the person"
        return str(asked.json()["id"])

    async def comes_to(self, path: str, **wanted: Any) -> dict[str, Any]:
        told: dict[str, Any] = {}
        with anyio.move_on_after(30):
            while (told := await self.hub.get(path)).items() & wanted.items() != wanted.items():
                await anyio.sleep(POLL_S)
            return told
        raise AssertionError(f"{path} is {told}\n{self.hub.log()[-4000:]}")

    async def has_said(self, session: str, words: str) -> None:
        with anyio.move_on_after(30):
            while not any(words in said for said in self.gateway.said(session)):
                await anyio.sleep(POLL_S)
        assert any(words in said for said in self.gateway.said(session)), self.hub.log()[-4000:]


@asynccontextmanager
async def an_office(folder: Path) -> AsyncIterator[Office]:
    async with fake_gateway("office", agents=("main", "lead"), answer=says) as gateway:
        token = folder / "gateway.token"
        token.write_text(gateway.token)
        token.chmod(0o600)
        hub = HubProcess(folder, settings=SETTINGS.format(model="") + GATEWAY.format(url=gateway.url))
        async with closing(hub):
            await hub.start()
            office = Office(hub, gateway)
            await office.comes_to("/v1/gateways/office", state="ready")
            await hub.post("/v1/gateways/office/agents", {"name": "lead", "remote_id": "lead"})
            await hub.post("/v1/boards", {"name": "roadmap", "gateway": "office"})
            await hub.post("/v1/boards/roadmap/agents", {"agent": "lead", "is_lead": True})
            yield office


@pytest.mark.soak
async def test_what_the_main_agent_says_of_its_person_is_the_answer_that_the_lead_gets(
    tmp_path: Path,
) -> None:
    async with an_office(tmp_path) as office:
        id = await office.ask()
        told = await office.comes_to(f"/v1/questions/{id}", state="answered")
        assert told["answer"] == "Red,\nplease."
        assert told["answered_by"] == f"agent {told['main_agent']}"
        (item,) = (await office.hub.get("/v1/boards/roadmap/memory"))["memory"]
        assert (item["content"], item["tags"], item["reply_to"]) == (
            "Red,\nplease.",
            ["gateway_main", "user_reply"],
            id,
        )
        await office.has_said(LEADS, "Red,\nplease.")
        (letter,) = office.gateway.said(MAINS)
        assert "Which colour is the door to be?" in letter and "Preferred channel: slack" in letter


@pytest.mark.soak
async def test_what_a_person_answered_meanwhile_is_not_asked_over_the_gateway_any_more(
    tmp_path: Path,
) -> None:
    async with an_office(tmp_path) as office:
        await office.gateway.stop()
        id = await office.ask()
        await office.hub.post(f"/v1/questions/{id}/answer", {"answer": "Blue."})
        message_id = (await office.hub.get(f"/v1/questions/{id}"))["message_id"]
        told = await office.comes_to(f"/v1/messages/{message_id}", state="failed")
        assert told["reason_code"] == "question_settled"
        await office.gateway.start()
        await office.hub.post("/v1/gateways/office/reconnect")
        await office.has_said(LEADS, "Blue.")
        assert office.gateway.said(MAINS) == []
