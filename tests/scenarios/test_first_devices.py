"""Devices that know little of the hub: the oldest one, that of the handbook, and a hub of relative paths."""

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL

import anyio
import pytest

from hub import docs
from tests.scenarios.scene import Scene, are_there_once, check_boxes, rows, scene, sentences
from tests.support import seed_device
from tests.support.documents import device_program
from tests.support.faulty_hub import FaultyHub
from tests.support.oracle import Oracle
from tests.support.processes import ROOT, SETTINGS, closing
from tests.support.programs import ending

BOXES, BOX_TITLES = check_boxes(10)
LETTERS, LETTER_TITLES = sentences(2)
SEED_TITLES = BOX_TITLES + LETTER_TITLES


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
        with ending(process):
            await play.has_connected()
            yield database


@pytest.mark.soak
async def test_device_with_a_token_alone_gets_each_item_once(tmp_path: Path) -> None:
    oracle = Oracle()
    async with scene(tmp_path, BOXES | LETTERS, oracle=oracle) as play, connected(play) as database:
        run = await play.hub.ended(await play.hub.start_run())

        assert (run["state"], run["outcome"], run["units_done"]) == (
            "COMPLETED",
            "success",
            len(BOXES | LETTERS),
        )
        kept = [json.loads(data) for (data,) in rows(database, "SELECT data FROM tasks")]
        are_there_once((row["title"] for row in kept), SEED_TITLES)
        assert {(row["isAiSuggested"], row["isApproved"]) for row in kept} == {(1, 0)}

        asked = oracle.stats.calls
        again = await play.hub.ended(await play.hub.start_run())

        assert (again["outcome"], again["items_created"], again["units_skipped"]) == ("success", 0, 12)
        assert (oracle.stats.calls, len(rows(database, "SELECT id FROM tasks"))) == (asked, len(SEED_TITLES))


LONGEST_LINES = 24


async def test_device_of_the_handbook_keeps_each_item_of_a_run_once(tmp_path: Path) -> None:
    async with scene(tmp_path, {"today.md": "- [ ] Water the plants\n- [ ] Call Anna\n"}) as play:
        url = f"{await play.hub.device_url()}/v1/device"
        token = tmp_path / "own.token"
        token.write_text(await play.hub.token())
        command = [sys.executable, "-", url, str(token), str(tmp_path / "notes")]
        async with await anyio.open_process(command, stderr=subprocess.STDOUT) as device:
            assert device.stdin is not None
            await device.stdin.send(device_program().encode())
            await device.stdin.aclose()
            await play.has_connected()

            first = await play.hub.ended(await play.hub.start_run())
            second = await play.hub.ended(await play.hub.start_run())
            assert await play.stop_hub() == 0

            assert device.stdout is not None
            told = b"".join([part async for part in device.stdout]).decode().splitlines()
        assert device.returncode == 0

    assert (first["outcome"], first["items_created"]) == ("success", 2)
    assert (second["outcome"], second["items_created"]) == ("success", 0)
    titles = [re.findall(r"^insert tasks .*'title': '([^']+)'", line) for line in told]
    assert sorted(title for found in titles for title in found) == ["Call Anna", "Water the plants"]


def test_device_of_the_handbook_imports_nothing_of_the_project() -> None:
    assert f"```python\n{device_program()}```" in docs.page("write-a-device")
    assert len([line for line in device_program().splitlines() if line.strip()]) <= LONGEST_LINES
    imported = re.findall(r"^(?:import|from) (.*?)(?: import .*)?$", device_program(), re.MULTILINE)
    assert imported == ["json, pathlib, sys", "websockets.sync.client"]


MODEL = """\
[model]
kind = "openai"
base_url = "http://127.0.0.1:9"
name = "m"
api_key = { file = "model.key" }
"""


@pytest.mark.soak
async def test_hub_with_relative_paths_writes_its_backups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.key").write_text("secret")
    (tmp_path / "database").write_text("sqlite:///hub.db")
    monkeypatch.setenv("HUB__STORAGE__URL", '{ file = "database" }')
    monkeypatch.chdir(ROOT)  # where the hub is started
    folder = Path(os.path.relpath(tmp_path, ROOT))  # noqa: ASYNC240 - of names alone
    hub = FaultyHub(folder, settings=SETTINGS.format(model=MODEL), is_forked=False)
    hub.faults = ("--given", "hub.backups:FIRST_AFTER_S=0.0")
    async with closing(hub):
        await hub.start()
        await hub.says('"backup.made"')
        assert await hub.stop() == 0
    assert [file.suffix for file in (tmp_path / "backups").iterdir()] == [".hub-backup"]
