"""Boxes of tasks in the notes that they were found in."""

import os
import signal
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest

from hub.base.clock import IdFactory
from hub.device.device_file import connect_shared, open_device_store
from hub.device.owner import approve, edit
from hub.device.sinks.file_ticks import tick_sources
from hub.device.sinks.remarks import boxes_of_others
from hub.device.sinks.reports import destinations
from hub.device.sinks.running import FORMATS
from hub.device.sinks.sink import Sink
from hub.device.sinks.sync import synchronize
from hub.device.sinks.text_file import TextFile
from hub.text.rows.lines import Markdown, TodoTxt
from hub.text.rows.row_format import Format
from protocol.frame import Record
from protocol.items import ItemSource, Provenance, ProvenanceOrigin
from protocol.tables import SUGGESTED
from protocol.tool_calls import Action, ToolCall
from tests.support.clock import FakeClock, SeededChance

CLOCK = FakeClock()
FOLDERS: Final[Any] = import_module("hub.base.system.folders")
AT = 1_800_000_000_000
DAY = f"{CLOCK.now().astimezone():%Y-%m-%d}"


class Note:
    """Note in a shared folder, and a done task that was found in it."""

    def __init__(
        self,
        folder: Path,
        text: str,
        quote: str,
        *,
        is_done: bool = True,
        name: str = "plan.md",
        is_others: bool = False,
    ) -> None:
        self.root = folder / "notes"
        self.root.mkdir()
        self.path, self.db = self.root / name, folder / "desk.db"
        self.path.write_bytes(text.encode())
        self.provenance = (
            Provenance(origin=ProvenanceOrigin.MAIL, trusted=False)
            if is_others
            else Provenance(origin=ProvenanceOrigin.OWN, trusted=True)
        )
        self.find(quote)
        approve(self.db, [1], at_ms=AT)
        if is_done:
            edit(self.db, [1], {"status": "done"}, at_ms=AT)

    def find(self, quote: str, number: int = 1) -> None:
        """Find another task."""
        start = self.path.read_bytes().decode().find(quote)
        path, end = f"notes/{self.path.name}", start + len(quote)
        source = ItemSource(path=path, quote=quote, start=start, end=end, provenance=self.provenance)
        data = {"title": "Pay", **SUGGESTED}
        self.apply(ToolCall(id=f"c{number}", action=Action.INSERT, table="tasks", data=data, source=source))

    def apply(self, call: ToolCall) -> None:
        with open_device_store(self.db, clock=CLOCK, ids=IdFactory(CLOCK, SeededChance())) as store:
            store.name_roots([str(self.root)])
            store.apply([call])

    def states(self, *sinks: Sink) -> tuple[list[str], list[bool], str]:
        """Tick, and return states, approvals and the text."""
        with connect_shared(self.db) as db:
            for _ in range(2):  # the second look reads what the first wrote
                assert tick_sources(db, () if sinks else (self.root,), CLOCK.now(), sinks=sinks).problem == ""
            found = db.execute('SELECT status, "isApproved" FROM tasks ORDER BY rowid').fetchall()
        return [row[0] for row in found], [bool(row[1]) for row in found], self.path.read_text()

    def die(self, *sinks: Sink, is_written: bool) -> None:
        """Tick in a process that is killed before or after it exchanges the file for the new one."""
        child = os.fork()
        if not child:
            replace = FOLDERS.replace

            def exchange(*words: Any) -> None:
                if is_written:
                    replace(*words)
                os.kill(os.getpid(), signal.SIGKILL)

            FOLDERS.replace = exchange
            self.states(*sinks)
            os._exit(1)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])

    def remark(self) -> str:
        """Return the remark on boxes of the note; empty if there is none."""
        with connect_shared(self.db) as db:
            return boxes_of_others(db).get(f"boxes.{self.path}", "")

    def tick(self, *folders: Path) -> tuple[str, str]:
        """Tick, and return the problem and the text."""
        with connect_shared(self.db) as db:
            problem = tick_sources(db, folders or (self.root,), CLOCK.now()).problem
        return problem, self.path.read_bytes().decode()


TEXT = "# Plan\r\n\r\n- [ ] Pay\tAna\r\n- [ ] Pay Bo"


