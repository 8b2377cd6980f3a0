"""Agents and templates, as an operator writes them."""

from collections.abc import Mapping
from typing import Any, Protocol

from hub.api.agent_bodies import AgentBody
from hub.api.views.templates import TemplateView, VerdictView
from hub.api.views.view import AgentView
from hub.settings.template_settings import TemplateTable


class AgentWritingFacade(Protocol):
    """Agents made over the API. Those of hub.toml are refused with ManagedByFile, and its line.

    Each change is checked as hub.toml is, and by the agent's template. It is audited in the same
    transaction; where it is refused nothing is written.
    """

    async def create(self, body: AgentBody, *, actor: str) -> AgentView:
        """Make an agent.

        Raises:
            AgentNameTaken, TooManyAgents, UnknownUser, UnknownDevice, UnknownTemplate, ExternalIdTaken,
                BadAgent, BadConfig, BadConfiguration.
        """
        ...

    async def edit(
        self, name: str, changes: Mapping[str, Any], *, revision: int | None, actor: str
    ) -> AgentView:
        """Change what is said of an agent; what *changes* leaves out stays.

        Args:
            revision: the one that the editor has read.

        Raises:
            UnknownAgent, StaleConfig, and what ``create`` raises.
        """
        ...

    async def remove(self, name: str, *, actor: str) -> AgentView:
        """Pause and archive an agent, and cancel its runs that wait. Raises UnknownAgent."""
        ...

    async def validate(self, name: str) -> VerdictView:
        """What is wrong with how an agent is set up, of hub.toml or not. Raises UnknownAgent."""
        ...


class TemplateFacade(Protocol):
    """Templates. Those of hub.toml are refused with ManagedByFile, and its line."""

    async def all(self) -> list[TemplateView]:
        """All of them, by name."""
        ...

    async def get(self, name: str) -> TemplateView:
        """One of them. Raises UnknownTemplate."""
        ...

    async def put(
        self, name: str, table: TemplateTable, *, force: bool, version: int | None, actor: str
    ) -> tuple[TemplateView, bool]:
        """Write one; whether it is new.

        Args:
            force: agents that it breaks are put in error; else that is refused.
            version: the one that the writer has read.

        Raises:
            BadSchema, BadPrompt, TemplateChanged, TooManyTemplates, WouldBreak: nothing was written.
        """
        ...

    async def remove(self, name: str, *, actor: str) -> TemplateView:
        """Remove one that no agent is made from. Raises UnknownTemplate, TemplateInUse."""
        ...

    async def validate(self, name: str, table: TemplateTable | None) -> VerdictView:
        """What would come of writing *table*; without one, of what is kept. Nothing is written."""
        ...
