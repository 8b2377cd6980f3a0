"""How far a device's file has come, and what it tells a hub that does not know as much."""

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hub.clock import IdFactory
from hub.device.inserts import DeviceStore, open_device_store
from hub.device.owner import approve
from protocol.calls import MAX_PAGE_BYTES, KnownToDevice, RowsPage
from protocol.frame import Record
from protocol.handshake import StoreMark, Welcome
from protocol.tables import SUGGESTED
from protocol.work import Action, ItemSource, ToolCall
from tests.support.clock import FakeClock


def insert(call_id: str, title: str = "call Ana", **more: Any) -> ToolCall:
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


def test_each_call_that_changes_a_row_is_counted_once(store: DeviceStore) -> None:
    assert store.mark.counter == 0
    store.apply([insert("c-1"), insert("c-2", "call Bo"), insert("c-1")])
    assert store.mark.counter == 2
    store.apply([insert("c-3", table="no such table")])
    store.apply([ToolCall(id="c-4", action=Action.QUERY, table="tasks")])
    assert store.mark.counter == 2


def test_a_file_is_known_by_the_same_id_each_time_it_is_opened(
    db: Path, clock: FakeClock, ids: IdFactory
) -> None:
    with open_device_store(db, clock=clock, ids=ids) as store:
        store.apply([insert("c-1")])
        before = store.mark
    with open_device_store(db, clock=clock, ids=ids) as store:
        assert store.mark == before


def test_a_row_is_listed_with_its_place_and_what_a_query_would_show(store: DeviceStore) -> None:
    made = store.apply([insert("c-1")])[0].result
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


def test_of_a_row_that_its_owner_changed_nothing_is_listed_but_its_place_and_a_deleted_one_is_rejected(
    store: DeviceStore, owner: sqlite3.Connection
) -> None:
    store.apply([insert("c-1")])
    owner.execute("UPDATE tasks SET title = 'private words'")
    (row,) = listed(store).rows
    assert (row.state, row.data, row.quote) == ("edited", {}, "- [ ] call Ana")
    owner.execute("DELETE FROM tasks")
    assert [row.state for row in listed(store).rows] == ["rejected"]


def test_pages_follow_each_other_and_none_is_larger_than_an_answer(store: DeviceStore) -> None:
    long = ItemSource(path="a.md", quote="x" * 2_000, start=0, end=2_000)
    store.apply([insert(f"c-{n}", source=long) for n in range(60)])
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


def test_a_confirmed_word_of_the_owner_is_listed_again_behind_the_rest(store: DeviceStore, db: Path) -> None:
    store.apply([insert("c-1"), insert("c-2", "call Bo")])
    approve(db, [1], at_ms=5)
    before = store.mark.counter
    store.note_reported(store.unreported(9))
    assert [(row.call_id, row.state) for row in listed(store, before).rows] == [("c-1", "approved")]


def test_a_hub_learns_which_calls_were_done_and_which_rows_are_there(store: DeviceStore) -> None:
    made = store.apply([insert("c-1")])[0].result
    asked: Record = {"calls": ["c-1", "c-9"], "rows": [made["id"], "r-9"]}
    answer = store.apply([ToolCall(id="k-1", action=Action.ROWS_KNOWN, data=asked)])[0]
    assert msgspec.convert(answer.result, KnownToDevice) == KnownToDevice(calls=["c-1"], rows=[made["id"]])


@pytest.mark.parametrize("data", [{"since": -1}, {"since": "x"}, {"since": True}])
def test_a_page_behind_no_counter_is_refused(store: DeviceStore, data: Record) -> None:
    answer = store.apply([ToolCall(id="l-1", action=Action.ROWS_LIST, data=data)])[0]
    assert answer.error is not None and answer.error.code == "bad_record"


def test_an_older_copy_of_a_file_gets_another_id_once_a_hub_knows_more_of_it(
    db: Path, clock: FakeClock, ids: IdFactory
) -> None:
    with open_device_store(db, clock=clock, ids=ids) as store:
        store.apply([insert("c-1")])
    shutil.copy(db, db.with_suffix(".copy"))
    with open_device_store(db, clock=clock, ids=ids) as store:
        store.apply([insert("c-2")])
        lost = store.mark
        assert store.note_welcome(welcome(2, lost.id)) is None
    shutil.copy(db.with_suffix(".copy"), db)
    with open_device_store(db, clock=clock, ids=ids) as store:
        assert store.mark == StoreMark(id=lost.id, counter=1)
        assert "older than the hub knows it" in str(store.note_welcome(welcome(2, lost.id)))
        assert store.mark.id != lost.id
        assert store.note_welcome(welcome(2, lost.id)) is None


@pytest.mark.parametrize("hub_knows", ["another file", "nothing of it", "no file"])
def test_a_file_with_rows_gets_another_id_when_its_hub_does_not_know_it(
    store: DeviceStore, hub_knows: str
) -> None:
    before = store.mark
    told = {
        "another file": welcome(2, "another file"),
        "nothing of it": welcome(0, before.id),
        "no file": msgspec.structs.replace(welcome(0, ""), store=None),
    }[hub_knows]
    store.note_welcome(told)
    assert store.mark == before  # it has no number that could be given again
    store.apply([insert("c-1")])
    store.note_welcome(told)
    assert store.mark.id != before.id
    assert store.mark.counter == 1


def test_a_hub_that_lost_rows_is_reported_to_the_owner_once(store: DeviceStore) -> None:
    store.apply([insert("c-1"), insert("c-2")])
    assert store.note_welcome(welcome(2, store.mark.id)) is None
    assert "the hub knows fewer" in str(store.note_welcome(welcome(1, store.mark.id)))
    assert store.note_welcome(welcome(1, store.mark.id)) is None
    assert store.note_welcome(welcome(0, store.mark.id, "another hub")) is None


def test_a_comparison_of_all_rows_is_not_reported_to_the_owner_as_a_loss(store: DeviceStore) -> None:
    store.apply([insert("c-1"), insert("c-2")])
    assert store.note_welcome(welcome(2, store.mark.id)) is None
    told = str(store.note_welcome(welcome(0, store.mark.id)))
    assert "the hub compares all of this device's rows with its own" in told
    assert "knows fewer" not in told


def test_another_hub_of_the_device_gets_none_of_these_rows(store: DeviceStore) -> None:
    def known() -> KnownToDevice:
        return msgspec.convert(store.apply([ask])[0].result, KnownToDevice)

    store.meet("one")
    made = store.apply([insert("c-1")])[0].result
    ask = ToolCall(id="k-1", action=Action.ROWS_KNOWN, data={"calls": ["c-1"], "rows": [made["id"]]})
    assert known() == KnownToDevice(calls=["c-1"], rows=[made["id"]])
    store.meet("two")
    assert (listed(store).rows, known()) == ([], KnownToDevice(calls=[], rows=[]))
    store.meet("three", predecessor="one")
    assert [row.call_id for row in listed(store).rows] == ["c-1"]
