"""Configs, capabilities and checkpoints of agents."""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from hub.agents.capabilities import CapabilityRegistry as CapabilityService
from hub.agents.checkpoints import CheckpointService
from hub.agents.config_delivery import config_values
from hub.agents.config_writing import ConfigWriter as ConfigService
from hub.api.binding import BodyField, From, bad_request
from hub.api.device import OwnAgent, object_of
from hub.api.resource import (
    ALL,
    Actor,
    IfMatch,
    Instant,
    ListPage,
    ListPart,
    Match,
    Paging,
    Resource,
    View,
    audited,
    command,
    device,
    listed,
    route,
    tag_of,
)
from hub.base.roles import Scope
from hub.settings.reading import FileLines
from protocol.configs import ConfigType, value_in
from protocol.coordination import Method
from protocol.errors import CodedError, ErrorCode
from protocol.frame import Fence, Id, Text
from protocol.ids import AgentId, RunId
from protocol.lifecycles import RunState
from storage.agents import agent_snapshot, agents, checkpoints, configs
from storage.agents import capabilities as stored_capabilities
from storage.agents.agent_snapshot import EffectiveConfig
from storage.agents.agents import AgentRow
from storage.agents.capabilities import CapabilityRow, DeclaredCapability
from storage.agents.checkpoints import AGENT_SCOPE
from storage.agents.config_changes import ConfigsChanged, NewConfig
from storage.agents.configs import ConfigMove, ConfigRow
from storage.devices.devices import Grant
from storage.held import FencedRun
from storage.runs import runs
from storage.store import Connection, Store

MAX_KEYS: Final = 1_000  # of configs in one request of a device
_REFUSED = (
    ErrorCode.UNKNOWN_CONFIG,
    ErrorCode.BAD_CONFIG,
    ErrorCode.MANAGED_BY_FILE,
    ErrorCode.LIMIT_REACHED,
)


class ConfigView(View):
    """Config of an agent. *source*: ``file`` is declared in hub.toml and changed there."""

    key: str
    type: ConfigType
    value: Any
    description: str | None
    source: Literal["file", "api"]
    created_at: Instant
    updated_at: Instant


class ConfigurationView(View):
    """The configs of an agent.

    *rev* grows with each change of the agent, and is the ``ETag``. *configuration* is what the agent
    uses: its own configs over the defaults of its template.
    """

    agent: str
    rev: int
    configs: tuple[ConfigView, ...]
    configuration: dict[str, Any]


class ConfigsChangedView(View):
    """The keys whose configs a request changed, and the revision after it."""

    agent: str
    rev: int
    changed: tuple[str, ...]


class ConfigMoveView(View):
    """Change of a config. A type of ``null``: the config did not exist before, or was removed."""

    seq: int
    key: str
    old_type: ConfigType | None
    old_value: Any
    new_type: ConfigType | None
    new_value: Any
    actor: str
    at: Instant


class ConfigRequest(View):
    """A new value of one config.

    Without a *type* it keeps its type, and a new one gets that of its value.
    Without a *description* it keeps its description.
    """

    value: Any
    type: ConfigType | None = None
    description: Annotated[str, Meta(max_length=4_096)] | UnsetType | None = UNSET


class AgentConfigEdit(View):
    """Configs to write by key, and keys to remove; all others stay."""

    configs: dict[str, ConfigRequest] = {}
    unset: tuple[str, ...] = ()


class ConfigsWrite(Struct, frozen=True):
    """Configs that a device writes, by key. *types*: of those that are to have another type."""

    values: Annotated[dict[str, Any], Meta(min_length=1, max_length=MAX_KEYS)]
    types: dict[str, ConfigType] = {}
    rev: int | None = None


Keys = Annotated[list[str], Meta(min_length=1, max_length=MAX_KEYS)]
_RECORD = object_of("key", "type", "value", "description", "source")


