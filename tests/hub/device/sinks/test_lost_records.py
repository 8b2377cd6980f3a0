"""Rows of a place without the device's record: it died before it, was restored, or writes all again."""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from hub.base.clock import SystemClock
from hub.device import rows
from hub.device.sinks.recorded_rows import write_again
from hub.device.sinks.target import Written
from hub.device.sinks.text_file import TextFile
from hub.text.rows.lines import TodoTxt
from hub.text.rows.row_keys import key_of
from protocol.frame import Record
from protocol.tables import TABLES
from tests.hub.device.sinks.bench import SinkBench
from tests.hub.device.sinks.places import FilePlace, Place, RestPlace
from tests.hub.device.sinks.test_plays import Killed, Played
from tests.scenarios.ticks import Fall, OwnLines, SinkRows

STATES = {"ticked": "done", "opened": "todo"}


@pytest.fixture
def bench(tmp_path: Path) -> SinkBench:
    """Device with the clock of its places, whose files have times of the system."""
    bench = SinkBench(tmp_path)
    bench.clock = SystemClock()  # type: ignore[assignment]
    return bench


@pytest.fixture(autouse=True)
def _times_of_tasks(request: pytest.FixtureRequest) -> None:
    """Let the task list have the time of the system, too, where a test has one."""
    place = request.getfixturevalue("place") if "place" in request.fixturenames else None
    if isinstance(place, RestPlace):
        place.tasks.now = lambda: SystemClock().now().isoformat()


class Unwritten(Played):
    """Target of a process that dies before it writes."""

    def write(self, *words: object) -> Mapping[str, Written]:
        raise Killed


def look_and_die(bench: SinkBench, place: Place) -> None:
    """Synchronize, and die between the write to the place and its record."""

    def die() -> None:
        raise Killed

    with pytest.raises(Killed):
        bench.synchronize(Played(place.open(), written=die))


def look(bench: SinkBench, place: Place) -> str:
    """Synchronize three times, as the last look writes what the others read; return the last problem."""
    return [bench.synchronize(place.open()).problem for _ in range(3)][-1]


def act(bench: SinkBench, row: str, deeds: str) -> None:
    for deed in deeds.split():
        bench.change(row, {"status": STATES[deed]})


def is_done(place: Place, row: str) -> bool | None:
    """Return whether a row is done at its place; None: it is not there, or more than once."""
    return SinkRows(place).is_done(key_of("tasks", row))


@pytest.mark.parametrize("side", ["place", "device"])
def test_new_row_ticked_after_a_kill_before_its_record_is_done_at_both_sides(
    side: str, place: Place, bench: SinkBench
) -> None:
    row = bench.approve({"title": "Call Ana"})
    look_and_die(bench, place)
    if side == "place":
        place.tick()
    else:
        act(bench, row, "ticked")
    place.change_others()  # so that a file has a later time than the tick
    assert look(bench, place) == ""
    assert (bench.row(row)["status"], is_done(place, row), place.text.count("Call Ana")) == ("done", True, 1)


# Acts at the device before a look that dies before the record, and after it; the state in the end.
UPDATES = [
    ("ticked", "opened", "todo"),
    ("ticked", "opened ticked", "done"),
    ("ticked", "", "done"),
]


@pytest.mark.parametrize(("before", "after", "left"), UPDATES)
def test_update_before_a_kill_keeps_a_change_of_the_owner_after_the_kill(
    before: str, after: str, left: str, place: Place, bench: SinkBench
) -> None:
    row = bench.approve({"title": "Call Ana"})
    look(bench, place)
    act(bench, row, before)
    look_and_die(bench, place)
    act(bench, row, after)
    place.change_others()
    assert look(bench, place) == ""
    assert (bench.row(row)["status"], is_done(place, row)) == (left, left == "done")


class _Death(Fall):
    """Point at which a look ends before the record of a line."""

    def end(self) -> None:
        raise Killed


# Acts at the device, of which the look after the last one dies, complete looks, acts at the line.
LINES = [
    ("ticked", 0, "opened", False),
    ("ticked opened", 0, "ticked", True),
    ("ticked", 1, "", True),
    ("ticked", 1, "opened", False),
    ("ticked", 2, "opened ticked", True),
    ("ticked opened", 1, "", False),
    ("ticked opened", 1, "ticked", True),
]


