"""First runs of README and handbook, typed in a clone line by line: from nothing to approved items."""

import os
import re
import sys
from pathlib import Path
from shutil import copy, which

import pytest

from hub import docs
from tests.scenarios.first_run import first_run, outputs, type_first_run
from tests.scenarios.scene import rows
from tests.support.handbook import README
from tests.support.processes import ROOT
from tests.support.programs import free_port
from tests.support.terminal import terminal

PROSE = "Dave must send the signed contract to Anna by Friday. It rained on the old roofs."
NOTE = "# Call with Rossi\n\n{prose}\n\n- [ ] Water the plants\n"
CALENDAR = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//hub//tests//EN\r\nBEGIN:VEVENT\r\nUID:1@example.org\r\n"
    "DTSTAMP:20261101T090000Z\r\nDTSTART:20270203T150000Z\r\nSUMMARY:Opening party\r\nEND:VEVENT\r\n"
    "END:VCALENDAR\r\n"
)
MAX_COMMANDS = 7
FIRST_RUN = docs.FOLDER / "first-run.md"


def test_the_first_run_takes_seven_commands_at_most() -> None:
    assert 0 < sum(line.startswith("hub ") for line in first_run(README)) <= MAX_COMMANDS


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
        **({"HUB__MODEL__KIND": "local", "HUB__MODEL__READS_PROSE": "true"} if prose else {}),
    }
    async with terminal(clone, environment) as typed:
        await type_first_run(typed, page, port=devices, has_model=bool(prose))
        for line in outputs(page):
            assert re.search(line, typed.shown), f"{line!r} is not in:\n{typed.shown}"

        (database,) = (tmp_path / "state").rglob("desk.db")
        for table, title in (("timelines", "Opening party"), ("tasks", "Water the plants")):
            assert rows(database, f"SELECT title FROM {table} WHERE isApproved = 1") == [(title,)]
