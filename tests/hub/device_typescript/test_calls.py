"""Calls of a hub and decisions of an owner: the device in TypeScript answers as the reference device does.

Both do the same script, made from a seed; what differs is a fault in one of them. In a script, ``@c-1`` is
the id of the row that call c-1 inserted.
"""

import json
import sqlite3
from contextlib import suppress
from pathlib import Path
from random import Random  # noqa: TID251 - the same script each time
from typing import Any

import msgspec
import pytest

from hub.base.clock import IdFactory
from hub.device import verdicts
from hub.device.device_file import DeviceStore, connect_shared
from hub.device.owner import approve, edit, reject
from hub.device.verdicts import RowVerdict
from protocol.tables import SUGGESTED
from protocol.tool_calls import ToolCall
from tests.support.clock import FakeClock
from tests.support.node_device import needs_node, run_script

pytestmark = needs_node
STEPS = 150
STAMPS = ("createdAt", "updatedAt")
STORE = "00000000-0000-4000-8000-000000000000"  # id of any store
SOURCE = {"path": "notes/a.md", "quote": "- [ ] it", "start": 3, "end": 11, "sha256": "a" * 64}
VALUES: dict[str, list[Any]] = {
    "title": ["call Ana", "call Bo", "", "x" * 501, 7, None],
    "description": ["soon", None, "ä" * 10_000],
    "status": ["todo", "done", "perhaps"],
    "assignee": [["Ana", "Bo"], "Ana", '["Bo"]', [], None],
    "dueDate": [1_767_949_200_000, -1, "tomorrow", 1.5, None],
    "projectId": ["@c-1", "nowhere", None],
    "isApproved": [0, 1],
    "id": ["own"],
    "tea": ["green"],
}
CREW: dict[str, Any] = {
    "name": "crew",
    "title": "who",
    "key": ["who"],
    "fields": [
        {"name": "who", "kind": "text", "required": True, "max_length": 500},
        {"name": "pay", "kind": "number"},
        {"name": "away", "kind": "flag"},
    ],
}


def script(seed: int) -> list[list[Any]]:
    """Return calls of a hub and decisions of an owner, most of them possible."""
    chance, inserted = Random(seed), ["@c-1"]
    made: list[list[Any]] = [call(1, "insert", table="projects", data={"name": "House", **SUGGESTED})]
    for number in range(2, STEPS):
        id = chance.choice(inserted)
        where = chance.choice([{"id": id}] * 6 + [{"title": "call Ana"}, {"id": id, "status": "todo"}, {}])
        data = {name: chance.choice(VALUES[name]) for name in chance.sample([*VALUES], chance.randint(1, 2))}
        match chance.randrange(13):
            case 0 | 1 | 2:
                good = {"title": f"call {number}", **SUGGESTED}
                made.append(call(number, "insert", data=good | (data if chance.random() < 0.3 else {})))
                inserted.append(f"@c-{number}")
            case 3 | 4:
                good = {"title": f"call {number}"} if chance.random() < 0.6 else data
                made.append(call(number, "update", where=where, data=good))
            case 5 if chance.random() < 0.5:
                changed = chance.choice(
                    [{}, {"fields": CREW["fields"][:2]}, {"fields": CREW["fields"][1:]}, {"name": "tasks"}]
                )
                made.append(call(number, "table.declare", table="crew", declares={**CREW, **changed}))
                crew = {
                    "who": f"Ana {number}",
                    chance.choice(["pay", "away", "tea"]): chance.choice([1, 2.5, "x"]),
                }
                made.append(call(number + STEPS, "insert", table="crew", data={**crew, **SUGGESTED}))
            case 5:
                made.append(call(number, "delete", where=where))
            case 6:
                made.append(call(number, "query", where=chance.choice([where, {}]), limit=1000))
            case 7:
                made.append(["approve", id])
            case 8:
                title = chance.choice([f"own {number}", f"call {id.removeprefix('@c-')}"])  # back as it was
                made.append(["edit", id, {"title": title}])
            case 9:
                made.append(["reject", id])
            case 10:
                made.append(["remove", id])
            case 11:
                made += [["unreported"], ["noteReported", chance.randrange(3)]]
            case _:
                made.append(call(number, "rows.list", table=None, data={"since": chance.randrange(9)}))
                known = {"calls": [f"c-{one}" for one in range(number)], "rows": [*inserted, "nowhere"]}
                made.append(call(number, "rows.known", table=None, data=known))
        if chance.random() < 0.2:
            made.append(next(one for one in reversed(made) if one[0] == "apply"))  # comes again
    return made


