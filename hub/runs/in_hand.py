"""The units that a run has in hand while it reads its device.

When the device is lost, what was sent to a model is on its way all the same, and paid for:
it gets a while to come to its end, so that nothing has to be asked again. An item that
comes of it waits in the outbox.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVarTuple

import anyio
from anyio.abc import TaskGroup

from hub.runs.ending import gravest
from protocol.errors import DeviceGone, DeviceOffline

Parts = TypeVarTuple("Parts")


class InHand:
    """Units under way. *lost*: how the device went, once it has."""

    def __init__(self, tasks: TaskGroup, grace_s: float) -> None:
        self._tasks = tasks
        self._grace_s = grace_s
        self.lost: DeviceGone | DeviceOffline | None = None

    def start(self, work: Callable[[*Parts], Awaitable[None]], *parts: *Parts) -> None:
        """Take a unit in hand."""
        self._tasks.start_soon(self._do, work, *parts)

    async def _do(self, work: Callable[[*Parts], Awaitable[None]], *parts: *Parts) -> None:
        try:
            await work(*parts)
        except Exception as exc:
            self.take(exc)

    def take(self, exc: Exception) -> None:
        """Whoever ended in *exc* has lost the device, or the error is raised."""
        error = gravest(exc)
        if not isinstance(error, DeviceGone | DeviceOffline):
            raise exc
        if self.lost is None:
            self.lost = error
            self._tasks.cancel_scope.deadline = anyio.current_time() + self._grace_s


@asynccontextmanager
async def units_in_hand(grace_s: float) -> AsyncIterator[InHand]:
    """Read a device inside the block; it is left when all units have come to their end.

    Args:
        grace_s: what they get for that once the device is lost.

    Raises:
        DeviceGone, DeviceOffline: it is lost, and the units have ended or were let go.
    """
    async with anyio.create_task_group() as tasks:
        hands = InHand(tasks, grace_s)
        try:
            yield hands
        except Exception as exc:
            hands.take(exc)
    if hands.lost is not None:
        raise hands.lost
