"""Files as targets: what each kind writes, and what it keeps."""

import csv
import os
import re
from base64 import b32encode
from codecs import BOM_UTF8
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path

import icalendar
import pytest

from hub.base.clock import epoch_ms
from hub.device.sinks.target import TargetChanged
from hub.device.sinks.text_file import TextFile, replace_content
from hub.text.rows.calendar import CalendarFormat
from hub.text.rows.lines import Markdown, TodoTxt
from hub.text.rows.own_rows import without_own_rows
from hub.text.rows.records import Csv, JsonLines
from hub.text.rows.row import Put
from hub.text.rows.row_format import Format
from protocol.tables import TABLES
from tests.hub.device.sinks.bench import SinkBench
from tests.hub.device.sinks.places import FILES, FilePlace
from tests.support.calls import calls_of

vobject = pytest.importorskip("vobject")  # comes with the calendar server of the tests


@pytest.fixture(params=FILES)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> FilePlace:
    return FilePlace(request.param, tmp_path)


@pytest.mark.parametrize("before", [b"- [ ] Pay\n", None])
def test_text_saved_while_the_new_file_is_synced_is_not_replaced(
    before: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, sync = tmp_path / "plan.md", os.fsync
    if before is not None:
        file.write_bytes(before)

    def save(descriptor: int) -> None:
        sync(descriptor)
        file.write_text("typed\n")

    monkeypatch.setattr(os, "fsync", save)
    with pytest.raises(TargetChanged):
        replace_content(file, before, b"- [x] Pay\n")
    assert [(path, path.read_text()) for path in tmp_path.iterdir()] == [(file, "typed\n")]


@pytest.mark.parametrize(
    ("form", "table", "data", "line"),
    [
        (
            Markdown(),
            "timelines",
            {"title": "Fair", "date": "2026-12-01 14:30"},
            "- Fair 📅 2026-12-01 ⏰ 14:30",
        ),
        (Markdown(), "notes", {"title": "Wifi", "content": "- a\n\n- b"}, "  - a\n\n  - b\n"),
        (
            Markdown(),
            "tasks",
            {"title": "Pay [x:: y]", "assignee": "Ana, Bo"},
            r"Pay \[x:\: y] [assignee:: Ana, Bo]",
        ),
        (Markdown(), "taskComments", {"content": "Fine", "author": "Ana"}, "- Fine [author:: Ana]"),
        (
            TodoTxt(),
            "tasks",
            {"title": "Pay", "priority": "low", "dueDate": "2026-12-01"},
            "(C) Pay due:2026-12-01",
        ),
        (Csv(), "projects", {"name": "=1+1"}, "'=1+1"),
        (JsonLines(), "projects", {"name": "Hüt\nte"}, '"name": "Hüt\\nte"'),
        (
            CalendarFormat(),
            "timelines",
            {"title": "Fair", "date": "2026-12-01"},
            "DTSTART;VALUE=DATE:20261201",
        ),
        (CalendarFormat(), "notes", {"title": "Wifi", "content": "a;b"}, "DESCRIPTION:a\\;b"),
    ],
)
def test_row_is_written_in_the_file_format_and_parsed_back(
    form: Format, table: str, data: Mapping[str, str], line: str, tmp_path: Path
) -> None:
    assert line in form.insert("", Put("hub-x", TABLES[table], data, "", 0))
    expressed = TextFile(tmp_path, form).expressed(TABLES[table], data)
    assert {name: expressed[name] for name in data} == data


def test_row_edit_leaves_foreign_marks_of_a_markdown_line(bench: SinkBench, tmp_path: Path) -> None:
    row = bench.approve({"title": "Call Ana"})
    path = tmp_path / "T.md"
    target = TextFile(path, Markdown())
    bench.synchronize(target)
    path.write_text(path.read_text().replace("- [ ] Call Ana", "  * [-] Call Ana #work ⏳ 2026-11-30"))
    bench.synchronize(target)
    bench.change(row, {"priority": "high"})
    bench.synchronize(target)
    assert path.read_text().startswith("  * [-] Call Ana #work ⏫ ⏳ 2026-11-30 ^hub-")


CALENDAR = b"BEGIN:VCALENDAR\nVERSION:2.0\nEND:VCALENDAR\n"
CRLF, LF = "\r\n", "\n"


@pytest.mark.parametrize(
    ("form", "before", "newline"),
    [
        (CalendarFormat(), None, CRLF),  # RFC 5545, section 3.1
        (CalendarFormat(), b"", CRLF),
        (CalendarFormat(), CALENDAR, LF),
        (CalendarFormat(), CALENDAR.replace(b"\n", b"\r\n"), CRLF),
        (Csv(), None, LF),
        (Csv(), b"id,title", LF),
        (Csv(), b"id,title\r\n", CRLF),
        (JsonLines(), None, LF),
        (TodoTxt(), None, LF),
        (Markdown(), None, LF),
        (Markdown(), b"# Mine", LF),
        (Markdown(), b"\xef\xbb\xbf# Mine\r\n\r\nlast", CRLF),
    ],
)
def test_written_rows_have_the_line_ends_of_the_file_or_of_the_format(
    form: Format, before: bytes | None, newline: str, bench: SinkBench, tmp_path: Path
) -> None:
    row = bench.approve({"title": "Call Ana", "description": "one\ntwo" * 30})
    path = tmp_path / "there"
    if before is not None:
        path.write_bytes(before)
    for title in ("Call Ana", "Call Bo"):
        bench.change(row, {"title": title})
        assert bench.synchronize(TextFile(path, form)).problem == ""
    written = path.read_bytes().decode()
    of_cells = {CRLF: written, LF: written.replace(CRLF, LF)}[newline]  # the text of a cell has its own
    assert of_cells.count("\n") == (of_cells.count("\r\n") if newline == CRLF else written.count("\n"))
    assert ("\r" in written) == (newline == CRLF)
    assert written.startswith((before or b"").decode().partition("END:")[0])
    assert "Call Bo" in written


def test_new_calendar_and_table_are_read_by_other_programs(bench: SinkBench, tmp_path: Path) -> None:
    bench.approve({"title": "Call Ana", "description": "one\ntwo"})
    path, table = tmp_path / "T.ics", tmp_path / "T.csv"
    bench.synchronize(TextFile(path, CalendarFormat()), sink="calendar")
    bench.synchronize(TextFile(table, Csv()), sink="table")
    written = path.read_bytes()
    assert written.splitlines(keepends=True) == [line + b"\r\n" for line in written.split(b"\r\n")[:-1]]
    (todo,) = icalendar.Calendar.from_ical(written).subcomponents
    other = vobject.readOne(written.decode()).vtodo
    with table.open(newline="") as file:
        (record,) = csv.DictReader(file)
    found = [
        (str(todo["SUMMARY"]), str(todo["DESCRIPTION"])),
        (other.summary.value, other.description.value),
        (record["title"], record["description"]),
    ]
    assert found == [("Call Ana", "one\ntwo")] * 3


def test_rows_are_written_to_the_daily_note_of_the_approval(bench: SinkBench, tmp_path: Path) -> None:
    target = TextFile(tmp_path / "{date}.md", Markdown())
    first = bench.approve({"title": "Call Ana"})
    bench.synchronize(target)
    bench.clock.advance(86_400)
    bench.approve({"title": "Pay"})
    bench.change(first, {"status": "done"})
    bench.synchronize(target)
    days = [path.read_text() for path in sorted(tmp_path.glob("2*.md"))]
    assert [day.partition(" ^")[0] for day in days] == ["- [x] Call Ana", "- [ ] Pay"]


def test_sink_file_not_in_utf_8_is_refused_with_the_line_number(bench: SinkBench, tmp_path: Path) -> None:
    bench.approve({"title": "Call Ana"})
    path = tmp_path / "T.md"
    path.write_bytes(b"a\nb\xff\n")
    assert bench.synchronize(TextFile(path, Markdown())).problem.startswith(f"{path}:2: is not UTF-8")
    assert path.read_bytes() == b"a\nb\xff\n"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_sink_rows_in_a_shared_file_are_blanked_at_equal_length(
    file: FilePlace, bench: SinkBench, newline: str
) -> None:
    file.path.write_bytes(file.text.replace("\n", newline).encode())
    bench.approve({"title": "Call Ana", "description": "soon\n\nor later"})
    bench.synchronize(file.target)
    with file.path.open(newline="") as opened:
        text = opened.read()
    seen = without_own_rows(text, file.path.name)
    assert ("Call" in seen, "later" in seen, len(seen)) == (False, False, len(text))
    assert [word for word in text.split() if word not in seen.split() and "of" in word] == []
    assert seen.split() == (file.head + file.tail).split()


def test_row_moved_to_another_daily_note_is_updated_in_the_new_note(bench: SinkBench, tmp_path: Path) -> None:
    target = TextFile(tmp_path / "{date}.md", Markdown())
    first = bench.approve({"title": "Call Ana"})
    bench.synchronize(target)
    bench.clock.advance(86_400)
    bench.approve({"title": "Pay"})
    bench.synchronize(target)
    old, new = sorted(tmp_path.glob("2*.md"))
    new.write_text(new.read_text() + old.read_text())
    old.write_text("mine\n")
    bench.change(first, {"status": "done"})
    assert bench.synchronize(target).problem == ""
    assert (old.read_text(), new.read_text().count("- [x] Call Ana")) == ("mine\n", 1)


def test_rows_go_to_the_new_file_of_a_sink_whose_path_was_changed(bench: SinkBench, tmp_path: Path) -> None:
    row = bench.approve({"title": "Call Ana"})
    assert "is a folder" in bench.synchronize(TextFile(tmp_path, Markdown())).problem
    for name in ("a.md", "b.md"):
        synced = bench.synchronize(TextFile(tmp_path / name, Markdown()))
        assert (synced.written, synced.problem) == (1, "")
    bench.change(row, {"title": "Ring Ana"})
    bench.synchronize(TextFile(tmp_path / "b.md", Markdown()))
    texts = [(tmp_path / name).read_text().partition(" ^")[0] for name in ("a.md", "b.md")]
    assert texts == ["- [ ] Call Ana", "- [ ] Ring Ana"]


@pytest.mark.parametrize("form", [Markdown(), TodoTxt(), Csv(), JsonLines(), CalendarFormat()])
def test_byte_order_mark_of_a_sink_file_is_preserved(form: Format, bench: SinkBench, tmp_path: Path) -> None:
    row = bench.approve({"title": "Call Ana"})
    path = tmp_path / "there"
    bench.synchronize(TextFile(path, form))
    path.write_bytes(BOM_UTF8 + path.read_bytes())
    assert bench.synchronize(TextFile(path, form)).deleted == 0
    bench.change(row, {"title": "Ring Ana"})
    bench.synchronize(TextFile(path, form))
    assert (bench.row(row)["title"], path.read_bytes().count(BOM_UTF8)) == ("Ring Ana", 1)
    assert (path.read_bytes()[:3], path.read_text().count("Ring Ana")) == (BOM_UTF8, 1)


@pytest.mark.parametrize(
    ("form", "broken", "line"),
    [(JsonLines(), "}", 1), (CalendarFormat(), "END:VTODO", 10), (Markdown(), "- ", 1)],
)
def test_broken_sink_row_is_reported_with_the_line_and_not_deleted(
    form: Format, broken: str, line: int, bench: SinkBench, tmp_path: Path
) -> None:
    bench.approve({"title": "Call Ana"})
    path = tmp_path / "there"
    target = TextFile(path, form)
    bench.synchronize(target)
    whole = path.read_text()
    path.write_text(whole.replace(broken, "", 1))
    bench.approve({"title": "Pay"})
    synced = bench.synchronize(target)
    assert (synced.deleted, synced.written) == (0, 1)
    assert synced.problem == f"{path}:{line}: the key of an item in no item: mend or delete it"
    path.write_text(whole)
    assert bench.synchronize(target).problem == ""


def test_invalid_edit_in_a_sink_file_is_a_problem_until_corrected(bench: SinkBench, tmp_path: Path) -> None:
    row = bench.approve({"title": "Call Ana"})
    path = tmp_path / "T.md"
    target = TextFile(path, Markdown())
    bench.synchronize(target)
    path.write_text(path.read_text().replace("Ana", "Ana 📅 2026-13-45"))
    for _ in range(2):
        problem = bench.synchronize(target).problem
        assert problem.startswith(f"{path}: Call Ana: dueDate: expected a time as 2027-02-03")
    path.write_text(path.read_text().replace("2026-13-45", "2026-12-24"))
    assert (bench.synchronize(target).problem, bench.row(row)["dueDate"] is None) == ("", False)


def test_sink_with_an_unknown_table_reports_the_known_tables(bench: SinkBench, tmp_path: Path) -> None:
    problem = bench.synchronize(TextFile(tmp_path / "T.md", Markdown()), "taks").problem
    assert problem.startswith("there is no table taks; there are tasks, notes")


def test_row_key_within_a_description_is_read_as_text(bench: SinkBench, tmp_path: Path) -> None:
    path = tmp_path / "T.md"
    target = TextFile(path, Markdown())
    bench.approve({"title": "Call Ana"})
    bench.synchronize(target)
    line = path.read_text()
    row = bench.approve({"title": "Read", "description": f"one\n{line.replace('Ana', 'Eve')}two"})
    bench.synchronize(target)
    written = path.read_text()
    for priority in ("high", "medium"):
        bench.clock.advance(60)
        bench.change(row, {"priority": priority})
        assert bench.synchronize(target).problem == ""
    assert path.read_text() == written
    path.write_text(written.replace("two", "three"))
    bench.synchronize(target)
    assert bench.row(row)["description"] == f"one\n{line.replace('Ana', 'Eve')}three"
    bench.delete(row)
    bench.synchronize(target)
    assert path.read_text() == line


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (Csv(), 'id,title,priority\n1,5" pipe,a\n2,"of ""others""",b\n'),
        (Csv(), f"id,title,priority\n1,{'B' * 140_000},a\n"),
        (Csv(), "\n\nid;title;priority\n1;a,b;c\n"),
        (JsonLines(), '{"id": 1}\n' + "[" * 100_000 + "\n"),
    ],
)
def test_malformed_foreign_records_are_preserved_and_hide_no_sink_row(
    form: Format, text: str, bench: SinkBench, tmp_path: Path
) -> None:
    path = tmp_path / "there"
    path.write_text(text)
    target = TextFile(path, form)
    row = bench.approve({"title": "Call Ana"})
    for title in ("Call Ana", "Call Ana", "Ring Ana", "Ring Ana"):
        bench.clock.advance(60)
        bench.change(row, {"title": title})
        synced = bench.synchronize(target)
        assert (synced.problem, synced.deleted, synced.taken_back) == ("", 0, 0)
    assert path.read_text().startswith(text)
    assert path.read_text().count("Ring Ana") == path.read_text().count("hub-") == 1
    bench.delete(row)
    bench.synchronize(target)
    assert path.read_text() == text


