"""The beat: the service manager hears that the hub lives as long as everything in it goes round.

A loop that hangs and a database that does not answer end the beat, and the service
manager then ends the process. The event loop needs no look: a beat comes out of it.
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
    """Tells the service manager how the hub is.

    Args:
        tell: sends states, as ``ServiceManager.tell`` does.
        watchdog_s: the service manager wants a beat so often; ``None``: it gets the status line alone.
        late: names of the loops that do not go round.
        touch: asks the database something; ``None`` where it is on another machine: to start this
            process anew does not bring that one back. A refusal is an answer too.
        status: the hub in one line.
    """

    def __init__(
        self,
        *,
        tell: Callable[..., None],
        watchdog_s: float | None,
        late: Callable[[], Sequence[str]],
        touch: Callable[[], Awaitable[object]] | None,
        status: Callable[[], str],
        clock: Clock,
    ) -> None:
        self._tell = tell
        self._every_s = STATUS_EVERY_S if watchdog_s is None else watchdog_s / 3
        self._is_watched = watchdog_s is not None
        self._late = late
        self._touch = touch
        self._status = status
        self._clock = clock
        self._told = ""
        self._silent_over: list[str] = []

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Beat until cancelled. A hub that drains beats on."""
        task_status.started()
        while True:
            await self.beat()
            await self._clock.sleep(self._every_s)

    async def beat(self) -> None:
        """One round: look at everything, and say so unless something hangs."""
        if self._is_watched:
            if self._touch is not None:
                await self._answered(self._touch)
            late = list(self._late())
            if late:
                if late != self._silent_over:
                    log.error("watchdog.silent", loops=", ".join(late))
            else:
                self._tell(WATCHDOG=1)
            self._silent_over = late
        if (status := self._status()) != self._told:
            self._told = status
            self._tell(STATUS=status)

    async def _answered(self, touch: Callable[[], Awaitable[object]]) -> None:
        try:
            await touch()
        except HubError as exc:
            log.warning("watchdog.database", why=str(exc))
