"""Plays of a target, the same for each kind: files, a calendar of radicale, a task list of a server."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from hub.device.sinks.recorded_rows import write_again
from hub.device.sinks.target import Snapshot, Target, Written
from hub.device.sinks.waits import MISSED_MS
from hub.text.rows.row import Put
from hub.text.rows.row_keys import key_of
from protocol.tables import DeviceTable
from tests.hub.device.sinks.bench import SinkBench
from tests.hub.device.sinks.places import CalDavPlace, FilePlace, Place

DAY_MS = 1_796_083_200_000  # 2026-12-01


class Played:
    """Target that does something more after it has read, or after it has written."""

    def __init__(
        self,
        target: Target,
        *,
        read: Callable[[], None] | None = None,
        written: Callable[[], None] | None = None,
    ) -> None:
        self._target, self._read, self._written = target, read, written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def read(self, places: Collection[str], tables: Mapping[str, DeviceTable]) -> Snapshot:
        snapshot = self._target.read(places, tables)
        if self._read is not None:
            self._read()
        return snapshot

    def write(
        self, snapshot: Snapshot, puts: Sequence[Put], removed: Collection[str]
    ) -> Mapping[str, Written]:
        other = self._target.write(snapshot, puts, removed)
        if self._written is not None:
            self._written()
        return other


def test_approved_row_is_written_once_updated_after_edits_and_removed_after_deletion(
    place: Place, bench: SinkBench
) -> None:
    others = place.others()
    row = bench.approve({"title": "Call Ana", "priority": "high"})
    assert (bench.synchronize(place.target).written, place.others()) == (1, others)
    assert place.text.count("Call Ana") == place.text.count(f"{key_of('tasks', row)}") == 1
    before = place.text
    assert (bench.synchronize(place.target).written, place.text) == (0, before)
    assert (bench.synchronize(place.open()).written, place.text) == (0, before)

    bench.change(row, {"title": "Ring Ana", "dueDate": DAY_MS, "description": "soon\n\nor later"})
    bench.synchronize(place.target)
    assert ("Call Ana" in place.text, place.text.count("Ring Ana"), place.others()) == (False, 1, others)
    bench.change(row, {"dueDate": None, "description": None})
    for target in (place.target, place.target, place.open()):
        assert bench.synchronize(target).taken_back == 0
    assert (bench.row(row)["dueDate"], bench.history()) == (None, [])

    (found,) = bench.places(row)
    assert (found.name, found.state, found.problem, found.at_ms) == ("there", "arrived", None, bench.at_ms)
    assert (found.link or "").startswith(place.link)
    bench.delete(row)
    assert bench.state(row) == "leaving"
    assert (bench.synchronize(place.target).removed, place.text) == (1, others)
    assert bench.places(row) == []


def test_row_ticked_and_renamed_at_the_place_is_updated_at_the_device(place: Place, bench: SinkBench) -> None:
    row = bench.approve({"title": "Call Ana", "description": None})
    bench.synchronize(place.target)
    place.tick()
    place.rename("Call", "Phone")
    before = place.text
    assert bench.synchronize(place.target).taken_back == 1
    assert (bench.row(row)["status"], bench.row(row)["title"]) == ("done", "Phone Ana")
    for target in (place.target, place.open()):
        assert (bench.synchronize(target).taken_back, place.text) == (0, before)
    bench.change(row, {"status": "todo"})
    bench.synchronize(place.target)
    assert (bench.synchronize(place.open()).taken_back, bench.row(row)["status"]) == (0, "todo")


def test_row_approved_as_done_is_written_as_done(place: Place, bench: SinkBench) -> None:
    row = bench.approve({"title": "Call Ana", "status": "done"})
    for target in (place.target, place.target, place.open()):
        assert bench.synchronize(target).taken_back == 0
    assert (bench.row(row)["status"], place.text.count("Call Ana")) == ("done", 1)
    place.rename("Call", "Phone")
    before = place.text
    assert bench.synchronize(place.open()).written == 0
    assert (bench.row(row)["title"], place.text) == ("Phone Ana", before)


def test_synchronization_without_back_flow_leaves_edits_of_a_person_at_the_place(
    place: Place, bench: SinkBench
) -> None:
    row = bench.approve({"title": "Call Ana"})
    bench.synchronize(place.target, back=False)
    place.rename("Call", "Phone")
    bench.change(row, {"priority": "high"})
    bench.synchronize(place.target, back=False)
    assert (bench.row(row)["title"], "Phone Ana" in place.text, "Call Ana" in place.text) == (
        "Call Ana",
        True,
        False,
    )


@pytest.mark.parametrize("is_there_later", [False, True])
def test_row_edited_on_both_sides_has_the_later_edit(
    place: Place, bench: SinkBench, is_there_later: bool
) -> None:
    row = bench.approve({"title": "Call Ana"})
    bench.synchronize(place.target)
    place.rename("Call Ana", "Phone Ana")
    if not is_there_later:  # the clock of the bench is behind that of the place
        bench.clock.set_wall(bench.clock.now().replace(year=2100))
    bench.change(row, {"title": "Ring Ana"})
    bench.synchronize(place.target)
    title = "Phone Ana" if is_there_later else "Ring Ana"
    assert (bench.row(row)["title"], place.text.count(title), bench.history()) == (title, 1, ["conflict"])


def test_row_deleted_at_the_place_is_rewritten_only_on_request(place: Place, bench: SinkBench) -> None:
    others = place.others()
    bench.approve({"title": "Call Ana"})
    bench.approve({"title": "Pay"})
    bench.synchronize(place.target)
    saved = place.save()
    bench.approve({"title": "Write"})
    row = bench.approve({"title": "Go"})
    key = key_of("tasks", row)
    bench.synchronize(place.target)
    place.restore(saved)
    whole = place.text
    bench.synchronize(place.target)
    bench.clock.advance(60)  # a row of a file is missed by two looks before it counts as deleted
    deleted = [bench.synchronize(place.target).deleted for _ in range(2)]
    assert deleted == [2 if isinstance(place, FilePlace) else 0, 0]
    assert (place.text, bench.state(row)) == (whole, "deleted")
    with bench.open() as db:
        write_again(db, "there")
    assert bench.state(row) == "waiting"
    assert (bench.synchronize(place.target).written, place.text.count(key), place.others()) == (2, 1, others)


def test_missing_place_is_a_problem_and_deletes_no_row(place: Place, bench: SinkBench) -> None:
    row = bench.approve({"title": "Call Ana"})
    bench.synchronize(place.target)
    saved = place.save()
    place.vanish()
    fresh = bench.approve({"title": "Pay"})
    first = bench.synchronize(place.target)  # perhaps it is being written just now, unless a server says no
    assert (first.written, bool(first.problem)) == (0, isinstance(place, CalDavPlace))
    bench.clock.advance(MISSED_MS / 1_000)
    for target in (place.target, place.open()):
        synced = bench.synchronize(target)
        assert (synced.deleted, synced.written, place.text) == (0, 0, "")
        assert "is missing" in synced.problem and "hub device sync --again" in synced.problem
        assert (bench.state(row), bench.state(fresh)) == ("missing missing", "waiting missing")
    place.restore(saved)
    assert (bench.synchronize(place.target).written, place.text.count("Call Ana")) == (1, 1)
    assert (bench.state(row), bench.state(fresh)) == ("arrived", "arrived")


class Killed(BaseException):
    """End of the process between the write of a target and its record."""


def test_synchronization_killed_before_the_record_writes_no_row_twice(place: Place, bench: SinkBench) -> None:
    def die() -> None:
        raise Killed

    others = place.others()
    row = bench.approve({"title": "Call Ana"})
    for title in ("Call Ana", "Ring Ana"):
        bench.change(row, {"title": title})
        with pytest.raises(Killed):
            bench.synchronize(Played(place.open(), written=die))
        synced = bench.synchronize(place.open())
        assert (synced.written, synced.taken_back, place.text.count(" Ana")) == (0, 0, 1)
    bench.delete(row)
    with pytest.raises(Killed):
        bench.synchronize(Played(place.open(), written=die))
    assert (bench.synchronize(place.open()).removed, place.text) == (0, others)


def test_concurrent_write_of_another_program_to_the_place_is_not_lost(place: Place, bench: SinkBench) -> None:
    races = [place.change_others] * 3
    bench.approve({"title": "Call Ana"})
    synced = bench.synchronize(Played(place.target, read=lambda: races.pop()() if races else None))
    assert (synced.written, synced.problem, place.text.count("Call Ana")) == (1, "", 1)
    for _ in range(3 - len(races)):
        assert "of all" in place.others()


def test_concurrent_edits_of_a_row_at_place_and_device_are_merged(place: Place, bench: SinkBench) -> None:
    row = bench.approve({"title": "Call Ana"})
    bench.synchronize(place.target)
    bench.change(row, {"dueDate": DAY_MS})
    races = [lambda: place.rename("Call", "Phone")]
    synced = bench.synchronize(Played(place.target, read=lambda: races.pop()() if races else None))
    assert (synced.problem, bench.row(row)["title"]) == ("", "Phone Ana")
    assert ("Call" in place.text, place.text.count("Phone Ana")) == (False, 1)
    assert "2026-12-01" in place.text or "20261201" in place.text


def test_read_only_place_is_a_problem_and_the_row_waits(place: Place, bench: SinkBench) -> None:
    row = bench.approve({"title": "Call Ana"})
    before = place.text
    synced = bench.synchronize(place.read_only())
    assert (synced.written, place.text) == (0, before)
    assert "cannot be written" in synced.problem or "read-only" in synced.problem
    assert (bench.state(row), bench.places(row)[0].link) == ("waiting read_only", None)


def test_two_devices_with_a_shared_place_do_not_change_rows_of_each_other(
    place: Place, tmp_path: Path
) -> None:
    others = place.others()
    benches, targets = [], [place.open(), place.open()]
    for seed in range(2):
        (tmp_path / str(seed)).mkdir()
        benches.append(SinkBench(tmp_path / str(seed), seed))
    ids = [bench.approve({"title": f"Call {number}"}) for number, bench in enumerate(benches)]
    for bench, target in zip(benches, targets, strict=True):
        bench.synchronize(target)
    benches[0].delete(ids[0])
    for bench, target in zip(benches, targets, strict=True):
        assert bench.synchronize(target).deleted == 0
    assert ("Call 0" in place.text, "Call 1" in place.text, place.others()) == (False, True, others)


def test_row_edited_at_the_device_during_a_synchronization_retains_the_edit(
    place: Place, bench: SinkBench
) -> None:
    row = bench.approve({"title": "Call Ana"})
    bench.synchronize(place.target)
    bench.clock.set_wall(bench.clock.now().replace(year=2100))
    place.rename("Call Ana", "Phone Ana")
    edits = [lambda: bench.change(row, {"title": "Ring Ana"})]
    bench.synchronize(Played(place.target, read=lambda: edits.pop()() if edits else None))
    assert (bench.row(row)["title"], place.text.count("Ring Ana")) == ("Ring Ana", 1)


def test_stamp_of_a_place_changes_with_the_content(place: Place, bench: SinkBench) -> None:
    bench.approve({"title": "Call Ana"})
    places = bench.synchronize(place.target).places
    stamps = [place.target.stamp(places) for _ in range(2)]
    assert stamps[0] == stamps[1]
    place.rename("Call", "Phone Ana, or write to")
    assert place.target.stamp(places) != stamps[0]