@pytest.mark.parametrize("replaces", [False, True])
@pytest.mark.parametrize(("before", "looks", "after", "is_left_done"), LINES)
def test_own_line_keeps_a_change_of_the_owner_after_a_kill(
    before: str, looks: int, after: str, is_left_done: bool, replaces: bool, tmp_path: Path, bench: SinkBench
) -> None:
    lines, unharmed = OwnLines(tmp_path, bench), Fall("", 0)
    lines.replaces = replaces
    row = lines.ids[0]
    key = key_of("tasks", row)
    *others, last = before.split()
    for deed in others:
        act(bench, row, deed)
        lines.look(bench, unharmed)
    act(bench, row, last)
    with pytest.raises(Killed):
        lines.look(bench, _Death("written", 0))
    for _ in range(looks):
        lines.look(bench, unharmed)
    for deed in after.split():
        lines.change(key, is_done=deed == "ticked")
        lines.look(bench, unharmed)
    assert (lines.is_done(key), bench.row(row)["status"] == "done") == (is_left_done, is_left_done)


@pytest.mark.parametrize("side", ["place", "place replaced", "device"])
def test_row_opened_before_a_kill_and_ticked_afterwards_is_done(
    side: str, place: Place, bench: SinkBench
) -> None:
    row = bench.approve({"title": "Call Ana", "status": "done"})
    look(bench, place)
    act(bench, row, "opened")
    look_and_die(bench, place)
    if side == "device":
        act(bench, row, "ticked")
    else:
        there = SinkRows(place)
        there.replaces = side == "place replaced"
        there.change(key_of("tasks", row), is_done=True)
    place.change_others()
    assert look(bench, place) == ""
    assert (bench.row(row)["status"], is_done(place, row)) == ("done", True)


def test_row_opened_before_a_kill_without_a_write_is_open_beside_a_place_whose_clock_is_ahead(
    place: Place, bench: SinkBench
) -> None:
    row, there = bench.approve({"title": "Call Ana"}), SinkRows(place)
    look(bench, place)
    if isinstance(place, RestPlace):
        place.tasks.now = lambda: (SystemClock().now() + timedelta(minutes=1)).isoformat()
    there.change(key_of("tasks", row), is_done=True)  # of a calendar, by two seconds
    look(bench, place)
    assert bench.row(row)["status"] == "done"
    act(bench, row, "opened")
    with pytest.raises(Killed):
        bench.synchronize(Unwritten(place.open()))
    assert look(bench, place) == ""
    assert (bench.row(row)["status"], is_done(place, row)) == ("todo", False)


def test_row_opened_at_the_device_and_ticked_at_the_place_after_a_kill_without_a_write_is_done(
    place: Place, bench: SinkBench
) -> None:
    row = bench.approve({"title": "Call Ana"})
    look(bench, place)
    act(bench, row, "ticked")
    with pytest.raises(Killed):
        bench.synchronize(Unwritten(place.open()))
    act(bench, row, "opened")
    SinkRows(place).change(key_of("tasks", row), is_done=True)
    assert look(bench, place) == ""
    assert (bench.row(row)["status"], is_done(place, row)) == ("done", True)


@pytest.mark.parametrize("is_saved_before_the_row", [True, False])
def test_ticks_of_the_place_come_back_after_a_restore_of_the_device(
    is_saved_before_the_row: bool, place: Place, bench: SinkBench
) -> None:
    if isinstance(place, RestPlace) and is_saved_before_the_row:
        pytest.skip("such a server lists no done items: one whose id was lost cannot be found")
    data: Record = {"title": "Call Ana"}
    saved = bench.path.read_bytes()
    row = bench.approve(data)
    if not is_saved_before_the_row:
        look(bench, place)
        with bench.open() as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        saved = bench.path.read_bytes()
    act(bench, row, "ticked")
    look(bench, place)
    for name in ("-wal", "-shm"):
        Path(f"{bench.path}{name}").unlink(missing_ok=True)
    bench.path.write_bytes(saved)
    if is_saved_before_the_row:  # it is delivered and approved once more
        flags: Record = {"isAiSuggested": 1, "isApproved": 1}
        with bench.open() as db:
            rows.insert(db, TABLES["tasks"], row, data, bench.at_ms, flags=flags)
    assert look(bench, place) == ""
    assert (bench.row(row)["status"], is_done(place, row)) == ("done", True)


