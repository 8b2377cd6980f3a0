"""Agents and templates, written over the REST interface."""

from typing import Any

import httpx2

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


async def done(client: httpx2.AsyncClient, method: str, path: str, body: Any = None) -> Any:
    answer = await client.request(method, path, json=body)
    assert answer.is_success, answer.text
    return answer.json()


async def test_an_agent_is_made_and_stands_at_its_place(client: httpx2.AsyncClient) -> None:
    answer = await client.request("POST", "/v1/agents", json=MAIL)
    assert (answer.status_code, answer.headers["location"]) == (201, "/v1/agents/mail")
    assert answer.headers["etag"]
    told = answer.json()
    assert (told["name"], told["device"], told["source"]) == ("mail", "desk", "api")


async def test_a_template_is_made_and_changed_by_who_has_read_it(client: httpx2.AsyncClient) -> None:
    made = await client.request("PUT", "/v1/templates/researcher", json=RESEARCHER)
    assert (made.status_code, made.headers["location"]) == (201, "/v1/templates/researcher")
    read = await client.request("GET", "/v1/templates/researcher")
    assert (read.json(), read.json()["type"]) == (made.json(), "PLANNER")
    changed = await client.put(
        "/v1/templates/researcher",
        json=RESEARCHER | {"description": "Reads."},
        headers={"if-match": read.headers["etag"]},
    )
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    late = await client.put(
        "/v1/templates/researcher", json=RESEARCHER, headers={"if-match": read.headers["etag"]}
    )
    assert late.json()["code"] == "changed_meanwhile"
    listed = await done(client, "GET", "/v1/templates")
    assert [one["name"] for one in listed["templates"]] == ["researcher"]


async def test_a_trial_says_what_would_be_and_writes_nothing(client: httpx2.AsyncClient) -> None:
    await done(client, "PUT", "/v1/templates/researcher", RESEARCHER)
    about = {"template": "researcher", "config": {"project": "x"}, "prompt": None}
    await done(client, "POST", "/v1/agents", MAIL | about)
    assert (await done(client, "POST", "/v1/agents/mail/validate"))["ok"]
    stricter = RESEARCHER | {"configuration_schema": {"required": ["owner"]}}
    told = await done(client, "POST", "/v1/templates/researcher/validate", stricter)
    (broken,) = told["broken"]
    assert (told["ok"], broken["agent"], broken["user"]) == (False, "mail", "owner")
    wrong = {"configuration_schema": {"type": "objet"}}
    told = await done(client, "POST", "/v1/templates/researcher/validate", wrong)
    assert "$.type" in told["problems"][0]
    assert (await done(client, "POST", "/v1/templates/researcher/validate"))["ok"]
    assert (await done(client, "GET", "/v1/templates/researcher"))["version"] == 1


async def test_what_somebody_insists_on_is_done_and_told_of_each_agent(client: httpx2.AsyncClient) -> None:
    await done(client, "PUT", "/v1/templates/researcher", RESEARCHER)
    about = {"template": "researcher", "config": {"project": "x"}, "prompt": None}
    await done(client, "POST", "/v1/agents", MAIL | about)
    stricter = RESEARCHER | {"configuration_schema": {"required": ["owner"]}}
    refused = await client.request("PUT", "/v1/templates/researcher", json=stricter)
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_config")
    assert (await done(client, "PUT", "/v1/templates/researcher?force=true", stricter))["agents"] == ["mail"]
    told = await done(client, "POST", "/v1/agents/mail/validate")
    assert told["problems"] == ["configuration: $: missing: owner (template researcher)"]


async def test_who_sees_one_user_makes_agents_of_that_user_alone(client: httpx2.AsyncClient) -> None:
    await done(client, "POST", "/v1/users", {"name": "anna"})
    mine = await client.request("POST", "/v1/agents?user=anna", json=MAIL)
    assert mine.json()["code"] == "unknown_device"  # the device is another user's
    others = await client.request("POST", "/v1/agents?user=anna", json=MAIL | {"user": "owner"})
    assert others.json()["code"] == "unknown_user"
    await done(client, "POST", "/v1/agents", MAIL)
    for method, body in (("PATCH", {"priority": 1}), ("DELETE", None)):
        answer = await client.request(method, "/v1/agents/mail?user=anna", json=body)
        assert answer.json()["code"] == "unknown_agent"
