"""What an owner said to rows that a hub wrote: seen in the file, whatever program they used."""

import shutil
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from hub.base.clock import IdFactory
from hub.device.device_file import DeviceFileError, DeviceStore, connect_shared, open_device_store
from hub.device.inbox import Inbox
from hub.device.items import read_items
from hub.device.owner import approve, edit, reject
from hub.device.reporting import POLL_EVERY_S
from hub.device.sending_log import SendingOrder, open_sending_log, read_faults
from hub.device.sinks.sink import Sink
from hub.device.sinks.sync import synchronize
from hub.device.sinks.text_file import TextFile
from hub.device.verdicts import Remarks, RowVerdict
from hub.text.rows.lines import Markdown
from protocol.coordination import Method, Request, Response
from protocol.errors import ErrorCode
from protocol.frame import ErrorBody, Record
from protocol.items import Changed, ItemSource, Unresolved
from protocol.tables import SUGGESTED
from protocol.tool_calls import Action, ToolCall
from tests.hub.device.test_inbox import COUNTED
from tests.support.clock import FakeClock
from tests.support.device import RunningDevice
from tests.support.scripted_hub import Guest
from tests.support.wire import until


def insert(call_id: str, title: str = "call Ana", **more: Any) -> ToolCall:
    data = {"title": title, **SUGGESTED}
    return ToolCall(id=call_id, action=Action.INSERT, table="tasks", data=data, **more)


def words(store: DeviceStore) -> dict[str, str]:
    return {one.call_id: one.verdict for one in store.unreported(100)}


def test_verdicts_follow_from_approval_change_and_deletion_of_a_row(
    store: DeviceStore, owner: sqlite3.Connection
) -> None:
    store.apply([insert("c-1", "one"), insert("c-2", "two"), insert("c-3", "three"), insert("c-4", "four")])
    owner.execute("UPDATE tasks SET isApproved = 1 WHERE title = 'one'")
    owner.execute("UPDATE tasks SET title = 'TWO', isApproved = 1 WHERE title = 'two'")
    owner.execute("DELETE FROM tasks WHERE title = 'three'")
    assert words(store) == {"c-1": "approved", "c-2": "edited", "c-3": "rejected"}


def test_title_becomes_a_single_line_at_each_entrance_of_a_device(store: DeviceStore, db: Path) -> None:
    typed, line = "Call\r\n\u2028Ana\x85now \x1b]0;x\x07\u202e", "Call Ana now ]0;x"

    def title() -> tuple[str, str]:
        (item,) = read_items(db)
        return item.title, words(store).get("c-1", "open")

    store.apply([insert("c-1", typed)])
    assert title() == (line, "open")  # and not edited by its owner
    (item,) = read_items(db)
    edit(db, [1], {"title": f"{typed} by phone"}, at_ms=1)
    assert title() == (f"{line} by phone", "edited")
    approve(db, [1], at_ms=2, fields={"title": typed})
    assert title() == (line, "approved")
    call = ToolCall(
        id="c-2",
        action=Action.UPDATE,
        table="tasks",
        where={"id": item.row_id},
        data={"title": f"{typed}!"},
    )
    (answer,) = store.apply([call])
    assert answer.error is None
    approve(db, [item.label for item in read_items(db)], at_ms=3)  # what the hub proposed
    assert [item.title for item in read_items(db)] == [f"{line}!"]


def test_confirmed_verdict_is_reported_again_only_after_a_change(
    store: DeviceStore, owner: sqlite3.Connection
) -> None:
    store.apply([insert("c-1")])
    owner.execute("UPDATE tasks SET isApproved = 1")
    store.note_reported([RowVerdict("c-1", "approved")])
    assert words(store) == {}
    owner.execute("DELETE FROM tasks")
    assert words(store) == {"c-1": "rejected"}


TAKEN_BACK = [
    ("isApproved = 1", "isApproved = 0"),
    ("title = 'Another one'", "title = 'call Ana'"),
    ("title = 'Another one', isApproved = 1", "title = 'call Ana', isApproved = 0"),
]


