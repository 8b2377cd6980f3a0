"""Gauges that are not updated by events: measured every few seconds for /metrics."""

import math
from typing import Final

import anyio
from anyio.abc import TaskStatus

from hub.clock import Clock, now_ms
from hub.log import Channel, Log
from hub.metrics import Metrics
from hub.rounds import Turns
from hub.runs.disk import DiskGuard
from protocol.errors import HubError
from storage import audit
from storage.coordination import question_rows
from storage.devices import pairings
from storage.kernel import database
from storage.runs import items
from storage.store import Connection, Store

log = Channel(__name__)

EVERY_S: Final = 15.0  # usual interval of a metrics collector


class Gauges:
    """Service that updates the gauges of the database; gauges of the process are computed on request."""

    def __init__(self, *, store: Store, clock: Clock, metrics: Metrics, log: Log, disk: DiskGuard) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self.turns = Turns(clock)
        metrics.log_dropped.follow(lambda: log.dropped)
        metrics.log_suppressed.follow(lambda: log.suppressed)
        metrics.disk_free.set_function(lambda: math.nan if disk.free_bytes is None else disk.free_bytes)

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Measure periodically until cancelled."""
        task_status.started()
        while True:
            self.turns.work()
            try:
                await self.read()
            except HubError as exc:
                log.warning("gauges.unread", detail=str(exc))  # the gauges keep their values
            self.turns.wait(EVERY_S)
            await self._clock.sleep(EVERY_S)

    async def read(self) -> None:
        """Measure now."""
        at = now_ms(self._clock)

        def measure(c: Connection) -> tuple[database.DatabaseSize, int, int, int, int | None]:
            return (
                database.measure_size(c),
                pairings.count_pairings(c, at=at),
                items.count_open(c),
                question_rows.count_open(c),
                audit.last_backup_at(c),
            )

        size, waiting, suggested, questions, backup_at = await self._store.read(measure)
        self._metrics.db_size.set(size.data)
        self._metrics.db_wal.set(size.log)
        self._metrics.pairing_pending.set(waiting)
        self._metrics.review_queue.set(suggested)
        self._metrics.open_questions.set(questions)
        if backup_at is not None:
            self._metrics.backup_success_at.set(backup_at / 1000)