class AgentConfigsResource(Resource):
    """Configs of agents. Changes are written to the audit log in the same transaction."""

    name, path = "configs", "/v1/agents/{name}"
    errors = (ErrorCode.UNKNOWN_AGENT,)

    def __init__(self, store: Store, configs: ConfigService) -> None:
        self._store = store
        self._configs = configs

    @route("GET", "/config", Scope.READ)
    async def all(self, name: str, match: Match) -> ConfigurationView:
        """Return all configs of an agent, and the configuration that it uses."""
        found = await self.of_agent(name)
        match.set_tag(_tag(found.rev))
        return found

    async def of_agent(self, name: str) -> ConfigurationView:
        """Return all configs of an agent, and the configuration that it uses."""
        agent, (rows, now) = await self._store.read(agents.with_agent, name, self.user_id, _read_configs)
        return ConfigurationView(
            agent=agent.name,
            rev=now.rev,
            configs=tuple(map(ConfigView.from_row, rows)),
            configuration=now.configuration,
        )

    @route("PUT", "/config", Scope.RUN, errors=_REFUSED)
    @audited("agent.configured")
    async def replace(
        self,
        name: str,
        match: Match,
        configs: Annotated[
            dict[str, ConfigRequest],
            BodyField("ConfigsRequest", "The new configs of an agent by key; all others are removed."),
        ],
        actor: Actor,
    ) -> ConfigsChangedView:
        """Replace all configs of an agent, apart from those that hub.toml declares; all or none."""
        return await self._change(name, match, configs, replaces=True, actor=actor)

    @route("PATCH", "/config", Scope.RUN, errors=_REFUSED)
    @audited("agent.configured")
    async def edit(self, name: str, match: Match, edit: AgentConfigEdit, actor: Actor) -> ConfigsChangedView:
        """Change and remove some configs of an agent, all or none."""
        return await self._change(name, match, edit.configs, unset=edit.unset, actor=actor)

    @route("GET", "/config/{key}", Scope.READ, errors=[ErrorCode.UNKNOWN_CONFIG])
    async def get(self, name: str, key: str, match: Match) -> ConfigView:
        """Return one config of an agent."""
        agent, rows = await self._store.read(agents.with_agent, name, self.user_id, configs.list_configs)
        for row in rows:
            if row.key == key:
                match.set_tag(_tag(agent.config_rev))
                return ConfigView.from_row(row)
        raise CodedError(ErrorCode.UNKNOWN_CONFIG, f"agent {agent.name} has no config {key!r}")

    @route("PUT", "/config/{key}", Scope.RUN, errors=_REFUSED)
    @audited("agent.configured")
    async def put(
        self, name: str, key: str, match: Match, requested: ConfigRequest, actor: Actor
    ) -> ConfigsChangedView:
        """Write one config, which may be new."""
        return await self._change(name, match, {key: requested}, actor=actor)

    @route("DELETE", "/config/{key}", Scope.RUN, errors=_REFUSED)
    @audited("agent.configured")
    async def delete(self, name: str, key: str, match: Match, actor: Actor) -> ConfigsChangedView:
        """Remove one config; the default of the agent's template, if any, applies again."""
        return await self._change(name, match, {}, unset=(key,), actor=actor)

    @command(
        "agents config NAME history [KEY]",
        example="hub agents config notes history",
        json="agent_config_history",
        options={"limit": "--limit=20: Maximum number of changes."},
        rows="changes",
        table=(
            "seq as change",
            "at|at",
            "key as config",
            "*|old_config as before",
            "*|new_config as after",
            "actor as by",
        ),
        empty="no changes",
    )
    @route("GET", "/config-history", Scope.READ, page="ConfigHistory.changes")
    async def history(
        self,
        name: str,
        paging: Paging,
        key: Annotated[str, Meta(max_length=255, description="Changes of this config alone.")] | None = None,
    ) -> ListPage[ConfigMoveView]:
        """List the changes of configs with their actors, the newest first."""
        _, rows = await self._store.read(
            agents.with_agent,
            name,
            self.user_id,
            configs.config_history,
            limit=paging.part.limit,
            after=paging.after,
            key=key,
        )
        return paging.fetched([_move(row) for row in rows], key=lambda change: (change.seq,))

    @command(
        "agents config NAME revert",
        example="hub agents config notes revert --to 3",
        json="agent_config_changed",
        help="Restore the configs as they were after a change. The history keeps both.",
        options={"to": "Number of the change; 0 restores the state before the first."},
        message="agent {agent}: {changed|changed}; revision {rev}",
    )
    @route("POST", "/config-revert", Scope.RUN, errors=_REFUSED)
    @audited("agent.configured")
    async def revert(
        self,
        name: str,
        match: Match,
        to: Annotated[
            int,
            Meta(ge=0, le=2**53),
            BodyField(
                "ConfigRevert",
                "The number of the change whose result to restore; 0: the configs before the first one.",
            ),
        ],
        actor: Actor,
    ) -> ConfigsChangedView:
        """Restore the configs as they were after a change; that is a change too, and can be reverted."""
        rev = await self._expected(name, match)
        agent = await self._agent_called(name)
        done = await self._configs.revert(agent, to=to, expected_rev=rev, actor=actor)
        return _changed(agent, done, match)

    @device(Method.CONFIG_GET, "its own agents")
    async def get_own(self, agent: OwnAgent) -> dict[str, Any]:
        """Return the configs of an agent of a device, and the configuration that it uses."""
        rows, now = await self._store.read(_read_configs, agent.id)
        return {**config_values(now), "configs": list(map(_RECORD, rows))}

    @device(Method.CONFIG_SET, "its own agents", Grant.AGENTS)
    @audited("agent.configured")
    async def set_own(self, agent: OwnAgent, request: ConfigsWrite, actor: Actor) -> dict[str, Any]:
        """Write configs of an agent of a device, all or none."""
        if unknown := sorted(request.types.keys() - request.values.keys()):
            raise bad_request([f"types: {key!r} is not among the values" for key in unknown])
        new = [
            NewConfig(key=key, value=value, type=request.types.get(key))
            for key, value in request.values.items()
        ]
        return await self._change_own(agent, new, (), request.rev, actor)

    @device(Method.CONFIG_UNSET, "its own agents", Grant.AGENTS)
    @audited("agent.configured")
    async def unset_own(
        self, agent: OwnAgent, keys: Keys, actor: Actor, rev: int | None = None
    ) -> dict[str, Any]:
        """Remove configs of an agent of a device, all or none."""
        return await self._change_own(agent, (), keys, rev, actor)

    async def _change_own(
        self, agent: AgentRow, new: Sequence[NewConfig], unset: Sequence[str], rev: int | None, actor: str
    ) -> dict[str, Any]:
        done = await self._configs.change(agent, new, drops=unset, expected_rev=rev, actor=actor)
        now = await self._store.read(agent_snapshot.effective_of, agent.id)
        return {**config_values(now), "changed": list(done.keys)}

    async def _change(
        self,
        name: str,
        match: IfMatch,
        requested: Mapping[str, ConfigRequest],
        *,
        unset: Collection[str] = (),
        replaces: bool = False,
        actor: str,
    ) -> ConfigsChangedView:
        rev = await self._expected(name, match)
        agent = await self._agent_called(name)
        done = await self._configs.change(
            agent,
            [NewConfig(key=key, **structs.asdict(change)) for key, change in requested.items()],
            drops=unset,
            replaces=replaces,
            expected_rev=rev,
            actor=actor,
        )
        return _changed(agent, done, match)

    async def _expected(self, name: str, match: IfMatch) -> int | None:
        """Return the revision that ``If-Match`` requires, which the change itself then checks again.

        Raises:
            CodedError (CHANGED_MEANWHILE): the present revision is another.
        """
        if not match.is_asked:
            return None
        rev = (await self.of_agent(name)).rev
        match.check(_tag(rev))
        return rev