def test_csv_file_without_a_column_for_the_key_is_refused(bench: SinkBench, tmp_path: Path) -> None:
    bench.approve({"title": "Call Ana"})
    path = tmp_path / "there.csv"
    path.write_text("title,status\nof others,todo\n")
    for _ in range(2):
        synced = bench.synchronize(TextFile(path, Csv()))
        assert (synced.problem, synced.deleted) == (
            "its first line has no column 'id': add one, anywhere",
            0,
        )
    assert path.read_text() == "title,status\nof others,todo\n"


@pytest.mark.parametrize("form", [Markdown(), TodoTxt(), Csv(), JsonLines(), CalendarFormat()])
def test_terminal_control_characters_of_a_row_are_not_written_to_a_sink(
    form: Format, bench: SinkBench, tmp_path: Path
) -> None:
    title = "Call \x1b]0;evil\x07Ana\x00\x7f\x9b"
    row = bench.approve({"title": "Call Ana", "description": "one\x1b[2J\x0ctwo\nthree"})
    with bench.open() as db:  # a row of an older version, or of another program
        db.execute("UPDATE tasks SET title = ?", (title,))
    path = tmp_path / "there"
    for _ in range(2):
        bench.clock.advance(60)
        assert bench.synchronize(TextFile(path, form)).taken_back == 0
    assert [char for char in path.read_text() if char != "\n" and not char.isprintable()] == []
    assert bench.row(row)["title"] == title


