"""Rows that people and programs move out of a sink's file: kinds of places by what happens to a row."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import which
from typing import Final, NamedTuple

import anyio
import pytest

from hub.device.sinks import near_files, text_file
from hub.device.sinks.near_files import files_near
from hub.device.sinks.recorded_rows import write_again
from hub.device.sinks.running import Sinks
from hub.device.sinks.sink import Sink
from hub.device.sinks.sync import Synced
from hub.device.sinks.text_file import TextFile
from hub.device.sinks.waits import MISSED_MS
from hub.text.rows.calendar import CalendarFormat
from hub.text.rows.lines import Markdown, TodoTxt
from hub.text.rows.records import Csv, JsonLines
from hub.text.rows.row_format import Format
from hub.text.rows.row_keys import key_of
from protocol.tables import TABLES
from tests.hub.device.sinks.bench import SinkBench

LOOK_S: Final = 2
DECIDED_S: Final = MISSED_MS / 1_000 + 1


class Kind(NamedTuple):
    """Kind of a place, and the file to which lines are moved there.

    *is_own*: that file is one of the place, as the note of another day is. *tick*: the spelling of an open
    row, and of a done one.
    """

    form: Callable[[], Format]
    path: str
    other: str
    tick: tuple[str, str]
    is_own: bool = False


KINDS: Final = {
    "todo.txt and done.txt": Kind(TodoTxt, "todo.txt", "done.txt", ("Call", "x 2026-01-05 Call")),
    "a list of any name": Kind(TodoTxt, "Work.TXT", "work done.txt", ("Call", "x 2026-01-05 Call")),
    "daily notes": Kind(Markdown, "days/{date}.md", "days/2026-01-06.md", ("[ ]", "[x]"), is_own=True),
    "folders of days": Kind(Markdown, "{date}/todo.md", "2026-01-06/todo.md", ("[ ]", "[x]"), is_own=True),
    "an archive next to a note": Kind(Markdown, "Todo.md", "Todo (archive).md", ("[ ]", "[x]")),
    "an archive below": Kind(Markdown, "Todo.md", "Archive/2026/Done.md", ("[ ]", "[x]")),
    "an archive elsewhere in a vault": Kind(Markdown, "Work/Todo.md", "Archive/Done.md", ("[ ]", "[X]")),
    "an archive of Org": Kind(Markdown, "todo.org", "todo.org_archive", ("[ ]", "[X]")),
    "csv": Kind(Csv, "there.csv", "done.csv", (",todo,", ",done,")),
    "jsonl": Kind(JsonLines, "there.jsonl", "done.jsonl", ('"todo"', '"done"')),
    "ics": Kind(CalendarFormat, "there.ics", "done.ics", ("NEEDS-ACTION", "COMPLETED")),
}

# Before each commit; the other kinds are run with the slow tests.
QUICK_KINDS: Final = ("todo.txt and done.txt", "daily notes", "an archive below", "csv")
CASES: Final = [kind if kind in QUICK_KINDS else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]


class Desk:
    """Place of a kind with the rows ``Call 0`` to ``Call 5``, between lines of others."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        self.bench, self.kind = SinkBench(folder), kind
        vault = folder / "vault"
        (vault / ".obsidian").mkdir(parents=True)
        path = vault / kind.path
        self.own = Path(str(path).replace("{date}", self.bench.clock.now().date().isoformat()))
        self.other = vault / kind.other
        for file in (self.own, self.other):
            file.parent.mkdir(parents=True, exist_ok=True)
        self.target = TextFile(path, kind.form())
        self.ids = [self.bench.approve({"title": f"Call {number}"}) for number in range(6)]
        self.keys = [key_of("tasks", row) for row in self.ids]
        self.bench.synchronize(self.target)
        self.head = self.own.read_text() if kind.form is Csv else ""
        self.head = self.head.partition("\n")[0] + "\n"

    def cut(self, number: int, file: Path | None = None) -> str:
        """Remove a row from a file and return its text."""
        file = file or self.own
        text = file.read_text()
        tables = {self.keys[number]: TABLES["tasks"]}
        (piece,) = self.kind.form().pieces(text, tables)
        file.write_text(text[: piece.start] + text[piece.end :])
        return text[piece.start : piece.end]

    def paste(self, row: str, *, ticked: bool = False, file: Path | None = None) -> None:
        file = file or self.other
        before = file.read_text() if file.exists() else self.head
        file.write_text(before + (row.replace(*self.kind.tick, 1) if ticked else row))

    def look(self, seconds: float = LOOK_S) -> Synced:
        self.bench.clock.advance(seconds)
        return self.bench.synchronize(self.target)

    def looks(self) -> list[Synced]:
        """Look until each row that was missed is decided."""
        return [self.look(), self.look(), self.look(DECIDED_S), self.look()]

    def status(self, number: int) -> object:
        return self.bench.row(self.ids[number])["status"]

    def state(self, number: int) -> str:
        return self.bench.state(self.ids[number])

    def link(self, number: int) -> str | None:
        (place,) = self.bench.places(self.ids[number])
        return place.link

    def count(self, number: int) -> int:
        """Return how often the key of a row is in both files."""
        texts = [file.read_text() for file in (self.own, self.other) if file.exists()]
        return "".join(texts).count(self.keys[number])