def _read_configs(c: Connection, agent_id: AgentId) -> tuple[list[ConfigRow], EffectiveConfig]:
    return configs.list_configs(c, agent_id), agent_snapshot.effective_of(c, agent_id)


def _changed(agent: AgentRow, done: ConfigsChanged, match: IfMatch) -> ConfigsChangedView:
    match.set_tag(_tag(done.rev))
    return ConfigsChangedView(agent=agent.name, rev=done.rev, changed=done.keys)


def _move(move: ConfigMove) -> ConfigMoveView:
    return ConfigMoveView.from_row(
        move, old_value=_value(move.old_type, move.old_text), new_value=_value(move.new_type, move.new_text)
    )


def _value(type: ConfigType | None, text: str | None) -> Any:
    return None if type is None or text is None else value_in(type, text)


def _tag(rev: int) -> str:
    return f'"{rev}"'


Description = Annotated[str, Meta(max_length=4_096, pattern=r"^[^\x00]*$")]

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
            agents.with_agent, name, self.user_id, stored_capabilities.list_capabilities
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
        answer=lambda done: {"removed": [one.version for one in done.removed]},
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


SequenceNumber = Annotated[int, Meta(ge=0, le=2**53 - 1)]


class CheckpointView(View, kw_only=True):
    """State of a scope that an agent keeps between its runs.

    *run* is the one that wrote it, under *fence*; null and 0 if an operator or device wrote it between runs.
    """

    scope: str
    sequence: int
    is_recoverable: bool
    state: dict[str, Any]
    run: str | None = None
    fence: int = 0
    actor: str
    created_at: Instant
    updated_at: Instant


