"""Renewal of this node's lease on a shared database, where other nodes take over expired runs.

Runs in a thread with its own event loop and connection. If the hub's main loop is starved for a while, its
runs are not handed to another node while it still executes them.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import anyio
import anyio.to_thread
from anyio.abc import TaskStatus

from hub.clock import Clock
from hub.log import Channel
from hub.turns import Turns
from protocol.ids import BootId, NodeId
from storage.devices import leases
from storage.kernel.database import StorageError
from storage.store import Store

log = Channel(__name__)

RENEW_EVERY_S: Final = 5.0
LEASE_MS: Final = 30_000  # after this, other nodes take over the runs of a dead node
RETRY_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.1  # poll interval for the stop flag


class LeaseKeeper:
    """Periodically renews the lease that covers all runs executed by this boot."""

    def __init__(
        self,
        open_own: Callable[[], AbstractAsyncContextManager[Store]],
        *,
        node_id: NodeId,
        boot_id: BootId,
        clock: Clock,
        lease_ms: int = LEASE_MS,
        every_s: float = RENEW_EVERY_S,
    ) -> None:
        """Set up the keeper.

        Args:
            open_own: opens another connection to the same database; called in the thread.
        """
        self.turns = Turns(clock)
        self._open_own = open_own
        self._node_id = node_id
        self._boot_id = boot_id
        self._lease_ms = lease_ms
        self._every_s = every_s
        self._stopped = threading.Event()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Renew the lease until cancelled."""
        self._stopped.clear()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, self._keep)
            task_status.started()
            try:
                await anyio.sleep_forever()
            finally:
                # the task group waits for the thread, which ends within one poll interval
                self._stopped.set()

    def _keep(self) -> None:
        anyio.run(self._renew)

    async def _renew(self) -> None:
        while not self._stopped.is_set():
            self.turns.work()  # a server that does not answer times out before this turn is overdue
            try:
                async with self._open_own() as store:
                    while not self._stopped.is_set():
                        self.turns.work()
                        await store.write(leases.beat, self._node_id, self._boot_id, ttl_ms=self._lease_ms)
                        await self._wait(self._every_s)
            except StorageError as exc:
                log.error("leases.not_renewed", exc=exc)
                await self._wait(RETRY_S)

    async def _wait(self, seconds: float) -> None:
        self.turns.wait(seconds)
        with anyio.move_on_after(seconds):
            while not self._stopped.is_set():  # noqa: ASYNC110 - set by another thread
                await anyio.sleep(_LOOK_EVERY_S)
