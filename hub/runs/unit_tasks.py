"""Concurrent files or messages of a run, and their grace period when the device disconnects.

When a device disconnects, questions sent to a model are still in flight and paid for. They get a grace period
to complete, so that they need not be asked again. Their items wait in the outbox.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVarTuple

import anyio
from anyio.abc import TaskGroup

from hub.runs.attempt_ending import gravest
from protocol.errors import DeviceOffline, LinkLost

Parts = TypeVarTuple("Parts")


class UnitTasks:
    """Units in progress.

    Attributes:
        lost: the error that reported the loss of the device, or None.
    """

    def __init__(self, tasks: TaskGroup, grace_s: float) -> None:
        self._tasks = tasks
        self._grace_s = grace_s
        self.lost: LinkLost | DeviceOffline | None = None

    def start(self, work: Callable[[*Parts], Awaitable[None]], *parts: *Parts) -> None:
        """Start processing a unit."""
        self._tasks.start_soon(self._do, work, *parts)

    async def _do(self, work: Callable[[*Parts], Awaitable[None]], *parts: *Parts) -> None:
        try:
            await work(*parts)
        except Exception as exc:
            self.record(exc)

    def record(self, exc: Exception) -> None:
        """Record the loss of the device if *exc* reports it, else raise the error."""
        error = gravest(exc)
        if not isinstance(error, LinkLost | DeviceOffline):
            raise exc
        if self.lost is None:
            self.lost = error
            self._tasks.cancel_scope.deadline = anyio.current_time() + self._grace_s


@asynccontextmanager
async def unit_tasks(grace_s: float) -> AsyncIterator[UnitTasks]:
    """Yield a collection of units in progress; wait at the end until all units have ended.

    Args:
        grace_s: time that units have to end once the device is lost.

    Raises:
        LinkLost, DeviceOffline: the device was lost; the units have ended or were cancelled.
    """
    async with anyio.create_task_group() as tasks:
        units = UnitTasks(tasks, grace_s)
        try:
            yield units
        except Exception as exc:
            units.record(exc)
    if units.lost is not None:
        raise units.lost
