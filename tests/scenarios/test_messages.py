"""An agent is spoken to on a device, with real processes and no gateway, whoever is killed in between."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from sqlite3 import connect
from typing import Any

import anyio
import pytest

from tests.scenarios.scene import Point, Scene, rows, scene
from tests.scenarios.test_questions import hub
from tests.support.processes import POLL_S

BROUGHT = Point("the device is about to get the message", "to_device", "tool_call")
KEPT = Point("the hub is about to hear that the device has it", "to_hub", "tool_result")
NUDGE = "/v1/boards/roadmap/agents/notes/nudge"


@asynccontextmanager
async def a_board(folder: Path, *, starts: bool = True) -> AsyncIterator[Scene]:
    """A hub with the board ``roadmap`` and the agent ``notes`` of a device on it."""
    async with scene(folder, {"a.md": "nothing to do\n"}) as play:
        await play.hub.post("/v1/boards", {"name": "roadmap"})
        await play.hub.post("/v1/boards/roadmap/agents", {"agent": "notes", "is_lead": True})
        if starts:
            await play.device.start()
            await play.has_connected()
        yield play


async def say(play: Scene, content: str = "tea is ready", wait_s: float = 0) -> dict[str, Any]:
    told: dict[str, Any] = await play.hub.post(f"{NUDGE}?wait_s={wait_s}", {"content": content})
    return told


def there(play: Scene) -> list[tuple[str, str | None, int]]:
    """The messages in the device's file: content, answer, whether the hub knows it."""
    if not play.device.database.exists():
        return []
    query = "SELECT content, answer, reported FROM messages ORDER BY received_at, rowid"
    return rows(play.device.database, query)


async def comes_to(play: Scene, id: str, state: str) -> dict[str, Any]:
    with anyio.fail_after(30):
        while (told := await play.hub.get(f"/v1/messages/{id}"))["state"] != state:
            await anyio.sleep(POLL_S)
    seen: dict[str, Any] = told
    return seen


def answer_there(play: Scene, text: str) -> None:
    """The agent's own program, or the owner, answers in the device's file."""
    with closing(connect(play.device.database, isolation_level=None, timeout=5)) as db:
        db.execute("UPDATE messages SET answer = ?", (text,))


@pytest.mark.soak
async def test_an_agent_of_a_device_is_told_and_answers(tmp_path: Path) -> None:
    async with a_board(tmp_path) as play:
        code, said = await hub(
            "--state", str(play.folder), "messages", "nudge", "roadmap", "notes", "tea", "is", "ready"
        )
        assert (code, said.startswith("notes received it: ")) == (0, True), said
        assert there(play) == [("tea is ready", None, 0)]
        await play.device.says("tea is ready")
        answer_there(play, "thank you")
        told = await comes_to(play, said.split()[-1], "answered")
        assert (told["answer"], told["device"]) == ("thank you", "desk")
        with anyio.fail_after(20):
            while there(play) != [("tea is ready", "thank you", 1)]:
                await anyio.sleep(POLL_S)
        code, shown = await hub("--state", str(play.folder), "messages", "show", told["id"])
        assert (code, "-> thank you" in shown) == (0, True), shown


@pytest.mark.soak
async def test_a_message_waits_for_a_device_that_is_away(tmp_path: Path) -> None:
    async with a_board(tmp_path, starts=False) as play:
        told = await say(play)
        assert told["state"] == "waiting"
        await play.kill_hub()
        await play.start_hub()
        await play.device.start()
        await comes_to(play, told["id"], "consumed")
        assert there(play) == [("tea is ready", None, 0)]


@pytest.mark.soak
@pytest.mark.parametrize(
    ("who", "point"),
    [
        pytest.param("the hub", BROUGHT, id="the-hub-before-it-is-there"),
        pytest.param("the hub", KEPT, id="the-hub-before-it-knows"),
        pytest.param("the device", KEPT, id="the-device-before-that-is-known"),
    ],
)
async def test_a_message_is_there_once_whoever_is_killed(tmp_path: Path, who: str, point: Point) -> None:
    async with a_board(tmp_path) as play:
        play.at(point, play.kill_hub if who == "the hub" else play.device.kill)
        told = await say(play)
        await play.happened()
        await (play.start_hub() if who == "the hub" else play.device.start())
        ended = await comes_to(play, told["id"], "consumed")
        assert there(play) == [("tea is ready", None, 0)]
        calls = [one["id"] for one in play.sent_to_device("tool_call") if one["action"] == "message.deliver"]
        assert (len(calls) >= 2, len(set(calls))) == (True, 1), "told again by the same id"
        assert ended["sends"] >= 2
