"""The README's first run, typed at a terminal line by line: from nothing to items."""

import os
import re
import socket
import sys
from pathlib import Path
from shutil import which

import pytest

from tests.scenarios.scene import rows
from tests.support.documents import README
from tests.support.processes import ROOT
from tests.support.terminal import PROMPT, terminal

NOTE = (
    "# Call with Rossi\n\nDave must send the signed contract to Anna by Friday.\n\n- [ ] Water the plants\n"
)
MOST_COMMANDS = 5


def first_run() -> list[str]:
    """The commands of the README's block, without their comments."""
    (block,) = re.findall(r"### First run\n.*?```sh\n(.*?)```", README.read_text(), re.DOTALL)
    lines = [line.partition("  #")[0].strip() for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def test_the_first_run_takes_five_commands_at_most() -> None:
    assert 0 < len(first_run()) <= MOST_COMMANDS
    assert all(line.startswith("hub ") for line in first_run())


@pytest.mark.skipif(which("bash") is None, reason="no bash here")
async def test_a_new_user_types_the_readme_s_first_run_and_gets_items(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "rossi.md").write_text(NOTE)
    devices, operator = free_port(), free_port()  # the default ones may be taken on this machine
    environment = os.environ | {
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HUB__LISTEN__DEVICES__ADDRESS": f"127.0.0.1:{devices}",
        "HUB__LISTEN__OPERATOR__ADDRESS": f"127.0.0.1:{operator}",
    }
    init, serve, connect, approve, run = first_run()
    async with terminal(tmp_path, environment) as typed:
        typed.type(init)
        await typed.shows(PROMPT)
        typed.type(serve)
        await typed.shows("is ready")
        typed.type(connect.replace(":8770", f":{devices}"))
        code = (await typed.shows(r"hub pair approve (\S+)")).group(1)
        typed.type(approve.replace("CODE", code))
        await typed.shows(r"\[y/N\]")
        typed.type("y")
        await typed.shows("connected as")
        typed.type(run)
        told = await typed.shows(r"success: 1 read, 0 skipped, 0 failed, (\d+) items, (\d+) model requests")
        assert int(told.group(2)) > 0

        (database,) = (tmp_path / "state").rglob("desk.db")
        titles = [
            title for (title,) in rows(database, "SELECT title FROM tasks WHERE isApproved = 0 ORDER BY 1")
        ]
    assert "Water the plants" in titles
    assert len(titles) == int(told.group(1))
