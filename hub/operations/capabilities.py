"""Capabilities of agents, as one user sees and changes them."""

from hub.agents.capabilities import Capabilities
from hub.api.views.capabilities import CapabilityView, RegisteredView, WantedCapability
from hub.clock import from_epoch_ms
from hub.operations.names import agent_named, user_names
from hub.operations.seen import Seen
from hub.settings.file_lines import FileLines
from storage.agents.agents import AgentRow
from storage.agents.capabilities import CapabilityRow, DeclaredCapability
from storage.store import Store


class CapabilityOperations(Seen):
    """Implements ``api.facades.capabilities.CapabilityFacade``."""

    def __init__(self, store: Store, capabilities: Capabilities, lines: FileLines) -> None:
        """*lines*: where hub.toml says what may not be changed here."""
        self._store = store
        self._capabilities = capabilities
        self._lines = lines

    async def of_agent(self, name: str) -> list[CapabilityView]:
        """By name, of each the newest version first."""
        agent = await self._agent(name)
        return [_view(row) for row in await self._capabilities.all(agent.id)]

    async def register(
        self, name: str, capability: str, version: str, wanted: WantedCapability, *, actor: str
    ) -> RegisteredView:
        """Write one down, or change what is written."""
        agent = await self._agent(name)
        try:
            done = await self._capabilities.register(
                agent.id,
                name=capability,
                version=version,
                enabled=wanted.enabled,
                config=wanted.config,
                description=wanted.description,
                source="api",
                actor=actor,
            )
        except DeclaredCapability as error:
            raise await self._managed(agent, error) from error
        disabled = None if done.disabled is None else str(done.disabled)
        return RegisteredView(capability=_view(done.row), is_new=done.is_new, disabled=disabled)

    async def remove(
        self, name: str, capability: str, version: str | None, *, actor: str
    ) -> list[CapabilityView]:
        """Forget one in this version, or in all."""
        agent = await self._agent(name)
        try:
            gone = await self._capabilities.remove(
                agent.id, name=capability, version=version, source="api", actor=actor
            )
        except DeclaredCapability as error:
            raise await self._managed(agent, error) from error
        return [_view(row) for row in gone]

    async def _managed(self, agent: AgentRow, error: DeclaredCapability) -> DeclaredCapability:
        """The same refusal, with the line where it stands."""
        user = (await user_names(self._store))[agent.user_id]
        return DeclaredCapability(f"{error}: {self._lines.of_agent(agent.name, user, 'capabilities')}")

    async def _agent(self, name: str) -> AgentRow:
        return await agent_named(self._store, name, self.user_id)


def _view(row: CapabilityRow) -> CapabilityView:
    return CapabilityView(
        name=row.name,
        version=str(row.version),
        enabled=row.enabled,
        source=row.source,
        config=row.config,
        description=row.description,
        created_at=from_epoch_ms(row.created_at),
        updated_at=from_epoch_ms(row.updated_at),
    )