@pytest.mark.parametrize(
    ("text", "quote", "after"),
    [
        (TEXT, "Pay\tAna", TEXT.replace("[ ] Pay\t", "[x] Pay\t")),
        (TEXT, "- [ ] Pay Bo", TEXT.replace("[ ] Pay B", "[x] Pay B")),
        ("1. [ ] Pay", "Pay", "1. [x] Pay"),
        ("- [x] Pay", "Pay", "- [x] Pay"),
        ("- Pay", "Pay", "- Pay"),
        ("Please pay [ ] Pay", "Pay", "Please pay [ ] Pay"),
        ("- [ ] Ana\r- [ ] Pay\r", "Pay", "- [ ] Ana\r- [x] Pay\r"),
        ("- [ ] Plan\n  - [ ] Pay\n", "- [ ] Plan\n  - [ ] Pay", "- [ ] Plan\n  - [ ] Pay\n"),
        ("- [ ] Pay\n  Ana\n", "Pay\n  Ana", "- [x] Pay\n  Ana\n"),
        ("- [ ] Pay\n", "\n", "- [ ] Pay\n"),
    ],
)
def test_tick_changes_only_the_box_of_a_done_task(tmp_path: Path, text: str, quote: str, after: str) -> None:
    note = Note(tmp_path, text, quote)
    assert note.tick() == ("", after)
    note.path.write_bytes(text.encode())  # its owner opens the box again
    assert note.tick() == ("", text)


@pytest.mark.parametrize("is_written", [True, False])
def test_line_opened_after_a_kill_is_ticked_only_if_no_tick_was_written(
    is_written: bool, tmp_path: Path
) -> None:
    note = Note(tmp_path, "- [ ] Pay\n", "Pay")
    note.die(is_written=is_written)
    (tmp_path / "new").write_text("- [ ] Pay\n")
    (tmp_path / "new").rename(note.path)  # its owner saves the file with a program that replaces it
    assert note.tick() == ("", "- [ ] Pay\n" if is_written else "- [x] Pay\n")


QUOTED: Final = {
    "a copy at the place of the line": ("> [x] Pay Ana\n\n- [ ] Pay Ana\n", "todo"),
    "a copy above the line": ("Bob wrote:\n> - [x] Pay Ana\n\n- [ ] Pay Ana\n", "todo"),
    "a copy above another line": ("Bob wrote:\n> - [x] Pay Ana\n\n- [ ] Pay Bo\n", "todo"),
    "a copy alone": ("> - [x] Pay Ana\n", "todo"),
    "fields of a page": ("---\nsource: https://a.example\n---\n- [x] Pay Ana\n", "done"),
    "a copy above the ticked line": ("> - [ ] Pay Ana\n\n- [x] Pay Ana\n", "done"),
    "a callout": ("> [!todo]\n> - [x] Pay Ana\n", "done"),
}


@pytest.mark.parametrize("name", QUOTED)
def test_tick_in_words_of_others_in_an_own_file_of_a_sink_is_no_tick_of_its_task(
    name: str, tmp_path: Path
) -> None:
    text, status = QUOTED[name]
    note = Note(tmp_path, "- [ ] Pay Ana\n", "Pay Ana", is_done=False)
    sink = Sink("plan", TextFile(note.path, Markdown()), ("tasks",), back=True, kind="markdown")
    note.states(sink)
    note.path.write_text(text)
    assert note.states(sink) == ([status], [True], text)


@pytest.mark.parametrize("is_quoted", [True, False])
def test_done_task_of_a_quotation_is_ticked_there(is_quoted: bool, tmp_path: Path) -> None:
    note = Note(tmp_path, "> - [ ] Pay\n", "Pay", is_others=is_quoted)
    assert note.tick() == ("", "> - [x] Pay\n" if is_quoted else "> - [ ] Pay\n")


OF_OTHERS: Final = {
    "page": ("---\nauthor: Ana\nurl: https://a.example\n---\n- [ ] Pay\n", "rename these fields", "url"),
    "mail": ("From: Ana\nSubject: Rent\n\n- [ ] Pay\n", "rename these fields", "Subject"),
    "quotation": ("Plan\n> - [ ] Pay\n", "move them out of it", "> "),
}


@pytest.mark.parametrize("name", OF_OTHERS)
@pytest.mark.parametrize("is_daily", [True, False])
def test_box_of_an_own_task_in_words_of_others_is_told_until_both_agree(
    name: str, is_daily: bool, tmp_path: Path
) -> None:
    text, remedy, _ = OF_OTHERS[name]
    folder = tmp_path / "a\nb\x1b"
    folder.mkdir()
    note = Note(folder, text, "Pay", name="2026-01-05.md")
    days = TextFile(note.root / "{date}.md", Markdown())
    sinks = [Sink("days", days, ("tasks",), back=True, kind="markdown")] * is_daily
    assert note.states(*sinks) == (["done"], [True], text)
    assert remedy in note.remark() and "'Pay'" in note.remark() and note.remark().isprintable()
    note.path.write_text(text.replace("[ ]", "[x]"))
    assert (note.states(*sinks)[0], note.remark()) == (["done"], "")
    note.path.write_text(text)
    edit(note.db, [1], {"status": "todo"}, at_ms=AT)
    assert (note.states(*sinks)[2], note.remark()) == (text, "")


