"""A hub killed between the steps of a window of units: each item reaches the device once."""

from collections.abc import Callable
from typing import Any

import anyio
import msgspec
import pytest

from hub.document import Document
from hub.extraction.items import ExtractionOptions, Notes
from hub.runs.interrupt import Interrupt
from protocol.errors import LinkLost
from protocol.ids import BootId
from protocol.lifecycles import RunEvent, RunState, UnitState
from protocol.tool_calls import Answer, ToolCall
from storage.agents.agents import AgentRow
from storage.kernel.database import DatabaseUnavailable
from storage.runs import run_moves, runs, units
from storage.runs.plans import plan_units
from storage.runs.units import settle_answers
from storage.store import Store
from tests.support.runs import Bench, digest, folder

FILES = {name: f"- [ ] Call {name}\n- [ ] Pay {name}\n" for name in "abcde"}
TITLES = sorted(f"{verb} {name}" for verb in ("Call", "Pay") for name in FILES)


class MortalStore:
    """Store of a hub process that is killed just before or after its first write of a kind.

    Afterwards the process reads, writes and sends nothing.
    """

    is_shared = False

    def __init__(self, store: Store, last: Callable[..., Any], *, is_written: bool) -> None:
        self._store = store
        self._last = last
        self._is_written = is_written
        self.killed = anyio.Event()

    def check(self) -> None:
        if self.killed.is_set():
            raise DatabaseUnavailable("the process is dead")

    async def read(self, fn: Callable[..., Any], *args: Any, **options: Any) -> Any:
        self.check()
        return await self._store.read(fn, *args, **options)

    async def write(self, fn: Callable[..., Any], *args: Any, **options: Any) -> Any:
        self.check()
        if fn is self._last:
            if self._is_written:
                await self._store.write(fn, *args, **options)
            self.killed.set()
            self.check()
        return await self._store.write(fn, *args, **options)


class Device:
    """Device that keeps the row of each call. *is_reached*: returns False if the hub is dead."""

    def __init__(self) -> None:
        self.rows: dict[str, object] = {}
        self.is_reached: Callable[[], bool] = lambda: True

    def insert(self, call: ToolCall) -> Answer:
        if not self.is_reached():
            raise LinkLost("the process is dead", dispatched=False)
        self.rows[call.id] = call.data["title"]
        return Answer(result={"id": f"row of {call.id}"})

    @property
    def titles(self) -> list[str]:
        return sorted(map(str, self.rows.values()))


async def play_until_killed(bench: Bench, mortal: MortalStore, device: Device) -> None:
    """Claim a run, plan all files in one window, and deliver their calls."""
    device.is_reached = lambda: not mortal.killed.is_set()
    link = bench.connect(answers=device.insert)
    await bench.control.submit(bench.agent)
    order = await bench.claim()
    await bench.lifecycle.move(order.held(RunState.PREPARING), RunEvent.ACKNOWLEDGED)
    options, window = ExtractionOptions(data_types=("tasks",)), bench.delivery.window()
    documents = [
        Document(unit_key=f"{name}.md", text=text, content_hash=digest(name)) for name, text in FILES.items()
    ]
    by_rules = [await bench.extractor.extract_by_rules(document, options) for document in documents]
    found = [msgspec.structs.replace(read, notes=Notes()) for read in by_rules]  # waits for no model

    async def deliver(number: int) -> None:
        try:
            plan = await bench.delivery.plan(
                link, order, documents[number], found[number], window=window, read_at=1
            )
            await bench.delivery.deliver(
                *(link, order, plan.open_calls, window, Interrupt()),
                is_whole=plan.is_whole,
                marked=plan.marked,
            )
        except DatabaseUnavailable:
            assert mortal.killed.is_set()

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for number in range(len(FILES)):
                tasks.start_soon(deliver, number)
            await mortal.killed.wait()
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("last", "is_written", "state", "has_sent"),
    [
        (plan_units, False, None, False),
        (plan_units, True, UnitState.EXTRACTED, False),
        (settle_answers, False, UnitState.EXTRACTED, True),
        (settle_answers, True, UnitState.DONE, True),
    ],
    ids=["plans not committed", "plans committed, not sent", "sent, not settled", "settled"],
)
async def test_kill_between_the_steps_of_a_window_loses_and_doubles_no_item(
    store: Store,
    agent: AgentRow,
    last: Callable[..., Any],
    is_written: bool,
    state: UnitState | None,
    has_sent: bool,
) -> None:
    mortal, device = MortalStore(store, last, is_written=is_written), Device()
    killed = Bench(mortal, agent)  # type: ignore[arg-type]
    await play_until_killed(killed, mortal, device)
    (run,) = await store.read(runs.list_runs)
    known = await store.read(units.units_of, run.id)
    # The window may have been written in two parts, of which the last one was not.
    assert not known if state is None else state in {unit.state for unit in known}
    assert bool(device.rows) is has_sent

    killed.clock.advance(60)
    device.is_reached = lambda: True
    bench = Bench(store, agent, clock=killed.clock)
    bench.connect(answers=device.insert, runs=folder(**FILES))
    await store.write(run_moves.recover, boot_id=BootId("boot-2"), at=bench.now_ms)
    run = await bench.run()

    assert run.state is RunState.COMPLETED
    assert {unit.state for unit in (await bench.units(run.id)).values()} == {UnitState.DONE}
    assert device.titles == TITLES