@pytest.fixture(params=CASES)
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Desk:
    return Desk(KINDS[request.param], tmp_path)


def results(looks: list[Synced]) -> tuple[int, int, int, set[str]]:
    """Return what looks have deleted, changed here and written there, and their problems."""
    deleted = sum(look.deleted for look in looks)
    taken_back = sum(look.taken_back for look in looks)
    return deleted, taken_back, sum(look.written for look in looks), {look.problem for look in looks}


def test_row_moved_and_ticked_is_done_at_the_next_look(desk: Desk) -> None:
    desk.paste(desk.cut(1), ticked=True)
    assert (desk.look().taken_back, desk.status(1)) == (1, "done")
    assert results(desk.looks()) == (0, 0, 0, {""})
    assert (desk.state(1), (desk.link(1) or "").endswith(desk.other.name)) == ("arrived", True)


def test_row_moved_while_open_is_updated_and_ticked_at_the_new_place(desk: Desk) -> None:
    desk.paste(desk.cut(1))
    assert results(desk.looks()) == (0, 0, 0, {""})
    desk.bench.change(desk.ids[1], {"title": "Ring Ana"})
    assert desk.look().written == 1
    assert ("Ring Ana" in desk.other.read_text(), desk.count(1)) == (True, 1)
    ticked = desk.other.read_text().replace("Ring", "Call").replace(*desk.kind.tick, 1)
    desk.other.write_text(ticked)
    assert (desk.look().problem, desk.status(1)) == ("", "done")


def test_row_cut_before_a_synchronization_and_pasted_before_the_next_is_not_deleted(desk: Desk) -> None:
    row = desk.cut(1)
    before = desk.own.read_text()
    desk.bench.approve({"title": "Pay"})
    first = desk.look()
    assert (first.missed, first.deleted, first.written, desk.own.read_text()) == (1, 0, 0, before)
    desk.paste(row, ticked=True)
    second = desk.look()
    assert (second.missed, second.deleted, second.written, desk.status(1)) == (0, 0, 1, "done")
    assert results(desk.looks()) == (0, 0, 0, {""})


def test_archived_row_called_deleted_by_a_former_release_is_done(desk: Desk) -> None:
    desk.paste(desk.cut(1), ticked=True)
    desk.cut(2)
    with desk.bench.open() as db:
        db.execute("UPDATE sink_rows SET is_deleted = 1 WHERE row_id IN (?, ?)", desk.ids[1:3])
    assert (desk.look().taken_back, desk.status(1), desk.state(1)) == (1, "done", "arrived")
    assert results(desk.looks()) == (0, 0, 0, {""})
    assert (desk.state(2), desk.status(2)) == ("deleted", "todo")