@pytest.mark.parametrize("name", OF_OTHERS)
@pytest.mark.parametrize("is_daily", [True, False])
def test_box_is_ticked_after_a_file_counts_as_own_again(name: str, is_daily: bool, tmp_path: Path) -> None:
    text, _, sign = OF_OTHERS[name]
    note = Note(tmp_path, text, "Pay", name="2026-01-05.md")
    days = TextFile(note.root / "{date}.md", Markdown())
    sinks = [Sink("days", days, ("tasks",), back=True, kind="markdown")] * is_daily
    assert note.states(*sinks)[2] == text and note.remark()
    own = text.replace(sign, "")
    note.path.write_text(own)
    assert (note.states(*sinks)[2], note.remark()) == (own.replace("[ ]", "[x]"), "")


@pytest.mark.parametrize("more", ["", "\r\nSell\n"])
def test_line_of_a_todo_txt_below_a_folder_of_ticks_is_ticked_once(more: str, tmp_path: Path) -> None:
    text = f"(A) Pay{more}"
    note = Note(tmp_path, text, "(A) Pay", name="todo.txt")
    assert note.tick() == ("", f"x {DAY} Pay pri:A{more}")
    note.path.write_bytes(text.encode())
    assert note.tick() == ("", text)


@pytest.mark.parametrize(
    ("name", "is_ticked"),
    [
        ("My_TODO list.TXT", True),
        ("todo.md", False),
        ("mastodon.txt", False),
        (".todo.txt", False),
        (".git/todo.txt", False),
        ("id_rsa/todo.txt", False),
    ],
)
def test_lines_are_ticked_in_a_todo_txt_and_in_no_private_file(
    name: str, is_ticked: bool, tmp_path: Path
) -> None:
    note = Note(tmp_path, "Pay\n", "Pay")
    file = note.root / name
    file.parent.mkdir(exist_ok=True)
    note.path.rename(file)
    with connect_shared(note.db) as db:
        db.execute("UPDATE calls SET source_path = ?", (f"notes/{name}",))
        for folder, is_own in ((note.root, is_ticked), (file.parent, is_ticked or "/" in name)):
            assert tick_sources(db, (folder,), CLOCK.now()).problem == ""
            assert file.read_text() == (f"x {DAY} Pay\n" if is_own else "Pay\n")


def test_lines_of_a_todo_txt_quoted_together_are_not_ticked(tmp_path: Path) -> None:
    note = Note(tmp_path, "Pay\nSell\n", "Pay\nSell", name="todo.txt")
    assert note.tick() == ("", "Pay\nSell\n")


def test_box_of_an_open_task_or_an_outside_note_is_not_ticked(tmp_path: Path) -> None:
    note = Note(tmp_path, "- [ ] Pay", "Pay", is_done=False)
    (tmp_path / "other").mkdir()
    assert note.tick() == ("", "- [ ] Pay")
    edit(note.db, [1], {"status": "done"}, at_ms=AT)
    assert note.tick(tmp_path / "other") == ("", "- [ ] Pay")
    (tmp_path / "other/plan.md").write_text("- [ ] Pay")
    note.path.unlink()
    note.path.symlink_to(tmp_path / "other/plan.md")
    assert note.tick() == ("", "- [ ] Pay")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("Pay", "Sell"),
        lambda text: f"new\n{text}\n- [ ] Pay",
        lambda text: "",
        lambda text: text.replace("Pay", "Payment"),
        lambda text: text.replace("Pay", "Paye\u0301"),
    ],
)
def test_box_of_a_changed_or_doubled_line_is_not_ticked(tmp_path: Path, change: Callable[[str], str]) -> None:
    note = Note(tmp_path, "- [ ] Pay", "Pay")
    note.path.write_text(change("- [ ] Pay"))
    assert note.tick() == ("", change("- [ ] Pay"))


