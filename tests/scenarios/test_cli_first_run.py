"""The README's first steps, typed as a new user types them, without a model."""

import json
import os
import re
import sys
from pathlib import Path

import anyio
import pytest

from tests.scenarios.scene import rows
from tests.support.processes import ROOT, Program, closing

NOTE = "# Week\n\n- [ ] Water the plants\n- [/] Call Anna\n\nWe should meet again some day.\n"


async def hub(folder: Path, *words: str, code: int = 0) -> str:
    """``hub WORDS`` in a shell that stands in *folder*; its standard output."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "STATE_DIRECTORY": str(folder / "state")}
    command = [sys.executable, "-m", "hub", *words]
    done = await anyio.run_process(command, cwd=folder, env=environment, check=False)
    assert done.returncode == code, f"hub {words}: {done.returncode}\n{done.stderr.decode()}"
    return done.stdout.decode()


def edit(settings: Path) -> None:
    """Give the new settings file free ports, and a folder, as its owner would."""
    text = settings.read_text()
    text = re.sub(r":877[01]\"", ':0"', text)
    settings.write_text(text.replace('paths = ["~/notes"]', 'paths = ["notes"]'))


@pytest.mark.soak
async def test_a_new_user_gets_from_an_empty_folder_to_items(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "week.md").write_text(NOTE)
    state = tmp_path / "state"
    daemon = Program(tmp_path, "hub.log", ["serve", "--config", str(tmp_path / "hub.toml")], state=state)
    desk = Program(tmp_path, "desk.log", [], state=state)
    async with closing(desk, daemon):
        await hub(tmp_path, "init")
        edit(tmp_path / "hub.toml")
        await hub(tmp_path, "check")
        await hub(tmp_path, "status", code=3)
        await daemon.start()
        await daemon.says("is ready")
        token = tmp_path / "desk.token"
        token.write_text(await hub(tmp_path, "token", "create", "--device", "desk"))
        token.chmod(0o600)
        status = json.loads(await hub(tmp_path, "status", "--json"))
        url = f"ws://{status['listeners']['devices']}"
        shares = ["--root", str(tmp_path / "notes"), "--db", str(tmp_path / "desk.db")]
        desk.words = ["connect", url, *shares, "--name", "desk", "--token-file", str(token)]
        await desk.start()
        await desk.says("connected as")

        told = await hub(tmp_path, "run", "notes", "--follow")

        counts, *titles = told.splitlines()
        assert counts == "success: 1 read, 0 skipped, 0 failed, 2 items, 0 model requests"
        assert sorted(line.split(maxsplit=1)[1] for line in titles) == ["Call Anna", "Water the plants"]
        found = rows(tmp_path / "desk.db", "SELECT title, isAiSuggested, isApproved FROM tasks ORDER BY 1")
        assert found == [("Call Anna", 1, 0), ("Water the plants", 1, 0)]

        (run,) = json.loads(await hub(tmp_path, "runs", "--json"))["runs"]
        shown = await hub(tmp_path, "runs", "show", run["id"])
        assert re.search(r"^notes/week\.md\s+DONE\s+2", shown, re.MULTILINE)
        assert "desk" in await hub(tmp_path, "devices")

        told = await hub(tmp_path, "run", "notes", "--follow")
        assert told == "success: 0 read, 1 skipped, 0 failed, 0 items, 0 model requests\n"
        assert await desk.stop() == 0
        assert await daemon.stop() == 0
