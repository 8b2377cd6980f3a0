"""Routes of agents' configs: reading, writing, reverting, and their history."""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from hub.agents.config_delivery import config_values
from hub.agents.config_writing import ConfigWriter as ConfigService
from hub.api.binding import BodyField, bad_request
from hub.api.device import OwnAgent, object_of
from hub.api.resource import (
    Actor,
    IfMatch,
    Instant,
    ListPage,
    Match,
    Paging,
    Resource,
    View,
    audited,
    command,
    device,
    route,
)
from hub.base.roles import Scope
from protocol.configs import ConfigType, value_in
from protocol.coordination import Method
from protocol.errors import CodedError, ErrorCode
from protocol.grants import Grant
from protocol.ids import AgentId
from storage.agents import agent_snapshot, agents, configs
from storage.agents.agent_snapshot import EffectiveConfig
from storage.agents.agents import AgentRow
from storage.agents.config_changes import ConfigsChanged, NewConfig
from storage.agents.configs import ConfigMove, ConfigRow
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
    description: Annotated[str, Meta(max_length=10_000)] | UnsetType | None = UNSET


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