class CheckpointRequest(View):
    """A checkpoint to write. *sequence* is greater than the present one.

    *is_recoverable*: the next run of the agent receives it, if its scope is ``agent``.
    """

    sequence: SequenceNumber
    state: dict[str, Any]
    is_recoverable: bool = True


class Under(Struct, frozen=True):
    """Run and lock that a device has to hold while it writes a checkpoint, with their fences."""

    run_id: Id | None = None
    fence: Fence | None = None
    lock: Text | None = None
    lock_fence: Fence | None = None


def _under(under: Under) -> Under:
    return under


def _under_nothing() -> Under:
    return Under()


def _answer(checkpoint: CheckpointView) -> dict[str, Any]:
    return {"checkpoint": _CHECKPOINT_RECORD(checkpoint)}


_CHECKPOINT_RECORD = object_of(
    *("scope", "sequence", "state", "is_recoverable", "run as run_id", "fence", "updated_at as updated_at_ms")
)


class CheckpointsResource(Resource):
    """Checkpoints of agents. Changes are written to the audit log in the same transaction."""

    name, path = "checkpoints", "/v1/agents/{name}/checkpoints"
    tagged = ("scope", "sequence", "updated_at")
    commands_help = "List, show, write and clear the checkpoints of an agent."
    errors = (ErrorCode.UNKNOWN_AGENT,)

    def __init__(self, store: Store, checkpoints: CheckpointService) -> None:
        self._store = store
        self._checkpoints = checkpoints

    @command(
        "agents checkpoints NAME ls",
        example="hub agents checkpoints notes ls",
        json="checkpoints",
        rows="checkpoints",
        table=(
            "scope",
            "sequence",
            "is_recoverable as recoverable",
            "run|id",
            "updated_at|at as written",
            "actor as by",
        ),
        empty="agent {name} has no checkpoints",
    )
    @listed("", Scope.READ, key=lambda checkpoint: (checkpoint.scope,))
    async def all(self, name: str, part: ListPart = ALL) -> list[CheckpointView]:
        """List the checkpoints of an agent, by scope."""
        _, rows = await self._store.read(
            agents.with_agent,
            name,
            self.user_id,
            checkpoints.list_checkpoints,
            limit=part.limit,
            after=part.after,
        )
        return list(map(CheckpointView.from_row, rows))

    @command(
        "agents checkpoints NAME show [SCOPE=agent]",
        example="hub agents checkpoints notes show",
        json="checkpoint",
        prints="state|pretty",
    )
    @route("GET", "/{scope}", Scope.READ, errors=[ErrorCode.UNKNOWN_CHECKPOINT], is_tagged=True)
    @device(Method.CHECKPOINTS_GET, "its own agents", answer=_answer)
    async def get(self, name: str, scope: str = AGENT_SCOPE) -> CheckpointView:
        """Return a checkpoint of an agent; its runs continue from that of the scope ``agent``."""
        _, row = await self._store.read(
            agents.with_agent, name, self.user_id, checkpoints.get_checkpoint, scope
        )
        return CheckpointView.from_row(row)

    @command(
        "agents checkpoints NAME put [SCOPE=agent]",
        example="hub agents checkpoints notes put --sequence 4 --json-state '{}'",
        json="checkpoint",
        options={
            "sequence": "Greater than that of the last checkpoint.",
            "state": "--json-state: State to write, as JSON.",
            "is_recoverable": "--recover/--no-recover: Whether runs resume from it.",
        },
        message="written: {scope} at sequence {sequence}",
    )
    @route(
        "PUT",
        "/{scope}",
        Scope.RUN,
        errors=[ErrorCode.STALE_CHECKPOINT, ErrorCode.LIMIT_REACHED, ErrorCode.TOO_LARGE],
        is_tagged=True,
    )
    @device(
        Method.CHECKPOINTS_PUT, "its own agents", Grant.AGENTS, answer=_answer, arguments={"under": _under}
    )
    @audited("checkpoint.kept")
    async def put(
        self,
        name: str,
        requested: CheckpointRequest,
        actor: Actor,
        under: Annotated[Under, From(_under_nothing)],
        scope: str = AGENT_SCOPE,
    ) -> CheckpointView:
        """Replace a checkpoint by one with a greater sequence number, or create it."""
        agent = await self._agent_called(name)
        row = await self._checkpoints.put(
            agent.id,
            scope=scope,
            sequence=requested.sequence,
            state=requested.state,
            is_recoverable=requested.is_recoverable,
            held=await self._held(agent, under),
            lock=_lock(under),
            actor=actor,
        )
        return CheckpointView.from_row(row)

    @command(
        "agents checkpoints NAME clear [SCOPE=agent]",
        help="Delete a checkpoint; the next run begins without it.",
        example="hub agents checkpoints notes clear",
        json="checkpoint",
        message="cleared: {scope}, which was at sequence {sequence}",
    )
    @route("DELETE", "/{scope}", Scope.RUN, errors=[ErrorCode.UNKNOWN_CHECKPOINT], is_tagged=True)
    @device(
        Method.CHECKPOINTS_CLEAR,
        "its own agents",
        Grant.AGENTS,
        answer=lambda was: {"cleared": _CHECKPOINT_RECORD(was)},
    )
    @audited("checkpoint.cleared")
    async def clear(self, name: str, actor: Actor, scope: str = AGENT_SCOPE) -> CheckpointView:
        """Delete a checkpoint and return it; the next run begins without it."""
        agent = await self._agent_called(name)
        return CheckpointView.from_row(await self._checkpoints.clear(agent.id, scope, actor=actor))

    async def _held(self, agent: AgentRow, under: Under) -> FencedRun | None:
        """Return the run that the agent's device works on, with its fence.

        Raises:
            CodedError (BAD_PARAMS): only one of run and fence is given.
            CodedError (UNKNOWN_RUN): the agent has no such run at its device.
        """
        if under.run_id is None and under.fence is None:
            return None
        if under.run_id is None or under.fence is None:
            raise bad_request(["run_id, fence: give both, as agent_run had them, or neither"])
        run = await self._store.read(runs.find_run, RunId(under.run_id))
        if run is None or run.device_id != agent.device_id or run.agent_id != agent.id:
            raise CodedError(ErrorCode.UNKNOWN_RUN, f"the agent has no run {under.run_id!r} at this device")
        return FencedRun(run.id, RunState.RUNNING, under.fence)


def _lock(under: Under) -> tuple[str, int] | None:
    """Return the name and the fence of the lock. Raises CodedError if only one of them is given."""
    if under.lock is None and under.lock_fence is None:
        return None
    if under.lock is None or under.lock_fence is None:
        raise bad_request(["lock, lock_fence: give both, as locks.acquire answered them, or neither"])
    return under.lock, under.lock_fence
