"""A model that has a bad day: it is waited for, or the file fails with its name; nothing is lost."""

import sys
from pathlib import Path

import anyio
import pytest

from hub.extraction.endpoint import MAX_REFUSALS
from tests.scenarios.scene import are_there_once, check_boxes, scene, sentences
from tests.support.oracle import Fault, Oracle
from tests.support.processes import ROOT

BOXES, BOX_TITLES = check_boxes(3)
LETTERS, LETTER_TITLES = sentences(3)
ONE_LETTER, ONE_TITLE = sentences(1)


@pytest.mark.soak
async def test_a_model_at_its_rate_limit_is_asked_again_when_it_says_so(tmp_path: Path) -> None:
    oracle = Oracle().play(Fault.RATE_LIMIT, Fault.RATE_LIMIT_MS)
    async with scene(tmp_path, BOXES | LETTERS, oracle=oracle) as play:
        await play.device.start()

        run = await play.hub.ended(await play.hub.start_run())

        assert (run["outcome"], run["error_count"]) == ("success", 0)
        assert oracle.stats.refused == {"429": 2}
        assert run["model_requests"] == oracle.stats.calls
        are_there_once(play.items(), BOX_TITLES + LETTER_TITLES)


@pytest.mark.soak
async def test_a_run_pauses_with_its_agent_while_the_quota_is_used_up_and_goes_on_afterwards(
    tmp_path: Path,
) -> None:
    oracle = Oracle().play(Fault.RATE_LIMIT_MS, times=MAX_REFUSALS + 1)
    oracle.retry_after_s = 0.05
    async with scene(tmp_path, BOXES | ONE_LETTER, oracle=oracle) as play:
        await play.device.start()
        run_id = await play.hub.start_run()

        paused = await play.comes_to(run_id, "PAUSED")
        assert (paused["reason"], paused["waiting_for"][:28]) == ("exhausted", "model's quota is used up; tr")
        await play.hub.ask("POST", "/v1/agents/notes/resume")  # a person knows that it is there again
        run = await play.hub.ended(run_id)

        assert (run["outcome"], run["error_count"]) == ("success", 0)
        assert [move["after"] for move in run["history"]] == [
            *("QUEUED", "PREPARING", "RUNNING", "PAUSED"),
            *("QUEUED", "PREPARING", "RUNNING", "COMPLETED"),
        ]
        assert "rate limit" in run["history"][3]["reason"]
        are_there_once(play.items(), BOX_TITLES + ONE_TITLE)
        assert play.calls() == len(BOX_TITLES + ONE_TITLE)


@pytest.mark.soak
async def test_a_quota_that_a_person_has_filled_up_is_used_as_soon_as_they_say_so(tmp_path: Path) -> None:
    oracle = Oracle().play(Fault.SPENT_QUOTA)
    async with scene(tmp_path, ONE_LETTER, oracle=oracle) as play:
        await play.device.start()
        run_id = await play.hub.start_run()
        await play.comes_to(run_id, "PAUSED")
        assert oracle.stats.calls == 1

        await play.hub.ask("POST", "/v1/agents/notes/resume")
        run = await play.hub.ended(run_id)

        assert (run["outcome"], oracle.stats.calls) == ("success", 2)
        are_there_once(play.items(), ONE_TITLE)


@pytest.mark.soak
async def test_an_answer_that_cannot_be_read_fails_its_file_and_no_other(tmp_path: Path) -> None:
    # To the question, to the question once more, and so on to each part of the text.
    oracle = Oracle().play(Fault.MALFORMED_ANSWER, times=20)
    async with scene(tmp_path, BOXES | ONE_LETTER, oracle=oracle) as play:
        await play.device.start()
        await play.has_connected()

        followed = await anyio.run_process(
            [sys.executable, "-m", "hub", "--state", str(tmp_path), "run", "notes", "--follow"], cwd=ROOT
        )

        assert followed.returncode == 0  # the run came to its end; what it could not do is told
        assert "model_answer_invalid: notes/letter000.md: " in followed.stderr.decode()
        run = await play.hub.get(f"/v1/runs/{(await play.hub.get('/v1/runs'))['runs'][0]['id']}")
        assert (run["state"], run["outcome"], run["units_failed"]) == ("COMPLETED", "partial", 1)
        (error,) = run["errors"]
        assert (error["path"], error["code"]) == ("notes/letter000.md", "model_answer_invalid")
        are_there_once(play.items(), BOX_TITLES)

        oracle.play_no_more()
        again = await play.hub.ended(await play.hub.start_run())  # only what failed is read again
        assert (again["outcome"], again["units_done"], again["units_skipped"]) == ("success", 1, 3)
        are_there_once(play.items(), BOX_TITLES + ONE_TITLE)
