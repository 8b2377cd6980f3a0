"""What happened since a person looked the last time, counted by the operators' interface."""

from datetime import timedelta
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from hub.api.nouns import overviews
from protocol.ids import UserId
from protocol.lifecycles import RunOutcome, RunState
from storage.agents import agents
from storage.devices import devices
from storage.schema import items, model_calls
from tests.support.hub import ServedHub

HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
async def _rows(hub: ServedHub) -> None:
    """Store runs, items and calls, two hours apart."""
    await hub.run("r-old", RunState.FAILED)
    hub.clock.advance(7_200)
    await hub.run("r-1", RunState.COMPLETED, outcome=RunOutcome.SUCCESS)
    await hub.run("r-2", RunState.FAILED)
    await hub.run("r-3", RunState.CANCELLED)
    await hub.store.write(fill, hub.now_ms)


def fill(c: sa.Connection, at: int) -> None:
    """Store an item of each verdict and age, and calls of models, of the agent ``notes``."""
    agent = agents.agent_called(c, "notes", None)
    old = at - 2 * HOUR_MS
    hashes = dict.fromkeys(("likeness", "quote_hash", "place_hash", "config_fingerprint"), "0")
    of = {"user_id": agent.user_id, "agent_id": agent.id}
    item = hashes | of | {"unit_key": "a.md", "target_table": "tasks", "run_id": "r-1", "updated_at": at}
    rows: list[dict[str, Any]] = [
        {"verdict": "open", "created_at": at, "verdict_at": None},
        {"verdict": "open", "created_at": old, "verdict_at": None},
        {"verdict": "approved", "created_at": old, "verdict_at": at},
        {"verdict": "edited", "created_at": at, "verdict_at": at},
        {"verdict": "rejected", "created_at": old, "verdict_at": at},
        {"verdict": "rejected", "created_at": old, "verdict_at": old},
    ]
    c.execute(
        sa.insert(items), [item | row | {"id": f"i-{n}", "call_id": f"c-{n}"} for n, row in enumerate(rows)]
    )
    call = of | {"question": "q", "model": "m", "outcome": "answered", "cost_nanos": 250_000_000}
    c.execute(
        sa.insert(model_calls), [call | {"id": f"m-{n}", "at": when} for n, when in enumerate((at, at, old))]
    )


async def summary(client: httpx2.AsyncClient, hub: ServedHub, hours: float = 1) -> dict[str, Any]:
    since = (hub.clock.now() - timedelta(hours=hours)).isoformat()
    answer = await client.get("/v1/summary", params={"since": since})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_summary_counts_what_happened_since_then(hub: ServedHub, client: httpx2.AsyncClient) -> None:
    await client.post("/v1/boards", json={"name": "garden"})
    await client.post("/v1/boards/garden/ask-user", json={"content": "Red?"})
    found = await summary(client, hub)
    assert found["runs"] == {"success": 1, "partial": 0, "failed": 1, "cancelled": 1}
    assert found["items"] == {"found": 2, "approved": 2, "rejected": 1, "waiting": 2}
    assert found["questions"] == {"asked": 1, "open": 1}
    assert found["costs"] == {"requests": 2, "usd": 0.5, "is_part": False}
    earlier = await summary(client, hub, hours=3)
    assert (earlier["runs"]["failed"], earlier["items"]["found"], earlier["items"]["rejected"]) == (
        2,
        6,
        2,
    )
    listed = (await client.get("/v1/runs", params={"outcome": "failed", "since": found["since"]})).json()
    assert [run["id"] for run in listed["runs"]] == ["r-2"], "the list that a count leads to"
    later = await summary(client, hub, hours=-1)
    assert later["runs"]["success"] == later["items"]["found"] == later["questions"]["asked"] == 0
    assert (later["items"]["waiting"], later["questions"]["open"]) == (2, 1)


async def test_a_summary_counts_only_what_is_the_callers(hub: ServedHub, client: httpx2.AsyncClient) -> None:
    await hub.store.write(devices.ensure_user, UserId("u-other"), "other", 1)
    assert (await client.get("/v1/summary")).json()["runs"]["failed"] == 2, "of the last 24 hours"
    mine = (await client.get("/v1/summary", params={"user": "owner"})).json()
    others = (await client.get("/v1/summary", params={"user": "other"})).json()
    assert (mine["runs"]["failed"], mine["items"]["found"], mine["costs"]["usd"]) == (2, 6, 0.75)
    assert not any([*others["runs"].values(), *others["items"].values(), others["costs"]["usd"]])


async def test_counts_and_sums_end_at_a_limit(
    hub: ServedHub, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overviews, "MOST_COUNTED", 1)
    monkeypatch.setattr(overviews, "MOST_CALLS", 2)
    found = await summary(client, hub, hours=3)
    assert (found["runs"]["failed"], found["items"]["found"], found["items"]["waiting"]) == (1, 1, 1)
    assert found["costs"] == {"requests": 2, "usd": 0.5, "is_part": True}