@pytest.mark.parametrize(
    ("title", "line"),
    [
        ("x marks the spot", r"\x marks the spot"),
        ("x 2026-12-01 is a date", r"\x 2026-12-01 is a date"),
        ("(A) is for apple", r"\(A) is for apple"),
        (r"\x", r"\\x"),
        ("2026-12-01 is a date", r"\2026-12-01 is a date"),
        ("Buy +milk @home 1+1 a@b.org", r"Buy \+milk \@home 1+1 a@b.org"),
        ("rec:1d h:1 due:2026-12-01 at 10:30", r"rec\:1d h\:1 due\:2026-12-01 at 10:30"),
        (
            "see https://x.org note: id:hub-aaaaaaaaaaaaaaaa",
            r"see https://x.org note: id\:hub-aaaaaaaaaaaaaaaa",
        ),
    ],
)
def test_title_words_resembling_todo_txt_marks_are_escaped(
    title: str, line: str, bench: SinkBench, tmp_path: Path
) -> None:
    path = tmp_path / "todo.txt"
    target = TextFile(path, TodoTxt())
    row = bench.approve({"title": title})
    for priority, letter in (("medium", ""), ("high", "(A) "), ("medium", "")):
        bench.clock.advance(60)
        bench.change(row, {"priority": priority})
        assert bench.synchronize(target).taken_back == 0
        assert path.read_text().rpartition(" id:hub-")[0] == letter + line
    path.write_text(f"x {path.read_text()}")
    bench.synchronize(target)
    assert (bench.row(row)["title"], bench.row(row)["status"]) == (title, "done")


