"""What an operator does with agents and runs over the REST interface."""

import os

import httpx2

from protocol.lifecycles import RunState
from tests.support.hub import ServedHub

ME = f"operator:{os.getuid()}"


async def test_every_answer_about_an_agent_has_its_next_fires(client: httpx2.AsyncClient) -> None:
    listed = (await client.get("/v1/agents")).json()["agents"][0]
    one = (await client.get("/v1/agents/notes")).json()
    paused = (await client.post("/v1/agents/notes/pause")).json()
    fires = (await client.get("/v1/agents/notes/next")).json()["schedules"][0]["next_fires"]
    assert fires[0] == {"at": "2026-01-06T06:00:00Z", "local": "2026-01-06T07:00:00+01:00", "shift": None}
    assert listed["next_fires"] == one["next_fires"] == paused["next_fires"] == fires


async def test_past_fires_have_their_decision_as_a_stable_word_and_as_a_sentence(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await hub.pass_days(2)
    second, first = (await client.get("/v1/agents/notes/fires")).json()["fires"]
    assert (first["decision"], first["said"], first["fires"]) == ("run", "a run was queued", 1)
    assert (second["decision"], second["run"]) == ("coalesced", first["run"])
    assert second["said"] == "one run covers it: a run was waiting already"
    assert (await client.get(f"/v1/runs/{first['run']}")).json()["trigger"] == "catchup"


async def test_an_agent_is_paused_and_resumed_with_the_caller_as_actor(
    client: httpx2.AsyncClient,
) -> None:
    assert (await client.post("/v1/agents/notes/pause")).json()["lifecycle"] == "paused"
    assert (await client.post("/v1/agents/notes/resume")).json()["lifecycle"] == "active"
    history = (await client.get("/v1/agents/notes/history", params={"axis": "lifecycle"})).json()["moves"]
    assert [(move["after"], move["actor"]) for move in history[:2]] == [("active", ME), ("paused", ME)]


async def test_a_backfill_without_instants_is_refused(client: httpx2.AsyncClient) -> None:
    for wanted in (
        {},
        {"from": "2026-01-01T00:00:00", "to": "2026-01-03T00:00:00Z"},
        {"from": "yesterday", "to": "2026-01-03T00:00:00Z"},
    ):
        answer = await client.post("/v1/agents/notes/backfill", json=wanted)
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_params"), wanted
    assert (await client.get("/v1/runs")).json()["runs"] == []


async def test_a_run_is_stopped_with_the_caller_as_actor(hub: ServedHub, client: httpx2.AsyncClient) -> None:
    for number, (action, body, state, reason) in enumerate(
        (
            ("cancel", {"reason": "wrong folder"}, RunState.CANCELLED, "wrong folder"),
            ("cancel", None, RunState.CANCELLED, "cancelled by an operator"),
            ("pause", None, RunState.PAUSED, None),
        )
    ):
        await hub.run(f"r-{number}")
        answer = await client.post(f"/v1/runs/r-{number}/{action}", json=body)
        move = (await client.get(f"/v1/runs/r-{number}")).json()["history"][-1]
        assert answer.json()["state"] == move["after"] == state
        assert (move["actor"], move["reason"]) == (ME, reason)


async def test_a_rerun_is_answered_with_the_address_of_the_new_run(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await hub.run("r-1", RunState.COMPLETED)
    answer = await client.post("/v1/runs/r-1/rerun")
    again = answer.json()["id"]
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/runs/{again}")
    assert (await client.get(f"/v1/runs/{again}")).json()["rerun_of"] == "r-1"
