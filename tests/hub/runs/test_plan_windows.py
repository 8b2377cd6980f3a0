"""Plans of many units in one transaction: the same as plans of each, and a bad one fails alone."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio
import msgspec
import pytest

from hub.document import Document
from hub.extraction.items import ExtractionOptions
from hub.runs.run_order import RunOrder
from protocol.errors import HubError
from protocol.ids import CallId, RunId
from protocol.lifecycles import RunEvent, RunState, UnitState
from storage.executing_runs import StaleRun
from storage.runs import item_lists, items, plans, units
from storage.runs.item_lists import ItemFilter
from storage.runs.plans import UnitPlan, UnitToPlan
from storage.store import Connection, Store, open_store
from tests.support.runs import Bench, declare_agent, digest

# The same task under other names, on the same day, in another file, or only once.
FILES = {
    "a": "- [ ] Call the plumber about the invoice by Friday\n- [ ] Mow the lawn\n",
    "b": "- [ ] Call the plumber about the invoice by Friday\n- [ ] Pay the rent by Friday\n",
    "c": "- [ ] Pay the monthly rent by Friday\n- [ ] Mow the lawn\n- [ ] Mow the lawn\n",
    "d": "Nothing to do.\n",
    "e": "- [ ] Write the report about the budget by Friday\n",
}


async def executing(store: Store) -> tuple[Bench, RunOrder]:
    """A run that executes, whose units are not planned."""
    bench = Bench(store, await declare_agent(store))
    bench.connect()
    await bench.control.submit(bench.agent)
    order = await bench.claim()
    await bench.lifecycle.move(order.held(RunState.PREPARING), RunEvent.ACKNOWLEDGED)
    return bench, order


async def plan(bench: Bench, order: RunOrder, name: str, text: str, window: Any) -> UnitPlan:
    document = Document(unit_key=f"{name}.md", text=text, content_hash=digest(name))
    found = await bench.extractor.extract_by_rules(document, ExtractionOptions(data_types=("tasks",)))
    return await bench.delivery.plan(None, order, document, found, window=window, read_at=1)


def ledger(c: Connection, run_id: RunId) -> list[Any]:
    """Everything that plans write, apart from ids of runs and times."""
    listed = item_lists.list_items(c, ItemFilter(), limit=100).items
    rows = sorted((row.row.unit_key, row.row.data["title"], row.row.verdict) for row in listed)
    known = [
        (unit.unit_key, unit.state, unit.calls_planned, unit.items_known, unit.notes)
        for unit in units.units_of(c, run_id)
    ]
    return [rows, known]


async def written(*, is_together: bool) -> list[Any]:
    async with open_store("sqlite://") as store:
        bench, order = await executing(store)
        window = bench.delivery.window()
        if is_together:
            async with anyio.create_task_group() as tasks:
                for name, text in FILES.items():
                    tasks.start_soon(plan, bench, order, name, text, window)
        else:
            for name, text in FILES.items():
                await plan(bench, order, name, text, window)
        return await store.read(ledger, order.run_id)


async def test_units_planned_together_have_the_rows_of_units_planned_one_by_one() -> None:
    assert await written(is_together=True) == await written(is_together=False)


def unit_of(order: RunOrder, name: str, *, fence: int | None = None, is_bad: bool = False) -> UnitToPlan:
    """A unit without items; the decision about a bad one fails."""
    held = order.held(RunState.RUNNING)

    def decide(known: items.KnownItems) -> Sequence[items.Decision]:
        if is_bad:
            raise ValueError("a bad unit")
        return []

    return UnitToPlan(
        held=held if fence is None else msgspec.structs.replace(held, fence=fence),
        unit_key=name,
        content_hash=digest(name),
        size_bytes=1,
        found=(),
        decide=decide,
        at=1,
        is_whole=True,
    )


async def test_bad_unit_of_a_window_fails_alone(store: Store) -> None:
    bench, order = await executing(store)
    window, failed = bench.delivery.window(), list[str]()

    async def planned(name: str) -> None:
        try:
            await window.plans.run(partial(unit_of, order, name, is_bad=name == "7"))
        except ValueError:
            failed.append(name)

    async with anyio.create_task_group() as tasks:
        for number in range(64):
            tasks.start_soon(planned, str(number))

    rows = await store.read(units.units_of, order.run_id)
    assert failed == ["7"]
    assert {row.unit_key for row in rows} == {str(number) for number in range(64)} - {"7"}
    assert {row.state for row in rows} == {UnitState.DONE}


async def test_stale_fence_in_a_window_refuses_the_units_of_that_fence_only(store: Store) -> None:
    _, order = await executing(store)
    some = [unit_of(order, "a"), unit_of(order, "b", fence=99), unit_of(order, "c")]

    outcomes = await store.write(plans.plan_units, some)

    assert [type(outcome) for outcome in outcomes] == [UnitPlan, StaleRun, UnitPlan]
    assert isinstance(outcomes[1], HubError)
    assert [row.unit_key for row in await store.read(units.units_of, order.run_id)] == ["a", "c"]


@pytest.mark.parametrize("most", [0, 1, 3])
async def test_window_marks_calls_as_sent_up_to_the_number_that_is_sent_next(store: Store, most: int) -> None:
    _, order = await executing(store)

    def one_call(name: str) -> UnitToPlan:
        call = items.PlannedCall(call_id=CallId(name), ordinal=0, table="tasks", payload={})
        decisions = [items.Decision(call=call)]
        return msgspec.structs.replace(unit_of(order, name), decide=lambda known: decisions, most_sent=most)

    outcomes = await store.write(plans.plan_units, [one_call(name) for name in "abcde"])

    marked = [outcome.marked for outcome in outcomes if isinstance(outcome, UnitPlan)]
    assert marked == [number < most for number in range(5)]
