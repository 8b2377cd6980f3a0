"""Unsolicited messages to devices: which log events each device or user receives, and agents' configs.

Events about agents, runs and boards for the devices that subscribed to them.

The events come from the log, as for operators. Events that the log only counts, because they are too
frequent, are gaps in the numbers that a device gets. Events of boards, messages and questions go to all
devices of a user, others to the agent's device. Which devices subscribed to them is decided in
``hub.links.device_events``.
"""

from typing import Final

from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from hub.agents.config_delivery import ConfigDelivery
from hub.agents.config_writing import ConfigWriter
from hub.app.boot import HubContext
from hub.base.clock import Clock
from hub.base.log import Channel, LogEntry, Ring
from hub.base.periodic_loop import LoopReports
from hub.base.supervisor import Supervisor
from hub.links.device_events import DeviceEvents
from hub.links.roster import Roster
from hub.settings.reading import FileLines
from protocol.coordination import EventName
from protocol.frame import Values
from storage.connectors.connectors import ConnectorRow
from storage.devices import users
from storage.store import Store

log = Channel(__name__)

FROM_THE_LOG: Final = frozenset(
    (
        *(EventName.AGENT_MOVED, EventName.AGENT_CHANGED, EventName.RUN_QUEUED, EventName.RUN_MOVED),
        *(EventName.MEMORY_ADDED, EventName.MESSAGE_MOVED, EventName.QUESTION_MOVED),
    )
)
# Sent to all devices of the user, because events of boards and questions belong to no single device.
OF_USERS: Final = {
    EventName.MEMORY_ADDED: "board_id",
    EventName.MESSAGE_MOVED: "message_id",
    EventName.QUESTION_MOVED: "question_id",
}
COUNTED: Final = "log.suppressed"
UNTOLD_FIELDS: Final = frozenset(("traceback", "trace_id"))
RETRY_S: Final = 1.0  # after a database error


class AgentEventDelivery:
    """Delivery of log events about agents to their devices."""

    def __init__(self, store: Store, *, ring: Ring, events: DeviceEvents, clock: Clock) -> None:
        self.loop = LoopReports(clock)
        self._store = store
        self._ring = ring
        self._events = events
        self._clock = clock

    async def serve(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Send new events until cancelled."""
        seq = self._ring.last
        task_status.started()
        while True:
            self.loop.wait()
            await self._ring.wait(seq)
            entries = self._ring.since(seq)
            if entries[0].seq > seq + 1:  # entries were lost, because this service was too slow
                for event in FROM_THE_LOG:
                    self._skip(event)
            for entry in entries:
                self.loop.work()
                seq = entry.seq
                await self._forward(entry)

    async def _forward(self, entry: LogEntry) -> None:
        if entry.event == COUNTED and entry.fields.get("of") in FROM_THE_LOG:
            self._skip(EventName(str(entry.fields["of"])))
        if entry.event not in FROM_THE_LOG or not self._events.subscribers(event := EventName(entry.event)):
            return
        try:
            await (self._queue_for_user if event in OF_USERS else self._queue_for_device)(event, entry)
        except Exception as exc:  # the loop must survive any error
            log.error("event.unforwarded", exc=exc, of=event)
            self._skip(event)
            await self._clock.sleep(RETRY_S)

    async def _queue_for_device(self, event: EventName, entry: LogEntry) -> None:
        kind = "agent_id" if "agent_id" in entry.fields else "run_id"
        found = await self._store.read(users.find_worker, kind, str(entry.fields.get(kind)))
        agent_id, device_id = found or (None, None)
        if device_id is not None:
            self._events.queue(device_id, event, {**_data(entry), "agent_id": agent_id})

    async def _queue_for_user(self, event: EventName, entry: LogEntry) -> None:
        kind = OF_USERS[event]
        user_id = await self._store.read(users.find_owner, kind, str(entry.fields.get(kind)))
        for device_id in self._events.subscribers(event):
            if user_id is not None and self._events.user_of(device_id) == user_id:
                self._events.queue(device_id, event, _data(entry))

    def _skip(self, event: EventName) -> None:
        for device_id in self._events.subscribers(event):
            self._events.skip(device_id, event)


def _data(entry: LogEntry) -> Values:
    fields = {name: value for name, value in entry.fields.items() if name not in UNTOLD_FIELDS}
    return {**fields, "at_ms": entry.at}  # type: ignore[dict-item]


class DeviceNews:
    """Services that send messages to devices.

    Attributes:
        events: sends events to devices.
        configs: changes configurations of agents.
        delivery: sends changed configurations to their devices.

    Args:
        lines: finds the lines of hub.toml that declare configurations.
    """

    def __init__(self, context: HubContext, *, roster: Roster, lines: FileLines) -> None:
        store, clock, metrics = context.store, context.clock, context.metrics
        self.events = DeviceEvents(roster, clock=clock, metrics=metrics)
        self.delivery = ConfigDelivery(store, roster=roster, events=self.events, clock=clock)
        self.configs = ConfigWriter(
            store,
            clock=clock,
            metrics=metrics,
            on_change=self.delivery.changed,
            line_of=lambda agent, user, key: lines.of_agent(agent, user, "config", key),
        )
        self._news = AgentEventDelivery(store, ring=context.log.ring, events=self.events, clock=clock)

    def add_to(self, supervisor: Supervisor) -> None:
        """Register the services with the supervisor."""
        supervisor.add("device events", self.events, loop=self.events.loop)
        supervisor.add("config delivery", self.delivery, loop=self.delivery.loop)
        supervisor.add("device news", self._news, loop=self._news.loop)

    def connector_moved(self, row: ConnectorRow) -> None:
        """Notify the devices of a connector's user that its state has changed."""
        data = {"connector": row.name, "state": row.state, "reason": row.reason, "detail": row.detail}
        for device_id in self.events.subscribers(EventName.CONNECTOR_MOVED):
            if self.events.user_of(device_id) == row.user_id:
                self.events.queue(device_id, EventName.CONNECTOR_MOVED, dict(data))
