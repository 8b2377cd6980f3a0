"""The inbox of ``hub review`` on a terminal."""

import os
import pty
import signal
import sqlite3
import sys
import termios
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from hub.cli.inbox import KEYS, TerminalInbox, keys_of
from hub.device.items import read_items
from hub.device.owner import approve
from protocol.tables import SUGGESTED
from protocol.tool_calls import Action, ToolCall
from tests.hub.cli.conftest import device_store
from tests.hub.device.test_inbox import inbox_of
from tests.support.clock import FakeClock
from tests.support.programs import ending
from tests.support.terminal import Terminal

ENTER, ESCAPE = "\r", "\x1b"
TYPED_S = 0.03  # from key to key
TYPED = 15  # keys


class Owner:
    """Somebody at the terminal."""

    def __init__(
        self, folder: Path, *titles: str, sourced: Collection[str] = (), marked: Collection[str] = ()
    ) -> None:
        inbox = inbox_of(folder, *titles, sourced=sourced, marked=marked)
        self.path, self.clock = inbox.path, FakeClock()
        self._shown = TerminalInbox(inbox, self.clock)

    def types(self, *keys: str) -> list[str]:
        for key in keys:
            self._shown.press(key)
        return self._shown.lines(80, 24)

    def lines(self, height: int) -> list[str]:
        return self._shown.lines(80, height)

    def decided(self) -> dict[str, str]:
        return {item.title: item.verdict for item in read_items(self.path)}


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner(tmp_path, "call Ana", "pay", "mend the roof")


def test_inbox_lists_items_and_records_undoable_verdicts(owner: Owner) -> None:
    lines = owner.types()
    assert lines[0].startswith("3 waiting")
    assert lines[1] == ">   3     tasks      mend the roof"
    assert owner.types("j", "a")[-1] == "approved: pay; u takes it back"
    assert owner.types("r")[-1] == "rejected: call Ana; u takes it back"
    assert owner.decided() == {"pay": "approved", "mend the roof": "open"}
    assert owner.types("u")[-1] == "taken back"
    assert owner.decided() == {"pay": "approved", "mend the roof": "open", "call Ana": "open"}
    assert (owner.types("u")[-1], owner.types("u")[-1]) == ("taken back", "there is nothing to take back")
    assert set(owner.decided().values()) == {"open"}


def test_inbox_key_acts_only_on_the_shown_item(
    owner: Owner,
) -> None:
    owner.types("j")  # over the roof
    more(owner.path, "buy milk")
    assert owner.types("a", "a", "a", "r")[-1] == "no item waits below; 2 above: k"
    assert owner.decided() == {
        "pay": "approved",
        "call Ana": "approved",
        "mend the roof": "open",
        "buy milk": "open",
    }
    owner.types("u", "u", "k", "e", *"title=paid")
    owner.types(ENTER)
    assert owner.decided()["paid"] == "edited"


def test_inbox_selects_several_items_and_filters_by_text(owner: Owner) -> None:
    assert "selected" in owner.types("A")[-1]
    assert owner.types("k", "x", "a")[-1] == "approved: 2 items; u takes it back"
    owner.types("u")
    assert owner.types("/", *"AN", "x", "\x7f", "a", ENTER)[0].startswith('1 waiting with "ANa"')
    owner.types("r", "/", *"\x7f\x7f\x7f", ENTER)
    assert owner.decided() == {"pay": "open", "mend the roof": "open"}


def test_inbox_finds_items_by_a_mark_and_rejects_them_together(tmp_path: Path) -> None:
    owner = Owner(tmp_path, "call Ana", "pay", "mend the roof", marked=["pay", "call Ana"])
    assert owner.types("/", *"INSTRUCTION", ENTER, "A")[-1] == "2 selected"
    assert owner.types("r")[-1] == "rejected: 2 items; u takes it back"
    assert owner.decided() == {"mend the roof": "open"}


def test_inbox_approves_an_item_with_a_mark_alone_after_a_question(tmp_path: Path) -> None:
    owner = Owner(tmp_path, "pay", "obey", "mend the roof", marked=["obey"])
    assert owner.types("x", "j", "x", "j", "x", "a")[-1].endswith("1 with a mark: approve each alone")
    assert owner.decided() == {"pay": "approved", "obey": "open", "mend the roof": "approved"}
    assert "marked instruction: approve this one" in owner.types("k", "a")[-1]
    assert owner.types(ENTER)[-1] == "nothing was changed"
    owner.types("a", ESCAPE)
    owner.types("e", *"title=x", ENTER, *"no", ENTER)
    assert owner.decided()["obey"] == "open"
    assert owner.types("a", "y", ENTER)[-1] == "approved: obey; u takes it back"
    owner.types("u", "r")
    assert "obey" not in owner.decided()


def test_inbox_asks_about_a_picked_marked_item_below_the_words_of_the_item(tmp_path: Path) -> None:
    owner = Owner(tmp_path, "pay", "obey", "mend the roof", marked=["obey"])
    lines = owner.types("j", "x", "k", "a")
    assert any(line.startswith(">") and line.endswith("obey") for line in lines)
    assert any(line.startswith("    ! the quoted text contains instructions") for line in lines)
    assert owner.types("y", ENTER)[-1] == "approved: obey; u takes it back"


def test_inbox_approves_no_item_with_a_mark_whose_words_do_not_fit(tmp_path: Path) -> None:
    owner = Owner(tmp_path, "obey", marked=["obey"])
    owner.types("a", "y")
    assert "more lines" in "".join(owner.lines(7))
    assert "enlarge" in owner.types(ENTER)[-1]
    assert owner.decided()["obey"] == "open"
    assert owner.types("a", "y", ENTER)[-1] == "approved: obey; u takes it back"