def test_box_below_inserted_lines_is_found_by_the_task_text(tmp_path: Path) -> None:
    note = Note(tmp_path, "- [ ] Pay", "Pay")
    note.path.write_text("new\n\n- [ ] Pay")
    assert note.tick() == ("", "new\n\n- [x] Pay")


def test_missing_note_folder_is_a_problem_until_the_folder_returns(tmp_path: Path) -> None:
    note = Note(tmp_path, "- [ ] Pay", "Pay")
    note.root.rename(tmp_path / "away")
    with connect_shared(note.db) as db:
        assert "there is no folder" in tick_sources(db, [note.root], CLOCK.now()).problem
    (tmp_path / "away").rename(note.root)
    assert note.tick() == ("", "- [x] Pay")


@pytest.mark.parametrize(("path", "problem"), [("notes/plan.md", " is a link"), ("notes/a\0.md", "")])
def test_source_without_a_real_path_stops_neither_ticks_nor_places(
    path: str, problem: str, tmp_path: Path
) -> None:
    note = Note(tmp_path, "- [ ] Pay", "Pay")
    note.path.unlink()
    note.path.symlink_to(note.path)
    with connect_shared(note.db) as db:
        db.execute("UPDATE calls SET source_path = ?", (path,))
        sink = Sink("todo", TextFile(tmp_path / "todo.md", Markdown()), ("tasks",), kind="markdown")
        for sinks in ((), (sink,)):
            assert problem in tick_sources(db, (note.root,), CLOCK.now(), sinks=sinks).problem
        assert synchronize(db, sink, CLOCK.now()).problem == ""


@pytest.mark.parametrize("is_place", [False, True])
def test_line_of_two_tasks_is_ticked_with_the_last_and_counts_only_as_the_word_of_the_owner(
    is_place: bool, tmp_path: Path
) -> None:
    text, ticked = "- [ ] Pay Ana, call Bo\n", "- [x] Pay Ana, call Bo\n"
    note = Note(tmp_path, text, "Pay Ana")
    sinks = [Sink("todo", TextFile(note.path, Markdown()), ("tasks",), kind="markdown")] * is_place
    note.find("call Bo", 2)
    approve(note.db, [2], at_ms=AT)
    assert note.states(*sinks) == (["done", "todo"], [True, True], text)
    edit(note.db, [2], {"status": "done"}, at_ms=AT)
    assert note.states(*sinks) == (["done", "done"], [True, True], ticked)
    edit(note.db, [1], {"status": "todo"}, at_ms=AT)
    assert note.states(*sinks) == (["todo", "done"], [True, True], text if is_place else ticked)
    if is_place:
        note.path.write_text(ticked)  # by its owner
        assert note.states(*sinks) == (["done", "done"], [True, True], ticked)
        note.path.write_text(text)
        assert note.states(*sinks) == (["todo", "todo"], [True, True], text)


@pytest.mark.parametrize("is_place", [False, True])
@pytest.mark.parametrize(
    ("death", "is_own"), [("", False), ("", True), ("before", False), ("before", True), ("after", False)]
)
def test_tick_of_the_device_approves_no_suggestion_of_the_same_line(
    death: str, is_own: bool, is_place: bool, tmp_path: Path
) -> None:
    note = Note(tmp_path, "- [ ] Pay Ana, Pay Bo\n", "Pay Ana")
    sinks = [Sink("todo", TextFile(note.path, Markdown()), ("tasks",), kind="markdown")] * is_place
    note.find("Pay Bo", 2)
    if death:
        note.die(*sinks, is_written=death == "after")
    if is_own:
        note.path.write_text("- [x] Pay Ana, Pay Bo\n")
    assert note.states(*sinks) == (["done", "todo"], [True, False], "- [x] Pay Ana, Pay Bo\n")
    with connect_shared(note.db) as db:
        (row_id,) = db.execute('SELECT id FROM tasks WHERE NOT "isApproved"').fetchone()
    where: Record = {"id": row_id}
    note.apply(ToolCall(id="u1", action=Action.UPDATE, table="tasks", where=where, data={"status": "done"}))
    assert note.states(*sinks)[:2] == (["done", "done"], [True, is_own])


