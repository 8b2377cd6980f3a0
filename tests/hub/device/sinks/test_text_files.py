"""Files as targets: what each kind writes, and what it keeps."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from hub.device.sinks.calendar import Calendar
from hub.device.sinks.lines import Markdown, TodoTxt
from hub.device.sinks.own_rows import without_own_rows
from hub.device.sinks.records import Csv, JsonLines
from hub.device.sinks.target import Put
from hub.device.sinks.text_file import Format, TextFile
from protocol.tables import TABLES
from tests.hub.device.sinks.bench import SinkBench
from tests.hub.device.sinks.places import FILES, FilePlace


@pytest.fixture(params=FILES)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> FilePlace:
    return FilePlace(request.param, tmp_path)


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
            "Pay [x:: y] [assignee:: Ana, Bo]",
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
        (Calendar(), "timelines", {"title": "Fair", "date": "2026-12-01"}, "DTSTART;VALUE=DATE:20261201"),
        (Calendar(), "notes", {"title": "Wifi", "content": "a;b"}, "DESCRIPTION:a\\;b"),
    ],
)
def test_form_of_a_row_is_that_of_its_kind_and_is_read_back(
    form: Format, table: str, data: Mapping[str, str], line: str, tmp_path: Path
) -> None:
    assert line in form.insert("", Put("hub-x", TABLES[table], data, "", 0))
    expressed = TextFile(tmp_path, form).expressed(TABLES[table], data)
    assert {name: expressed[name] for name in data} == data


def test_marks_of_others_on_a_line_stay_when_its_row_is_edited(bench: SinkBench, tmp_path: Path) -> None:
    row = bench.approve({"title": "Call Ana"})
    path = tmp_path / "T.md"
    target = TextFile(path, Markdown())
    bench.synchronize(target)
    path.write_text(path.read_text().replace("- [ ] Call Ana", "  * [-] Call Ana #work ⏳ 2026-11-30"))
    bench.synchronize(target)
    bench.change(row, {"priority": "high"})
    bench.synchronize(target)
    assert path.read_text().startswith("  * [-] Call Ana #work ⏫ ⏳ 2026-11-30 ^hub-")


def test_lines_end_as_those_of_the_file(bench: SinkBench, tmp_path: Path) -> None:
    bench.approve({"title": "Call Ana"})
    path = tmp_path / "T.md"
    path.write_bytes(b"\xef\xbb\xbf# Mine\r\n\r\nlast")
    bench.synchronize(TextFile(path, Markdown()))
    assert path.read_bytes().startswith(b"\xef\xbb\xbf# Mine\r\n\r\nlast\r\n- [ ] Call Ana ^hub-")
    assert path.read_bytes().count(b"\n") == path.read_bytes().count(b"\r\n")


def test_rows_of_each_day_stand_in_the_note_of_the_day_they_were_approved(
    bench: SinkBench, tmp_path: Path
) -> None:
    target = TextFile(tmp_path / "{date}.md", Markdown())
    first = bench.approve({"title": "Call Ana"})
    bench.synchronize(target)
    bench.clock.advance(86_400)
    bench.approve({"title": "Pay"})
    bench.change(first, {"status": "done"})
    bench.synchronize(target)
    days = [path.read_text() for path in sorted(tmp_path.glob("2*.md"))]
    assert [day.partition(" ^")[0] for day in days] == ["- [x] Call Ana", "- [ ] Pay"]


def test_file_that_is_no_utf_8_is_refused_with_its_line(bench: SinkBench, tmp_path: Path) -> None:
    bench.approve({"title": "Call Ana"})
    path = tmp_path / "T.md"
    path.write_bytes(b"a\nb\xff\n")
    assert bench.synchronize(TextFile(path, Markdown())).problem.startswith(f"{path}:2: is not UTF-8")
    assert path.read_bytes() == b"a\nb\xff\n"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_rows_of_a_shared_file_are_blanks_for_a_hub_and_all_else_keeps_its_place(
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


def test_row_that_is_moved_to_the_note_of_another_day_stays_there(bench: SinkBench, tmp_path: Path) -> None:
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