@pytest.mark.parametrize("has_answer", [True, False])
@pytest.mark.parametrize(("given", "taken_back"), TAKEN_BACK)
def test_verdict_taken_back_in_the_file_is_reported_as_open_until_confirmed(
    store: DeviceStore, owner: sqlite3.Connection, given: str, taken_back: str, has_answer: bool
) -> None:
    store.apply([insert("c-1"), insert("c-2")])
    owner.execute(f"UPDATE tasks SET {given}")
    owner.execute(f"UPDATE tasks SET {taken_back}")
    assert words(store) == {}  # the hub has none of both
    owner.execute(f"UPDATE tasks SET {given}")
    (said,) = {*words(store).values()}
    if has_answer:  # else the hub may have it all the same
        store.note_reported(store.unreported(2))
    owner.execute(f"UPDATE tasks SET {taken_back}")
    assert words(store) == {"c-1": "open", "c-2": "open"}
    before = store.mark.counter
    store.note_reported([RowVerdict("c-1", "open"), RowVerdict("c-2", "open")])
    assert (words(store), store.mark.counter) == ({}, before + 2)
    owner.execute(f"UPDATE tasks SET {given}")
    assert words(store) == {"c-1": said, "c-2": said}


async def test_undone_verdicts_are_reported_alone_and_once_to_a_hub_without_the_word(
    device: RunningDevice, guest: Guest, clock: FakeClock
) -> None:
    await guest.call(insert("c-1"))
    await guest.call(insert("c-2"))
    inbox = Inbox(device.db)
    (second, first) = inbox.items()
    inbox.judge(first, "approve", at_ms=5)
    asked = await report(guest, clock)
    await guest.say(Response(id=asked.id, result={"known": 1, "unknown": 0}))
    inbox.undo(first.number)
    inbox.judge(second, "reject", at_ms=6)
    asked = await report(guest, clock)
    assert asked.params == {"verdicts": [{"call_id": "c-1", "verdict": "open"}]}
    await guest.say(Response(id=asked.id, error=ErrorBody(code=ErrorCode.BAD_PARAMS, message="what?")))
    asked = await report(guest, clock)
    assert asked.params == {"verdicts": [{"call_id": "c-2", "verdict": "rejected"}]}


def test_verdict_on_a_row_updated_by_the_hub_names_the_newest_call(
    store: DeviceStore, owner: sqlite3.Connection
) -> None:
    answer, deleted = store.apply([insert("c-1"), insert("c-0", "call Cy")])
    store.apply([ToolCall(id="c-3", action=Action.DELETE, table="tasks", where=deleted.result)])
    data: Record = {"title": "call Bo", **SUGGESTED}
    store.apply([ToolCall(id="c-2", action=Action.UPDATE, table="tasks", where=answer.result, data=data)])
    assert words(store) == {}
    owner.execute("DELETE FROM tasks")
    assert words(store) == {"c-2": "rejected"}


def test_change_detection_notices_only_writes_of_other_programs(
    store: DeviceStore, owner: sqlite3.Connection
) -> None:
    store.is_changed("verdicts")
    store.apply([insert("c-1")])
    assert not store.is_changed("verdicts")
    owner.execute("UPDATE tasks SET isApproved = 1")
    assert store.is_changed("verdicts")
    assert not store.is_changed("verdicts")


def test_item_is_stored_with_warnings_and_remarks_for_the_reviewer(store: DeviceStore, db: Path) -> None:
    source = ItemSource(
        path="a.md",
        quote="call Ana",
        start=0,
        end=8,
        warnings=["instruction"],
        unresolved=[Unresolved(field="dueDate", words="some day")],
        changed=[Changed(field="title", before="call Bo", after="call Ana")],
        counted=[COUNTED],
    )
    store.apply([insert("c-1", source=source)])
    (item,) = read_items(db)
    known = Remarks(source.warnings, source.unresolved, source.changed, counted=[COUNTED])
    assert item.remarks == known


# --- by number ---


def test_items_are_approved_and_rejected_by_number_beside_a_device_serving_the_file(
    store: DeviceStore, db: Path
) -> None:
    store.apply([insert("c-1", "one"), insert("c-2", "two"), insert("c-3", "three")])
    assert (
        approve(db, [1], at_ms=5).done,
        reject(db, [2, 2]).done,
        [(item.number, item.verdict) for item in read_items(db)],
    ) == (["approved: one"], ["rejected: two"], [(1, "approved"), (3, "open")])
    assert words(store) == {"c-1": "approved", "c-2": "rejected"}


