"""Verdicts that an owner gave elsewhere: applied at the device once, and only to what the owner saw."""

import shutil
import sqlite3
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, get_args

import pytest

from hub.clock import IdFactory
from hub.device.inserts import KEEP_CALLS, DeviceStore, open_device_store
from hub.device.owner import approve
from protocol.errors import ErrorCode
from protocol.frame import Record
from protocol.tables import SUGGESTED
from protocol.work import Action, Answer, ItemSource, Mark, ReviewVerdict, RowReview, ToolCall, Unsure
from tests.support.clock import FakeClock

APPROVE, EDIT, REJECT, UNDO = ReviewVerdict


class Hub:
    """A hub that wrote row *row* by call c-1, and brings verdicts on it, numbered v-1, v-2, ..."""

    def __init__(self, store: DeviceStore, *, data: Record, table: str = "tasks", **more: Any) -> None:
        self.store, self.table = store, table
        store.granted(["+review.remote"])
        self.row = self.send(Action.INSERT, "c-1", data=data, **more).result["id"]
        self._numbers = count(1)

    def send(self, action: Action, call_id: str, **more: Any) -> Answer:
        return self.store.apply([ToolCall(id=call_id, action=action, table=self.table, **more)])[0]

    def bring(
        self,
        verdict: ReviewVerdict,
        *,
        seen: str = "c-1",
        call_id: str | None = None,
        titles: Any = None,
        **data: Any,
    ) -> Any:
        """Bring a verdict; return the row's state, or the code of the refusal."""
        id = call_id or f"v-{next(self._numbers)}"
        review = RowReview(verdict=verdict, seen=seen, titles=titles or {})
        answer = self.send(Action.REVIEW_APPLY, id, where={"id": self.row}, review=review, data=data)
        return answer.error.code if answer.error is not None else answer.result["state"]


@pytest.fixture
def hub(store: DeviceStore) -> Hub:
    return Hub(store, data={"title": "call Ana", **SUGGESTED})


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
    hub: Hub,
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