def test_todo_txt_task_marked_as_done_without_the_letter_keeps_the_priority(
    bench: SinkBench, tmp_path: Path
) -> None:
    path = tmp_path / "todo.txt"
    target = TextFile(path, TodoTxt())
    row = bench.approve({"title": "Call Ana", "priority": "high"})
    bench.synchronize(target)
    path.write_text(path.read_text().replace("(A) ", "x 2026-01-05 "))
    bench.synchronize(target)
    assert (bench.row(row)["status"], bench.row(row)["priority"]) == ("done", "high")
    bench.change(row, {"status": "todo"})
    bench.synchronize(target)
    assert path.read_text().startswith("(A) Call Ana")


@pytest.mark.parametrize("name", ["todo", "todo.txt", "list.MD"])
def test_sink_rows_are_blanked_for_the_hub_under_any_file_name(
    name: str, file: FilePlace, bench: SinkBench
) -> None:
    bench.approve({"title": "Call Ana", "description": "soon\n\nor later"})
    bench.synchronize(file.target)
    seen = without_own_rows(file.text, name)
    assert ("Call" in seen, "later" in seen, len(seen)) == (False, False, len(file.text))
    assert seen.split() == (file.head + file.tail).split()


def test_calendar_component_with_a_repeated_property_is_read_without_a_problem(
    bench: SinkBench, tmp_path: Path
) -> None:
    row = bench.approve({"title": "Call Ana", "description": "one", "dueDate": 1_796_083_200_000})
    path = tmp_path / "there.ics"
    target = TextFile(path, CalendarFormat())
    bench.synchronize(target)
    bench.clock.advance(60)
    twice = {
        "DESCRIPTION:one": "two",
        "PRIORITY:5": "1",
        "SUMMARY:Call Ana": "now",
        "STATUS:NEEDS-ACTION": "X",
    }
    text = re.sub("DUE.*\n", lambda found: found[0] * 2, path.read_text())
    for line, more in twice.items():
        assert line in text
        text = text.replace(line, f"{line}\n{line.partition(':')[0]}:{more}")
    path.write_text(text)
    assert bench.synchronize(target).problem == ""
    read = [bench.row(row)[name] for name in ("title", "description", "status", "priority")]
    assert read == ["Call Ana now", "one\ntwo", "todo", "medium"]
    assert bench.row(row)["dueDate"] is not None


