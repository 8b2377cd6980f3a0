"""Exports of items and of all data of a user, and the erasure of a user."""

import csv
import hashlib
import io
import json
import sys
import tracemalloc
import zipfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import icalendar
import jsonschema
import msgspec
import pytest
import sqlalchemy as sa
from anyio.from_thread import BlockingPortal

from hub.cli import export, show
from hub.device.device_file import connect_shared
from hub.device.owner import approve
from hub.device.sinks.sink import Sink
from hub.device.sinks.sync import synchronize
from hub.device.sinks.text_file import TextFile
from hub.text.item_text import title_line
from hub.text.rows.csv_lines import as_read
from hub.text.rows.lines import Markdown
from protocol.calls import RowPlace
from protocol.frame import Record
from protocol.ids import DeviceId
from protocol.items import ItemSource
from protocol.tables import SUGGESTED, DeviceTable, ExportedItem
from protocol.tool_calls import Action, ToolCall
from storage.effects import user_data
from storage.runs import items
from storage.schema import device_tokens, users
from storage.schema import items as stored
from storage.store import open_store
from tests.bench.machine import peak_rss_bytes
from tests.hub.api.test_items import keep
from tests.hub.cli.conftest import Hub, device_store, ends
from tests.hub.device.test_own_tables import CONTACTS
from tests.storage.test_user_data import ANNA, BOB, make_world
from tests.support.clock import FakeClock
from tests.support.hub import ServedHub
from tests.support.processes import HubProcess, closing
from tests.support.source import ROOT
from tests.support.written_forms import active_texts, cells_of, is_formula, obeyed_by_a_terminal

VALID = jsonschema.Draft202012Validator(json.loads((ROOT / "protocol" / "export.json").read_text()))


def device_file(path: Path, *rows: tuple[str, Record], own: DeviceTable | None = None) -> Path:
    """A device's file with suggestions of these tables."""
    source = ItemSource(path="notes/a.md", quote="Call Ana", start=0, end=8, timezone="Europe/Berlin")
    with device_store(path) as store:
        calls = [
            ToolCall(
                id=f"c-{number}", action=Action.INSERT, table=table, data={**data, **SUGGESTED}, source=source
            )
            for number, (table, data) in enumerate(rows)
        ]
        if own is not None:
            declared = ToolCall(id="c-own", action=Action.TABLE_DECLARE, table=own.name, declares=own)
            store.apply([declared])
        for start in range(0, len(calls), 500):
            assert all(one.error is None for one in store.apply(calls[start : start + 500]))
    return path


def lines(text: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines()]
    for one in found:
        VALID.validate(one)
    return found