def test_differing_words_without_a_record_stay_at_both_sides_with_a_problem(
    place: Place, bench: SinkBench
) -> None:
    row = bench.approve({"title": "Call Ana"})
    look(bench, place)
    place.rename("Call Ana", "Phone Ana")
    bench.change(row, {"title": "Ring Ana", "status": "done"})
    with bench.open() as db:
        write_again(db, "there")
    problem = look(bench, place)
    assert "title: there is 'Phone Ana', here is 'Ring Ana': write the same in both" in problem
    assert (bench.row(row)["title"], bench.row(row)["status"], is_done(place, row)) == (
        "Ring Ana",
        "done",
        True,
    )
    assert ("Phone Ana" in place.text, "Ring Ana" in place.text) == (True, False)
    bench.change(row, {"title": "Phone Ana"})
    assert look(bench, place) == ""


def test_row_opened_at_the_device_stays_open_beside_an_older_tick_of_the_place(
    tmp_path: Path, bench: SinkBench
) -> None:
    place = FilePlace("markdown", tmp_path)
    row = bench.approve({"title": "Call Ana"})
    look(bench, place)
    act(bench, row, "ticked")
    look(bench, place)
    ticked = place.path.rename(tmp_path / "saved.md")
    place.path.write_bytes(ticked.read_bytes())
    act(bench, row, "opened")
    look(bench, place)
    assert bench.history() == ["reopened"]
    ticked.rename(place.path)  # the owner restores the file, which keeps its time
    with bench.open() as db:
        write_again(db, "there")
    assert look(bench, place) == ""
    assert (bench.row(row)["status"], is_done(place, row)) == ("todo", False)


def test_row_ticked_and_archived_after_a_kill_before_its_record_is_not_written_again(
    tmp_path: Path, bench: SinkBench
) -> None:
    place, archive = FilePlace("todo.txt", tmp_path), tmp_path / "done.todo.txt"
    target = TextFile(tmp_path / "there.todo.txt", TodoTxt())
    row = bench.approve({"title": "Call Ana"})
    look_and_die(bench, place)
    line = next(line for line in place.text.splitlines() if "Call Ana" in line)
    place.path.write_text(place.text.replace(f"{line}\n", ""))
    archive.write_text(f"x {line}\n")
    for _ in range(3):
        assert bench.synchronize(target).problem == ""
    assert (bench.row(row)["status"], "Call Ana" in place.text) == ("done", False)


@pytest.mark.parametrize(("is_written", "left"), [(False, "todo"), (True, "done")])
def test_row_opened_out_of_an_archive_has_only_a_tick_after_the_write(
    is_written: bool, left: str, tmp_path: Path, bench: SinkBench
) -> None:
    place, archive = FilePlace("todo.txt", tmp_path), tmp_path / "done.todo.txt"
    target = TextFile(tmp_path / "there.todo.txt", TodoTxt())
    row = bench.approve({"title": "Call Ana"})
    assert bench.synchronize(target).problem == ""
    (line,) = (line for line in place.text.splitlines() if "Call Ana" in line)
    place.path.write_text(place.text.replace(f"{line}\n", ""))
    archive.write_text(f"x {line}\n")
    assert bench.synchronize(target).problem == ""
    assert bench.row(row)["status"] == "done"
    act(bench, row, "opened")
    os.utime(archive, (time_before := bench.at_ms // 1_000 - 60, time_before))
    if is_written:
        look_and_die(bench, place)
        (line,) = (line for line in place.text.splitlines() if "Call Ana" in line)
        place.path.write_text(place.text.replace(f"{line}\n", ""))
        archive.write_text(f"x {line}\n")
    else:
        with pytest.raises(Killed):
            bench.synchronize(Unwritten(target))
    for _ in range(3):
        assert bench.synchronize(target).problem == ""
    assert (bench.row(row)["status"], "Call Ana" in place.text) == (left, left == "todo")


def test_row_at_a_renamed_file_keeps_its_tick(tmp_path: Path, bench: SinkBench) -> None:
    place = FilePlace("markdown", tmp_path)
    row = bench.approve({"title": "Call Ana"})
    look(bench, place)
    place.tick()
    other = place.path.rename(tmp_path / "other.md")
    bench.change(row, {"priority": "high"})  # later than the tick
    place.path = other
    look(bench, place)
    assert (bench.row(row)["status"], "[x] Call Ana" in place.text) == ("done", True)
