"""Configs, capabilities and checkpoints of an agent over the REST interface."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from protocol.ids import UserId
from protocol.requirements import parse_version
from storage import audit
from storage.agents import declared_agents
from storage.agents.capabilities import AgentCapability
from storage.agents.config_changes import NewConfig
from storage.agents.declared_agents import DeclaredAgent
from storage.devices import users
from tests.support.hub import ServedHub
from tests.support.presence import have_connected

CAPABILITIES = "/v1/agents/inbox/capabilities"


CHECKPOINTS = "/v1/agents/inbox/checkpoints"


def an_agent(c: sa.Connection) -> None:
    """Store an agent of hub.toml called inbox that can read files, with one config."""
    owner = users.ensure_user(c, UserId("u"), "owner", 1)
    able = AgentCapability(name="file.read", version=parse_version("1.2.0"), enabled=True)
    inbox = DeclaredAgent(
        name="inbox",
        device_name="lab",
        paths=("mail",),
        data_types=("tasks",),
        prompt="Find tasks.",
        capabilities=(able,),
        config=(NewConfig(key="folder", value="in"),),
    )
    declared_agents.reconcile_declared(
        c, user_id=owner, declared=[inbox], at=1, fresh_ids=["a-1", "d-1", "s-1", "u"]
    )


@pytest.fixture(autouse=True)
async def _rows(hub: ServedHub) -> None:
    """Store the rows of ``an_agent``."""
    await hub.store.write(an_agent)


async def able(client: httpx2.AsyncClient) -> list[str]:
    listed = (await client.get(CAPABILITIES)).json()["capabilities"]
    return [f"{one['name']} {one['version']}{' enabled' if one['enabled'] else ''}" for one in listed]


async def test_capability_of_an_agent_is_registered_and_removed_over_the_api(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    body = {"config": {"engine": {"names": ["a"]}}, "description": "looks things up"}
    told = (await client.put(f"{CAPABILITIES}/web.search/1.0.0", json=body)).json()
    assert (told["is_new"], told["disabled"], told["capability"]["source"]) == (True, None, "api")
    assert told["capability"]["config"] == {"engine": {"names": ["a"]}}
    assert not (await client.put(f"{CAPABILITIES}/web.search/1.0.0", json=body)).json()["is_new"]
    newer = (await client.put(f"{CAPABILITIES}/web.search/1.1.0-rc.1", json={"enabled": True})).json()
    assert newer["disabled"] == "1.0.0"
    assert await able(client) == [
        "file.read 1.2.0 enabled",
        "web.search 1.1.0-rc.1 enabled",
        "web.search 1.0.0",
    ]
    entries = await hub.store.read(audit.list_entries, event="capability.registered")
    assert len(entries) == 2, "a request that changes nothing is not an entry"
    gone = (await client.delete(f"{CAPABILITIES}/web.search/1.0.0")).json()
    assert [one["version"] for one in gone["removed"]] == ["1.0.0"]
    await client.delete(f"{CAPABILITIES}/web.search")
    assert await able(client) == ["file.read 1.2.0 enabled"]


async def test_checkpoint_is_written_read_and_deleted_over_the_api(client: httpx2.AsyncClient) -> None:
    state: Any = {"folders": [{"name": "in", "seen": 3}]}
    kept = await client.put(f"{CHECKPOINTS}/agent", json={"sequence": 3, "state": state})
    read = await client.get(f"{CHECKPOINTS}/agent")
    assert read.json() == kept.json()
    assert (read.json()["state"], read.headers["etag"]) == (state, kept.headers["etag"])
    newer = {"sequence": 4, "state": {}, "is_recoverable": False}
    matched = {"if-match": kept.headers["etag"]}
    assert (await client.put(f"{CHECKPOINTS}/agent", json=newer, headers=matched)).status_code == 200
    assert (await client.put(f"{CHECKPOINTS}/agent", json=newer, headers=matched)).status_code == 412
    (listed,) = (await client.get(CHECKPOINTS)).json()["checkpoints"]
    assert (listed["sequence"], listed["is_recoverable"]) == (4, False)
    assert (await client.delete(f"{CHECKPOINTS}/agent")).json()["sequence"] == 4
    assert (await client.get(f"{CHECKPOINTS}/agent")).json()["code"] == "unknown_checkpoint"


async def test_started_run_has_needs_locks_context_and_task_of_the_request(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await hub.store.write(have_connected)
    wanted = {
        "needs": ["file.read>=1.2"],
        "locks": ["mailbox:anna", "box", "box"],
        "context": {"why": "asked"},
        "task_id": "t-7",
    }
    started = await client.post("/v1/agents/inbox/runs", json=wanted)
    plain = await client.post("/v1/agents/inbox/runs")
    assert (started.status_code, plain.status_code) == (202, 202)
    run = (await client.get(f"/v1/runs/{started.json()['id']}")).json()
    assert (run["needs"], run["locks"]) == (["file.read >= 1.2"], ["box", "mailbox:anna"])
    assert (run["context"], run["task_id"]) == ({"why": "asked"}, "t-7")
    run = (await client.get(f"/v1/runs/{plain.json()['id']}")).json()
    assert (run["needs"], run["locks"], run["context"]) == ([], [], {})


async def test_created_agent_has_the_capabilities_of_the_request(client: httpx2.AsyncClient) -> None:
    body = {
        "name": "mail",
        "device": "lab",
        "paths": ["mail"],
        "data_types": ["tasks"],
        "prompt": "Find the tasks that a person has to do.",
        "capabilities": [{"name": "mail.read", "version": "2.0.0"}, {"name": "mail.read"}],
        "needs": ["mail.read >= 2"],
    }
    made = await client.post("/v1/agents", json=body)
    assert made.status_code == 201, made.text
    listed = (await client.get("/v1/agents/mail/capabilities")).json()["capabilities"]
    assert [(one["version"], one["enabled"], one["source"]) for one in listed] == [
        ("2.0.0", True, "api"),
        ("1.0.0", False, "api"),
    ]


INBOX = "/v1/agents/inbox"


CONFIG = f"{INBOX}/config"


async def now(client: httpx2.AsyncClient) -> Any:
    return (await client.get(CONFIG)).json()["configuration"]


async def test_agent_configs_are_edited_and_listed_with_types(client: httpx2.AsyncClient) -> None:
    wanted = {"limit": {"value": 5, "description": "at once"}, "share": {"value": 1, "type": "float"}}
    done = await client.patch(CONFIG, json={"configs": wanted})
    assert done.status_code == 200 and done.json()["changed"] == ["limit", "share"]
    told = (await client.get(CONFIG)).json()
    assert told["configuration"] == {"folder": "in", "limit": 5, "share": 1.0}
    shown = [(one["key"], one["type"], one["source"], one["description"]) for one in told["configs"]]
    assert shown == [
        ("folder", "string", "file", None),
        ("limit", "integer", "api", "at once"),
        ("share", "float", "api", None),
    ]
    assert told["rev"] == done.json()["rev"]


async def test_single_agent_config_is_written_read_and_removed(client: httpx2.AsyncClient) -> None:
    assert (await client.put(f"{CONFIG}/where", json={"value": {"a": [1, None]}})).status_code == 200
    one = await client.get(f"{CONFIG}/where")
    assert (one.json()["value"], one.json()["type"]) == ({"a": [1, None]}, "json")
    assert (await client.delete(f"{CONFIG}/where")).json()["changed"] == ["where"]
    again = await client.delete(f"{CONFIG}/where")
    assert (again.status_code, again.json()["code"]) == (404, "unknown_config")
    assert (await client.get(f"{CONFIG}/where")).json()["code"] == "unknown_config"


async def test_replacing_the_agent_configuration_retains_configs_of_the_file(
    client: httpx2.AsyncClient,
) -> None:
    await client.patch(CONFIG, json={"configs": {"a": {"value": 1}, "b": {"value": 2}}})
    done = await client.put(CONFIG, json={"configs": {"b": {"value": 3}}})
    assert (done.json()["changed"], await now(client)) == (["a", "b"], {"folder": "in", "b": 3})
    assert (await client.put(CONFIG, json={})).status_code == 422, "an empty body is no wish to remove all"


async def test_agent_config_of_hub_toml_cannot_be_changed_over_the_api(
    client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    for attempt in (
        client.put(f"{CONFIG}/folder", json={"value": "out"}),
        client.delete(f"{CONFIG}/folder"),
        client.patch(CONFIG, json={"configs": {"a": {"value": 1}}, "unset": ["folder"]}),
    ):
        refused = await attempt
        assert (refused.status_code, refused.json()["code"]) == (409, "managed_by_file")
        assert f"config 'folder' is managed by {tmp_path}/hub.toml" in refused.json()["detail"]
    assert await now(client) == {"folder": "in"}


async def test_config_etag_is_the_revision_and_an_outdated_edit_is_refused(
    client: httpx2.AsyncClient,
) -> None:
    tag = (await client.get(CONFIG)).headers["etag"]
    first = await client.put(f"{CONFIG}/a", json={"value": 1}, headers={"if-match": tag})
    assert (first.status_code, first.headers["etag"]) == (200, f'"{first.json()["rev"]}"')
    for attempt in (
        client.put(f"{CONFIG}/a", json={"value": 2}, headers={"if-match": tag}),
        client.put(CONFIG, json={"configs": {}}, headers={"if-match": tag}),
        client.patch(CONFIG, json={"unset": ["a"]}, headers={"if-match": tag}),
        client.delete(f"{CONFIG}/a", headers={"if-match": tag}),
        client.post(f"{INBOX}/config-revert", json={"to": 0}, headers={"if-match": tag}),
    ):
        refused = await attempt
        assert (refused.status_code, refused.json()["code"]) == (412, "changed_meanwhile")
    assert (await client.get(f"{CONFIG}/a")).headers["etag"] == first.headers["etag"]
    newer = {"if-match": f'"0", {first.headers["etag"]}'}
    assert (await client.delete(f"{CONFIG}/a", headers=newer)).status_code == 200


async def test_config_history_lists_changes_with_actors_in_pages(client: httpx2.AsyncClient) -> None:
    for value in (1, 2, "three"):
        await client.put(f"{CONFIG}/a", json={"value": value, "type": "json"})
    page = (await client.get(f"{INBOX}/config-history", params={"limit": 2})).json()
    told = [(one["seq"], one["key"], one["old_value"], one["new_value"]) for one in page["changes"]]
    assert told == [(4, "a", 2, "three"), (3, "a", 1, 2)]
    rest = await client.get(f"{INBOX}/config-history", params={"limit": 2, "cursor": page["next_cursor"]})
    assert [(one["key"], one["actor"]) for one in rest.json()["changes"]][-1] == ("folder", "hub.toml")
    of_key = (await client.get(f"{INBOX}/config-history", params={"key": "folder"})).json()
    assert [(one["old_type"], one["new_type"]) for one in of_key["changes"]] == [(None, "string")]


async def test_config_revert_restores_the_values_as_of_a_change(client: httpx2.AsyncClient) -> None:
    await client.put(f"{CONFIG}/a", json={"value": 1})
    await client.put(f"{CONFIG}/a", json={"value": 2})
    done = await client.post(f"{INBOX}/config-revert", json={"to": 2})
    assert (done.status_code, await now(client)) == (200, {"folder": "in", "a": 1})
    never = await client.post(f"{INBOX}/config-revert", json={"to": 99})
    assert (never.status_code, never.json()["code"]) == (404, "unknown_config")


async def test_agent_config_with_an_invalid_json_value_is_refused(client: httpx2.AsyncClient) -> None:
    for text in ('{"value": NaN}', '{"value": 1e999}', '{"value": "\\ud800"}'):
        sent = await client.put(f"{CONFIG}/a", content=text, headers={"content-type": "application/json"})
        assert sent.status_code in (400, 422), sent.text
    assert await now(client) == {"folder": "in"}
