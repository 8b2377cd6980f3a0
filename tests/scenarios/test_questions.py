"""An agent asks its person, with real processes: on the device, from the command line, whoever is killed."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from tests.scenarios.scene import Point, Scene, rows, scene
from tests.support.processes import POLL_S

CALL = Point("the device is about to be told of the question", "to_device", "tool_call")
ANSWER = Point("the hub is about to get the answer", "to_hub", "request")
TAKEN = Point("the device is about to hear that the answer was taken", "to_device", "response")


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


@pytest.mark.soak
async def test_a_person_asks_and_answers_on_the_command_line_and_the_device_hears_of_it(
    tmp_path: Path,
) -> None:
    async with a_board(tmp_path) as play:
        code, said = await at_hub(play, "roadmap", "Which", "colour?")
        assert (code, "asked: " in said) == (0, True), said
        await device_has(play, OPEN)
        code, listed = await at_hub(play)
        assert (code, "Which colour?" in listed, "roadmap" in listed) == (0, True, True), listed
        (one,) = (await play.hub.get("/v1/questions"))["questions"]
        code, said = await at_hub(play, "answer", one["id"][-12:], "Red.")
        assert code == 0, said
        uid = os.getuid()
        await device_has(play, ("answered", "Red.", 1, f"operator:{uid}"))
        assert [item[0] for item in await memory(play)] == ["Red."]
        code, shown = await at_hub(play, "show", one["id"])
        assert (code, "-> Red." in shown, "desk" in shown) == (0, True, True), shown
        entries = (await play.hub.get("/v1/audit?event=question."))["entries"]
        assert [entry["event"] for entry in entries] == ["question.answered", "question.asked"]


@pytest.mark.soak
async def test_a_question_that_is_withdrawn_is_told_so_on_the_device(tmp_path: Path) -> None:
    async with a_board(tmp_path) as play:
        id = await asked_by_lead(play)
        await device_has(play, OPEN)
        assert (await at_hub(play, "withdraw", id))[0] == 0
        await device_has(play, ("withdrawn", None, 1, None))
        await play.device.says("the question was withdrawn")


@pytest.mark.soak
async def test_a_hub_that_is_killed_before_the_device_knows_tells_it_when_it_is_back(tmp_path: Path) -> None:
    async with a_board(tmp_path) as play:
        play.at(CALL, play.kill_hub)
        id = await asked_by_lead(play)
        await play.happened()
        assert on_device(play) == []
        await play.start_hub()
        await device_has(play, OPEN)
        asked = [frame["id"] for frame in play.sent_to_device("tool_call") if frame["action"] == "user.ask"]
        assert (len(asked), len(set(asked))) == (2, 1), "told again by the same id"
        assert (await at_device(play, "1", "Red."))[0] == 0
        await comes_to(play, id, "answered")


@pytest.mark.soak
async def test_an_answer_counts_once_though_the_device_is_killed_before_and_after_it_is_taken(
    tmp_path: Path,
) -> None:
    async with a_board(tmp_path) as play:
        id = await asked_by_lead(play)
        await device_has(play, OPEN)
        play.at(ANSWER, play.device.kill)
        assert (await at_device(play, "1", "Red."))[0] == 0
        await play.happened()
        assert (await question(play, id))["state"] == "open"
        play.at(TAKEN, play.device.kill)
        await play.device.start()
        await play.happened()
        assert (await question(play, id))["state"] == "answered"
        assert on_device(play) == [("open", "Red.", 0, None)]
        await play.device.start()
        await device_has(play, ("answered", "Red.", 1, "device desk"))
        assert (await question(play, id))["answered_by"] == "device desk"
        assert "does not count" not in play.device.log()
        assert [item[0] for item in await memory(play)] == ["Red."]
        sent = [frame for way, frame in play.seen if (way, frame["type"]) == ("to_hub", "request")]
        assert len(sent) >= 2
