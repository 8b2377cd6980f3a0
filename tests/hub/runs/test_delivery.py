"""How many items one file and one run may bring, and what becomes of the others."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from hub.base.toml.limits import Limits
from hub.extraction.items import Notes
from hub.runs.delivery import missing_of
from hub.runs.run_order import UndeclaredTable
from protocol.errors import ErrorCode
from protocol.frame import ErrorBody
from protocol.lifecycles import RunOutcome, RunState, UnitState
from protocol.tables import SUGGESTED, TABLES, Column, DeviceTable, Kind, tables_with
from protocol.tool_calls import Action, Answer, ToolCall
from storage.agents.agents import AgentRow
from storage.runs import units
from storage.store import Store
from tests.support.families import each
from tests.support.link import FakeLink
from tests.support.runs import MODERN, TAKEN, Bench, folder

THREE = "- [ ] one\n- [ ] two\n- [ ] three\n"


def titles(link: FakeLink) -> list[str]:
    return sorted(str(call.data["title"]) for call in link.calls)


def capped(store: Store, agent: AgentRow, *, per_file: int) -> Bench:
    return Bench(store, agent, limits=Limits(items_per_file=per_file, items_per_run=100))


async def test_file_above_items_per_file_fails_with_limit_reached(store: Store, agent: AgentRow) -> None:
    bench = capped(store, agent, per_file=2)
    link = bench.connect(runs=folder(a=THREE, b="- [ ] four\n"))

    run = await bench.run()

    assert titles(link) == ["four", "one", "two"]
    assert run.outcome is RunOutcome.PARTIAL
    (error,) = run.errors
    assert (error.unit_key, error.code) == ("a.md", ErrorCode.LIMIT_REACHED)
    assert "1 of its items were left out, by items_per_file" in error.message
    reached = bench.metrics.registry.get_sample_value
    assert reached("hub_limits_reached_total", {"limit": "items_per_file"}) == 1
    # It is in the row that the plan itself was written to: a crash in between loses nothing.
    unit = next(unit for unit in await store.read(units.units_of, run.id) if unit.unit_key == "a.md")
    assert (unit.state, unit.notes) == (UnitState.FAILED, {"left_out": {"items_per_file": 1}})


async def test_remaining_items_of_a_file_are_delivered_after_a_raised_limit(
    store: Store, agent: AgentRow
) -> None:
    bench = capped(store, agent, per_file=2)
    first = bench.connect(runs=folder(a=THREE))
    await bench.run()
    second = bench.connect(runs=folder(a=THREE))
    run = await bench.run()
    assert (len(first.calls), second.calls, run.units_failed) == (2, [], 1)

    bench.delivery.limits = Limits(items_per_file=3, items_per_run=100)
    third = bench.connect(runs=folder(a=THREE))
    run = await bench.run()
    assert (titles(third), run.outcome) == (["three"], RunOutcome.SUCCESS)


async def test_run_at_items_per_run_stops_reading_and_the_next_continues(
    store: Store, agent: AgentRow
) -> None:
    bench = Bench(store, agent, limits=Limits(items_per_file=100, items_per_run=2), units_in_flight=1)
    files = {"a": THREE, "b": "- [ ] four\nand a riddle\n"}
    first = bench.connect(runs=folder(**files))
    run = await bench.run()
    assert (titles(first), bench.model.asked) == (["one", "two"], 0)
    assert [error.code for error in run.errors] == [ErrorCode.LIMIT_REACHED] * 2
    assert "items_per_run" in run.errors[0].message and "it was not read" in run.errors[1].message

    second = bench.connect(runs=folder(**files))
    run = await bench.run()
    assert (titles(second), run.outcome) == (["four", "three"], RunOutcome.SUCCESS)


@pytest.mark.parametrize("in_flight", [1, 8])
async def test_items_per_run_holds_exactly_with_few_counting_queries(
    store: Store, agent: AgentRow, in_flight: int
) -> None:
    """To count them reads the rows of all earlier files: it is for the first files, and near the limit."""
    limits = Limits(items_per_file=100, items_per_run=80)
    bench = Bench(store, agent, limits=limits, units_in_flight=in_flight)
    link = bench.connect(runs=folder(**{f"{n:02x}": THREE.replace("\n", f" {n}\n") for n in range(32)}))
    with counting("sum(run_units.calls_planned)") as counts:
        run = await bench.run()
    assert (len(link.calls), run.items_created) == (80, 80)
    assert len(counts) in (range(2, 3) if in_flight == 1 else range(2, 5 * in_flight))


@contextmanager
def counting(part: str) -> Iterator[list[str]]:
    """The statements that contain *part*, of all databases."""
    found: list[str] = []

    def note(*call: Any) -> None:
        if part in call[2]:
            found.append(call[2])

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


@each(
    ("notes", "code"),
    [
        (Notes(), None),
        (Notes(halved=3, salvaged=1), None),
        (Notes(given_up=1, given_up_chars=80), ErrorCode.MODEL_ANSWER_CUT_OFF),
        (Notes(lost=1), ErrorCode.MODEL_ANSWER_INVALID),
        (Notes(left_out={"items_per_run": 4}), ErrorCode.LIMIT_REACHED),
    ],
)
def test_error_code_of_missing_parts_follows_from_the_unit_notes(
    notes: Notes, code: ErrorCode | None
) -> None:
    missing = missing_of(notes)
    assert (missing[0] if missing else None) == code


# --- items of an operator's table go only to a device that takes the table ---


QUOTE = "Ada Lovelace works at Engines."
CONTACTS = DeviceTable(
    name="contacts",
    title="name",
    key=("name",),
    fields=(Column(name="name", kind=Kind.TEXT, required=True), Column(name="company", kind=Kind.TEXT)),
)
CAN = (*MODERN, "table.declare")


@pytest.fixture
def people(bench: Bench) -> Bench:
    """A bench whose agent looks for contacts."""
    bench.agent = msgspec.structs.replace(bench.agent, data_types=("contacts",))
    bench.extractor.tables = tables_with((CONTACTS,))
    record = {"table": "contacts", "quote": QUOTE, "name": "Ada Lovelace", "company": "Engines"}
    bench.model.said = json.dumps({"items": [record]})
    return bench


async def test_table_is_declared_to_the_device_before_the_first_insert(people: Bench) -> None:
    link = people.connect(runs=folder(a=QUOTE), capabilities=CAN)
    assert (await people.run()).outcome is RunOutcome.SUCCESS
    declared, inserted = link.calls
    assert (declared.action, declared.declares) == (Action.TABLE_DECLARE, CONTACTS)
    assert (inserted.action, inserted.table) == (Action.INSERT, "contacts")
    assert inserted.data == {"name": "Ada Lovelace", "company": "Engines", **SUGGESTED}


async def test_run_for_an_own_table_succeeds_only_at_a_newer_device(people: Bench) -> None:
    older = people.connect(runs=folder(a=QUOTE))
    run = await people.run()
    assert (run.state, run.outcome) == (RunState.FAILED, RunOutcome.ERROR)
    assert run.reason is not None
    assert run.reason.startswith("contacts: the program of the device knows only the built-in tables")
    assert (older.calls, people.model.requests) == ([], [])
    newer = people.connect(runs=folder(a=QUOTE), capabilities=CAN)
    assert (await people.run()).outcome is RunOutcome.SUCCESS
    assert [call.table for call in newer.calls] == ["contacts"] * 2


async def test_run_with_a_refused_table_declaration_fails_with_the_device_message(people: Bench) -> None:
    def answers(call: ToolCall) -> Answer:
        if call.action is not Action.TABLE_DECLARE:
            return TAKEN
        return Answer(error=ErrorBody(code=ErrorCode.BAD_RECORD, message="contacts.name: is a number here"))

    people.connect(runs=folder(a=QUOTE), capabilities=CAN, answers=answers)
    run = await people.run()
    assert (run.state, run.reason) == (
        RunState.FAILED,
        "the device refuses the table: contacts.name: is a number here",
    )


async def test_run_uses_the_table_declaration_of_the_time_of_creation(people: Bench) -> None:
    await people.control.submit(people.agent)
    people.extractor.tables = TABLES
    link = people.connect(runs=folder(a=QUOTE), capabilities=CAN)
    assert (await people.run()).outcome is RunOutcome.SUCCESS
    assert link.calls[0].declares == CONTACTS


async def test_no_run_is_created_for_a_no_longer_declared_table(people: Bench) -> None:
    people.extractor.tables = TABLES
    with pytest.raises(UndeclaredTable, match=r"there is no table 'contacts'; declare it in \[\[tables\]\]"):
        await people.control.submit(people.agent)
