"""Templates: what agents of one kind have in common."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from msgspec import Meta

from hub.agents.writing import AgentWriter, Verdict
from hub.api.binding import Head
from hub.api.door.roles import Scope
from hub.api.noun import ALL, NO_CHANGE, Noun, Part, audited, command, listed, route
from hub.api.parameters import Actor, Match
from hub.api.view import View
from hub.settings.agent_settings import TemplateSettings, TemplateTable
from hub.settings.declared import written_template
from hub.settings.reading import FileLines, ManagedByFile
from protocol.agent_status import Kind
from protocol.errors import ErrorCode
from protocol.ids import AgentId
from storage.agents import agents, templates
from storage.agents.template_changes import TemplateOfFile
from storage.agents.templates import TemplateRow, WrittenTemplate
from storage.store import Connection, Store

TemplateName = Annotated[str, Meta(pattern=r"^\w[\w.-]{0,63}$(?!\n)", max_length=50)]  # as in vocabularies


class TemplateView(View):
    """A template. *agents*: the names of those made from it; *version* grows with each change."""

    id: str
    name: str
    description: str | None
    type: str
    configuration_schema: dict[str, Any]
    default_configuration: dict[str, Any]
    prompt: str | None
    source: Literal["file", "api"]
    version: int
    agents: tuple[str, ...]


class BrokenView(View):
    """An agent that does not, or would not, fit its template."""

    agent: str
    user: str
    problems: tuple[str, ...]


class VerdictView(View):
    """Problems of an agent or template itself, and of the agents that it would break.

    *missing_for_runs*: what runs of an agent cannot start without; no problem where nothing starts any.
    """

    ok: bool
    problems: tuple[str, ...] = ()
    missing_for_runs: tuple[str, ...] = ()
    broken: tuple[BrokenView, ...] = ()


class Templates(Noun):
    """Templates, which belong to no user; each user sees the names of their own agents in them."""

    name, path = "templates", "/v1/templates"
    tagged = ("name", "version", "source")
    errors = (ErrorCode.UNKNOWN_TEMPLATE,)

    def __init__(self, *, store: Store, writer: AgentWriter, lines: FileLines) -> None:
        self._store = store
        self._writer = writer
        self._lines = lines

    @command(
        "templates ls",
        example="hub templates ls",
        json="templates",
        table=("name as template", "type", "agents|count", "source|origin", "version", "description"),
        empty="no templates; write one: hub templates put NAME --file FILE, or [[templates]] in hub.toml",
    )
    @listed("", Scope.READ, key=lambda template: (template.name,))
    async def all(self, part: Part = ALL) -> list[TemplateView]:
        """List the templates by name."""
        return await self._views(lambda c: templates.list_templates(c, limit=part.limit, after=part.after))

    @command(
        "templates show NAME",
        example="hub templates show mail",
        json="template",
        facts=(
            "name as template",
            "description",
            "type",
            "source|origin as managed by",
            "version",
            "agents|or_none",
            "prompt",
            "default_configuration|json as defaults",
            "configuration_schema|json as schema",
        ),
    )
    @route("GET", "/{name}", Scope.READ, is_tagged=True)
    async def get(self, name: TemplateName) -> TemplateView:
        """Return one template, and the names of the agents that are made from it."""
        (view,) = await self._views(lambda c: [templates.template_called(c, name)])
        return view

    @command(
        "templates put NAME",
        example="hub templates put mail --file mail.toml",
        json="template",
        options={"force": "Write it even if agents do not match it; they get the status error."},
        message="template {name} is at version {version}, used by {agents|count} agents",
        file="TOML or JSON file with a table as in [[templates]].",
    )
    @route(
        "PUT",
        "/{name}",
        Scope.SETTINGS,
        errors=[ErrorCode.MANAGED_BY_FILE, ErrorCode.BAD_CONFIG, ErrorCode.LIMIT_REACHED],
        also=[201],
    )
    @audited("template.changed")
    async def put(
        self,
        name: TemplateName,
        table: TemplateTable,
        match: Match,
        head: Head,
        actor: Actor,
        force: Annotated[bool, Meta(description="Agents that it breaks are put in error.")] = False,
    ) -> TemplateView:
        """Create a template, or replace the one of that name.

        It is checked for every agent that is made from it. A template that would break agents is
        refused, and each of these agents named.
        """
        version = None
        if match.is_asked:
            before = await self.get(name)
            match.check(self.tag_of(before))
            version = before.version
        written = _written(name, table)
        try:
            put = await self._writer.put_template(written, force=force, version=version, actor=actor)
        except TemplateOfFile as error:
            raise self._managed(name) from error
        if put.is_new:
            head.status = 201
            head.headers["location"] = f"{self.path}/{name}"
        view = await self.get(name)
        match.set_tag(self.tag_of(view))
        return view

    @command(
        "templates rm NAME",
        example="hub templates rm mail",
        json="template",
        message="template {name} is removed",
    )
    @route(
        "DELETE",
        "/{name}",
        Scope.SETTINGS,
        errors=[ErrorCode.MANAGED_BY_FILE, ErrorCode.TEMPLATE_IN_USE],
        is_tagged=True,
    )
    @audited("template.removed")
    async def remove(self, name: TemplateName, actor: Actor) -> TemplateView:
        """Delete a template that no agent is made from."""
        view = await self.get(name)
        try:
            await self._writer.remove_template(name, actor=actor)
        except TemplateOfFile as error:
            raise self._managed(name) from error
        return view

    @route("POST", "/{name}/validate", Scope.SETTINGS)
    @audited(NO_CHANGE)
    async def validate(self, name: TemplateName, table: TemplateTable | None = None) -> VerdictView:
        """Check a template without writing it; without a body, check the stored one."""
        if table is None:
            return _verdict_view(await self._writer.judge_stored(name))
        return _verdict_view(await self._writer.judge_template(_written(name, table)))

    def _managed(self, name: str) -> ManagedByFile:
        return ManagedByFile(f"template {name!r} is managed by hub.toml: {self._lines.of_template(name)}")

    async def _views(self, find: Callable[[Connection], list[TemplateRow]]) -> list[TemplateView]:
        """Return the views of the templates that *find* reads, with the names of their agents."""

        def read(c: Connection) -> tuple[list[TemplateRow], dict[str, dict[AgentId, str]]]:
            rows = find(c)
            return rows, agents.agents_by(c, "template_id", [row.id for row in rows], user_id=self.user_id)

        rows, names = await self._store.read(read)
        return [
            TemplateView.from_row(
                row,
                type=Kind(row.agent_type, row.subtype).written,
                prompt=row.prompt_template,
                agents=tuple(names[row.id].values()),
            )
            for row in rows
        ]


def _written(name: str, table: TemplateTable) -> WrittenTemplate:
    return written_template(TemplateSettings(name=name, **dict(table)))


def _verdict_view(verdict: Verdict) -> VerdictView:
    broken = tuple(BrokenView(agent=one.name, user=one.user, problems=one.wrong) for one in verdict.broken)
    return VerdictView(ok=not verdict.wrong and not broken, problems=verdict.wrong, broken=broken)
