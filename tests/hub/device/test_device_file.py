"""The device's file: row and answer together, each call once, wrong records refused in words.

Locks of the file end with their process. SOUL.md of agents is read in parts, and written over what was read.
A hub that does not know as much of the file is informed. Verdicts that an owner gave elsewhere are applied
once, and only to what the owner saw.
"""

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from hub.base.clock import IdFactory
from hub.device.device_file import (
    KEEP_CALLS,
    LOCK,
    RUN_LOCK,
    DeviceFileError,
    DeviceStore,
    held,
    is_in_use,
    open_device_store,
)
from hub.device.items import DeviceItem, read_items
from hub.device.owner import approve
from hub.device.verdicts import Remarks
from protocol.agenda import seen_row
from protocol.calls import MAX_PAGE_BYTES, PART_BYTES, KnownToDevice, RowsPage
from protocol.errors import ErrorCode
from protocol.frame import MAX_RESULT_BYTES, Record
from protocol.handshake import StoreMark, Welcome
from protocol.items import ItemSource, Mark, ReviewVerdict, RowReview
from protocol.tables import SUGGESTED, TABLES
from protocol.tool_calls import Action, Answer, ToolCall
from tests.support.clock import FakeClock
from tests.support.coded import coded
from tests.support.killing import Victim
from tests.support.programs import ending, read_until
from tests.support.scripted_hub import HubCalls

CALL_ANA: Record = {"title": "Call Ana", **SUGGESTED}


def _insert(call_id: str, data: Record = CALL_ANA, table: str = "tasks", **more: Any) -> ToolCall:
    return ToolCall(id=call_id, action=Action.INSERT, table=table, data=data, **more)


def _ask(store: DeviceStore, action: Action, **more: Any) -> Answer:
    call = ToolCall(id=f"c-{action}-{len(_rows(store, 'calls'))}", action=action, **more)
    return store.apply([call])[0]


def _rows(store: DeviceStore, table: str) -> list[dict[str, Any]]:
    return [dict(row) for row in store._db.execute(f'SELECT * FROM "{table}"')]


def _code(answer: Answer) -> str | None:
    return answer.error.code if answer.error else None


def test_insert_creates_a_row_with_an_id_of_the_device(store: DeviceStore) -> None:
    (answer,) = store.apply([_insert("c-1", {"title": "Call Ana", "assignee": ["Bo"], **SUGGESTED})])

    (row,) = _rows(store, "tasks")
    assert answer == Answer(result={"id": row["id"]}, counter=1)
    assert row == {
        "id": row["id"],
        "title": "Call Ana",
        "description": None,
        "status": "todo",
        "priority": "medium",
        "assignee": '["Bo"]',
        "dueDate": None,
        "projectId": None,
        "isAiSuggested": 1,
        "isApproved": 0,
        "createdAt": 1767603600000,
        "updatedAt": 1767603600000,
    }


@pytest.mark.parametrize("table", list(TABLES))
def test_suggestion_can_be_inserted_into_every_table(store: DeviceStore, table: str) -> None:
    title = next(t.title for t in TABLES.values() if t.name == table)

    when = {"date": 1_764_583_200_000} if table == "timelines" else {}
    (answer,) = store.apply([_insert("c-1", {title: "something", **when, **SUGGESTED}, table)])

    assert answer.error is None
    assert len(_rows(store, table)) == 1


@pytest.mark.parametrize("assignee", [["Ana", "Bo"], '["Ana", "Bo"]'])
def test_assignee_names_are_stored_as_a_list_for_each_input_form(store: DeviceStore, assignee: Any) -> None:
    store.apply([_insert("c-1", {**CALL_ANA, "assignee": assignee})])

    assert _ask(store, Action.QUERY, table="tasks").result["rows"][0]["assignee"] == ["Ana", "Bo"]


def test_repeated_insert_call_returns_the_stored_answer(store: DeviceStore) -> None:
    first, second = store.apply([_insert("c-1"), _insert("c-1")])
    (again,) = store.apply([_insert("c-1", {"title": "Another text", **SUGGESTED})])

    assert first == second == again
    assert [row["title"] for row in _rows(store, "tasks")] == ["Call Ana"]


def test_refused_call_of_a_batch_is_stored_without_affecting_others(store: DeviceStore) -> None:
    answers = store.apply([_insert("c-1"), _insert("c-2", {"colour": "red"}), _insert("c-3")])

    assert [_code(answer) for answer in answers] == [None, ErrorCode.BAD_RECORD, None]
    assert (len(_rows(store, "tasks")), store.apply([_insert("c-2")])) == (2, [answers[1]])


@pytest.mark.parametrize(
    ("table", "data", "told"),
    [
        ("tasks", {"title": ""}, "title: is required"),
        ("tasks", {"title": "x", "id": "mine"}, "id: filled by the device"),
        ("tasks", {"title": "x", "createdAt": 1}, "createdAt: filled by the device"),
        ("tasks", {"title": "x", "status": "later"}, "status: expected one of"),
        ("tasks", {"title": "x", "dueDate": "tomorrow"}, "dueDate: expected a whole number"),
        ("tasks", {"title": "x", "isApproved": 2}, "isApproved: expected 0 or 1"),
        ("notes", {"title": "x" * 501}, "longer than 500"),
    ],
)
def test_a_wrong_record_is_refused_and_the_field_named(
    store: DeviceStore, table: str, data: Record, told: str
) -> None:
    (answer,) = store.apply([_insert("c-1", data, table)])

    assert _code(answer) == ErrorCode.BAD_RECORD
    assert answer.error is not None and told in answer.error.message
    assert _rows(store, table) == []


@pytest.mark.parametrize("table", [None, "users", "calls", "tasks; DROP TABLE tasks"])
def test_table_outside_the_five_known_tables_is_refused(store: DeviceStore, table: str | None) -> None:
    (answer,) = store.apply([ToolCall(id="c-1", action=Action.INSERT, table=table, data=CALL_ANA)])

    assert _code(answer) == ErrorCode.UNKNOWN_TABLE


def test_row_referring_to_a_missing_row_is_refused(store: DeviceStore) -> None:
    (answer,) = store.apply([_insert("c-1", {**CALL_ANA, "projectId": "none"})])

    assert _code(answer) == ErrorCode.DATABASE_CONFLICT
    assert _rows(store, "tasks") == []


