"""Delivery of a run whose tasks leave in every order: nothing is left open, sent twice at once, or lost."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, cast

import anyio
import pytest

from hub.base.clock import epoch_ms
from hub.document import Document
from hub.extraction.items import ExtractionOptions
from hub.links.auth import Admission
from hub.links.connection import DeviceConnection, OpenLink
from hub.links.deadline_wheel import DeadlineWheel
from hub.links.link_limits import LinkLimits
from hub.runs import call_window
from hub.runs.call_window import BATCHES_IN_FLIGHT
from hub.runs.delivery import ItemDelivery
from hub.runs.interrupt import Interrupt
from hub.runs.run_order import RunOrder
from protocol.capabilities import CapabilityName
from protocol.errors import LinkLost
from protocol.frame import Frame
from protocol.ids import CallId, DeviceId, UserId
from protocol.lifecycles import RunEvent, RunState
from protocol.tool_calls import Answer, ToolCall
from storage.kernel.database import DatabaseUnavailable
from storage.runs import calls, runs
from storage.runs.calls import OpenCall
from tests.simulation.store import fresh_disk
from tests.support.clock import FakeClock
from tests.support.runs import Bench, declare_agent, digest
from tests.support.unwinding import GatedStore, Tasks, orders_of, play

FILES = {"a": 2, "b": 1, "c": 3}  # tasks in each: the batches of two tasks have calls of two files
MAX_IN_BATCH = 2


class Device:
    """Device with one connection at a time, which answers when the test says so."""

    def __init__(self, offers: Mapping[str, str]) -> None:
        self._offers = offers
        self.rows: set[str] = set()
        self.answers_at_once = False
        self.link: OpenLink | None = None
        self._unanswered: list[ToolCall] = []

    def connect(self, bench: Bench, epoch: int) -> OpenLink:
        """Connect, with no call open."""
        self._unanswered = []
        self.link = OpenLink(
            cast(DeviceConnection, self),
            Admission(DeviceId(bench.agent.device_id or ""), UserId(bench.agent.user_id), epoch),
            self._offers,
            {},
            client=None,
            skew="",
            roots=(),
            missing=(),
            wheel=DeadlineWheel(bench.clock),
            clock=bench.clock,
            metrics=bench.metrics,
            limits=LinkLimits(),
        )
        return self.link

    def send_now(self, frame: Frame) -> None:
        """Implement the carrier of a link: receive a call."""
        assert isinstance(frame, ToolCall)
        self._unanswered.append(frame)
        if self.answers_at_once:
            self.answer()

    def answer(self, most: int = 100) -> None:
        """Write the rows of the oldest open calls, and answer these calls."""
        answered, self._unanswered = self._unanswered[:most], self._unanswered[most:]
        for call in answered:
            self.rows.add(call.id)
            assert self.link is not None
            self.link.settle(CallId(call.id), Answer(result={"id": f"row of {call.id}"}))


class Planned(NamedTuple):
    """Run with planned units, none of whose calls was sent; *rows*: the database."""

    bench: Bench
    store: GatedStore
    order: RunOrder
    rows: sqlite3.Connection


async def plan_run() -> Planned:
    """Plan the units of a run that executes."""
    store = GatedStore(fresh_disk())
    clock = FakeClock()
    store.disk.set_clock(lambda: epoch_ms(clock.now()))
    bench = Bench(store, await declare_agent(store), clock=clock)
    bench.connect()
    await bench.control.submit(bench.agent)
    order = await bench.claim()
    await bench.lifecycle.move(order.held(RunState.PREPARING), RunEvent.ACKNOWLEDGED)
    for name, tasks in FILES.items():
        text = "".join(f"- [ ] task {number} of {name}\n" for number in range(tasks))
        document = Document(unit_key=f"{name}.md", text=text, content_hash=digest(name))
        found = await bench.extractor.extract_by_rules(document, ExtractionOptions(data_types=("tasks",)))
        await bench.delivery.plan(None, order, document, found, window=bench.delivery.window(), read_at=1)
    return Planned(bench, store, order, store.disk.snapshot())


class Delivering:
    """Tasks of one execution that deliver a unit each; afterwards the device is back, and they start anew."""

    def __init__(self, planned: Planned, offers: Mapping[str, str]) -> None:
        self._bench, _, self._order, rows = planned
        planned.store.disk.put_back(rows)
        self._store = GatedStore(planned.store.disk)
        self._delivery = ItemDelivery(
            self._store,
            clock=self._bench.clock,
            metrics=self._bench.metrics,
            limits=self._bench.limits,
            seals=self._bench.seals,
            # A lost link is no attempt: another task sends the calls on the same link.
            max_sends=2 if offers else 1,
        )
        self._window = self._delivery.window()
        self._device = Device(offers)
        self._link = self._device.connect(self._bench, 1)
        self.events: dict[str, Callable[[], object]] = {
            "a is cancelled": lambda: self._tasks.cancel("a.md"),
            "b is cancelled": lambda: self._tasks.cancel("b.md"),
            "one call is answered": lambda: self._device.answer(1),
            "three calls are answered": lambda: self._device.answer(3),
            "the link is lost": lambda: self._link.on_closed("connection_lost"),
            "the device is back": partial(
                self._store.disk.write, lambda c: c.exec_driver_sql("UPDATE devices SET session_epoch = 2")
            ),
            "the store hangs": self._store.hang,
            "the store goes on": self._store.go_on,
            "the store leaves": self._store.leave,
        }

    def start(self, tasks: Tasks) -> None:
        self._tasks = tasks
        for unit_key, open_ in self._open().items():
            tasks.start(unit_key, self._deliver, self._link, open_)

    async def finish(self) -> None:
        self._store.go_on()
        self._device.answers_at_once = True
        self._device.answer()

    async def check(self) -> None:
        self._store.is_away = False
        for unit_key, ended in self._tasks.ended.items():
            assert ended is True or isinstance(ended, LinkLost | DatabaseUnavailable), (unit_key, ended)
        link = self._device.connect(self._bench, 2)
        assert self._window.next_batch(link, self._bench.clock.monotonic()) == []
        async with anyio.create_task_group() as again:
            for open_ in self._open().values():
                again.start_soon(self._deliver, link, open_)
        assert (self._window.room, len(self._window.waiting)) == (BATCHES_IN_FLIGHT, 0)
        assert (self._link.pending_calls, link.pending_calls, self._open()) == (0, 0, {})
        run = self._store.disk.read(runs.get_run, (self._order.run_id,), {})
        assert run.items_created == len(self._device.rows) == sum(FILES.values())

    async def _deliver(self, link: OpenLink, open_: Sequence[OpenCall]) -> bool:
        return await self._delivery.deliver(link, self._order, open_, self._window, Interrupt())

    def _open(self) -> dict[str, list[OpenCall]]:
        found: dict[str, list[OpenCall]] = {}
        for call in self._store.disk.read(calls.open_calls, (self._order.run_id,), {}):
            found.setdefault(call.unit_key, []).append(call)
        return found


KEEPS_IDS = {CapabilityName.TOOL_INSERT: ""}
PLAYS = [
    (KEEPS_IDS, ("three calls are answered", "the link is lost", "a is cancelled")),
    ({}, ("one call is answered", "three calls are answered", "the link is lost")),
    *(
        pytest.param(offers, events, marks=pytest.mark.slow)
        for offers, events in (
            (
                KEEPS_IDS,
                ("one call is answered", "three calls are answered", "the link is lost", "b is cancelled"),
            ),
            (KEEPS_IDS, ("one call is answered", "the store hangs", "the link is lost")),
            ({}, ("three calls are answered", "the store hangs", "b is cancelled", "the store goes on")),
            ({}, ("three calls are answered", "the link is lost", "a is cancelled", "the store leaves")),
            ({}, ("one call is answered", "the device is back", "the link is lost", "b is cancelled")),
            ({}, ("a is cancelled", "b is cancelled", "the store leaves", "three calls are answered")),
        )
    ),
]


@pytest.mark.parametrize(("offers", "events"), PLAYS, ids=lambda given: ", ".join(given) or "keeps no ids")
async def test_delivery_tasks_leaving_in_any_order_leave_no_call_open_or_sent_twice(
    offers: Mapping[str, str], events: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_window, "SINGLE_CALLS", MAX_IN_BATCH)
    planned = await plan_run()
    for order in orders_of(events):
        try:
            await play(Delivering(planned, offers), order)
        except Exception as error:
            raise AssertionError(order) from error