def test_deleted_row_is_searched_again_only_once_a_file_near_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, searched = Desk(KINDS["todo.txt and done.txt"], tmp_path), list[Path]()
    desk.paste(row := desk.cut(1), file=desk.own.with_name("other.txt"))  # open elsewhere: perhaps a copy
    desk.other.write_text("x Pay\n")
    with desk.bench.open() as db:
        db.execute("UPDATE sink_rows SET is_deleted = 1 WHERE row_id = ?", (desk.ids[1],))

    def search(folder: Path, ending: str) -> list[str]:
        searched.append(folder)
        return files_near(folder, ending)

    monkeypatch.setattr(text_file, "files_near", search)
    for number in range(3):
        desk.bench.change(desk.ids[3], {"title": f"Ring {number}"})
        assert (desk.look().written, desk.state(1)) == (1, "deleted")
    assert len(searched) == 1
    desk.paste(row, ticked=True)
    assert (desk.look().taken_back, desk.status(1), len(searched)) == (1, "done", 2)


def test_row_moved_back_is_a_row_of_the_file_again(desk: Desk) -> None:
    desk.paste(desk.cut(1), ticked=True)
    desk.looks()
    row = desk.cut(1, desk.other)
    desk.paste(row.replace(*desk.kind.tick[::-1], 1), file=desk.own)
    assert results(desk.looks()) == (0, 1, 0, {""})
    assert (desk.status(1), (desk.link(1) or "").endswith(desk.own.name)) == ("todo", True)
    desk.bench.change(desk.ids[1], {"title": "Ring Ana"})
    desk.look()
    assert ("Ring Ana" in desk.own.read_text(), desk.count(1)) == (True, 1)


def test_row_deleted_counts_as_deleted_at_the_second_look(desk: Desk) -> None:
    shutil.copy(desk.own, desk.own.with_stem("copy of all"))
    desk.cut(1)
    assert [(look.missed, look.deleted) for look in desk.looks()] == [(1, 0), (1, 0), (0, 1), (0, 0)]
    assert (desk.state(1), desk.state(2), desk.count(1)) == ("deleted", "arrived", 0)
    with desk.bench.open() as db:
        write_again(db, "there")
    assert (desk.look().written, desk.count(1)) == (1, 1)


@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_file_emptied_and_written_between_two_looks_changes_nothing(desk: Desk, kept: float) -> None:
    whole = desk.own.read_text()
    shutil.copy(desk.own, desk.own.with_stem("copy of all"))  # whose rows are no moved ones
    half = whole[: int(len(whole) * kept)]
    desk.own.write_text(half)
    synced = [desk.look(), desk.look()]
    assert (desk.own.read_text(), results(synced)[:3]) == (half, (0, 0, 0))
    desk.own.write_text(whole)
    assert results(desk.looks()) == (0, 0, 0, {""})
    assert [desk.state(number) for number in range(6)] == ["arrived"] * 6
    assert [(desk.link(number) or "").endswith(desk.own.name) for number in range(6)] == [True] * 6


def test_row_copied_within_a_file_is_a_problem_naming_both_lines(desk: Desk) -> None:
    row = desk.cut(1)
    desk.own.write_text(desk.own.read_text() + row + row)
    for synced in (desk.look(), desk.look()):
        assert (synced.deleted, synced.problem.count(f"{desk.own}:")) == (0, 2)
        assert "Call 1" in synced.problem
    desk.own.write_text(desk.own.read_text().removesuffix(row))
    assert desk.look().problem == ""


def test_row_copied_to_a_file_with_moved_rows_is_a_problem_or_a_later_day(desk: Desk) -> None:
    desk.paste(desk.cut(2))
    desk.looks()
    row = desk.cut(1)
    desk.paste(row, file=desk.own)
    desk.paste(row)
    synced = desk.look()
    if desk.kind.is_own:  # the line of a later day is the row, and an earlier one is history
        assert (synced.problem, (desk.link(1) or "").endswith(desk.kind.other)) == ("", True)
        desk.paste(desk.cut(1, desk.other), ticked=True)
        assert (desk.look().problem, desk.status(1)) == ("", "done")
        return
    assert [f"{file}:" in synced.problem for file in (desk.own, desk.other)] == [True, True]
    desk.paste(desk.cut(1, desk.other), ticked=True)  # so it is an archive of an earlier time
    assert (desk.look().problem, desk.status(1)) == ("", "todo")


