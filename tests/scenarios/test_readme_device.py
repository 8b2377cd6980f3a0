"""The device of the handbook, run as it is there, against a real hub."""

import re
import subprocess
import sys
from pathlib import Path

import anyio

from hub import docs
from tests.scenarios.scene import scene
from tests.support.documents import device_program

LONGEST_LINES = 24


async def test_the_device_of_the_handbook_is_given_a_run_and_keeps_each_item_once(tmp_path: Path) -> None:
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


def test_the_handbook_shows_this_device_and_it_has_nothing_of_ours() -> None:
    assert f"```python\n{device_program()}```" in docs.page("write-a-device")
    assert len([line for line in device_program().splitlines() if line.strip()]) <= LONGEST_LINES
    imported = re.findall(r"^(?:import|from) (.*?)(?: import .*)?$", device_program(), re.MULTILINE)
    assert imported == ["json, pathlib, sys", "websockets.sync.client"]
