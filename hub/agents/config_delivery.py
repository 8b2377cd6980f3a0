"""Delivery of agents' configurations to their devices.

A device with the capability ``agent.config`` gets the configuration of each of its agents when it connects,
and again whenever an agent's ``config_rev`` has grown. The configuration is read when it can be sent, so a
slow device gets the newest, and no queue builds up.
"""

from collections.abc import Sequence
from typing import Final

import anyio
from anyio.abc import TaskStatus

from hub.clock import Clock
from hub.links.device_events import DeviceEvents
from hub.links.link import DeviceLink
from hub.links.roster import Roster
from hub.log import Channel
from hub.turns import Turns
from protocol.coordination import EventName
from protocol.frame import Values
from protocol.ids import AgentId, DeviceId
from storage.agents import effective_configs
from storage.agents.agents import AgentRow
from storage.agents.effective_configs import EffectiveConfig
from storage.store import Store

log = Channel(__name__)

AT_ONCE: Final = 20  # agents per read
RETRY_S: Final = 1.0  # for a device that does not read, and after a database error
POLL_S: Final = 5.0  # interval if other hubs share the database, because they cannot notify this hub


class ConfigDelivery:
    """Delivery of each revision of agents' configurations, once per connection."""

    def __init__(self, store: Store, *, roster: Roster, events: DeviceEvents, clock: Clock) -> None:
        self.turns = Turns(clock)
        self._store = store
        self._roster = roster
        self._events = events
        self._clock = clock
        self._due: set[DeviceId] = set()
        self._told: dict[DeviceId, tuple[DeviceLink, dict[AgentId, int]]] = {}
        self._wanted = anyio.Event()

    def look(self, device_id: DeviceId) -> None:
        """Check the agents of a device after its connection or a change. Returns at once."""
        if self._events.hears(device_id, EventName.AGENT_CONFIG):
            self._due.add(device_id)
            self._wanted.set()

    def changed(self, agent: AgentRow) -> None:
        """Check the agent's configuration after a possible change. Returns at once."""
        if agent.device_id is not None:
            self.look(agent.device_id)

    def look_again(self) -> None:
        """Check the agents of all devices after a change of hub.toml or a template. Returns at once."""
        self._due.update(self._events.wanted(EventName.AGENT_CONFIG))
        self._wanted.set()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Deliver changed configurations until cancelled."""
        task_status.started()
        while True:
            await self._rest()
            self.turns.work()
            due, self._due = self._due, set()
            for device_id in due:
                try:
                    await self._bring(device_id)
                except Exception as exc:  # the loop must survive any error
                    log.error("agent.config_undelivered", exc=exc, device_id=device_id)
                    self._due.add(device_id)

    async def _rest(self) -> None:
        """Wait for a notification, or for the next retry or poll."""
        most_s = RETRY_S if self._due else POLL_S if self._store.is_shared else None
        if most_s is None:
            self.turns.wait()
            await self._wanted.wait()
        else:
            self.turns.wait(most_s)
            async with anyio.create_task_group() as waiting:
                waiting.start_soon(self._cancel_when_wanted, waiting.cancel_scope)
                await self._clock.sleep(most_s)
                waiting.cancel_scope.cancel()
            if self._store.is_shared:
                self.look_again()
        self._wanted = anyio.Event()

    async def _cancel_when_wanted(self, resting: anyio.CancelScope) -> None:
        await self._wanted.wait()
        resting.cancel()

    async def _bring(self, device_id: DeviceId) -> None:
        link = self._roster.find(device_id)
        if link is None or not self._events.hears(device_id, EventName.AGENT_CONFIG):
            return
        if len(self._told) >= 2 * len(self._roster) + 64:  # most of them are disconnected
            self._told = {id: told for id, told in self._told.items() if self._roster.find(id) is told[0]}
        known, told = self._told.get(device_id, (None, {}))
        if known is not link:
            told = {}
        now = await self._store.read(effective_configs.revisions_on, device_id)
        self._told[device_id] = (link, {id: rev for id, rev in told.items() if id in now})
        others = [agent_id for agent_id, rev in now.items() if told.get(agent_id) != rev]
        for start in range(0, len(others), AT_ONCE):
            part = others[start : start + AT_ONCE]
            if not await self._tell(device_id, part):
                self._due.add(device_id)
                return

    async def _tell(self, device_id: DeviceId, agent_ids: Sequence[AgentId]) -> bool:
        """Send the configurations of these agents. Return False if the device does not read."""
        for one in await self._store.read(effective_configs.effective, agent_ids):
            if not self._events.has_room(device_id):
                return False
            if not self._events.tell(device_id, EventName.AGENT_CONFIG, config_told(one)):
                return self._roster.find(device_id) is None
            self._told[device_id][1][one.agent_id] = one.rev
        return True


def config_told(one: EffectiveConfig) -> Values:
    """Return an agent's configuration in the form sent to devices."""
    return {"agent_id": one.agent_id, "rev": one.rev, "configuration": one.configuration}
