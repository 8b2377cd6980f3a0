"""Checks of hub.toml that compare its templates and agents with each other."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from hub.settings.problems import Problem, Telling
from hub.settings.settings import Settings

if TYPE_CHECKING:  # their dependencies are imported only if templates or agents need a check
    from storage.agents.agent_snapshot import Setup
    from storage.agents.agents import DeclaredAgent
    from storage.agents.templates import WrittenTemplate


def found_in_agents(settings: Settings, tell: Telling) -> Iterator[Problem]:
    """Yield problems of unusable templates, and of agents that do not fit their template."""
    yield from _found_twice(settings, tell)
    if not settings.templates and not any(
        agent.template is not None or "{{" in (agent.prompt or "") for agent in settings.agents
    ):
        return
    from hub.settings.declared import written_template

    usable: dict[str, WrittenTemplate] = {}
    for number, template in enumerate(settings.templates):
        written = written_template(template)
        wrong = list(_wrong_in(written))
        for key, message in wrong:
            yield tell.error(("templates", number, key), message)
        if not wrong:
            usable[template.name] = written
    yield from _found_in_setups(settings, usable, tell)


def setup_in(agent: "DeclaredAgent", templates: "Mapping[str, WrittenTemplate]") -> "Setup":
    """Return the setup of an agent of hub.toml, with the templates of hub.toml."""
    from storage.agents.agent_snapshot import Setup

    return Setup(
        name=agent.name,
        user=agent.user_name or "",
        device=agent.device_name,
        timezone=agent.timezone,
        data_types=agent.data_types,
        prompt=agent.prompt,
        template=None if agent.template is None else templates.get(agent.template),
        configs={one.key: one.value for one in agent.config},
    )


def _found_twice(settings: Settings, tell: Telling) -> Iterator[Problem]:
    lines: dict[str, int] = {}
    for number, template in enumerate(settings.templates):
        problem = tell.error(("templates", number, "name"), "another template has this name")
        if template.name in lines:
            yield problem._replace(hint=f"the other one stands in line {lines[template.name]}")
        lines.setdefault(template.name, problem.line)
    lines.clear()
    for number, agent in enumerate(settings.agents):
        if agent.external_id is not None:
            problem = tell.error(("agents", number, "external_id"), "another agent has this external id")
            if agent.external_id in lines:
                yield problem._replace(hint=f"the other one stands in line {lines[agent.external_id]}")
            lines.setdefault(agent.external_id, problem.line)


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
    settings: Settings, templates: "Mapping[str, WrittenTemplate]", tell: Telling
) -> Iterator[Problem]:
    from hub.agents.schemas import problems_of
    from hub.settings.declared import declared_agent

    declared = {template.name for template in settings.templates}
    for number, agent in enumerate(settings.agents):
        if agent.template is not None and agent.template not in declared:
            message = "no template of this file has this name"
            hint = "it has to be made over the API before: hub templates put"
            yield tell.warning(("agents", number, "template"), message, hint)
        elif agent.template is None or agent.template in templates:
            row = declared_agent(
                agent, run_wall_s=settings.limits.run_wall_s, patterns=settings.redaction.patterns
            )
            for wrong in problems_of(setup_in(row, templates)):
                key = "prompt" if wrong.startswith("prompt") and agent.prompt is not None else "name"
                yield tell.error(("agents", number, key), wrong.removeprefix("prompt: "))
