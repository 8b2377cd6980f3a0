"""Templates, as operators write them."""

from hub.agents.writing import AgentWriter, Verdict
from hub.api.views.templates import BrokenView, TemplateView, VerdictView
from hub.operations.seen import Seen
from hub.settings.declared import written_template
from hub.settings.file_lines import FileLines, ManagedByFile
from hub.settings.template_settings import TemplateSettings, TemplateTable
from protocol.agent_types import Kind
from storage.agents import agents, templates
from storage.agents.template_changes import TemplateOfFile
from storage.agents.templates import TemplateRow, WrittenTemplate
from storage.store import Store


class TemplateOperations(Seen):
    """Implements ``api.facades.templates.TemplateFacade``. Templates belong to nobody; agents do."""

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
