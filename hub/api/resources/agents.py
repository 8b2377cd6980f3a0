"""Routes of agents and templates: create (name made from the title), edit, remove, pause, start a run.

``_key`` makes the name of an agent that is created in the terms of a vocabulary out of its title.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

from msgspec import Meta, Struct, field, structs

from hub.agents.vocabularies import (
    VocabularyChange,
    creation_of,
    document_of,
    first_lifecycle,
    is_same_value,
    tables_of,
)
from hub.agents.writing import AgentWriter, TemplateCheck, Through
from hub.api.agent_bodies import AgentBody, AgentChanges, CommonAgentSettings, body_of, changed_by, made_of
from hub.api.agent_filters import ANY, AgentFilters
from hub.api.binding import OPTIONAL, BodyField, ResponseHead, bad_request
from hub.api.device import Link, OwnAgent, object_of
from hub.api.resource import (
    ALL,
    NO_CHANGE,
    Actor,
    Instant,
    ListPart,
    Match,
    Resource,
    RetryKey,
    View,
    audited,
    command,
    device,
    listed,
    route,
    tag_of,
    tool,
)
from hub.api.resources.runs import Preferred, RunRows, RunsResource, RunView, read_facts, run_record
from hub.api.resources.schedules import NEXT_FIRES, SchedulesResource, ScheduleView
from hub.base.log import Channel
from hub.base.roles import BY_DEVICE, Scope
from hub.health.issues import Finding
from hub.health.work import about_failing
from hub.links.device_link import DeviceLink
from hub.runs.control import RunControl
from hub.runs.file_watch import FileWatch
from hub.runs.run_order import MAX_NEEDS, RunOptions, run_options
from hub.schedules.trigger import Upcoming
from hub.settings.agent_settings import TemplateSettings, TemplateTable
from hub.settings.declared import written_template
from hub.settings.reading import FileLines
from protocol.agent_status import Lifecycle
from protocol.agent_types import AgentKind
from protocol.coordination import LOCK, LOCK_CHARACTERS, MAX_CHANGED_AGENTS, MAX_LOCKS, Method
from protocol.errors import CodedError, ErrorCode
from protocol.grants import NO_LIMITS, Grant, TokenLimits
from protocol.ids import AgentId, DeviceId, UserId
from protocol.lifecycles import RunOutcome
from protocol.status_vocabularies import Vocabulary, words_of
from storage.agents import agent_snapshot, agents, declared_agents
from storage.agents import templates as agents_templates
from storage.agents.agent_snapshot import Setup, conditions_of
from storage.agents.agents import AgentFields, AgentRow
from storage.agents.declared_agents import DeclaredAgent
from storage.agents.template_changes import TemplateOfFile
from storage.agents.templates import TemplateRow, WrittenTemplate
from storage.devices import devices, users
from storage.effects.agent_changes import AgentOfFile
from storage.effects.status_writes import StatusWrite
from storage.runs import failing_agents, runs
from storage.runs import run_needs as runs_run_needs
from storage.runs.run_needs import Offered
from storage.schedules import schedule_rows
from storage.schedules.schedule_rows import ScheduleRow
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


class TemplatesResource(Resource):
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
    async def all(self, part: ListPart = ALL) -> list[TemplateView]:
        """List the templates by name."""
        return await self._views(
            lambda c: agents_templates.list_templates(c, limit=part.limit, after=part.after)
        )

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
        (view,) = await self._views(lambda c: [agents_templates.template_called(c, name)])
        return view

    @command(
        "templates put NAME",
        example="hub templates put mail --file mail.toml",
        json="template",
        options={"force": "Write it even if agents do not match it; they get the status error."},
        message="template {name} is at version {version}, used by {agents|agents_counted}",
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
        head: ResponseHead,
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

    def _managed(self, name: str) -> CodedError:
        return CodedError(
            ErrorCode.MANAGED_BY_FILE,
            f"template {name!r} is managed by hub.toml: {self._lines.of_template(name)}",
        )

    async def _views(self, find: Callable[[Connection], list[TemplateRow]]) -> list[TemplateView]:
        """Return the views of the templates that *find* reads, with the names of their agents."""

        def read(c: Connection) -> tuple[list[TemplateRow], dict[str, dict[AgentId, str]]]:
            rows = find(c)
            return rows, agents.agents_by(c, "template_id", [row.id for row in rows], user_id=self.user_id)

        rows, names = await self._store.read(read)
        return [
            TemplateView.from_row(
                row,
                type=AgentKind(row.agent_type, row.subtype).written,
                prompt=row.prompt_template,
                agents=tuple(names[row.id].values()),
            )
            for row in rows
        ]


def _written(name: str, table: TemplateTable) -> WrittenTemplate:
    return written_template(TemplateSettings(name=name, **dict(table)))


def _verdict_view(verdict: TemplateCheck) -> VerdictView:
    broken = tuple(
        BrokenView(agent=agent.name, user=agent.user, problems=agent.wrong) for agent in verdict.broken
    )
    return VerdictView(ok=not verdict.wrong and not broken, problems=verdict.wrong, broken=broken)


log = Channel(__name__)

_DECLARED: Final = structs.fields(AgentFields)
_TAGGED: Final = {
    *(declared.name for declared in _DECLARED),
    *("id", "device", "prompt", "source", "type", "subtype", "template", "lifecycle"),
}
_WHEN: Final = ("kind", "expr", "every_ms", "at_ms", "tz", "jitter_ms")  # of a schedule; others are policies
KEY_CHARACTERS: Final = 56  # of a name that is made: 64 with a number at its end
_WRITTEN: Final = (
    ErrorCode.NAME_TAKEN,
    ErrorCode.UNKNOWN_DEVICE,
    ErrorCode.UNKNOWN_TEMPLATE,
    ErrorCode.BAD_CONFIG,
)

# For the document only; ``protocol.requirements`` and ``protocol.coordination`` check, with better messages.
_NUMBER = "(0|[1-9][0-9]{0,5})"
_NEEDED = rf"^[A-Za-z0-9_][A-Za-z0-9_.:-]{{0,254}}( *(>=|>|<=|<|==|!=|\^|~) *{_NUMBER}(\.{_NUMBER}){{0,2}})?$"

Need = Annotated[
    str,
    Meta(
        min_length=1, max_length=512, extra_json_schema={"pattern": _NEEDED, "examples": ["file.read >= 1.2"]}
    ),
]
Lock = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=LOCK_CHARACTERS,
        extra_json_schema={"pattern": f"^{LOCK.pattern}$", "examples": ["mailbox"]},
    ),
]


class AgentView(View, kw_only=True):
    """An agent, its schedules and its last run.

    *device* is empty where it has none, as one that lives at a *gateway*. *delivers_to*: the device, or which
    device of its user gets the items of a connector's reader without one. *prompt*: its own, else its
    template's. *config_rev* grows with each change of the agent.
    """

    id: str
    name: str
    title: str | None = None  # name for people
    user: str = ""
    device: str
    delivers_to: str = ""
    device_connected: bool
    gateway: str | None = None
    connectivity: str = "offline"
    paths: tuple[str, ...]
    file_extensions: tuple[str, ...]
    data_types: tuple[str, ...]
    prompt: str
    schedule: str | None = None  # in words, paused or not: "Monday to Friday at 07:00", "every 15 minutes"
    timezone: str = "UTC"
    source: Literal["file", "api"] = "file"
    priority: int = 0
    max_concurrent_runs: int = 1
    description: str | None = None
    type: str = "CUSTOM"  # in the shared vocabulary; *subtype* is more specific
    subtype: str | None = None
    template: str | None = None
    external_id: str | None = None
    instance_id: str | None = None
    project_id: str | None = None
    needs: tuple[str, ...] = ()  # capabilities without which none of its runs starts
    locks: tuple[str, ...] = ()  # that each of its runs holds
    config_rev: int = 1
    lifecycle: str = "active"
    availability: str = "available"
    health: str = "ok"
    health_reason: str | None = None  # how its runs fail
    recovery_at: Instant | None = None  # when an exhausted agent is tried again
    schedules: tuple[ScheduleView, ...] = ()
    next_fires: tuple[Upcoming, ...] = ()  # the next five of all its schedules
    last_run: RunView | None = None


class RunRequest(View):
    """Requirements, locks, parameters and context of a run, in addition to those that its agent declares.

    *needs*: capabilities, as in ``file.read >= 1.2``. *locks*: names. *parameters*: values of the prompt's
    variables in this run, instead of the agent's configs of the same names. *context*: description of the
    run; *task_id* becomes part of it. Both are kept with the run and sent to its device.
    """

    needs: Annotated[tuple[Need, ...], Meta(max_length=MAX_NEEDS)] = ()
    locks: Annotated[tuple[Lock, ...], Meta(max_length=MAX_LOCKS)] = ()
    parameters: dict[str, Any] = {}
    context: dict[str, Any] = {}
    task_id: Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\x00]*$")] | None = None

    def options(self) -> RunOptions:
        """Return the options of the run. Raises BadRequirement, CodedError."""
        return run_options(**structs.asdict(self))


class VocabularyQuery(Struct, frozen=True):
    """The vocabulary in which a device asks about an agent; None: the hub's own terms."""

    vocabulary: str | None = field(name="as", default=None)


