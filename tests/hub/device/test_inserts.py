"""The device's file: row and answer together, each call once, wrong records refused in words."""

import os
import signal
import sqlite3
import subprocess
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hub.clock import IdFactory
from hub.device.inbox import DeviceItem, read_items
from hub.device.inserts import KEEP_CALLS, DeviceFileError, DeviceStore, open_device_store
from hub.device.rows import Remarks
from protocol.errors import ErrorCode
from protocol.frame import Record
from protocol.tables import SUGGESTED, TABLES
from protocol.work import Action, Answer, ItemSource, ToolCall
from tests.support.clock import FakeClock
from tests.support.coded import coded

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


def test_an_insert_is_a_row_with_an_id_of_the_devices_own(store: DeviceStore) -> None:
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
def test_every_table_takes_a_suggestion(store: DeviceStore, table: str) -> None:
    title = next(t.title for t in TABLES.values() if t.name == table)

    when = {"date": 1_764_583_200_000} if table == "timelines" else {}
    (answer,) = store.apply([_insert("c-1", {title: "something", **when, **SUGGESTED}, table)])

    assert answer.error is None
    assert len(_rows(store, table)) == 1


@pytest.mark.parametrize("assignee", [["Ana", "Bo"], '["Ana", "Bo"]'])
def test_names_are_a_list_however_they_come(store: DeviceStore, assignee: Any) -> None:
    store.apply([_insert("c-1", {**CALL_ANA, "assignee": assignee})])

    assert _ask(store, Action.QUERY, table="tasks").result["rows"][0]["assignee"] == ["Ana", "Bo"]


def test_a_call_that_comes_again_is_answered_and_not_done_again(store: DeviceStore) -> None:
    first = store.apply([_insert("c-1")])

    again = store.apply([_insert("c-1", {"title": "Another text", **SUGGESTED})])

    assert again == first
    assert [row["title"] for row in _rows(store, "tasks")] == ["Call Ana"]


def test_a_call_twice_in_one_batch_is_done_once(store: DeviceStore) -> None:
    first, second = store.apply([_insert("c-1"), _insert("c-1")])

    assert first == second
    assert len(_rows(store, "tasks")) == 1


def test_a_refusal_is_kept_like_any_answer_and_leaves_its_neighbours_alone(store: DeviceStore) -> None:
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
def test_a_table_that_is_not_one_of_the_five_is_refused(store: DeviceStore, table: str | None) -> None:
    (answer,) = store.apply([ToolCall(id="c-1", action=Action.INSERT, table=table, data=CALL_ANA)])

    assert _code(answer) == ErrorCode.UNKNOWN_TABLE


def test_a_row_cannot_refer_to_one_that_is_not_there(store: DeviceStore) -> None:
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
def test_what_names_no_row_or_every_row_is_refused(
    store: DeviceStore, action: Action, asked: dict[str, Any], code: ErrorCode
) -> None:
    store.apply([_insert("c-1")])

    assert (
        _code(_ask(store, action, table="tasks", **asked)),
        [row["title"] for row in _rows(store, "tasks")],
    ) == (code, ["Call Ana"])


def test_an_answer_that_would_not_fit_a_frame_asks_for_fewer_rows(store: DeviceStore) -> None:
    long_note: Record = {"title": "long", "content": "x" * 30_000, **SUGGESTED}
    store.apply([_insert(f"c-{n}", long_note, "notes") for n in range(3)])

    assert (
        _code(_ask(store, Action.QUERY, table="notes")),
        len(_ask(store, Action.QUERY, table="notes", limit=2).result["rows"]),
    ) == (ErrorCode.RESULT_TOO_LARGE, 2)


def test_a_query_may_wish_for_the_newest_rows_and_for_some_fields_alone(
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


def test_every_row_can_be_traced_to_the_words_it_came_from(store: DeviceStore, db: Path) -> None:
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


def test_items_are_read_after_the_device_has_stopped_and_none_where_there_is_no_file(
    db: Path, clock: FakeClock, ids: IdFactory
) -> None:
    assert read_items(db) == []
    db.parent.mkdir()
    db.touch()  # as a device that has just begun leaves it
    assert read_items(db) == []
    with open_device_store(db, clock=clock, ids=ids) as store:
        store.apply([_insert("c-1")])

    assert [item.title for item in read_items(db)] == ["Call Ana"]


def test_a_file_that_was_closed_still_knows_its_calls(db: Path, clock: FakeClock, ids: IdFactory) -> None:
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


def test_the_answer_to_a_change_is_stored_however_old_it_is(
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
def test_a_file_of_another_version_is_left_alone(
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


def test_the_file_is_its_owners_alone(store: DeviceStore, db: Path) -> None:
    assert db.stat().st_mode & 0o077 == 0


def test_a_shared_folder_keeps_its_name_whatever_else_is_shared(
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
from hub.clock import IdFactory, SystemChance, SystemClock
from hub.device.inserts import open_device_store
from protocol.work import Action, ReviewVerdict, RowReview, ToolCall

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


def test_a_device_that_is_killed_has_both_row_and_answer_or_neither(
    db: Path, clock: FakeClock, ids: IdFactory
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _CALLS_UNTIL_KILLED, str(db)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert child.stdout is not None
    answered = [int(child.stdout.readline()) for _ in range(20)]
    child.send_signal(signal.SIGKILL)
    child.stdout.close()
    child.wait()

    with open_device_store(db, clock=clock, ids=ids) as store:
        tasks, calls = _rows(store, "tasks"), _rows(store, "calls")
        inserts = {row["call_id"]: row["row_id"] for row in calls if row["action"] == "insert"}
        assert {row["title"]: row["id"] for row in tasks} == inserts
        approved = {f"v{row['title'][1:]}" for row in tasks if row["isApproved"]}
        assert approved == {row["call_id"] for row in calls if row["action"] == "review.apply"}
        assert {f"{kind}-{number}" for number in answered for kind in "cv"} <= {*inserts, *approved}
        store.apply([_insert(call_id) for call_id in inserts])
        assert len(_rows(store, "tasks")) == len(inserts)