@pytest.mark.parametrize("is_ticked", [False, True])
def test_row_moved_from_the_later_of_two_days_is_not_the_copy_in_the_earlier(
    is_ticked: bool, tmp_path: Path
) -> None:
    desk = Desk(KINDS["daily notes"], tmp_path)
    archive = desk.own.with_name("done.md")
    desk.bench.clock.advance(86_400)
    shutil.copy(desk.own, desk.other)
    desk.look()
    desk.paste(desk.cut(1, desk.other), ticked=is_ticked, file=archive)
    assert results(desk.looks()) == (0, is_ticked, 0, {""})
    assert (desk.status(1), desk.state(1)) == ("done" if is_ticked else "todo", "arrived")
    assert (desk.link(1) or "").endswith("/done.md")
    desk.cut(3, desk.other)
    looks = desk.looks()
    assert (results(looks)[:3], (desk.link(3) or "").endswith(desk.own.name)) == ((0, 0, 0), True)
    assert (f"{archive}:" in looks[-1].problem) is not is_ticked  # of two open lines


def test_row_reopened_in_review_is_written_anew_and_the_archive_stays(desk: Desk) -> None:
    for number in (1, 2):
        desk.paste(desk.cut(number), ticked=True)
    desk.looks()
    archived = desk.other.read_text()
    desk.bench.change(desk.ids[1], {"status": "todo"})
    desk.bench.change(desk.ids[2], {"title": "Ring Ana"})
    synced = desk.look()
    assert results([synced, *desk.looks()])[0] == 0
    assert [desk.status(number) for number in (1, 2)] == ["todo", "done"]
    if desk.kind.is_own:
        assert desk.count(1) == 1
        return
    assert (desk.other.read_text(), desk.count(1), desk.count(2)) == (archived, 2, 1)
    desk.paste(desk.cut(1).replace("Call", "Call again"), ticked=True)
    *numbers, problems = results(desk.looks())
    assert numbers == [0, 1, 0]
    assert all("there is 'Call again 1', here is 'Call 1'" in problem for problem in problems)
    assert (desk.status(1), desk.state(1)) == ("done", "arrived")


@pytest.mark.parametrize("does_reject", [False, True])
def test_removed_archive_neither_deletes_rows_nor_is_a_problem(desk: Desk, does_reject: bool) -> None:
    for number in (1, 2):
        desk.paste(desk.cut(number), ticked=True)
    desk.looks()
    archived = desk.other.read_text()
    if does_reject:
        desk.bench.delete(desk.ids[1])
        desk.looks()
        assert (desk.other.read_text() == archived) is not desk.kind.is_own
    desk.other.unlink()
    _, _, written, problems = results(desk.looks())
    assert (written, any("is missing" in problem for problem in problems)) == (0, desk.kind.is_own)
    assert desk.state(2) == ("missing missing" if desk.kind.is_own else "arrived")
    with desk.bench.open() as db:
        write_again(db, "there")
    desk.looks()
    assert desk.count(2) == desk.kind.is_own


def test_renamed_file_is_reported_after_a_delay_and_the_rows_are_written_nowhere_again(
    desk: Desk,
) -> None:
    desk.own.rename(renamed := desk.own.with_stem("Renamed"))
    assert [(desk.look().problem, desk.state(1)) for _ in range(2)] == [("", "arrived")] * 2
    assert f"{desk.own} is missing or empty" in desk.look(DECIDED_S).problem
    assert desk.state(1) == "missing missing"
    with desk.bench.open() as db:
        write_again(db, "there")
    assert (results(desk.looks()), desk.own.exists()) == ((0, 0, 0, {""}), False)
    desk.bench.change(desk.ids[1], {"title": "Ring Ana"})
    assert (desk.look().written, renamed.read_text().count("Ring Ana")) == (1, 1)
    renamed.write_text(renamed.read_text().replace("Call 2", "Call 2 now", 1))
    assert (desk.look().taken_back, desk.bench.row(desk.ids[2])["title"]) == (1, "Call 2 now")


