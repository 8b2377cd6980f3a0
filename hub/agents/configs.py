"""Changes of agents' configs by operators and devices, validated and audited.

Delivery of agents' configurations to their devices. A device with the capability ``agent.config`` gets the
configuration of each of its agents when it connects, and again whenever an agent's ``config_rev`` has grown.
The configuration is read when it can be sent, so a slow device gets the newest, and no queue builds up.
"""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskStatus

from hub.agents.schemas import check_agent
from hub.clock import Clock, now_ms, wait_for_event
from hub.links.device_events import DeviceEvents
from hub.links.link import DeviceLink
from hub.links.roster import Roster
from hub.log import Channel
from hub.metrics import Metrics
from hub.turns import Turns
from protocol.coordination import EventName
from protocol.frame import Values
from protocol.ids import AgentId, DeviceId
from storage import audit
from storage.agents import agent_snapshot, config_changes
from storage.agents.agent_snapshot import EffectiveConfig
from storage.agents.agents import AgentRow
from storage.agents.config_changes import (
    ConfigLimits,
    ConfigOfFile,
    ConfigsChanged,
    NewConfig,
)
from storage.audit import Entry
from storage.devices import devices
from storage.store import Store

MOST_KEYS: Final = 20  # in the audit log; the history has all keys

log = Channel(__name__)

_Job = Callable[..., ConfigsChanged]  # function of the store that takes the agent's id


class AgentConfigs:
    """Changes configs of agents.

    Attributes:
        limits: limits on the configs of an agent.
        on_change: called with each agent whose configs were changed.
        line_of: returns where hub.toml declares a config, by agent, user and key: ``hub.toml:12``.
    """

    def __init__(self, store: Store, *, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self.limits = ConfigLimits()
        self.on_change: Callable[[AgentRow], None] = lambda _: None
        self.line_of: Callable[[str, str, str], str] = lambda *_: "hub.toml"

    async def change(
        self,
        agent: AgentRow,
        puts: Sequence[NewConfig] = (),
        *,
        drops: Collection[str] = (),
        replaces: bool = False,
        expected_rev: int | None = None,
        actor: str,
    ) -> ConfigsChanged:
        """Write and remove configs in one transaction. See ``storage.agents.config_changes.change``.

        Raises:
            UnknownAgent, CodedError, StaleConfig, ConfigOfFile, ConfigLimitReached, BadConfig,
                BadConfiguration: nothing was written.
        """
        job = partial(config_changes.change, puts=puts, drops=drops, replaces=replaces)
        return await self._carry_out(job, agent, expected_rev=expected_rev, actor=actor)

    async def revert(
        self, agent: AgentRow, *, to: int, expected_rev: int | None = None, actor: str
    ) -> ConfigsChanged:
        """Restore the configs as they were after the change numbered *to*; 0 is before the first.

        Raises:
            CodedError (UNKNOWN_CONFIG): the history no longer has the change; nothing was written.
            UnknownAgent, StaleConfig, ConfigLimitReached, BadConfiguration: as for ``change``.
        """
        job = partial(config_changes.revert, to=to)
        return await self._carry_out(job, agent, expected_rev=expected_rev, actor=actor)

    async def _carry_out(
        self, job: _Job, agent: AgentRow, *, expected_rev: int | None, actor: str
    ) -> ConfigsChanged:
        at = now_ms(self._clock)

        def entry(done: ConfigsChanged) -> Entry | None:
            if not done.keys:
                return None
            detail: dict[str, str | int] = {
                "agent": agent.name,
                "keys": ", ".join(done.keys[:MOST_KEYS]),
                "rev": done.rev,
            }
            if len(done.keys) > MOST_KEYS:
                detail["more"] = len(done.keys) - MOST_KEYS
            return Entry(at=at, actor=actor, event="agent.configured", subject=agent.id, detail=detail)

        try:
            with self._metrics.count_limits():
                done = await self._store.write(
                    audit.audited(job, entry),
                    agent.id,
                    at=at,
                    actor=actor,
                    expected_rev=expected_rev,
                    limits=self.limits,
                    check=check_agent,
                )
        except ConfigOfFile as declared:
            names = {row.id: row.name for row in await self._store.read(devices.list_users)}
            where = self.line_of(agent.name, names.get(agent.user_id, ""), declared.key)
            raise ConfigOfFile(declared.key, where) from None
        if done.keys:
            log.info("agent.configured", agent_id=agent.id, rev=done.rev, changed=len(done.keys), actor=actor)
            self.on_change(agent)
        return done


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
        self._sent: dict[DeviceId, tuple[DeviceLink, dict[AgentId, int]]] = {}
        self._woken = anyio.Event()

    def check(self, device_id: DeviceId) -> None:
        """Check the agents of a device after its connection or a change. Returns at once."""
        if self._events.is_subscribed(device_id, EventName.AGENT_CONFIG):
            self._due.add(device_id)
            self._woken.set()

    def changed(self, agent: AgentRow) -> None:
        """Check the agent's configuration after a possible change. Returns at once."""
        if agent.device_id is not None:
            self.check(agent.device_id)

    def recheck(self) -> None:
        """Check the agents of all devices after a change of hub.toml or a template. Returns at once."""
        self._due.update(self._events.subscribers(EventName.AGENT_CONFIG))
        self._woken.set()

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
            await self._woken.wait()
        else:
            self.turns.wait(most_s)
            await wait_for_event(self._woken, self._clock, most_s)
            if self._store.is_shared:
                self.recheck()
        self._woken = anyio.Event()

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
        for one in await self._store.read(agent_snapshot.effective, agent_ids):
            if not self._events.has_room(device_id):
                return False
            if not self._events.queue(device_id, EventName.AGENT_CONFIG, config_values(one)):
                return self._roster.find(device_id) is None
            self._sent[device_id][1][one.agent_id] = one.rev
        return True


def config_values(one: EffectiveConfig) -> Values:
    """Return an agent's configuration in the form sent to devices."""
    return {"agent_id": one.agent_id, "rev": one.rev, "configuration": one.configuration}
