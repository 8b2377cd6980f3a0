"""Two runs of one agent: neither takes the other's work, and no item is there twice."""

from pathlib import Path

import anyio
import pytest

from hub.extraction.endpoint import MAX_REFUSALS
from tests.scenarios.scene import Point, are_there_once, check_boxes, scene, sentences
from tests.support.oracle import Fault, Oracle

BOXES, BOX_TITLES = check_boxes(3)
LETTERS, LETTER_TITLES = sentences(1)
FIRST_CALL = Point("the device gets the first call", "to_device", "tool_call", arrives=True)


@pytest.mark.soak
async def test_a_run_waits_while_the_one_before_it_waits_for_the_quota_of_their_agent(tmp_path: Path) -> None:
    oracle = Oracle().play(Fault.RATE_LIMIT_MS, times=MAX_REFUSALS + 1)
    oracle.retry_after_s = 0.05
    async with scene(tmp_path, BOXES | LETTERS, oracle=oracle) as play:
        await play.device.start()
        await play.has_connected()

        async def until_it_waits() -> None:
            await is_started.wait()
            await play.comes_to(first, "PAUSED")  # with calls that were sent and are not answered

        is_started = anyio.Event()
        play.at(FIRST_CALL, until_it_waits)
        first = await play.hub.start_run()
        is_started.set()
        second = await play.hub.start_run()
        await play.happened()
        waiting = await play.hub.get(f"/v1/runs/{second}")
        assert (waiting["state"], waiting["waiting_for"][:24]) == ("QUEUED", "model's quota is used up")

        await play.hub.ask("POST", "/v1/agents/notes/resume")
        ended = [await play.hub.ended(run_id) for run_id in (first, second)]

        assert [run["outcome"] for run in ended] == ["success", "success"]
        assert ended[1]["items_created"] == 0
        are_there_once(play.items(), BOX_TITLES + LETTER_TITLES)