def test_archived_row_is_not_written_again(desk: Desk) -> None:
    desk.paste(desk.cut(1), ticked=True)
    with desk.bench.open() as db:
        db.execute("UPDATE sink_rows SET is_deleted = 1 WHERE row_id = ?", (desk.ids[1],))
        write_again(db, "there")
    desk.looks()
    assert (desk.count(1), desk.state(1)) == (1, "arrived")


def test_last_row_moved_leaves_no_problem_for_the_empty_file(desk: Desk) -> None:
    for number in range(6):
        desk.paste(desk.cut(number), ticked=True)
        assert desk.look().problem == ""
    desk.bench.approve({"title": "Pay"})
    assert (desk.look().written, desk.own.read_text().count("Pay")) == (1, 1)


@pytest.mark.parametrize("sinks", ["others", "former"])
def test_row_in_the_file_of_another_sink_or_of_former_settings_is_not_moved_there(
    desk: Desk, sinks: str
) -> None:
    target = TextFile(desk.own.with_stem("another"), desk.kind.form())
    name = "elsewhere" if sinks == "others" else "there"
    assert desk.bench.synchronize(target, sink=name).written == 6
    if sinks == "former":
        assert desk.bench.synchronize(target).written == 0
        return
    for number in range(5):
        desk.cut(number)
    assert results(desk.looks())[0] == 5


def test_links_hidden_files_and_other_endings_are_not_searched(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "vault/notes", tmp_path / "elsewhere"
    for path in (folder / "below", folder / ".trash", elsewhere, tmp_path / "vault/.obsidian"):
        path.mkdir(parents=True)
    expected = [folder / "a.md", folder / "below/b.MD", folder / "c.md_archive", tmp_path / "vault/d.md"]
    others = [
        folder / ".e.md",
        folder / ".trash/f.md",
        folder / "g.txt",
        folder / "h.md.bak",
        tmp_path / "i.md",
    ]
    for path in (*expected, *others, tmp_path / "i.md", elsewhere / "j.md"):
        path.write_text("text\n")
    (folder / "link.md").symlink_to(elsewhere / "j.md")
    (folder / "linked").symlink_to(elsewhere)
    assert sorted(files_near(folder, ".md")) == sorted(map(str, expected))


def test_search_ends_at_the_limits_of_names_files_and_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        (tmp_path / f"{number}.md").write_text("text\n" * 10)
        os.utime(tmp_path / f"{number}.md", (number, number))
    latest = [str(tmp_path / f"{number}.md") for number in reversed(range(8))]
    assert files_near(tmp_path, ".md") == latest
    for limit, value, count in (("MAX_NAMES", 5, 5), ("MAX_FILES", 4, 4), ("MAX_BYTES", 100, 2)):
        with monkeypatch.context() as patch:
            patch.setattr(near_files, limit, value)
            assert len(files_near(tmp_path, ".md")) == count


def test_folders_below_the_limit_of_depth_are_not_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_files, "MAX_DEPTH", 3)
    (tmp_path / "1/2/3/4").mkdir(parents=True)
    for file in (paths := [tmp_path / "1/2/3/done.txt", tmp_path / "1/2/3/4/done.txt"]):
        file.write_text("x Call\n")
    assert files_near(tmp_path, ".txt") == [str(paths[0])]


def test_file_beyond_the_limit_of_bytes_hides_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "done.txt").write_text("x Call\n")
    with (tmp_path / "export.txt").open("wb") as file:
        file.truncate(near_files.MAX_BYTES + 1)
    os.utime(tmp_path / "export.txt", (2**31, 2**31))  # the latest of all
    assert files_near(tmp_path, ".txt") == [str(tmp_path / "done.txt")]


