"""Items of an operator's table go only to a device that takes the table; no other device gets any of them."""

import json

import msgspec
import pytest

from hub.runs.run_order import UndeclaredTable
from protocol.errors import ErrorCode
from protocol.frame import ErrorBody
from protocol.lifecycles import RunOutcome, RunState
from protocol.tables import SUGGESTED, TABLES, Column, DeviceTable, Kind, tables_with
from protocol.work import Action, Answer, ToolCall
from tests.support.runs import MODERN, TAKEN, Bench, folder

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


async def test_a_table_is_declared_before_its_first_item(people: Bench) -> None:
    link = people.connect(runs=folder(a=QUOTE), capabilities=CAN)
    assert (await people.run()).outcome is RunOutcome.SUCCESS
    declared, inserted = link.calls
    assert (declared.action, declared.declares) == (Action.TABLE_DECLARE, CONTACTS)
    assert (inserted.action, inserted.table) == (Action.INSERT, "contacts")
    assert inserted.data == {"name": "Ada Lovelace", "company": "Engines", **SUGGESTED}


async def test_an_older_device_gets_no_item_and_a_newer_one_gets_it_later(people: Bench) -> None:
    older = people.connect(runs=folder(a=QUOTE))
    run = await people.run()
    assert (run.state, run.outcome) == (RunState.FAILED, RunOutcome.ERROR)
    assert run.reason is not None
    assert run.reason.startswith("contacts: the program of the device knows only the built-in tables")
    assert (older.calls, people.model.requests) == ([], [])
    newer = people.connect(runs=folder(a=QUOTE), capabilities=CAN)
    assert (await people.run()).outcome is RunOutcome.SUCCESS
    assert [call.table for call in newer.calls] == ["contacts"] * 2


async def test_a_device_that_refuses_the_table_is_quoted_in_the_run(people: Bench) -> None:
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


async def test_a_run_keeps_the_declaration_with_which_it_was_created(people: Bench) -> None:
    await people.control.submit(people.agent)
    people.extractor.tables = TABLES
    link = people.connect(runs=folder(a=QUOTE), capabilities=CAN)
    assert (await people.run()).outcome is RunOutcome.SUCCESS
    assert link.calls[0].declares == CONTACTS


async def test_no_run_is_created_for_a_table_that_is_not_declared_any_more(people: Bench) -> None:
    people.extractor.tables = TABLES
    with pytest.raises(UndeclaredTable, match=r"there is no table 'contacts'; declare it in \[\[tables\]\]"):
        await people.control.submit(people.agent)
