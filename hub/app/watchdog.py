"""Watchdog: notifies the service manager while all loops of the hub make progress.

A hanging service or an unresponsive database ends the notifications, and the service manager kills the
process. The event loop needs no check, because notifications come from it.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import anyio
from anyio.abc import TaskStatus

from hub.clock import Clock
from hub.log import Channel
from protocol.errors import HubError

log = Channel(__name__)

STATUS_EVERY_S: Final = 5.0


class Watchdog:
    """Service that sends watchdog and status notifications to the service manager.

    Args:
        notify: sends states, like ``ServiceManager.notify``.
        watchdog_s: interval required by the service manager; ``None``: only the status line is sent.
        late: returns the names of loops that are late.
        touch: accesses the database, where a refusal counts as an answer; ``None`` for a database on another
            machine, which a restart of this process does not repair.
        status: returns the status of the hub in one line.
    """

    def __init__(
        self,
        *,
        notify: Callable[..., None],
        watchdog_s: float | None,
        late: Callable[[], Sequence[str]],
        touch: Callable[[], Awaitable[object]] | None,
        status: Callable[[], str],
        clock: Clock,
    ) -> None:
        self._notify = notify
        self._every_s = STATUS_EVERY_S if watchdog_s is None else watchdog_s / 3
        self._is_watched = watchdog_s is not None
        self._late = late
        self._touch = touch
        self._status = status
        self._clock = clock
        self._last_status = ""
        self._silent_over: list[str] = []

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Notify periodically until cancelled, also while the hub drains."""
        task_status.started()
        while True:
            await self.beat()
            await self._clock.sleep(self._every_s)

    async def beat(self) -> None:
        """Check all loops once, and notify unless one of them hangs."""
        if self._is_watched:
            if self._touch is not None:
                await self._answered(self._touch)
            late = list(self._late())
            if late:
                if late != self._silent_over:
                    log.error("watchdog.silent", loops=", ".join(late))
            else:
                self._notify(WATCHDOG=1)
            self._silent_over = late
        if (status := self._status()) != self._last_status:
            self._last_status = status
            self._notify(STATUS=status)

    async def _answered(self, touch: Callable[[], Awaitable[object]]) -> None:
        try:
            await touch()
        except HubError as exc:
            log.warning("watchdog.database", why=str(exc))