def test_rows_are_changed_found_and_removed_by_their_fields(store: DeviceStore, clock: FakeClock) -> None:
    (made,) = store.apply([_insert("c-1")])
    store.apply([_insert("c-2", {"title": "Pay rent", **SUGGESTED})])
    clock.advance(5)

    changed = _ask(store, Action.UPDATE, table="tasks", where=made.result, data={"status": "done"})
    found = _ask(store, Action.QUERY, table="tasks", where={"status": "done"})
    removed = _ask(store, Action.DELETE, table="tasks", where=made.result)

    assert changed.result == {"updated": 1}
    assert [row["title"] for row in found.result["rows"]] == ["Call Ana"]
    assert found.result["rows"][0]["updatedAt"] - found.result["rows"][0]["createdAt"] == 5_000
    assert removed.result == {"deleted": 1}
    assert [row["title"] for row in _rows(store, "tasks")] == ["Pay rent"]


@pytest.mark.parametrize(
    ("action", "asked", "code"),
    [
        (Action.UPDATE, {"data": {"status": "done"}}, ErrorCode.BAD_RECORD),
        (Action.UPDATE, {"where": {"title": "Call Ana"}}, ErrorCode.BAD_RECORD),
        (Action.UPDATE, {"where": {"title": "x"}, "data": {"status": "done"}}, ErrorCode.DATABASE_CONFLICT),
        (Action.UPDATE, {"where": {"title": "Call Ana"}, "data": {"title": None}}, ErrorCode.BAD_RECORD),
        (Action.DELETE, {}, ErrorCode.BAD_RECORD),
        (Action.DELETE, {"where": {"colour": "red"}}, ErrorCode.BAD_RECORD),
        (Action.QUERY, {"where": {"isApproved": "yes"}}, ErrorCode.BAD_RECORD),
        (Action.BROWSER_OPEN, {}, ErrorCode.CALL_UNSUPPORTED),
    ],
)
def test_update_or_delete_matching_no_row_or_every_row_is_refused(
    store: DeviceStore, action: Action, asked: dict[str, Any], code: ErrorCode
) -> None:
    store.apply([_insert("c-1")])

    assert (
        _code(_ask(store, action, table="tasks", **asked)),
        [row["title"] for row in _rows(store, "tasks")],
    ) == (code, ["Call Ana"])


def test_query_result_too_large_for_a_frame_is_refused(store: DeviceStore) -> None:
    long_note: Record = {"title": "long", "content": "x" * 30_000, **SUGGESTED}
    store.apply([_insert(f"c-{n}", long_note, "notes") for n in range(3)])

    assert (
        _code(_ask(store, Action.QUERY, table="notes")),
        len(_ask(store, Action.QUERY, table="notes", limit=2).result["rows"]),
    ) == (ErrorCode.RESULT_TOO_LARGE, 2)


def test_query_returns_newest_rows_first_and_only_the_requested_fields(
    store: DeviceStore, clock: FakeClock
) -> None:
    for n in range(3):
        store.apply([_insert(f"c-{n}", {"title": f"task {n}", **SUGGESTED})])
        clock.advance(1)

    newest = _ask(
        store, Action.QUERY, table="tasks", data={"newest_first": True, "fields": ["title"]}, limit=2
    )
    foreign = _ask(store, Action.QUERY, table="tasks", data={"fields": ["colour"]})

    assert newest.result["rows"] == [{"title": "task 2"}, {"title": "task 1"}]
    assert _code(foreign) == ErrorCode.BAD_RECORD


def test_inserted_row_is_read_with_source_path_quote_and_position(store: DeviceStore, db: Path) -> None:
    source = ItemSource(path="notes/monday.md", quote="call Ana", start=4, end=12)
    store.apply([_insert("c-1", source=source, run_id="r-1"), _insert("c-2", {"title": ""})])

    (item,) = read_items(db)

    assert item == DeviceItem(
        number=1,
        label="1",
        declaration=TABLES["tasks"],
        table="tasks",
        row_id=item.row_id,
        title="Call Ana",
        data={
            "title": "Call Ana",
            "status": "todo",
            "priority": "medium",
            "isAiSuggested": 1,
            "isApproved": 0,
        },
        source_path="notes/monday.md",
        quote="call Ana",
        start=4,
        end=12,
        at=item.at,
        verdict="open",
        remarks=Remarks(),
    )


def test_items_are_read_from_a_closed_device_file_only_if_existing(
    db: Path, clock: FakeClock, ids: IdFactory
) -> None:
    assert read_items(db) == []
    db.parent.mkdir()
    db.touch()  # as a device that has just begun leaves it
    assert read_items(db) == []
    with open_device_store(db, clock=clock, ids=ids) as store:
        store.apply([_insert("c-1")])

    assert [item.title for item in read_items(db)] == ["Call Ana"]


def test_new_device_file_is_read_without_items_between_any_two_statements(
    db: Path, clock: FakeClock, ids: IdFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[DeviceItem] | DeviceFileError] = []
    connect = sqlite3.connect

    def look(_: str) -> None:
        try:
            read.append(read_items(db))
        except DeviceFileError as error:
            read.append(error)

    def traced(*args: Any, **options: Any) -> sqlite3.Connection:
        opened: sqlite3.Connection = connect(*args, **options)
        if args[0] == db:
            opened.set_trace_callback(look)
        return opened

    monkeypatch.setattr(sqlite3, "connect", traced)
    with open_device_store(db, clock=clock, ids=ids):
        assert len(read) > 20
        assert read == [[]] * len(read)


def test_items_of_a_device_file_of_an_older_release_are_read_before_serving(
    store: DeviceStore, db: Path
) -> None:
    store.apply([_insert("c-1")])
    with sqlite3.connect(db) as older:
        for table in ("sink_rows", "sink_moves", "sink_waits", "sink_writes", "source_files"):
            older.execute(f"DROP TABLE {table}")

    assert [item.title for item in read_items(db)] == ["Call Ana"]


def test_reopened_device_file_answers_a_repeated_call_without_a_new_row(
    db: Path, clock: FakeClock, ids: IdFactory
) -> None:
    with open_device_store(db, clock=clock, ids=ids) as store:
        first = store.apply([_insert("c-1")])
    with open_device_store(db, clock=clock, ids=ids) as store:
        assert (store.apply([_insert("c-1")]), len(_rows(store, "tasks"))) == (first, 1)


