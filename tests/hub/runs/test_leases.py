"""A node says that it lives, from a thread of its own; the watchdog hears when that hangs."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from hub.rounds import WORK_S
from hub.runs.leases import LEASE_MS, RENEW_EVERY_S, LeaseKeeper
from protocol.ids import BootId, NodeId
from storage.devices import nodes
from storage.store import Store, open_store
from tests.support.clock import FakeClock
from tests.support.wire import until


class Hanging:
    """A database that answers nothing while it hangs."""

    def __init__(self, store: Store, hangs: threading.Event) -> None:
        self._store = store
        self._hangs = hangs
        self.is_hung = threading.Event()

    async def write(self, *args: Any, **kwargs: Any) -> Any:
        while self._hangs.is_set():
            self.is_hung.set()
            await anyio.sleep(0.005)
        return await self._store.write(*args, **kwargs)


async def test_lease_keeper_with_a_hanging_database_is_late() -> None:
    hangs, clock = threading.Event(), FakeClock()
    opened: list[Hanging] = []

    @asynccontextmanager
    async def open_own() -> AsyncIterator[Any]:
        async with open_store("sqlite://") as store:
            await store.write(nodes.beat, NodeId("n"), BootId("b"), ttl_ms=LEASE_MS)
            opened.append(Hanging(store, hangs))
            yield opened[0]

    keeper = LeaseKeeper(open_own, node_id=NodeId("n"), boot_id=BootId("b"), clock=clock, every_s=0.001)
    async with anyio.create_task_group() as tasks:
        await tasks.start(keeper.serve)
        await until(lambda: keeper.turns.due < float("inf"))
        promised = keeper.turns.due
        clock.advance(RENEW_EVERY_S)
        await until(lambda: keeper.turns.due > promised)
        hangs.set()
        await until(lambda: opened[0].is_hung.is_set())
        clock.advance(WORK_S + 1.0)
        assert keeper.turns.is_late
        hangs.clear()
        tasks.cancel_scope.cancel()
