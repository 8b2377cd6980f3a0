"""Settings over the REST interface: shown, checked, changed, applied, compared and reverted."""

import os
from pathlib import Path
from typing import Any

import httpx2
import pytest

from hub.settings.editor_schema import settings_schema
from hub.settings.reload import Reloader
from storage import audit
from tests.support.hub import TEXT, ServedHub, answer, open_empty_hub, over_unix

ME = f"operator:{os.getuid()}"


async def test_config_route_reports_settings_in_use_with_the_origin_of_each_value(
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


async def test_config_route_reports_a_secret_only_by_reference(
    hub: ServedHub, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "url").write_text("postgresql://me:hunter2@db/hub")
    hub.settings.write_text(f'{TEXT}\n[storage]\nurl = {{ file = "url" }}\n')
    assert (await client.post("/v1/reload")).status_code == 200
    told = (await client.get("/v1/config")).text
    assert str(tmp_path / "url") in told
    assert "hunter2" not in told


async def test_reload_route_lists_live_reconnect_and_restart_changes(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
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


async def test_reload_of_a_broken_file_is_refused_and_reported_until_repaired(
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


async def test_config_edit_is_accepted_without_an_etag_and_refused_if_stale(
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


async def test_empty_or_ambiguous_config_edit_is_refused(client: httpx2.AsyncClient) -> None:
    answers = [
        await client.patch("/v1/config", json=body)
        for body in ({}, {"text": "", "values": {"limits.runs": 1}}, {"values": {"limits.runs": None}})
    ]
    assert [answer.status_code for answer in answers] == [422, 422, 422]
    assert {answer.json()["code"] for answer in answers} == {"bad_params"}


async def test_config_schema_route_returns_the_settings_schema(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/v1/config/schema")).json() == settings_schema()


class Killed(BaseException):
    """End of a process in the middle of a change."""


class KilledAfterTheFile(Reloader):
    """Ends when hub.toml is written, and nothing else."""

    def _write(self, text: str) -> None:
        super()._write(text)
        raise Killed


class KilledAfterTheRow(Reloader):
    """Ends when the change is committed, before its text is kept."""

    async def _keep(self) -> None:
        if self.generation > 1:
            raise Killed
        await super()._keep()


async def test_config_history_lists_author_and_origin_and_revert_checks_the_etag(
    hub: ServedHub, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    hub.settings.write_text(TEXT.replace("runs = 4 ", "runs = 5 "))
    read = await client.post("/v1/reload")
    (tmp_path / "key").write_text("k")
    values = {
        "limits.runs": 6,
        "model.kind": "openai",
        "model.name": "m",
        "model.api_key": {"file": "key"},
    }
    values |= {"model.base_url": "https://host/v1"}
    edited = await client.patch("/v1/config", json={"values": values})
    assert edited.status_code == 200, edited.text
    stale = {"if-match": read.headers["etag"]}
    refused = await client.post("/v1/config/revert", json={"generation": 2}, headers=stale)
    assert (refused.status_code, refused.json()["code"]) == (412, "changed_meanwhile")
    seen = {"if-match": edited.headers["etag"]}
    reverted = await client.post("/v1/config/revert", json={"generation": 2}, headers=seen)
    assert reverted.status_code == 200, reverted.text
    changes = (await client.get("/v1/config/history")).json()["changes"]
    assert "runs = 5         # at once" in hub.settings.read_text()
    listed = [(one["generation"], one["source"], one["key"], one["old"], one["new"]) for one in changes]
    assert listed[-1] == (2, "file", "limits.runs", "4", "5")
    assert (4, "revert", "model.name", '"m"', None) in listed
    assert (3, "edit", "limits.runs", "5", "6") in listed
    assert (3, "edit", "model.api_key", None, '{ file = "key" }') in listed
    assert {one["node"] for one in changes} == {hub.context.node.id}


async def test_config_check_lists_effects_and_problems_without_writing(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:

    async def check(**edit: object) -> Any:
        return (await client.post("/v1/config/check", json=edit)).json()

    fine = await check(values={"hub.name": "x"}, without=["limits.runs"])
    assert (fine["ok"], fine["live"], fine["restart"]) == (True, ["limits.runs"], ["hub.name"])
    wrong = await check(values={"limits.runs": "many"})
    assert (wrong["ok"], wrong["live"]) == (False, [])
    assert (wrong["problems"][0]["file"], wrong["problems"][0]["line"]) == ("limits.runs", 0)
    assert (await check(values={"nonsense": 1}))["code"] == "bad_params"
    assert (await check(text=TEXT.replace("4", "5")))["live"] == ["limits.runs"]
    bad = await check(text="[limits]\nruns = 0")
    assert (bad["ok"], [one["line"] for one in bad["problems"]]) == (False, [2])
    assert hub.settings.read_text() == TEXT


async def test_config_revert_to_a_now_invalid_value_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k")
    (tmp_path / "other").write_text("k")
    model = (
        '\n[model]\nkind = "openai"\nname = "m"\nbase_url = "https://host/v1"\napi_key = { file = "key" }\n'
    )
    async with open_empty_hub(tmp_path, TEXT + model) as hub:
        answer(hub)
        async with over_unix(hub) as client:
            edited = await client.patch("/v1/config", json={"values": {"model.api_key": {"file": "other"}}})
            assert edited.status_code == 200, edited.text
            (tmp_path / "key").unlink()
            before = hub.settings.read_text()
            refused = await client.post("/v1/config/revert", json={"key": "model.api_key"})
        assert (refused.status_code, refused.json()["code"]) == (422, "bad_settings")
        assert "cannot read" in refused.json()["detail"]
        assert hub.settings.read_text() == before


@pytest.mark.parametrize(("killed", "source"), [(KilledAfterTheFile, "start"), (KilledAfterTheRow, "edit")])
async def test_config_change_of_a_killed_hub_is_listed_once_in_the_history(
    killed: type[Reloader], source: str, tmp_path: Path
) -> None:
    database = f"sqlite:///{tmp_path}/hub.db"
    async with open_empty_hub(tmp_path, database=database, reloader=killed) as hub:
        answer(hub)
        async with over_unix(hub) as client:
            with pytest.raises(Killed):
                await client.patch("/v1/config", json={"values": {"limits.runs": 6}})
        text = hub.settings.read_text()
    async with open_empty_hub(tmp_path, text, database=database) as hub:
        answer(hub)
        async with over_unix(hub) as client:
            found = (await client.get("/v1/config")).json()
            (change,) = (await client.get("/v1/config/history")).json()["changes"]
            assert (found["settings"]["limits"]["runs"], found["generation"]) == (6, 2)
            assert (change["source"], change["old"], change["new"]) == (source, "4", "6")
            assert (await client.post("/v1/config/revert", json={"key": "limits.runs"})).status_code == 200
        assert hub.settings.read_text() == TEXT