_SHORT = object_of("id as agent_id", "name", "data_types", "paths")
_OF_RECORD: Final = {declared.name for declared in _DECLARED} & {*AgentView.__struct_fields__}
_RECORD = object_of(
    *sorted(_OF_RECORD - {"name", "paths", "data_types"}),  # those are of the short form
    *("template", "prompt", "schedule", "source", "config_rev as rev", "lifecycle"),
)


def _without_place(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of an agent. Raises CodedError if they name a user or a device."""
    wrong = [
        f"{key}: a device makes agents of its own user, which work on it; leave it out"
        for key in ("user", "device")
        if key in params
    ]
    if wrong:
        raise bad_request(wrong)
    return dict(params)


class AgentRows(NamedTuple):
    """Agents, and the rows that their views need."""

    rows: Sequence[AgentRow]
    last_runs: RunRows
    schedules: Sequence[ScheduleRow]
    connected: Collection[DeviceId]
    faults: Mapping[AgentId, Finding]


def _read_facts(c: Connection, rows: Sequence[AgentRow], offered: Offered, at: int) -> AgentRows:
    newest = runs.find_runs(c, [row.last_run.id for row in rows if row.last_run is not None])
    own = schedule_rows.schedules_of_agents(c, [row.id for row in rows])
    connected = devices.connected_of(c, [row.device_id for row in rows if row.device_id is not None])
    faults = faults_of(c, at, [row.id for row in rows])
    return AgentRows(rows, read_facts(c, newest, offered), own, connected, faults)


def faults_of(c: Connection, at: int, ids: Collection[AgentId]) -> dict[AgentId, Finding]:
    """Return the issues of those of these agents whose runs fail."""
    found = failing_agents.failing(c, at, ids)
    return {row.agent.id: about_failing(row) for row in found if row.run.outcome is RunOutcome.ERROR}


class AgentsResource(Resource):
    """Agents. Only those that were created over an API can be changed or removed over it."""

    name, path = "agents", "/v1/agents"
    errors = (ErrorCode.UNKNOWN_AGENT,)

    def __init__(
        self,
        *,
        store: Store,
        control: RunControl,
        files: FileWatch,
        runs: RunsResource,
        schedules: SchedulesResource,
        writer: AgentWriter,
        rules: Callable[[], CommonAgentSettings],
        lines: FileLines,
    ) -> None:
        """Create the resource.

        Args:
            rules: returns the settings of hub.toml that hold for every agent.
            lines: finds the agents that are declared in hub.toml.
        """
        self._store = store
        self._control = control
        self._files = files
        self._runs = runs
        self._schedules = schedules
        self._writer = writer
        self._rules = rules
        self._lines = lines

    @staticmethod
    def tag_of(item: AgentView) -> str:
        """Return the tag of what is declared of an agent, and of its lifecycle; not of its health."""
        whole = structs.asdict(item)
        schedules = [
            structs.replace(schedule, next_fires=(), consecutive_failures=0, first_connect=None)
            for schedule in item.schedules
        ]
        return tag_of({name: value for name, value in whole.items() if name in _TAGGED}, schedules)

    @command(
        "agents ls",
        example="hub agents ls --status busy --capability 'file.read >= 1.2'",
        json="agents",
        help="List the agents, by name.",
        options={
            "status": "Only the agents whose status is this word.",
            "as": "Vocabulary of the status.",
            "type": "Only the agents of this type or subtype.",
            "project_id": "--project: Only the agents of this project.",
            "capability": "Only the agents that have this capability, as in 'file.read >= 1.2'.",
        },
        table=(
            "name as agent",
            "title as title?~6",
            "user as user?~5",
            "*|agent_state as state",
            "*|agent_home as device~3",
            "*|is_online as connected~4",
            "schedule as schedule~2",
            "*|next_at as next~1",
            "*|last_run_at as last run",
        ),
        empty="no such agents; to add one: hub agents create NAME, or [[agents]] in hub.toml",
    )
    @tool()
    @listed("", Scope.READ, key=lambda agent: (agent.name, agent.id), within=BY_DEVICE)
    async def all(
        self,
        filters: AgentFilters = ANY,
        as_: Annotated[Vocabulary, Meta(description="Vocabulary of the status.")] = Vocabulary.CALENDAR,
        part: ListPart = ALL,
    ) -> list[AgentView]:
        """List the agents that are not archived, by name: all, or those that meet every condition."""
        filter = filters.filter(as_)
        offered, at = self._runs.offered, self._runs.now_ms

        def read(c: Connection) -> AgentRows:
            only = conditions_of(c, filter)
            rows = agents.list_agents(
                c,
                user_id=self.user_id,
                devices=self.limited_to.devices,
                only=only,
                limit=part.limit,
                after=part.after,
            )
            return _read_facts(c, rows, offered, at)

        return self._views(await self._store.read(read))

    @route(
        "POST",
        "",
        Scope.DEVICES,
        errors=[*_WRITTEN, ErrorCode.UNKNOWN_USER, ErrorCode.LIMIT_REACHED],
        status=201,
        is_tagged=True,
        location="/v1/agents/{0.name}",
    )
    @audited("agent.created")
    async def create(self, body: AgentBody, actor: Actor) -> AgentView:
        """Create an agent. It is checked as one of hub.toml is, and by its template."""
        user_id = await self._owner(body.user)
        declared = made_of(body, self._rules())
        row = await self._writer.make(declared, user_id=user_id, lifecycle=_first(body), actor=actor)
        return await self.view(row)

    @route(
        "POST",
        "/as/{vocabulary}",
        Scope.DEVICES,
        errors=[*_WRITTEN, ErrorCode.UNKNOWN_USER, ErrorCode.LIMIT_REACHED, ErrorCode.BAD_STATUS],
        status=201,
        location="/v1/agents/{0[id]}/as/{vocabulary}",
    )
    @audited("agent.created")
    async def create_document(self, vocabulary: str, given: dict[str, Any], actor: Actor) -> dict[str, Any]:
        """Create an agent in the terms of a vocabulary: calendar, orchestrator or runlog.

        Its name is made out of that in *given*; the answer is its document.
        """
        words = words_of(vocabulary)
        owner_id = await self._owner(None)
        return await self._created(words, creation_of(words, given, owner_id), owner_id, actor)

    async def _created(
        self, words: Vocabulary, asked: VocabularyChange, user_id: UserId, actor: str
    ) -> dict[str, Any]:
        """Create an agent of the user as *asked*, and return its document."""
        settings = {key: value for key, value in asked.settings.items() if value is not None}
        name = settings["title"] if "title" in settings else settings["external_id"]
        row = await self._writer.make(
            made_of(body_of({"name": _key(name), **settings}, asked.columns), self._rules()),
            user_id=user_id,
            lifecycle=first_lifecycle(words, asked.status),
            may_rename=True,
            actor=actor,
            through=self._with_status(asked.status, actor),
        )

        def read(c: Connection) -> dict[str, Any]:
            agent = agents.get_agent(c, row.id)
            facts = agent_snapshot.facts_of_agent(c, agent)
            return document_of(words, facts) | tables_of(c, words, agent)

        return await self._store.read(read)

    @tool()
    @route("GET", "/{name}", Scope.READ, is_tagged=True, within=BY_DEVICE)
    async def get(self, name: str) -> AgentView:
        """Return one agent, its schedules with their next fires, and its last run."""
        offered, at = self._runs.offered, self._runs.now_ms

        def read(c: Connection) -> AgentRows:
            agent = agents.agent_called(c, name, self.user_id, devices=self.limited_to.devices)
            return _read_facts(c, [agent], offered, at)

        (view,) = self._views(await self._store.read(read))
        return view

    @route(
        "PATCH",
        "/{name}",
        Scope.DEVICES,
        errors=[ErrorCode.UNKNOWN_AGENT, ErrorCode.MANAGED_BY_FILE, *_WRITTEN],
    )
    @audited("agent.edited")
    async def edit(self, name: str, changes: AgentChanges, match: Match, actor: Actor) -> AgentView:
        """Change an agent; fields that are left out stay, and null removes."""
        revision = None
        if match.is_asked:
            before = await self.get(name)
            match.check(self.tag_of(before))
            revision = before.config_rev
        row = await self._of_api(name)
        now = await self._store.read(declared_agents.declaration_of, row)
        new = changed_by(changes.given, now, self._rules(), gateway=row.gateway)
        edited = await self._writer.edit(row.id, new, revision=revision or row.config_rev, actor=actor)
        view = await self.view(edited)
        match.set_tag(self.tag_of(view))
        return view

    async def rewrite(self, row: AgentRow, asked: VocabularyChange, *, actor: str) -> None:
        """Change settings of an agent, and its status, in the terms of a vocabulary: all of it or nothing.

        Raises:
            CodedError: hub.toml declares the agent.
            CodedError (BAD_PARAMS): a setting is invalid.

        Errors of ``AgentWriter.edit`` and ``RunControl.write_status`` are raised as well.
        """
        self._check_source(row)

        def read(c: Connection) -> tuple[DeclaredAgent, Setup]:
            return declared_agents.declaration_of(c, row), agent_snapshot.setup_of(c, row.id)

        now, setup = await self._store.read(read)
        settings = asked.settings
        if "config" in settings and "template" not in settings:
            settings = settings | {"config": _own_configs(settings["config"], setup)}
        new = changed_by(settings, now, self._rules(), gateway=row.gateway, columns=asked.columns)
        if "schedule" in asked.settings and new.schedule is not None and now.schedule is not None:
            when = {field: getattr(new.schedule, field) for field in _WHEN}
            new = structs.replace(new, schedule=structs.replace(now.schedule, **when))
        await self._writer.edit(
            row.id,
            new,
            revision=row.config_rev,
            replaces_config="config" in asked.settings,
            actor=actor,
            through=self._with_status(asked.status, actor),
        )

    def _with_status(self, asked: StatusWrite | None, actor: str) -> Through | None:
        """Return the execution of a write of an agent together with a change of its status."""
        return None if asked is None else partial(self._control.write_status, asked=asked, actor=actor)

    @command(
        "agents delete NAME",
        example="hub agents delete notes --yes",
        json="agent",
        message="agent {name} is deleted; a new agent of this name continues its history",
        confirm="delete agent {name}, and cancel its waiting runs?",
    )
    @route("DELETE", "/{name}", Scope.DEVICES, errors=[ErrorCode.MANAGED_BY_FILE], is_tagged=True)
    @audited("agent.removed")
    async def remove(self, name: str, actor: Actor) -> AgentView:
        """Pause an agent and archive it; its waiting runs are cancelled, and its history stays."""
        row = await self._of_api(name)
        return await self.view(await self._writer.remove(row.id, actor=actor))

    @route("POST", "/{name}/validate", Scope.RUN)
    @audited(NO_CHANGE)
    async def validate(self, name: str) -> VerdictView:
        """Check an agent by its template, its prompt, and what its runs need, without writing."""
        row = await self._agent(name)
        wrong = await self._writer.problems(row.id)
        missing = () if row.executor == "gateway" else row.missing_for_runs
        return VerdictView(
            ok=not wrong,
            problems=wrong,
            missing_for_runs=tuple(agents.NEEDED_BY_RUNS[name] for name in missing),
        )

    @command(
        "agents pause NAME",
        example="hub agents pause notes",
        json="agent",
        help="Stop starting runs of an agent. A run that executes goes on to its end.",
        message="agent {name} is {lifecycle}; resume it: hub agents resume {name}",
    )
    @tool(is_repeatable=True)
    @route("POST", "/{name}/pause", Scope.RUN, is_tagged=True, within=BY_DEVICE)
    @audited("agent.paused")
    async def pause(self, name: str, actor: Actor) -> AgentView:
        """Start no further run of the agent; one that executes goes on to its end."""
        agent = await self._agent(name)
        if await self._control.pause_agent(agent.id, actor=actor):
            log.info("agent.paused", agent_id=agent.id, actor=actor)
        return await self.get(name)

    @command(
        "agents resume NAME",
        example="hub agents resume notes --catch-up",
        json="agent",
        help="Start runs of an agent again, by its schedules and by hand.\n\n"
        "Also resumes schedules that were paused after several failed runs in a row.",
        options={"catch_up": "Also run the times that its paused schedules missed."},
        message="agent {name} is {lifecycle}; {*|next_run}",
    )
    @tool(is_repeatable=True)
    @route("POST", "/{name}/resume", Scope.RUN, is_tagged=True, within=BY_DEVICE)
    @audited("agent.resumed")
    async def resume(
        self,
        name: str,
        actor: Actor,
        catch_up: Annotated[
            bool,
            BodyField(
                "Resumption",
                "Options of resuming an agent. *catch_up*: fires that its paused schedules missed are"
                " caught up.",
                is_optional=True,
            ),
        ] = False,
    ) -> AgentView:
        """Resume the agent and its schedules, also those paused after failures."""
        agent = await self._agent(name)
        if await self._control.resume_agent(agent.id, actor=actor):
            log.info("agent.resumed", agent_id=agent.id, actor=actor)
        await self._schedules.resume(agent, catch_up=catch_up, actor=actor)
        return await self.get(name)

    @tool()
    @route(
        "POST",
        "/{name}/runs",
        Scope.RUN,
        errors=[ErrorCode.LIMIT_REACHED, ErrorCode.TOO_LARGE],
        status=202,
        location="/v1/runs/{0.id}",
        within=BY_DEVICE,
    )
    @audited("run.started")
    async def start_run(
        self,
        name: str,
        requested: Annotated[RunRequest, OPTIONAL],
        actor: Actor,
        idempotency_key: RetryKey = None,
        patience: Preferred = None,
    ) -> RunView:
        """Queue a run; the same ``Idempotency-Key`` returns the same run again.

        A run whose needs are not met waits until they are: ``waiting_for`` says for what. With ``Prefer:
        wait=N`` the response comes when the run has ended, or after N seconds.
        """
        agent = await self._agent(name)
        run = await self._control.submit(agent, key=idempotency_key, actor=actor, options=requested.options())
        if patience is not None:
            await patience.wait_for(self._runs.follow(run.id))
            run = await self._store.read(runs.get_run, run.id)
        return await self._runs.view(run)

    @device(Method.AGENTS_LIST, "its own agents", answer=lambda rows: {"agents": list(map(_SHORT, rows))})
    async def of_device(self, link: Link) -> Sequence[AgentRow]:
        """Return the agents that work on a device."""
        return await self._store.read(agents.list_agents, device_id=link.device_id)

    @device(Method.AGENTS_GET, "its own agents")
    async def get_own(self, agent: OwnAgent) -> dict[str, Any]:
        """Return an agent of a device with its configuration."""
        setup = await self._store.read(agent_snapshot.setup_of, agent.id)
        record = _RECORD(agent) | {"type": agent.subtype or agent.type, "configuration": setup.configuration}
        return {"agent": _SHORT(agent) | record}

    @device(Method.AGENTS_CREATE, "agents on itself", Grant.AGENTS)
    @audited("agent.created")
    async def create_own(
        self, link: Link, params: dict[str, Any], asked: VocabularyQuery, actor: Actor
    ) -> dict[str, Any]:
        """Create an agent that works on a device, as agent of its user; also in the terms of a vocabulary."""
        device = await self._store.read(devices.get_device, link.device_id)
        if asked.vocabulary is not None:
            words = words_of(asked.vocabulary)
            given = {"device_id": device.id} | params if words is Vocabulary.RUN_LOG else params
            given = {key: value for key, value in given.items() if key != "as"}
            change = creation_of(words, given, device.user_id)
            if "connector" in change.settings:
                await self._store.read(devices.require_grant, link.device_id, Grant.CONNECTORS)
            if change.settings.setdefault("device", device.id) != device.id:
                raise bad_request(["device_id: a device makes agents which work on it; leave it out"])
            return {"agent": await self._created(words, change, device.user_id, actor)}
        body = body_of(_without_place(params) | {"device": device.name})
        declared = made_of(body, self._rules())
        await self._check_mailbox(link, declared)
        row = await self._writer.make(declared, user_id=device.user_id, lifecycle=_first(body), actor=actor)
        return await self.get_own(row)

    @device(Method.AGENTS_UPDATE, "its own agents", Grant.AGENTS)
    @audited("agent.edited")
    async def edit_own(
        self, agent: OwnAgent, link: Link, params: dict[str, Any], actor: Actor, rev: int | None = None
    ) -> dict[str, Any]:
        """Change an agent of a device; keys that are left out stay, and null removes."""
        self._check_source(agent)
        changes = {
            key: value for key, value in _without_place(params).items() if key not in ("agent_id", "rev")
        }
        now = await self._store.read(declared_agents.declaration_of, agent)
        new = changed_by(changes, now, self._rules())
        await self._check_mailbox(link, agent, new)
        revision = agent.config_rev if rev is None else rev
        return await self.get_own(await self._writer.edit(agent.id, new, revision=revision, actor=actor))

    @device(Method.AGENTS_DELETE, "its own agents", Grant.AGENTS)
    @audited("agent.removed")
    async def remove_own(self, agent: OwnAgent, actor: Actor) -> dict[str, Any]:
        """Pause an agent of a device and archive it."""
        self._check_source(agent)
        removed = await self._writer.remove(agent.id, actor=actor)
        return {"agent": {"agent_id": removed.id, "name": removed.name}}

    @device(Method.RUNS_START, "its own agents", Grant.AGENTS)
    @audited("run.started")
    async def start_own_run(
        self, agent: OwnAgent, link: Link, request: RunRequest, actor: Actor, key: RetryKey = None
    ) -> dict[str, Any]:
        """Queue a run of an agent of a device, and return the needs that the device does not meet."""
        run = await self._control.submit(agent, key=key, actor=actor, options=request.options())
        unmet = await self._store.read(runs_run_needs.unmet_of, [run.id], {link.device_id: link.offers})
        return {"run": run_record(run), "unmet": [requirement.need for requirement in unmet.get(run.id, ())]}

    @device(Method.FILES_CHANGED, "its own agents", Grant.FILES)
    @audited(NO_CHANGE)
    async def files_changed(
        self, link: Link, agents: Annotated[list[AgentId], Meta(max_length=MAX_CHANGED_AGENTS)]
    ) -> dict[str, int]:
        """Start runs of those agents of a device which read by themselves, and return their number."""
        return {"agents": await self._files.hint(link.device_id, agents)}

    async def _check_mailbox(self, link: DeviceLink, *found: AgentRow | DeclaredAgent) -> None:
        """Check that the device may use its user's accounts, if an agent reads one. Raises NotGranted."""
        if any(row.mailbox is not None for row in found):
            await self._store.read(devices.require_grant, link.device_id, Grant.CONNECTORS)

    @property
    def now_ms(self) -> int:
        return self._runs.now_ms

    async def view(self, row: AgentRow) -> AgentView:
        """Return the view of one agent."""
        (view,) = self._views(
            await self._store.read(_read_facts, [row], self._runs.offered, self._runs.now_ms)
        )
        return view

    def seen_by(self, user_id: UserId | None, limits: TokenLimits = NO_LIMITS) -> Self:
        """Return the same resource, with its runs, scoped to this user's things within *limits*."""
        scoped = super().seen_by(user_id, limits)
        scoped._runs = self._runs.seen_by(user_id, limits)
        return scoped

    async def _agent(self, name: str) -> AgentRow:
        return await self._store.read(
            agents.agent_called, name, self.user_id, devices=self.limited_to.devices
        )

    async def _of_api(self, name: str) -> AgentRow:
        """Return an agent that hub.toml does not declare. Raises CodedError for one that it does."""
        row = await self._agent(name)
        self._check_source(row)
        return row

    def _check_source(self, row: AgentRow) -> None:
        """Raise CodedError if hub.toml declares the agent."""
        if row.source == "file":
            raise managed(self._lines, AgentOfFile(row))

    async def _owner(self, user: str | None) -> UserId:
        """Return the owner of a new agent: the user that is named, else the caller, else the hub's owner."""
        if user is None and self.user_id is not None:
            return self.user_id
        name = user or users.OWNER
        row = await self._store.read(users.find_user_by_name, name)
        if row is None or self.user_id not in (None, row.id):
            raise CodedError(ErrorCode.UNKNOWN_USER, f"user: there is no user {name!r}")
        return row.id

    def _views(self, found: AgentRows) -> list[AgentView]:
        last_runs = {run.id: run for run in self._runs.views_of(found.last_runs)}
        schedules = self._schedules.views_of(found.schedules)
        return [
            self._view(
                row,
                schedules.get(row.id, []),
                None if row.last_run is None else last_runs.get(row.last_run.id),
                is_connected=row.device_id in found.connected,
                fault=found.faults.get(row.id),
            )
            for row in found.rows
        ]

    def _view(
        self,
        row: AgentRow,
        schedules: Sequence[ScheduleView],
        last_run: RunView | None,
        *,
        is_connected: bool,
        fault: Finding | None,
    ) -> AgentView:
        return AgentView.from_row(
            row,
            health=row.health if fault is None else "error",
            health_reason=None if fault is None else fault.explanation,
            device=row.device_name or "",
            device_connected=is_connected,
            schedule=row.schedule or next((schedule.said for schedule in schedules), None),
            schedules=tuple(schedules),
            next_fires=_soonest(schedules),
            last_run=last_run,
        )


def _own_configs(configuration: Mapping[str, Any], setup: Setup) -> dict[str, Any]:
    """Return the part of a configuration that is not what an agent's template has anyway."""
    defaults = {} if setup.template is None else setup.template.default_configuration
    return {
        key: value
        for key, value in configuration.items()
        if key in setup.configs or key not in defaults or not is_same_value(value, defaults[key])
    }


def _first(body: AgentBody) -> Lifecycle:
    return Lifecycle.ACTIVE if body.start else Lifecycle.READY


def _key(name: Any) -> str:
    """Return a name for commands and URLs that is made out of a name for people, which may be wrong."""
    text = name if isinstance(name, str) else ""
    return re.sub(r"[^\w.-]+", "-", text.lower())[:KEY_CHARACTERS].strip("-.") or "agent"


def _soonest(schedules: Iterable[ScheduleView]) -> tuple[Upcoming, ...]:
    """Return the next fires of all the schedules together."""
    fires = (fire for schedule in schedules for fire in schedule.next_fires)
    return tuple(sorted(fires, key=lambda fire: fire.at)[:NEXT_FIRES])


def managed(lines: FileLines, error: AgentOfFile, *key: str) -> CodedError:
    """Return the refusal to change an agent of hub.toml, with the line that declares it."""
    where = lines.of_agent(error.agent.name, error.agent.user_name, *key)
    return CodedError(
        ErrorCode.MANAGED_BY_FILE, f"agent {error.agent.name!r} is managed by hub.toml: {where}"
    )