def test_answers_to_calls_without_a_change_are_stored_for_thirty_days(
    store: DeviceStore, clock: FakeClock
) -> None:
    ask = ToolCall(id="c-asked", action=Action.QUERY, table="tasks")
    store.apply([ask, _insert("c-refused", {"title": ""})])
    clock.advance((KEEP_CALLS - timedelta(days=2)).total_seconds())
    store.apply([_insert("c-refused-later", {"title": ""})])
    assert {row["call_id"] for row in _rows(store, "calls")} == {"c-asked", "c-refused", "c-refused-later"}

    clock.advance(timedelta(days=3).total_seconds())
    store.apply([])

    assert {row["call_id"] for row in _rows(store, "calls")} == {"c-refused-later"}


def test_answers_to_changing_calls_are_stored_without_expiry(
    store: DeviceStore, db: Path, clock: FakeClock
) -> None:
    change = ToolCall(
        id="c-change",
        action=Action.UPDATE,
        table="tasks",
        where={"title": "Call Ana"},
        data={"status": "done"},
    )
    calls = [_insert("c-1"), change]
    answers = store.apply(calls)
    clock.advance((KEEP_CALLS * 12).total_seconds())

    assert (store.apply(calls), len(_rows(store, "tasks"))) == (answers, 1)
    assert [item.title for item in read_items(db)] == ["Call Ana"]


def test_two_devices_do_not_share_a_file(
    store: DeviceStore, db: Path, clock: FakeClock, ids: IdFactory
) -> None:
    with (
        pytest.raises(DeviceFileError, check=coded(ErrorCode.DATABASE_BUSY)),
        open_device_store(db, clock=clock, ids=ids),
    ):
        pass


@pytest.mark.parametrize(
    ("version", "code"),
    [(99, ErrorCode.DATABASE_FROM_THE_FUTURE), (6, ErrorCode.DATABASE_UNAVAILABLE)],
)
def test_device_file_of_another_schema_version_is_refused(
    db: Path, clock: FakeClock, ids: IdFactory, version: int, code: ErrorCode
) -> None:
    with open_device_store(db, clock=clock, ids=ids) as store:
        store._db.execute(f"PRAGMA user_version = {version}")

    refused = partial(pytest.raises, DeviceFileError, check=coded(code))
    with refused(match=f"has version {version}"), open_device_store(db, clock=clock, ids=ids):
        pass
    with refused(match=f"has version {version}"):
        read_items(db)


@pytest.mark.parametrize("foreign", [b"not a database at all, but long enough to look" * 99, None])
def test_a_file_of_another_program_is_not_changed(
    tmp_path: Path, clock: FakeClock, ids: IdFactory, foreign: bytes | None
) -> None:
    path = tmp_path / "theirs.db"
    if foreign is not None:
        path.write_bytes(foreign)
    else:
        with sqlite3.connect(path) as theirs:
            theirs.execute("CREATE TABLE precious (x)")
        theirs.close()
    before = path.read_bytes()

    with pytest.raises(DeviceFileError), open_device_store(path, clock=clock, ids=ids):
        pass
    assert path.read_bytes() == before


def test_device_file_has_no_permissions_for_group_and_others(store: DeviceStore, db: Path) -> None:
    assert db.stat().st_mode & 0o077 == 0


def test_shared_folder_retains_the_name_if_folders_of_equal_name_are_added(
    db: Path, clock: FakeClock, ids: IdFactory
) -> None:
    with open_device_store(db, clock=clock, ids=ids) as store:
        assert (
            store.name_roots(["/home/ana/notes"]),
            store.known_roots(),
            store.name_roots(["/mnt/work/notes", "/home/ana/notes"]),
        ) == (["notes"], ["/home/ana/notes"], ["notes (work)", "notes"])
    with open_device_store(db, clock=clock, ids=ids) as store:
        assert store.name_roots(["/srv/work/notes", "/mnt/work/notes"]) == ["notes (2)", "notes (work)"]


_CALLS_UNTIL_KILLED = """
import sys
from pathlib import Path
from hub.base.clock import IdFactory, SystemChance, SystemClock
from hub.device.device_file import open_device_store
from protocol.items import ReviewVerdict, RowReview
from protocol.tool_calls import Action, ToolCall

clock = SystemClock()
with open_device_store(Path(sys.argv[1]), clock=clock, ids=IdFactory(clock, SystemChance())) as store:
    store.granted(["+review.remote"])
    for number in range(1_000_000):
        data = {"title": f"c-{number}", "isAiSuggested": 1, "isApproved": 0}
        call = ToolCall(id=f"c-{number}", action=Action.INSERT, table="tasks", data=data)
        row = store.apply([call])[0].result
        review = RowReview(verdict=ReviewVerdict.APPROVE, seen=call.id)
        call = ToolCall(id=f"v-{number}", action=Action.REVIEW_APPLY, table="tasks", where=row, review=review)
        store.apply([call])
        print(number, flush=True)
"""


def test_killed_device_has_both_row_and_answer_or_neither(db: Path, clock: FakeClock, ids: IdFactory) -> None:
    command = [sys.executable, "-c", _CALLS_UNTIL_KILLED, str(db)]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    with Victim(command, streams={"stdout": subprocess.PIPE}, environment=environment) as child:
        answered = [int(child.output.readline()) for _ in range(20)]

    with open_device_store(db, clock=clock, ids=ids) as store:
        tasks, calls = _rows(store, "tasks"), _rows(store, "calls")
        inserts = {row["call_id"]: row["row_id"] for row in calls if row["action"] == "insert"}
        assert {row["title"]: row["id"] for row in tasks} == inserts
        approved = {f"v{row['title'][1:]}" for row in tasks if row["isApproved"]}
        assert approved == {row["call_id"] for row in calls if row["action"] == "review.apply"}
        assert {f"{kind}-{number}" for number in answered for kind in "cv"} <= {*inserts, *approved}
        store.apply([_insert(call_id) for call_id in inserts])
        assert len(_rows(store, "tasks")) == len(inserts)