@pytest.mark.parametrize("is_done", [False, True])
def test_line_of_a_place_stays_after_the_approval_was_taken_back(is_done: bool, tmp_path: Path) -> None:
    note = Note(tmp_path, "- [ ] Pay\n", "Pay", is_done=is_done)
    sink = Sink("todo", TextFile(note.path, Markdown()), ("tasks",), kind="markdown")
    text = note.states(sink)[2]
    with connect_shared(note.db) as db:
        db.execute("UPDATE tasks SET \"isApproved\" = 0, status = 'todo'")
    assert note.states(sink) == (["todo"], [False], text)
    if not is_done:
        note.path.write_text("- [x] Pay\n")  # by the owner: a hub reads the tick
        assert note.states(sink) == (["todo"], [False], "- [x] Pay\n")
    approve(note.db, [1], at_ms=AT)
    assert note.states(sink)[0] == (["done"] if not is_done else ["todo"])


def test_tick_of_the_device_approves_nothing_after_the_approval_was_taken_back(tmp_path: Path) -> None:
    note = Note(tmp_path, "- [ ] Pay\n", "Pay")
    assert note.states() == (["done"], [True], "- [x] Pay\n")
    with connect_shared(note.db) as db:
        (row_id,) = db.execute("SELECT id FROM tasks").fetchone()
        db.execute("UPDATE tasks SET \"isApproved\" = 0, status = 'todo'")
    where: Record = {"id": row_id}
    note.apply(ToolCall(id="u1", action=Action.UPDATE, table="tasks", where=where, data={"status": "done"}))
    assert note.states()[:2] == (["done"], [False])


def written(note: Note, path: Path, form: Format, kind: str) -> tuple[int, str, int]:
    """Synchronize the task with a file; return the numbers of rows that were written and deleted there."""
    with connect_shared(note.db) as db:
        synced = synchronize(db, Sink("todo", TextFile(path, form), ("tasks",), kind=kind), CLOCK.now())
        places = sum(map(len, destinations(db).values()))
    return synced.written + synced.deleted, synced.problem, places


@pytest.mark.parametrize(
    ("name", "form", "kind", "text", "is_written"),
    [
        ("plan.md", Markdown(), "markdown", "# Mine\n- [ ] Pay #home", False),
        ("plan.md", Markdown(), "markdown", "> 1. Pay soon", False),
        ("plan.md", Markdown(), "markdown", "Please Pay Ana.\n", True),
        ("plan.md", TodoTxt(), "todo.txt", "(A) Pay +home\n", False),
        ("other.md", Markdown(), "markdown", "- [ ] Pay\n", True),
    ],
)
def test_task_found_in_a_sink_file_is_not_written_again(
    tmp_path: Path, name: str, form: Format, kind: str, text: str, is_written: bool
) -> None:
    note = Note(tmp_path, text, "Pay", is_done=False)
    path = note.root / name
    assert written(note, path, form, kind) == (is_written, "", is_written)
    assert note.path.read_text().startswith(text)
    assert note.path.read_text() == text or is_written
    note.path.write_text(note.path.read_text().replace("Pay", "Give", 1))  # its owner changes the line
    assert written(note, path, form, kind) == (0, "", is_written)
    assert written(note, note.root / "new.md", form, kind) == (1, "", 1)
    assert "Pay" in (note.root / "new.md").read_text()
    if not is_written:
        assert written(note, path, form, kind) == (0, "", 0), "its new place is no place of the sink now"


@pytest.mark.parametrize(
    ("text", "after", "is_written"),
    [
        ("- [ ] Pay #home\n", "- [ ] Pay #home\n", False),
        ("- [ ] Pay #home\n", "New\n\n- [x] Pay #home\n", False),
        ("- [ ] Pay #home\n", "- [ ] Give\n", True),
        ("Please Pay Ana.\n", "Please Pay Ana.\n", True),
    ],
)
@pytest.mark.parametrize("renamed", ["folder", "file", "both"])
def test_task_of_a_place_that_was_renamed_is_not_written_there_again(
    tmp_path: Path, text: str, after: str, is_written: bool, renamed: str
) -> None:
    note = Note(tmp_path, text, "Pay", is_done=False)
    root = note.root if renamed == "file" else note.root.rename(tmp_path / "renamed")
    file = root / note.path.name
    file = file if renamed == "folder" else file.rename(root / "todo.md")
    file.write_text(after)
    assert written(note, file, Markdown(), "markdown") == (is_written, "", is_written)
    assert (file.read_text() == after) is not is_written
    with connect_shared(note.db) as db:
        db.execute("DELETE FROM sink_rows")  # the place is removed and added again
    assert written(note, file, Markdown(), "markdown")[1:] == ("", is_written)
    assert file.read_text().count("hub-") == is_written


