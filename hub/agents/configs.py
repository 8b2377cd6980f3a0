"""Changes of agents' configs by operators and devices, validated and audited."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final

from hub.agents.templates import check_agent
from hub.clock import Clock, epoch_ms
from hub.log import Channel
from hub.metrics import Metrics
from storage.agents import config_changes
from storage.agents.agents import AgentRow
from storage.agents.config_changes import (
    ConfigLimitReached,
    ConfigLimits,
    ConfigOfFile,
    ConfigsChanged,
    NewConfig,
)
from storage.audit import audit
from storage.audit.audit import Entry
from storage.devices import users
from storage.store import Store

KEYS_TOLD: Final = 20  # in the audit log; the history has all keys

log = Channel(__name__)

_Job = Callable[..., ConfigsChanged]  # function of the store that takes the agent's id


class AgentConfigs:
    """Changes configs of agents.

    Attributes:
        limits: current values of ``[limits]``.
        on_change: called with each agent whose configs were changed.
        line_of: returns where hub.toml declares a config, by agent, user and key: ``hub.toml:12``.
    """

    def __init__(self, store: Store, *, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._limits_reached = metrics.limits_reached
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
            UnknownAgent, UnknownConfig, StaleConfig, ConfigOfFile, ConfigLimitReached, BadConfig,
                BadConfiguration: nothing was written.
        """
        job = partial(config_changes.change, puts=puts, drops=drops, replaces=replaces)
        return await self._carry_out(job, agent, expected_rev=expected_rev, actor=actor)

    async def revert(
        self, agent: AgentRow, *, to: int, expected_rev: int | None = None, actor: str
    ) -> ConfigsChanged:
        """Restore the configs as they were after the change numbered *to*; 0 is before the first.

        Raises:
            UnknownConfig: the history no longer has the change; nothing was written.
            UnknownAgent, StaleConfig, ConfigLimitReached, BadConfiguration: as for ``change``.
        """
        job = partial(config_changes.revert, to=to)
        return await self._carry_out(job, agent, expected_rev=expected_rev, actor=actor)

    async def _carry_out(
        self, job: _Job, agent: AgentRow, *, expected_rev: int | None, actor: str
    ) -> ConfigsChanged:
        at = epoch_ms(self._clock.now())

        def entry(done: ConfigsChanged) -> Entry | None:
            if not done.keys:
                return None
            detail: dict[str, str | int] = {
                "agent": agent.name,
                "keys": ", ".join(done.keys[:KEYS_TOLD]),
                "rev": done.rev,
            }
            if len(done.keys) > KEYS_TOLD:
                detail["more"] = len(done.keys) - KEYS_TOLD
            return Entry(at=at, actor=actor, event="agent.configured", subject=agent.id, detail=detail)

        try:
            done = await self._store.write(
                audit.audited(job, entry),
                agent.id,
                at=at,
                actor=actor,
                expected_rev=expected_rev,
                limits=self.limits,
                check=check_agent,
            )
        except ConfigLimitReached as reached:
            self._limits_reached.labels(reached.limit).inc()
            raise
        except ConfigOfFile as declared:
            names = {row.id: row.name for row in await self._store.read(users.list_users)}
            where = self.line_of(agent.name, names.get(agent.user_id, ""), declared.key)
            raise ConfigOfFile(declared.key, where) from None
        if done.keys:
            log.info("agent.configured", agent_id=agent.id, rev=done.rev, changed=len(done.keys), actor=actor)
            self.on_change(agent)
        return done
