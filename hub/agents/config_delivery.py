"""Delivery of agents' configs to their devices: at each connection, and after each change.

A device with the capability ``agent.config`` gets the configuration of each of its agents when it connects,
and again whenever an agent's ``config_rev`` has grown. The configuration is read when it can be sent, so a
slow device gets the newest, and no queue builds up.
"""

import math
from collections.abc import Sequence
from typing import Final

import anyio
from anyio.abc import TaskStatus

from hub.base.clock import Clock
from hub.base.log import Channel
from hub.base.periodic_loop import PeriodicLoop
from hub.links.device_events import DeviceEvents
from hub.links.device_link import DeviceLink
from hub.links.roster import Roster
from protocol.coordination import EventName
from protocol.frame import Values
from protocol.ids import AgentId, DeviceId
from storage.agents import agent_snapshot
from storage.agents.agent_snapshot import EffectiveConfig
from storage.agents.agents import AgentRow
from storage.store import Store

log = Channel(__name__)

AT_ONCE: Final = 20  # agents per read
RETRY_S: Final = 1.0  # for a device that does not read, and after a database error
POLL_S: Final = 5.0  # interval if other hubs share the database, because they cannot notify this hub


class ConfigDelivery:
    """Delivery of each revision of agents' configurations, once per connection."""

    def __init__(self, store: Store, *, roster: Roster, events: DeviceEvents, clock: Clock) -> None:
        self.loop = PeriodicLoop(clock)
        self._store = store
        self._roster = roster
        self._events = events
        self._clock = clock
        self._due: set[DeviceId] = set()
        self._sent: dict[DeviceId, tuple[DeviceLink, dict[AgentId, int]]] = {}

    def check(self, device_id: DeviceId) -> None:
        """Check the agents of a device after its connection or a change. Returns at once."""
        if self._events.is_subscribed(device_id, EventName.AGENT_CONFIG):
            self._due.add(device_id)
            self.loop.wake()

    def changed(self, agent: AgentRow) -> None:
        """Check the agent's configuration after a possible change. Returns at once."""
        if agent.device_id is not None:
            self.check(agent.device_id)

    def recheck(self) -> None:
        """Check the agents of all devices after a change of hub.toml or a template. Returns at once."""
        self._due.update(self._events.subscribers(EventName.AGENT_CONFIG))
        self.loop.wake()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Deliver changed configurations until cancelled."""
        task_status.started()
        await self.loop.serve(self._deliver, of="config delivery", every_s=RETRY_S)

    async def _deliver(self) -> float | None:
        """Deliver to the devices that are due. Return the seconds until the next retry or poll."""
        if self._store.is_shared:
            self._due.update(self._events.subscribers(EventName.AGENT_CONFIG))
        due, self._due = self._due, set()
        for device_id in due:
            try:
                await self._bring(device_id)
            except Exception as exc:  # the other devices are delivered to all the same
                log.error("agent.config_undelivered", exc=exc, device_id=device_id)
                self._due.add(device_id)
        return RETRY_S if self._due else POLL_S if self._store.is_shared else math.inf

    async def _bring(self, device_id: DeviceId) -> None:
        link = self._roster.find(device_id)
        if link is None or not self._events.is_subscribed(device_id, EventName.AGENT_CONFIG):
            return
        if len(self._sent) >= 2 * len(self._roster) + 64:  # most of them are disconnected
            self._sent = {id: sent for id, sent in self._sent.items() if self._roster.find(id) is sent[0]}
        known, sent = self._sent.get(device_id, (None, {}))
        if known is not link:
            sent = {}
        now = await self._store.read(agent_snapshot.revisions_on, device_id)
        self._sent[device_id] = (link, {id: rev for id, rev in sent.items() if id in now})
        others = [agent_id for agent_id, rev in now.items() if sent.get(agent_id) != rev]
        for start in range(0, len(others), AT_ONCE):
            part = others[start : start + AT_ONCE]
            if not await self._send(device_id, part):
                self._due.add(device_id)
                return

    async def _send(self, device_id: DeviceId, agent_ids: Sequence[AgentId]) -> bool:
        """Send the configurations of these agents. Return False if the device does not read."""
        for config in await self._store.read(agent_snapshot.effective, agent_ids):
            if not self._events.has_room(device_id):
                return False
            if not self._events.queue(device_id, EventName.AGENT_CONFIG, config_values(config)):
                return self._roster.find(device_id) is None
            self._sent[device_id][1][config.agent_id] = config.rev
        return True


def config_values(one: EffectiveConfig) -> Values:
    """Return an agent's configuration in the form sent to devices."""
    return {
        "agent_id": one.agent_id,
        "rev": one.rev,
        "configuration": one.configuration,
        "paths": list(one.paths),
    }