def test_insert_into_a_calendar_file_reads_no_component() -> None:
    other = "BEGIN:VTODO\nUID:{}\nSUMMARY:of others\nEND:VTODO\n"
    put = Put("hub-1", TABLES["tasks"], {"title": "Call"}, "", 0)
    calls: list[int] = []
    for count in (1, 1_000):
        components = "".join(other.format(number) for number in range(count))
        text = f"BEGIN:VCALENDAR\n{components}END:VCALENDAR\n"
        after = CalendarFormat().insert(text, put)
        assert after.endswith("END:VTODO\nEND:VCALENDAR\n")
        assert after.count("SUMMARY:Call") == 1
        calls.append(calls_of(partial(CalendarFormat().insert, text, put)))
    assert calls[1] == calls[0]


def test_line_numbers_of_broken_rows_are_found(tmp_path: Path) -> None:
    keys = [f"hub-{b32encode(number.to_bytes(10)).decode().lower()}" for number in range(200)]
    path = tmp_path / "there"
    path.write_text("".join(f"broken {'-' * 60} {key}\n" for key in keys))
    read = TextFile(path, Markdown()).read([str(path)], dict.fromkeys(keys, TABLES["tasks"]))
    assert [read.unreadable[key].partition(": ")[0] for key in (keys[0], keys[-1])] == [
        f"{path}:1",
        f"{path}:200",
    ]


