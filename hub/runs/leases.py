"""Lease of this node on a shared database (30 s, renewed every 4 s), and work's end without it.

The node counts its lease from the sending of the last confirmed renewal, by ``Clock.uptime_s``, which counts
suspensions.

It renews the lease in a thread with its own event loop and connection. If the hub's main loop is starved
for a while, its runs are not handed to another node while it still executes them.
"""

import asyncio
import threading
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from hashlib import sha256
from typing import Final

import anyio
import anyio.to_thread
from anyio.abc import TaskStatus

from hub.base.clock import Clock
from hub.base.log import Channel
from hub.base.periodic_loop import LoopReports
from protocol.ids import BootId, NodeId
from storage import leases as storage_leases
from storage.kernel.database import StorageError
from storage.leases import LostLease
from storage.store import Store

log = Channel(__name__)

RENEW_EVERY_S: Final = 4.0
LEASE_MS: Final = 30_000  # after this, other nodes take over the runs of a dead node
RETRY_S: Final = 1.0
CHECK_S: Final = 0.5
WELL_S: Final = 5.5  # the last renewal of a node that reaches the database was sent at most so long ago
# More than WELL_S + RENEW_EVERY_S: if all nodes lost the database at once, none is well by then.
GIVE_UP_S: Final = 10.0
# A node that has renewed for so long is not just the first one that a database came back for.
STEADY_S: Final = 10.0


class NodeLease:
    """Lease of this node on its devices and runs, and its end in favour of nodes that renew theirs.

    If this node cannot renew its lease, and another one can, it gives its devices up long before the others
    take them. If no other node reports a renewal, the devices stay.

    Args:
        on_renewed: called with the seconds for which each renewal has been confirmed soon enough.
        on_given_up: called with the number of devices and the address of each node that renews its lease.

    Attributes:
        is_given_up: True from then on until a renewal is confirmed soon enough.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        on_renewed: Callable[[float], object] = lambda steady_s: None,
        on_given_up: Callable[[list[tuple[int, str]]], object] = lambda nodes: None,
    ) -> None:
        self.is_given_up = False
        self._on_renewed = on_renewed
        self._on_given_up = on_given_up
        self._clock = clock
        # uptime at the sending of the last confirmed renewal, of the first since the last gap, and of the
        # last one that was reported
        self._renewed_at = self._steady_from = self._reported = clock.uptime_s()
        # uptime of the last report, number of devices, and address
        self._others: dict[BootId, tuple[float, int, str | None]] = {}

    @property
    def is_valid(self) -> bool:
        """True as long as no other node can have taken over the runs of this one."""
        return self._clock.uptime_s() - self._renewed_at < LEASE_MS / 1_000

    def renewed(self, sent_at: float) -> None:
        """Count the lease from *sent_at*, the uptime at which a confirmed renewal was sent. Thread-safe."""
        if sent_at - self._renewed_at > WELL_S:
            self._steady_from = sent_at
        self._renewed_at = sent_at

    def other_renewed(self, boot_id: BootId, steady_s: float, *, devices: int, address: str | None) -> None:
        """Note that another node has renewed its lease."""
        if steady_s >= STEADY_S:
            self._others[boot_id] = self._clock.uptime_s(), devices, address

    def check(self) -> None:
        """Report a renewal; give the devices up if only other nodes can renew their leases."""
        now, renewed_at = self._clock.uptime_s(), self._renewed_at
        self._others = {boot: other for boot, other in self._others.items() if now - other[0] <= WELL_S}
        if now - renewed_at <= WELL_S:
            self.is_given_up = False
            if renewed_at != self._reported:
                self._reported = renewed_at
                self._on_renewed(renewed_at - self._steady_from)
        elif now - renewed_at > GIVE_UP_S and self._others and not self.is_given_up:
            self.is_given_up = True
            log.error("node.cut_off", not_renewed_s=round(now - renewed_at, 1), others=len(self._others))
            self._on_given_up([(number, url) for _, number, url in self._others.values() if url is not None])


class LeaseKeeper:
    """Periodically renews the lease that covers all runs executed by this boot."""

    def __init__(
        self,
        open_own: Callable[[], AbstractAsyncContextManager[Store]],
        *,
        node_id: NodeId,
        boot_id: BootId,
        clock: Clock,
        lease: NodeLease | None = None,
        lease_ms: int = LEASE_MS,
        every_s: float = RENEW_EVERY_S,
        on_lost: Callable[[], object] = lambda: None,
    ) -> None:
        """Set up the keeper.

        Args:
            open_own: opens another connection to the same database; called in the thread.
            on_lost: called when this process must end, because a later one has the node's identity or the
                node was removed.
        """
        self._on_lost = on_lost
        self._clock = clock
        self._lease = lease or NodeLease(clock)
        self.loop = LoopReports(clock)
        self._open_own = open_own
        self._node_id = node_id
        self._boot_id = boot_id
        self._lease_ms = lease_ms
        self._every_s = every_s
        self._stopped = threading.Event()
        self._wake: Callable[[], object] = lambda: None  # ends the wait of the thread
        self._report_lost: Callable[[], object] = lambda: None

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Renew the lease until cancelled."""
        self._stopped.clear()
        self._lost = anyio.Event()
        self._report_lost = partial(asyncio.get_running_loop().call_soon_threadsafe, self._lost.set)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, self._keep)
            task_status.started()
            try:
                while not self._lost.is_set():
                    self._lease.check()
                    with anyio.move_on_after(CHECK_S):
                        await self._lost.wait()
                self._on_lost()
                await anyio.sleep_forever()
            finally:
                self._stopped.set()  # the task group waits for the thread
                with suppress(RuntimeError):  # its loop has ended already
                    self._wake()

    def _keep(self) -> None:
        anyio.run(self._renew)

    async def _renew(self) -> None:
        stopped = anyio.Event()
        self._wake = partial(asyncio.get_running_loop().call_soon_threadsafe, stopped.set)
        while not self._stopped.is_set():
            self.loop.work()  # a server that does not answer times out before this turn is overdue
            try:
                async with self._open_own() as store:
                    beat = partial(storage_leases.beat, ttl_ms=self._lease_ms, is_first=False)
                    while not self._stopped.is_set():
                        self.loop.work()
                        sent_at = self._clock.uptime_s()
                        await store.write(beat, self._node_id, self._boot_id)
                        self._lease.renewed(sent_at)
                        await self._wait(stopped, sent_at + self._every_s - self._clock.uptime_s())
            except LostLease as exc:
                log.error("node.superseded", exc=exc)
                self.loop.wait()
                self._report_lost()
                return
            except StorageError as exc:
                log.error("leases.not_renewed", exc=exc)
                await self._wait(stopped, RETRY_S)

    async def _wait(self, stopped: anyio.Event, seconds: float) -> None:
        self.loop.wait(seconds)
        with anyio.move_on_after(seconds):
            await stopped.wait()


def is_share_of(boot_id: BootId, living: Collection[BootId], what: str) -> bool:
    """Return whether this one of the *living* hub processes does *what*, which two may do for a while.

    All get about the same share. If one comes or goes, only its own share moves.
    """
    return max(living, key=lambda one: sha256(f"{one} {what}".encode()).digest(), default=boot_id) == boot_id