TO_DO = (
    "BEGIN:VCALENDAR\r\nBEGIN:VTODO\r\nUID:7\r\nSUMMARY:Pay\r\n{}END:VTODO\r\n"
    "BEGIN:VTODO\r\nUID:8\r\nSUMMARY:Sell\r\nEND:VTODO\r\nEND:VCALENDAR\r\n"
)
COMPLETED = f"STATUS:COMPLETED\r\nCOMPLETED:{CLOCK.now():%Y%m%dT%H%M%SZ}\r\nPERCENT-COMPLETE:100\r\n"


@pytest.mark.parametrize(
    ("kind", "text", "quote", "done", "again"),
    [
        (
            "todo.txt",
            "(B) 2026-11-20 Pay +car due:2026-11-30\nSell\n",
            "",
            f"x {DAY} 2026-11-20 Pay +car due:2026-11-30 pri:B\nSell\n",
            None,
        ),
        ("todo.txt", "Pay\r\nSell\r\n", "Pay", f"x {DAY} Pay\r\nSell\r\n", None),
        ("todo.txt", "- [ ] Pay", "- [ ] Pay", "- [x] Pay", None),
        (
            "markdown",
            "# A\n* [ ] Pay #x\n- [ ] Payment\n",
            "Pay #x",
            "# A\n* [x] Pay #x\n- [ ] Payment\n",
            None,
        ),
        ("markdown", "> 1. [/] Pay", "> 1. [/] Pay", "> 1. [x] Pay", "> 1. [ ] Pay"),
        ("markdown", "Please Pay.\n- Pay!", "Pay!", "Please Pay.\n- Pay!", None),
        (
            "ics",
            TO_DO.format("STATUS:NEEDS-ACTION\r\n"),
            "Pay",
            TO_DO.format("").replace("BEGIN:VTODO\r\n", f"BEGIN:VTODO\r\n{COMPLETED}", 1),
            TO_DO.format("").replace("BEGIN:VTODO\r\n", "BEGIN:VTODO\r\nSTATUS:NEEDS-ACTION\r\n", 1),
        ),
    ],
)
def test_task_line_of_a_place_is_ticked_and_opened_on_both_sides(
    tmp_path: Path, kind: str, text: str, quote: str, done: str, again: str | None
) -> None:
    words = quote or text.partition("\n")[0]
    note = Note(tmp_path, text, words, is_done=False, is_others=text[0] == ">")
    sink = Sink("todo", TextFile(note.path, FORMATS[kind]()), ("tasks",), kind=kind)
    again = text if again is None else again

    def status(before: str | None = None, is_done: bool | None = None) -> tuple[object, str]:
        if before is not None:
            note.path.write_bytes(before.encode())
        if is_done is not None:
            edit(note.db, [1], {"status": "done" if is_done else "todo"}, at_ms=AT)
        with connect_shared(note.db) as db:
            assert tick_sources(db, (), CLOCK.now(), sinks=[sink]).problem == ""
            (found,) = db.execute("SELECT status FROM tasks").fetchone()
        return found, note.path.read_bytes().decode()

    has_box = done != text
    assert status() == ("todo", text)
    assert status(is_done=True) == ("done", done)
    assert status(is_done=False) == ("todo", again)
    assert status(f"{done}") == ("done" if has_box else "todo", done)
    assert status(is_done=True) == ("done", done)
    assert status(again) == ("todo" if has_box else "done", again)
    assert status("") == ("todo" if has_box else "done", "")


def test_line_of_a_place_below_a_shared_link_is_ticked(tmp_path: Path) -> None:
    note = Note(tmp_path, "- [ ] Pay\n", "Pay")
    note.root.rename(tmp_path / "disk")
    note.root.symlink_to(tmp_path / "disk")
    sink = Sink("todo", TextFile(tmp_path / "disk/plan.md", Markdown()), ("tasks",), kind="markdown")
    with connect_shared(note.db) as db:
        assert tick_sources(db, (), CLOCK.now(), sinks=[sink]).problem == ""
    assert note.path.read_text() == "- [x] Pay\n"


def test_task_of_a_daily_note_is_not_written_to_the_note_of_another_day(tmp_path: Path) -> None:
    note = Note(tmp_path, "- [ ] Pay\n", "Pay", is_done=False)
    day = note.path.with_name("2026-01-01.md")
    note.path.rename(day)
    with connect_shared(note.db) as db:
        db.execute("UPDATE calls SET source_path = 'notes/2026-01-01.md'")
    assert written(note, note.root / "{date}.md", Markdown(), "markdown") == (0, "", 0)
    assert [path.name for path in note.root.iterdir()] == [day.name]