HOLD = """
import sys
from pathlib import Path
from hub.device.device_file import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_device_file_lock_names_the_holding_process_and_ends_with_the_process(tmp_path: Path) -> None:
    file = tmp_path / "desk.db"
    words = [sys.executable, "-c", HOLD, str(file)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as holder, ending(holder):
        assert holder.stdout is not None
        read_until(holder.stdout, "held\n")
        assert is_in_use(file) and not is_in_use(file, RUN_LOCK)
        with (
            pytest.raises(DeviceFileError, match=f"another device, process {holder.pid}, uses") as refused,
            held(file),
        ):
            pass
        assert refused.value.code is ErrorCode.DATABASE_BUSY
    assert not is_in_use(file)
    with held(file):
        assert is_in_use(file, LOCK)


def test_device_file_lock_is_held_after_a_check_by_the_same_process(tmp_path: Path) -> None:
    file = tmp_path / "desk.db"
    with held(file):
        assert is_in_use(file)
        with pytest.raises(DeviceFileError), held(file):
            pass
        words = [sys.executable, "-c", HOLD, str(file)]
        other = subprocess.run(words, input="", capture_output=True, text=True, check=False)
    assert (other.returncode, f"another device, process {os.getpid()}, uses" in other.stderr) == (1, True)


def test_unusable_lock_file_is_reported_with_the_path(tmp_path: Path) -> None:
    file = tmp_path / "desk.db"
    (tmp_path / "desk.db.lock-sqlite").write_text("not a database, but longer than its header" * 20)
    with pytest.raises(DeviceFileError, match=r"desk.db.lock-sqlite: file is not a database"), held(file):
        pass


def sourced(call_id: str, title: str = "call Ana", **more: Any) -> ToolCall:
    source = ItemSource(path="notes/a.md", quote=f"- [ ] {title}", start=3, end=20, sha256="a" * 64)
    data: Record = {"title": title, **SUGGESTED}
    given: dict[str, Any] = {"table": "tasks", "data": data, "source": source} | more
    return ToolCall(id=call_id, action=Action.INSERT, run_id="r-1", agent_id="a-1", **given)


def listed(store: DeviceStore, since: int = 0, limit: int = 100) -> RowsPage:
    call = ToolCall(id="l-1", action=Action.ROWS_LIST, data={"since": since}, limit=limit)
    return msgspec.convert(store.apply([call])[0].result, RowsPage)


def welcome(counter: int, store_id: str, hub_id: str = "hub-1") -> Welcome:
    return Welcome(
        protocol=1,
        hub_id=hub_id,
        connection_id="c",
        user_id="u",
        device_id="d",
        epoch=1,
        server_ts_ms=1,
        store=StoreMark(id=store_id, counter=counter),
    )


def test_each_call_changing_a_row_is_counted_once(store: DeviceStore) -> None:
    assert store.mark.counter == 0
    store.apply([sourced("c-1"), sourced("c-2", "call Bo"), sourced("c-1")])
    assert store.mark.counter == 2
    store.apply([sourced("c-3", table="no such table")])
    store.apply([ToolCall(id="c-4", action=Action.QUERY, table="tasks")])
    assert store.mark.counter == 2


def test_reopened_device_file_has_the_same_store_mark(db: Path, clock: FakeClock, ids: IdFactory) -> None:
    with open_device_store(db, clock=clock, ids=ids) as store:
        store.apply([sourced("c-1")])
        before = store.mark
    with open_device_store(db, clock=clock, ids=ids) as store:
        assert store.mark == before


def test_row_list_contains_source_position_and_queryable_fields(store: DeviceStore) -> None:
    made = store.apply([sourced("c-1")])[0].result
    page = listed(store)
    (row,) = page.rows
    assert (row.call_id, row.row_id, row.table, row.state, row.path, row.quote, row.start, row.end) == (
        "c-1",
        made["id"],
        "tasks",
        "open",
        "notes/a.md",
        "- [ ] call Ana",
        3,
        20,
    )
    assert (row.data["title"], page.store, page.more) == ("call Ana", store.mark, False)


def test_row_list_hides_edited_data_and_marks_a_deleted_row_rejected(
    store: DeviceStore, owner: sqlite3.Connection
) -> None:
    store.apply([sourced("c-1")])
    owner.execute("UPDATE tasks SET title = 'private words'")
    (row,) = listed(store).rows
    assert (row.state, row.data, row.quote) == ("edited", {}, "- [ ] call Ana")
    owner.execute("DELETE FROM tasks")
    assert [row.state for row in listed(store).rows] == ["rejected"]


def test_pages_of_the_row_list_are_complete_and_fit_an_answer(store: DeviceStore) -> None:
    long = ItemSource(path="a.md", quote="x" * 2_000, start=0, end=2_000)
    store.apply([sourced(f"c-{n}", source=long) for n in range(60)])
    seen: list[str] = []
    since = 0
    while True:
        page = listed(store, since)
        assert len(msgspec.json.encode(page)) < MAX_PAGE_BYTES + 500
        seen += [row.call_id for row in page.rows]
        if not page.more:
            break
        since = page.rows[-1].counter
    assert seen == [f"c-{n}" for n in range(60)]


def test_row_with_a_confirmed_verdict_is_listed_again_with_a_newer_counter(
    store: DeviceStore, db: Path
) -> None:
    store.apply([sourced("c-1"), sourced("c-2", "call Bo")])
    approve(db, [1], at_ms=5)
    before = store.mark.counter
    store.note_reported(store.unreported(9))
    assert [(row.call_id, row.state) for row in listed(store, before).rows] == [("c-1", "approved")]


def test_rows_known_call_returns_the_existing_calls_and_rows(store: DeviceStore) -> None:
    made = store.apply([sourced("c-1")])[0].result
    asked: Record = {"calls": ["c-1", "c-9"], "rows": [made["id"], "r-9"]}
    answer = store.apply([ToolCall(id="k-1", action=Action.ROWS_KNOWN, data=asked)])[0]
    assert msgspec.convert(answer.result, KnownToDevice) == KnownToDevice(calls=["c-1"], rows=[made["id"]])


@pytest.mark.parametrize("data", [{"since": -1}, {"since": "x"}, {"since": True}])
def test_rows_list_call_with_an_invalid_counter_is_refused(store: DeviceStore, data: Record) -> None:
    answer = store.apply([ToolCall(id="l-1", action=Action.ROWS_LIST, data=data)])[0]
    assert answer.error is not None and answer.error.code == "bad_record"


def test_older_copy_of_a_device_file_gets_a_new_store_id(db: Path, clock: FakeClock, ids: IdFactory) -> None:
    with open_device_store(db, clock=clock, ids=ids) as store:
        store.apply([sourced("c-1")])
    shutil.copy(db, db.with_suffix(".copy"))
    with open_device_store(db, clock=clock, ids=ids) as store:
        store.apply([sourced("c-2")])
        lost = store.mark
        assert store.note_welcome(welcome(2, lost.id)) is None
    shutil.copy(db.with_suffix(".copy"), db)
    with open_device_store(db, clock=clock, ids=ids) as store:
        assert store.mark == StoreMark(id=lost.id, counter=1)
        assert "older than the hub knows it" in str(store.note_welcome(welcome(2, lost.id)))
        assert store.mark.id != lost.id
        assert store.note_welcome(welcome(2, lost.id)) is None


@pytest.mark.parametrize("hub_knows", ["another file", "nothing of it", "no file"])
def test_device_file_unknown_to_the_hub_gets_a_new_store_id(store: DeviceStore, hub_knows: str) -> None:
    before = store.mark
    told = {
        "another file": welcome(2, "another file"),
        "nothing of it": welcome(0, before.id),
        "no file": msgspec.structs.replace(welcome(0, ""), store=None),
    }[hub_knows]
    store.note_welcome(told)
    assert store.mark == before  # it has no number that could be given again
    store.apply([sourced("c-1")])
    store.note_welcome(told)
    assert store.mark.id != before.id
    assert store.mark.counter == 1


def test_hub_with_lost_rows_is_reported_to_the_owner_once(store: DeviceStore) -> None:
    store.apply([sourced("c-1"), sourced("c-2")])
    assert store.note_welcome(welcome(2, store.mark.id)) is None
    assert "the hub knows fewer" in str(store.note_welcome(welcome(1, store.mark.id)))
    assert store.note_welcome(welcome(1, store.mark.id)) is None
    assert store.note_welcome(welcome(0, store.mark.id, "another hub")) is None


def test_a_comparison_of_all_rows_is_not_reported_to_the_owner_as_a_loss(store: DeviceStore) -> None:
    store.apply([sourced("c-1"), sourced("c-2")])
    assert store.note_welcome(welcome(2, store.mark.id)) is None
    told = str(store.note_welcome(welcome(0, store.mark.id)))
    assert "the hub compares all of this device's rows with its own" in told
    assert "knows fewer" not in told


def test_row_list_contains_no_rows_of_another_hub(store: DeviceStore) -> None:
    def known() -> KnownToDevice:
        return msgspec.convert(store.apply([ask])[0].result, KnownToDevice)

    store.meet("one")
    made = store.apply([sourced("c-1")])[0].result
    ask = ToolCall(id="k-1", action=Action.ROWS_KNOWN, data={"calls": ["c-1"], "rows": [made["id"]]})
    assert known() == KnownToDevice(calls=["c-1"], rows=[made["id"]])
    store.meet("two")
    assert (listed(store).rows, known()) == ([], KnownToDevice(calls=[], rows=[]))
    store.meet("three", predecessor="one")
    assert ([row.call_id for row in listed(store).rows], known()) == (
        ["c-1"],
        KnownToDevice(calls=["c-1"], rows=[made["id"]]),
    )


APPROVE, EDIT, REJECT, UNDO = ReviewVerdict


class VerdictHub(HubCalls):
    """A hub that wrote row *row* by call c-1, and brings verdicts on it, numbered v-1, v-2, ..."""

    def __init__(self, store: DeviceStore, *, data: Record, table: str = "tasks", **more: Any) -> None:
        super().__init__(store, table=table)
        store.granted(["+review.remote=approved"])
        self.row = self.ask(Action.INSERT, data=data, **more).result["id"]
        self._verdicts = count(1)

    def bring(
        self,
        verdict: ReviewVerdict,
        *,
        seen: str = "c-1",
        call_id: str | None = None,
        titles: Any = None,
        row: str | None = None,
        **data: Any,
    ) -> Any:
        """Bring a verdict; return the row's state, or the code of the refusal."""
        id = call_id or f"v-{next(self._verdicts)}"
        review = RowReview(verdict=verdict, seen=seen, titles=titles or {}, row=row)
        answer = self.ask(Action.REVIEW_APPLY, id, where={"id": self.row}, review=review, data=data)
        return answer.error.code if answer.error is not None else answer.result["state"]