def call(number: int, action: str, **more: Any) -> list[Any]:
    given = {"id": f"c-{number}", "action": action, "table": "tasks", "source": SOURCE, **more}
    return [
        "apply",
        {"type": "tool_call", **{name: value for name, value in given.items() if value is not None}},
    ]


class Reference:
    """Reference device, with the labels of the script in place of ids."""

    def __init__(self, store: DeviceStore, db: Path) -> None:
        self._store, self._db = store, db
        self._ids: dict[str, str] = {}
        store.hub = "hub"

    def do(self, what: str, *args: Any) -> Any:
        done = self._do(what, *(self._replaced(one, self._ids) for one in args))
        return self._replaced(done, {id: label for label, id in self._ids.items()})

    def _do(self, what: str, *args: Any) -> Any:
        if what == "apply":
            asked = msgspec.convert(args[0], ToolCall)
            (answer,) = self._store.apply([asked])
            if asked.action == "insert" and answer.error is None:
                assert isinstance(answer.result, dict)
                self._ids[f"@{asked.id}"] = answer.result["id"]
            return msgspec.to_builtins(answer)
        if what == "unreported":
            return msgspec.to_builtins(self._store.unreported(1000))
        if what == "noteReported":
            self._store.note_reported([msgspec.convert(one, RowVerdict) for one in args[0]])
            return True
        numbers = [
            one.number
            for one in verdicts.reviews(self._store._db)
            if one.row_id == args[0] and one.row is not None
        ]
        if not numbers:
            return False
        match what:
            case "approve":
                return bool(approve(self._db, numbers, at_ms=9, deletes=True).done)
            case "edit":
                return bool(edit(self._db, numbers, args[1], at_ms=9).done)
            case "reject":
                return bool(reject(self._db, numbers).done)
        with suppress(sqlite3.IntegrityError), connect_shared(self._db) as db:
            tables = ("tasks", "projects")
            return any(db.execute(f"DELETE FROM {table} WHERE id = ?", args).rowcount for table in tables)
        return False

    def _replaced(self, value: Any, by: dict[str, str]) -> Any:
        text = json.dumps(value)
        for one, other in by.items():
            text = text.replace(json.dumps(one), json.dumps(other))
        return json.loads(text)


def plain(value: Any) -> Any:
    """Return an answer without the parts that may differ: words of refusals, stamps, defaults, order."""
    match value:
        case {"error": {"code": code}}:
            return code
        case {"store": {"counter": _}}:
            return plain({**value, "store": value["store"]["counter"]})
        case dict():
            kept = {name: plain(one) for name, one in value.items() if name not in STAMPS}
            return {name: one for name, one in kept.items() if one not in (None, "", {}, [])}
        case list():
            return sorted((plain(one) for one in value), key=lambda one: json.dumps(one, sort_keys=True))
    return value


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 60))])
def test_calls_and_decisions_end_as_at_the_reference_device(
    seed: int, store: DeviceStore, db: Path, clock: FakeClock, ids: IdFactory
) -> None:
    reference, steps = Reference(store, db), script(seed)
    expected: list[Any] = []
    for step in steps:
        if step[0] == "noteReported":  # the hub confirms some of the last report
            step[1:] = [expected[-1][: step[1]]]
        clock.advance(1)
        expected.append(reference.do(*step))
    found = run_script("node_records.mjs", steps)
    for number, (step, one, other) in enumerate(zip(steps, found, expected, strict=True)):
        assert plain(one) == plain(other), (number, step, one, other)
