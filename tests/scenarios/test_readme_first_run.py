"""First runs of README and handbook, typed in a clone line by line: from nothing to approved items."""

import os
import re
import socket
import sys
from pathlib import Path
from shutil import copy, which

import pytest

from hub import docs
from tests.scenarios.scene import rows
from tests.support.handbook import README, blocks
from tests.support.processes import ROOT
from tests.support.terminal import Terminal, terminal

PROSE = "Dave must send the signed contract to Anna by Friday. It rained on the old roofs."
NOTE = "# Call with Rossi\n\n{prose}\n\n- [ ] Water the plants\n"
CALENDAR = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//hub//tests//EN\r\nBEGIN:VEVENT\r\nUID:1@example.org\r\n"
    "DTSTAMP:20261101T090000Z\r\nDTSTART:20270203T150000Z\r\nSUMMARY:Opening party\r\nEND:VEVENT\r\n"
    "END:VCALENDAR\r\n"
)
MOST_COMMANDS = 7
FIRST_RUN = docs.FOLDER / "first-run.md"
INSTALLS = "python3 -m venv"  # first words of the block whose effect the tests' own environment has


def first_run(page: Path) -> list[str]:
    """Return the commands of a page from the empty machine to the first approved item, without comments."""
    lines: list[str] = []
    for block in blocks(page, "sh"):
        if "make demo" not in block.text and not block.text.startswith(INSTALLS):
            lines += (line.partition("  #")[0].strip() for line in block.text.splitlines())
    return [line for line in lines if line]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def test_the_first_run_takes_seven_commands_at_most() -> None:
    assert 0 < sum(line.startswith("hub ") for line in first_run(README)) <= MOST_COMMANDS


@pytest.mark.skipif(which("bash") is None, reason="no bash here")
@pytest.mark.parametrize(
    ("page", "prose"),
    [(README, ""), (FIRST_RUN, ""), pytest.param(README, PROSE, marks=pytest.mark.soak)],
    ids=["readme", "handbook", "model"],
)
async def test_a_new_user_types_the_first_run_in_a_clone_and_approves_a_timeline_and_a_task(
    tmp_path: Path, page: Path, prose: str
) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    for file in ROOT.iterdir():  # the reader stands here: a hub.toml is in the way
        if file.is_file():
            copy(file, clone)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "rossi.md").write_text(NOTE.format(prose=prose))
    (tmp_path / "notes" / "calendar.ics").write_text(CALENDAR)
    devices, operator = free_port(), free_port()  # the default ones may be taken on this machine
    environment = os.environ | {
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HUB__LISTEN__DEVICES__ADDRESS": f"127.0.0.1:{devices}",
        "HUB__LISTEN__OPERATOR__ADDRESS": f"127.0.0.1:{operator}",
        **({"HUB__MODEL__READS_PROSE": "true"} if prose else {}),
    }
    async with terminal(clone, environment) as typed:
        code, listed = "", ""
        for line in first_run(page):
            match line.split():
                case ["hub", "serve", *_]:
                    typed.type(line)
                    await typed.shows("is ready")
                case ["hub", "connect", *_]:
                    typed.type(line.replace(":8770", f":{devices}"))
                    code = (await typed.shows(r"hub pair approve (\S+)"))[1]
                case ["hub", "pair", "approve", shown]:
                    typed.type(line.replace(shown, code))
                    await typed.shows(r"\[y/N\]")
                    typed.type("y")
                    await typed.shows("connected as")
                case ["hub", "run", *_]:
                    await _reads_both_files(typed, line, has_model=bool(prose))
                case ["hub", "review"]:
                    before = len(typed.shown)
                    typed.type(line)
                    await typed.shows("approve, edit or reject them by their numbers")
                    listed = typed.shown[before:]
                case ["hub", "review", "approve", *_]:
                    wanted = ("timelines  Opening party", "tasks  Water the plants")
                    found = [re.search(rf"(\d+)  {item}", listed) for item in wanted]
                    typed.type(f"hub review approve {' '.join(one[1] for one in found if one)}")
                    await typed.shows("approved: ")
                    await typed.shows("approved: ")
                case _:
                    typed.type(f"{line}; echo code $?")
                    await typed.shows("code 0")

        (database,) = (tmp_path / "state").rglob("desk.db")
        for table, title in (("timelines", "Opening party"), ("tasks", "Water the plants")):
            assert rows(database, f"SELECT title FROM {table} WHERE isApproved = 1") == [(title,)]


async def _reads_both_files(typed: Terminal, line: str, *, has_model: bool) -> None:
    typed.type(line)
    told = await typed.shows(r"success: 2 read, 0 skipped, 0 failed, (\d+) items, (\d+) model requests")
    assert (int(told.group(2)) > 0) == has_model
    await typed.shows("  timelines  Opening party")
    await typed.shows("they wait for review on desk; run there: hub review")