@pytest.mark.parametrize("broken", ["PRIORITY:high", "DUE:soon"])
def test_component_that_cannot_be_read_is_named_until_mended(
    broken: str, bench: SinkBench, tmp_path: Path
) -> None:
    row, path = (
        bench.approve({"title": "Pay", "priority": "high", "dueDate": bench.at_ms}),
        tmp_path / "a.ics",
    )
    target = TextFile(path, CalendarFormat())
    assert bench.synchronize(target).problem == ""
    whole = path.read_bytes()
    name = broken.partition(":")[0].encode()
    lines = [line for line in whole.split(b"\r\n") if not line.startswith(name)]
    lines.insert(lines.index(b"BEGIN:VTODO") + 1, broken.encode())
    path.write_bytes(damaged := b"\r\n".join(lines))
    for title in ("Pay", "Pay Ana", "Pay Bo"):
        bench.change(row, {"title": title})
        problem = bench.synchronize(target).problem
        assert problem == f"{path}: {title!r} is not readable there: mend or delete it"
        assert path.read_bytes() == damaged
    path.write_bytes(whole)
    assert bench.synchronize(target).problem == ""
    assert b"SUMMARY:Pay Bo" in path.read_bytes()


def test_time_of_day_stays_here_and_a_todo_txt_has_the_day(bench: SinkBench, tmp_path: Path) -> None:
    at_ms = epoch_ms(datetime(2026, 11, 30, 8, 30).astimezone())
    row, path = bench.approve({"title": "Pay", "dueDate": at_ms}), tmp_path / "todo.txt"
    target = TextFile(path, TodoTxt())
    for title in ("Pay", "Pay Ana"):
        bench.change(row, {"title": title})
        assert bench.synchronize(target).written == 1
        assert bench.synchronize(target).written == 0
        assert f"{title} due:2026-11-30 id:hub-" in path.read_text()
    bench.clock.advance(60)
    path.write_text(path.read_text().replace("Pay Ana", "Pay Bo"))
    os.utime(path, (4e9, 4e9))
    assert bench.synchronize(target).taken_back == 1
    assert (bench.row(row)["title"], bench.row(row)["dueDate"]) == ("Pay Bo", at_ms)
    path.write_text(path.read_text().replace("-30", "-28"))
    os.utime(path, (4e9, 4e9 + 1))
    assert bench.synchronize(target).taken_back == 1
    assert bench.row(row)["dueDate"] != at_ms
