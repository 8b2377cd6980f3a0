"""Templates of agents, and the check that an agent conforms to its template."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from hub.agents.prompts import problems_in as problems_in_prompt
from hub.agents.prompts import variables_of
from hub.agents.schemas import problems_in
from storage.agents import agent_snapshot
from storage.agents.agent_snapshot import Setup
from storage.agents.templates import WrittenTemplate


def effective_configuration(template: WrittenTemplate | None, configs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configs of an agent merged over the defaults of its template.

    A key of the agent replaces the whole default value; tables are not merged.
    """
    return {**(template.default_configuration if template else {}), **configs}


def problems_of(setup: Setup) -> Sequence[str]:
    """Return the problems of an agent's configuration and prompt, by its template's schema. Pure."""
    template = setup.template
    found: list[str] = []
    if template is not None:
        by = f" (template {template.name})"
        wrong = problems_in(template.configuration_schema, setup.configuration)
        found += [f"configuration: {one}{by}" for one in wrong]
    return [*found, *problems_in_prompt(setup.prompt_in_use, variables_of(setup))]


# Callback for changes of an agent, called within their transaction as ``check_agent(c, agent_id)``.
check_agent: Final = partial(agent_snapshot.check_setup, check=problems_of)
