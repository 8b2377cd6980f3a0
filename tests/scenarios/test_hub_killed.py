"""kill -9 of the hub, wherever: it is started again, the device comes back, each item is there once."""

from pathlib import Path

import pytest

from tests.scenarios.scene import Point, are_there_once, check_boxes, scene, sentences
from tests.support.oracle import Oracle

BOXES, BOX_TITLES = check_boxes(40)
LETTERS, LETTER_TITLES = sentences(8)
TITLES = BOX_TITLES + LETTER_TITLES

# No three in a row before the run got any further: that would be a crash loop, and the run given up.
POINTS = (
    Point("the device gets the run", "to_device", "agent_run"),
    Point("the hub has the first answer of the device", "to_hub", "tool_result"),
    Point("the hub hears that the run is taken on", "to_hub", "agent_ack"),
    Point("the device gets its tenth call", "to_device", "tool_call", nth=10),
    Point("the hub has the manifest", "to_hub", "agent_manifest"),
    Point("the hub has the tenth answer", "to_hub", "tool_result", nth=10),
    Point("the device hears what to send", "to_device", "agent_fetch"),
    Point("the hub has the second piece of files", "to_hub", "agent_data", nth=2),
    Point("the hub has the end of the run", "to_hub", "agent_complete"),
    Point("the hub has the last answer", "to_hub", "tool_result", answers=len(TITLES)),
)


@pytest.mark.soak
async def test_a_hub_killed_at_ten_points_of_one_run_delivers_each_item_once(tmp_path: Path) -> None:
    oracle = Oracle()
    async with scene(tmp_path, BOXES | LETTERS, oracle=oracle) as play:
        play.wire.tells_restart = True  # or the device waits longer after each of ten lost connections
        run_id = await play.hub.start_run()
        play.at(POINTS[0], play.kill_hub)
        await play.device.start()
        for following in POINTS[1:]:
            await play.happened()
            play.at(following, play.kill_hub)
            await play.start_hub()
        await play.happened()
        await play.start_hub()

        run = await play.hub.ended(run_id)

        assert (run["state"], run["outcome"], run["error_count"]) == ("COMPLETED", "success", 0)
        are_there_once(play.items(), TITLES)
        assert play.calls() == len(TITLES)
        assert play.outbox() == {"ACKED": len(TITLES)}

        asked = oracle.stats.calls
        again = await play.hub.ended(await play.hub.start_run())
        assert (again["outcome"], again["units_skipped"]) == ("success", len(BOXES | LETTERS))
        assert (again["items_created"], oracle.stats.calls - asked) == (0, 0)
        assert play.calls() == len(TITLES)


@pytest.mark.soak
async def test_a_run_that_was_only_queued_survives_the_hub(tmp_path: Path) -> None:
    files, titles = check_boxes(3)
    async with scene(tmp_path, files) as play:
        run_id = await play.hub.start_run()
        await play.kill_hub()
        await play.start_hub()
        await play.device.start()

        run = await play.hub.ended(run_id)

        assert (run["state"], run["outcome"]) == ("COMPLETED", "success")
        are_there_once(play.items(), titles)


@pytest.mark.soak
@pytest.mark.parametrize("point", [POINTS[1], POINTS[8]], ids=str)
async def test_a_device_whose_hub_just_vanished_comes_back_by_itself(tmp_path: Path, point: Point) -> None:
    files, titles = check_boxes(12)
    async with scene(tmp_path, files) as play:
        run_id = await play.hub.start_run()
        play.at(point, play.kill_hub)
        await play.device.start()
        await play.happened()
        await play.start_hub()

        run = await play.hub.ended(run_id)

        assert (run["state"], run["outcome"]) == ("COMPLETED", "success")
        are_there_once(play.items(), titles)
        assert play.calls() == len(titles)
        assert play.outbox() == {"ACKED": len(titles)}