def test_assigned_project_alone_does_not_make_the_verdict_edited(
    store: DeviceStore, owner: sqlite3.Connection, db: Path
) -> None:
    store.apply([insert("c-1", "one"), insert("c-2", "two"), insert("c-3", "three")])
    approve(db, [1], at_ms=5, fields={"project": "House"})
    edit(db, [2], {"project": "House"}, at_ms=5)
    approve(db, [3], at_ms=5, fields={"project": "House", "title": "drei"})
    assert words(store) == {"c-1": "approved", "c-2": "edited", "c-3": "edited"}
    approve(db, [2], at_ms=6)
    assert words(store)["c-2"] == "approved"
    owner.execute("UPDATE tasks SET projectId = NULL WHERE title = 'one'")
    assert words(store)["c-1"] == "approved"


def test_unapprovable_item_is_refused_while_others_are_approved(store: DeviceStore, db: Path) -> None:
    comment = {"content": "done?", **SUGGESTED}
    store.apply([insert("c-1"), ToolCall(id="c-2", action=Action.INSERT, table="taskComments", data=comment)])
    for decide in (partial(approve, at_ms=5), reject):
        with pytest.raises(DeviceFileError, match=r"there is no item 7; .* nothing was changed"):
            decide(db, [1, 7])
    assert {item.verdict for item in read_items(db)} == {"open"}
    decided = approve(db, [2, 1], at_ms=5)
    assert (decided.done, decided.refused) == (
        ["approved: call Ana"],
        ["left as it is: 2  taskComments  done?: it needs a task: hub review approve 2 --task TITLE"],
    )
    assert [item.verdict for item in read_items(db)] == ["approved", "open"]


def test_project_is_rejected_only_together_with_the_dependent_rows(
    store: DeviceStore, owner: sqlite3.Connection, db: Path
) -> None:
    project = {"name": "House", **SUGGESTED}
    (made,) = store.apply([ToolCall(id="c-1", action=Action.INSERT, table="projects", data=project)])
    assert isinstance(made.result, dict)
    task = {"title": "mend the roof", "projectId": made.result["id"], **SUGGESTED}
    store.apply([ToolCall(id="c-2", action=Action.INSERT, table="tasks", data=task)])
    owner.execute(
        "INSERT INTO notes (id, title, projectId, createdAt, updatedAt)"
        " SELECT 'n', 'mine', id, 1, 1 FROM projects"
    )
    assert reject(db, [1]).refused == [
        "left as it is: 1  projects  House: 2, notes of your own belong to it;"
        " reject them with it, or let them belong to another first"
    ]
    owner.execute("DELETE FROM notes")
    assert (reject(db, [1, 2]).done, read_items(db)) == (["rejected: mend the roof", "rejected: House"], [])


def test_file_other_than_a_device_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceFileError, match="there is no"):
        reject(tmp_path / "none.db", [1])
    (tmp_path / "theirs.db").touch()
    with pytest.raises(DeviceFileError, match="not a device's"):
        reject(tmp_path / "theirs.db", [1])


# --- told to the hub ---


async def report(guest: Guest, clock: FakeClock) -> Request:
    """The next report of the device, however long it rests before."""
    heard: list[Request] = []

    async def hear() -> None:
        heard.append(await guest.hear(Request))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hear)

        def is_heard() -> bool:
            clock.advance(POLL_EVERY_S)
            return bool(heard)

        await until(is_heard)
    return heard[0]


async def test_device_reports_verdicts_until_confirmed_by_the_hub(
    device: RunningDevice, guest: Guest, clock: FakeClock
) -> None:
    await guest.call(insert("c-1"))
    reject(device.db, [1])
    asked = await report(guest, clock)
    assert (asked.method, asked.params) == (
        Method.REVIEW_REPORT,
        {"verdicts": [{"call_id": "c-1", "verdict": "rejected"}]},
    )

    busy = ErrorBody(code=ErrorCode.OVERLOADED, message="later", retryable=True)
    await guest.say(Response(id=asked.id, error=busy))
    again = await report(guest, clock)
    assert (again.params, again.id == asked.id) == (asked.params, False)

    await guest.say(Response(id=again.id, result={"known": 1, "unknown": 0}))
    await guest.call(insert("c-2"))
    reject(device.db, [2])
    assert (await report(guest, clock)).params == {"verdicts": [{"call_id": "c-2", "verdict": "rejected"}]}


