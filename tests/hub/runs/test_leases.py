"""A node says that it lives, from a thread of its own; the watchdog hears when that hangs."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from hub.rounds import WORK_S
from hub.runs.leases import LEASE_MS, RENEW_EVERY_S, RENEW_S, TTL_S, Leadership, LeaseKeeper
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


A_SECOND = 1.0


@pytest.mark.parametrize("suspended_s", [0.0, 2 * TTL_S])
async def test_leader_that_was_suspended_asks_before_it_leads_on(suspended_s: float) -> None:
    clock = FakeClock()
    async with open_store("sqlite://") as store:
        lead = Leadership(store, "task", BootId("a"), clock=clock, times_s=(TTL_S, RENEW_S))
        await lead.take()
        await store.write(nodes.end_others, BootId("b"))  # as if the lease had expired
        await store.write(nodes.acquire_lease, "task", BootId("b"), ttl_ms=LEASE_MS)
        clock.suspended_s += suspended_s
        assert await lead.is_held() is not bool(suspended_s)


async def test_leader_whose_renewal_took_too_long_leaves_the_task_to_another() -> None:
    clock = FakeClock()
    async with open_store("sqlite://") as store:
        slow = SlowStore(store, clock)
        lead = Leadership(slow, "task", BootId("a"), clock=clock, times_s=(TTL_S, RENEW_S))  # type: ignore[arg-type]
        await lead.take()
        clock.advance(RENEW_S)
        assert await lead.is_held()
        slow.takes_s = clock_s = RENEW_S + A_SECOND
        clock.advance(clock_s)
        assert not await lead.is_held()


class SlowStore:
    """A store whose writes take *takes_s*."""

    is_shared = True

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self._store = store
        self._clock = clock
        self.takes_s = 0.0

    async def write(self, *args: Any, **kwargs: Any) -> Any:
        self._clock.advance(self.takes_s)
        return await self._store.write(*args, **kwargs)
