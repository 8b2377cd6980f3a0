"""Sources of items in files that were moved, renamed, copied, swapped or deleted."""

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from hub.base.clock import IdFactory
from hub.cli.inbox import lines_of
from hub.device import moved_files
from hub.device.device_file import connect_shared, open_device_store, take_place
from hub.device.digests import open_digests, stamp_of
from hub.device.items import DeviceItem, read_excerpt, read_items
from hub.device.owner import approve, edit
from hub.device.review.filters import page_of
from hub.device.review.views import detail_view, item_view
from hub.device.sinks.file_ticks import tick_sources
from hub.device.sinks.sink import Sink
from hub.device.sinks.sync import synchronize
from hub.device.sinks.text_file import TextFile
from hub.text.rows.lines import Markdown
from protocol.items import ItemSource
from protocol.tables import SUGGESTED
from protocol.tool_calls import Action, ToolCall
from tests.support.clock import FakeClock, SeededChance

AT: Final = 1_800_000_000_000
CLOCK: Final = FakeClock()


class Desk:
    """Device with two shared folders, and items of the notes in them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.db = folder, folder / "desk.db"
        self.roots = [folder / "notes", folder / "work"]
        for root in self.roots:
            (root / "old").mkdir(parents=True)

    def write(self, path: str, text: str) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def find(self, *paths: str, title: str = "Pay") -> None:
        """Insert an item of each note: its line with this title."""
        calls = []
        for number, path in enumerate(paths):
            data = (self.folder / path).read_bytes()
            quote = next(line[6:] for line in data.decode().splitlines() if title in line)
            sha256, start = hashlib.sha256(data).hexdigest(), data.decode().find(quote)
            source = ItemSource(path=path, quote=quote, start=start, end=start + len(quote), sha256=sha256)
            fields = {"title": quote, **SUGGESTED}
            call = ToolCall(
                id=f"{title}{number}", action=Action.INSERT, table="tasks", data=fields, source=source
            )
            calls.append(call)
        with open_device_store(self.db, clock=CLOCK, ids=IdFactory(CLOCK, SeededChance())) as store:
            store.name_roots([str(root) for root in self.roots])
            store.apply(calls)

    def list_files(self) -> None:
        """Keep the digests of all files, as a run does that lists them, and no others."""
        with connect_shared(self.db) as db:
            db.execute("DELETE FROM digests")
        with open_digests(self.db) as digests:
            for file in self.folder.rglob("*.md"):
                sha256 = hashlib.sha256(file.read_bytes()).digest()
                digests.keep(file.parent.as_posix(), file.name, stamp_of(file.stat()), sha256)

    @property
    def item(self) -> DeviceItem:
        (item,) = read_items(self.db)
        return item

    def tick(self) -> str:
        """Mark the items as done and tick their boxes; return the problem."""
        labels = [item.label for item in read_items(self.db)]
        approve(self.db, labels, at_ms=AT)
        edit(self.db, labels, {"status": "done"}, at_ms=AT)
        with connect_shared(self.db) as db:
            return tick_sources(db, self.roots, CLOCK.now()).problem


NOTE: Final = "# Plan\n\n- [ ] Pay the rent\n- [ ] Call Ana\n"
OLD: Final = "notes/old/plan.md"
Change = Callable[[Desk, Path], object]


def copied(desk: Desk, file: Path) -> None:
    """Copy a note twice and delete the original."""
    for name in ("a.md", "b.md"):
        shutil.copyfile(file, file.with_name(name))
    file.unlink()


def swapped(desk: Desk, file: Path) -> None:
    other = desk.write("notes/old/other.md", "# Other\n")
    file.rename(file.with_name("third.md"))
    other.rename(file)
    file.with_name("third.md").rename(other)


def edited(file: Path, *, quote: str = "Pay the rent") -> None:
    """Change another line of a note in place, and replace its quote by *quote*."""
    with file.open("r+") as opened:
        text = opened.read().replace("Ana", "Ana and Bo").replace("Pay the rent", quote)
        opened.seek(0)
        opened.write(text)


def copied_and_moved(desk: Desk, file: Path) -> None:
    """Move a note, of which a copy was made before."""
    shutil.copyfile(file, file.with_name("copy.md"))
    file.rename(desk.folder / "notes/plan.md")


def moved_by_copy(desk: Desk, file: Path) -> None:
    """Move a note as a program does that synchronizes folders: the new file is another one."""
    shutil.copyfile(file, desk.folder / "work/plan.md")
    file.unlink()


def linked(desk: Desk, file: Path) -> None:
    """Give a note two other names in place of its own."""
    for name in ("a.md", "b.md"):
        os.link(file, file.with_name(name))
    file.unlink()


def replaced(desk: Desk, file: Path) -> None:
    """Move a note and write another one with its name."""
    file.rename(desk.folder / "notes/plan.md")
    desk.write(OLD, "# Another\n")


def shared_folder_renamed(desk: Desk, file: Path) -> None:
    """Rename a shared folder whose files a run has listed, and share it by its new name."""
    desk.list_files()
    desk.roots[0] = desk.roots[0].rename(desk.folder / "papers")
    desk.find()


def shared_folder_replaced(desk: Desk, file: Path) -> None:
    """Move a shared folder to another disk, as its owner says, after the new one was shared."""
    after = shutil.copytree(desk.roots[0], desk.folder / "papers")
    shutil.rmtree(desk.roots[0])
    before, desk.roots[0] = desk.roots[0], after
    desk.find()
    with connect_shared(desk.db) as db:
        take_place(db, str(before), str(after))


# What is changed; the source after that, its state and candidates, and whether a run has listed the files.
CASES: Final[dict[str, tuple[Change, str, str | None, list[str], bool]]] = {
    "renamed": (lambda _, file: file.rename(file.with_name("b.md")), "notes/old/b.md", None, [], False),
    "case": (lambda _, file: file.rename(file.with_name("Plan.md")), "notes/old/Plan.md", None, [], False),
    "folder": (
        lambda desk, file: file.parent.rename(desk.folder / "notes/new"),
        "notes/new/plan.md",
        None,
        [],
        False,
    ),
    "root": (lambda desk, file: file.rename(desk.folder / "work/plan.md"), "work/plan.md", None, [], False),
    "listed": (lambda desk, file: file.rename(desk.folder / "work/plan.md"), "work/plan.md", None, [], True),
    "by copy": (moved_by_copy, "work/plan.md", None, [], True),
    "by copy, unlisted": (moved_by_copy, OLD, "file_gone", [], False),
    "edited": (
        lambda desk, file: edited(file.rename(desk.folder / "work/plan.md")),
        "work/plan.md",
        None,
        [],
        True,
    ),
    "quote edited": (
        lambda desk, file: edited(file.rename(desk.folder / "work/b.md"), quote="Sell"),
        OLD,
        "file_gone",
        [],
        True,
    ),
    "original of a copy": (copied_and_moved, "notes/plan.md", None, [], True),
    "two copies": (copied, OLD, "file_gone", ["notes/old/a.md", "notes/old/b.md"], True),
    "hard links": (linked, OLD, "file_gone", ["notes/old/a.md", "notes/old/b.md"], False),
    "swapped": (swapped, OLD, "words_gone", [], False),
    "replaced": (replaced, OLD, "words_gone", [], True),
    "deleted": (lambda _, file: file.unlink(), OLD, "file_gone", [], True),
    "outside": (lambda desk, file: file.rename(desk.folder / "plan.md"), OLD, "file_gone", [], False),
    "bin": (
        lambda desk, file: file.rename(desk.write("notes/.trash/plan.md", "")),
        OLD,
        "file_gone",
        [],
        False,
    ),
    "shared folder": (shared_folder_renamed, "papers/old/plan.md", None, [], False),
    "shared folder, listed": (shared_folder_renamed, "papers/old/plan.md", None, [], True),
    "shared folder, on another disk": (shared_folder_replaced, "papers/old/plan.md", None, [], False),
    "away": (lambda desk, file: desk.roots[0].rename(desk.folder / "away"), OLD, None, [], False),
}


@pytest.mark.parametrize("case", CASES)
def test_source_follows_a_moved_file_only_where_the_new_place_is_certain(case: str, tmp_path: Path) -> None:
    change, source, state, candidates, is_listed = CASES[case]
    desk = Desk(tmp_path)
    file = desk.write(OLD, NOTE)
    desk.find(OLD)
    change(desk, file)
    if is_listed:
        desk.list_files()
    item = desk.item
    assert (item.source_path, item.source_state, item.source_candidates) == (source, state, candidates)
    assert (read_excerpt(desk.db, item) is None) is (source == OLD)
    shown = " ".join(" ".join(lines_of(item, 200)).split())
    assert (f"; it may be {' or '.join(candidates)}" in shown) is bool(candidates)
    assert ("deleted, moved or renamed" in shown) is (state == "file_gone")
    assert [*item_view(item)["warnings"]] == ["missing"] * (state is not None)
    assert len(page_of([item], {"warning": "none"})["items"]) == (state is None)
    problem = desk.tick()
    ticked = [path for path in tmp_path.rglob("*.md") if "[x] Pay the rent" in path.read_text()]
    assert ticked == ([] if source == OLD else [tmp_path / source])
    assert ("is missing, no box" in problem or "no folder" in problem) is (
        state == "file_gone" or case == "away"
    )
    assert all(name in problem for name in candidates if state == "file_gone")


@pytest.mark.parametrize("limit", ["MAX_WALKED", "MAX_FOLDERS"])
def test_search_for_a_moved_file_ends_at_the_limits_of_files_and_folders(
    limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path)
    desk.write(OLD, NOTE)
    desk.find(OLD)
    for number in range(20):
        desk.write(f"notes/{number}/{number}.md", NOTE)
    seen: list[str] = []
    monkeypatch.setattr(moved_files, "why_private", seen.append)
    monkeypatch.setattr(moved_files, limit, 5)
    (tmp_path / OLD).unlink()
    item = desk.item
    assert item.source_state == "file_gone"
    assert detail_view(item, None)["reasons"] == ["the file was deleted, moved or renamed"]
    assert sum(name.endswith(".md") for name in seen) <= 5


def test_missing_note_is_searched_once_and_only_below_the_folders_with_boxes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, seen, searches = Desk(tmp_path), list[str](), dict[str, tuple[int, Sequence[str]]]()
    file = desk.write(OLD, NOTE)
    desk.find(OLD)
    (elsewhere := tmp_path / "elsewhere").mkdir()
    copied(desk, file)
    desk.list_files()
    approve(desk.db, [desk.item.label], at_ms=AT)
    edit(desk.db, [1], {"status": "done"}, at_ms=AT)
    monkeypatch.setattr(moved_files, "why_private", seen.append)

    def searched(folder: Path, seconds: int) -> tuple[bool, bool]:
        """Return whether files were looked at, and whether there is a problem."""
        seen.clear()
        with connect_shared(desk.db) as db:
            problem = tick_sources(db, [folder], CLOCK.now() + timedelta(seconds=seconds), searches).problem
        return bool(seen), problem != ""

    assert searched(elsewhere, 0) == (False, False)
    looks = [searched(desk.roots[0], seconds) for seconds in (0, 30, 599, 601)]
    assert looks == [(True, True), (False, True), (False, True), (True, True)]
    file.with_name("a.md").unlink()
    assert searched(desk.roots[0], 602) == (True, False)
    assert "[x] Pay the rent" in file.with_name("b.md").read_text()


def test_source_named_by_a_hub_outside_of_the_folders_is_not_looked_at(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    private = desk.write("private.md", NOTE)
    desk.find("notes/../private.md")
    with connect_shared(desk.db) as db:
        moved_files.note_source(db, f"notes/{private}")
        assert db.execute("SELECT * FROM source_files").fetchall() == []


def test_three_hundred_moved_notes_have_no_warning_and_are_ticked_at_the_new_place(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    paths = [f"notes/old/{number}.md" for number in range(300)]
    for path in paths:
        desk.write(path, f"# {path}\n\n- [ ] Pay {path}\n")
    desk.find(*paths)
    (tmp_path / "notes/old").rename(tmp_path / "notes/archive")
    items = read_items(desk.db)
    assert [item.source_state for item in items] == [None] * 300
    assert {item.source_path for item in items} == {path.replace("old", "archive") for path in paths}
    assert desk.tick() == ""
    assert sum("[x]" in file.read_text() for file in tmp_path.rglob("*.md")) == 300


@pytest.mark.parametrize("is_moved_before", [False, True])
def test_note_is_followed_to_further_places_after_the_boxes_were_ticked(
    is_moved_before: bool, tmp_path: Path
) -> None:
    desk = Desk(tmp_path)
    file = desk.write(OLD, NOTE)
    desk.find(OLD)
    desk.find(OLD, title="Ana")
    if is_moved_before:
        file = file.rename(tmp_path / "notes/first.md")
    first, second = [item.label for item in read_items(desk.db)]
    for label, path in ((first, "work/second.md"), (second, "work/old/third.md")):
        approve(desk.db, [label], at_ms=AT)
        edit(desk.db, [label], {"status": "done"}, at_ms=AT)
        with connect_shared(desk.db) as db:
            assert tick_sources(db, desk.roots, CLOCK.now()).problem == ""
        file = file.rename(tmp_path / path)
        if label == first:
            assert read_items(desk.db)[1].source_path == path
    assert file.read_text().count("[x]") == 2


def test_note_is_followed_after_a_row_of_a_sink_was_written_to_the_note(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    file = desk.write(OLD, NOTE + "\nPlease call Cy as well\n")
    desk.find(OLD, title="Cy")
    label = desk.item.label
    desk.find(OLD)
    approve(desk.db, [label], at_ms=AT)
    with connect_shared(desk.db) as db:
        sink = Sink("there", TextFile(file, Markdown()), ("tasks",), kind="markdown")
        synced = synchronize(db, sink, CLOCK.now())
    assert (synced.written, "^hub-" in file.read_text()) == (1, True)
    file.rename(tmp_path / "work/second.md")
    assert read_items(desk.db)[1].source_path == "work/second.md"