def test_search_for_nothing_is_not_made(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[Path] = []

    def search(folder: Path, ending: str) -> list[str]:
        searched.append(folder)
        return []

    monkeypatch.setattr(text_file, "files_near", search)
    desk.bench.change(desk.ids[1], {"title": "Ring Ana"})
    desk.looks()
    desk.paste(desk.cut(2), file=desk.own)
    desk.looks()
    assert searched == []
    desk.cut(3)
    desk.look()
    assert len(searched) == 1


def test_files_near_a_list_are_reread_only_once_changed_for_a_row_lost_from_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, read = Desk(KINDS["todo.txt and done.txt"], tmp_path), list[Path]()
    desk.paste(row := desk.cut(0), ticked=True)
    (other := desk.own.with_name("other.txt")).write_text("Pay\n")
    desk.look()
    desk.other.write_text("")

    def content_of(path: Path) -> tuple[bytes | None, int]:
        read.append(path)
        return text_file_content(path)

    text_file_content = text_file.content_of
    monkeypatch.setattr(text_file, "content_of", content_of)
    desk.looks()
    assert read.count(other) == 0  # the first look has read all
    desk.paste(row, ticked=True, file=other)
    desk.looks()
    assert read.count(other) > 0


async def test_running_sink_decides_a_missed_row_without_another_change(tmp_path: Path) -> None:
    desk, reported = Desk(KINDS["todo.txt and done.txt"], tmp_path), list[str]()
    async with running(desk, reported):
        desk.cut(1)
        await desk.bench.clock.pass_time(MISSED_MS / 1_000 - LOOK_S)
        assert (reported, desk.state(1)) == ([], "arrived")
        await desk.bench.clock.pass_time(2 * LOOK_S)
        assert (len(reported), desk.state(1)) == (1, "deleted")
        assert "1 item was deleted there and kept here" in reported[0]


async def test_running_sink_sees_a_row_copied_to_the_note_of_the_next_day(tmp_path: Path) -> None:
    desk, reported = Desk(KINDS["daily notes"], tmp_path), list[str]()
    async with running(desk, reported):
        desk.bench.clock.advance(86_400)
        await desk.bench.clock.pass_time(LOOK_S)
        before = desk.own.read_text()
        desk.other.write_text(before.replace("[ ] Call 1", "[x] Call 1"))
        await desk.bench.clock.pass_time(LOOK_S)
        assert (desk.status(1), desk.status(2), reported) == ("done", "todo", [])
        assert desk.own.read_text() == before


@asynccontextmanager
async def running(desk: Desk, reported: list[str]) -> AsyncIterator[None]:
    """Run the sink of a desk as a device does, after the first look."""
    sinks = Sinks(desk.bench.path, desk.bench.clock, reported.append)
    sink = Sink("there", desk.target, ("tasks",))
    async with anyio.create_task_group() as group:
        group.start_soon(sinks.serve, lambda: ([sink], ()))
        await desk.bench.clock.pass_time(LOOK_S)
        yield
        group.cancel_scope.cancel()


@pytest.mark.slow
@pytest.mark.skipif(which("emacs") is None, reason="no emacs here: apt-get install emacs-nox")
@pytest.mark.parametrize(
    "command",
    [
        "(org-archive-subtree)",
        "(org-archive-to-archive-sibling)",
        '(let ((org-archive-location "::* Archive")) (org-archive-subtree))',
    ],
)
def test_rows_of_a_tree_archived_by_emacs_are_done(command: str, tmp_path: Path) -> None:
    desk = Desk(KINDS["an archive of Org"], tmp_path)
    rows = desk.own.read_text().splitlines(keepends=True)
    trees = [f"* Trip {number}\n** Before\n{rows[number]}{rows[number + 3]}" for number in range(3)]
    desk.own.write_text("".join(["* Inbox\n", *trees]))
    for number in range(3):
        text = desk.own.read_text()
        for row in (number, number + 3):
            text = text.replace(f"[ ] Call {row}", f"[X] Call {row}")
        desk.own.write_text(text)
        find = f'(re-search-forward "^\\\\* Trip {number}$") (beginning-of-line)'
        code = f'(find-file "{desk.own}") {find} {command} (org-save-all-org-buffers)'
        code = f"(progn (require (quote org-archive)) {code})"
        subprocess.run(["emacs", "--batch", "-Q", "--eval", code], check=True, capture_output=True)
        assert desk.look().taken_back == 2
    assert results(desk.looks()) == (0, 0, 0, {""})
    assert [desk.status(number) for number in range(6)] == ["done"] * 6
