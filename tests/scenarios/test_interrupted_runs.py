"""Runs that are interrupted: a device is lost or replaced, a model or its quota is away, a disk is full."""

import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest

from hub.device.app import EXIT_FAILED
from hub.extraction.endpoint import MAX_REFUSALS
from hub.runs.disk import BALLAST_BYTES, PORTION_BYTES
from tests.scenarios.deaths import TITLES
from tests.scenarios.full_disk import why_not_here
from tests.scenarios.scene import Point, Scene, are_there_once, check_boxes, rows, scene, sentences
from tests.support.device import RunningDevice, open_device
from tests.support.faults import LIFT_THE_LIMIT
from tests.support.faulty_hub import AheadHub, FaultyHub
from tests.support.oracle import Fault, Oracle
from tests.support.processes import POLL_S, DeviceProcess, model_at
from tests.support.programs import free_port
from tests.support.proxy import Wire, wire

NO_GRACE = "[limits]\ndevice_grace_s = 0\n"
MIDDLE = Point("the hub has an answer to the third batch", "to_hub", "tool_result", nth=70)


async def test_run_pauses_while_the_device_is_away_and_goes_on_after_the_return(tmp_path: Path) -> None:
    files, titles = check_boxes(60)
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
        assert (play.calls(), play.outbox()) == (len(titles), {"ACKED": len(titles)})


@pytest.mark.soak
async def test_settled_file_becoming_unreadable_does_not_fail_the_run(
    tmp_path: Path,
) -> None:
    files, titles = check_boxes(60)
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


TENTH_CALL = Point("it gets its tenth call", "to_device", "tool_call", nth=10)


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
        play.at(TENTH_CALL, take_over)
        run = await play.hub.ended(await play.hub.start_run())

        assert (run["state"], run["outcome"]) == ("COMPLETED", "success")
        # the hub learns that the other process has a file of its own, and sends it what that lacks
        are_there_once([title for (title,) in rows(second.database, TITLES)], titles)
        of_first = [title for (title,) in rows(play.device.database, TITLES)]
        assert (len(of_first), play.outbox()) == (len(set(of_first)), {"ACKED": len(titles)})

        assert play.device.process is not None
        with anyio.fail_after(10):
            assert await play.device.process.wait() == EXIT_FAILED
        assert "not coming back by itself: replaced by a newer connection" in play.device.log()


FEW_BOXES, FEW_BOX_TITLES = check_boxes(3)
ONE_LETTER, ONE_LETTER_TITLES = sentences(1)


@pytest.mark.soak
async def test_run_waits_while_an_earlier_run_of_the_agent_waits_for_quota(tmp_path: Path) -> None:
    oracle = Oracle().play(
        Fault.RATE_LIMIT_MS, times=MAX_REFUSALS + 2
    )  # the question about no text is the last
    oracle.retry_after_s = 0.05
    async with scene(tmp_path, FEW_BOXES | ONE_LETTER, oracle=oracle) as play:
        await play.device.start()
        await play.has_connected()

        first = await play.hub.start_run()
        second = await play.hub.start_run()
        await play.comes_to(first, "PAUSED")  # what rules found is delivered before
        assert play.items() == FEW_BOX_TITLES
        waiting = await play.hub.get(f"/v1/runs/{second}")
        assert (waiting["state"], waiting["waiting_for"][:23]) == ("QUEUED", "a rate limit is reached")

        await play.hub.ask("POST", "/v1/agents/notes/resume")
        ended = [await play.hub.ended(run_id) for run_id in (first, second)]

        assert ([run["outcome"] for run in ended], ended[1]["items_created"]) == (["success", "success"], 0)
        are_there_once(play.items(), FEW_BOX_TITLES + ONE_LETTER_TITLES)


BOXES, MANY_BOX_TITLES = check_boxes(80)
LETTERS, LETTER_TITLES = sentences(3)
TABLES = {f"table{n}.csv": f"Task,Due\nPay bill {n},2026-12-0{n}\n" for n in range(1, 6)}
TABLE_TITLES = [f"Pay bill {n}" for n in range(1, 6)]
MIXED = {"mixed.md": "- [ ] Buy stamps\n\n" + LETTERS.pop("letter000.md")}
QUICK = [
    "--given",
    "hub.extraction.endpoint:Endpoint.max_tries=2",
]  # half a minute of trouble is sat out otherwise


