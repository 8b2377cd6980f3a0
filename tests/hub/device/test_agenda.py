"""Approved tasks and events of a device: pages by day, grants, and changes by a hub of what its owner saw."""

import re
import sqlite3
from collections.abc import Iterator
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

import protocol
from hub.device.agenda import page_of
from hub.device.device_file import DeviceStore
from hub.device.schema import quoted
from protocol.agenda import NO_DAY, AgendaPage, AgendaQuery, AgendaRow, is_as_seen, seen_row
from protocol.digests import digest_of
from protocol.errors import ErrorCode
from protocol.frame import MAX_RESULT_BYTES, Record
from protocol.items import ReviewVerdict, RowReview
from protocol.tables import SUGGESTED, TABLES, DeviceTable, Filler, problems_of, tables_with
from protocol.tool_calls import Action, Answer, ToolCall

DAY: Final = 86_400_000
NOW: Final = 20_000 * DAY
READ: Final = "+rows.read=tasks,timelines"
ALL: Final = ("+review.remote=approved", READ)


def add(owner: sqlite3.Connection, table: str, *rows: dict[str, Any]) -> None:
    """Insert approved rows, which their owner wrote."""
    for row in rows:
        stored = {"isApproved": 1, "createdAt": NOW, "updatedAt": NOW, **row}
        names = ", ".join(map(quoted, stored))
        marks = ", ".join("?" * len(stored))
        owner.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(stored.values()))


def asked(store: DeviceStore, limit: int = 100, **query: Any) -> AgendaPage:
    """Return the page of a call of a hub that may read the rows."""
    data: Record = msgspec.to_builtins(AgendaQuery(begin=NOW, **query))
    call = ToolCall(id="q-1", action=Action.ROWS_AGENDA, data=data, limit=limit)
    store.granted([READ])
    (answer,) = store.apply([call])
    assert answer.error is None, answer.error
    return msgspec.convert(answer.result, AgendaPage)


def every(store: DeviceStore, limit: int, **query: Any) -> Iterator[AgendaRow]:
    """Yield the rows of all pages."""
    place, row_id = -NO_DAY, ""
    while (page := asked(store, limit, place=place, row_id=row_id, **query)).rows:
        yield from page.rows
        place, row_id = page.rows[-1].place, page.rows[-1].row_id
        if not page.more:
            return


def test_agenda_lists_open_rows_by_day_and_done_ones_by_change(
    store: DeviceStore, owner: sqlite3.Connection
) -> None:
    add(owner, "projects", {"id": "p", "name": "House"})
    add(
        owner,
        "tasks",
        {"id": "t-1", "title": "no day", "projectId": "p", "description": "x" * 9_000},
        {"id": "t-2", "title": "late", "dueDate": NOW - DAY},
        {"id": "t-3", "title": "Über", "dueDate": NOW + DAY},
        {"id": "t-4", "title": "done first", "status": "done", "updatedAt": NOW - 2},
        {"id": "t-5", "title": "done last", "status": "done", "updatedAt": NOW - 1},
        {"id": "t-6", "title": "suggested", "isApproved": 0},
    )
    add(
        owner,
        "timelines",
        {"id": "e-1", "title": "today", "date": NOW},
        {"id": "e-2", "title": "past", "date": NOW - 3},
    )
    assert [row.row_id for row in asked(store).rows] == ["t-2", "e-1", "t-3", "t-1"]
    assert [row.row_id for row in asked(store, is_done=True).rows] == ["t-5", "t-4", "e-2"]
    assert [row.row_id for row in asked(store, text="ÜB").rows] == ["t-3"]
    assert [row.row_id for row in asked(store, text="day no").rows] == ["t-1"]
    assert asked(store, text='"day no"').rows == []
    last = asked(store).rows[-1].data
    assert (last["projectId"], "description" in last) == ("House", False)


