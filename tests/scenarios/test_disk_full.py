"""The disk is full in the middle of a run: the hub says so, lives on, and ends it once there is room."""

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import anyio
import pytest

from hub.runs.disk import BALLAST_BYTES, PORTION_BYTES
from tests.scenarios.deaths import TITLES
from tests.scenarios.full_disk import why_not_here
from tests.scenarios.scene import are_there_once, check_boxes, rows
from tests.support.device import RunningDevice, open_device
from tests.support.faults import LIFT_THE_LIMIT
from tests.support.faulty_hub import FaultyHub
from tests.support.proxy import Wire, wire

FILES, PLANTED = check_boxes(60, each=4)
SMALL_DISK = ("--spare-pages", "18")  # of 4 KB: the plans of some of the files fit
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
    hub.faults = (*SMALL_DISK, "--given", "hub.runs.attempt:RETRY_BASE_S=0.5")
    try:
        await hub.start()
        async with wire() as line, open_device(line.url, folder, await hub.token()) as device:
            line.hub_url = await hub.device_url()
            for name, text in FILES.items():
                device.write(name, text)
            yield Place(hub, device, line)
    finally:
        await hub.close()


async def test_a_run_that_meets_a_full_disk_goes_on_when_there_is_room_again(tmp_path: Path) -> None:
    async with small_disk(tmp_path) as place:
        run_id = await place.hub.start_run()
        await place.hub.says(FULL)
        assert 0 < (await place.hub.get(f"/v1/runs/{run_id}"))["items_created"] < len(PLANTED)

        os.kill(place.hub.pid, LIFT_THE_LIMIT)
        run = await place.hub.ended(run_id)

        assert (run["state"], run["outcome"], run["error_count"]) == ("COMPLETED", "success", 0)
        are_there_once(place.items(), PLANTED)


@pytest.mark.soak
async def test_a_run_that_is_cancelled_while_the_disk_is_full_stays_so(tmp_path: Path) -> None:
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
async def test_a_hub_that_was_killed_on_a_full_disk_starts_says_why_runs_wait_and_goes_on_with_room() -> None:
    if why := why_not_here():
        pytest.skip(f"nobody can mount a file system here: {why}")
    done = await anyio.run_process([sys.executable, "-m", "tests.scenarios.full_disk"], stderr=None)
    seen = json.loads(done.stdout)
    assert PORTION_BYTES <= seen["ballast of a hub on a full disk"] < BALLAST_BYTES
    assert seen["waits"] == ["QUEUED", seen["status"]]
    assert seen["status"].endswith("no run is started before 240 MB are")
    assert seen["issues"] == ["disk.full"]
    assert (seen["ended"], seen["items are right"], seen["exit"]) == (["COMPLETED", "success"], True, 0)