def test_items_of_a_hub_are_exported_by_state_table_and_time(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    portal.call(served.store.write, keep)
    every = lines(hub("export").stdout)
    assert sorted(one["id"] for one in every) == [f"i-{n}" for n in range(5)]
    (edited,) = (one for one in every if one["id"] == "i-2")
    assert edited == {
        "id": "i-2",
        "table": "tasks",
        "state": "approved",
        "is_edited": True,
        "title": "task 2",
        "data": {"title": "task 2"},
        "user": "owner",
        "agent": "inbox",
        "device": "lab",
        "run_id": "r-1",
        "row_id": "row-2",
        "path": "b.md",
        "quote": "task",
        "found_by": "rule",
        "found_at": "1970-01-01T00:00:01.001000Z",
        "decided_at": "1970-01-01T00:00:03Z",
        "places": [],
    }
    arrived = RowPlace(name="todo", kind="markdown", state="arrived", at_ms=1_000, link="notes/todo.md")
    portal.call(served.store.write, partial(items.note_places, found={"row-2": [arrived]}), DeviceId("d-1"))
    place: dict[str, Any] = {
        "name": "todo",
        "kind": "markdown",
        "state": "arrived",
        "since": "1970-01-01T00:00:01Z",
    }
    place |= {"problem": None, "link": "notes/todo.md"}
    (edited,) = (one for one in lines(hub("export").stdout) if one["id"] == "i-2")
    sheet = [*csv.DictReader(io.StringIO(hub("export", "--format", "csv").stdout))]
    cells = [json.loads(one["places"] or "[]") for one in sheet if one["id"] in ("i-1", "i-2")]
    assert (edited["places"], sorted(cells)) == ([place], [[], [place]])
    states = {
        state: sorted(one["id"] for one in lines(hub("export", "--in-state", state).stdout))
        for state in ("suggested", "approved", "rejected")
    }
    assert states == {"suggested": ["i-0", "i-4"], "approved": ["i-1", "i-2"], "rejected": ["i-3"]}
    assert [one["id"] for one in lines(hub("export", "--table", "notes").stdout)] == ["i-4"]
    since = hub("export", "--since", "1970-01-01T00:00:01.002+00:00", "--agent", "inbox", "--device", "lab")
    assert [one["id"] for one in lines(since.stdout)] == ["i-4"]
    assert lines(hub("export", "--user", "owner", "--since", "1d").stdout) == []
    ends(hub("export", "--agent", "nobody"), 1, "there is no agent 'nobody'")


def test_export_includes_all_pages_of_items(
    hub: Hub, served: ServedHub, portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    portal.call(served.store.write, keep)
    monkeypatch.setattr("hub.api.resources.items.MAX_LONG", 2)
    assert sorted(one["id"] for one in lines(hub("export").stdout)) == [f"i-{n}" for n in range(5)]


def test_export_replaces_the_file_atomically(
    hub: Hub, served: ServedHub, portal: BlockingPortal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    portal.call(served.store.write, keep)
    file = tmp_path / "items.json"
    file.write_text("old")
    with monkeypatch.context() as broken:
        broken.setattr(export, "_exported", lambda item: 1 / (item["id"] != "i-0"))
        assert hub("export", str(file)).exit_code == 1
    assert (file.read_text(), [one.name for one in tmp_path.glob("*items*")]) == ("old", ["items.json"])
    assert "items written: 5" in hub("export", str(file)).stderr
    assert (len(json.loads(file.read_text())), file.stat().st_mode & 0o777) == (5, 0o600)
    ends(
        hub("export", str(tmp_path / "items.txt")), 2, "ends in none of .csv, .jsonl, .json, .ics", "--format"
    )
    ends(hub("export", str(tmp_path / "missing" / "items.csv")), 73, "cannot write")


def test_approved_rows_of_a_device_are_exported_without_a_hub(hub: Hub, tmp_path: Path) -> None:
    contact: Record = {"name": "Ana", "email": "ana@example.org", "kind": "customer"}
    db = device_file(
        tmp_path / "desk.db",
        ("tasks", {"title": "call Ana", "dueDate": 1_772_319_600_000, "assignee": ["Ana", "Bo"]}),
        ("notes", {"title": "roof"}),
        ("timelines", {"title": "fair", "date": 1_772_366_400_000}),
        ("contacts", contact),
        own=CONTACTS,
    )
    approve(db, ["1", "4"], at_ms=1)
    with connect_shared(db) as shared:
        target = TextFile(tmp_path / "todo.md", Markdown())
        synchronize(shared, Sink("todo", target, ("tasks",), kind="markdown"), FakeClock().now())
    found = lines(hub("review", "--db", str(db), "export").stdout)
    assert {one["table"]: one["state"] for one in found} == {
        "tasks": "approved",
        "notes": "suggested",
        "timelines": "suggested",
        "contacts": "approved",
    }
    task = next(one for one in found if one["table"] == "tasks")
    assert task["data"]["dueDate"] == "2026-03-01" and task["quote"] == "Call Ana"
    places = [[(place["name"], place["link"]) for place in one["places"]] for one in found]
    assert places == [[("todo", str(tmp_path / "todo.md"))], [], [], []]
    approved = hub("review", "--db", str(db), "export", "--in-state", "approved", "--table", "contacts")
    assert [one["data"] for one in lines(approved.stdout)] == [contact]
    sheet = hub("review", "--db", str(db), "export", "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(sheet)))
    assert [(one["table"], one["dueDate"], one["assignee"], one["name"]) for one in rows] == [
        ("tasks", "2026-03-01", '["Ana", "Bo"]', ""),
        ("notes", "", "", ""),
        ("timelines", "", "", ""),
        ("contacts", "", "", "Ana"),
    ]
    calendar = hub("review", "--db", str(db), "export", "--format", "ics")
    assert "items written: 2; without a date, and left out: 2" in calendar.stderr
    todo, event = icalendar.Calendar.from_ical(calendar.stdout).subcomponents
    assert (todo.name, str(todo["summary"]), todo["due"].to_ical()) == ("VTODO", "call Ana", b"20260301")
    assert (event.name, event["dtstart"].to_ical()) == ("VEVENT", b"20260301T120000Z")
    ends(
        hub("review", "--db", str(db), "export", "--table", "task"), 2, "there is no table 'task'", "contacts"
    )


def test_exports_of_generated_titles_have_no_active_content(hub: Hub, tmp_path: Path) -> None:
    texts = list(dict.fromkeys(map(title_line, (one.text for one in active_texts()))))[::5]
    data: list[Record] = [
        {"title": text, "description": text, "dueDate": 1_796_083_200_000} for text in texts
    ]
    db = device_file(tmp_path / "desk.db", *(("tasks", one) for one in data))
    file = tmp_path / "all.csv"
    ends(hub("review", "--db", str(db), "export", str(file)), 0)
    sheet = file.read_bytes().decode()
    found = [as_read(one["title"]) for one in csv.DictReader(io.StringIO(sheet, newline=""))]
    assert (len(texts) > 200, found) == (True, texts)
    for assumed in ",;\t":
        assert [cell for one in cells_of(sheet, assumed) for cell in one if is_formula(cell)] == []
    ends(hub("review", "--db", str(db), "export", str(tmp_path / "all.ics")), 0)
    todos = icalendar.Calendar.from_ical((tmp_path / "all.ics").read_bytes()).subcomponents
    assert [str(one["SUMMARY"]) for one in todos] == texts
    assert {(one.name, *one.keys()) for one in todos} == {("VTODO", *todos[0].keys())}
    ends(hub("review", "--db", str(db), "export", str(tmp_path / "all.jsonl")), 0)
    lines_read = (tmp_path / "all.jsonl").read_text().splitlines()
    assert [json.loads(line)["title"] for line in lines_read] == texts
    assert obeyed_by_a_terminal("".join(lines_read)) == []


def test_export_puts_fields_without_a_column_into_the_others_column(tmp_path: Path) -> None:
    file = tmp_path / "old.csv"
    item = ExportedItem(
        id="1", table="gone", state="approved", is_edited=False, title="a", data={"x": 1}, found_at="2026"
    )
    export.write(file, None, ["title"], iter([item]))
    (row,) = csv.DictReader(io.StringIO(file.read_text()))
    assert {*ExportedItem.__struct_fields__} - {*row} == {"data"}
    assert (row[export.OTHERS], row["title"]) == ('{"x": 1}', "a")


def test_export_memory_does_not_grow_with_the_number_of_rows(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        item = ExportedItem(
            id="1", table="notes", state="approved", is_edited=False, title="a", data={}, found_at="2026"
        )
        copies = (msgspec.structs.replace(item, data={"content": "x" * 100}) for _ in range(count))
        tracemalloc.start()
        try:
            export.write(tmp_path / "notes.jsonl", None, [], copies)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    assert peak(10_000) < peak(1_000) + 200_000  # bytes: the rows alone are 1,000,000


async def peak_of_export(folder: Path, count: int) -> int:
    """Peak of memory of the export of so many items of a hub, whose lines are valid, in MiB."""
    hub = HubProcess(folder, is_forked=False)
    async with open_store("sqlite:///hub.db", base=folder) as store:
        await store.write(keep)
        five = await store.read(lambda c: [dict(row) for row in c.execute(sa.select(stored)).mappings()])
        for start in range(5, count, 1_000):
            part = [
                five[n % 5] | {"id": f"i-{n}", "call_id": f"c-{n}", "likeness": f"l-{n}", "created_at": n}
                for n in range(start, min(start + 1_000, count))
            ]
            await store.write(lambda c, rows: c.execute(sa.insert(stored), rows) and None, part)
    file = folder / "items.jsonl"
    async with closing(hub):
        await hub.start()
        words = [sys.executable, "-m", "hub", "--state", str(folder), "export", str(file)]
        exporting = await anyio.open_process(words, stderr=None)
        peak = 0
        while exporting.returncode is None:
            with suppress(OSError, LookupError):  # it has ended
                peak = max(peak, peak_rss_bytes(exporting.pid))
            await anyio.sleep(0.02)
        assert exporting.returncode == 0
    with file.open() as exported:
        ids = set[str]()
        for number, line in enumerate(exported):
            ids.add(json.loads(line)["id"])
            if number % 500 == 0:
                lines(line)
    assert len(ids) == count
    return peak >> 20


@pytest.mark.soak
async def test_a_hundred_thousand_items_are_exported_in_the_memory_of_a_thousand(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    few, many = [await peak_of_export(tmp_path_factory.mktemp("many"), count) for count in (1_000, 100_000)]
    assert many <= few + 4


@pytest.fixture
def two(served: ServedHub, portal: BlockingPortal) -> None:
    """Two users beside the owner, anna and bob."""

    def make(c: sa.Connection) -> None:
        make_world(c, BOB, "bob")
        make_world(c, ANNA, "anna")
        token = {"id": "t-1", "device_id": f"device-{ANNA}", "token_hash": b"secret", "created_at": 1}
        c.execute(sa.insert(device_tokens), token)

    portal.call(served.store.write, make)


def test_users_export_contains_all_data_of_the_user_without_secrets(
    hub: Hub, two: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.api.resources.users.MAX_LONG", 2)
    file = tmp_path / "anna.zip"
    done = hub("users", "export", "anna", str(file))
    assert (done.exit_code, "rows written:" in done.stderr) == (0, True), done.output
    assert file.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(file) as packed:
        manifest = json.loads(packed.read("manifest.json"))
        tables = manifest["tables"]
        assert manifest["user"] == "anna" and "device_tokens.token_hash" in manifest["left_out"]
        assert {one["file"] for one in tables.values()} | {"manifest.json"} == {*packed.namelist()}
        for table, about in tables.items():
            content = packed.read(about["file"])
            rows = [json.loads(line) for line in content.splitlines()]
            assert (len(rows), hashlib.sha256(content).hexdigest()) == (about["rows"], about["sha256"]), table
            assert "bob" not in content.decode() and "token_hash" not in content.decode()
    expected = {"users", "devices", "device_tokens", "agents", "agent_configs", "runs", "audit_log"}
    assert expected <= {*tables}
    ends(hub("users", "export", "carl", str(tmp_path / "carl.zip")), 1, "there is no user 'carl'")
    assert not (tmp_path / "carl.zip").exists()


def test_a_user_is_erased_only_if_the_name_is_typed(
    hub: Hub, two: None, served: ServedHub, portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends(hub("users", "erase", "anna"), 2, "without a terminal, confirm with --yes")
    with monkeypatch.context() as terminal:
        terminal.setattr(show, "confirm", lambda question: None)
        ends(hub("users", "erase", "anna", input="ann\n"), 2, "nothing was erased")
        assert portal.call(served.store.read, user_data.recorded_erasures) == set()
        ends(hub("users", "erase", "anna", input="anna\n"), 0, "user anna is being erased")
    assert portal.call(served.store.read, user_data.recorded_erasures) == {ANNA}
    revoked = sa.select(device_tokens.c.revoked_at)
    assert portal.call(served.store.read, lambda c: c.execute(revoked).scalar_one()) is not None
    assert portal.call(served.store.read, lambda c: c.execute(sa.select(users.c.name)).all()) is not None


def test_users_erase_refuses_the_owner_and_unknown_users(hub: Hub, two: None) -> None:
    ends(hub("users", "erase", "owner", "--yes"), 1, "is made at each start", "delete its state folder")
    ends(hub("users", "erase", "carl", "--yes"), 1, "there is no user 'carl'")
    assert json.loads(hub("users", "erase", "anna", "--yes", "--json").stdout)["name"] == "anna"
