"""Routing of device events (connection, heartbeat, request) to the services that handle them.

The roster calls ``route`` from a socket's reader, so it never blocks. Connection events go to a bounded queue
of the router, requests to the queue of ``Requests``, and reports about agents to that of ``Heartbeats``. So
connection events never wait behind the more frequent others.
"""

import math
from collections import deque
from typing import TYPE_CHECKING, Final

import anyio
from anyio.abc import TaskStatus

from hub.agents.heartbeats import Heartbeats
from hub.api.device import Requests
from hub.base.clock import Clock
from hub.base.log import Channel
from hub.base.periodic_loop import PeriodicLoop
from hub.links.roster import (
    DeviceReady,
    LinkEvent,
    RequestReceived,
)
from hub.runs.dispatcher import Dispatcher

if TYPE_CHECKING:
    pass  # needs an optional extra


log = Channel(__name__)


QUEUE_EVENTS: Final = 10_000  # every device of a full hub may send one in a loop turn


class Router:
    """Router of events to their handlers."""

    def __init__(
        self, *, dispatcher: Dispatcher, requests: Requests, heartbeats: Heartbeats, clock: Clock
    ) -> None:
        self.loop = PeriodicLoop(clock)
        self._heartbeats = heartbeats
        self._dispatcher = dispatcher
        self._requests = requests
        self._queue: deque[DeviceReady] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def route(self, event: LinkEvent) -> None:
        """Pass an event on. If the queue is full, log an error and drop the event: all services also poll."""
        if isinstance(event, RequestReceived):
            self._requests.enqueue(event)
            return
        self._heartbeats.receive(event)
        if not isinstance(event, DeviceReady) or not event.hello.runs:
            return
        if len(self._queue) >= QUEUE_EVENTS:
            log.error("router.full", event_type=type(event).__name__, limit=QUEUE_EVENTS)
            return
        self._queue.append(event)
        self.loop.wake()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Dispatch events to the services until cancelled."""
        task_status.started()
        await self.loop.serve(self._dispatch, of="router", every_s=math.inf)

    async def _dispatch(self) -> None:
        while self._queue:
            self.loop.work()
            event = self._queue.popleft()
            try:
                await self._dispatcher.answer_held(event.link, event.hello.runs)
            except Exception as exc:  # one failure must not delay the other events
                log.error("router.handler_failed", exc=exc, event_type=type(event).__name__)
