"""Lines with the key of an approved row in words of others, and moved lines with other words of the owner."""

from datetime import date
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from hub.base.dates import begin_of
from hub.device.sinks.sync import Synced
from hub.text.rows.calendar import CalendarFormat
from hub.text.rows.lines import TodoTxt
from tests.hub.device.sinks.test_moved_rows import KINDS, Desk, Kind

CLIPPED: Final = "---\ntitle: Page\nsource: https://evil.example/page\n---\n"
LINKED: Final = CLIPPED.replace("source:", "author: Bob\nurl:")
INVITED: Final = "BEGIN:VCALENDAR\nMETHOD:REQUEST\nBEGIN:VEVENT\nUID:x\nEND:VEVENT\n"
VAULT: Final = KINDS["an archive elsewhere in a vault"]


class Strange(NamedTuple):
    """Words of others in a file near a place: all before the line, and what begins it."""

    kind: Kind
    file: str
    head: str = ""
    sign: str = ""


STRANGE: Final = {
    "page clipped below a vault": Strange(VAULT, "Work/Clippings/Page.md", CLIPPED),
    "page clipped next to a note": Strange(VAULT, "Page.md", LINKED),
    "page clipped into the folder of days": Strange(KINDS["daily notes"], "days/2026-01-06.md", CLIPPED),
    "page clipped next to the days": Strange(KINDS["daily notes"], "days/Page.md", CLIPPED),
    "page next to a todo.txt": Strange(KINDS["todo.txt and done.txt"], "done.txt", CLIPPED),
    "page next to an outline": Strange(KINDS["an archive of Org"], "page.org", CLIPPED),
    "quotation in an own note": Strange(VAULT, "Work/Answers.md", "Bob wrote:\n\n", "> "),
}
ACTS: Final = {
    "tick": lambda row, kind: row.replace(*kind.tick, 1),
    "other title": lambda row, kind: row.replace("Call 1", "Transfer the deposit to evil"),
    "all": lambda row, kind: row.replace(*kind.tick, 1).replace("Call 1", "Transfer it to evil"),
}


def text_of(case: Strange, row: str) -> str:
    return case.head + case.sign + row


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("name", STRANGE)
def test_line_in_words_of_others_is_no_moved_row_and_the_place_names_the_line(
    name: str, act: str, tmp_path: Path
) -> None:
    case = STRANGE[name]
    desk = Desk(case.kind, tmp_path)
    before = desk.bench.row(desk.ids[1])
    strange = tmp_path / "vault" / case.file
    strange.parent.mkdir(parents=True, exist_ok=True)
    strange.write_text(text_of(case, ACTS[act](desk.cut(1), case.kind)))
    content = strange.read_text()
    looks = [*(desk.look() for _ in range(2)), desk.look(11), desk.look()]
    after = desk.bench.row(desk.ids[1])
    assert {name: after[name] for name in ("title", "dueDate", "status")} == {
        name: before[name] for name in ("title", "dueDate", "status")
    }
    assert strange.read_text() == content
    for synced in (looks[0], looks[-1]):
        assert str(strange) in synced.problem and "is by others" in synced.problem, synced
    assert (sum(look.deleted for look in looks), desk.state(1)) == (0, "arrived")
    strange.write_text(content.replace(desk.keys[1], "key"))
    assert [desk.look().deleted, desk.look(11).deleted, desk.look().problem] == [0, 1, ""]


