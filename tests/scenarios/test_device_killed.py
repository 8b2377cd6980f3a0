"""kill -9 of the device, wherever: it is started again, and its database has each item once."""

from pathlib import Path

import pytest

from tests.scenarios.scene import Point, are_there_once, check_boxes, scene, sentences
from tests.support.oracle import Oracle

BOXES, BOX_TITLES = check_boxes(40)
LETTERS, LETTER_TITLES = sentences(8)
TITLES = BOX_TITLES + LETTER_TITLES

POINTS = (
    Point("it hears of the run", "to_device", "agent_run"),
    Point("its word that it takes the run on arrives", "to_hub", "agent_ack"),
    Point("its manifest arrives", "to_hub", "agent_manifest"),
    Point("it hears what to send", "to_device", "agent_fetch"),
    Point("its first piece of files arrives", "to_hub", "agent_data"),
    Point("its second piece of files arrives", "to_hub", "agent_data", nth=2),
    Point("it gets a call", "to_device", "tool_call", nth=3),
    Point("the answer arrives to a call whose row is written", "to_hub", "tool_result", nth=5),
    Point("the hub has an answer, though", "to_hub", "tool_result", nth=10, arrives=True),
    Point("the end of the run arrives", "to_hub", "agent_complete"),
    Point("the last answer arrives", "to_hub", "tool_result", answers=len(TITLES)),
)


@pytest.mark.soak
async def test_a_device_killed_at_ten_points_of_one_run_has_each_item_once(tmp_path: Path) -> None:
    oracle = Oracle()
    async with scene(tmp_path, BOXES | LETTERS, oracle=oracle) as play:
        run_id = await play.hub.start_run()
        play.at(POINTS[0], play.restart_device)
        await play.device.start()
        for following in POINTS[1:]:
            await play.happened()
            play.at(following, play.restart_device)
        await play.happened()

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