def test_pages_of_ten_thousand_rows_have_each_row_once_and_fit_into_an_answer(
    store: DeviceStore, owner: sqlite3.Connection
) -> None:
    owner.execute("BEGIN")
    add(
        owner,
        "tasks",
        *({"id": f"t-{n}", "title": "é" * 100, "dueDate": NOW + n // 3 * DAY} for n in range(10_000)),
    )
    owner.execute("COMMIT")
    first = asked(store)
    assert first.more and len(msgspec.json.encode(first)) < MAX_RESULT_BYTES
    found = [row.row_id for row in every(store, 1_000)]
    assert (len(found), len(set(found))) == (10_000, 10_000)
    plan = owner.execute("EXPLAIN QUERY PLAN SELECT * FROM tasks WHERE id = 't-1'").fetchall()
    assert "SEARCH" in str([tuple(row) for row in plan])  # the other values are read by key


@pytest.mark.parametrize(
    "granted", [(), ("+rows.read=tasks",), ("+rows.read=timelines,notes", "+review.remote")]
)
def test_agenda_without_grants_of_both_tables_is_refused(
    granted: tuple[str, ...], store: DeviceStore
) -> None:
    data: Record = msgspec.to_builtins(AgendaQuery(begin=NOW))
    store.granted(granted)
    (answer,) = store.apply([ToolCall(id="q-1", action=Action.ROWS_AGENDA, data=data)])
    assert answer.error is not None and answer.error.code == ErrorCode.NOT_GRANTED


def test_agenda_with_other_parameters_is_refused(store: DeviceStore) -> None:
    call = ToolCall(id="q-1", action=Action.ROWS_AGENDA, data={"begin": "today"})
    store.granted(ALL)
    (answer,) = store.apply([call])
    assert answer.error is not None and answer.error.code == ErrorCode.BAD_RECORD


class OwnedRow:
    """Task of a hub that its owner has approved, and changes of it by that hub."""

    def __init__(self, store: DeviceStore, owner: sqlite3.Connection) -> None:
        self.store, self.owner = store, owner
        data = {"title": "pay", **SUGGESTED}
        (answer,) = store.apply([ToolCall(id="c-1", action=Action.INSERT, table="tasks", data=data)])
        self.id = answer.result["id"]
        owner.execute("UPDATE tasks SET isApproved = 1")
        (row,) = asked(store).rows
        self.seen = row.seen_row

    def apply(self, id: str, verdict: str = "edit", *, granted: tuple[str, ...] = ALL, **data: Any) -> Answer:
        """Bring a verdict on the row as it was seen first; an undo names the edit before it."""
        is_edit = verdict == "edit"
        review = RowReview(
            verdict=ReviewVerdict(verdict),
            seen="c-1" if is_edit else "v-1",
            row=self.seen if is_edit else None,
        )
        call = ToolCall(
            id=id,
            action=Action.REVIEW_APPLY,
            table="tasks",
            where={"id": self.id},
            data=data,
            review=review,
        )
        self.store.granted(("-review.remote", *granted))
        (answer,) = self.store.apply([call])
        return answer

    @property
    def values(self) -> tuple[str, str]:
        """Title and status."""
        title, status = self.owner.execute("SELECT title, status FROM tasks").fetchone()
        return title, status


def test_edit_of_an_approved_row_is_applied_once_and_taken_back(
    store: DeviceStore, owner: sqlite3.Connection
) -> None:
    row = OwnedRow(store, owner)
    assert row.apply("v-1", status="done").result == {"state": "edited"}
    owner.execute("UPDATE tasks SET title = 'mine'")
    assert row.apply("v-1", status="done").result == {"state": "edited"}  # the same answer, and no change
    assert row.values == ("mine", "done")
    owner.execute("UPDATE tasks SET title = 'pay'")
    assert row.apply("v-2", "undo").result == {"state": "approved"}
    assert row.values == ("pay", "todo")


@pytest.mark.parametrize(
    ("proposed", "state"),
    [
        ({"status": "done"}, "edited"),  # done so: nothing is left to decide
        ({"title": "pay now"}, "open"),
        ({"status": "done", "dueDate": NOW}, "open"),
        (None, "open"),
    ],
)
def test_edit_of_an_approved_row_is_applied_and_taken_back_beside_a_proposed_change(
    proposed: dict[str, Any] | None, state: str, store: DeviceStore, owner: sqlite3.Connection
) -> None:
    row = OwnedRow(store, owner)
    action, data = (Action.DELETE, {}) if proposed is None else (Action.UPDATE, proposed)
    store.apply([ToolCall(id="c-2", action=action, table="tasks", where={"id": row.id}, data=data)])
    assert row.apply("v-1", status="done").result == {"state": state}
    assert row.values == ("pay", "done")
    undone = row.apply("v-2", "undo").result
    assert undone == {"state": "approved" if state == "edited" else "open"}
    assert row.values == ("pay", "todo")
    waiting = owner.execute("SELECT count(*) FROM proposals WHERE NOT is_rejected").fetchone()[0]
    assert waiting == (state == "open")


def test_edit_of_an_approved_row_that_its_owner_changed_is_refused(
    store: DeviceStore, owner: sqlite3.Connection
) -> None:
    row = OwnedRow(store, owner)
    owner.execute("UPDATE tasks SET title = 'mine'")
    refused = row.apply("v-1", status="done")
    assert refused.error is not None and refused.error.code == ErrorCode.CHANGED_MEANWHILE
    assert row.values == ("mine", "todo")
    owner.execute("UPDATE tasks SET status = 'done'")
    assert row.apply("v-3", status="done").result == {"state": "edited"}  # the row has the value already


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", "mine"),
        ("description", "mine"),
        ("status", "done"),
        ("priority", "high"),
        ("dueDate", NOW),
        ("assignee", '["Ann"]'),
        ("projectId", "p-2"),
    ],
)
def test_edit_of_a_field_that_the_owner_changed_since_is_refused(
    field: str, value: object, store: DeviceStore, owner: sqlite3.Connection
) -> None:
    for id in ("p-1", "p-2"):
        add(owner, "projects", {"id": id, "name": id})
    row = OwnedRow(store, owner)
    owner.execute(f"UPDATE tasks SET {quoted(field)} = ?", (value,))
    written: dict[str, Any] = {"dueDate": NOW + 1, "assignee": ["Bo"], "projectId": "p-1"}
    for name in (field, "description"):
        refused = row.apply(f"v-{name}", **{name: written.get(name, "low")})
        assert refused.error is not None and refused.error.code == ErrorCode.CHANGED_MEANWHILE
    assert owner.execute(f"SELECT {quoted(field)} FROM tasks").fetchone()[0] == value


