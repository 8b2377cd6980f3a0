"""What an agent does is measured once, whatever dies between the end of its run and that."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.scenarios.scene import Scene, check_boxes, scene, sentences
from tests.support.oracle import Oracle
from tests.support.processes import POLL_S

BOXES, BOX_TITLES = check_boxes(6)
LETTERS, LETTER_TITLES = sentences(2)


async def whole(play: Scene, metric: str, *, agg: str = "sum", within_s: float = 10.0) -> float:
    """What the metric of the agent comes to, once it is known."""
    with anyio.fail_after(within_s):
        while True:
            answer = await play.hub.ask("GET", f"/v1/agents/notes/metrics/{metric}?agg={agg}")
            if answer.status_code == 200:
                told: dict[str, Any] = answer.json()
                figure: float = told["lines"][0]["whole"]
                return figure
            await anyio.sleep(POLL_S)


@pytest.mark.soak
async def test_a_run_that_ended_before_the_hub_was_killed_is_measured_after_it_and_once(
    tmp_path: Path,
) -> None:
    oracle = Oracle()
    async with scene(tmp_path, BOXES | LETTERS, oracle=oracle) as play:
        await play.device.start()
        run = await play.hub.ended(await play.hub.start_run())
        await play.kill_hub()
        await play.start_hub()
        assert await whole(play, "hub.runs") == 1
        assert await whole(play, "hub.items") == run["items_created"] == len(BOX_TITLES + LETTER_TITLES)
        assert await whole(play, "hub.files") == run["units_done"]
        assert await whole(play, "hub.model_requests") == oracle.stats.calls
        assert 0 < await whole(play, "hub.run_seconds", agg="p50") < 60
        assert await whole(play, "hub.model_seconds", agg="count") == oracle.stats.calls
