"""One device, two processes: whoever connected last has the run."""

import shutil
from pathlib import Path

import anyio
import pytest

from hub.device.app import EXIT_FAILED
from tests.scenarios.scene import Point, are_there_once, check_boxes, rows, scene
from tests.support.processes import DeviceProcess

MIDDLE = Point("it gets its tenth call", "to_device", "tool_call", nth=10)
ITEMS = "SELECT title FROM tasks"


@pytest.mark.soak
async def test_a_second_device_with_the_same_token_takes_the_run_over(tmp_path: Path) -> None:
    files, titles = check_boxes(20)
    async with scene(tmp_path, files) as play:
        other_folder = tmp_path / "other"
        shutil.copytree(tmp_path / "notes", other_folder / "notes")
        token = (tmp_path / "desk.token").read_text()
        second = DeviceProcess(other_folder, await play.hub.device_url(), token)
        play.also(second)

        async def take_over() -> None:
            await play.has_acknowledged(play.calls_before)  # so that nothing is written and unanswered
            await second.start()
            await second.says("connected as")

        await play.device.start()
        await play.has_connected()
        play.at(MIDDLE, take_over)
        run = await play.hub.ended(await play.hub.start_run())

        assert (run["state"], run["outcome"]) == ("COMPLETED", "success")
        # the hub learns that the other process has a file of its own, and sends it what that lacks
        are_there_once([title for (title,) in rows(second.database, ITEMS)], titles)
        of_first = [title for (title,) in rows(play.device.database, ITEMS)]
        assert len(of_first) == len(set(of_first))
        assert play.outbox() == {"ACKED": len(titles)}

        assert play.device.process is not None
        with anyio.fail_after(10):
            assert await play.device.process.wait() == EXIT_FAILED
        assert "not coming back by itself: replaced by a newer connection" in play.device.log()