def test_a_call_that_comes_again_is_answered_and_not_applied_again(
    hub: Hub, owner: sqlite3.Connection, db: Path, clock: FakeClock, ids: IdFactory, tmp_path: Path
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
def test_what_the_owner_did_meanwhile_is_a_conflict_and_stays(
    hub: Hub, owner: sqlite3.Connection, said: str, verdict: ReviewVerdict
) -> None:
    owner.execute(said)
    before = whole(owner)
    data = {"title": "call Bo"} if verdict is EDIT else {}
    assert hub.bring(verdict, **data) == ErrorCode.CHANGED_MEANWHILE
    assert whole(owner) == before
    assert len(hub.store.unreported(9)) == 1, "the owner's own verdict is still reported"


@pytest.mark.parametrize("said", ["UPDATE tasks SET title = 'X'", "DELETE FROM tasks"])
def test_a_verdict_is_not_undone_once_the_owner_has_changed_the_row(
    hub: Hub, owner: sqlite3.Connection, said: str
) -> None:
    hub.bring(APPROVE)
    owner.execute(said)
    before = whole(owner)
    assert hub.bring(UNDO, seen="v-1") == ErrorCode.CHANGED_MEANWHILE
    assert whole(owner) == before


def test_a_verdict_on_an_earlier_version_of_the_row_is_a_conflict(
    hub: Hub, owner: sqlite3.Connection
) -> None:
    hub.send(Action.UPDATE, "c-2", where={"id": hub.row}, data={"title": "call Cy"})
    assert hub.bring(APPROVE, seen="c-1") == ErrorCode.CHANGED_MEANWHILE
    assert tasks(owner) == [("call Cy", 0)]
    assert hub.bring(APPROVE, seen="c-2") == "approved"


def test_only_the_newest_verdict_is_undone_and_only_once(hub: Hub) -> None:
    hub.bring(APPROVE)
    hub.bring(UNDO, seen="v-1")
    hub.bring(REJECT)
    assert (hub.bring(UNDO, seen="v-1"), hub.bring(UNDO, seen="v-3"), hub.bring(UNDO, seen="v-3")) == (
        ErrorCode.CHANGED_MEANWHILE,
        "open",
        ErrorCode.CHANGED_MEANWHILE,
    )


def test_without_the_grant_nothing_is_done_and_the_same_call_may_come_later(
    hub: Hub, owner: sqlite3.Connection
) -> None:
    hub.store.granted(["-review.remote"])
    assert hub.bring(APPROVE, call_id="v-9") == ErrorCode.NOT_GRANTED
    assert tasks(owner) == [("call Ana", 0)]
    hub.store.granted(["+review.remote"])
    assert hub.bring(APPROVE, call_id="v-9") == "approved"


@pytest.mark.parametrize("mark", get_args(Mark))
def test_an_item_with_a_mark_is_approved_and_changed_by_a_hub_only_where_its_owner_grants_that(
    store: DeviceStore, mark: Mark
) -> None:
    source = ItemSource(path="notes/a.md", quote="call", start=0, end=4, warnings=[mark])
    hub = Hub(store, data={"title": "call Ana", **SUGGESTED}, source=source)
    for verdict in (APPROVE, EDIT):
        data = {"title": "call Ann"} if verdict is EDIT else {}
        assert hub.bring(verdict, call_id=f"v-{verdict}", **data) == ErrorCode.NOT_GRANTED
    assert (hub.bring(REJECT, call_id="v-8"), hub.bring(UNDO, seen="v-8")) == ("rejected", "open")
    store.granted(["+review.remote=marked"])
    assert hub.bring(APPROVE, call_id="v-approve") == "approved"


@pytest.mark.parametrize("kind", get_args(Unsure))
def test_an_unsure_item_is_approved_and_changed_by_a_hub_as_any_other(
    store: DeviceStore, kind: Unsure
) -> None:
    source = ItemSource(path="notes/a.md", quote="call", start=0, end=4, unsure=kind)
    hub = Hub(store, data={"title": "call Ana", **SUGGESTED}, source=source)
    assert hub.bring(EDIT, call_id="v-edit", title="call Ann") == "edited"
    assert (hub.bring(UNDO, seen="v-edit"), hub.bring(APPROVE, call_id="v-a")) == ("open", "approved")


def test_a_verdict_that_names_a_marked_project_by_its_title_needs_the_grant_for_marked_items(
    hub: Hub, owner: sqlite3.Connection
) -> None:
    source = ItemSource(path="notes/a.md", quote="Move", start=0, end=4, warnings=["instruction"])
    project = {"name": "Move", **SUGGESTED}
    hub.store.apply([ToolCall(id="c-p", action=Action.INSERT, table="projects", data=project, source=source)])
    for verdict in (APPROVE, EDIT):
        assert hub.bring(verdict, titles={"projectId": "move"}) == ErrorCode.NOT_GRANTED
    assert owner.execute("SELECT isApproved FROM projects").fetchone()[0] == 0
    hub.store.granted(["+review.remote=marked"])
    assert hub.bring(APPROVE, titles={"projectId": "move"}) == "approved"


def test_a_verdict_that_names_the_suggested_project_of_another_hub_is_refused_until_it_is_approved(
    hub: Hub, owner: sqlite3.Connection
) -> None:
    project = {"name": "Move", **SUGGESTED}
    hub.store.apply([ToolCall(id="c-p", action=Action.INSERT, table="projects", data=project)])
    owner.execute("UPDATE reviews SET hub = 'other' WHERE tbl = 'projects'")
    assert hub.bring(APPROVE, titles={"projectId": "move"}) == ErrorCode.BAD_RECORD
    assert owner.execute("SELECT isApproved FROM projects").fetchone()[0] == 0
    owner.execute("UPDATE projects SET isApproved = 1")
    assert hub.bring(APPROVE, titles={"projectId": "move"}) == "approved"


def test_a_verdict_that_was_applied_has_its_answer_after_its_owner_has_withdrawn_the_grant(hub: Hub) -> None:
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
def test_a_verdict_with_fields_that_it_does_not_take_is_refused(
    hub: Hub, owner: sqlite3.Connection, verdict: ReviewVerdict, data: dict[str, Any]
) -> None:
    assert hub.bring(verdict, **data) == ErrorCode.BAD_RECORD
    assert tasks(owner) == [("call Ana", 0)]


def test_a_proposed_change_is_accepted_or_rejected_by_its_own_call(
    hub: Hub, owner: sqlite3.Connection
) -> None:
    hub.bring(APPROVE)
    hub.send(Action.UPDATE, "c-2", where={"id": hub.row}, data={"title": "call Bo"})
    assert (hub.bring(APPROVE, seen="c-1"), hub.bring(UNDO, seen="v-1"), hub.bring(APPROVE, seen="c-2")) == (
        ErrorCode.CHANGED_MEANWHILE,
        ErrorCode.CHANGED_MEANWHILE,
        "approved",
    )
    assert tasks(owner) == [("call Bo", 1)]
    hub.send(Action.UPDATE, "c-3", where={"id": hub.row}, data={"title": "call Cy"})
    assert hub.bring(REJECT, seen="c-3") == "approved", "the row stays approved"
    assert tasks(owner) == [("call Bo", 1)]
    hub.send(Action.DELETE, "c-4", where={"id": hub.row})
    assert hub.bring(APPROVE, seen="c-4") == ErrorCode.BAD_RECORD, "the device alone approves a deletion"


def test_a_row_that_lacks_what_approval_needs_is_approved_with_it(store: DeviceStore) -> None:
    hub = Hub(store, table="taskComments", data={"content": "it rained", **SUGGESTED})
    assert hub.bring(APPROVE) == ErrorCode.BAD_RECORD
    made = store.apply(
        [ToolCall(id="c-2", action=Action.INSERT, table="tasks", data={"title": "go out", **SUGGESTED})]
    )
    assert hub.bring(APPROVE, taskId=made[0].result["id"]) == "approved"


def test_each_verdict_moves_the_counter_so_that_a_restored_hub_asks_for_the_row(hub: Hub) -> None:
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


def test_what_undoing_needs_is_deleted_after_thirty_days(hub: Hub, clock: FakeClock) -> None:
    hub.bring(REJECT)
    clock.advance((KEEP_CALLS + timedelta(days=1)).total_seconds())
    hub.store.prune()
    assert (
        hub.store._db.execute("SELECT count(*) FROM remote_reviews").fetchone()[0],
        hub.bring(UNDO, seen="v-1"),
    ) == (0, ErrorCode.CHANGED_MEANWHILE)


def test_a_row_is_put_under_a_project_by_its_name_which_is_made_once(
    hub: Hub, owner: sqlite3.Connection
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


def test_a_comment_is_put_under_a_task_that_is_there_alone(
    store: DeviceStore, owner: sqlite3.Connection
) -> None:
    hub = Hub(store, data={"content": "done by noon", **SUGGESTED}, table="taskComments")
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
