"""Tables that hubs declare in the device's file: created once, changed with their declaration."""

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from hub.base.clock import IdFactory
from hub.device import declared_tables, grants
from hub.device.device_file import DeviceStore, open_device_store
from hub.device.items import read_items
from hub.device.owner import approve, edit, reject
from protocol.errors import ErrorCode
from protocol.frame import Record
from protocol.tables import SUGGESTED, Column, DeviceTable, Kind
from protocol.tool_calls import Action, Answer, ToolCall
from tests.support.clock import FakeClock

NAME = Column(name="name", kind=Kind.TEXT, required=True, max_length=500)
EMAIL = Column(name="email", kind=Kind.TEXT, required_to_approve=True)
KIND = Column(name="kind", kind=Kind.TEXT, choices=("customer", "New lead"))
CONTACTS = DeviceTable(
    name="contacts",
    title="name",
    key=("name",),
    fields=(
        NAME,
        EMAIL,
        KIND,
        Column(name="fee", kind=Kind.NUMBER),
        Column(name="isMember", kind=Kind.FLAG),
        Column(name="languages", kind=Kind.NAMES),
    ),
)
ADA: Record = {"name": "Ada", "kind": "New lead", "fee": 12, "isMember": 1, "languages": ["fr"], **SUGGESTED}


def declare(store: DeviceStore, table: DeviceTable = CONTACTS) -> Answer:
    call = ToolCall(id="d", action=Action.TABLE_DECLARE, table=table.name, declares=table)
    return store.apply([call])[0]


def insert(store: DeviceStore, call_id: str, data: Record = ADA) -> Answer:
    return store.apply([ToolCall(id=call_id, action=Action.INSERT, table="contacts", data=data)])[0]


def changed(*fields: Column) -> DeviceTable:
    return msgspec.structs.replace(CONTACTS, fields=fields)


def test_a_row_of_a_declared_table_is_a_suggestion_as_any_other(store: DeviceStore, db: Path) -> None:
    assert insert(store, "c-0").error is not None
    assert declare(store).error is None
    first = insert(store, "c-1")
    assert insert(store, "c-1") == first
    (item,) = read_items(db)
    assert (item.table, item.title, item.verdict, item.data) == (
        "contacts",
        "Ada",
        "open",
        {**ADA, "fee": 12.0},
    )
    query = ToolCall(id="q", action=Action.QUERY, table="contacts", where={"name": "Ada"})
    (found,) = store.apply([query])[0].result["rows"]
    assert found["languages"] == ["fr"]


def test_constraints_of_a_declared_table_hold_for_owner_and_other_programs(
    store: DeviceStore, db: Path
) -> None:
    declare(store)
    insert(store, "c-1")
    (refused,) = approve(db, [1], at_ms=1).refused
    assert "it needs a value of email: hub review edit 1 email=VALUE" in refused
    with closing(sqlite3.connect(db)) as other:
        with pytest.raises(sqlite3.IntegrityError, match=r"contacts\.email: is required to approve"):
            other.execute("UPDATE contacts SET isApproved = 1")
        with pytest.raises(sqlite3.IntegrityError, match=r"contacts\.kind: is none of its choices"):
            other.execute("UPDATE contacts SET kind = 'friend'")
    typed = {"email": "ada@example.org", "fee": "20.5", "isMember": "no", "kind": "Customer"}
    assert (edit(db, [1], typed, at_ms=2).refused, approve(db, [1], at_ms=3).refused) == ([], [])
    (item,) = read_items(db)
    assert (item.data["kind"], item.data["fee"], item.data["isMember"]) == ("customer", 20.5, 0)
    assert [one.verdict for one in store.unreported(9)] == ["edited"]
    for wrong in ({"fee": "much"}, {"isMember": "perhaps"}, {"kind": "friend"}):
        assert len(edit(db, [1], wrong, at_ms=4).refused) == 1


def test_redeclared_table_gets_new_columns_and_retains_values_of_dropped_fields(
    store: DeviceStore, db: Path
) -> None:
    declare(store)
    insert(store, "c-1")
    phone = Column(name="phone", kind=Kind.TEXT, required=True)
    wider = msgspec.structs.replace(KIND, choices=("customer", "friend"))
    assert declare(store, changed(NAME, wider, phone)).error is None
    assert insert(store, "c-2", {"name": "Bob", **SUGGESTED}).error is not None
    second: Record = {"name": "Bob", "kind": "friend", "phone": "1", **SUGGESTED}
    assert insert(store, "c-2b", second).error is None
    items = {item.title: item for item in read_items(db)}
    assert items["Ada"].data["fee"] == 12.0
    assert "phone" not in items["Ada"].data
    assert items["Bob"].data["phone"] == "1"
    # Ada's kind is no choice any more, and email is needed no more: she can be approved all the same.
    assert approve(db, [1, 2], at_ms=2).refused == []
    assert [one.verdict for one in store.unreported(9)] == ["approved", "approved"]
    assert reject(db, [2], deletes=True).refused == []


def test_table_declaration_changed_back_applies_again(store: DeviceStore) -> None:
    declare(store)
    declare(store, changed(NAME, EMAIL, msgspec.structs.replace(KIND, choices=("friend",))))
    assert insert(store, "c-1").error is not None
    declare(store)
    assert insert(store, "c-2").error is None


def test_table_declarations_are_stored_in_the_device_file(
    store: DeviceStore, db: Path, clock: FakeClock, ids: IdFactory
) -> None:
    declare(store)
    insert(store, "c-1")
    assert declared_tables.tables_of(store._db).own == (CONTACTS,)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (msgspec.structs.replace(CONTACTS, name="tasks"), "tasks is a built-in table"),
        (msgspec.structs.replace(CONTACTS, name="messages"), "a device has a table messages of its own"),
        (msgspec.structs.replace(CONTACTS, name="Contacts"), "a small letter"),
        (msgspec.structs.replace(CONTACTS, name="cONTACTS"), "a table of this name in other letters"),
        (changed(NAME, msgspec.structs.replace(EMAIL, kind=Kind.NUMBER)), "email: is a text at this device"),
        (changed(NAME, Column(name="eMail", kind=Kind.TEXT)), "eMail: this device has the field in other"),
        (changed(NAME, Column(name="id", kind=Kind.TEXT)), "id is reserved"),
        (msgspec.structs.replace(CONTACTS, key=("age",), title="age"), "there is no field 'age'"),
    ],
)
def test_incompatible_table_declaration_is_refused_with_a_message(
    store: DeviceStore, table: DeviceTable, words: str
) -> None:
    declare(store)
    insert(store, "c-1")
    answer = declare(store, table)
    assert answer.error is not None and answer.error.code == ErrorCode.BAD_RECORD
    assert words in answer.error.message
    assert declared_tables.tables_of(store._db).own == (CONTACTS,)
    assert insert(store, "c-2", {**ADA, "name": "Bob"}).error is None


def test_older_device_file_gets_the_own_tables_when_opened(
    db: Path, clock: FakeClock, ids: IdFactory
) -> None:
    with open_device_store(db, clock=clock, ids=ids) as store:
        store._db.execute("DROP TABLE own_tables")
        assert read_items(db) == []
    with open_device_store(db, clock=clock, ids=ids) as store:
        assert declare(store).error is None


def test_owner_may_grant_rows_read_for_a_declared_table(store: DeviceStore) -> None:
    with pytest.raises(grants.BadGrant, match="contacts"):
        store.granted(["+rows.read=contacts"])
    declare(store)
    assert store.granted(["+rows.read=tasks,contacts"]) == {"rows.read": ["tasks", "contacts"]}
