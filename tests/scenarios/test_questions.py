"""An agent asks its person, who answers on a device: with real processes."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2

from tests.scenarios.scene import Scene, rows, scene
from tests.support.processes import POLL_S


@asynccontextmanager
async def a_board(folder: Path) -> AsyncIterator[Scene]:
    """A hub with the board ``roadmap``, whose lead is the agent ``notes``, and a device of its person."""
    async with scene(folder, {"a.md": "nothing to do\n"}) as play:
        await play.hub.post("/v1/boards", {"name": "roadmap"})
        await play.hub.post("/v1/boards/roadmap/agents", {"agent": "notes", "is_lead": True})
        await play.device.start()
        await play.has_connected()
        yield play


async def as_lead(play: Scene, method: str, path: str, body: Any = None) -> httpx2.Response:
    """What the lead asks with a token of its own."""
    made = await play.hub.post("/v1/agents/notes/tokens")
    address = (await play.hub.get("/v1/status"))["listeners"]["operator"]
    headers = {"authorization": f"Bearer {made['token']}"}
    async with httpx2.AsyncClient(base_url=f"http://{address}", headers=headers, trust_env=False) as client:
        return await client.request(method, path, json=body)


async def asked_by_lead(play: Scene, content: str = "Which colour is the door to be?") -> str:
    """The id of the question."""
    about = {"content": content, "correlation_id": "door-7", "reply_tags": ["colour", "user_reply"]}
    asked = await as_lead(play, "POST", "/v1/agent/boards/roadmap/ask-user", about)
    assert asked.status_code == 201, asked.text
    return str(asked.json()["id"])


async def hub(*words: str) -> tuple[int, str]:
    """A command of a person: its exit code, and what it said."""
    done = await anyio.run_process(
        [sys.executable, "-m", "hub", *words], check=False, env=os.environ | {"TZ": "UTC"}
    )
    return done.returncode, (done.stdout + done.stderr).decode()


async def at_hub(play: Scene, *words: str) -> tuple[int, str]:
    return await hub("--state", str(play.folder), "ask", *words)


async def at_device(play: Scene, *words: str) -> tuple[int, str]:
    return await hub("answer", "--db", str(play.device.database), *words)


def on_device(play: Scene) -> list[tuple[str, str | None, int, str | None]]:
    """Each question in the device's file: its state, answer, whether the hub knows, who answered."""
    query = "SELECT state, answer, reported, settled_by FROM questions ORDER BY number"
    return rows(play.device.database, query)


async def device_has(play: Scene, *wanted: tuple[str, str | None, int, str | None]) -> None:
    with anyio.move_on_after(20):
        while on_device(play) != list(wanted):
            await anyio.sleep(POLL_S)
    assert on_device(play) == list(wanted), play.device.log()[-2000:] + play.hub.log()[-4000:]


async def question(play: Scene, id: str) -> dict[str, Any]:
    told: dict[str, Any] = await play.hub.get(f"/v1/questions/{id}")
    return told


async def comes_to(play: Scene, id: str, state: str) -> dict[str, Any]:
    with anyio.fail_after(20):
        while (told := await question(play, id))["state"] != state:
            await anyio.sleep(POLL_S)
    return told


async def memory(play: Scene) -> list[tuple[str, list[str], str, str]]:
    told = (await play.hub.get("/v1/boards/roadmap/memory"))["memory"]
    return [(item["content"], item["tags"], item["correlation_id"], item["reply_to"]) for item in told]


OPEN = ("open", None, 0, None)


async def test_a_lead_asks_and_its_person_answers_on_the_device(tmp_path: Path) -> None:
    async with a_board(tmp_path) as play:
        id = await asked_by_lead(play)
        await device_has(play, OPEN)
        await play.device.says("Which colour is the door to be?")
        with anyio.fail_after(20):
            while (await question(play, id))["devices"] != ["desk"]:
                await anyio.sleep(POLL_S)

        code, said = await at_device(play)
        assert (code, "1  notes (roadmap)" in said) == (0, True), said
        assert (await at_device(play, "1", "Red,", "please."))[0] == 0
        told = await comes_to(play, id, "answered")
        assert (told["answer"], told["answered_by"]) == ("Red, please.", "device desk")
        assert await memory(play) == [("Red, please.", ["colour", "user_reply"], "door-7", id)]
        await device_has(play, ("answered", "Red, please.", 1, "device desk"))

        code, said = await at_hub(play, "answer", id, "Blue.")
        assert code != 0
        assert f"question {id} was answered by device desk at" in said
        code, said = await at_device(play, "1", "Green.")
        assert (code, "question 1 was answered by device desk: Red, please." in said) == (1, True), said
        seen = await as_lead(play, "GET", f"/v1/agent/questions/{id}")
        assert seen.json()["answer"] == "Red, please."
        assert len(await memory(play)) == 1
