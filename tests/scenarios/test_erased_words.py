"""No file of the state folder has a word of an erased person while the hub runs."""

import json
from pathlib import Path

import anyio
import httpx2
import pytest
import sqlalchemy as sa
from websockets.asyncio.client import connect

from storage.schema import item_words, items
from tests.storage.rows import AT
from tests.storage.test_user_data import ANNA
from tests.support.processes import HubProcess, closing

WORDS = 200
WITHIN_S = 20.0


def words() -> list[str]:
    """Words that no program has; few begin alike, as an index writes only once how neighbours begin."""
    return [f"{chr(ord('a') + number % 26)}zq{number:03}wvx" for number in range(WORDS)]


def make_items(c: sa.Connection, agent_id: str, named: list[str], user_id: str = ANNA) -> None:
    """Add items whose titles and paths have the words."""
    same = dict.fromkeys(("target_table", "likeness", "quote_hash", "place_hash"), "a")
    same |= dict.fromkeys(("config_fingerprint", "run_id"), "a")
    rows = [
        {
            "id": f"item-{number}",
            "user_id": user_id,
            "agent_id": agent_id,
            "data": {"title": f"call {word}", "text": f"{word} " * 20},
            "call_id": f"call-{number}",
            "unit_key": f"letters/{word}.md",
            "created_at": AT,
            "updated_at": AT,
            **same,
        }
        for number, word in enumerate(named * 5)
    ]
    c.execute(sa.insert(items), rows)
    others = {"user_id": user_id} | dict.fromkeys(("project", "person", "body"), "")
    indexed = [
        {"number": number + 1, "item_id": f"item-{number}", "title": f"call {word}"} | others
        for number, word in enumerate(named * 5)
    ]
    c.execute(sa.insert(item_words), indexed)


async def act_as_administrator(hub: HubProcess, named: list[str]) -> None:
    """Name things of the person in requests of another one, and in hub.toml for a while."""
    token = (await hub.post("/v1/operator-tokens", {"name": "other", "role": "admin"}))["token"]
    address = (await hub.get("/v1/status"))["listeners"]["operator"]
    headers = {"authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(base_url=f"http://{address}", headers=headers) as client:
        for change in ("pause", "resume"):
            (await client.post(f"/v1/agents/{named[2]}/{change}")).raise_for_status()
    settings = hub.folder / "hub.toml"
    before = settings.read_text()
    declared = f"""
[[agents]]
name = "{named[12]}"
user = "{named[0]}"
device = "{named[1]}"
paths = ["notes"]
data_types = ["tasks"]
prompt = "Find {named[9]}."
"""
    for text in (before + declared, before + declared.replace("Find", "Look for"), before):
        settings.write_text(text)
        await hub.post("/v1/reload")


def found_in(folder: Path, named: list[str]) -> dict[str, list[str]]:
    """Return the files that have words, with those words."""
    left: dict[str, list[str]] = {}
    for path in folder.rglob("*"):
        if path.is_file() and "backups" not in path.parts:
            content = path.read_bytes()
            if has := [word for word in named if word.encode() in content]:
                left[path.name] = has
    return left


@pytest.mark.slow
async def test_erasure_on_a_running_hub_leaves_no_word_in_the_state_folder(tmp_path: Path) -> None:
    named = words()
    hub = HubProcess(tmp_path, is_forked=False)
    async with closing(hub):
        await hub.start()
        await hub.post("/v1/users", {"name": named[0]})
        await hub.post("/v1/users", {"name": "bob"})
        token = (await hub.post(f"/v1/tokens?user={named[0]}", {"device": named[1]}))["token"]
        async with connect(await hub.device_url() + "/v1/device", compression=None) as socket:
            await socket.send(json.dumps({"type": "device_hello", "token": token}))
            while json.loads(await socket.recv())["type"] != "welcome":
                pass
        for word in named[2:8]:
            wanted = {
                "name": word,
                "device": named[1],
                "paths": [f"letters/{named[8]}"],
                "data_types": ["tasks"],
                "prompt": f"Find {named[9]}.",
            }
            await hub.post(f"/v1/agents?user={named[0]}", wanted)
            for change in ("pause", "resume"):
                await hub.post(f"/v1/agents/{word}/{change}")
            await hub.ask("PUT", f"/v1/agents/{word}/config/prompt", json={"value": f"Find {named[10]}."})
            await hub.ask("PUT", f"/v1/agents/{word}/config/{named[10]}", json={"value": named[10]})
            await hub.ask("PATCH", f"/v1/agents/{word}", json={"prompt": f"Find {named[11]}."})
            await hub.ask("POST", f"/v1/agents/{word}/runs", json={})
            await hub.ask("PATCH", f"/v1/agents/{word}/status", json={"status": "idle", "note": named[12]})
        await hub.ask("DELETE", f"/v1/agents/{named[7]}")
        await act_as_administrator(hub, named)
        user_id = next(one["id"] for one in (await hub.get("/v1/users"))["users"] if one["name"] == named[0])
        agent_id = (await hub.get(f"/v1/agents/{named[2]}"))["id"]
        engine = sa.create_engine(f"sqlite:///{tmp_path / 'hub.db'}", connect_args={"timeout": 30})
        with engine.begin() as c:  # beside the hub: a run would need hundreds of files
            make_items(c, agent_id, named[13:], user_id)
        engine.dispose()
        assert {"hub.db-wal"} <= found_in(tmp_path, named).keys()
        await hub.post(f"/v1/users/{named[0]}/erase")
        left = {}
        with anyio.move_on_after(WITHIN_S):
            await hub.says('"user.erased"')
            while left := found_in(tmp_path, named):
                await anyio.sleep(0.5)
        assert left == {}
        assert (await hub.get("/v1/audit/verify"))["ok"]
        for path in ("/v1/config/history", "/v1/config/diff", "/v1/audit", "/v1/activity"):
            assert (await hub.ask("GET", path)).status_code == 200
