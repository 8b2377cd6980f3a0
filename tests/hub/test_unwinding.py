"""Structures that tasks share are whole again in whatever order the tasks leave them.

Delivery, which shares the most, has a table of its own: ``tests/hub/runs/test_unwinding.py``.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import anyio
import pytest

from hub.agents.locks import LockService, itself
from hub.api.http.idempotency import Replays
from hub.base.call_coalescer import CallCoalescer
from hub.base.clock import IdFactory, epoch_ms
from hub.base.loop_meter import LoopAccount, LoopMeter, charged
from hub.base.metrics import Metrics
from hub.connectors.calling import ProviderQuota, Throttle
from hub.extraction.rate_limiter import Limiter
from hub.links.connection import PendingCalls
from hub.links.deadline_wheel import DeadlineWheel
from hub.links.device_link import SpoolFailed
from hub.links.roster import Roster
from hub.links.streams import RunStreams
from hub.runs.asking import Asking
from hub.runs.lifecycle import RunWatch
from protocol.errors import CloseCode, CodedError, LinkLost
from protocol.handshake import DeviceHello, Goodbye
from protocol.ids import AgentId, CallId, RunId, UserId
from protocol.tool_calls import Answer
from protocol.work import AgentComplete, AgentData, AgentRun, FilePiece, RunConfig
from storage.agents import agents, locks
from storage.agents.declared_agents import DeclaredAgent, reconcile_declared
from storage.devices import users
from storage.kernel.database import DatabaseUnavailable
from storage.kernel.postgres import _JobSlots
from tests.simulation.store import fresh_disk
from tests.support.clock import FakeClock, SeededChance
from tests.support.link import FakeLink
from tests.support.unwinding import GatedStore, Tasks, orders_of, play

DONE = Answer(result={"ok": True})
NAMES = ("a", "b", "c")
PARTING = Goodbye(reason="replaced")


class Alone:
    """Tasks that enter a block one after the other, and stay in it until an event.

    Args:
        block: returns the block for a task.
        left: number of things that are still held, after all tasks have left.
        at_once: tasks that may be in the block together.
    """

    def __init__(
        self,
        block: Callable[[str], AbstractAsyncContextManager[Any]],
        left: Callable[[], int],
        *,
        at_once: int = 1,
    ) -> None:
        self._block, self._left, self._at_once = block, left, at_once
        self._may_leave = {name: anyio.Event() for name in NAMES}
        self._inside: set[str] = set()
        self.events: dict[str, Callable[[], object]] = {
            "a leaves": self._may_leave["a"].set,
            "a is cancelled": lambda: self._tasks.cancel("a"),
            "b is cancelled": lambda: self._tasks.cancel("b"),
            "c is cancelled": lambda: self._tasks.cancel("c"),
        }

    def start(self, tasks: Tasks) -> None:
        self._tasks = tasks
        for name in NAMES:
            tasks.start(name, self._stay, name)

    async def _stay(self, name: str) -> None:
        async with self._block(name):
            self._inside.add(name)
            assert len(self._inside) <= self._at_once
            try:
                await self._may_leave[name].wait()
            finally:
                self._inside.discard(name)

    async def finish(self) -> None:
        for event in self._may_leave.values():
            event.set()

    async def check(self) -> None:
        assert not [error for error in self._tasks.ended.values() if error is not None]
        assert self._left() == 0
        async with self._block("d"):  # at once, since nothing is held any more
            pass
        assert self._left() == 0


def limiter() -> Alone:
    clock = FakeClock()
    limiter = Limiter(clock, in_flight=1)
    return Alone(lambda name: limiter.turn(name, 10.0), lambda: limiter.demand)


def throttle() -> Alone:
    throttle = Throttle(ProviderQuota(at_once=2), FakeClock())
    return Alone(lambda _: throttle.place(), lambda: 2 - throttle._places.value, at_once=2)


def question() -> Alone:
    asking = Asking.__new__(Asking)  # the rest of it takes no part
    asking._asked_now = {}
    return Alone(lambda _: asking.alone(AgentId("agent"), "question"), lambda: len(asking._asked_now))


def idempotency_key() -> Alone:
    replays = Replays(GatedStore(fresh_disk()), clock=FakeClock())
    return Alone(
        lambda _: replays._alone("caller", "key"), lambda: len(replays._locks) + len(replays._waiting)
    )


class DatabasePlace:
    """Block that holds one of the connections to a server."""

    def __init__(self, places: _JobSlots) -> None:
        self._places = places

    async def __aenter__(self) -> None:
        await self._places.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._places.give_back()


def database_places() -> Alone:
    places = _JobSlots(1)
    return Alone(lambda _: DatabasePlace(places), lambda: 1 - places._free)


class Calls:
    """Calls of one connection, two of which have the same id, one after the other."""

    def __init__(self) -> None:
        clock = FakeClock()
        self._wheel = DeadlineWheel(clock)
        self._calls = PendingCalls(self._wheel, clock)
        self._ids = {"a": "one", "b": "two", "again": "one"}
        self.events: dict[str, Callable[[], object]] = {
            "one is answered": lambda: self._calls.settle(CallId("one"), DONE),
            "one is asked again": lambda: self._tasks.start("again", self._ask, "again"),
            "a is cancelled": lambda: self._tasks.cancel("a"),
            "the link is lost": lambda: self._calls.end("connection_lost"),
        }

    def start(self, tasks: Tasks) -> None:
        self._tasks = tasks
        for name in ("a", "b"):
            tasks.start(name, self._ask, name)

    async def _ask(self, name: str) -> Answer:
        call_id = self._ids[name]
        future: asyncio.Future[Answer] = asyncio.Future()
        self._calls.open(call_id, 0.0, 30, future)
        try:
            return await future
        finally:
            self._calls.close(call_id, future)

    async def finish(self) -> None:
        for call_id in ("one", "two"):
            self._calls.settle(CallId(call_id), DONE)

    async def check(self) -> None:
        assert len(self._calls) == 0
        assert {type(ended).__name__ for ended in self._tasks.ended.values()} <= {
            "Answer",
            "LinkLost",
            "CallInWork",
        }


class Streams:
    """Stream of a run, which is opened again over the same connection."""

    RUN = AgentRun(run_id="r", agent_id="a", config=RunConfig(paths=["notes"]), fence=1)

    def __init__(self) -> None:
        self._sent: list[object] = []
        self._streams = RunStreams(send=self._sent.append, has_credit=False, spool_dir=None, memory_bytes=1)
        data = AgentData(run_id="r", files=[FilePiece(path="f", content="text")])
        self.events: dict[str, Callable[[], object]] = {
            "data comes": partial(self._streams.enqueue, data),
            "the run is complete": partial(self._streams.enqueue, AgentComplete(run_id="r")),
            "the reader is cancelled": lambda: self._tasks.cancel("reader"),
            "the link is lost": lambda: self._streams.end("connection_lost"),
        }

    def start(self, tasks: Tasks) -> None:
        self._tasks = tasks
        tasks.start("reader", self._read)

    async def _read(self) -> int:
        with self._streams.open(self.RUN) as stream:
            return len([frame async for frame in stream])

    async def finish(self) -> None:
        self._streams.enqueue(AgentComplete(run_id="r"))

    async def check(self) -> None:
        assert len(self._streams) == 0
        ended = self._tasks.ended.get("reader", 0)
        assert isinstance(ended, int | LinkLost) and not isinstance(ended, SpoolFailed)


class Joined:
    """Callers whose items are run together."""

    def __init__(self) -> None:
        self._may = anyio.Event()
        self._fails = False
        self._together = CallCoalescer[str, str](self._run, max_items=2)
        self.events: dict[str, Callable[[], object]] = {
            "a is cancelled": lambda: self._tasks.cancel("a"),
            "b is cancelled": lambda: self._tasks.cancel("b"),
            "the set is done": self._may.set,
            "the database leaves": partial(setattr, self, "_fails", True),
        }

    async def _run(self, items: Sequence[str]) -> list[str]:
        await self._may.wait()
        if self._fails:
            raise DatabaseUnavailable("the database cannot be reached")
        return list(items)

    def start(self, tasks: Tasks) -> None:
        self._tasks = tasks
        for name in NAMES:
            tasks.start(name, self._together.run, name)

    async def finish(self) -> None:
        self._may.set()

    async def check(self) -> None:
        for name, ended in self._tasks.ended.items():
            assert ended == name or isinstance(ended, DatabaseUnavailable)
        assert "c" in self._tasks.ended
        self._fails = False
        assert await self._together.run("d") == "d"


class Watched:
    """Watchers of one run."""

    def __init__(self) -> None:
        self._watch = RunWatch()
        self._seen = dict.fromkeys(NAMES, 0)
        self.events: dict[str, Callable[[], object]] = {
            "a is cancelled": lambda: self._tasks.cancel("a"),
            "b is cancelled": lambda: self._tasks.cancel("b"),
            "the run changes": partial(self._watch.changed, RunId("r")),
        }

    def start(self, tasks: Tasks) -> None:
        self._tasks = tasks
        for name in NAMES:
            tasks.start(name, self._follow, name)

    async def _follow(self, name: str) -> None:
        changes = self._watch.changes(RunId("r"), at_most_every_s=0.0)
        try:
            async for _ in changes:
                self._seen[name] += 1
                if self._seen[name] == 3:
                    return
        finally:
            with anyio.CancelScope(shield=True):
                await changes.aclose()

    async def finish(self) -> None:
        while self._seen["c"] < 3:
            self._watch.changed(RunId("r"))
            await anyio.lowlevel.checkpoint()

    async def check(self) -> None:
        assert self._seen["c"] == 3
        assert (len(self._watch), self._watch._changes) == (0, {})


class Accounts:
    """Work of two accounts in one loop, a task of which outlives its request."""

    def __init__(self) -> None:
        self._meter = LoopMeter(FakeClock().monotonic)
        self._may = {name: anyio.Event() for name in NAMES}
        self.events: dict[str, Callable[[], object]] = {
            "a is cancelled": lambda: self._tasks.cancel("a"),
            "a goes on": self._may["a"].set,
            "b fails": self._may["b"].set,
        }

    def start(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._accounts = {name: LoopAccount(self._meter, f"operator:{name}") for name in NAMES}
        for name, account in self._accounts.items():
            tasks.start(name, charged, account, self._work(name))

    async def _work(self, name: str) -> None:
        await self._may[name].wait()
        if name == "b":
            raise LookupError(name)

    async def finish(self) -> None:
        for event in self._may.values():
            event.set()

    async def check(self) -> None:
        assert self._meter.current == ""
        assert not [account for account in self._accounts.values() if account.is_open]


class DeviceLocks:
    """Requests of a device and of an agent for one lock."""

    def __init__(self) -> None:
        clock = FakeClock()
        self._store = GatedStore(fresh_disk())
        self._store.disk.set_clock(lambda: epoch_ms(clock.now()))
        self._store.disk.write(users.ensure_user, UserId("anna"), "owner", 1)
        agent = DeclaredAgent(name="notes", device_name="desk", data_types=("tasks",), prompt="Find tasks.")
        self._store.disk.write(
            reconcile_declared, user_id=UserId("anna"), declared=[agent], at=1, fresh_ids=list("abcd")
        )
        found = self._store.disk.read(agents.find_agent_by_name, ("notes",), {})
        assert found is not None
        self._agent_id = found.id
        self._locks = LockService(
            self._store, clock=clock, ids=IdFactory(clock, SeededChance()), metrics=Metrics()
        )
        self._link = FakeLink(found.device_id or "", user_id="anna")
        self._may_leave = anyio.Event()
        self.events: dict[str, Callable[[], object]] = {
            "the holder is cancelled": lambda: self._tasks.cancel("holder"),
            "the device is lost": partial(self._locks.device_lost, self._link.device_id, 1),
            "the waiter is cancelled": lambda: self._tasks.cancel("waiter"),
            "the store hangs": self._store.hang,
        }

    def start(self, tasks: Tasks) -> None:
        self._tasks = tasks
        tasks.start("holder", self._hold)
        tasks.start("waiter", self._wait)

    async def _hold(self) -> None:
        async with self._locks.hold(UserId("anna"), itself(self._agent_id), ("door",)):
            await self._may_leave.wait()

    async def _wait(self) -> None:
        asked = await self._locks.ask(self._link, self._agent_id, ("door",), wait_ms=600_000)
        turn = asked if isinstance(asked, locks.LockGrant) else await self._locks.granted(asked)
        await self._locks.release(UserId("anna"), turn.fences, turn.holder)

    async def finish(self) -> None:
        self._store.go_on()
        self._may_leave.set()

    async def check(self) -> None:
        assert len(self._locks) == 0
        ended = self._tasks.ended.get("waiter")
        assert ended is None or isinstance(ended, CodedError), ended
        (lock,) = self._store.disk.read(locks.locks_named, (UserId("anna"), ("door",)), {}) or (None,)
        assert lock is None or lock.holder is None or lock.holder.kind == "device"


class Link(FakeLink):
    """Link of this process, whose end the roster learns once, as from a connection."""

    expires_at: int | None = None
    pending_calls = buffered_bytes = 0

    def __init__(self, roster: Roster, epoch: int) -> None:
        super().__init__("desk", epoch=epoch)
        self._roster = roster

    def end(self, goodbye: Goodbye = PARTING, close: CloseCode = CloseCode.REPLACED) -> None:
        if not self.gone.is_set():
            self.cut()
            self._roster.leave(self, "ended")

    async def wait_closed(self) -> None:
        await self.gone.wait()


class Connections:
    """Connections of one device, of which the newest counts."""

    def __init__(self) -> None:
        self._roster = Roster(lambda event: None, metrics=Metrics())
        self._links = {epoch: Link(self._roster, epoch) for epoch in (1, 2)}
        self.events: dict[str, Callable[[], object]] = {
            "the first is welcome": partial(self._welcome, 1),
            "the second is welcome": partial(self._welcome, 2),
            "the first ends": self._links[1].end,
            "the second ends": self._links[2].end,
        }

    def _welcome(self, epoch: int) -> None:
        link = self._links[epoch]
        if not link.gone.is_set() and self._roster.supersede(link.device_id, epoch):
            self._roster.enter(link, DeviceHello())
            found = self._roster.find(link.device_id)
            assert found is not None and found.epoch == epoch

    def start(self, tasks: Tasks) -> None:
        """Start nothing: connections have no task of their own here."""

    async def finish(self) -> None:
        if not len(self._roster):
            self._links[3] = Link(self._roster, 3)
            self._welcome(3)

    async def check(self) -> None:
        assert [self._links[link.epoch].gone.is_set() for link in self._roster.connected()] == [False]
        for link in self._links.values():
            link.end()
        assert len(self._roster) == 0


SCENES: dict[str, Callable[[], Any]] = {
    "limiter of a model": limiter,
    "throttle of a provider": throttle,
    "question of an agent": question,
    "idempotency key": idempotency_key,
    "places of a server": database_places,
    "calls of a connection": Calls,
    "streams of a connection": Streams,
    "connections of a device": Connections,
    "joined writes": Joined,
    "watchers of a run": Watched,
    "accounts of the loop": Accounts,
    "locks of devices": DeviceLocks,
}


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param(scene, id=name, marks=[pytest.mark.slow] if scene is DeviceLocks else [])
        for name, scene in SCENES.items()
    ],
)
async def test_shared_structure_is_whole_again_after_tasks_leave_in_any_order(
    scene: Callable[[], Any],
) -> None:
    for order in orders_of([*scene().events]):
        try:
            await play(scene(), order)
        except Exception as error:
            raise AssertionError(order) from error
