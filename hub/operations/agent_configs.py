"""Configs of agents, as one user sees and changes them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from msgspec import UNSET

from hub.agents.configs import AgentConfigs
from hub.api.views.agent_configs import (
    ConfigMoveView,
    ConfigsChangedView,
    ConfigurationView,
    ConfigView,
    WantedConfig,
)
from hub.clock import from_epoch_ms
from hub.operations.names import agent_named
from hub.operations.seen import Seen
from protocol.configs import ConfigType, value_in
from storage.agents import configs, effective_configs
from storage.agents.agents import AgentRow
from storage.agents.config_changes import ConfigsChanged, NewConfig
from storage.agents.configs import ConfigMove, ConfigRow, UnknownConfig
from storage.store import Store


class AgentConfigOperations(Seen):
    """Implements ``api.facades.agent_configs.AgentConfigFacade``."""

    def __init__(self, store: Store, configs: AgentConfigs) -> None:
        self._store = store
        self._configs = configs

    async def of_agent(self, name: str) -> ConfigurationView:
        """All of them, and what the agent works by."""
        agent = await self._agent(name)
        rows = await self._store.read(configs.list_configs, agent.id)
        now = await self._store.read(effective_configs.effective_of, agent.id)
        return ConfigurationView(
            agent=agent.name,
            rev=now.rev,
            configs=tuple(_view(row) for row in rows),
            configuration=now.configuration,
        )

    async def get(self, name: str, key: str) -> tuple[ConfigView, int]:
        """One of them."""
        agent = await self._agent(name)
        rows = await self._store.read(configs.list_configs, agent.id)
        for row in rows:
            if row.key == key:
                return _view(row), agent.config_rev
        raise UnknownConfig(f"agent {agent.name} has no config {key!r}")

    async def change(
        self,
        name: str,
        wanted: Mapping[str, WantedConfig],
        *,
        unset: Collection[str] = (),
        replaces: bool = False,
        expected_rev: int | None,
        actor: str,
    ) -> ConfigsChangedView:
        """Write and remove configs, all or none."""
        agent = await self._agent(name)
        done = await self._configs.change(
            agent,
            [_new(key, one) for key, one in wanted.items()],
            drops=unset,
            replaces=replaces,
            expected_rev=expected_rev,
            actor=actor,
        )
        return _changed(agent, done)

    async def revert(self, name: str, *, to: int, expected_rev: int | None, actor: str) -> ConfigsChangedView:
        """Make the configs what they were after a change."""
        agent = await self._agent(name)
        done = await self._configs.revert(agent, to=to, expected_rev=expected_rev, actor=actor)
        return _changed(agent, done)

    async def history(
        self, name: str, *, limit: int, below: int | None, key: str | None
    ) -> Sequence[ConfigMoveView]:
        """Changes, the newest first."""
        agent = await self._agent(name)
        moves = await self._store.read(configs.config_history, agent.id, limit=limit, below=below, key=key)
        return [_move(move) for move in moves]

    async def _agent(self, name: str) -> AgentRow:
        return await agent_named(self._store, name, self.user_id)


def _new(key: str, wanted: WantedConfig) -> NewConfig:
    says_more = "description" in wanted.model_fields_set
    description = wanted.description if says_more else UNSET
    return NewConfig(key=key, value=wanted.value, type=wanted.type, description=description)


def _view(row: ConfigRow) -> ConfigView:
    return ConfigView(
        key=row.key,
        type=row.type,
        value=row.value,
        description=row.description,
        source="file" if row.source == "file" else "api",
        created_at=from_epoch_ms(row.created_at),
        updated_at=from_epoch_ms(row.updated_at),
    )


def _changed(agent: AgentRow, done: ConfigsChanged) -> ConfigsChangedView:
    return ConfigsChangedView(agent=agent.name, rev=done.rev, changed=done.keys)


def _move(move: ConfigMove) -> ConfigMoveView:
    return ConfigMoveView(
        seq=move.seq,
        key=move.key,
        old_type=move.old_type,
        old_value=_value(move.old_type, move.old_text),
        new_type=move.new_type,
        new_value=_value(move.new_type, move.new_text),
        actor=move.actor,
        at=from_epoch_ms(move.at),
    )


def _value(type: ConfigType | None, text: str | None) -> Any:
    return None if type is None or text is None else value_in(type, text)
