"""Templates and the agents that are made from them: whether an agent is what its template asks for."""

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
    """The configs of an agent over the defaults of its template.

    A key of the agent's own stands for the default's whole value: tables are not mixed.
    """
    return {**(template.default_configuration if template else {}), **configs}


def problems_of(setup: Setup) -> Sequence[str]:
    """What is wrong with an agent: its configuration by its template's schema, and its prompt. Pure."""
    template = setup.template
    found: list[str] = []
    if template is not None:
        by = f" (template {template.name})"
        wrong = problems_in(template.configuration_schema, setup.configuration)
        found += [f"configuration: {one}{by}" for one in wrong]
    return [*found, *problems_in_prompt(setup.prompt_in_use, variables_of(setup))]


# For who changes an agent: called in the transaction of the change, as ``check_agent(c, agent_id)``.
check_agent: Final = partial(agent_snapshot.check_setup, check=problems_of)
