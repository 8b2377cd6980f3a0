"""The README's first run, typed at a terminal line by line: from nothing to approved items."""

import os
import re
import socket
import sys
from pathlib import Path
from shutil import which

import pytest

from tests.scenarios.scene import rows
from tests.support.handbook import README, blocks
from tests.support.processes import ROOT
from tests.support.terminal import PROMPT, terminal

PROSE = "Dave must send the signed contract to Anna by Friday. It rained on the old roofs."
NOTE = "# Call with Rossi\n\n{prose}\n\n- [ ] Water the plants\n"
CALENDAR = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//hub//tests//EN\r\nBEGIN:VEVENT\r\nUID:1@example.org\r\n"
    "DTSTAMP:20261101T090000Z\r\nDTSTART:20270203T150000Z\r\nSUMMARY:Opening party\r\nEND:VEVENT\r\n"
    "END:VCALENDAR\r\n"
)
MOST_COMMANDS = 7


def first_run() -> list[str]:
    """The commands of the README's block, without their comments."""
    (block,) = [block for block in blocks(README, "sh") if block.text.startswith("hub init")]
    lines = [line.partition("  #")[0].strip() for line in block.text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def test_the_first_run_takes_seven_commands_at_most() -> None:
    assert 0 < len(first_run()) <= MOST_COMMANDS
    assert all(line.startswith("hub ") for line in first_run())


@pytest.mark.skipif(which("bash") is None, reason="no bash here")
@pytest.mark.parametrize("prose", ["", pytest.param(PROSE, marks=pytest.mark.soak)], ids=["rules", "model"])
async def test_a_new_user_types_the_readme_s_first_run_and_approves_a_timeline_and_a_task(
    tmp_path: Path, prose: str
) -> None:
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
    init, serve, connect, pair, run, review, approve = first_run()
    async with terminal(tmp_path, environment) as typed:
        typed.type(init)
        await typed.shows(PROMPT)
        typed.type(serve)
        await typed.shows("is ready")
        typed.type(connect.replace(":8770", f":{devices}"))
        code = (await typed.shows(r"hub pair approve (\S+)")).group(1)
        typed.type(pair.replace("CODE", code))
        await typed.shows(r"\[y/N\]")
        typed.type("y")
        await typed.shows("connected as")
        typed.type(run)
        told = await typed.shows(r"success: 2 read, 0 skipped, 0 failed, (\d+) items, (\d+) model requests")
        assert (int(told.group(2)) > 0) == bool(prose)

        await typed.shows("  timelines  Opening party")
        await typed.shows("they wait for review on desk; run there: hub review")
        before = len(typed.shown)
        typed.type(review)
        await typed.shows("approve, edit or reject them by their numbers")
        listed = typed.shown[before:]
        wanted = ("timelines  Opening party", "tasks  Water the plants")
        numbers = [found[1] for item in wanted if (found := re.search(rf"(\d+)  {item}", listed))]
        typed.type(approve.replace("NUMBERS", " ".join(numbers)))
        await typed.shows("approved: ")
        await typed.shows("approved: ")

        (database,) = (tmp_path / "state").rglob("desk.db")
        for table, title in (("timelines", "Opening party"), ("tasks", "Water the plants")):
            assert rows(database, f"SELECT title FROM {table} WHERE isApproved = 1") == [(title,)]