@pytest.fixture
def hub(store: DeviceStore) -> VerdictHub:
    return VerdictHub(store, data={"title": "call Ana", **SUGGESTED})


def tasks(owner: sqlite3.Connection) -> list[tuple[str, int]]:
    return [(row["title"], row["isApproved"]) for row in owner.execute("SELECT * FROM tasks")]


def whole(owner: sqlite3.Connection) -> list[dict[str, Any]]:
    return [dict(row) for row in owner.execute("SELECT * FROM tasks")]


@pytest.mark.parametrize(
    ("verdict", "data", "state", "after"),
    [
        (APPROVE, {}, "approved", [("call Ana", 1)]),
        (APPROVE, {"title": "call Bo"}, "edited", [("call Bo", 1)]),
        (EDIT, {"title": "call Bo"}, "edited", [("call Bo", 0)]),
        (REJECT, {}, "rejected", []),
    ],
)
def test_a_verdict_is_applied_answered_and_undone(
    hub: VerdictHub,
    owner: sqlite3.Connection,
    db: Path,
    verdict: ReviewVerdict,
    data: dict[str, Any],
    state: str,
    after: list[tuple[str, int]],
) -> None:
    before = whole(owner)
    assert hub.bring(verdict, **data) == state
    assert tasks(owner) == after
    assert hub.store.unreported(9) == [], "the answer has said it"
    assert hub.bring(UNDO, seen="v-1") == "open"
    assert whole(owner) == before
    assert hub.store.unreported(9) == []
    approve(db, [1], at_ms=9)
    assert [one.verdict for one in hub.store.unreported(9)] == ["approved"], "the owner has decided anew"


def test_repeated_remote_verdict_is_answered_and_not_applied_again(
    hub: VerdictHub, owner: sqlite3.Connection, db: Path, clock: FakeClock, ids: IdFactory, tmp_path: Path
) -> None:
    assert hub.bring(APPROVE, call_id="v-9") == "approved"
    shutil.copytree(db.parent, tmp_path / "killed")  # as a kill leaves it
    assert hub.bring(UNDO, seen="v-9") == "open"
    assert hub.bring(APPROVE, call_id="v-9") == "approved", "as it was answered before"
    assert tasks(owner) == [("call Ana", 0)]
    with open_device_store(tmp_path / "killed" / db.name, clock=clock, ids=ids) as again:
        hub.store = again
        assert hub.bring(APPROVE, call_id="v-9") == "approved"
        assert again._db.execute("SELECT title, isApproved FROM tasks").fetchone()[:] == ("call Ana", 1)