BEFORE: Final = {
    "callout": ("> [!todo] Today\n> ", True),
    "callout in a mail": ("On Mon, 5 Jan 2026, Bob wrote:\n\n> [!todo] Today\n> ", False),
    "element": ("<blockquote>\n\n", False),
    "address in TOML": ('+++\nsource = "https://a.example"\n+++\n', False),
    "callout of a quotation": ("> [!quote] Bob\n> ", False),
    "meeting": ("---\nmeeting_link: https://meet.example/1\n---\n", True),
    "person": ("---\nlinkedin: https://linkedin.example/ana\nauthor: Ana\n---\n", True),
    "project": ("---\njira-url: https://jira.example/1\nrepo_url: https://git.example/a\n---\n", True),
    "links": ("---\nresources: https://a.example\nlink: https://board.example\n---\n", True),
    "heading": ("--- Plan ---\nsource: https://a.example\n", True),
    "line that closes nothing": ("---\nsource: https://a.example\n\n", True),
    "address of a page": ("---\nSource: 'https://a.example'\n---\n", False),
    "address in a list": ("---\nsource:\n  - https://a.example\n---\n", False),
    "address in a list at the margin": ("---\nsource:\n- https://a.example\n---\n", False),
    "addresses in brackets": ('---\n"source": ["https://a.example"]\n---\n', False),
    "folded address": ("---\nsource: >-\n  https://a.example\n---\n", False),
    "clip of Notion": ("# Page\n\nURL: https://a.example\n\n", False),
    "field of Dataview": ("source:: https://a.example\n\n", False),
    "mail that was pasted as a file": ("From: Bob\nDate: Monday\nSubject: Plan\n\n", False),
    "quotation in a callout": ("> [!todo] Today\n> > ", False),
    "author of a page": ("---\nauthor: Bob\nlink: https://a.example\n---\n", False),
}


@pytest.mark.parametrize("name", BEFORE)
def test_ticked_line_in_another_note_is_a_moved_row_unless_the_note_or_line_is_by_others(
    name: str, tmp_path: Path
) -> None:
    before, is_own = BEFORE[name]
    desk = Desk(VAULT, tmp_path)
    desk.own.with_name("Plan.md").write_text(before + desk.cut(1).replace("[ ]", "[x]"))
    looks = [desk.look(), desk.look(11), desk.look()]
    assert desk.status(1) == ("done" if is_own else "todo")
    assert (sum(look.deleted for look in looks), looks[-1].problem == "") == (0, is_own)


@pytest.mark.parametrize("is_above", [True, False])
@pytest.mark.parametrize("kind", [VAULT, KINDS["daily notes"]], ids=["vault", "days"])
def test_quotation_in_the_own_file_of_a_row_changes_nothing_while_its_line_is_there(
    kind: Kind, is_above: bool, tmp_path: Path
) -> None:
    desk = Desk(kind, tmp_path)
    text = desk.own.read_text()
    line = next(line for line in text.splitlines() if "Call 1" in line)
    quoted = f"> {line.replace('[ ]', '[x]').replace('Call 1', 'Transfer to evil')}\n"
    desk.own.write_text(f"{quoted}\n{text}" if is_above else f"{text}\n{quoted}")
    assert [desk.look().taken_back, desk.look(11).taken_back, desk.look().problem] == [0, 0, ""]
    assert (desk.bench.row(desk.ids[1])["title"], desk.status(1)) == ("Call 1", "todo")
    desk.bench.change(desk.ids[1], {"title": "Call Ana"})
    assert [desk.look().taken_back, desk.look().taken_back] == [0, 0]
    assert quoted in desk.own.read_text()
    assert line.replace("Call 1", "Call Ana") in desk.own.read_text()
    row = desk.own.read_text().replace(line.replace("Call 1", "Call Ana") + "\n", "")
    desk.own.write_text(row)  # the quotation alone
    looks = [desk.look(), desk.look(11), desk.look()]
    assert "is by others" in looks[-1].problem and sum(look.deleted for look in looks) == 0
    assert (desk.bench.row(desk.ids[1])["title"], desk.status(1)) == ("Call Ana", "todo")


