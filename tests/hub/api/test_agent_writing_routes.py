"""Agents and templates, written over the REST interface."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.hub import ServedHub, answering, over_unix

MAIL: dict[str, Any] = {
    "name": "mail",
    "device": "desk",
    "paths": ["mail"],
    "data_types": ["tasks"],
    "prompt": "Find the tasks that a person has to do.",
}
RESEARCHER: dict[str, Any] = {
    "type": "PLANNER",
    "configuration_schema": {"required": ["project"]},
    "prompt": "Find {{ project }}.",
}


class Asking:
    """The hub, and an operator who may all."""

    def __init__(self, hub: ServedHub, client: httpx2.AsyncClient) -> None:
        self.hub = hub
        self.client = client

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        return await self.client.request(method, path, json=body, headers=headers)

    async def done(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = await self.ask(method, path, body, **headers)
        assert answer.is_success, answer.text
        return answer.json()


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    async with answering(tmp_path) as hub, over_unix(hub) as client:
        yield Asking(hub, client)


async def test_an_agent_is_made_and_stands_at_its_place(asking: Asking) -> None:
    answer = await asking.ask("POST", "/v1/agents", MAIL)
    assert (answer.status_code, answer.headers["location"]) == (201, "/v1/agents/mail")
    assert answer.headers["etag"]
    told = answer.json()
    assert (told["name"], told["device"], told["source"]) == ("mail", "desk", "api")


async def test_a_template_is_made_and_changed_by_who_has_read_it(asking: Asking) -> None:
    made = await asking.ask("PUT", "/v1/templates/researcher", RESEARCHER)
    assert (made.status_code, made.headers["location"]) == (201, "/v1/templates/researcher")
    read = await asking.ask("GET", "/v1/templates/researcher")
    assert (read.json(), read.json()["type"]) == (made.json(), "PLANNER")
    changed = await asking.client.put(
        "/v1/templates/researcher",
        json=RESEARCHER | {"description": "Reads."},
        headers={"if-match": read.headers["etag"]},
    )
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    late = await asking.client.put(
        "/v1/templates/researcher", json=RESEARCHER, headers={"if-match": read.headers["etag"]}
    )
    assert late.json()["code"] == "changed_meanwhile"
    listed = await asking.done("GET", "/v1/templates")
    assert [one["name"] for one in listed["templates"]] == ["researcher"]


async def test_a_trial_says_what_would_be_and_writes_nothing(asking: Asking) -> None:
    await asking.done("PUT", "/v1/templates/researcher", RESEARCHER)
    about = {"template": "researcher", "config": {"project": "x"}, "prompt": None}
    await asking.done("POST", "/v1/agents", MAIL | about)
    assert (await asking.done("POST", "/v1/agents/mail/validate"))["ok"]
    stricter = RESEARCHER | {"configuration_schema": {"required": ["owner"]}}
    told = await asking.done("POST", "/v1/templates/researcher/validate", stricter)
    (broken,) = told["broken"]
    assert (told["ok"], broken["agent"], broken["user"]) == (False, "mail", "owner")
    wrong = {"configuration_schema": {"type": "objet"}}
    told = await asking.done("POST", "/v1/templates/researcher/validate", wrong)
    assert "$.type" in told["problems"][0]
    assert (await asking.done("POST", "/v1/templates/researcher/validate"))["ok"]
    assert (await asking.done("GET", "/v1/templates/researcher"))["version"] == 1


async def test_what_somebody_insists_on_is_done_and_told_of_each_agent(asking: Asking) -> None:
    await asking.done("PUT", "/v1/templates/researcher", RESEARCHER)
    about = {"template": "researcher", "config": {"project": "x"}, "prompt": None}
    await asking.done("POST", "/v1/agents", MAIL | about)
    stricter = RESEARCHER | {"configuration_schema": {"required": ["owner"]}}
    refused = await asking.ask("PUT", "/v1/templates/researcher", stricter)
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_config")
    assert (await asking.done("PUT", "/v1/templates/researcher?force=true", stricter))["agents"] == ["mail"]
    told = await asking.done("POST", "/v1/agents/mail/validate")
    assert told["problems"] == ["configuration: $: missing: owner (template researcher)"]


async def test_who_sees_one_user_makes_agents_of_that_user_alone(asking: Asking) -> None:
    await asking.done("POST", "/v1/users", {"name": "anna"})
    mine = await asking.ask("POST", "/v1/agents?user=anna", MAIL)
    assert mine.json()["code"] == "unknown_device"  # the device is another user's
    others = await asking.ask("POST", "/v1/agents?user=anna", MAIL | {"user": "owner"})
    assert others.json()["code"] == "unknown_user"
    await asking.done("POST", "/v1/agents", MAIL)
    for method, body in (("PATCH", {"priority": 1}), ("DELETE", None)):
        answer = await asking.ask(method, "/v1/agents/mail?user=anna", body)
        assert answer.json()["code"] == "unknown_agent"
