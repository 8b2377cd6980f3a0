"""Rows that are their owner's: a hub proposes, the owner decides; until then their text stays as it is."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from hub.device.device_file import DeviceStore, connect_shared
from hub.device.items import read_items
from hub.device.owner import approve, reject
from hub.device.proposals import Proposal
from hub.device.sinks.sink import Sink
from hub.device.sinks.sync import synchronize
from hub.device.sinks.text_file import TextFile
from hub.text.rows.lines import Markdown
from protocol.errors import ErrorCode
from protocol.frame import Record
from protocol.items import ItemSource, Provenance, ProvenanceOrigin
from protocol.tables import SUGGESTED
from protocol.tool_calls import Action, ToolCall
from tests.support.clock import FakeClock
from tests.support.scripted_hub import HubCalls

OWN = (
    "INSERT INTO tasks (id, title, description, createdAt, updatedAt)"
    " VALUES ('own', 'see a doctor', 'on Monday', 1, 1)"
)
PROPOSED: Record = {"title": "call Bo", "dueDate": 1_767_949_200_000}
CHANGED: Record = {**PROPOSED, **SUGGESTED}


@pytest.fixture
def hub(store: DeviceStore) -> HubCalls:
    return HubCalls(store)


def approved(hub: HubCalls, db: Path) -> dict[str, Any]:
    """Insert a row, which its owner approves; the hub hears of that."""
    made = hub.insert()
    approve(db, [1], at_ms=5)
    hub.store.note_reported(hub.store.unreported(9))
    return made


def titles(owner: sqlite3.Connection) -> list[tuple[str, int]]:
    return [(row["title"], row["isApproved"]) for row in owner.execute("SELECT * FROM tasks ORDER BY title")]


def words(store: DeviceStore) -> dict[str, str]:
    return {one.call_id: one.verdict for one in store.unreported(100)}


def test_hub_cannot_approve_rows_by_insert_or_update(hub: HubCalls, owner: sqlite3.Connection) -> None:
    made = hub.insert(isApproved=1, isAiSuggested=0)
    assert titles(owner) == [("call Ana", 0)]
    for flags in ({"isApproved": 1}, {"isAiSuggested": 0}):
        assert hub.refusal(Action.UPDATE, where=made, data=flags) == ErrorCode.BAD_RECORD
    assert titles(owner) == [("call Ana", 0)]


@pytest.mark.parametrize(
    "said", ["isApproved = 1", "title = 'call Ana today'", "isApproved = 1, title = 'X'"]
)
def test_hub_change_of_an_approved_or_edited_row_is_only_proposed(
    hub: HubCalls, owner: sqlite3.Connection, said: str
) -> None:
    made = hub.insert()
    owner.execute(f"UPDATE tasks SET {said}")
    before = titles(owner)
    assert (
        hub.ask(Action.UPDATE, where=made, data=CHANGED).result,
        hub.ask(Action.DELETE, where=made).result,
    ) == ({"updated": 0, "proposed": 1}, {"deleted": 0, "proposed": 1})
    assert titles(owner) == before


@pytest.mark.parametrize("approved", [0, 1])
def test_change_of_a_suggested_project_is_only_proposed_below_an_approved_task(
    store: DeviceStore, owner: sqlite3.Connection, approved: int
) -> None:
    projects = HubCalls(store, table="projects")
    project = projects.ask(Action.INSERT, data={"name": "Home", **SUGGESTED}).result
    HubCalls(store).ask(
        Action.INSERT, "c-t", data={"title": "paint", "projectId": project["id"], **SUGGESTED}
    )
    owner.execute("UPDATE tasks SET isApproved = ?", (approved,))
    result = projects.ask(Action.UPDATE, where=project, data={"name": "Evil"}).result
    (name,) = owner.execute("SELECT name FROM projects").fetchone()
    assert ("proposed" in result, name) == ((True, "Home") if approved else (False, "Evil"))


TICK: Record = {"status": "done"}


@pytest.mark.parametrize(
    ("line", "more", "changes", "is_applied"),
    [
        ("- [x] call Ana", {}, TICK, True),
        ("2. [X] call Ana on Friday", {}, TICK, True),
        ("> [X] call Ana", {}, TICK, False),
        ("> [X] call Ana", {"is_open": True}, TICK, False),
        ("- [ ] call Ana\n> - [x] call Ana", {}, TICK, False),
        ("---\nsource: https://a.example\n---\n- [x] call Ana", {}, TICK, False),
        ("x (A) call Ana", {}, TICK, True),
        ("x 2026-11-28 2026-11-20 call Ana pri:A", {"quote": "(A) 2026-11-20 call Ana"}, TICK, True),
        ("[x] call Ana", {}, TICK, True),
        ("1.[x] call Ana", {}, TICK, True),
        ("(x) call Ana", {}, TICK, True),
        ("- \u2611 call Ana", {}, TICK, True),
        ("* DONE call Ana", {}, TICK, True),
        ("- DONE: call Ana", {}, TICK, True),
        ("[] call Ana", {}, TICK, False),
        ("( ) call Ana", {}, TICK, False),
        ("- \u2610 call Ana", {}, TICK, False),
        ("- TODO call Ana", {}, TICK, False),
        ("- [ ] call Ana", {}, TICK, False),
        ("call Ana", {}, TICK, False),
        ("- [x] call Bo\n- [ ] call Ana", {}, TICK, False),
        ("- [x] call Bo", {}, TICK, False),
        ("- [x] call Ana", {}, TICK | {"dueDate": None}, False),
        ("- [x] call Ana", {}, {"status": "in_progress"}, False),
        ("- [x] call Ana", {"path": "notes/../a.md"}, TICK, False),
        ("- [x] call Ana", {"path": "mail/a.md"}, TICK, False),
        (
            "- [x] call Ana",
            {"provenance": Provenance(origin=ProvenanceOrigin.MAIL, author="Eve", trusted=False)},
            TICK,
            False,
        ),
        ("- [x] call Ana", {"is_open": True}, TICK, True),
        ("- [x] call Ana", {"is_open": True}, TICK | {"dueDate": 6}, False),
        ("- [ ] call Ana", {"is_open": True}, TICK, False),
        ("- [x] call Ana and Bo @home", {"is_open": True}, TICK, True),
        ("- [x] call Ana", {"is_open": True, "title": "Call  **ANA**"}, TICK, True),
        ("- [x] call Ana", {"is_open": True, "title": "pay Eve"}, TICK, False),
        ("- [x] call Ana", {"title": "pay Eve"}, TICK, True),
        ("- [x] call Ana", {"is_open": True, "warnings": ["instruction"]}, TICK, False),
        ("- [x] call Ana", {"is_moved": True}, TICK, True),
    ],
)
def test_tick_typed_by_the_owner_into_a_task_line_needs_no_approval(
    hub: HubCalls,
    db: Path,
    owner: sqlite3.Connection,
    tmp_path: Path,
    line: str,
    more: dict[str, Any],
    changes: Record,
    is_applied: bool,
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    hub.store.name_roots([str(notes)])
    (notes / "a.md").write_text(f"{line}\n")
    more = dict(more)
    is_open, is_moved = more.pop("is_open", False), more.pop("is_moved", False)
    title = more.pop("title", "call Ana")
    place: dict[str, Any] = {"path": "notes/a.md", "quote": "call Ana", "start": 6, "end": 14}
    source = ItemSource(**place | more)
    data = {"title": title, "dueDate": 5, **SUGGESTED}
    made = hub.ask(Action.INSERT, data=data, source=source).result
    owner.execute("UPDATE tasks SET isApproved = ?", (not is_open,))
    if is_moved:
        (notes / "a.md").rename(notes / "moved.md")
    result = hub.ask(Action.UPDATE, where=made, data=changes, source=ItemSource(**place)).result
    assert ("proposed" not in result) == (is_applied or is_open)
    status, is_approved = owner.execute("SELECT status, isApproved FROM tasks").fetchone()
    assert status == ("done" if is_applied or is_open else "todo")
    assert is_approved == (is_applied or not is_open)
    if is_applied:
        assert words(hub.store) == {"c-2": "approved"}
    sink = Sink("list", TextFile(tmp_path / "list.md", Markdown()), ("tasks",), kind="markdown")
    with connect_shared(db) as shared:
        written = synchronize(shared, sink, FakeClock().now()).written
    assert written == (not is_open and not is_applied), "what was ticked at once goes nowhere else"


def test_an_accepted_change_is_reported_to_the_hub(
    hub: HubCalls, owner: sqlite3.Connection, store: DeviceStore, db: Path
) -> None:
    made = approved(hub, db)
    hub.ask(Action.UPDATE, where=made, data={"title": "call Cy"})
    hub.ask(Action.UPDATE, where=made, data=CHANGED)  # the newest of a row is the one that waits
    (item,) = read_items(db)
    assert item.proposal == Proposal("c-3", PROPOSED)
    assert words(store) == {}
    assert approve(db, [1], at_ms=9).done == ["approved: call Bo"]
    assert titles(owner) == [("call Bo", 1)]
    assert read_items(db)[0].proposal is None
    assert words(store) == {"c-3": "approved"}


def test_item_with_a_proposed_change_shows_the_quote_of_the_proposal(hub: HubCalls, db: Path) -> None:
    old = ItemSource(path="docs/plan.md", quote="by Thursday", start=5, end=16)
    made = hub.ask(Action.INSERT, data={"title": "call Ana", **SUGGESTED}, source=old).result
    assert isinstance(made, dict)
    approve(db, [1], at_ms=5)
    assert read_items(db)[0].quote == "by Thursday"
    new = ItemSource(path="docs/plan.md", quote="by Friday", start=7, end=16, warnings=["outside"])
    hub.ask(Action.UPDATE, where=made, data=PROPOSED, source=new)
    (item,) = read_items(db)
    assert (item.quote, item.start, item.end) == ("by Friday", 7, 16)
    assert item.remarks.warnings == ["outside"], "the change is by somebody else"
    reject(db, [1])
    (item,) = read_items(db)
    assert (item.quote, item.remarks.warnings) == ("by Thursday", [])
    hub.ask(Action.DELETE, where=made)
    assert read_items(db)[0].quote == "by Thursday", "a deletion quotes nothing"


def test_an_owner_accepts_a_change_and_gives_the_row_a_project(
    hub: HubCalls, owner: sqlite3.Connection, db: Path
) -> None:
    made = approved(hub, db)
    hub.ask(Action.UPDATE, where=made, data=CHANGED)
    told = approve(db, [1], at_ms=9, fields={"project": "House"}).done
    assert told == ["approved: call Bo; the project 'House' is new"]
    assert titles(owner) == [("call Bo", 1)]
    belongs = owner.execute("SELECT projects.name FROM tasks JOIN projects ON projectId = projects.id")
    assert belongs.fetchone()["name"] == "House"
    assert [row["name"] for row in hub.query(table="projects")] == ["House"]


def test_project_named_by_the_owner_is_the_approved_one_and_no_suggestion_of_its_title(
    hub: HubCalls, owner: sqlite3.Connection, db: Path
) -> None:
    made = approved(hub, db)
    hub.ask(Action.UPDATE, where=made, data=CHANGED)
    owner.execute(
        "INSERT INTO projects (id, name, isApproved, createdAt, updatedAt) VALUES ('own', 'House', 1, 1, 1)"
    )
    assert hub.ask(Action.INSERT, table="projects", data={"name": "House"}).error is None
    told = approve(db, [1], at_ms=9, fields={"project": "House"}).done
    assert told == ["approved: call Bo"]
    assert [id for (id,) in owner.execute("SELECT projectId FROM tasks").fetchall()] == ["own"]


def test_row_with_owner_edits_remains_hidden_after_an_accepted_change(
    hub: HubCalls, owner: sqlite3.Connection, db: Path
) -> None:
    made = hub.insert()
    owner.execute("UPDATE tasks SET description = 'a secret', isApproved = 1")
    hub.ask(Action.UPDATE, where=made, data=CHANGED)
    approve(db, [1], at_ms=9)
    owner.execute("UPDATE tasks SET isApproved = 0")
    assert (hub.query(), hub.ask(Action.DELETE, where=made).result) == ([], {"deleted": 0, "proposed": 1})


def test_rejected_change_leaves_the_approved_row(
    hub: HubCalls, owner: sqlite3.Connection, store: DeviceStore, db: Path
) -> None:
    made = approved(hub, db)
    hub.ask(Action.UPDATE, where=made, data=CHANGED)
    reject(db, [1])
    assert (titles(owner), read_items(db)[0].proposal) == ([("call Ana", 1)], None)
    assert words(store) == {"c-2": "approved"}, "the row is what it was"
    store.note_reported(store.unreported(9))
    assert words(store) == {}


def test_update_to_current_values_makes_no_proposal_and_reports_the_verdict(
    hub: HubCalls, owner: sqlite3.Connection, store: DeviceStore, db: Path
) -> None:
    made = approved(hub, db)
    assert hub.ask(Action.UPDATE, where=made, data={"title": "call Ana"}).result == {"updated": 0}
    assert (read_items(db)[0].proposal, words(store)) == (None, {"c-2": "approved"})
    hub.ask(Action.UPDATE, where=made, data={"status": "todo", **CHANGED})
    assert read_items(db)[0].proposal == Proposal("c-3", PROPOSED), "what differs alone is proposed"


@pytest.mark.parametrize("by_program", [False, True])
def test_approved_row_with_a_proposed_change_can_be_deleted_by_the_owner(
    hub: HubCalls, owner: sqlite3.Connection, store: DeviceStore, db: Path, by_program: bool
) -> None:
    made = approved(hub, db)
    hub.ask(Action.UPDATE, where=made, data=CHANGED)
    if by_program:
        owner.execute("DELETE FROM tasks")
    else:
        assert reject(db, [1], deletes=True).done == ["deleted: call Ana"]
    assert titles(owner) == []
    assert words(store) == {"c-1": "rejected", "c-2": "rejected"}


def test_owner_accepts_the_deletion_of_a_row(hub: HubCalls, owner: sqlite3.Connection, db: Path) -> None:
    made = hub.insert()
    approve(db, [1], at_ms=5)
    hub.ask(Action.DELETE, where=made)
    (refused,) = approve(db, [1], at_ms=9).refused
    assert "the hub would delete it; to agree, add --deletions" in refused
    assert titles(owner) == [("call Ana", 1)]
    assert approve(db, [1], at_ms=9, deletes=True).done == ["deleted: call Ana"]
    assert titles(owner) == []


def test_update_call_matching_several_rows_is_refused(hub: HubCalls, owner: sqlite3.Connection) -> None:
    hub.insert()
    hub.insert("pay the rent")
    assert hub.refusal(Action.UPDATE, where={"isApproved": 0}, data={"title": "x"}) == ErrorCode.BAD_RECORD
    assert titles(owner) == [("call Ana", 0), ("pay the rent", 0)]


def test_hub_query_returns_open_rows_fully_and_approved_tasks_with_names_only(
    hub: HubCalls, owner: sqlite3.Connection
) -> None:
    owner.execute(OWN)
    hub.insert(description="soon")
    hub.insert("pay the rent", description="to Mr Li")
    owner.execute("UPDATE tasks SET isApproved = 1 WHERE title = 'pay the rent'")
    told = {row["title"]: row for row in hub.query()}
    assert (told["call Ana"]["description"], told["see a doctor"], {*told["pay the rent"]}) == (
        "soon",
        {"id": "own", "title": "see a doctor", "isApproved": 1},
        {"id", "title", "isApproved"},
    )


def test_hub_query_reveals_no_other_field_or_table_of_approved_rows(
    hub: HubCalls, owner: sqlite3.Connection
) -> None:
    owner.execute(OWN)
    assert (
        hub.query(where={"description": "on Monday"}),
        hub.query(data={"fields": ["title", "description"]}),
    ) == ([], [])
    hub.ask(Action.INSERT, table="notes", data={"title": "diary", "content": "dear diary", **SUGGESTED})
    owner.execute("UPDATE notes SET isApproved = 1")
    assert (hub.query(table="notes"), hub.query(table="notes", where={"title": "diary"})) == ([], [])
    assert (
        hub.refusal(Action.UPDATE, table="notes", where={"title": "diary"}, data={"content": "x"})
        == ErrorCode.DATABASE_CONFLICT
    )


def test_a_hub_gets_no_verdicts_on_rows_of_another_hub(hub: HubCalls, store: DeviceStore, db: Path) -> None:
    store.meet("one")
    hub.insert()
    store.meet("two")
    approve(db, [1], at_ms=5)
    assert words(store) == {}
    store.meet("one")
    assert words(store) == {"c-1": "approved"}


def test_call_id_used_by_another_hub_is_refused_as_duplicate(hub: HubCalls, store: DeviceStore) -> None:
    call = ToolCall(id="same", action=Action.INSERT, table="tasks", data={"title": "call Ana", **SUGGESTED})
    store.meet("one")
    (first,) = store.apply([call])
    store.meet("two")
    (other,) = store.apply([call])
    assert other.error is not None and other.error.code == ErrorCode.DUPLICATE_ID
    store.meet("one")
    assert store.apply([call]) == [first]
