"""Templates, as an operator writes them."""

from typing import Protocol

from hub.api.views.templates import TemplateView, VerdictView
from hub.settings.template_settings import TemplateTable


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