async def test_items_of_rules_are_delivered_without_the_model_and_the_rest_after_the_model_returns(
    tmp_path: Path,
) -> None:
    port = free_port()
    files = BOXES | LETTERS | TABLES | MIXED
    settings = model_at(f"http://127.0.0.1:{port}/v1")
    async with scene(tmp_path, files, kind=Impatient, settings=settings) as play:
        await play.device.start()
        run_id = await play.hub.start_run()

        waiting = await play.comes_to(run_id, "PAUSED")
        are_there_once(play.items(), [*MANY_BOX_TITLES, *TABLE_TITLES, "Buy stamps"])
        assert waiting["reason"] == "model_away"
        assert waiting["waiting_for"].startswith("85 files read; 3 files wait for the model")
        assert f": oracle at http://127.0.0.1:{port}/v1 gave no answer" in waiting["waiting_for"]
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

        assert (
            run["outcome"],
            run["attempt"],
            run["error_count"],
            run["units_done"],
            run["units_failed"],
        ) == ("success", 1, 0, 88, 0)
        are_there_once(play.items(), [*MANY_BOX_TITLES, *TABLE_TITLES, "Buy stamps", *LETTER_TITLES])
        assert play.calls() == len(MANY_BOX_TITLES) + 5 + 1 + 3


class Impatient(FaultyHub):
    """A hub that gives a question up after two tries."""

    def __init__(self, folder: Path, *, settings: str | None = None) -> None:
        super().__init__(folder, settings=settings)
        self.faults = QUICK


@pytest.mark.soak
async def test_wrong_key_of_a_model_fails_the_files_in_need_of_the_model_by_name(
    tmp_path: Path,
) -> None:
    oracle = Oracle(rejects_keys=True)
    async with scene(tmp_path, BOXES | LETTERS, oracle=oracle) as play:
        await play.device.start()

        run = await play.hub.ended(await play.hub.start_run())

        assert (run["outcome"], run["units_done"], run["units_failed"]) == ("partial", 80, 2)
        assert "refused our key (HTTP 401): correct api_key in [model]" in run["errors"][0]["message"]
        are_there_once(play.items(), MANY_BOX_TITLES)


LETTER, LETTER_TITLE = sentences(1)
RUN_HISTORY = [
    *("QUEUED", "PREPARING", "RUNNING", "PAUSED"),
    *("QUEUED", "PREPARING", "RUNNING", "COMPLETED"),
]
AVAILABILITY = """
    SELECT availability, exhaust_reason, exhausted_at, recovery_at, probe_at, exhaust_count FROM agent_states
"""
HISTORY = """
    SELECT new_value, reason, actor FROM agent_state_history WHERE axis = 'availability' ORDER BY seq
"""


async def time_goes_to(play: Scene, seconds: float) -> None:
    """It is so many seconds later, and the device, which slept through it, connects anew."""
    assert isinstance(play.hub, AheadHub)
    await play.device.kill()
    with anyio.fail_after(30):
        while (await play.hub.get("/v1/status"))["devices_connected"]:
            await anyio.sleep(POLL_S)
    play.hub.set_ahead(seconds)
    await play.device.start()


def state(play: Scene) -> tuple[Any, ...]:
    """The agent's availability, reason, since, until, probe and how often in a row."""
    (row,) = rows(play.folder / "hub.db", AVAILABILITY)
    return row


