"""SIGTERM in the middle of a run: a bounded drain, a goodbye, and the run goes on after the restart."""

import os
import signal
from pathlib import Path

import anyio
import pytest

from tests.scenarios.scene import are_there_once, check_boxes, is_asked, rows, scene, sentences
from tests.support.oracle import Fault, Oracle
from tests.support.processes import POLL_S

BOXES, BOX_TITLES = check_boxes(3)
LETTERS, LETTER_TITLES = sentences(2)
TITLES = BOX_TITLES + LETTER_TITLES
SHORT_DRAIN = "[limits]\ndrain_timeout_s = 0.5\n"
RUNS = "SELECT state, pause_reason FROM runs"
DRAINED = "SELECT actor, event FROM audit_log WHERE event = 'hub.drained'"


async def test_stopped_hub_parks_the_run_and_sends_goodbye(tmp_path: Path) -> None:
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


@pytest.mark.soak
async def test_second_signal_parks_executing_runs_at_once(tmp_path: Path) -> None:
    oracle = Oracle().play(Fault.HANG)
    async with scene(tmp_path, LETTERS, oracle=oracle) as play:
        await play.device.start()
        await play.has_connected()
        run_id = await play.hub.start_run()
        await is_asked(oracle)
        await play.hub.post("/v1/drain", {"restarts": True})
        await play.hub.says("hub.stopping")
        with anyio.fail_after(5):  # an operator can watch it, and a balancer sends nobody here any more
            while (await play.hub.ask("GET", "/readyz")).status_code != 503:
                await anyio.sleep(POLL_S)
        assert (await play.hub.get("/v1/status"))["state"] == "draining"

        assert play.hub.process is not None
        with anyio.fail_after(20):
            play.hub.process.terminate()
            assert await play.hub.process.wait() == 0

        assert not (tmp_path / "hub.db-wal").exists(), "the database was closed in good order"
        assert rows(tmp_path / "hub.db", RUNS) == [("PAUSED", "drain")]
        assert [frame["reason"] for frame in play.sent_to_device("goodbye")] == ["restarting"]
        assert rows(tmp_path / "hub.db", DRAINED) == [(f"operator:{os.getuid()}", "hub.drained")]
        await play.start_hub()
        assert (await play.hub.ended(run_id))["outcome"] == "success"
        are_there_once(play.items(), LETTER_TITLES)


@pytest.mark.soak
async def test_third_signal_ends_the_process_at_once(tmp_path: Path) -> None:
    oracle = Oracle().play(Fault.HANG)
    async with scene(tmp_path, LETTERS, oracle=oracle) as play:
        await play.device.start()
        await play.has_connected()
        await play.hub.start_run()
        await is_asked(oracle)
        process = play.hub.process
        assert process is not None
        process.terminate()
        await play.hub.says("hub.stopping")
        os.kill(process.pid, signal.SIGSTOP)  # both signals are there before it can act on the first
        process.terminate()
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGCONT)
        with anyio.fail_after(10):
            assert await process.wait() in (-signal.SIGTERM, -signal.SIGINT)
