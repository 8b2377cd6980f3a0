"""Assistants query approved rows, and read files, of a real device, as its owner grants; also after kills."""

import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from hub.device import grants
from tests.scenarios.scene import Scene, rows
from tests.scenarios.test_verdicts import GRANT, come, found, give, ids
from tests.support.processes import POLL_S, ROOT, HubProcess
from tests.support.proxy import Direction

ASKED = {"table": "tasks", "fields": ["title"]}
KEY = {"idempotency-key": "the-same"}


async def _asked(hub: HubProcess, token: str) -> httpx2.Response:
    address = (await hub.get("/v1/status"))["listeners"]["operator"]
    headers = {"authorization": f"Bearer {token}"} | KEY
    async with httpx2.AsyncClient(base_url=f"http://{address}", headers=headers, timeout=30) as client:
        return await client.post("/v1/devices/desk/calls", json=ASKED)


async def _grant(play: Scene, *changes: str) -> None:
    """Change the owner's grants, as ``hub grants`` does, and wait until the hub knows."""
    with closing(sqlite3.connect(play.device.database)) as db, db:
        (hub,) = {hub for (hub,) in db.execute("SELECT hub FROM owner_grants")}
        granted = grants.change(db, hub, changes)
    with anyio.fail_after(30):
        while (await _known(play)) != granted:
            await anyio.sleep(POLL_S)


async def _known(play: Scene) -> dict[str, list[str]]:
    device = await play.hub.get("/v1/devices/desk")
    return {one["name"]: one["tables"] for one in device["owner_grants"]}


@pytest.mark.soak
async def test_rows_are_read_with_a_grant_and_once_under_kills(tmp_path: Path) -> None:
    async with found(tmp_path, GRANT) as play:
        first, second, *_ = await ids(play)
        await give(play, "approve", [first, second])
        await come(play, [first, second], "done")
        limits = {"devices": ["desk"], "tables": ["tasks"]}
        wanted = {"name": "helper", "role": "viewer", "scopes": ["read", "rows"], "limits": limits}
        token = (await play.hub.post("/v1/operator-tokens", wanted))["token"]
        refused = await _asked(play.hub, token)
        assert (refused.status_code, refused.json()["code"]) == (403, "not_granted")
        assert "hub grants +rows.read=tasks" in refused.json()["hint"]
        await _grant(play, "+rows.read=tasks")
        calls: list[str] = []
        usual = play.wire.on_frame

        async def kill(direction: Direction, frame: dict[str, Any]) -> bool:
            if direction != "to_hub" or not str(frame.get("id", "")).startswith("q-"):
                return bool(await usual(direction, frame))
            calls.append(frame["id"])
            if len(calls) == 1:
                with anyio.CancelScope(shield=True):
                    await play.kill_hub()
                return False
            return True

        play.wire.on_frame = kill
        with suppress(httpx2.HTTPError):
            await _asked(play.hub, token)
        await play.start_hub()
        await play.has_connected()
        again = await _asked(play.hub, token)
        assert again.status_code == 200, again.text
        titles = {(await play.hub.get(f"/v1/items/{id}"))["title"] for id in (first, second)}
        assert {one["row"]["title"] for one in again.json()["rows"]} == titles
        assert calls == [again.json()["call_id"]] * 2
        kept = rows(play.device.database, "SELECT count(*) FROM calls WHERE call_id LIKE 'q-%'")
        assert kept == [(1,)]
        entries = (await play.hub.get("/v1/audit?event=device.called"))["entries"]
        assert [one["detail"]["table"] for one in entries] == ["tasks"] * 2
        await _grant(play, "-rows.read")
        assert (await _asked(play.hub, token)).json()["code"] == "not_granted"


async def test_granted_files_are_read_alike_by_command_and_over_rest(tmp_path: Path) -> None:
    async with found(tmp_path, GRANT) as play:
        (play.folder / "notes" / ".private.md").write_text("private")
        (play.folder / "notes" / "way.md").symlink_to(play.folder / "hub.toml")
        read, listed = "/v1/devices/desk/calls/read-file", "/v1/devices/desk/calls/list-files"
        assert "+files.read=notes" in (await play.hub.ask("POST", listed, json={})).json()["hint"]
        await _grant(play, "+files.read=notes")
        found_files = (await play.hub.post(listed, {"folder": "notes"}))["files"]
        paths = [one["path"] for one in found_files]
        assert paths and all(path.startswith("notes/") for path in paths)
        assert not {"notes/.private.md", "notes/way.md"} & {*paths}
        for path in paths:
            part = await play.hub.post(read, {"path": path})
            assert part["content"] == (play.folder / path).read_text()
        for path in ("notes/.private.md", "notes/way.md", "notes/nothing.md"):
            refused = await play.hub.ask("POST", read, json={"path": path})
            assert refused.json()["code"] == "unknown_file", refused.text
        sent = rows(play.device.database, "SELECT path FROM sent WHERE reader LIKE 'assistant %'")
        assert [path for (path,) in sent] == paths
        text = (play.folder / paths[0]).read_text()
        (play.folder / paths[0]).write_text(f"{text}\x1b]0;t\x07")
        shown = {
            words: (await _typed(play, "devices", *words)).decode()
            for words in (("read", "desk", paths[0]), ("files", "desk", "notes"), ("files", "desk"))
        }
        read_out, listing, folders = shown.values()
        assert read_out.startswith(text) and "\x1b" not in read_out
        assert paths[0] in listing and "notes" in folders


async def test_values_changed_by_the_owner_are_unknown_until_shown_under_a_grant(
    tmp_path: Path,
) -> None:
    async with found(tmp_path, GRANT) as play:
        first, *_ = await ids(play)
        await give(play, "approve", [first])
        await come(play, [first], "done")
        assert "but" not in (await _shown(play, first)), "as it was brought"
        with closing(sqlite3.connect(play.device.database)) as db, db:
            db.execute("UPDATE tasks SET status = 'done' WHERE isApproved")
        with anyio.fail_after(30):
            while (item := await play.hub.get(f"/v1/items/{first}"))["verdict"] != "edited":
                await anyio.sleep(POLL_S)
        assert item["data"]["status"] == "todo"
        assert "its owner changed it at the device" in (await _shown(play, first))["but"]
        await _grant(play, "+rows.read=tasks")
        asked = {"table": "tasks", "where": {"id": item["row_id"]}}
        (one,) = (await play.hub.post("/v1/devices/desk/calls", asked))["rows"]
        assert one["row"]["status"] == "done"


async def _shown(play: Scene, id: str) -> dict[str, str]:
    """Return the facts that ``hub items show`` prints, by their headers."""
    lines = (await _typed(play, "items", "show", id)).decode().splitlines()
    return {head: text.strip() for head, _, text in (line.partition("  ") for line in lines)}


async def _typed(play: Scene, *words: str) -> bytes:
    """Return what ``hub`` with *words* prints."""
    command = [sys.executable, "-m", "hub", "--state", str(play.folder), *words]
    done = await anyio.run_process(command, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
