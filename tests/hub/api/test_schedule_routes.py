"""The calendar of all agents: schedules and slots with their fires in a range of time.

The agent ``notes`` runs each morning of a working day, at 06:00 UTC.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2

from storage.schedules.schedule_rows import DeclaredSchedule
from tests.support.clock import START
from tests.support.hub import ServedHub


async def plans(client: httpx2.AsyncClient, **asked: str) -> list[dict[str, Any]]:
    answer = await client.get("/v1/schedule", params=asked)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["schedules"]
    return found


async def test_a_calendar_has_past_fires_with_their_runs_and_the_next_ones(
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


async def test_a_calendar_of_many_fires_is_cut_and_says_so(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await hub.reschedule(DeclaredSchedule(kind="every", every_ms=60_000))
    (plan,) = await plans(client)
    assert (len(plan["next_fires"]), plan["is_cut"]) == (100, True)
    (plan,) = await plans(client, until=datetime(2026, 1, 5, 9, 30, tzinfo=UTC).isoformat())
    assert (len(plan["next_fires"]), plan["is_cut"]) == (29, False)


async def test_a_calendar_has_the_callers_own_agents_only_and_none_that_are_archived(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    anna = await hub.user("anna")
    await hub.agent("letters", user_id=anna, schedule=DeclaredSchedule(kind="cron", expr="0 8 * * *"))
    assert sorted(plan["agent"] for plan in await plans(client)) == ["letters", "notes"]
    assert [plan["agent"] for plan in await plans(client, user="anna")] == ["letters"]
    assert (await client.delete("/v1/agents/letters", params={"user": "anna"})).is_success
    assert [plan["agent"] for plan in await plans(client)] == ["notes"]