@pytest.mark.parametrize(
    "said", ["UPDATE tasks SET isApproved = 1", "UPDATE tasks SET title = 'X'", "DELETE FROM tasks"]
)
@pytest.mark.parametrize("verdict", [APPROVE, EDIT, REJECT])
def test_remote_verdict_on_a_row_changed_by_the_owner_is_a_conflict(
    hub: VerdictHub, owner: sqlite3.Connection, said: str, verdict: ReviewVerdict
) -> None:
    owner.execute(said)
    before = whole(owner)
    data = {"title": "call Bo"} if verdict is EDIT else {}
    assert hub.bring(verdict, **data) == ErrorCode.CHANGED_MEANWHILE
    assert whole(owner) == before
    assert len(hub.store.unreported(9)) == 1, "the owner's own verdict is still reported"


@pytest.mark.parametrize("sees", ["nothing", "before", "now"])
@pytest.mark.parametrize("verdict", [APPROVE, EDIT])
@pytest.mark.parametrize("said", ["UPDATE tasks SET status = 'done'", "DELETE FROM tasks"])
def test_undo_after_an_owner_change_needs_the_row_as_seen_and_leaves_other_fields_of_an_approved_row(
    hub: VerdictHub, owner: sqlite3.Connection, said: str, verdict: ReviewVerdict, sees: str
) -> None:
    first = whole(owner)
    if verdict is EDIT:
        owner.execute("UPDATE tasks SET isApproved = 1")
    seen = {"nothing": None, "before": seen_row(TABLES["tasks"], first[0])}
    values = {"title": "call Bo"} if verdict is EDIT else {}
    hub.bring(verdict, row=seen["before"] if verdict is EDIT else None, **values)
    owner.execute(said)
    before = whole(owner)
    seen["now"] = seen_row(TABLES["tasks"], before[0]) if before else "none"
    undone = hub.bring(UNDO, seen="v-1", row=seen[sees])
    if sees != "now" or not before:
        assert (undone, whole(owner)) == (ErrorCode.CHANGED_MEANWHILE, before)
    elif verdict is APPROVE:
        assert (undone, whole(owner)) == ("open", first)
    else:
        assert (undone, whole(owner)) == ("edited", [{**before[0], "title": "call Ana"}])


@pytest.mark.parametrize(("verdict", "title"), [(APPROVE, "call Bo"), (REJECT, "call Ana")])
def test_undo_of_a_decided_change_of_a_row_ticked_since_leaves_the_tick_and_proposes_again(
    hub: VerdictHub, owner: sqlite3.Connection, verdict: ReviewVerdict, title: str
) -> None:
    hub.bring(APPROVE)
    hub.ask(Action.UPDATE, "c-2", where={"id": hub.row}, data={"title": "call Bo"})
    hub.bring(verdict, seen="c-2")
    owner.execute("UPDATE tasks SET status = 'done'")
    (now,) = whole(owner)
    assert now["title"] == title
    assert hub.bring(UNDO, seen="v-2") == ErrorCode.CHANGED_MEANWHILE
    assert hub.bring(UNDO, seen="v-2", row=seen_row(TABLES["tasks"], now)) == "open"
    assert whole(owner) == [{**now, "title": "call Ana"}]
    assert hub.bring(APPROVE, seen="c-2") == "approved"
    assert [(row["title"], row["status"]) for row in whole(owner)] == [("call Bo", "done")]


def test_a_verdict_on_an_earlier_version_of_the_row_is_a_conflict(
    hub: VerdictHub, owner: sqlite3.Connection
) -> None:
    hub.ask(Action.UPDATE, "c-2", where={"id": hub.row}, data={"title": "call Cy"})
    assert hub.bring(APPROVE, seen="c-1") == ErrorCode.CHANGED_MEANWHILE
    assert tasks(owner) == [("call Cy", 0)]
    assert hub.bring(APPROVE, seen="c-2") == "approved"


def test_only_the_newest_verdict_is_undone_and_only_once(hub: VerdictHub) -> None:
    hub.bring(APPROVE)
    hub.bring(UNDO, seen="v-1")
    hub.bring(REJECT)
    assert (hub.bring(UNDO, seen="v-1"), hub.bring(UNDO, seen="v-3"), hub.bring(UNDO, seen="v-3")) == (
        ErrorCode.CHANGED_MEANWHILE,
        "open",
        ErrorCode.CHANGED_MEANWHILE,
    )


def test_remote_verdict_without_the_grant_is_refused_and_may_be_repeated_later(
    hub: VerdictHub, owner: sqlite3.Connection
) -> None:
    hub.store.granted(["-review.remote"])
    assert hub.bring(APPROVE, call_id="v-9") == ErrorCode.NOT_GRANTED
    assert tasks(owner) == [("call Ana", 0)]
    hub.store.granted(["+review.remote"])
    assert hub.bring(APPROVE, call_id="v-9") == "approved"


@pytest.mark.parametrize("mark", get_args(Mark))
def test_remote_approval_of_an_item_with_warnings_requires_the_marked_grant(
    store: DeviceStore, mark: Mark
) -> None:
    source = ItemSource(path="notes/a.md", quote="call", start=0, end=4, warnings=[mark])
    hub = VerdictHub(store, data={"title": "call Ana", **SUGGESTED}, source=source)
    for verdict in (APPROVE, EDIT):
        data = {"title": "call Ann"} if verdict is EDIT else {}
        assert hub.bring(verdict, call_id=f"v-{verdict}", **data) == ErrorCode.NOT_GRANTED
    assert (hub.bring(REJECT, call_id="v-8"), hub.bring(UNDO, seen="v-8")) == ("rejected", "open")
    store.granted(["+review.remote=marked"])
    assert hub.bring(APPROVE, call_id="v-approve") == "approved"