async def test_device_reports_places_of_an_approved_item_until_confirmed_by_the_hub(
    device: RunningDevice, guest: Guest, clock: FakeClock
) -> None:
    answer = await guest.call(insert("c-1"))
    assert isinstance(answer.result, dict)
    approve(device.db, [1], at_ms=5)
    asked = await report(guest, clock)
    await guest.say(Response(id=asked.id, result={"known": 1, "unknown": 0}))

    async def places() -> list[Record]:
        with connect_shared(device.db) as db:
            target = TextFile(device.folder / "vault/todo.md", Markdown())
            synchronize(db, Sink("vault", target, ("tasks",), kind="markdown"), clock.now())
        for _ in range(2):  # the first one is not answered
            asked = await report(guest, clock)
            assert asked.method == Method.PLACES_REPORT
            await guest.say(Response(id=asked.id, error=busy))
        asked = await report(guest, clock)
        await guest.say(Response(id=asked.id, result={"known": 1, "unknown": 0}))
        (row,) = msgspec.convert(asked.params["rows"], list[dict[str, Any]])
        assert row["row_id"] == answer.result["id"]
        found: list[Record] = row["places"]
        return [{name: value for name, value in place.items() if name != "at_ms"} for place in found]

    busy = ErrorBody(code=ErrorCode.OVERLOADED, message="later", retryable=True)
    about: Record = {"name": "vault", "kind": "markdown"}
    assert await places() == [about | {"state": "waiting", "problem": "unreachable"}]
    (device.folder / "vault").mkdir()
    assert await places() == [about | {"state": "arrived", "link": "notes/vault/todo.md"}]


async def test_verdict_report_with_an_unstorable_confirmation_is_repeated_with_backoff(
    device: RunningDevice, guest: Guest, clock: FakeClock
) -> None:
    await guest.call(insert("c-1"))
    reject(device.db, [1])
    asked = await report(guest, clock)
    shutil.copy(device.db, device.db.with_name("other"))
    device.db.with_name("other").replace(device.db)
    waits: list[float] = []
    for _ in range(6):
        before = clock.monotonic()
        await guest.say(Response(id=asked.id, result={"known": 1, "unknown": 0}))
        asked = await report(guest, clock)
        waits.append(clock.monotonic() - before)
    assert [wait >= 2**number for number, wait in enumerate(waits)] == [True] * 6, waits


async def test_replaced_file_of_an_idle_device_is_reported_and_not_logged_to(
    device: RunningDevice, guest: Guest, clock: FakeClock
) -> None:
    await guest.call(insert("c-1"))
    shutil.copy(device.db, device.db.with_name("other"))
    device.db.with_name("other").replace(device.db)
    why = f"{device.db} or its log was replaced: start the device again"

    def is_known() -> bool:
        clock.advance(POLL_EVERY_S)
        return f"the file of this device fails, so nothing is kept: {why}" in device.told

    await until(is_known)
    assert read_faults(device.db) == [f"this device keeps nothing: {why}"]
    with open_sending_log(device.db, clock) as log, pytest.raises(sqlite3.OperationalError, match="replaced"):
        log.sent(SendingOrder("hub", "r-1", "a-1", "rules"), [("notes/a.md", 1, "0a")])


def test_fault_of_the_device_file_is_cleared_by_a_restart(db: Path, clock: FakeClock, ids: IdFactory) -> None:
    with open_device_store(db, clock=clock, ids=ids) as store:
        Path(f"{db}-wal").unlink()
        with pytest.raises(sqlite3.OperationalError, match="start the device again"):
            store.is_changed("verdicts")
    assert len(read_faults(db)) == 1
    with open_device_store(db, clock=clock, ids=ids):
        assert read_faults(db) == []


async def test_device_reports_no_more_verdicts_to_a_hub_without_the_method(
    device: RunningDevice, guest: Guest, clock: FakeClock
) -> None:
    await guest.call(insert("c-1"))
    reject(device.db, [1])
    asked = await report(guest, clock)
    unknown = ErrorBody(code=ErrorCode.UNKNOWN_METHOD, message="what?")
    await guest.say(Response(id=asked.id, error=unknown))
    await guest.call(insert("c-2"))
    reject(device.db, [2])
    clock.advance(10 * POLL_EVERY_S)
    answer = await guest.call(insert("c-3"))  # nothing else was said before it
    assert answer.error is None
