"""Rows that are as they were recorded: neither their text at the place nor their fields here are parsed."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import pytest

from hub.device.sinks.approved_rows import ApprovedRow
from hub.device.sinks.target import Target
from hub.device.sinks.text_file import TextFile
from hub.text.rows.records import JsonLines
from hub.text.rows.row import Fields, LateFields
from tests.hub.device.sinks.bench import SinkBench
from tests.hub.device.sinks.places import Place

ROWS = 30


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sides whose rows were parsed, in order."""
    sides: list[str] = []
    keep = LateFields.__init__
    fields: Callable[[ApprovedRow], dict[str, str]] = vars(ApprovedRow)["fields"].func

    def keep_counted(late: LateFields, parse: Callable[[], Fields]) -> None:
        def parse_counted() -> Fields:
            sides.append("there")
            return parse()

        keep(late, parse_counted)

    def at_the_device(row: ApprovedRow) -> dict[str, str]:
        sides.append("here")
        return fields(row)

    counted = cached_property(at_the_device)
    counted.__set_name__(ApprovedRow, "fields")
    monkeypatch.setattr(ApprovedRow, "fields", counted)
    monkeypatch.setattr(LateFields, "__init__", keep_counted)
    return sides


def test_only_changed_rows_are_parsed_also_by_a_new_process(
    place: Place, bench: SinkBench, parsed: list[str]
) -> None:
    ids = [bench.approve({"title": f"Call {number}"}) for number in range(100, 100 + ROWS)]

    def parsed_by(target: Target = place.target) -> tuple[int, int]:
        parsed.clear()
        bench.clock.advance(60)
        assert bench.synchronize(target).problem == ""
        return parsed.count("there"), parsed.count("here")

    assert parsed_by()[0] + parsed_by()[0] >= ROWS  # what was written is read once
    assert parsed_by() == (0, 0)
    assert parsed_by(place.open()) == (0, 0)
    bench.change(ids[3], {"title": "Ring Ana"})
    there, here = parsed_by()
    assert (there < ROWS // 2, here) == (True, 1)
    parsed_by()
    place.rename("Call 107", "Call Bo")
    there, here = parsed_by()
    assert bench.row(ids[7])["title"] == "Call Bo"
    assert (there < ROWS // 2, here <= 2) == (True, True)
    parsed_by()
    assert parsed_by() == (0, 0)


def test_row_changed_by_a_program_without_a_timestamp_is_written(place: Place, bench: SinkBench) -> None:
    row = bench.approve({"title": "Call Ana"})
    for _ in range(3):
        bench.synchronize(place.target)
    with bench.open() as db:
        db.execute("UPDATE tasks SET title = 'Call Bo' WHERE id = ?", (row,))
    bench.synchronize(place.target)
    assert ("Call Bo" in place.text, "Call Ana" in place.text) == (True, False)


def test_renamed_project_of_an_unchanged_task_is_written(tmp_path: Path, bench: SinkBench) -> None:
    project = bench.approve({"name": "House"}, "projects")
    row = bench.approve({"title": "Paint"})
    bench.change(row, {"projectId": project})
    target = TextFile(tmp_path / "there.jsonl", JsonLines())
    for _ in range(3):
        bench.synchronize(target)
    bench.change(project, {"name": "Garden"}, "projects")
    bench.synchronize(target)
    assert '"projectId": "Garden"' in (tmp_path / "there.jsonl").read_text()


def test_row_recorded_by_a_former_release_is_neither_written_nor_changed(
    place: Place, bench: SinkBench
) -> None:
    bench.approve({"title": "Call Ana", "description": "about"})
    for _ in range(3):
        bench.synchronize(place.target)
    before = place.text
    with bench.open() as db:
        db.execute("UPDATE sink_rows SET digest = substr(digest, 1, 32)")
    synced = bench.synchronize(place.target)
    assert (synced.written, synced.taken_back, synced.problem, place.text) == (0, 0, "", before)