@pytest.mark.parametrize("seen", ["c-1", "c-2", "nothing"])
def test_edit_of_an_approved_row_of_a_marked_item_requires_both_grants_whatever_the_hub_names_as_seen(
    store: DeviceStore, owner: sqlite3.Connection, seen: str
) -> None:
    source = ItemSource(path="notes/a.md", quote="call", start=0, end=4, warnings=["instruction"])
    hub = VerdictHub(store, data={"title": "call Ana", **SUGGESTED}, source=source)
    hub.ask(Action.INSERT, "c-2", data={"title": "call Bo", **SUGGESTED})
    owner.execute("UPDATE tasks SET isApproved = 1")
    row = dict(owner.execute("SELECT * FROM tasks WHERE id = ?", (hub.row,)).fetchone())
    review = RowReview(verdict=EDIT, seen=seen, row=seen_row(TABLES["tasks"], row))
    results = []
    for grant in ("approved", "marked,approved"):
        store.granted([f"+review.remote={grant}"])
        more = {"where": {"id": hub.row}, "review": review, "data": {"title": "pay Eve"}}
        error = hub.ask(Action.REVIEW_APPLY, f"v-{grant}", **more).error
        results.append(error and error.code)
    assert results == [ErrorCode.NOT_GRANTED, None]


def test_remote_verdict_naming_a_marked_project_requires_the_marked_grant(
    hub: VerdictHub, owner: sqlite3.Connection
) -> None:
    source = ItemSource(path="notes/a.md", quote="Move", start=0, end=4, warnings=["instruction"])
    project = {"name": "Move", **SUGGESTED}
    hub.store.apply([ToolCall(id="c-p", action=Action.INSERT, table="projects", data=project, source=source)])
    for verdict in (APPROVE, EDIT):
        assert hub.bring(verdict, titles={"projectId": "move"}) == ErrorCode.NOT_GRANTED
    assert owner.execute("SELECT isApproved FROM projects").fetchone()[0] == 0
    hub.store.granted(["+review.remote=marked"])
    assert hub.bring(APPROVE, titles={"projectId": "move"}) == "approved"


def test_remote_verdict_naming_an_open_project_of_another_hub_is_refused(
    hub: VerdictHub, owner: sqlite3.Connection
) -> None:
    project = {"name": "Move", **SUGGESTED}
    hub.store.apply([ToolCall(id="c-p", action=Action.INSERT, table="projects", data=project)])
    owner.execute("UPDATE reviews SET hub = 'other' WHERE tbl = 'projects'")
    assert hub.bring(APPROVE, titles={"projectId": "move"}) == ErrorCode.BAD_RECORD
    assert owner.execute("SELECT isApproved FROM projects").fetchone()[0] == 0
    owner.execute("UPDATE projects SET isApproved = 1")
    assert hub.bring(APPROVE, titles={"projectId": "move"}) == "approved"


def test_applied_remote_verdict_is_answered_again_after_the_grant_ended(hub: VerdictHub) -> None:
    assert hub.bring(APPROVE, call_id="v-9") == "approved"
    hub.store.granted(["-review.remote"])
    assert (hub.bring(APPROVE, call_id="v-9"), hub.bring(REJECT)) == ("approved", ErrorCode.NOT_GRANTED)


@pytest.mark.parametrize(
    ("verdict", "data"),
    [
        (EDIT, {}),
        (REJECT, {"title": "X"}),
        (UNDO, {"title": "X"}),
        (EDIT, {"isApproved": 1}),
        (EDIT, {"x": 1}),
    ],
)
def test_remote_verdict_with_unexpected_fields_is_refused(
    hub: VerdictHub, owner: sqlite3.Connection, verdict: ReviewVerdict, data: dict[str, Any]
) -> None:
    assert hub.bring(verdict, **data) == ErrorCode.BAD_RECORD
    assert tasks(owner) == [("call Ana", 0)]


def test_remote_verdict_on_a_proposed_change_must_name_the_proposing_call(
    hub: VerdictHub, owner: sqlite3.Connection
) -> None:
    hub.bring(APPROVE)
    hub.ask(Action.UPDATE, "c-2", where={"id": hub.row}, data={"title": "call Bo"})
    assert (hub.bring(APPROVE, seen="c-1"), hub.bring(UNDO, seen="v-1"), hub.bring(APPROVE, seen="c-2")) == (
        ErrorCode.CHANGED_MEANWHILE,
        ErrorCode.CHANGED_MEANWHILE,
        "approved",
    )
    assert tasks(owner) == [("call Bo", 1)]
    assert hub.bring(UNDO, seen="v-4") == "open", "the change waits again"
    assert tasks(owner) == [("call Ana", 1)]
    assert hub.bring(APPROVE, seen="c-2") == "approved"
    assert tasks(owner) == [("call Bo", 1)]
    hub.ask(Action.UPDATE, "c-3", where={"id": hub.row}, data={"title": "call Cy"})
    assert hub.bring(REJECT, seen="c-3") == "approved", "the row stays approved"
    assert (hub.bring(UNDO, seen="v-7"), hub.bring(REJECT, seen="c-3")) == ("open", "approved")
    assert tasks(owner) == [("call Bo", 1)]
    hub.ask(Action.DELETE, "c-4", where={"id": hub.row})
    assert hub.bring(APPROVE, seen="c-4") == ErrorCode.BAD_RECORD, "the device alone approves a deletion"


def test_remote_approval_of_an_incomplete_row_succeeds_with_the_missing_field(store: DeviceStore) -> None:
    hub = VerdictHub(store, table="taskComments", data={"content": "it rained", **SUGGESTED})
    assert hub.bring(APPROVE) == ErrorCode.BAD_RECORD
    made = store.apply(
        [ToolCall(id="c-2", action=Action.INSERT, table="tasks", data={"title": "go out", **SUGGESTED})]
    )
    assert hub.bring(APPROVE, taskId=made[0].result["id"]) == "approved"


def test_each_verdict_moves_the_counter_to_make_a_restored_hub_ask_for_the_row(hub: VerdictHub) -> None:
    review = RowReview(verdict=APPROVE, seen="c-1")
    brought = ToolCall(
        id="v-1", action=Action.REVIEW_APPLY, table="tasks", where={"id": hub.row}, review=review
    )
    more = ToolCall(id="c-2", action=Action.INSERT, table="tasks", data={"title": "x", **SUGGESTED})
    assert [answer.counter for answer in hub.store.apply([brought, more])] == [2, 3]
    assert hub.store.mark.counter == 3
    (page,) = hub.store.apply([ToolCall(id="l-1", action=Action.ROWS_LIST, data={"since": 1})])
    assert [(row["call_id"], row["counter"], row["state"]) for row in page.result["rows"]] == [
        ("c-1", 2, "approved"),
        ("c-2", 3, "open"),
    ]


