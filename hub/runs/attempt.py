"""In-memory state of a run's execution: the attempt, and each document that is being read.

Units in progress while a run reads its device. When the device disconnects, questions sent to a model are
still in flight and paid for. They get a grace period to complete, so that they need not be asked again. Their
items wait in the outbox.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeVarTuple

import anyio
from anyio.abc import TaskGroup

from hub.connectors.connector import Message
from hub.document import Document
from hub.extraction.items import ExtractionOptions
from hub.links.link import DeviceLink
from hub.runs.asking import RunAsking
from hub.runs.delivery import CALLS_IN_FLIGHT
from hub.runs.ending import gravest
from hub.runs.run_order import RunOrder
from protocol.errors import DeviceGone, DeviceOffline
from protocol.lifecycles import RunState


class Attempt:
    """State of one execution of a run."""

    def __init__(self, order: RunOrder) -> None:
        self.order = order
        self.state = RunState.PREPARING
        self.lanes = anyio.Semaphore(CALLS_IN_FLIGHT)
        self.is_full = False  # reached the largest number of items of a run
        self.postponed: set[str] = set()  # units whose free text waits for the model
        self.unanswered: str | None = None  # why the model did not answer about one of them
        # only for a run that reads a mailbox, while its device is connected
        self.link: DeviceLink | None = None


class Reading(NamedTuple):
    """A document that is being read.

    Attributes:
        link: link to the unit's device, or None if it is not connected.
        read_at: when the document was read, in epoch milliseconds.
        message: the mailbox message of the document; None for a file.
    """

    link: DeviceLink | None
    asking: RunAsking
    extraction_config: ExtractionOptions
    document: Document
    read_at: int
    message: Message | None = None  # of a mailbox


Parts = TypeVarTuple("Parts")


class UnitTasks:
    """Units in progress.

    Attributes:
        lost: the error that reported the loss of the device, or None.
    """

    def __init__(self, tasks: TaskGroup, grace_s: float) -> None:
        self._tasks = tasks
        self._grace_s = grace_s
        self.lost: DeviceGone | DeviceOffline | None = None

    def start(self, work: Callable[[*Parts], Awaitable[None]], *parts: *Parts) -> None:
        """Start processing a unit."""
        self._tasks.start_soon(self._do, work, *parts)

    async def _do(self, work: Callable[[*Parts], Awaitable[None]], *parts: *Parts) -> None:
        try:
            await work(*parts)
        except Exception as exc:
            self.take(exc)

    def take(self, exc: Exception) -> None:
        """Record the loss of the device if *exc* reports it, else raise the error."""
        error = gravest(exc)
        if not isinstance(error, DeviceGone | DeviceOffline):
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
        DeviceGone, DeviceOffline: the device was lost; the units have ended or were cancelled.
    """
    async with anyio.create_task_group() as tasks:
        hands = UnitTasks(tasks, grace_s)
        try:
            yield hands
        except Exception as exc:
            hands.take(exc)
    if hands.lost is not None:
        raise hands.lost