@pytest.mark.parametrize("name", ["daily notes", "todo.txt and done.txt", "csv"])
def test_title_beginning_as_a_quotation_belongs_to_an_own_row(name: str, tmp_path: Path) -> None:
    desk = Desk(KINDS[name], tmp_path)
    row = desk.bench.approve({"title": "> Call Eve"})
    assert [desk.look().problem, desk.look().problem] == ["", ""]
    desk.bench.change(row, {"title": "> Call Eve now"})
    assert (desk.look().problem, desk.own.read_text().count("Call Eve")) == ("", 1)


def test_line_of_an_invitation_is_no_moved_row(tmp_path: Path) -> None:
    desk = Desk(KINDS["ics"], tmp_path)
    desk.cut(1)
    whole = desk.own.read_text()
    assert isinstance(desk.kind.form(), CalendarFormat)
    row = whole.replace(desk.keys[2], desk.keys[1]).replace("Call 2", "Evil")
    desk.other.write_text(row.replace("BEGIN:VCALENDAR\n", "BEGIN:VCALENDAR\nMETHOD:REQUEST\n", 1))
    looks = [desk.look(), desk.look(11)]
    assert desk.bench.row(desk.ids[1])["title"] == "Call 1"
    assert all("is by others" in look.problem for look in looks)


MOVED_TO: Final = {
    "own note in the vault": (VAULT, "Work/Plan.md"),
    "note of another day": (KINDS["daily notes"], "days/2026-01-06.md"),
    "done.txt": (KINDS["todo.txt and done.txt"], "done.txt"),
}


def moved(desk: Desk, file: Path) -> list[Synced]:
    row = desk.cut(1).replace(*desk.kind.tick, 1).replace("Call 1", "Call Ana")
    day = " due:2031-02-02" if desk.kind.form is TodoTxt else " 📅 2031-02-02"
    key = f"^{desk.keys[1]}" if f"^{desk.keys[1]}" in row else f"hub:{desk.keys[1]}"
    file.parent.mkdir(parents=True, exist_ok=True)
    text = row.replace(f" {key}", f"{day} {key}") if f" {key}" in row else row.rstrip("\n") + f"{day}\n"
    file.write_text(text)
    return [desk.look(), desk.look(11), desk.look()]


@pytest.mark.parametrize("name", MOVED_TO)
def test_moved_line_brings_its_tick_and_neither_title_nor_day_until_both_are_the_same(
    name: str, tmp_path: Path
) -> None:
    kind, path = MOVED_TO[name]
    desk = Desk(kind, tmp_path)
    file = tmp_path / "vault" / path
    looks = moved(desk, file)
    row = desk.bench.row(desk.ids[1])
    assert (row["title"], row["dueDate"], row["status"]) == ("Call 1", None, "done")
    content = file.read_text()
    assert "Call Ana" in content
    assert all(word in looks[-1].problem for word in ("2031-02-02", "and 1 more", str(file))), looks[-1]
    assert desk.look().problem == looks[-1].problem
    day = " due:2031-02-02" if kind.form is TodoTxt else " 📅 2031-02-02"
    file.write_text(content.replace("Call Ana", "Call 1").replace(day, ""))
    assert (desk.look().problem, desk.bench.row(desk.ids[1])["title"]) == ("", "Call 1")
    file.write_text(file.read_text().replace("Call 1", "Call Bo"))  # an edit where the row is now
    desk.look()
    assert desk.bench.row(desk.ids[1])["title"] == "Call Bo"


def test_title_and_day_of_a_moved_line_are_agreed_to_in_review(tmp_path: Path) -> None:
    desk = Desk(VAULT, tmp_path)
    file = desk.own.with_name("Plan.md")
    moved(desk, file)
    desk.bench.change(desk.ids[1], {"title": "Call Ana"})
    synced = desk.look()
    assert "dueDate: there is" in synced.problem and "and 1 more" not in synced.problem
    desk.bench.change(desk.ids[1], {"dueDate": begin_of(date(2031, 2, 2), None)})
    assert (desk.look().problem, file.read_text().count("Call Ana 📅 2031-02-02")) == ("", 1)
