"""Agents and templates, as one user makes, changes and removes them."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from hub.agents.writing import AgentWriter, Verdict
from hub.api.agent_bodies import AgentBody, Rules, changed_by, made_of
from hub.api.views.templates import BrokenView, TemplateView, VerdictView
from hub.api.views.view import AgentView
from hub.operations.names import agent_named, user_names
from hub.operations.seen import Seen
from hub.settings.declared import written_template
from hub.settings.file_lines import FileLines
from hub.settings.template_settings import TemplateSettings, TemplateTable
from protocol.agent_types import Kind
from protocol.errors import ErrorCode, HubError
from protocol.ids import UserId
from storage.agents import agents, made_agents, templates
from storage.agents.agents import AgentRow
from storage.agents.made_agents import AgentOfFile
from storage.agents.template_changes import TemplateOfFile
from storage.agents.templates import TemplateRow, WrittenTemplate
from storage.devices import users
from storage.devices.users import UnknownUser
from storage.store import Store


class ManagedByFile(HubError):
    """It stands in hub.toml, and is changed there. Nothing was written."""

    code = ErrorCode.MANAGED_BY_FILE


class AgentViews(Protocol):
    """Tells of agents."""

    async def view(self, row: AgentRow) -> AgentView: ...


class AgentWriting(Seen):
    """Implements ``api.facades.agent_writing.AgentWritingFacade``.

    Args:
        rules: what of hub.toml holds for every agent, now.
        lines: where the agents of hub.toml stand in it.
    """

    def __init__(
        self,
        *,
        store: Store,
        writer: AgentWriter,
        views: AgentViews,
        rules: Callable[[], Rules],
        lines: FileLines,
    ) -> None:
        self._store = store
        self._writer = writer
        self._views = views
        self._rules = rules
        self._lines = lines

    async def create(self, body: AgentBody, *, actor: str) -> AgentView:
        """Make an agent."""
        user_id = await self._whose(body.user)
        declared = made_of(body, self._rules())
        made = await self._writer.make(declared, user_id=user_id, start=body.start, actor=actor)
        return await self._views.view(made)

    async def edit(
        self, name: str, changes: Mapping[str, Any], *, revision: int | None, actor: str
    ) -> AgentView:
        """Change what is said of an agent."""
        row = await self._own(name)
        now = await self._store.read(made_agents.said_of, row)
        new = changed_by(changes, now, self._rules(), gateway=row.gateway)
        return await self._views.view(
            await self._writer.edit(row.id, new, revision=revision or row.config_rev, actor=actor)
        )

    async def remove(self, name: str, *, actor: str) -> AgentView:
        """Pause and archive an agent."""
        row = await self._own(name)
        return await self._views.view(await self._writer.remove(row.id, actor=actor))

    async def validate(self, name: str) -> VerdictView:
        """What is wrong with how an agent is set up."""
        row = await agent_named(self._store, name, self.user_id)
        wrong = await self._writer.problems(row.id)
        return VerdictView(ok=not wrong, problems=wrong)

    async def _own(self, name: str) -> AgentRow:
        """An agent of the API. Raises UnknownAgent, AmbiguousAgent, ManagedByFile."""
        row = await agent_named(self._store, name, self.user_id)
        if row.source == "file":
            raise await managed(self._store, self._lines, AgentOfFile(row))
        return row

    async def _whose(self, named: str | None) -> UserId:
        """Whose a new agent is: one's own, or for who sees everybody's the one of that name."""
        if named is None and self.user_id is not None:
            return self.user_id
        name = named or users.OWNER
        row = await self._store.read(users.find_user_by_name, name)
        if row is None or self.user_id not in (None, row.id):
            raise UnknownUser(f"user: there is no user {name!r}")
        return row.id


class TemplateOperations(Seen):
    """Implements ``api.facades.agent_writing.TemplateFacade``. Templates belong to nobody; agents do."""

    def __init__(self, *, store: Store, writer: AgentWriter, lines: FileLines) -> None:
        self._store = store
        self._writer = writer
        self._lines = lines

    async def all(self) -> list[TemplateView]:
        """All templates, by name."""
        return await self._told(await self._store.read(templates.list_templates))

    async def get(self, name: str) -> TemplateView:
        """One of them."""
        (view,) = await self._told([await self._store.read(templates.get_template, name)])
        return view

    async def put(
        self, name: str, table: TemplateTable, *, force: bool, version: int | None, actor: str
    ) -> tuple[TemplateView, bool]:
        """Write one; whether it is new."""
        written = _written(name, table)
        try:
            put = await self._writer.put_template(written, force=force, version=version, actor=actor)
        except TemplateOfFile as error:
            raise self._managed(name) from error
        return await self.get(name), put.is_new

    async def remove(self, name: str, *, actor: str) -> TemplateView:
        """Remove one that no agent is made from."""
        view = await self.get(name)
        try:
            await self._writer.remove_template(name, actor=actor)
        except TemplateOfFile as error:
            raise self._managed(name) from error
        return view

    async def validate(self, name: str, table: TemplateTable | None) -> VerdictView:
        """What would come of writing *table*; without one, of what is kept."""
        if table is None:
            return self._verdict(await self._writer.judge_kept(name))
        written = _written(name, table)
        return self._verdict(await self._writer.judge_template(written))

    def _verdict(self, verdict: Verdict) -> VerdictView:
        broken = tuple(
            BrokenView(agent=one.name, user=one.user, problems=one.wrong) for one in verdict.broken
        )
        return VerdictView(ok=not verdict.wrong and not broken, problems=verdict.wrong, broken=broken)

    def _managed(self, name: str) -> ManagedByFile:
        return ManagedByFile(f"template {name!r} is managed by hub.toml: {self._lines.of_template(name)}")

    async def _told(self, rows: list[TemplateRow]) -> list[TemplateView]:
        known = await self._store.read(agents.list_agents, user_id=self.user_id)
        return [
            TemplateView(
                name=row.name,
                description=row.description,
                type=Kind(row.agent_type, row.subtype).written,
                configuration_schema=row.configuration_schema,
                default_configuration=row.default_configuration,
                prompt=row.prompt_template,
                source="file" if row.source == "file" else "api",
                version=row.version,
                agents=tuple(agent.name for agent in known if agent.template_id == row.id),
            )
            for row in rows
        ]


def _written(name: str, table: TemplateTable) -> WrittenTemplate:
    return written_template(TemplateSettings(name=name, **dict(table)))


async def managed(store: Store, lines: FileLines, error: AgentOfFile, *key: str) -> ManagedByFile:
    """The refusal of a change of an agent of hub.toml, with the line where it stands there."""
    user = (await user_names(store))[error.agent.user_id]
    where = lines.of_agent(error.agent.name, user, *key)
    return ManagedByFile(f"agent {error.agent.name!r} is managed by hub.toml: {where}")
