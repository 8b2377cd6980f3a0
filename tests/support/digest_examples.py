"""Examples of digests for the tests of other programs: ``protocol/digests.json``."""

import json
from typing import Any, Final

import msgspec

from protocol.agenda import seen_row
from protocol.digests import digest_of
from protocol.frame import Record
from protocol.tables import REFERENCES, Column, DeviceTable, Kind, problems_in, tables_with

_DAY: Final = 1_796_860_800_000
_OWN: Final = DeviceTable(
    name="loans",
    about="something that was lent",
    title="what",
    key=("what",),
    fields=(
        Column(name="what", kind=Kind.TEXT, required=True, max_length=200),
        Column(name="lentTo", kind=Kind.NAMES, max_length=100),
        Column(name="isBack", kind=Kind.FLAG),
        Column(name="since", kind=Kind.EPOCH_MS),
        REFERENCES["project"],
    ),
)
_ROWS: Final[tuple[tuple[str, Record], ...]] = (
    ("tasks", {"title": "Café", "updatedAt": 1}),
    (
        "tasks",
        {
            "title": 'Call "Anna"\\\n\u0001\u007f\u2028 😀',
            "description": "",
            "status": "done",
            "priority": "high",
            "assignee": ["Zoë", 'Jo "J" Ng'],
            "dueDate": _DAY,
            "projectId": "House",
        },
    ),
    ("tasks", {"title": "Sweep", "assignee": []}),
    ("timelines", {"title": "dentist", "date": 0}),
    ("timelines", {"title": "Dinner", "projectId": "Garden / Park", "date": _DAY}),
    ("notes", {"title": "Wi-Fi", "content": "# Home\n\n- name: `a<b>&c`\t/\r\n", "projectId": None}),
    ("loans", {"what": "ladder", "lentTo": ["Ann", "Bo"], "isBack": 0, "since": _DAY, "projectId": "House"}),
    ("loans", {"what": "drill", "isBack": 1}),
)
_VALUES: Final[tuple[Any, ...]] = (
    [],
    {"b": [2, {"z": None, "a": True}], "a": "é", "A": 0},
    ["tasks", {"title": "call Anna", "dueDate": _DAY}, "call Anna", ["outside"], []],
    ["tasks", {"title": "call Anna", "assignee": ["Zoë"]}, "call Anna", [], ["rec:1w"]],
    2**53 - 1,
)


def _text(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def _of_row(table: DeviceTable, row: Record) -> dict[str, Any]:
    values = [column.default if row.get(column.name) is None else row[column.name] for column in table.fields]
    digests = {"sha256": seen_row(table, row, is_sha256=True), "blake2b": seen_row(table, row)}
    return {"table": table.name, "row": row, "text": _text(values)} | digests


def digest_examples() -> str:
    """Return the examples as a document, each with its text and digests."""
    assert not list(problems_in(_OWN))
    tables = tables_with((_OWN,))
    document = {
        "about": "Examples of the digests of PROTOCOL.md: of rows as seen_row and review.row, and of other "
        "JSON values. Tables that are not built in are declared in tables, as by table.declare.",
        "tables": [msgspec.to_builtins(_OWN)],
        "rows": [_of_row(tables[name], row) for name, row in _ROWS],
        "values": [{"value": value, "text": _text(value), "sha256": digest_of(value)} for value in _VALUES],
    }
    return json.dumps(document, indent=1) + "\n"
