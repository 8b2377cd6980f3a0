"""Metrics that are counted in the database, and how often."""

import math
from typing import TYPE_CHECKING, Final

import anyio
from anyio.abc import TaskStatus

from hub.base.clock import Clock, now_ms
from hub.base.log import Channel, Log
from hub.base.metrics import Metrics
from hub.base.periodic_loop import PeriodicLoop
from hub.runs.disk import DiskGuard
from storage import audit
from storage.coordination import questions
from storage.devices import pairings
from storage.kernel import database
from storage.runs import items
from storage.store import Connection, Store

if TYPE_CHECKING:
    pass  # needs an optional extra


log = Channel(__name__)


EVERY_S: Final = 15.0  # usual interval of a metrics collector


class Gauges:
    """Service that updates the gauges of the database; gauges of the process are computed on request."""

    def __init__(self, *, store: Store, clock: Clock, metrics: Metrics, log: Log, disk: DiskGuard) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self.loop = PeriodicLoop(clock)
        metrics.log_dropped.follow(lambda: log.dropped)
        metrics.log_suppressed.follow(lambda: log.suppressed)
        metrics.disk_free.set_function(lambda: math.nan if disk.free_bytes is None else disk.free_bytes)

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Measure periodically until cancelled."""
        task_status.started()
        await self.loop.serve(self.read, of="gauges", every_s=EVERY_S)

    async def read(self) -> None:
        """Measure now."""
        at = now_ms(self._clock)

        def measure(c: Connection) -> tuple[database.DatabaseSize, int, int, int, int | None]:
            return (
                database.measure_size(c),
                pairings.count_pairings(c, at=at),
                items.count_open(c),
                questions.count_open(c),
                audit.last_backup_at(c),
            )

        size, waiting, suggested, asked, backup_at = await self._store.read(measure)
        self._metrics.db_size.set(size.data)
        self._metrics.db_wal.set(size.log)
        self._metrics.pairing_pending.set(waiting)
        self._metrics.review_queue.set(suggested)
        self._metrics.open_questions.set(asked)
        if backup_at is not None:
            self._metrics.backup_success_at.set(backup_at / 1000)
