"""What agents can do and remember, over the REST interface."""

from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from protocol.ids import UserId
from protocol.requirements import parse_version
from storage import audit
from storage.agents import declared_agents
from storage.agents.configs import Capability
from storage.agents.declared_agents import DeclaredAgent
from storage.devices import devices
from tests.support.hub import ServedHub

CAPABILITIES = "/v1/agents/inbox/capabilities"
CHECKPOINTS = "/v1/agents/inbox/checkpoints"


def keep(c: sa.Connection) -> None:
    """An agent of hub.toml that can read files."""
    owner = devices.ensure_user(c, UserId("u"), "owner", 1)
    able = Capability(name="file.read", version=parse_version("1.2.0"), enabled=True)
    inbox = DeclaredAgent(
        name="inbox",
        device_name="lab",
        paths=("mail",),
        data_types=("tasks",),
        prompt="Find tasks.",
        capabilities=(able,),
    )
    declared_agents.reconcile_declared(
        c, user_id=owner, declared=[inbox], at=1, fresh_ids=["a-1", "d-1", "s-1", "u"]
    )


@pytest.fixture(autouse=True)
async def _rows(hub: ServedHub) -> None:
    """Store the rows of ``keep``."""
    await hub.store.write(keep)


async def able(client: httpx2.AsyncClient) -> list[str]:
    listed = (await client.get(CAPABILITIES)).json()["capabilities"]
    return [f"{one['name']} {one['version']}{' enabled' if one['enabled'] else ''}" for one in listed]


async def test_what_an_agent_can_do_is_registered_and_removed(
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


async def test_what_was_changed_meanwhile_is_not_changed(client: httpx2.AsyncClient) -> None:
    tag = (await client.get(CAPABILITIES)).headers["etag"]
    changed = await client.put(f"{CAPABILITIES}/web/1.0.0", json={}, headers={"if-match": tag})
    assert changed.status_code == 200
    late = await client.put(f"{CAPABILITIES}/web/2.0.0", json={}, headers={"if-match": tag})
    assert (late.status_code, late.json()["code"]) == (412, "changed_meanwhile")


async def test_a_checkpoint_is_kept_read_and_cleared(client: httpx2.AsyncClient) -> None:
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


async def test_a_run_has_the_needs_locks_context_and_task_of_its_request(client: httpx2.AsyncClient) -> None:
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
    assert (run["context"], run["task_id"]) == ({"why": "asked", "task_id": "t-7"}, "t-7")
    run = (await client.get(f"/v1/runs/{plain.json()['id']}")).json()
    assert (run["needs"], run["locks"], run["context"]) == ([], [], {})


async def test_an_agent_that_is_made_can_do_at_once_what_is_said_of_it(client: httpx2.AsyncClient) -> None:
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
