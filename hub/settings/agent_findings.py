"""Checks of hub.toml that compare its tables, templates, agents and connectors with each other."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from hub.settings.agent_settings import AgentSettings
from hub.settings.locate import KeyPath
from hub.settings.problems import Problem, Reporter, did_you_mean, sentence
from hub.settings.settings import Settings
from protocol.tables import REFERENCES, problems_in

if TYPE_CHECKING:  # their dependencies are imported only if templates or agents need a check
    from storage.agents.agent_snapshot import Setup
    from storage.agents.declared_agents import DeclaredAgent
    from storage.agents.templates import WrittenTemplate


def found_in_agents(settings: Settings, report: Reporter) -> Iterator[Problem]:
    """Yield problems of unusable templates, and of agents that do not fit their template."""
    if not settings.templates and not any(
        agent.template is not None or "{{" in (agent.prompt or "") or _may_miss_something(agent)
        for agent in settings.agents
    ):
        return
    from hub.settings.declared import written_template

    usable: dict[str, WrittenTemplate] = {}
    for number, template in enumerate(settings.templates):
        written = written_template(template)
        wrong = list(_wrong_in(written))
        for key, message in wrong:
            yield report.error(("templates", number, key), message)
        if not wrong:
            usable[template.name] = written
    yield from _found_in_setups(settings, usable, report)


def _may_miss_something(agent: AgentSettings) -> bool:
    """Return True if a schedule, slots or a push of the agent may lack a setting."""
    has_source = agent.paths is not None or agent.connector is not None
    is_complete = bool(agent.device and has_source and agent.data_types and agent.prompt)
    return not is_complete and bool(agent.schedule or agent.slots or agent.push)


def setup_in(agent: "DeclaredAgent", templates: "Mapping[str, WrittenTemplate]") -> "Setup":
    """Return the configuration of an agent of hub.toml, completed by that of its template."""
    from storage.agents.agent_snapshot import Setup

    return Setup(
        name=agent.name,
        user=agent.user_name or "",
        device=agent.device_name or "",
        timezone=agent.timezone,
        data_types=agent.data_types,
        prompt=agent.prompt,
        template=None if agent.template is None else templates.get(agent.template),
        configs={one.key: one.value for one in agent.config},
        paths=agent.paths,
        mailbox=agent.mailbox,
        has_schedule=agent.schedule is not None,
        has_slots=bool(agent.slots),
    )


def _wrong_in(template: "WrittenTemplate") -> Iterator[tuple[str, str]]:
    """Yield each faulty key of a template with its problem."""
    from hub.agents.prompts import problems_in
    from hub.agents.schemas import BadSchema, check_schema

    try:
        check_schema(template.configuration_schema, template.default_configuration)
    except BadSchema as error:
        key, _, message = str(error).partition(": ")
        yield key, message
    for wrong in problems_in(template.prompt_template or "", None):
        yield "prompt", wrong


def _found_in_setups(
    settings: Settings, templates: "Mapping[str, WrittenTemplate]", report: Reporter
) -> Iterator[Problem]:
    from hub.agents.schemas import problems_of
    from hub.settings.declared import declared_agent

    declared = {template.name for template in settings.templates}
    for number, agent in enumerate(settings.agents):
        if agent.template is not None and agent.template not in declared:
            message = "no template of this file has this name"
            hint = "create it over the API first: hub templates put"
            yield report.warning(("agents", number, "template"), message, hint)
        elif agent.template is None or agent.template in templates:
            row = declared_agent(
                agent, run_wall_s=settings.limits.run_wall_s, patterns=settings.redaction.patterns
            )
            for wrong in problems_of(setup_in(row, templates)):
                key, sign, message = wrong.partition(": ")
                if sign and getattr(agent, key, None):
                    yield report.error(("agents", number, key), message)
                else:
                    yield report.error(("agents", number, "name"), wrong.removeprefix("prompt: "))


def found_in_tables(settings: Settings, report: Reporter) -> Iterator[Problem]:
    """Yield the problems of declared tables."""
    names: set[str] = set()
    for number, table in enumerate(settings.tables):
        for key, message in problems_in(table.declaration):
            path = [int(part) if part.isdigit() else part for part in key.split(".")]
            yield report.error(("tables", number, *path), message)
        if table.name.lower() in names:
            message = "another table has this name"
            yield report.error(("tables", number, "name"), message, "case does not make a difference")
        names.add(table.name.lower())
        fields = [field.name for field in table.fields]
        for place, name in enumerate(table.needs):
            if name not in fields and name not in REFERENCES:
                near = did_you_mean(name, fields)
                hint = near or f"a field of the table is expected, or {' or '.join(REFERENCES)}"
                yield report.error(("tables", number, "needs", place), f"there is no field {name!r}", hint)


def found_in_connectors(settings: Settings, report: Reporter) -> Iterator[Problem]:
    """Yield problems of unknown providers, refused settings or filters, and missing connectors."""
    if not settings.connectors and not any(agent.connector for agent in settings.agents):
        return
    # Imported here: most settings have no connectors.
    from hub.connectors.connector import Auth, ConnectorClass, UnknownProvider, find

    kinds: dict[str, ConnectorClass] = {}
    for number, one in enumerate(settings.connectors):
        whole: KeyPath = ("connectors", number)
        try:
            kind = kinds[one.name] = find(one.provider, settings.plugins.connectors)
        except UnknownProvider as error:
            # A broken plug-in must not prevent the hub's start.
            problem = report.warning if error.is_broken else report.error
            yield problem((*whole, "provider"), str(error), error.hint)
            continue
        yield from _not_taken(kind.settings_model, one.settings, (*whole, "settings"), report)
        if kind.auth is Auth.SECRET and one.secret is None:
            hint = 'write secret = { file = "PATH" } or { env = "NAME" }'
            yield report.error(whole, f"{one.provider} requires a secret", hint)
        if one.provider == "webhook" and settings.listen.webhooks is None:
            yield report.error(
                whole, "there is no listener for webhooks", "write [listen.webhooks] with an address"
            )
    yield from _found_in_agents(settings, kinds, report)


def _found_in_agents(settings: Settings, kinds: Mapping[str, Any], report: Reporter) -> Iterator[Problem]:
    declared = {one.name: one for one in settings.connectors}
    read_by: dict[str, str] = {}
    for number, agent in enumerate(settings.agents):
        if agent.connector is None:
            continue
        key: KeyPath = ("agents", number, "connector")
        connector = declared.get(agent.connector)
        if connector is None or connector.user != agent.user:
            his = [one.name for one in settings.connectors if one.user == agent.user]
            near = did_you_mean(agent.connector, his)
            yield report.error(
                key, f"there is no connector {agent.connector!r}", near or "write it in [[connectors]]"
            )
            continue
        if connector.provider == "webhook" and agent.connector in read_by:
            message = f"the agent {read_by[agent.connector]!r} reads this webhook already"
            hint = "a webhook has one agent: give the other agent a webhook of its own"
            yield report.error(key, message, hint)
        read_by.setdefault(agent.connector, agent.name)
        kind = kinds.get(agent.connector)
        if kind is None:
            continue
        yield from _not_taken(kind.filter_model, agent.filter, ("agents", number, "filter"), report)
        if kind.needs_model and settings.model is None:
            message = "there is no model that could read its messages"
            yield report.error(key, message, "write [model]; what a mailbox brings is prose")
        if agent.push and not kind.can_push and connector.provider != "webhook":
            message = f"{connector.provider} cannot notify of new messages"
            yield report.error(("agents", number, "push"), message, "leave it out; a schedule reads it")


def _not_taken(
    model: type[BaseModel], given: Mapping[str, Any], whole: KeyPath, report: Reporter
) -> Iterator[Problem]:
    try:
        model.model_validate(given)
    except ValidationError as error:
        for found in error.errors(include_url=False):
            context = found.get("ctx", {})
            what = sentence(found["type"], found["msg"], found["input"], context)
            path: KeyPath = (*whole, *found["loc"])
            hint = what.hint
            if found["type"] == "extra_forbidden" and not hint:
                hint = did_you_mean(str(found["loc"][-1]), model.model_fields)
                hint = hint or f"known are {', '.join(model.model_fields)}"
            yield report.error(path, what.message, hint)