def test_undo_data_of_remote_verdicts_is_deleted_after_thirty_days(hub: VerdictHub, clock: FakeClock) -> None:
    hub.bring(REJECT)
    clock.advance((KEEP_CALLS + timedelta(days=1)).total_seconds())
    hub.store.prune()
    assert (
        hub.store._db.execute("SELECT count(*) FROM remote_reviews").fetchone()[0],
        hub.bring(UNDO, seen="v-1"),
    ) == (0, ErrorCode.CHANGED_MEANWHILE)


def test_approval_with_a_project_name_creates_the_project_once(
    hub: VerdictHub, owner: sqlite3.Connection
) -> None:
    def projects() -> list[tuple[str, str, int]]:
        query = "SELECT id, name, isApproved FROM projects"
        return [tuple(row) for row in owner.execute(query)]

    assert hub.bring(APPROVE, titles={"projectId": "House"}) == "approved"
    ((made, name, is_approved),) = projects()
    assert (name, is_approved, whole(owner)[0]["projectId"]) == ("House", 1, made)
    assert hub.bring(UNDO, seen="v-1") == "open"
    assert whole(owner)[0]["projectId"] is None
    assert hub.bring(APPROVE, titles={"projectId": "house"}, title="call Bo") == "edited"
    assert (len(projects()), whole(owner)[0]["projectId"]) == (1, made)


def test_comment_is_approved_only_under_an_existing_task(
    store: DeviceStore, owner: sqlite3.Connection
) -> None:
    hub = VerdictHub(store, data={"content": "done by noon", **SUGGESTED}, table="taskComments")
    task = store.apply(
        [ToolCall(id="t-1", action=Action.INSERT, table="tasks", data={"title": "call Ana", **SUGGESTED})]
    )[0].result["id"]
    assert (
        hub.bring(APPROVE, titles={"taskId": "call Bo"}),
        hub.bring(APPROVE, titles={"author": "call Ana"}),
    ) == (ErrorCode.BAD_RECORD, ErrorCode.BAD_RECORD)
    assert (
        hub.bring(REJECT, titles={"taskId": "call Ana"}),
        hub.bring(APPROVE, titles={"taskId": "call Ana"}),
    ) == (ErrorCode.BAD_RECORD, "approved")
    ((found, is_approved),) = owner.execute("SELECT taskId, isApproved FROM taskComments").fetchall()
    assert (found, is_approved) == (task, 1)


ANNA = "agent-anna"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def put_text(store: DeviceStore, text: Any, over: str | None = None, id: str = "w-1", **about: Any) -> Answer:
    data: Record = {"name": "SOUL.md", "content": text, "expected_sha256": over} | about
    return store.apply([ToolCall(id=id, action=Action.FILE_PUT, agent_id=ANNA, data=data)])[0]


def get_text(
    store: DeviceStore, offset: int = 0, *, name: str = "SOUL.md", agent_id: str | None = ANNA
) -> Answer:
    data: Record = {"name": "SOUL.md", "offset": offset}
    return store.apply([ToolCall(id="r-1", action=Action.FILE_GET, agent_id=agent_id, data=data)])[0]


def test_soul_is_returned_with_the_content_hash_only_for_the_own_agent(store: DeviceStore) -> None:
    before = get_text(store)  # a read is not stored: the same call returns the text later
    written = put_text(store, "be kind, Zoë")

    assert (before.error, before.result["sha256"], before.result["content"]) == (None, None, "")
    stored = {
        "name": "SOUL.md",
        "sha256": sha256("be kind, Zoë"),
        "size_bytes": 13,
        "updated_at": 1767603600000,
    }
    assert written.result == stored
    assert get_text(store).result == {**stored, "content": "be kind, Zoë", "offset": 0, "next_offset": None}
    assert get_text(store, agent_id="agent-bo").result["sha256"] is None
    refused = get_text(store, agent_id=None)
    assert _code(refused) == ErrorCode.BAD_PARAMS
    assert refused.error is not None and "agent_id" in refused.error.message


def test_soul_write_with_an_outdated_hash_is_refused(store: DeviceStore) -> None:
    put_text(store, "first")

    assert put_text(store, "second", sha256("first"), "w-2").error is None
    refused = put_text(store, "third", sha256("first"), "w-3")

    assert _code(refused) == ErrorCode.CHANGED_MEANWHILE
    assert refused.error is not None and sha256("second") in refused.error.message
    assert (get_text(store).result["content"], _code(put_text(store, "third", None, "w-4"))) == (
        "second",
        ErrorCode.CHANGED_MEANWHILE,
    )


@pytest.mark.parametrize(
    "text", ["x" * 200_000, '"\\\n' * 60_000, "\u0001" * 20_000, "ä€𝄞" * 30_000], ids=["x", "q", "c", "w"]
)
def test_long_soul_is_returned_in_parts_within_the_answer_limit(store: DeviceStore, text: str) -> None:
    put_text(store, text)

    parts, offset = [], 0
    while True:
        part = get_text(store, offset).result
        assert len(msgspec.json.encode(part)) <= MAX_RESULT_BYTES
        assert (part["offset"], part["sha256"], part["size_bytes"]) == (
            offset,
            sha256(text),
            len(text.encode()),
        )
        parts.append(part["content"])
        if part["next_offset"] is None:
            break
        offset = part["next_offset"]

    assert "".join(parts) == text
    assert len(parts) > 1 and all(len(msgspec.json.encode(part)) <= PART_BYTES for part in parts)


@pytest.mark.parametrize(
    ("about", "word"),
    [
        ({"content": ""}, "SOUL.md has to say something"),
        ({"content": " \n"}, "SOUL.md has to say something"),
        ({"content": "a\0b"}, "without NUL"),
        ({"content": 7}, "Expected `str`, got `int` - at `$.content`"),
        ({"expected_sha256": "abc"}, "$.expected_sha256"),
        ({"name": "AGENTS.md"}, "there is no text 'AGENTS.md', only SOUL.md"),
        ({"name": "../SOUL.md"}, "there is no text '../SOUL.md'"),
    ],
)
def test_soul_with_invalid_parameters_is_refused_with_a_message(
    store: DeviceStore, about: dict[str, Any], word: str
) -> None:
    refused = put_text(store, "text", **about)
    assert _code(refused) == ErrorCode.BAD_PARAMS
    assert refused.error is not None and word in refused.error.message
