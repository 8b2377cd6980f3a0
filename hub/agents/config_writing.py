"""Changes of agents' configs by operators and devices: validation, limits and audit entries."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final

from hub.agents.schemas import check_agent
from hub.base.clock import Clock, now_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from storage import audit
from storage.agents import config_changes
from storage.agents.agents import AgentRow
from storage.agents.config_changes import (
    ConfigLimits,
    ConfigOfFile,
    ConfigsChanged,
    NewConfig,
)
from storage.audit import AuditEntry
from storage.devices import users
from storage.store import Store

log = Channel(__name__)

MAX_KEYS: Final = 20  # in the audit log; the history has all keys
_Job = Callable[..., ConfigsChanged]  # function of the store that takes the agent's id


class ConfigWriter:
    """Changes configs of agents.

    Args:
        on_change: called with each agent whose configs were changed.
        line_of: returns where hub.toml declares a config, by agent, user and key: ``hub.toml:12``.

    Attributes:
        limits: limits on the configs of an agent.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        metrics: Metrics,
        on_change: Callable[[AgentRow], None] = lambda _: None,
        line_of: Callable[[str, str, str], str] = lambda *_: "hub.toml",
    ) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self.limits = ConfigLimits()
        self._on_change = on_change
        self._line_of = line_of

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
            CodedError, ConfigOfFile, LimitReached, BadConfig,
                CodedError (BAD_CONFIG): nothing was written.
        """
        job = partial(config_changes.change, puts=puts, drops=drops, replaces=replaces)
        return await self._carry_out(job, agent, expected_rev=expected_rev, actor=actor)

    async def revert(
        self, agent: AgentRow, *, to: int, expected_rev: int | None = None, actor: str
    ) -> ConfigsChanged:
        """Restore the configs as they were after the change numbered *to*; 0 is before the first.

        Raises:
            CodedError (UNKNOWN_CONFIG): the history no longer has the change; nothing was written.
            CodedError, LimitReached, CodedError: as for ``change``.
        """
        job = partial(config_changes.revert, to=to)
        return await self._carry_out(job, agent, expected_rev=expected_rev, actor=actor)

    async def _carry_out(
        self, job: _Job, agent: AgentRow, *, expected_rev: int | None, actor: str
    ) -> ConfigsChanged:
        at = now_ms(self._clock)

        def entry(done: ConfigsChanged) -> AuditEntry | None:
            if not done.keys:
                return None
            detail: dict[str, str | int] = {
                "agent": agent.name,
                "keys": ", ".join(done.keys[:MAX_KEYS]),
                "rev": done.rev,
            }
            if len(done.keys) > MAX_KEYS:
                detail["more"] = len(done.keys) - MAX_KEYS
            return AuditEntry(at=at, actor=actor, event="agent.configured", subject=agent.id, detail=detail)

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
            names = {row.id: row.name for row in await self._store.read(users.list_users)}
            where = self._line_of(agent.name, names.get(agent.user_id, ""), declared.key)
            raise ConfigOfFile(declared.key, where) from None
        if done.keys:
            log.info("agent.configured", agent_id=agent.id, rev=done.rev, changed=len(done.keys), actor=actor)
            self._on_change(agent)
        return done
