"""A connection that breaks in the middle of a run: the run waits for its device, and goes on."""

from pathlib import Path

import pytest

from tests.scenarios.scene import Point, are_there_once, check_boxes, scene

NO_GRACE = "[limits]\ndevice_grace_s = 0\n"
MIDDLE = Point("the hub has the tenth answer", "to_hub", "tool_result", nth=10)


async def test_a_run_pauses_while_its_device_is_away_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    files, titles = check_boxes(20)
    async with scene(tmp_path, files, settings=NO_GRACE) as play:
        await play.device.start()
        await play.has_connected()
        play.at(MIDDLE, play.hold_device_off)
        run_id = await play.hub.start_run()
        await play.happened()

        paused = await play.comes_to(run_id, "PAUSED")
        assert paused["reason"] == "device_offline"
        assert paused["waiting_for"].startswith("device desk is offline, last seen ")
        assert 0 < paused["items_created"] < len(titles)

        await play.let_device_in()
        run = await play.hub.ended(run_id)

        assert (run["state"], run["outcome"], run["items_created"]) == ("COMPLETED", "success", len(titles))
        assert [move["after"] for move in run["history"]] == [
            *("QUEUED", "PREPARING", "RUNNING", "PAUSED"),
            *("QUEUED", "PREPARING", "RUNNING", "COMPLETED"),
        ]
        are_there_once(play.items(), titles)
        assert play.calls() == len(titles)
        assert play.outbox() == {"ACKED": len(titles)}


@pytest.mark.soak
async def test_a_file_that_was_done_and_cannot_be_read_any_more_does_not_spoil_its_run(
    tmp_path: Path,
) -> None:
    files, titles = check_boxes(20)
    async with scene(tmp_path, files, settings=NO_GRACE) as play:
        await play.device.start()
        await play.has_connected()
        play.at(MIDDLE, play.hold_device_off)
        run_id = await play.hub.start_run()
        await play.happened()
        paused = await play.comes_to(run_id, "PAUSED")
        done = next(unit["path"] for unit in paused["units"] if unit["state"] == "DONE")

        (tmp_path / done).write_bytes(b"more than a device reads" * 2**20)
        await play.let_device_in()
        run = await play.hub.ended(run_id)

        assert (run["state"], run["outcome"]) == ("COMPLETED", "success")
        are_there_once(play.items(), titles)
