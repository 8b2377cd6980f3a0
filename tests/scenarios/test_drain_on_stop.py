"""SIGTERM in the middle of a run: a bounded drain, a goodbye, and the run goes on after the restart."""

import signal
from pathlib import Path

import anyio

from tests.scenarios.scene import are_there_once, check_boxes, is_asked, rows, scene, sentences
from tests.support.model import Fault, Oracle
from tests.support.processes import POLL_S

BOXES, BOX_TITLES = check_boxes(3)
LETTERS, LETTER_TITLES = sentences(2)
TITLES = BOX_TITLES + LETTER_TITLES
SHORT_DRAIN = "[limits]\ndrain_timeout_s = 0.5\n"
RUNS = "SELECT state, pause_reason FROM runs"


async def test_a_hub_that_is_stopped_parks_its_run_and_says_goodbye(tmp_path: Path) -> None:
    oracle = Oracle().play(Fault.HANG)
    async with scene(tmp_path, BOXES | LETTERS, oracle=oracle, settings=SHORT_DRAIN) as play:
        await play.device.start()
        await play.has_connected()
        run_id = await play.hub.start_run()
        await is_asked(oracle)

        with anyio.fail_after(20):
            assert await play.stop_hub() == 0

        assert rows(tmp_path / "hub.db", RUNS) == [("PAUSED", "drain")]
        goodbye = play.sent_to_device("goodbye")
        assert [frame["reason"] for frame in goodbye] == ["stopping"]
        assert play.seen[-1] == ("to_device", goodbye[-1])

        await play.start_hub()
        run = await play.hub.ended(run_id)
        assert (run["state"], run["outcome"]) == ("COMPLETED", "success")
        are_there_once(play.items(), TITLES)
        assert play.calls() == len(TITLES)


async def test_a_second_signal_ends_a_hub_that_drains_at_once(tmp_path: Path) -> None:
    oracle = Oracle().play(Fault.HANG)
    async with scene(tmp_path, LETTERS, oracle=oracle) as play:
        await play.device.start()
        await play.has_connected()
        run_id = await play.hub.start_run()
        await is_asked(oracle)
        assert play.hub.process is not None
        play.hub.process.terminate()
        await play.hub.says("hub.stopping")
        with anyio.fail_after(5):  # an operator can watch it, and a balancer sends nobody here any more
            while (await play.hub.ask("GET", "/readyz")).status_code != 503:
                await anyio.sleep(POLL_S)
        assert (await play.hub.get("/v1/status"))["state"] == "draining"

        with anyio.fail_after(5):
            assert await play.stop_hub() == -signal.SIGTERM

        await play.start_hub()
        assert (await play.hub.ended(run_id))["outcome"] == "success"
        are_there_once(play.items(), LETTER_TITLES)
