"""What comes unasked from devices, and which services hear of it, in which order.

The roster calls ``take`` from a socket's reader, so it never waits: events go
into a bounded queue of the router's own, requests into that of ``Requests`` and what is
heard of agents into that of ``Heartbeats``, so that who has come and gone never stands
behind what somebody asks, or says all the time.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from anyio.abc import TaskStatus

from hub.agents.heartbeats import Heartbeats
from hub.clock import Clock
from hub.links.roster import (
    AgentsSilent,
    DeviceLost,
    DeviceReady,
    HeartbeatReceived,
    LinkEvent,
    RequestReceived,
)
from hub.log import Channel
from hub.requests.service import Requests
from hub.runs.dispatcher import Dispatcher
from hub.turns import Turns

log = Channel(__name__)

QUEUE_EVENTS: Final = 10_000  # every device of a full hub may speak in one loop turn


class Router:
    """The table of what happens, and what follows."""

    def __init__(
        self, *, dispatcher: Dispatcher, requests: Requests, heartbeats: Heartbeats, clock: Clock
    ) -> None:
        self.turns = Turns(clock)
        self._heartbeats = heartbeats
        self._dispatcher = dispatcher
        self._requests = requests
        self._queue: deque[LinkEvent] = deque()
        self._arrived = anyio.Event()
        self._table: dict[type[LinkEvent], tuple[Callable[..., Awaitable[None]], ...]] = {
            DeviceReady: (self._device_ready,),
            DeviceLost: (),  # its runs learnt of it from their own links
        }

    def __len__(self) -> int:
        return len(self._queue)

    def take(self, event: LinkEvent) -> None:
        """Queue an event. One too many is counted in the log and dropped: every gate is polled too."""
        if isinstance(event, RequestReceived):
            self._requests.take(event)
            return
        self._heartbeats.take(event)
        if isinstance(event, HeartbeatReceived | AgentsSilent):
            return
        if len(self._queue) >= QUEUE_EVENTS:
            log.error("router.full", event_type=type(event).__name__, limit=QUEUE_EVENTS)
            return
        self._queue.append(event)
        self._arrived.set()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Bring events to the services until cancelled."""
        task_status.started()
        while True:
            self.turns.wait()
            await self._arrived.wait()
            self._arrived = anyio.Event()
            while self._queue:
                self.turns.work()
                await self._handle(self._queue.popleft())

    async def _handle(self, event: LinkEvent) -> None:
        for handler in self._table[type(event)]:
            try:
                await handler(event)
            except Exception as exc:  # the loop that must survive
                log.error("router.handler_failed", exc=exc, event_type=type(event).__name__)

    async def _device_ready(self, event: DeviceReady) -> None:
        self._dispatcher.look_again()
        if event.hello.runs:
            await self._dispatcher.answer_held(event.link, event.hello.runs)
