"""Each kind of file as a target: the same plays for all, and what each writes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import pytest

from hub.device.sinks.calendar import Calendar
from hub.device.sinks.lines import Markdown, TodoTxt
from hub.device.sinks.own_rows import without_own_rows
from hub.device.sinks.records import Csv, JsonLines
from hub.device.sinks.sync import key_of, write_again
from hub.device.sinks.target import Put, Snapshot
from hub.device.sinks.text_file import Format, TextFile
from protocol.tables import TABLES, DeviceTable
from tests.hub.device.sinks.bench import SinkBench

# Text of others around the rows, and how a person ticks a task off and renames it.
KINDS: dict[str, tuple[Callable[[], Format], str, str, Mapping[str, str]]] = {
    "markdown": (
        Markdown,
        "# Mine\n\n- [ ] of others ^abc\n\ttext\n",
        "",
        {"[ ] Call": "[x] Phone"},
    ),
    "todo.txt": (TodoTxt, "(B) of others +x due:2027-01-01\nx done\n", "", {"Call": "x Phone"}),
    "csv": (
        Csv,
        'id,title,mine,status,priority,dueDate\n1,"of\nothers",7,a,b,c\n',
        "",
        {"Call": "Phone", "todo": "done"},
    ),
    "jsonl": (JsonLines, '{"id": 1, "title": "of others"}\nno json\n', "", {"Call": "Phone", "todo": "done"}),
    "ics": (
        Calendar,
        "BEGIN:VCALENDAR\nVERSION:2.0\nX-MINE:1\nBEGIN:VTODO\nUID:1\nSUMMARY:of\n  others\nEND:VTODO\n",
        "END:VCALENDAR\n",
        {"Call": "Phone", "STATUS:NEEDS-ACTION": "STATUS:COMPLETED"},
    ),
}


class Place:
    """File of a kind with text of others, as a target."""

    def __init__(self, kind: str, folder: Path) -> None:
        form, self.head, self.tail, self.edit = KINDS[kind]
        self.path = folder / f"there.{kind}"
        self.path.write_text(self.head + self.tail)
        self.target = TextFile(self.path, form())

    @property
    def text(self) -> str:
        return self.path.read_text()

    def replace(self, *changes: tuple[str, str]) -> None:
        text = self.text
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        self.path.write_text(text)

    def keeps_others(self) -> bool:
        return self.text.startswith(self.head) and self.text.endswith(self.tail)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request.param, tmp_path)


@pytest.fixture
def bench(tmp_path: Path) -> SinkBench:
    return SinkBench(tmp_path)


def test_row_is_written_once_follows_edits_and_goes_with_its_rejection(
    place: Place, bench: SinkBench
) -> None:
    row = bench.approve({"title": "Call Ana", "priority": "high"})
    assert (bench.synchronize(place.target).written, place.keeps_others()) == (1, True)
    assert place.text.count("Call Ana") == place.text.count(key_of("tasks", row)) == 1
    before = place.text
    assert (bench.synchronize(place.target).written, place.text) == (0, before)

    bench.change(row, {"title": "Ring Ana"})
    bench.synchronize(place.target)
    assert ("Call Ana" in place.text, place.text.count("Ring Ana"), place.keeps_others()) == (False, 1, True)

    bench.delete(row)
    assert (bench.synchronize(place.target).removed, place.text) == (1, place.head + place.tail)


def test_row_that_is_ticked_and_renamed_there_is_done_and_renamed_here(
    place: Place, bench: SinkBench
) -> None:
    row = bench.approve({"title": "Call Ana", "description": None})
    bench.synchronize(place.target)
    place.replace(*place.edit.items())
    before = place.text
    assert bench.synchronize(place.target).taken_back == 1
    assert (bench.row(row)["status"], bench.row(row)["title"]) == ("done", "Phone Ana")
    assert (bench.synchronize(place.target).taken_back, place.text) == (0, before)


def test_row_without_back_flow_keeps_what_a_person_wrote_there(place: Place, bench: SinkBench) -> None:
    row = bench.approve({"title": "Call Ana"})
    bench.synchronize(place.target, back=False)
    place.replace(*place.edit.items())
    bench.change(row, {"priority": "high"})
    bench.synchronize(place.target, back=False)
    assert (bench.row(row)["title"], "Phone Ana" in place.text, "Call Ana" in place.text) == (
        "Call Ana",
        True,
        False,
    )


@pytest.mark.parametrize("is_there_later", [False, True])
def test_row_changed_on_both_sides_has_the_later_edit_and_history_has_both(
    place: Place, bench: SinkBench, is_there_later: bool
) -> None:
    row = bench.approve({"title": "Call Ana"})
    bench.synchronize(place.target)
    place.replace(("Call Ana", "Phone Ana"))
    if is_there_later:
        bench.change(row, {"title": "Ring Ana"})  # the clock of the bench is behind the file system's
    else:
        bench.clock.set_wall(bench.clock.now().replace(year=2100))
        bench.change(row, {"title": "Ring Ana"})
    bench.synchronize(place.target)
    title = "Phone Ana" if is_there_later else "Ring Ana"
    assert (bench.row(row)["title"], place.text.count(title), bench.history()) == (title, 1, ["conflict"])


def test_row_deleted_there_is_reported_once_and_comes_back_only_on_request(
    place: Place, bench: SinkBench
) -> None:
    bench.approve({"title": "Call Ana"})
    bench.approve({"title": "Pay"})
    bench.synchronize(place.target)
    whole = place.text
    bench.approve({"title": "Write"})
    key = key_of("tasks", bench.approve({"title": "Go"}))
    bench.synchronize(place.target)
    place.path.write_text(whole)
    assert [bench.synchronize(place.target).deleted for _ in range(2)] == [2, 0]
    assert place.text == whole
    with bench.open() as db:
        write_again(db, "there")
    assert (bench.synchronize(place.target).written, place.text.count(key), place.keeps_others()) == (
        2,
        1,
        True,
    )


def test_file_that_vanished_is_named_and_not_taken_for_deletions(place: Place, bench: SinkBench) -> None:
    bench.approve({"title": "Call Ana"})
    bench.synchronize(place.target)
    text = place.text
    place.path.unlink()
    bench.approve({"title": "Pay"})
    synced = bench.synchronize(place.target)
    assert (synced.deleted, synced.written, place.path.exists()) == (0, 0, False)
    assert f"{place.path} is missing or empty" in synced.problem
    place.path.write_text(text)
    assert (bench.synchronize(place.target).written, place.text.count("Call Ana")) == (1, 1)


class Killed(Exception):
    """End of the process between the write of a target and its record."""


class Dying(TextFile):
    """Target whose process dies when it has written."""

    def write(self, snapshot: Snapshot, puts: Sequence[Put], removed: Collection[str]) -> None:
        super().write(snapshot, puts, removed)
        raise Killed


def test_process_that_dies_before_it_records_writes_nothing_twice(place: Place, bench: SinkBench) -> None:
    dying = Dying(place.path, place.target._form)
    row = bench.approve({"title": "Call Ana"})
    for title in ("Call Ana", "Ring Ana"):
        bench.change(row, {"title": title})
        with pytest.raises(Killed):
            bench.synchronize(dying)
        synced = bench.synchronize(place.target)
        assert (synced.written, synced.taken_back, place.text.count(" Ana")) == (0, 0, 1)
    bench.delete(row)
    with pytest.raises(Killed):
        bench.synchronize(dying)
    assert (bench.synchronize(place.target).removed, place.text) == (0, place.head + place.tail)


class Raced(TextFile):
    """Target to which another program writes between a read and a write."""

    races = 3

    def read(self, places: Collection[str], tables: Mapping[str, DeviceTable]) -> Snapshot:
        snapshot = super().read(places, tables)
        if self.races:
            self.races -= 1
            (path,) = map(Path, places)
            path.write_text(path.read_text().replace("of", "of all", 1))
        return snapshot


def test_file_that_another_program_writes_at_the_same_time_loses_nothing(
    place: Place, bench: SinkBench
) -> None:
    bench.approve({"title": "Call Ana"})
    synced = bench.synchronize(Raced(place.path, place.target._form))
    others = (place.head + place.tail).replace("of", "of all all all", 1)
    assert (synced.written, synced.problem, place.text.count("Call Ana")) == (1, "", 1)
    assert place.text.startswith(others.removesuffix(place.tail))


def test_file_that_cannot_be_written_is_a_problem_until_it_can(bench: SinkBench) -> None:
    bench.approve({"title": "Call Ana"})
    synced = bench.synchronize(TextFile(Path("/sys/there.md"), Markdown()))
    assert (synced.written, synced.problem.startswith("/sys/there.md: cannot be written")) == (0, True)


def test_two_devices_with_one_file_leave_the_rows_of_the_other_alone(place: Place, tmp_path: Path) -> None:
    benches = []
    for seed in range(2):
        (tmp_path / str(seed)).mkdir()
        benches.append(SinkBench(tmp_path / str(seed), seed))
    ids = [bench.approve({"title": f"Call {number}"}) for number, bench in enumerate(benches)]
    for bench in benches:
        bench.synchronize(place.target)
    benches[0].delete(ids[0])
    for bench in benches:
        assert bench.synchronize(place.target).deleted == 0
    assert ("Call 0" in place.text, "Call 1" in place.text, place.keeps_others()) == (False, True, True)


class Edited(TextFile):
    """Target during whose first read the owner edits a row."""

    def __init__(self, place: Place, edit: Callable[[], None]) -> None:
        super().__init__(place.path, place.target._form)
        self._edits = [edit]

    def read(self, places: Collection[str], tables: Mapping[str, DeviceTable]) -> Snapshot:
        if self._edits:
            self._edits.pop()()
        return super().read(places, tables)


def test_row_that_is_edited_during_a_synchronization_keeps_the_edit(place: Place, bench: SinkBench) -> None:
    row = bench.approve({"title": "Call Ana"})
    bench.synchronize(place.target)
    bench.clock.set_wall(bench.clock.now().replace(year=2100))
    place.replace(("Call Ana", "Phone Ana"))
    bench.synchronize(Edited(place, lambda: bench.change(row, {"title": "Ring Ana"})))
    assert (bench.row(row)["title"], place.text.count("Ring Ana")) == ("Ring Ana", 1)


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
    place: Place, bench: SinkBench, newline: str
) -> None:
    place.path.write_bytes(place.text.replace("\n", newline).encode())
    bench.approve({"title": "Call Ana", "description": "soon\n\nor later"})
    bench.synchronize(place.target)
    with place.path.open(newline="") as file:
        text = file.read()
    seen = without_own_rows(text, place.path.name)
    assert ("Call" in seen, "later" in seen, len(seen)) == (False, False, len(text))
    assert [word for word in text.split() if word not in seen.split() and "of" in word] == []
    assert seen.split() == (place.head + place.tail).split()
