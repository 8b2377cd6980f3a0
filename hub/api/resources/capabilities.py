"""Routes of agents' capabilities: listing, registering and removing."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from hub.agents.capabilities import CapabilityRegistry as CapabilityService
from hub.api.device import object_of
from hub.api.resource import (
    Actor,
    IfMatch,
    Instant,
    Match,
    Resource,
    View,
    audited,
    command,
    device,
    route,
    tag_of,
)
from hub.base.roles import Scope
from hub.settings.reading import FileLines
from protocol.coordination import Method
from protocol.errors import ErrorCode
from protocol.grants import Grant
from storage.agents import agents
from storage.agents import capabilities as agents_capabilities
from storage.agents.agents import AgentRow
from storage.agents.capabilities import CapabilityRow, DeclaredCapability
from storage.store import Store

Description = Annotated[str, Meta(max_length=10_000, pattern=r"^[^\x00]*$")]


FIRST_VERSION: Final = "1.0.0"  # of a capability that names none


_CAPABILITY_REFUSED = (
    ErrorCode.UNKNOWN_CAPABILITY,
    ErrorCode.MANAGED_BY_FILE,
    ErrorCode.LIMIT_REACHED,
    ErrorCode.TOO_LARGE,
)


class CapabilityView(View, kw_only=True):
    """Version of a capability. At most one version of each name is enabled.

    *source*: who registered it: hub.toml, an operator, the agent's device.
    """

    name: str
    version: str
    enabled: bool
    source: Literal["file", "api", "device"]
    config: dict[str, Any] = {}
    description: str | None = None
    created_at: Instant
    updated_at: Instant


_CAPABILITY_RECORD = object_of("name", "version", "enabled", "source", "config", "description")


class CapabilitiesView(View):
    """The capabilities of an agent."""

    capabilities: tuple[CapabilityView, ...]


class CapabilityRequest(View):
    """Properties of a capability to register.

    *enabled* by default: unchanged; a new one is enabled unless it is a pre-release or a newer version of its
    name is enabled.
    """

    enabled: bool | None = None
    config: dict[str, Any] = {}
    description: Description | None = None


class RegisteredView(View):
    """A registered capability. *disabled*: the version that it replaced."""

    capability: CapabilityView
    is_new: bool
    disabled: str | None = None


class RemovedCapabilities(View):
    """Capabilities that were removed from an agent."""

    removed: tuple[CapabilityView, ...]


class CapabilitiesResource(Resource):
    """Capabilities of agents. Changes are written to the audit log in the same transaction."""

    name, path = "capabilities", "/v1/agents/{name}/capabilities"
    commands_help = "List, register and remove the capabilities of an agent."
    errors = (ErrorCode.UNKNOWN_AGENT,)

    def __init__(self, store: Store, capabilities: CapabilityService, lines: FileLines) -> None:
        """Create the resource. *lines*: places in hub.toml, for refusals of what is declared there."""
        self._store = store
        self._capabilities = capabilities
        self._lines = lines

    @command(
        "agents capabilities NAME ls",
        example="hub agents capabilities notes ls",
        json="capabilities",
        rows="capabilities",
        table=("name as capability", "version", "enabled", "source|origin", "description"),
        empty="no capabilities except its device's; register one: hub agents capabilities {name} put --help",
    )
    @route("GET", "", Scope.READ)
    @device(
        Method.CAPABILITIES_LIST,
        "its own agents",
        answer=lambda found: {"capabilities": list(map(_CAPABILITY_RECORD, found.capabilities))},
    )
    async def all(self, name: str, match: Match) -> CapabilitiesView:
        """List the capabilities of an agent by name, of each the newest version first."""
        found = await self.of_agent(name)
        match.set_tag(_capabilities_tag(found))
        return CapabilitiesView(capabilities=tuple(found))

    async def of_agent(self, name: str) -> list[CapabilityView]:
        """Return the capabilities of an agent by name, of each the newest version first."""
        _, rows = await self._store.read(
            agents.with_agent, name, self.user_id, agents_capabilities.list_capabilities
        )
        return [_view(row) for row in rows]

    @command(
        "agents capabilities NAME put CAPABILITY [VERSION]",
        example="hub agents capabilities notes put file.read 1.2.0 --enable",
        json="capability",
        options={
            "enabled": "--enable/--disable: Enable this version, or not [default: if it is the newest].",
            "config": "Configuration of the capability, as JSON.",
            "description": "Description of the capability.",
        },
        message="{capability.name} {capability.version} is {*|registered}",
    )
    @route("PUT", "/{capability}/{version}", Scope.RUN, errors=_CAPABILITY_REFUSED)
    @audited("capability.registered")
    async def register_version(
        self,
        name: str,
        capability: str,
        version: str,
        match: Match,
        requested: CapabilityRequest,
        actor: Actor,
    ) -> RegisteredView:
        """Register a capability in a semantic version, or change it. Enabling it disables other versions."""
        return await self.register_any(name, capability, match, requested, actor, version)

    @route("PUT", "/{capability}", Scope.RUN, errors=_CAPABILITY_REFUSED)
    @audited("capability.registered")
    async def register(
        self, name: str, capability: str, match: Match, requested: CapabilityRequest, actor: Actor
    ) -> RegisteredView:
        """Register a capability in version 1.0.0, or change that version."""
        return await self.register_any(name, capability, match, requested, actor)

    @device(
        Method.CAPABILITIES_PUT,
        "its own agents",
        Grant.AGENTS,
        answer=lambda done: {"capability": _CAPABILITY_RECORD(done.capability), "disabled": done.disabled},
        names={"capability": "name"},
    )
    @audited("capability.registered")
    async def register_any(
        self,
        name: str,
        capability: str,
        match: Match,
        requested: CapabilityRequest,
        actor: Actor,
        version: str = FIRST_VERSION,
    ) -> RegisteredView:
        """Register a capability in a version, or change it. Enabling it disables other versions."""
        await self._check(name, match)
        agent = await self._agent_called(name)
        try:
            done = await self._capabilities.register(
                agent.id,
                name=capability,
                version=version,
                enabled=requested.enabled,
                config=requested.config,
                description=requested.description,
                actor=actor,
            )
        except DeclaredCapability as error:
            raise self._managed(agent, error) from error
        disabled = None if done.disabled is None else str(done.disabled)
        return RegisteredView(capability=_view(done.row), is_new=done.is_new, disabled=disabled)

    @route("DELETE", "/{capability}", Scope.RUN, errors=_CAPABILITY_REFUSED)
    @audited("capability.removed")
    async def remove(self, name: str, capability: str, match: Match, actor: Actor) -> RemovedCapabilities:
        """Remove a capability of an agent in all its versions."""
        return await self.remove_any(name, capability, match, actor)

    @command(
        "agents capabilities NAME rm CAPABILITY [VERSION]",
        example="hub agents capabilities notes rm file.read 1.2.0",
        json="capabilities_removed",
        message="removed: {removed|versions}",
    )
    @route("DELETE", "/{capability}/{version}", Scope.RUN, errors=_CAPABILITY_REFUSED)
    @audited("capability.removed")
    async def remove_version(
        self, name: str, capability: str, version: str, match: Match, actor: Actor
    ) -> RemovedCapabilities:
        """Remove one version of a capability of an agent."""
        return await self.remove_any(name, capability, match, actor, version)

    @device(
        Method.CAPABILITIES_REMOVE,
        "its own agents",
        Grant.AGENTS,
        answer=lambda done: {"removed": [capability.version for capability in done.removed]},
        names={"capability": "name"},
    )
    @audited("capability.removed")
    async def remove_any(
        self, name: str, capability: str, match: Match, actor: Actor, version: str | None = None
    ) -> RemovedCapabilities:
        """Remove one version of a capability of an agent, or all."""
        await self._check(name, match)
        agent = await self._agent_called(name)
        try:
            removed = await self._capabilities.remove(agent.id, name=capability, version=version, actor=actor)
        except DeclaredCapability as error:
            raise self._managed(agent, error) from error
        return RemovedCapabilities(removed=tuple(map(_view, removed)))

    async def _check(self, name: str, match: IfMatch) -> None:
        if match.is_asked:
            match.check(_capabilities_tag(await self.of_agent(name)))

    def _managed(self, agent: AgentRow, error: DeclaredCapability) -> DeclaredCapability:
        """Return the same refusal with the line of hub.toml."""
        where = self._lines.of_agent(agent.name, agent.user_name, "capabilities")
        return DeclaredCapability(f"{error}: {where}")


def _view(row: CapabilityRow) -> CapabilityView:
    return CapabilityView.from_row(row, version=str(row.version))


def _capabilities_tag(found: Sequence[CapabilityView]) -> str:
    return tag_of(found)
