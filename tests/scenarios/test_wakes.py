"""A slot of an agent's calendar, a real hub and a real device: it is woken once, whatever is killed."""

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.scenarios.scene import Point, Scene, check_boxes, scene
from tests.support.processes import POLL_S

SLOT = '[[agents.slots]]\nlabel = "standup"\nevery_s = 5.0\nduration_s = 60.0\n'
ANSWERED = Point("the hub is about to get the answer", "to_hub", "tool_result")


def wakes(play: Scene) -> list[tuple[str, str, int]]:
    """Id, state and sends of the first wake; and what its fire says."""
    query = """SELECT wakes.id, wakes.state || ' ' || decision, sends FROM wakes
        JOIN schedule_fires USING (schedule_id, fire_at) ORDER BY fire_at LIMIT 1"""
    with closing(sqlite3.connect(f"file:{play.folder / 'hub.db'}?mode=ro", uri=True)) as opened:
        return opened.execute(query).fetchall()


@pytest.mark.soak
async def test_an_agent_is_woken_once_though_the_hub_is_killed_before_it_has_the_answer(
    tmp_path: Path,
) -> None:
    files, _ = check_boxes(1)
    async with scene(tmp_path, files, settings=SLOT) as play:
        await play.device.start()
        await play.has_connected()
        play.at(ANSWERED, play.kill_hub)
        await play.happened()
        ((wake_id, state, sends),) = wakes(play)
        assert (state, sends) == ("sent deferred", 1)
        await play.start_hub()
        told: list[dict[str, Any]] = []
        while not (told and told[0]["state"] == "acknowledged"):
            await anyio.sleep(POLL_S)
            listed = (await play.hub.get("/v1/agents/notes/slots"))["wakes"]
            told = [wake for wake in listed if wake["id"] == wake_id]
        shown = await anyio.run_process(
            [sys.executable, "-m", "hub", "--state", str(play.folder), "agents", "slots", "notes"],
            env=os.environ | {"TZ": "UTC"},
        )
    assert [line.split()[0] for line in shown.stdout.decode().splitlines() if line][:2] == ["slot", "standup"]
    assert "the agent was woken" in shown.stdout.decode()
    assert (told[0]["slot"], told[0]["said"], told[0]["sends"]) == ("standup", "the agent was woken", 2)
    assert wakes(play)[0][1] == "acknowledged woken"
    calls = [frame["id"] for _, frame in play.seen if frame["type"] == "tool_call"]
    assert calls.count(wake_id) == 2, "told again by the same id"
    await play.device.says("wake ")
