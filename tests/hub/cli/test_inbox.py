"""The inbox of ``hub review`` on a terminal."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from hub.cli.inbox import KEYS, UNDO_S, TerminalInbox
from hub.device.items import read_items
from tests.hub.device.test_inbox import inbox_of
from tests.support.clock import FakeClock

ENTER, ESCAPE = "\r", "\x1b"


class Owner:
    """Somebody at the terminal."""

    def __init__(self, folder: Path, *titles: str) -> None:
        inbox = inbox_of(folder, *titles)
        self.path, self.clock = inbox.path, FakeClock()
        self._shown = TerminalInbox(inbox, self.clock)

    def types(self, *keys: str) -> list[str]:
        for key in keys:
            self._shown.press(key)
        return self._shown.lines(80, 24)

    def decided(self) -> dict[str, str]:
        return {item.title: item.verdict for item in read_items(self.path)}


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner(tmp_path, "call Ana", "pay", "mend the roof")


def test_items_are_listed_and_decided_about_one_by_one(owner: Owner) -> None:
    lines = owner.types()
    assert lines[0].startswith("3 waiting")
    assert lines[1] == ">   3     tasks      mend the roof"
    assert owner.types("j", "a")[-1] == "approved: pay; u takes it back"
    assert owner.types("r")[-1] == "rejected: call Ana; u takes it back"
    assert owner.decided() == {"pay": "approved", "mend the roof": "open"}
    assert owner.types("u")[-1] == "taken back"
    assert owner.decided() == {"pay": "approved", "mend the roof": "open", "call Ana": "open"}
    owner.types("r")
    owner.clock.advance(UNDO_S + 1)
    assert owner.types("u")[-1] == "nothing can be taken back any more"


def test_several_items_are_selected_and_found_by_a_text(owner: Owner) -> None:
    assert "selected" in owner.types("A")[-1]
    assert owner.types("k", "x", "a")[-1] == "approved: 2 items; u takes it back"
    owner.types("u")
    assert owner.types("/", *"AN", "x", "\x7f", "a", ENTER)[0].startswith('1 waiting with "ANa"')
    owner.types("r", "/", *"\x7f\x7f\x7f", ENTER)
    assert owner.decided() == {"pay": "open", "mend the roof": "open"}


def test_an_item_is_approved_with_other_values(owner: Owner) -> None:
    owner.types("e", *"title=mend it all dueDate=2027-02-03", ENTER)
    item = next(item for item in read_items(owner.path) if item.title == "mend it all")
    assert item.data["isApproved"]
    assert "dueDate" in item.data
    assert "no field" in owner.types("e", *"titel=x", ENTER)[-1]
    assert owner.types("e", *"title=x", ESCAPE)[0].startswith("2 waiting")


def test_help_names_every_key_and_hostile_texts_are_spelled_out(tmp_path: Path) -> None:
    owner = Owner(tmp_path, "red \x1b[31m\u202e alert")
    assert any("\\x1b[31m\\u202e" in line for line in owner.types())
    assert not any("\x1b" in line or "\u202e" in line for line in owner.types("?"))
    assert len(owner.types("j", "?")) == len(KEYS)


@pytest.mark.slow  # starts a process
def test_a_terminal_shows_the_inbox_until_q(tmp_path: Path) -> None:
    path = inbox_of(tmp_path, "call Ana").path
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "hub", "review", "--db", str(path)]
    environ = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ) as process:
        os.close(theirs)
        seen = b""
        while b"call Ana" not in seen:
            seen += os.read(ours, 4096)
        os.write(ours, b"a")
        while b"approved: call Ana" not in seen:
            seen += os.read(ours, 4096)
        os.write(ours, b"q")
        assert process.wait(20) == 0
    os.close(ours)
    assert [item.verdict for item in read_items(path)] == ["approved"]
