"""Configs of agents, as an operator asks for them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from hub.api.views.agent_configs import (
    ConfigMoveView,
    ConfigsChangedView,
    ConfigurationView,
    ConfigView,
    WantedConfig,
)


class AgentConfigFacade(Protocol):
    """Configs. Each method raises UnknownAgent; those that change something audit it in the same transaction.

    *expected_rev*: refuse with StaleConfig where the agent's revision is another by now.
    """

    async def of_agent(self, name: str) -> ConfigurationView: ...

    async def get(self, name: str, key: str) -> tuple[ConfigView, int]:
        """One config and the agent's revision. Raises UnknownConfig."""
        ...

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
        """Write and remove configs, all or none.

        Args:
            replaces: those that are not *wanted* go, apart from what hub.toml declares.

        Raises:
            UnknownConfig, StaleConfig, ConfigOfFile, ConfigLimitReached, BadConfig, BadConfiguration:
                nothing was written.
        """
        ...

    async def revert(self, name: str, *, to: int, expected_rev: int | None, actor: str) -> ConfigsChangedView:
        """Make the configs what they were after a change. Raises UnknownConfig, and what ``change`` does."""
        ...

    async def history(
        self, name: str, *, limit: int, below: int | None, key: str | None
    ) -> Sequence[ConfigMoveView]:
        """Changes, the newest first, with numbers under *below*."""
        ...
