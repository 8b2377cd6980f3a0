"""Schedules and slots of agents with their fires in a range of time, over the REST interface."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from hub.base.clock import epoch_ms
from protocol.ids import AgentId, UserId
from storage.agents import declared_agents
from storage.agents.declared_agents import DeclaredAgent
from storage.devices import users
from storage.schedules import schedule_rows, wakes
from storage.schedules.schedule_rows import DeclaredSchedule
from storage.schedules.wakes import INSERT
from tests.support.clock import START
from tests.support.hub import ServedHub


async def plans(client: httpx2.AsyncClient, **asked: str) -> Any:
    return (await client.get("/v1/schedule", params=asked)).raise_for_status().json()["schedules"]


async def test_calendar_lists_past_fires_with_runs_and_next_fires(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await hub.pass_days(2)
    until = (START + timedelta(days=4)).isoformat()
    (plan,) = await plans(client, since=START.isoformat(), until=until)
    (run,) = (await client.get("/v1/runs")).json()["runs"]
    assert (plan["agent"], plan["times"], plan["is_cut"]) == ("notes", "Monday to Friday at 07:00", False)
    assert [fire["fire_at"][:10] for fire in plan["past_fires"]] == ["2026-01-07", "2026-01-06"]
    assert run["id"] in [fire["run"] for fire in plan["past_fires"]]
    assert [fire["at"][:10] for fire in plan["next_fires"]] == ["2026-01-08", "2026-01-09"]
    later = await plans(client, since=until)
    assert later[0]["next_fires"][0]["at"] == "2026-01-12T06:00:00Z"
    assert (later[0]["past_fires"], len(later[0]["next_fires"])) == ([], 5)


async def test_calendar_with_many_fires_is_cut_and_marked_as_cut(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await hub.reschedule(DeclaredSchedule(kind="every", every_ms=60_000))
    (plan,) = await plans(client)
    assert (len(plan["next_fires"]), plan["is_cut"]) == (100, True)
    (plan,) = await plans(client, until=datetime(2026, 1, 5, 9, 30, tzinfo=UTC).isoformat())
    assert (len(plan["next_fires"]), plan["is_cut"]) == (29, False)


async def test_calendar_lists_only_unarchived_agents_of_the_caller(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    anna = await hub.user("anna")
    await hub.agent("letters", user_id=anna, schedule=DeclaredSchedule(kind="cron", expr="0 8 * * *"))
    assert sorted(plan["agent"] for plan in await plans(client)) == ["letters", "notes"]
    assert [plan["agent"] for plan in await plans(client, user="anna")] == ["letters"]
    assert (await client.delete("/v1/agents/letters", params={"user": "anna"})).is_success
    assert [plan["agent"] for plan in await plans(client)] == ["notes"]


NOW = epoch_ms(START)


MINUTE_MS = 60_000


SLOT = DeclaredSchedule(
    kind="cron",
    expr="0 9 * * *",
    tz="Europe/Berlin",
    action="wake",
    label="standup",
    duration_ms=15 * MINUTE_MS,
    catchup_window_ms=15 * MINUTE_MS,
)


def keep_slots(c: sa.Connection) -> None:
    """An agent with a slot that came twice, and one of somebody else."""
    owner = users.ensure_user(c, UserId("u"), "owner", 1)
    users.ensure_user(c, UserId("u-anna"), "anna", 1)
    declared = [
        DeclaredAgent(name="inbox", device_name="lab", slots=(SLOT,)),
        DeclaredAgent(name="letters", device_name="phone", user_name="anna"),
    ]
    fresh = [f"{kind}-{agent.name}" for agent in declared for kind in "adsu"]
    declared_agents.reconcile_declared(c, user_id=owner, declared=declared, at=1, fresh_ids=fresh)
    (slot,) = schedule_rows.slots_of(c, AgentId("a-inbox"))
    for place, id in enumerate(("older", "newer")):
        at = NOW - (3 - place) * MINUTE_MS
        c.execute(
            INSERT,
            wakes.wake_row(
                id, schedule_id=slot.id, agent_id=slot.agent_id, fire_at=at, duration_ms=MINUTE_MS, at=at
            ),
        )
    wakes.settle(c, "older", "failed", "wake_failed", at=NOW, reason="device_offline")


@pytest.fixture
async def with_slots(hub: ServedHub) -> None:
    """Store the slots."""
    await hub.store.write(keep_slots)


async def slots_of(client: httpx2.AsyncClient, **asked: Any) -> Any:
    return (await client.get("/v1/agents/inbox/slots", params=asked)).raise_for_status().json()


@pytest.mark.usefixtures("with_slots")
async def test_slot_calendar_lists_next_times_in_the_slot_timezone(
    client: httpx2.AsyncClient,
) -> None:
    (slot,) = (await slots_of(client))["slots"]
    assert (slot["label"], slot["said"], slot["duration_s"]) == ("standup", "every day at 09:00", 900)
    assert len(slot["next_times"]) == 5
    first = slot["next_times"][0]
    assert (first["starts_at"], first["ends_at"]) == ("2026-01-06T08:00:00Z", "2026-01-06T08:15:00Z")
    assert first["local"] == "2026-01-06T09:00:00+01:00"


@pytest.mark.usefixtures("with_slots")
async def test_slot_wakes_are_listed_with_the_outcome_in_words_in_pages(
    client: httpx2.AsyncClient,
) -> None:
    first = await slots_of(client, limit=1)
    rest = await slots_of(client, limit=1, cursor=first["next_cursor"])
    assert [(wake["id"], wake["state"], wake["said"]) for wake in first["wakes"] + rest["wakes"]] == [
        ("newer", "waiting", "not sent yet"),
        ("older", "failed", "the agent did not wake: device lab was offline"),
    ]
    assert rest["next_cursor"] is None