def test_digest_of_a_row_follows_the_name_of_its_project(
    store: DeviceStore, owner: sqlite3.Connection
) -> None:
    add(owner, "projects", {"id": "p-1", "name": "House"})
    row = OwnedRow(store, owner)
    owner.execute("UPDATE tasks SET \"projectId\" = 'p-1'")
    (listed,) = asked(store).rows
    assert (listed.data["projectId"], row.seen == listed.seen_row) == ("House", False)
    row.seen = listed.seen_row
    assert row.apply("v-1", status="done").result == {"state": "edited"}


def test_edit_of_an_approved_row_has_either_digest_of_the_row(
    store: DeviceStore, owner: sqlite3.Connection
) -> None:
    row = OwnedRow(store, owner)
    for verdict, is_sha256 in (("v-1", True), ("v-2", False)):
        (listed,) = asked(store).rows
        row.seen = seen_row(TABLES["tasks"], listed.data, is_sha256=is_sha256)
        assert row.apply(verdict, priority="low" if is_sha256 else "high").result == {"state": "edited"}


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_digest_of_a_row_has_all_fields_of_its_table(table: DeviceTable) -> None:
    empty = seen_row(table, {})
    assert [field.name for field in table.fields if seen_row(table, {field.name: "x"}) == empty] == []


@pytest.mark.parametrize("granted", [(), ("+review.remote",), ("+review.remote=marked",)])
def test_edit_of_an_approved_row_without_its_grant_is_refused(
    granted: tuple[str, ...], store: DeviceStore, owner: sqlite3.Connection
) -> None:
    row = OwnedRow(store, owner)
    refused = row.apply("v-1", granted=granted, status="done")
    assert refused.error is not None and refused.error.code == ErrorCode.NOT_GRANTED
    assert row.values == ("pay", "todo")


def test_edit_of_a_row_that_waits_for_its_owner_is_refused(
    store: DeviceStore, owner: sqlite3.Connection
) -> None:
    row = OwnedRow(store, owner)
    owner.execute("UPDATE tasks SET isApproved = 0")
    refused = row.apply("v-1", status="done")
    assert refused.error is not None and refused.error.code == ErrorCode.CHANGED_MEANWHILE


def test_page_of_agenda_reads_rows_without_a_hub(store: DeviceStore, owner: sqlite3.Connection) -> None:
    add(owner, "tasks", {"id": "t-1", "title": "own"})
    owner.row_factory = sqlite3.Row
    assert [row.data["title"] for row in page_of(owner, AgendaQuery(begin=NOW), 10).rows] == ["own"]


def test_digest_of_a_row_is_the_one_that_the_protocol_spells() -> None:
    page = (Path(protocol.__file__).parent / "PROTOCOL.md").read_text()
    row: Record = {"title": "Café", "updatedAt": 1}
    (spelled,) = re.findall(r"`(\[\"Café\".*?\])` and gives", page)
    for is_sha256, made in (
        (False, blake2b(spelled.encode(), digest_size=16)),
        (True, sha256(spelled.encode())),
    ):
        digest = seen_row(TABLES["tasks"], row, is_sha256=is_sha256)
        assert (made.hexdigest(), digest in page) == (digest, True)


def test_digests_of_the_examples_are_those_of_their_texts() -> None:
    examples = msgspec.json.decode((Path(protocol.__file__).parent / "digests.json").read_bytes())
    tables = tables_with(msgspec.convert(examples["tables"], tuple[DeviceTable, ...]))
    for row in examples["rows"]:
        table, text = tables[row["table"]], row["text"].encode()
        assert seen_row(table, row["row"], is_sha256=True) == sha256(text).hexdigest() == row["sha256"]
        assert seen_row(table, row["row"]) == blake2b(text, digest_size=16).hexdigest() == row["blake2b"]
        assert is_as_seen(table, row["row"], row["sha256"]) and is_as_seen(table, row["row"], row["blake2b"])
        assert not is_as_seen(table, row["row"] | {table.title: "other"}, row["sha256"])
        given = {name: value for name, value in row["row"].items() if name != "updatedAt"}
        assert problems_of(table, given, frozenset({Filler.MODEL, Filler.PERSON})) == []
    for value in examples["values"]:
        assert digest_of(value["value"]) == sha256(value["text"].encode()).hexdigest() == value["sha256"]