@pytest.mark.soak
@pytest.mark.parametrize(("requested_s", "paused_s"), [(300, 300), (1e308, 86_400)])
async def test_a_429_pauses_the_run_until_retry_after_within_a_day_and_to_the_second(
    tmp_path: Path, requested_s: float, paused_s: int
) -> None:
    oracle = Oracle().play(Fault.RATE_LIMIT, times=2)  # a text and the question about none
    oracle.retry_after_s = requested_s
    async with scene(tmp_path, LETTER, oracle=oracle, kind=AheadHub) as play:
        await play.device.start()
        run_id = await play.hub.start_run()

        paused = await play.comes_to(run_id, "PAUSED")
        availability, reason, since, until, probe, times = state(play)
        assert (availability, reason, probe, times) == ("exhausted", "rate_limit", None, 1)
        assert until - since == paused_s * 1_000
        assert paused["waiting_for"].startswith("a rate limit is reached; tried again at ")

        await time_goes_to(play, paused_s + 1)
        run = await play.hub.ended(run_id)

        assert (run["outcome"], [move["after"] for move in run["history"]]) == ("success", RUN_HISTORY)
        assert state(play) == ("available", None, None, None, None, 0)  # forgiven: the model answered
        told = rows(play.folder / "hub.db", HISTORY)
        assert [(value, actor) for value, _, actor in told] == [("exhausted", "hub"), ("available", "hub")]
        assert (told[0][1][:10], told[1][1], oracle.stats.refused) == ("rate_limit", "recovered", {"429": 2})
        are_there_once(play.items(), LETTER_TITLE)


FILES, PLANTED = check_boxes(400, each=4)
SMALL_DISK = ("--spare-pages", "300")  # of 4 KB: the plans of some windows of files fit
FULL = "database or disk is full"


class Place(NamedTuple):
    """A hub whose database cannot grow much, and a device with more to find than has room in it."""

    hub: FaultyHub
    device: RunningDevice
    wire: Wire

    def items(self) -> list[str]:
        return [title for (title,) in rows(self.device.db, TITLES)]


@asynccontextmanager
async def small_disk(folder: Path) -> AsyncIterator[Place]:
    """The hub lives."""
    hub = FaultyHub(folder)
    hub.faults = (*SMALL_DISK, "--given", "hub.runs.attempt_ending:RETRY_BASE_S=0.5")
    try:
        await hub.start()
        async with wire() as line, open_device(line.url, folder, await hub.token()) as device:
            line.hub_url = await hub.device_url()
            for name, text in FILES.items():
                device.write(name, text)
            yield Place(hub, device, line)
    finally:
        await hub.close()


async def test_run_meeting_a_full_disk_goes_on_once_there_is_room_again(tmp_path: Path) -> None:
    async with small_disk(tmp_path) as place:
        run_id = await place.hub.start_run()
        await place.hub.says(FULL)
        assert 0 < (await place.hub.get(f"/v1/runs/{run_id}"))["items_created"] < len(PLANTED)

        os.kill(place.hub.pid, LIFT_THE_LIMIT)
        run = await place.hub.ended(run_id)

        assert (run["state"], run["outcome"], run["error_count"]) == ("COMPLETED", "success", 0)
        are_there_once(place.items(), PLANTED)


@pytest.mark.soak
async def test_run_cancelled_on_a_full_disk_stays_cancelled(tmp_path: Path) -> None:
    async with small_disk(tmp_path) as place:
        cancelled = await place.hub.start_run()
        await place.hub.says(FULL)
        await place.hub.post(f"/v1/runs/{cancelled}/cancel", {"reason": "not today"})
        await place.hub.ended(cancelled)

        await place.hub.kill()
        place.hub.faults = ()
        await place.hub.start()
        place.wire.hub_url = await place.hub.device_url()
        run = await place.hub.ended(await place.hub.start_run())

        assert (run["state"], run["outcome"]) == ("COMPLETED", "success")
        are_there_once(place.items(), PLANTED)
        ended = await place.hub.get(f"/v1/runs/{cancelled}")
        assert (ended["state"], ended["reason"]) == ("CANCELLED", "not today")
        assert rows(tmp_path / "hub.db", "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.soak
async def test_hub_killed_on_a_full_disk_starts_names_the_wait_and_resumes_with_room() -> None:
    if why := why_not_here():
        pytest.skip(f"nobody can mount a file system here: {why}")
    done = await anyio.run_process([sys.executable, "-m", "tests.scenarios.full_disk"], stderr=None)
    seen = json.loads(done.stdout)
    assert PORTION_BYTES <= seen["ballast of a hub on a full disk"] < BALLAST_BYTES
    assert seen["waits"] == ["QUEUED", seen["status"]]
    assert seen["status"].endswith("no run is started before 240 MB are")
    assert (seen["issues"], seen["ended"], seen["items are right"], seen["exit"]) == (
        ["disk.full"],
        ["COMPLETED", "success"],
        True,
        0,
    )