def test_inbox_says_how_many_lines_of_an_item_do_not_fit(tmp_path: Path) -> None:
    owner = Owner(tmp_path, "call Ana", sourced=["call Ana"])
    whole = owner.lines(40)
    assert "more lines" not in "".join(whole)
    small = owner.lines(8)
    assert small[5].startswith("… ") and "more lines: enlarge the terminal" in small[5]
    lost = [line for line in whole[:-2] if line not in small]
    assert small[5].split()[1] == str(len(lost)) and any("counted from" in line for line in lost)


def test_inbox_selects_no_proposed_change_with_all_others(owner: Owner) -> None:
    item = next(one for one in read_items(owner.path) if one.title == "pay")
    approve(owner.path, [item.label], at_ms=1)
    with device_store(owner.path, seed=1) as store:
        change = {"title": "pay 500 EUR", **SUGGESTED}
        call = ToolCall(id="c-9", action=Action.UPDATE, table="tasks", where={"id": item.row_id}, data=change)
        store.apply([call])
    assert "2 selected; 1 proposed: select them one by one" in owner.types("A")[-1]
    owner.types("a")
    assert owner.decided() == {"call Ana": "approved", "mend the roof": "approved", "pay": "approved"}
    assert "the hub would change title from pay to" in "\n".join(owner.types("k"))


def test_inbox_shows_the_number_of_less_sure_items(tmp_path: Path) -> None:
    inbox = inbox_of(tmp_path, "call Ana")
    assert "1 waiting   j k" in TerminalInbox(inbox, FakeClock()).lines(80, 24)[0]
    head = TerminalInbox(inbox, FakeClock(), held=12).lines(80, 24)[0]
    assert head.startswith("1 waiting, 12 less sure (hub review ls --unsure)")


def test_inbox_edit_approves_an_item_with_other_values(owner: Owner) -> None:
    owner.types("e", *"title=mend it all dueDate=2027-02-03", ENTER)
    item = next(item for item in read_items(owner.path) if item.title == "mend it all")
    assert item.data["isApproved"]
    assert "dueDate" in item.data
    assert "no field" in owner.types("e", *"titel=x", ENTER)[-1]
    assert owner.types("e", *"title=x", ESCAPE)[0].startswith("2 waiting")


def test_inbox_help_names_every_key_and_escapes_hostile_texts(tmp_path: Path) -> None:
    owner = Owner(tmp_path, "alert")
    with closing(sqlite3.connect(owner.path)) as db, db:  # as an older release stored it
        db.execute("UPDATE tasks SET title = ?", ("red \x1b[31m\u202e alert",))
    assert any("\\x1b[31m\\u202e" in line for line in owner.types())
    assert not any("\x1b" in line or "\u202e" in line for line in owner.types("?"))
    assert len(owner.types("j", "?")) == len(KEYS)


@pytest.mark.slow  # starts a process
async def test_inbox_keys_typed_after_job_control_are_read_in_order(
    tmp_path: Path,
) -> None:
    path = inbox_of(tmp_path, *(f"task {number}" for number in range(TYPED))).path
    ours, theirs = pty.openpty()
    of_shell = termios.tcgetattr(theirs)
    command = [sys.executable, "-m", "hub", "review", "--db", str(path)]
    environ = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    async with await anyio.open_process(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ
    ) as process:
        os.close(theirs)
        seen = Terminal(ours)
        with ending(process):
            await seen.shows(f"{TYPED} waiting")
            for key in (b"a", b"u"):
                # As by Ctrl-Z and fg: the shell sets its own mode, in which the keys are lines.
                process.send_signal(signal.SIGSTOP)
                termios.tcsetattr(ours, termios.TCSANOW, of_shell)
                process.send_signal(signal.SIGCONT)
                async with anyio.create_task_group() as typing:
                    typing.start_soon(type_keys, ours, key)
                    await seen.shows("no item waits" if key == b"a" else f"{TYPED} waiting")
                wanted = "approved" if key == b"a" else "open"
                assert [item.verdict for item in read_items(path)] == [wanted] * TYPED
                with closing(sqlite3.connect(path)) as db:
                    moments = dict(db.execute("SELECT title, updatedAt FROM tasks").fetchall())
                in_order = [moments[f"task {number}"] for number in reversed(range(TYPED))]
                assert key == b"u" or in_order == sorted(in_order)
            os.write(ours, b"qa")  # what follows the end is not the inbox's
            with anyio.fail_after(20):
                assert await process.wait() == 0
    os.close(ours)
    assert {item.verdict for item in read_items(path)} == {"open"}


def test_inbox_redraws_after_sigcont_without_nesting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = pty.openpty()
    of_shell = termios.tcgetattr(theirs)
    drawn: list[str] = []

    def draw() -> None:
        drawn.append("begins")
        if len(drawn) == 1:
            termios.tcsetattr(theirs, termios.TCSANOW, of_shell)
            signal.raise_signal(signal.SIGCONT)
        else:
            os.write(ours, b"q")
        drawn.append("ends")

    with closing(os.fdopen(ours, "wb")), closing(os.fdopen(theirs)) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with keys_of(draw) as read:
            assert read() == "q"
    assert drawn == ["begins", "ends"] * 2


def more(path: Path, title: str) -> None:
    """Let a hub insert one more item into the device's file."""
    call = ToolCall(id="c-more", action=Action.INSERT, table="tasks", data={"title": title, **SUGGESTED})
    with device_store(path, 2) as store:
        store.apply([call])


async def type_keys(terminal: int, key: bytes) -> None:
    for _ in range(TYPED):
        os.write(terminal, key)
        await anyio.sleep(TYPED_S)
