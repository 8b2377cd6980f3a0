"""Agents and templates over the REST interface: created, changed, started, paused."""

from typing import Any

import httpx2

from tests.support.hub import ServedHub

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
    return (await client.request(method, path, json=body)).raise_for_status().json()


async def test_created_agent_is_answered_with_location_and_etag(client: httpx2.AsyncClient) -> None:
    answer = await client.request("POST", "/v1/agents", json=MAIL)
    assert (answer.status_code, answer.headers["location"]) == (201, "/v1/agents/mail")
    assert answer.headers["etag"]
    told = answer.json()
    assert (told["name"], told["device"], told["source"]) == ("mail", "desk", "api")


async def test_template_is_created_and_changed_only_with_the_current_etag(client: httpx2.AsyncClient) -> None:
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


async def test_validation_of_an_agent_or_template_reports_problems_and_writes_nothing(
    client: httpx2.AsyncClient,
) -> None:
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


async def test_forced_template_change_is_applied_and_lists_the_broken_agents(
    client: httpx2.AsyncClient,
) -> None:
    await done(client, "PUT", "/v1/templates/researcher", RESEARCHER)
    about = {"template": "researcher", "config": {"project": "x"}, "prompt": None}
    await done(client, "POST", "/v1/agents", MAIL | about)
    stricter = RESEARCHER | {"configuration_schema": {"required": ["owner"]}}
    refused = await client.request("PUT", "/v1/templates/researcher", json=stricter)
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_config")
    assert (await done(client, "PUT", "/v1/templates/researcher?force=true", stricter))["agents"] == ["mail"]
    told = await done(client, "POST", "/v1/agents/mail/validate")
    assert told["problems"] == ["configuration: $: missing: owner (template researcher)"]


async def test_agent_responses_of_all_routes_have_the_same_next_fires(client: httpx2.AsyncClient) -> None:
    listed = (await client.get("/v1/agents")).json()["agents"][0]
    one = (await client.get("/v1/agents/notes")).json()
    paused = (await client.post("/v1/agents/notes/pause")).json()
    fires = (await client.get("/v1/agents/notes/next")).json()["schedules"][0]["next_fires"]
    assert fires[0] == {"at": "2026-01-06T06:00:00Z", "local": "2026-01-06T07:00:00+01:00", "shift": None}
    assert listed["next_fires"] == one["next_fires"] == paused["next_fires"] == fires


async def test_past_fires_report_the_decision_as_a_code_and_as_a_sentence(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await hub.pass_days(2)
    second, first = (await client.get("/v1/agents/notes/fires")).json()["fires"]
    assert (first["decision"], first["said"], first["fires"]) == ("run", "a run was queued", 1)
    assert (second["decision"], second["run"]) == ("coalesced", first["run"])
    assert second["said"] == "one run covers it: a run was waiting already"
    assert (await client.get(f"/v1/runs/{first['run']}")).json()["trigger"] == "catchup"


async def test_a_backfill_without_instants_is_refused(client: httpx2.AsyncClient) -> None:
    for wanted in (
        {},
        {"from": "2026-01-01T00:00:00", "to": "2026-01-03T00:00:00Z"},
        {"from": "yesterday", "to": "2026-01-03T00:00:00Z"},
    ):
        answer = await client.post("/v1/agents/notes/backfill", json=wanted)
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_params"), wanted
    assert (await client.get("/v1/runs")).json()["runs"] == []


async def test_agent_etag_changes_with_the_schedule_and_not_with_time(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    first = await client.get("/v1/agents/notes")
    hub.clock.advance(86_400)
    later = await client.get("/v1/agents/notes")
    assert later.json()["next_fires"] != first.json()["next_fires"]
    assert later.headers["etag"] == first.headers["etag"]
    await client.patch("/v1/agents/notes", json={"schedule": "0 8 * * *"})
    assert (await client.get("/v1/agents/notes")).headers["etag"] != first.headers["etag"]
