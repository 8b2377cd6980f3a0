"""What an operator does with agents and runs over the REST interface."""

import os
from pathlib import Path

import pytest

from protocol.lifecycles import RunState
from tests.support.facade import FakeHub, answering, make_decision, make_run, over_unix, steps

ME = f"operator:{os.getuid()}"


async def test_every_answer_about_an_agent_has_its_next_fires(tmp_path: Path) -> None:
    async with answering(FakeHub(), tmp_path) as listening, over_unix(listening) as client:
        listed = (await client.get("/v1/agents")).json()["agents"][0]
        one = (await client.get("/v1/agents/notes")).json()
        paused = (await client.post("/v1/agents/notes/pause")).json()
        told = (await client.get("/v1/agents/notes/next")).json()["schedules"][0]["next_fires"]
    assert told[0] == {"at": "2026-01-06T06:00:00Z", "local": "2026-01-06T07:00:00+01:00", "shift": None}
    assert listed["next_fires"] == one["next_fires"] == paused["next_fires"] == told


async def test_what_became_of_fires_is_told_in_words_and_in_stable_words(tmp_path: Path) -> None:
    hub = FakeHub()
    hub.decided = [make_decision("skipped_overlap", "skipped: the run before was still going")]
    async with answering(hub, tmp_path) as listening, over_unix(listening) as client:
        (told,) = (await client.get("/v1/agents/notes/fires", params={"limit": 5})).json()["fires"]
    assert (told["decision"], told["said"], told["fires"]) == (
        "skipped_overlap",
        "skipped: the run before was still going",
        1,
    )


async def test_an_agent_is_paused_and_resumed_in_the_name_of_who_asks(tmp_path: Path) -> None:
    hub = FakeHub()
    async with answering(hub, tmp_path) as listening, over_unix(listening) as client:
        assert (await client.post("/v1/agents/notes/pause")).json()["lifecycle"] == "paused"
        assert (await client.post("/v1/agents/notes/resume")).json()["lifecycle"] == "active"
        await client.post("/v1/agents/notes/resume", json={"catch_up": True})
    assert hub.done == [
        ("pause agent", "notes", ME),
        ("resume agent", "notes", "", ME),
        ("resume agent", "notes", "catch up", ME),
    ]


async def test_a_backfill_can_be_tried_without_queueing_anything(tmp_path: Path) -> None:
    wanted = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-03T00:00:00+01:00"}
    async with answering(FakeHub(), tmp_path) as listening, over_unix(listening) as client:
        tried = (await client.post("/v1/agents/notes/backfill", json=wanted | {"dry_run": True})).json()
        done = (await client.post("/v1/agents/notes/backfill", json=wanted)).json()
    assert (tried["wanted"], tried["runs"]) == (2, [])
    assert (done["wanted"], len(done["runs"])) == (2, 2)


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"from": "2026-01-01T00:00:00", "to": "2026-01-03T00:00:00Z"},
        {"from": "yesterday", "to": "2026-01-03T00:00:00Z"},
    ],
)
async def test_a_backfill_without_instants_is_refused(tmp_path: Path, wanted: dict[str, str]) -> None:
    hub = FakeHub()
    async with answering(hub, tmp_path) as listening, over_unix(listening) as client:
        answer = await client.post("/v1/agents/notes/backfill", json=wanted)
    assert (answer.status_code, answer.json()["code"], hub.done) == (422, "bad_params", [])


@pytest.mark.parametrize(
    ("what", "body", "state", "done"),
    [
        ("cancel", {"reason": "wrong folder"}, "CANCELLED", ("cancel run", "r-1", "wrong folder", ME)),
        ("cancel", None, "CANCELLED", ("cancel run", "r-1", "cancelled by an operator", ME)),
        ("pause", None, "PAUSED", ("pause run", "r-1", ME)),
    ],
)
async def test_a_run_is_stopped_in_the_name_of_who_asks(
    tmp_path: Path, what: str, body: object, state: str, done: tuple[str, ...]
) -> None:
    hub = FakeHub()
    async with answering(hub, tmp_path) as listening, over_unix(listening) as client:
        answer = await client.post(f"/v1/runs/r-1/{what}", json=body)
    assert (answer.json()["state"], hub.done) == (state, [done])


async def test_a_paused_run_is_resumed_and_another_is_not(tmp_path: Path) -> None:
    hub = FakeHub()
    hub.progress = steps(make_run("r-2", RunState.PAUSED))
    async with answering(hub, tmp_path) as listening, over_unix(listening) as client:
        assert (await client.post("/v1/runs/r-2/resume")).json()["state"] == "QUEUED"
        refused = await client.post("/v1/runs/r-1/resume")
    assert (refused.status_code, refused.json()["code"]) == (409, "illegal_transition")


async def test_a_rerun_says_where_the_new_run_stands(tmp_path: Path) -> None:
    async with answering(FakeHub(), tmp_path) as listening, over_unix(listening) as client:
        answer = await client.post("/v1/runs/r-1/rerun")
    assert (answer.status_code, answer.headers["location"]) == (202, "/v1/runs/r-again")
