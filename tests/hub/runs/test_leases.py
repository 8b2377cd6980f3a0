"""Leases: a node says that it lives, from a thread of its own; a node that cannot gives its devices up."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from hub.base.periodic_loop import WORK_S
from hub.runs.leadership import RENEW_S, TTL_S, Leadership
from hub.runs.leases import GIVE_UP_S, LEASE_MS, RENEW_EVERY_S, STEADY_S, WELL_S, LeaseKeeper, NodeLease
from protocol.ids import BootId, NodeId
from storage import leases
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
            await store.write(leases.beat, NodeId("n"), BootId("b"), ttl_ms=LEASE_MS)
            opened.append(Hanging(store, hangs))
            yield opened[0]

    keeper = LeaseKeeper(open_own, node_id=NodeId("n"), boot_id=BootId("b"), clock=clock, every_s=0.001)
    async with anyio.create_task_group() as tasks:
        await tasks.start(keeper.serve)
        await until(lambda: keeper.loop.due < float("inf"))
        promised = keeper.loop.due
        clock.advance(RENEW_EVERY_S)
        await until(lambda: keeper.loop.due > promised)
        hangs.set()
        await until(lambda: opened[0].is_hung.is_set())
        clock.advance(WORK_S + 1.0)
        assert keeper.loop.is_late
        hangs.clear()
        tasks.cancel_scope.cancel()


A_SECOND = 1.0


class Neighbour:
    """The lease of a node and the reports of another node, with what the lease decided."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.decisions: list[object] = []
        self.renewals: list[float] = []
        self.lease = NodeLease(self.clock, on_renewed=self.renewals.append, on_given_up=self.decisions.append)

    def pass_time(self, seconds: float, *, renews: bool, other: float | None) -> None:
        """Let time pass, in which both nodes renew or do not; *other*: what the other node reports."""
        for second in range(round(seconds)):
            if second % RENEW_EVERY_S == 0:
                if renews:
                    self.lease.renewed(self.clock.uptime_s())
                if other is not None:
                    self.lease.other_renewed(BootId("o"), other, devices=3, address="ws://o")
            self.clock.advance(A_SECOND)
            self.lease.check()


@pytest.fixture
def near() -> Neighbour:
    neighbour = Neighbour()
    neighbour.pass_time(30, renews=True, other=60.0)
    return neighbour


@pytest.mark.parametrize(
    ("other", "decided"),
    [
        pytest.param(60.0, [[(3, "ws://o")]], id="another node renews"),
        pytest.param(None, [], id="no node is heard of"),
        pytest.param(STEADY_S - 1, [], id="another node has just begun again"),
    ],
)
def test_node_without_renewals_gives_the_devices_up_if_another_node_renews(
    near: Neighbour, other: float | None, decided: list[object]
) -> None:
    near.pass_time(60, renews=False, other=other)
    assert near.decisions == decided


def test_node_has_given_up_and_stopped_sending_before_others_claim_the_runs(near: Neighbour) -> None:
    near.pass_time(GIVE_UP_S + A_SECOND, renews=False, other=60.0)
    assert near.lease.is_given_up
    assert near.lease.is_valid, "others do not take over yet"


def test_node_without_a_database_like_all_others_keeps_devices_until_all_renew_again(near: Neighbour) -> None:
    near.pass_time(60, renews=False, other=None)
    near.pass_time(STEADY_S, renews=False, other=STEADY_S - RENEW_EVERY_S)  # is back first
    near.pass_time(30, renews=True, other=60.0)
    assert near.decisions == []


def test_node_has_devices_again_after_a_soon_confirmed_renewal(near: Neighbour) -> None:
    near.pass_time(20, renews=False, other=60.0)
    sent_at = near.clock.uptime_s()
    near.pass_time(WELL_S + A_SECOND, renews=False, other=60.0)
    near.lease.renewed(sent_at)
    near.lease.check()
    assert near.lease.is_given_up, "the answer came too late: the database is slow"
    near.pass_time(A_SECOND, renews=True, other=60.0)
    assert not near.lease.is_given_up


def test_lease_of_a_suspended_node_is_over_until_the_renewal(near: Neighbour) -> None:
    near.clock.suspended_s += LEASE_MS / 1_000
    assert not near.lease.is_valid
    near.lease.check()
    assert near.decisions == [], "reports of the others are as old"
    near.lease.renewed(near.clock.uptime_s())
    assert near.lease.is_valid


def test_renewals_in_time_are_reported_with_their_duration(near: Neighbour) -> None:
    steady = near.renewals
    steady.clear()  # of those before
    near.pass_time(2 * RENEW_EVERY_S + A_SECOND, renews=True, other=None)
    near.pass_time(2 * WELL_S, renews=False, other=None)
    near.pass_time(A_SECOND, renews=True, other=None)
    assert [one - steady[0] for one in steady] == [0.0, RENEW_EVERY_S, 2 * RENEW_EVERY_S, -steady[0]]


@pytest.mark.parametrize("suspended_s", [0.0, 2 * TTL_S])
async def test_suspended_leader_asks_before_leading_on(suspended_s: float) -> None:
    clock = FakeClock()
    async with open_store("sqlite://") as store:
        lead = Leadership(store, "task", BootId("a"), clock=clock, times_s=(TTL_S, RENEW_S))
        await lead.hold()
        await store.write(leases.end_others, BootId("b"))  # as if the lease had expired
        await store.write(leases.acquire_lease, "task", BootId("b"), ttl_ms=LEASE_MS)
        clock.suspended_s += suspended_s
        assert await lead.is_held() is not bool(suspended_s)


async def test_leader_whose_renewal_took_too_long_leaves_the_task_to_another() -> None:
    clock = FakeClock()
    async with open_store("sqlite://") as store:
        slow = SlowStore(store, clock)
        lead = Leadership(slow, "task", BootId("a"), clock=clock, times_s=(TTL_S, RENEW_S))  # type: ignore[arg-type]
        await lead.hold()
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
