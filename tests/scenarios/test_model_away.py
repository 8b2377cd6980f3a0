"""A model endpoint that is down: rules deliver, the run says what waits, and the rest comes by itself."""

from pathlib import Path

import anyio
import pytest

from tests.scenarios.scene import are_there_once, check_boxes, scene, sentences
from tests.support.faulty_hub import FaultyHub
from tests.support.oracle import Oracle
from tests.support.processes import model_at
from tests.support.programs import free_port

BOXES, BOX_TITLES = check_boxes(80)
LETTERS, LETTER_TITLES = sentences(3)
TABLES = {f"table{n}.csv": f"Task,Due\nPay bill {n},2026-12-0{n}\n" for n in range(1, 6)}
TABLE_TITLES = [f"Pay bill {n}" for n in range(1, 6)]
MIXED = {"mixed.md": "- [ ] Buy stamps\n\n" + LETTERS.pop("letter000.md")}
QUICK = [
    "--given",
    "hub.extraction.endpoint:Endpoint.max_tries=2",
]  # half a minute of trouble is sat out otherwise


async def test_what_needs_no_model_is_delivered_while_it_is_away_and_the_rest_when_it_is_back(
    tmp_path: Path,
) -> None:
    port = free_port()
    files = BOXES | LETTERS | TABLES | MIXED
    settings = model_at(f"http://127.0.0.1:{port}/v1")
    async with scene(tmp_path, files, kind=Impatient, settings=settings) as play:
        await play.device.start()
        run_id = await play.hub.start_run()

        waiting = await play.comes_to(run_id, "PAUSED")
        are_there_once(play.items(), [*BOX_TITLES, *TABLE_TITLES, "Buy stamps"])
        assert waiting["reason"] == "model_away"
        assert waiting["waiting_for"].startswith(
            f"85 files read by rules; 3 files wait for the model: oracle at http://127.0.0.1:{port}/v1 gave"
        )
        assert waiting["waiting_for"].endswith("; goes on when it answers")
        assert (waiting["attempt"], waiting["errors"]) == (1, [])

        await play.kill_hub()
        await play.start_hub()
        assert (await play.hub.get(f"/v1/runs/{run_id}"))["state"] == "PAUSED"
        async with anyio.create_task_group() as tasks:
            oracle = Oracle()
            await tasks.start(lambda *, task_status: oracle.serve(port=port, task_status=task_status))
            run = await play.hub.ended(run_id)
            tasks.cancel_scope.cancel()

        assert (run["outcome"], run["attempt"], run["error_count"]) == ("success", 1, 0)
        assert (run["units_done"], run["units_failed"]) == (88, 0)
        are_there_once(play.items(), [*BOX_TITLES, *TABLE_TITLES, "Buy stamps", *LETTER_TITLES])
        assert play.calls() == len(BOX_TITLES) + 5 + 1 + 3


class Impatient(FaultyHub):
    """A hub that gives a question up after two tries."""

    def __init__(self, folder: Path, *, settings: str | None = None) -> None:
        super().__init__(folder, settings=settings)
        self.faults = QUICK


@pytest.mark.soak
async def test_a_wrong_key_is_named_in_the_files_that_needed_the_model_and_nothing_waits(
    tmp_path: Path,
) -> None:
    oracle = Oracle(rejects_keys=True)
    async with scene(tmp_path, BOXES | LETTERS, oracle=oracle) as play:
        await play.device.start()

        run = await play.hub.ended(await play.hub.start_run())

        assert (run["outcome"], run["units_done"], run["units_failed"]) == ("partial", 80, 2)
        assert "refused our key (HTTP 401): correct api_key in [model]" in run["errors"][0]["message"]
        are_there_once(play.items(), BOX_TITLES)
