"""The settings over REST: seen, tried, changed, taken up."""

import os
from pathlib import Path

import httpx2

from hub.settings.schema import settings_schema
from storage import audit
from tests.support.hub import TEXT, ServedHub

ME = f"operator:{os.getuid()}"


async def test_the_settings_in_use_are_reported_with_where_each_value_was_given(
    client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    answer = await client.get("/v1/config")
    told = answer.json()
    file = str(tmp_path / "hub.toml")
    assert (told["file"], told["text"], told["generation"]) == (file, TEXT, 1)
    assert told["settings"]["limits"]["runs"] == 4
    assert told["settings"]["listen"]["devices"]["address"] == "127.0.0.1:0"
    assert told["origins"] == {
        "hub.name": f"{file}:3",
        "limits.runs": f"{file}:6",
        "listen.devices.address": f"{file}:9",
        "listen.operator.address": f"{file}:10",
    }
    assert (told["waiting"], told["refused"], told["on_last_good"]) == ([], [], False)
    assert answer.headers["etag"] == told["tag"]


async def test_a_secret_is_reported_by_its_reference_alone(
    hub: ServedHub, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "url").write_text("postgresql://me:hunter2@db/hub")
    hub.settings.write_text(f'{TEXT}\n[storage]\nurl = {{ file = "url" }}\n')
    assert (await client.post("/v1/reload")).status_code == 200
    told = (await client.get("/v1/config")).text
    assert str(tmp_path / "url") in told
    assert "hunter2" not in told


async def test_a_reload_answers_with_three_lists(hub: ServedHub, client: httpx2.AsyncClient) -> None:
    hub.settings.write_text(TEXT.replace("4", "5\nping_interval_s = 20.0").replace("home", "x"))
    answer = await client.post("/v1/reload")
    (entry,) = await hub.store.read(audit.list_entries, limit=1)
    assert answer.json() == {
        "generation": 2,
        "live": ["limits.runs"],
        "reconnect": ["limits.ping_interval_s"],
        "restart": ["hub.name"],
        "archived": [],
        "warnings": [],
    }
    assert answer.headers["etag"].startswith('"2-')
    assert (entry.event, entry.actor) == ("settings.applied", ME)


async def test_a_broken_file_is_refused_with_its_lines_and_told_until_it_is_mended(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    hub.settings.write_text("[limits]\nruns = 0\n")
    refused = await client.post("/v1/reload")
    told = (await client.get("/v1/config")).json()
    hub.settings.write_text(TEXT)
    await client.post("/v1/reload")
    after = (await client.get("/v1/config")).json()
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_settings")
    assert "hub.toml:2:8: error: limits.runs: must be at least 1" in refused.json()["detail"]
    assert [(one["line"], one["path"]) for one in told["refused"]] == [(2, "limits.runs")]
    assert (told["text"], after["refused"]) == (TEXT, [])


async def test_an_edit_needs_no_tag_but_a_stale_one_is_refused(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    seen = (await client.get("/v1/config")).headers["etag"]
    first = await client.patch("/v1/config", json={"values": {"limits.runs": 5}})
    late = await client.patch("/v1/config", json={"values": {"limits.runs": 6}}, headers={"if-match": seen})
    again = await client.patch(
        "/v1/config",
        json={"values": {"limits.runs": 6}, "without": ["hub.name"]},
        headers={"if-match": first.headers["etag"]},
    )
    assert (first.status_code, late.status_code, again.status_code) == (200, 412, 200)
    assert late.json()["code"] == "changed_meanwhile"
    assert "+runs = 5" in late.json()["detail"]
    assert hub.settings.read_text() == TEXT.replace("4", "6").replace('name = "home"    # where I live\n', "")


async def test_an_edit_says_one_thing(client: httpx2.AsyncClient) -> None:
    answers = [
        await client.patch("/v1/config", json=body)
        for body in ({}, {"text": "", "values": {"limits.runs": 1}}, {"values": {"limits.runs": None}})
    ]
    assert [answer.status_code for answer in answers] == [422, 422, 422]
    assert {answer.json()["code"] for answer in answers} == {"bad_params"}


async def test_the_schema_is_there_for_editors(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/v1/config/schema")).json() == settings_schema()
