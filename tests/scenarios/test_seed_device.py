"""The oldest device there is, which knows nothing of manifests, credit or fences, against a real hub."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL

import anyio
import pytest

from tests.scenarios.scene import Scene, are_there_once, check_boxes, rows, scene, sentences
from tests.support import seed_device
from tests.support.oracle import Oracle

BOXES, BOX_TITLES = check_boxes(10)
LETTERS, LETTER_TITLES = sentences(2)
TITLES = BOX_TITLES + LETTER_TITLES


@asynccontextmanager
async def connected(play: Scene) -> AsyncIterator[Path]:
    """The seed's device as a process of its own; its database."""
    database = play.folder / "seed.db"
    url = f"{await play.hub.device_url()}/v1/device"
    command = [
        *(sys.executable, str(seed_device.__file__), url, await play.hub.token()),
        *(str(play.folder / "notes"), str(database)),
    ]
    async with await anyio.open_process(command, stdin=DEVNULL, stdout=None, stderr=None) as process:
        await play.has_connected()
        yield database
        process.kill()


@pytest.mark.soak
async def test_a_device_that_shows_a_token_and_no_more_gets_its_items_once(tmp_path: Path) -> None:
    oracle = Oracle()
    async with scene(tmp_path, BOXES | LETTERS, oracle=oracle) as play, connected(play) as database:
        run = await play.hub.ended(await play.hub.start_run())

        assert (run["state"], run["outcome"], run["units_done"]) == (
            "COMPLETED",
            "success",
            len(BOXES | LETTERS),
        )
        kept = [json.loads(data) for (data,) in rows(database, "SELECT data FROM tasks")]
        are_there_once((row["title"] for row in kept), TITLES)
        assert {(row["isAiSuggested"], row["isApproved"]) for row in kept} == {(1, 0)}

        asked = oracle.stats.calls
        again = await play.hub.ended(await play.hub.start_run())

        assert (again["outcome"], again["items_created"], again["units_skipped"]) == ("success", 0, 12)
        assert oracle.stats.calls == asked
        assert len(rows(database, "SELECT id FROM tasks")) == len(TITLES)
